"""What the documentation says about the server, tried out on a real one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.serving import Serving, serving
from whodid import server as package
from whodid.event import decode
from whodid.server import openapi

DOCS = Path(__file__).parents[2] / "docs"
HOWTO = (DOCS / "howto" / "send-events.md").read_text()
REFERENCE = (DOCS / "reference" / "api.md").read_text()
SAID_URL = "http://127.0.0.1:8787"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Serving]:
    with serving(tmp_path / "log.db") as server:
        yield server


def test_the_sender_of_the_howto_stores_once_what_it_sends_twice(
    server: Serving, capsys: pytest.CaptureFixture[str]
) -> None:
    sender, example = re.findall(r"```python\n(.*?)```", HOWTO, re.DOTALL)
    names: dict[str, Any] = {}

    exec(compile(sender + example.replace(SAID_URL, server.url), "send-events.md", "exec"), names)
    first = names["receipts"][0]
    same = names["an_event"]("user.login", "7", client={"ip": "203.0.113.7"}) | {"id": first["id"]}
    again = names["send"](server.url, [same])

    assert capsys.readouterr().out.strip() == first["id"]
    assert [receipt["duplicate"] for receipt in names["receipts"]] == [False, False]
    assert again == [first | {"duplicate": True}]
    with pytest.raises(ValueError, match=r"\$\.action"):
        names["send"](server.url, [names["an_event"]("nonsense", "7")])


def test_the_sender_gives_up_in_the_end(tmp_path: Path) -> None:
    sender, _ = re.findall(r"```python\n(.*?)```", HOWTO, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(sender, "send-events.md", "exec"), names)

    with pytest.raises(TimeoutError):
        names["send"]("http://127.0.0.1:1", [names["an_event"]("a.b", "7")], attempts=1)


def test_what_curl_sends_in_the_howto_is_an_event() -> None:
    bodies = re.findall(r"--json '(.*?)'", HOWTO, re.DOTALL)

    assert len(bodies) == 2
    for body in bodies:
        decode(body.encode())


def test_the_event_of_the_reference_is_one() -> None:
    [batch] = re.findall(r"```json\n(\{\"events\": \[\{.*?)```", REFERENCE, re.DOTALL)

    for event in json.loads(batch)["events"]:
        decode(json.dumps(event).encode())


def test_the_reference_names_every_path() -> None:
    for path, methods in openapi.document()["paths"].items():
        for method in methods:
            said = f"| `{method.upper()} {path.replace('{event_id}', '{id}')}` |"

            assert said in REFERENCE


def test_the_reference_names_every_kind_of_problem() -> None:
    folder = Path(package.__path__[0])
    sources = "".join(path.read_text() for path in folder.glob("*.py"))
    kinds = set(re.findall(r'refuse\(\s*\d{3},\s*"([a-z-]+)"', sources))

    assert len(kinds) >= 20
    assert {kind for kind in kinds if f"`{kind}`" not in REFERENCE} == set()
