"""Projects with user models of their own, each in a process of its own: Django allows one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("model", ["Employee", "Person", "Card"])
def test_a_project_s_own_users_are_told_like_django_s(model: str) -> None:
    checks = Path(__file__).parent / "staff" / f"check_{model.lower()}.py"

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
         "-p", "tests.capture.django.staff.plugin", str(checks)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
             "WHODID_USER_MODEL": f"staff.{model}"},
        cwd=ROOT, check=False, capture_output=True, text=True, timeout=300,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-2_000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
