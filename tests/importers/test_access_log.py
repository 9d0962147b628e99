from __future__ import annotations

import pytest
from msgspec import UNSET

from tests.importers.conftest import CONTEXT, event_of_line, vendor_lines
from tests.importers.samples import ACCESS_LOG
from whodid.event import Event
from whodid.importers import READERS, RawRecord, UnmappableError


def of(line: str, *, occurrence: int = 1) -> Event:
    return event_of_line("access-log", line, occurrence=occurrence)


def a_line(
    request: str = "GET /berths HTTP/1.1",
    *,
    before: str = "203.0.113.9 - -",
    time: str = "21/Jan/2025:17:39:10 +0000",
    status: str = "200",
) -> str:
    return f'{before} [{time}] "{request}" {status} 512 "-" "curl/8.5.0"'


def test_a_line_becomes_an_event_with_all_its_parts() -> None:
    event = of(ACCESS_LOG[0])

    assert (event.action, event.outcome) == ("http.create", "success")
    assert str(event.occurred_at) == "2025-01-21T16:39:10.000000Z"
    assert (event.actor.type, event.actor.id) == ("user", "ana")
    assert [(target.type, target.id) for target in event.targets] == [("path", "/berths/7/book")]
    assert event.client
    assert (event.client.ip, event.client.user_agent) == ("203.0.113.9", "Mozilla/5.0 (X11)")
    assert event.request
    assert (event.request.method, event.request.url, event.request.status) == (
        "POST", "/berths/7/book", 201,
    )  # fmt: skip
    assert event.source
    assert event.source.app == "access-log"
    assert event.metadata == {
        "source_action": "POST",
        "protocol": "HTTP/1.1",
        "bytes": 512,
        "referrer": "https://harbour.example/berths",
        "parameters": ["token", "from"],
    }


def test_values_of_a_query_are_kept_nowhere() -> None:
    for line in ACCESS_LOG:
        assert "q8Zr5tYw1nUv" not in str(of(line))


@pytest.mark.parametrize("mark", "?#;")
def test_whatever_follows_the_path_is_stripped(mark: str) -> None:
    event = of(a_line(f"GET /reset{mark}q8Zr5tYw1nUv HTTP/1.1"))

    assert event.request
    assert event.request.url == "/reset"
    assert "q8Zr5tYw1nUv" not in str(event)


@pytest.mark.parametrize(
    ("request_line", "action"),
    [
        ("GET / HTTP/1.1", "http.read"),
        ("head / HTTP/1.0", "http.read"),
        ("OPTIONS * HTTP/1.1", "http.read"),
        ("POST / HTTP/1.1", "http.create"),
        ("PUT / HTTP/2.0", "http.update"),
        ("PATCH / HTTP/2", "http.update"),
        ("DELETE / HTTP/1.1", "http.delete"),
        ("BREW /pot HTTP/1.1", "http.request"),
        ("GET /a b c", "http.read"),
        ("-", "http.request"),
        ("", "http.request"),
        ("\\x16\\x03\\x01\\x00", "http.request"),
    ],
)
def test_the_method_is_the_action(request_line: str, action: str) -> None:
    assert of(a_line(request_line)).action == action


@pytest.mark.parametrize(
    ("status", "outcome", "code"),
    [
        ("200", "success", UNSET),
        ("304", "success", UNSET),
        ("401", "denied", "not_permitted"),
        ("403", "denied", "not_permitted"),
        ("407", "denied", "not_permitted"),
        ("404", "failure", "not_found"),
        ("429", "failure", "rate_limited"),
        ("500", "error", UNSET),
        ("-", "unknown", UNSET),
        ("000", "unknown", UNSET),
    ],
)
def test_the_status_is_the_outcome(status: str, outcome: str, code: object) -> None:
    event = of(a_line(status=status))

    assert event.outcome == outcome
    assert (event.reason.code if event.reason else UNSET) == code


@pytest.mark.parametrize(
    ("before", "kind", "own_id", "ip", "host"),
    [
        ("203.0.113.9 - -", "anonymous", UNSET, "203.0.113.9", UNSET),
        ("203.0.113.9 - ana", "user", "ana", "203.0.113.9", UNSET),
        ("203.0.113.9 - Ana von Lunde", "user", "Ana von Lunde", "203.0.113.9", UNSET),
        ("a.example:443 2001:db8::7 - -", "anonymous", UNSET, "2001:db8::7", "a.example:443"),
        ("crane.example - -", "anonymous", UNSET, UNSET, UNSET),
    ],
)
def test_who_and_from_where_stand_at_the_beginning(
    before: str, kind: str, own_id: object, ip: object, host: object
) -> None:
    event = of(a_line(before=before))

    assert (event.actor.type, event.actor.id) == (kind, own_id)
    assert (event.client.ip if event.client else UNSET) == ip
    assert event.source
    assert event.source.host == host


def test_common_format_and_quotes_around_the_line_are_read() -> None:
    common = '203.0.113.9 - - [21/Jan/2025:17:39:10 +0000] "GET / HTTP/1.1" 200 512'

    assert of(common).outcome == of('"' + common).outcome == "success"


@pytest.mark.parametrize(
    "time",
    ["31/Feb/2025:17:39:10 +0000", "21/Jän/2025:17:39:10 +0000", "21/Abc/2025:17:39:10 +0000",
     "21/Jan/2025:24:39:10 +0000", "21/Jan/2025:17:39:60 +0000", "21/Jan/2025:17:39:10 +9900"],
)  # fmt: skip
def test_a_time_that_is_none_is_not_guessed(time: str) -> None:
    with pytest.raises(UnmappableError):
        of(a_line(time=time))


@pytest.mark.parametrize("line", ["", "hello", '{"json": 1}', "203.0.113.9 - - GET / 200"])
def test_another_line_is_unmappable(line: str) -> None:
    with pytest.raises(UnmappableError, match="no line of an access log"):
        READERS["access-log"].read({"line": line, "occurrence": 1})


def test_equal_lines_of_one_file_are_events_of_their_own() -> None:
    ids = [of(a_line(), occurrence=number).id for number in (1, 2, 3, 1)]

    assert len(set(ids)) == 3
    assert ids[0] == ids[3]


def test_bytes_that_are_no_text_are_written_with_backslashes() -> None:
    raw = a_line("GET /caf~ HTTP/1.1").encode().replace(b"~", b"\xe9")
    reader = READERS["access-log"]
    piece = RawRecord(number=1, start=0, end=len(raw), raw=raw)

    event = reader.read(reader.decode(piece, CONTEXT))

    assert event.request
    assert event.request.url == "/caf\\xe9"


def test_every_line_of_a_public_site_has_time_actor_and_action() -> None:
    lines = vendor_lines("apache-access-elastic", "access.log.gz")

    events = [of(line) for line in lines]

    assert len(events) == 10_000
    assert all(event.occurred_at and event.client and event.client.ip for event in events)
    assert {event.actor.type for event in events} == {"anonymous"}
    assert min(str(event.occurred_at) for event in events).startswith("2015-05-17")
    assert max(str(event.occurred_at) for event in events).startswith("2015-05-20")
