"""django-hijack and django-impersonate, in a process of its own with both of them installed."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
WANTED = ("hijack", "impersonate")


def test_who_works_in_another_s_name_is_told() -> None:
    missing = [name for name in WANTED if find_spec(name) is None]
    if missing and os.environ.get("CI"):
        pytest.fail(f"django-{missing[0]} is missing")
    if missing:
        pytest.skip(f"IMPERSONATION NOT TESTED: no django-{missing[0]}")

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
         "-p", "tests.capture.django.staff.plugin",
         str(Path(__file__).parent / "staff" / "check_impersonation.py")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
             "WHODID_USER_MODEL": "auth.User", "WHODID_MORE_APPS": " ".join(WANTED)},
        cwd=ROOT, check=False, capture_output=True, text=True, timeout=300,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-2_000:]
    assert " passed" in done.stdout
