"""The programs on the page about recording run, one after the other, as a reader would run them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from whodid import Access

PAGE = Path(__file__).parents[1] / "docs/howto/record.md"


def test_the_page_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    programs = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {}

    for program in programs:
        exec(compile(program, str(PAGE), "exec"), names)

    audit = names["audit"]
    found = audit.search(access=Access.everything())  # type: ignore[attr-defined]  # of the page
    assert [event.action for event in found] == [
        "report.run", "invoice.send", "invoice.download", "invoice.read", "invoice.approve",
    ]  # fmt: skip
    assert len(programs) == 6
    audit.close()  # type: ignore[attr-defined]
