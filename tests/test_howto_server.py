"""The programs on the page about servers run, one after the other, against a real one."""

from __future__ import annotations

import re
from pathlib import Path

from tests.server.serving import serving

PAGE = Path(__file__).parents[1] / "docs/howto/use-a-server.md"


def test_the_page_does_what_it_says(tmp_path: Path) -> None:
    programs = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    with serving(tmp_path / "log.db") as server:
        for number, program in enumerate(programs):
            here = program.replace("https://audit.example.com", server.url).replace(
                "/var/lib/billing", str(tmp_path)
            )
            exec(compile(here, str(PAGE), "exec"), names)
            audit = names["audit"]
            if number == 0:
                assert audit.flush(30)  # type: ignore[attr-defined]  # of the page

        [found] = audit.search("app:billing")  # type: ignore[attr-defined]
        audit.close()  # type: ignore[attr-defined]

    assert found.action == "invoice.approve"
    assert len(programs) == 3
