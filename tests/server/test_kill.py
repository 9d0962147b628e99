"""Kill -9 during ingest: what was acknowledged is there once, the rest once or never."""

from __future__ import annotations

import http.client
import json
import random
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from tests.server.conftest import plain
from tests.server.serving import Serving, start
from whodid import ids
from whodid.query.parse import parse
from whodid.stores.sqlite import SqliteStore
from whodid.testing import EVERYTHING
from whodid.times import Instant

KILLS = 20
CLIENTS = 4

Batch = list[dict[str, Any]]


class Ingest:
    """Clients that post batches until the server is gone.

    Attributes:
        acknowledged: Batches whose receipts arrived.
        unanswered: Batches that were sent, or about to be, when the server died.
    """

    def __init__(self, server: Serving) -> None:
        self.acknowledged: list[Batch] = []
        self.unanswered: list[Batch] = []
        self._server = server
        self._progress = threading.Condition()
        self._threads = [
            threading.Thread(target=self._post_all, args=(number,)) for number in range(CLIENTS)
        ]

    def run_until(self, acknowledged: int) -> None:
        """Start the clients; kill the server in their midst after so many batches."""
        for thread in self._threads:
            thread.start()
        with self._progress:
            reached = self._progress.wait_for(
                lambda: len(self.acknowledged) >= acknowledged, timeout=60
            )
        self._server.process.kill()
        self._server.process.communicate(timeout=30)
        for thread in self._threads:
            thread.join(timeout=60)
        assert reached
        assert not any(thread.is_alive() for thread in self._threads)

    def _post_all(self, number: int) -> None:
        randomly = random.Random(number)
        connection = self._server.connect()
        while True:
            batch = [an_event(number) for _ in range(randomly.choice((1, 1, 5, 40)))]
            try:
                status, _ = post(connection, batch)
            except (OSError, http.client.HTTPException):
                self.unanswered.append(batch)
                break
            assert status == 201
            with self._progress:
                self.acknowledged.append(batch)
                self._progress.notify()
        connection.close()


def an_event(client: int) -> dict[str, Any]:
    return plain(id=ids.uuid7(), tenant={"id": f"tenant{client % 2}"})


def post(connection: http.client.HTTPConnection, batch: Batch) -> tuple[int, Any]:
    connection.request(
        "POST",
        "/v1/events",
        body=json.dumps({"events": batch}),
        headers={"Content-Type": "application/json"},
    )
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def found_of(store: SqliteStore, batch: Batch) -> list[bool]:
    return [
        store.find(event["id"], access=EVERYTHING, tenant=event["tenant"]["id"]) is not None
        for event in batch
    ]


def retry(server: Serving, store: SqliteStore, batches: list[Batch]) -> None:
    """Send again what was not answered: it is stored now, or said to be there already."""
    connection = server.connect()
    for batch in batches:
        before = found_of(store, batch)
        status, answer = post(connection, batch)

        assert len(set(before)) == 1  # a batch is there as a whole or not at all
        assert status == (200 if before[0] else 201)
        assert [receipt["duplicate"] for receipt in answer["receipts"]] == before
        assert [receipt["id"] for receipt in answer["receipts"]] == [event["id"] for event in batch]
    connection.close()


def test_twenty_kills_lose_no_acknowledged_event_and_double_none(tmp_path: Path) -> None:
    database = tmp_path / "log.db"
    randomly = random.Random(20)
    sent: Counter[str] = Counter()
    server = start(database)
    for _ in range(KILLS):
        ingest = Ingest(server)
        ingest.run_until(acknowledged=randomly.randint(1, 25))
        server = start(database)
        store = SqliteStore(database)
        assert all(all(found_of(store, batch)) for batch in ingest.acknowledged)
        retry(server, store, ingest.unanswered)
        store.close()
        for batch in ingest.acknowledged + ingest.unanswered:
            sent.update(event["id"] for event in batch)
    server.process.kill()
    server.process.communicate(timeout=30)

    store = SqliteStore(database)
    query = parse("action:invoice.update", now=Instant.now())
    stored = Counter(found.id for found in store.scan(query, access=EVERYTHING))
    report = store.verify(access=EVERYTHING)
    store.close()

    assert stored == sent
    assert set(stored.values()) == {1}
    assert report.is_sound, report.problems
