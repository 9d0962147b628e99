# Everything a checkout needs, on a machine with Python 3.11 or newer (with venv), make and a
# package registry. Each target makes .venv by itself: with uv when it is there, else with pip.

VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8787
PYTHON ?=
PYTEST_ARGS ?=
BENCH ?=

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench clean

help:
	@echo 'make demo    a server with a living sample company at http://127.0.0.1:8787'
	@echo 'make test    all tests'
	@echo 'make lint    format, style, types and import contracts'
	@echo 'make bench   the benchmarks; results go to benchmarks/results/'
	@echo 'make clean   remove .venv and what the tools left behind'
	@echo
	@echo 'Settings: PORT=8787 of the demo · PYTHON=python3.12 for a new .venv'
	@echo '          PYTEST_ARGS="-n 2 -k merkle" · BENCH=bench_store for one benchmark'

demo: $(VENV)/.ready-to-run
	@exec $(BIN)/whodid demo --port $(PORT)

test: $(VENV)/.ready-to-work
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

# All four, also when the first fails: one run names everything there is to mend.
lint: $(VENV)/.ready-to-work
	@failed=; \
	for check in 'ruff format --check .' 'ruff check .' mypy 'lint-imports --no-logo'; do \
	  if found=$$($(BIN)/$$check 2>&1); then \
	    echo "ok      $$check"; \
	  else \
	    echo "$$found"; echo "FAILED  $$check"; failed=yes; \
	  fi; \
	done; \
	[ -z "$$failed" ]

bench: $(VENV)/.ready-to-work
	@for script in benchmarks/$(or $(BENCH),bench_*).py; do \
	  echo "· $$script"; $(BIN)/python "$$script" || exit 1; \
	done

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist

# The demo needs no test tools; whoever asks for those has the demo's packages as well.
$(VENV)/.ready-to-run: pyproject.toml | $(BIN)/python
	@$(call install,--editable '.[server]')
	@touch $@

$(VENV)/.ready-to-work: pyproject.toml | $(BIN)/python
	@$(call install,--editable '.[server]' --group dev)
	@$(call install,--target $(VENV)/django-4.2 'django==4.2.*')
	@touch $(VENV)/.ready-to-run $@

# $(1): what to install. pip knows --group since 25.1; the one in a new venv may be older.
define install
if uv --version >/dev/null 2>&1; then \
  echo 'installing with uv …'; \
  uv pip install --quiet --python $(BIN)/python $(1); \
else \
  echo 'installing with pip …'; \
  { $(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null; } && \
  $(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1' && \
  $(BIN)/python -m pip install --quiet --disable-pip-version-check $(1); \
fi
endef

$(BIN)/python:
	@rm -rf $(VENV); \
	found=; \
	for candidate in $(or $(PYTHON),python3.13 python3.12 python3.11 python3 python); do \
	  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    found=$$candidate; break; \
	  fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo 'no Python 3.11 or newer found; install one, or name it: make PYTHON=/path/to/python3.12' >&2; \
	  exit 1; \
	fi; \
	if uv --version >/dev/null 2>&1; then \
	  uv venv --quiet --python "$$found" $(VENV); \
	elif ! "$$found" -m venv $(VENV); then \
	  rm -rf $(VENV); \
	  echo "$$found could not make a virtual environment; on Debian: apt-get install python3-venv" >&2; \
	  exit 1; \
	fi
