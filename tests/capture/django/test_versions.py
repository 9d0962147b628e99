"""The same tests with other releases of Django: the oldest that is supported, and the newest.

Each in a process of its own, since a process has one Django. What is tested with packages that
need this one's release (REST framework, constance, Celery) is left out there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import django
import pytest

ROOT = Path(__file__).parents[3]
OLDEST = ROOT / ".venv" / "django-4.2"
LEFT_OUT = ("test_actors.py", "test_settings.py", "test_tasks.py")
EXPECTED = os.environ.get("WHODID_DJANGO_UNDER_TEST")

outer = pytest.mark.skipif(bool(EXPECTED), reason="this is the process with the other release")


def test_this_process_has_the_release_that_it_was_started_for() -> None:
    assert django.get_version().startswith(EXPECTED or "5.2")


@outer
def test_django_4_2_passes_the_same_tests() -> None:
    if not (OLDEST / "django" / "__init__.py").exists():
        reason = f"{OLDEST.relative_to(ROOT)} is missing; `make test` installs Django 4.2 there"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(f"NOT TESTED WITH DJANGO 4.2: {reason}")

    _run(sys.executable, release="4.2", path=[OLDEST])


@outer
def test_django_6_passes_the_same_tests_where_there_is_a_python_for_it() -> None:
    found = _newer_python()
    if found is None:
        pytest.skip(
            "NOT TESTED WITH DJANGO 6: no Python 3.12 or newer has it with msgspec, pytest and "
            "hypothesis; WHODID_PYTHON_DJANGO_6 may name one"
        )

    _run(found, release="6.", path=[])


def _newer_python() -> str | None:
    """An interpreter that has Django 6 and what the tests need."""
    given = os.environ.get("WHODID_PYTHON_DJANGO_6")
    code = "import django, hypothesis, msgspec, pytest; assert django.VERSION >= (6,)"
    for name in [given] if given else ["python3.14", "python3.13", "python3.12"]:
        path = shutil.which(name)
        if path is not None:
            done = subprocess.run([path, "-c", code], check=False, capture_output=True, timeout=60)
            if done.returncode == 0:
                return path
    return None


def _run(python: str, *, release: str, path: list[Path]) -> None:
    folder = Path(__file__).parent
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, [*path, ROOT / "src", ROOT])),
        "WHODID_DJANGO_UNDER_TEST": release,
        "WHODID_REPLAY_PROGRAMS": "3",
    }
    ignored = [f"--ignore={folder / name}" for name in LEFT_OUT]
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *ignored, str(folder)],
        cwd=ROOT, env=environment, check=False, capture_output=True, text=True, timeout=600,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-2_000:]
