from __future__ import annotations

import json
import logging
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.server.conftest import plain
from tests.server.serving import Serving, serving
from whodid.server import problems
from whodid.server.logs import MOST_IN_PERIOD, PERIOD_S, FewWarnings
from whodid.stores.sqlite import SqliteStore

START = 1_800_000_000.0
REFUSED_BODIES = [
    b"{",
    b"[" * 100_000,
    b" " * 300_000,
    json.dumps({"events": [{}] * 500}).encode(),
    json.dumps(plain(message="x" * 5_000)).encode(),
]


def record(text: str, *, at: float, level: int = logging.WARNING) -> logging.LogRecord:
    made = logging.LogRecord("whodid.server", level, __file__, 1, text, ("value",), None)
    made.created = at
    return made


def told(few: FewWarnings, text: str, *, at: float, times: int = 1, **more: Any) -> list[str]:
    """What is written of so many warnings."""
    records = [record(text, at=at, **more) for _ in range(times)]
    return [each.getMessage() for each in records if few.filter(each)]


def test_a_warning_that_comes_over_and_over_is_told_a_few_times() -> None:
    few = FewWarnings()

    assert told(few, "gone: %s", at=START, times=1_000) == ["gone: value"] * MOST_IN_PERIOD


def test_the_next_minute_says_how_many_were_left_out() -> None:
    few = FewWarnings()
    told(few, "gone: %s", at=START, times=1_000 + MOST_IN_PERIOD)

    later = told(few, "gone: %s", at=START + PERIOD_S, times=2)

    assert later == ["gone: value (and 1,000 more like it before, not written)", "gone: value"]


def test_another_warning_is_not_held_back_by_it() -> None:
    few = FewWarnings()
    told(few, "gone: %s", at=START, times=1_000)

    assert told(few, "late: %s", at=START) == ["late: value"]


def test_no_error_is_left_out() -> None:
    few = FewWarnings()

    assert len(told(few, "broken: %s", at=START, times=1_000, level=logging.ERROR)) == 1_000


def test_a_clock_that_is_set_back_silences_nothing() -> None:
    few = FewWarnings()
    told(few, "gone: %s", at=START, times=1_000)

    assert len(told(few, "gone: %s", at=START - 3_600)) == 1


def test_warnings_of_ever_new_texts_fill_no_memory() -> None:
    few = FewWarnings()
    for number in range(10_000):
        told(few, f"{number}: %s", at=START)

    assert len(few._kinds) <= 100


def resident_bytes(server: Serving) -> int:
    pages = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])
    return pages * 4_096


def flood(server: Serving, *, rounds: int) -> set[int]:
    """Send what is refused, over and over; the statuses that came back."""
    statuses = set()
    with closing(server.connect()) as connection:
        for _ in range(rounds):
            for body in REFUSED_BODIES:
                headers = {"Content-Type": "application/json"}
                connection.request("POST", "/v1/events", body=body, headers=headers)
                answer = connection.getresponse()
                answer.read()
                statuses.add(answer.status)
    for _ in range(rounds):
        with socket.create_connection(server.address, timeout=30) as raw:
            raw.sendall(b"nonsense\r\n\r\n")
            raw.recv(4_096)
    return statuses


def test_a_flood_of_what_is_refused_fills_neither_memory_nor_log(tmp_path: Path) -> None:
    with serving(tmp_path / "log.db", max_body_bytes=200_000) as server:
        statuses = flood(server, rounds=40)  # until everything that is kept once is there
        before = resident_bytes(server)
        flood(server, rounds=200)
        grown = resident_bytes(server) - before
        server.process.terminate()
        _, said = server.process.communicate(timeout=30)

    assert statuses == {400, 413, 422}
    assert grown < 10_000_000  # of 80 MB that were sent
    assert len(said) < 2_000


def test_a_quota_that_is_used_up_costs_nothing_however_often_it_is_tried(tmp_path: Path) -> None:
    with serving(tmp_path / "log.db", key_events_per_minute=1) as server:
        assert server.request("POST", "/v1/events", {"events": [plain()] * 100})[0] == 201
        assert flood(server, rounds=20) == {429}
        before = resident_bytes(server)
        flood(server, rounds=200)
        grown = resident_bytes(server) - before

    assert grown < 10_000_000


def test_a_store_that_is_away_is_not_logged_for_each_request(
    client: TestClient, store: SqliteStore, caplog: pytest.LogCaptureFixture
) -> None:
    few = next(each for each in problems._log.filters if isinstance(each, FewWarnings))
    few._kinds.clear()  # other tests made the same warning
    store.close()

    answers = {client.post("/v1/events", json=plain()).status_code for _ in range(50)}

    assert answers == {503}
    assert len(caplog.messages) == MOST_IN_PERIOD
