"""What an import costs: `import whodid` and the core bring no framework and no database."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

PYPROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())

HEAVY = {
    "asyncio", "click", "concurrent.futures", "http", "httptools", "httpx2", "jinja2",
    "multiprocessing", "rich", "sqlite3", "starlette", "subprocess", "tkinter", "urllib.request",
    "uvicorn", "uvloop", "xml", "zoneinfo",
}  # fmt: skip

PURE = [
    "whodid",
    "whodid.errors",
    "whodid.times",
    "whodid.ids",
    "whodid.event",
    "whodid.canonical",
    "whodid.redaction",
    "whodid.actions",
    "whodid.ledger.merkle",
    "whodid.recorder",
]


def loaded_by(module: str) -> set[str]:
    """Names of all modules in an interpreter that has imported this one and nothing else."""
    code = f"import {module}, json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    names: list[str] = json.loads(done.stdout)
    return set(names)


@pytest.mark.parametrize("module", PURE)
def test_the_core_imports_no_framework_and_no_database(module: str) -> None:
    assert loaded_by(module) & HEAVY == set()


def outside_of_the_standard_library(module: str) -> set[str]:
    return {name.partition(".")[0] for name in loaded_by(module)} - sys.stdlib_module_names


def test_the_core_needs_msgspec_alone() -> None:
    # msgspec itself looks for an optional module or two, and .pth files load what they like.
    core = outside_of_the_standard_library("whodid.recorder")

    assert core - outside_of_the_standard_library("msgspec") == {"whodid"}
    assert PYPROJECT["project"]["dependencies"] == ["msgspec>=0.20"]


def test_the_ledger_needs_the_standard_library_alone() -> None:
    assert not any(name.startswith("msgspec") for name in loaded_by("whodid.ledger.merkle"))


def layers() -> list[str]:
    contracts: list[dict[str, Any]] = PYPROJECT["tool"]["importlinter"]["contracts"]
    lines = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [name.strip(" ()") for line in lines for name in line.replace(":", "|").split("|")]


def test_every_top_level_module_has_its_place_in_the_import_contract() -> None:
    source = Path(__file__).parents[1] / "src" / "whodid"
    found = {
        path.stem
        for path in source.iterdir()
        if (path.suffix == ".py" and path.stem != "__init__") or (path / "__init__.py").exists()
    }

    assert found == set(layers())
