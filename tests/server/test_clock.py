"""A server whose clock is set back by hours, as happens when a machine finds its time server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.server.conftest import plain
from tests.server.serving import Serving, serving
from whodid import recorder
from whodid.event import Actor, Event
from whodid.stores.sqlite import SqliteStore
from whodid.testing import EVERYTHING
from whodid.times import Instant

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
needs_faketime = pytest.mark.skipif(
    not LIBRARIES,
    reason="NOT TESTED: no libfaketime on this machine; on Debian: apt-get install faketime",
)
SetClock = Callable[[str], None]


@pytest.fixture
def set_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """Moves the clock of the servers that are started, by such as `-3h`."""
    moved = tmp_path / "moved"
    moved.write_text("+0")
    monkeypatch.setenv("LD_PRELOAD", str(LIBRARIES[0]))
    monkeypatch.setenv("FAKETIME_TIMESTAMP_FILE", str(moved))
    monkeypatch.setenv("FAKETIME_NO_CACHE", "1")
    # Setting a clock moves no monotonic one.
    monkeypatch.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")

    def set_clock(by: str) -> None:
        moved.write_text(by)

    return set_clock


@pytest.fixture
def server(tmp_path: Path, set_clock: SetClock) -> Iterator[Serving]:
    with serving(tmp_path / "log.db", key_events_per_minute=6, tail_heartbeat_s=0.2) as server:
        yield server
        server.process.terminate()
        _, said = server.process.communicate(timeout=30)
    assert said == ""


def stored(server: Serving, message: str) -> dict[str, Any]:
    status, answer = server.request("POST", "/v1/events", plain(message=message))
    assert status == 201
    receipt: dict[str, Any] = answer["receipts"][0]
    return receipt


def found(server: Serving, query: str = "") -> Any:
    status, page = server.request("GET", f"/v1/events?q=action:invoice{query}")
    assert status == 200
    return page


@needs_faketime
def test_events_are_stored_on_and_keep_the_order_of_their_indices(
    server: Serving, set_clock: SetClock, tmp_path: Path
) -> None:
    first = stored(server, "first")
    set_clock("-3h")
    second = stored(server, "second")
    set_clock("+3h")
    third = stored(server, "third")

    assert [each["index"] for each in (first, second, third)] == [0, 1, 2]
    assert second["received_at"] < first["received_at"] < third["received_at"]
    assert {event["message"] for event in found(server)["events"]} == {"first", "second", "third"}
    store = SqliteStore(tmp_path / "log.db")
    report = store.verify(access=EVERYTHING)
    store.close()
    assert report.is_sound, report.problems


@needs_faketime
def test_pages_go_on_where_they_were(server: Serving, set_clock: SetClock) -> None:
    for number in range(3):
        stored(server, str(number))
    page = found(server, "&limit=1")
    set_clock("-3h")
    stored(server, "later, by its clock before")
    seen = [event["message"] for event in page["events"]]
    while page["older"]:
        page = found(server, f"&limit=1&cursor={page['older']}")
        seen += [event["message"] for event in page["events"]]

    assert seen == ["2", "1", "0"]
    assert page["arrived"] == 1


@needs_faketime
def test_every_reading_is_answered_and_noted(server: Serving, set_clock: SetClock) -> None:
    stored(server, "before")
    asked = [
        f"/v1/{path}?q={query}"
        for path in ("events", "facets", "histogram", "count")
        for query in ("", "created:1h", "created:today", "received:<1h")
    ]
    before = {server.request("GET", path)[0] for path in asked}
    set_clock("-3h")
    after = {server.request("GET", path)[0] for path in asked}
    noted = server.request("GET", "/v1/count?q=action:audit.log")[1]["count"]

    assert (before, after) == ({200}, {200})
    # A clock that went back begins a new period: one reading too many, none too few.
    assert noted == 2 * 4 + 1


@needs_faketime
def test_a_tail_goes_on(server: Serving, set_clock: SetClock) -> None:
    with closing(server.connect()) as connection:
        connection.request("GET", "/v1/tail?q=action:invoice")
        tail = connection.getresponse()
        stored(server, "before")
        seen = [next_message(tail)]
        set_clock("-3h")
        stored(server, "after")
        seen.append(next_message(tail))
        set_clock("+3h")
        stored(server, "ahead")
        seen.append(next_message(tail))

    assert seen == ["before", "after", "ahead"]


def next_message(tail: Any) -> str:
    while not (line := tail.readline()).startswith(b"data:"):
        assert line, "the tail ended"
    message: str = json.loads(line.removeprefix(b"data:"))["message"]
    return message


@needs_faketime
def test_who_has_used_up_a_quota_waits_no_longer_and_no_shorter(
    server: Serving, set_clock: SetClock
) -> None:
    for number in range(6):
        stored(server, str(number))
    waits = []
    for by in ("+0", "-3h", "+3h"):
        set_clock(by)
        with closing(server.connect()) as connection:
            body, headers = json.dumps(plain()), {"Content-Type": "application/json"}
            connection.request("POST", "/v1/events", body=body, headers=headers)
            answer = connection.getresponse()
            answer.read()
            waits.append((answer.status, int(answer.headers["retry-after"])))

    assert {status for status, _ in waits} == {429}
    assert all(1 <= wait <= 10 for _, wait in waits)


@needs_faketime
def test_health_is_good(server: Serving, set_clock: SetClock) -> None:
    stored(server, "before")
    set_clock("-30h")

    assert server.request("GET", "/healthz") == (200, {"status": "ok"})


def test_a_store_takes_events_whose_clock_was_set_back(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "log.db")
    event = Event(action="a.b", actor=Actor(type="system"))
    times = ["2026-03-15T12:00:00Z", "2026-03-15T07:00:00Z", "2026-03-15T09:00:00Z"]
    receipts = [
        store.append([recorder.prepare(event)], now=Instant.parse(time))[0] for time in times
    ]
    report = store.verify(access=EVERYTHING)
    store.close()

    assert [receipt.index for receipt in receipts] == [0, 1, 2]
    assert [receipt.received_at for receipt in receipts] == [Instant.parse(time) for time in times]
    assert report.is_sound, report.problems
