"""Says loudly which examples were not run for want of a program."""

from __future__ import annotations

import pytest

NO_PROGRAM = "is not on this machine; the example for it was not run"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    missed = sorted(
        {report.longrepr[2] for report in skipped if NO_PROGRAM in str(report.longrepr)}
    )
    if missed:
        terminalreporter.section("NOT TESTED", sep="!", red=True, bold=True)
        for reason in missed:
            terminalreporter.line(reason.removeprefix("Skipped: "))
