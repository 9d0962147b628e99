"""Events made to attack the reader: whatever stands in a field is only ever text."""

from __future__ import annotations

import json
import re
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import escape

from tests.strategies import events
from tests.viewer.conftest import Keep, View
from tests.viewer.html import Element, read
from whodid.errors import ConflictError, EventError
from whodid.event import Event
from whodid.query.parse import parse
from whodid.stores.sqlite import SqliteStore
from whodid.testing import EVERYTHING, NOON, an_event, minutes, prepared
from whodid.viewer import Request, Viewer

PAYLOADS = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' autofocus onfocus='alert(1)",
    "javascript:alert(1)",
    "</title></textarea></style><iframe src=//evil.example>",
    "<a href='//evil.example'>click</a>",
    "{{ 7*7 }}{% raw %}",
    "${alert(1)}",
    "<!-- -->",
    "]]><x>",
    "&lt;script&gt;",
    "'; DROP TABLE whodid_event; --",
    '" OR 1=1 --',
    "\u202egnp.exe",
    "\u2066\u2067x\u2069",
    "שלום עולם",
    "مرحبا",
    "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢",
    "\x00nul\x00",
    "line\nbreak\ttab\r",
    "\u200b",
    "=cmd|' /C calc'!A0",
]

SAFE_TAGS = {
    "", "a", "aside", "b", "bdi", "body", "button", "caption", "circle", "code", "col", "colgroup",
    "datalist", "dd", "del", "details", "div", "dl", "dt", "footer", "form", "g", "h1", "h2", "h3",
    "head",
    "header", "html", "i", "input", "ins", "kbd", "label", "li", "line", "link", "main", "meta",
    "nav", "p", "path", "pre", "rect", "script", "section", "small", "span", "summary", "svg",
    "symbol", "table", "tbody", "td", "text", "th", "thead", "time", "title", "tr", "tspan", "u",
    "ul", "use", "wbr",
}  # fmt: skip


def check_harmless(page: Element, *, payload: str = "") -> None:
    """Nothing of a value became an element, an attribute or an address of its own."""
    for element in page:
        assert element.tag in SAFE_TAGS, element.tag
        for name, value in element.attributes.items():
            assert re.fullmatch(r"[a-zA-Z][a-zA-Z0-9-]*", name), name
            assert not name.startswith("on"), name
            assert name not in ("style", "srcdoc", "formaction"), name
            if name in ("href", "src", "action"):
                assert value.startswith(("/", "#", "https://", "http://")), value
                assert not value.startswith("//"), value
    for script in page.all("script"):
        assert not script.text
        assert script.attributes["src"].startswith("/static/")
    if payload:
        assert len(page.all("title")) == 1


def hostile(payload: str) -> dict[str, Any]:
    """An event with the payload in every field that takes any text."""
    short = payload[:256]
    return {
        "action": "invoice.update",
        "message": payload,
        "outcome": "failure",
        "reason": {"message": payload, "policy": short},
        "actor": {
            "type": "user",
            "id": short,
            "name": short,
            "email": short,
            "roles": [short],
            "attributes": {"x": payload, payload: 1},
            "auth": {"session_id": short, "credential_id": short, "idp": short},
            "agent": {"model": short, "tool": short},
        },
        "on_behalf_of": {"type": "user", "id": short, "name": short},
        "via": [{"type": "user", "id": short, "name": short}],
        "delegation": {"kind": "agent", "reason": payload, "ticket": short},
        "targets": [
            {
                "type": "page",
                "id": short,
                "name": short,
                "url": payload,
                "attributes": {payload: payload},
            }
        ],
        "changes": [
            {"path": short, "old": payload, "new": [payload], "label": short},
            {"path": "x", "old": {payload: payload}, "redacted": "masked"},
        ],
        "tenant": {"id": short, "name": short},
        "scope": [{"id": short, "name": short}],
        "source": {"app": short, "component": short, "version": short, "host": short},
        "client": {
            "ip": "203.0.113.7",
            "user_agent": payload,
            "forwarded_for": [short],
            "device": {"id": short, "os": short, "browser": short},
            "geo": {"country": "NO", "city": short, "region": short},
            "network": {"org": short},
        },
        "request": {"id": short, "method": payload[:16], "route": short, "url": payload},
        "correlation_id": short,
        "error": {"type": short, "message": payload, "fingerprint": short},
        "metadata": {"x": payload, "y": [payload, {"z": payload}]},
        "data_classes": [payload[:32]],
        "attachments": [{"name": short, "media_type": short, "sha256": "ab" * 32}],
        "occurred_at": str(minutes(-1)),
    }


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_payload_is_text_in_list_drawer_and_data(payload: str, keep: Keep, view: View) -> None:
    [event_id] = keep(an_event(**hostile(payload)))

    for page in (
        view(),
        view(f"/events/{event_id}"),
        view(q=json.dumps("x" + payload.replace("\\", "")), range="all"),
    ):
        check_harmless(page, payload=payload)
    assert view().all("td", class_="who-c")[0].all("bdi")


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_payload_is_text_where_values_are_listed_and_offered(
    payload: str, keep: Keep, view: View
) -> None:
    keep(an_event(**hostile(payload)))

    for field in ("actor", "tenant", "app", "actor.id"):
        check_harmless(view("/complete", typed=f"{field}:"))
        check_harmless(view("/complete", typed=f'{field}:"{payload}'))
    for field in ("actor", "tenant", "app"):
        check_harmless(view("/values", field=field), payload=payload)
        check_harmless(view("/values", field=field, find=payload[:200]), payload=payload)


@pytest.mark.parametrize("text", ["\ud800", "x" * 60_000, '"' * 3_000, "(" * 2_000, "-" * 2_000])
def test_whatever_is_typed_is_answered(text: str, keep: Keep, view: View) -> None:
    keep(an_event(occurred_at=str(minutes(-1))))

    for typed in (text, f"actor:{text}", f'actor:"{text}'):
        check_harmless(view("/complete", typed=typed))
    check_harmless(view("/values", field="actor", find=text))


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_payload_in_the_address_is_text_too(payload: str, viewer: Viewer, keep: Keep) -> None:
    keep(an_event(occurred_at=str(minutes(-1))))
    for name in ("q", "range", "from", "tz", "cursor", "readings"):
        for value in (payload, f"actr:{payload}"):
            asked = Request(query={name: value}, access=EVERYTHING)
            answer = viewer.handle(asked, now=NOON)

            assert answer.status in (200, 400)
            check_harmless(read(answer.body))


@pytest.mark.parametrize("payload", [payload for payload in PAYLOADS if "<" in payload])
def test_a_payload_stands_in_the_source_only_escaped(
    payload: str, keep: Keep, viewer: Viewer
) -> None:
    [event_id] = keep(an_event(**hostile(payload)))

    for path in ("/", f"/events/{event_id}"):
        body = viewer.handle(Request(path=path, access=EVERYTHING), now=NOON).body.decode()
        assert payload not in body
        assert str(escape(payload))[:20] in body


@pytest.mark.parametrize("control", ["\u202e", "\u2066", "\x00", "\u200b", "\u2028"])
def test_no_control_character_reaches_a_page(control: str, keep: Keep, viewer: Viewer) -> None:
    [event_id] = keep(an_event(**hostile(f"a{control}b")))

    for path in ("/", f"/events/{event_id}"):
        body = viewer.handle(Request(path=path, access=EVERYTHING), now=NOON).body.decode()
        assert control not in body, body[body.index(control) - 200 : body.index(control) + 50]


def test_strings_of_64_kilobytes_are_shown_whole_in_the_drawer_and_cut_in_the_list(
    keep: Keep, viewer: Viewer
) -> None:
    long = "A" * 60_000
    [event_id] = keep(an_event(metadata={"long": long}, occurred_at=str(minutes(-1))))
    listed = viewer.handle(Request(access=EVERYTHING), now=NOON).body
    opened = viewer.handle(Request(path=f"/events/{event_id}", access=EVERYTHING), now=NOON).body

    assert long.encode() not in listed
    assert long.encode() in opened


def test_a_message_of_its_greatest_length_stays_one_row(keep: Keep, view: View) -> None:
    keep(
        an_event(
            action="error.raise",
            outcome="error",
            error={"type": "X" * 256, "message": "word " * 819},
            occurred_at=str(minutes(-1)),
        )
    )

    assert len(view().one("a", class_="go").text) < 1_000


@settings(max_examples=40)
@given(st.lists(events(), min_size=1, max_size=3, unique_by=lambda event: event.id or object()))
def test_any_events_make_harmless_pages(drawn: list[Event]) -> None:
    with TemporaryDirectory() as folder, closing(SqliteStore(Path(folder) / "log.db")) as store:
        for event in drawn:
            with suppress(ConflictError, EventError):  # those that no store takes
                store.append(prepared(event), now=NOON)
        viewer = Viewer(store)
        stored = list(store.scan(parse("", now=NOON), access=EVERYTHING))

        for path in ("/", *(f"/events/{event.id}" for event in stored)):
            for zone in ("UTC", "Pacific/Kiritimati"):
                query = {"range": "all", "tz": zone}
                answer = viewer.handle(Request(path=path, access=EVERYTHING, query=query), now=NOON)
                assert answer.status == 200
                check_harmless(read(answer.body))
