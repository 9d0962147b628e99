"""Workers: processes that store beside the server, and what happens when they are killed."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.server.conftest import MakeClient, plain
from tests.server.serving import Serving, serving
from whodid import ids
from whodid.query.parse import parse
from whodid.server.bodies import Upload
from whodid.server.intake import WorkerIntake
from whodid.server.settings import Settings
from whodid.server.writing import Answer
from whodid.stores.sqlite import SqliteStore
from whodid.testing import EVERYTHING
from whodid.times import Instant

pytestmark = pytest.mark.skipif(os.name == "nt", reason="workers need Unix sockets")


def workers_of(server: Serving) -> list[int]:
    """The processes that belong to a server."""
    pid = server.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children")
    if not children.exists():
        pytest.skip("needs /proc to find the workers")
    return [int(child) for child in children.read_text().split()]


def stored_ids(path: Path) -> Counter[str]:
    store = SqliteStore(path)
    query = parse("-action:audit", now=Instant.now())
    found = Counter(stored.id for stored in store.scan(query, access=EVERYTHING))
    assert store.verify(access=EVERYTHING).is_sound
    store.close()
    return found


def test_workers_store_and_answer_as_the_server_itself_does(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with serving(path, ingest_workers=2) as server:
        batch = {"events": [plain(id=ids.uuid7()), plain(id=ids.uuid7())]}

        first = server.request("POST", "/v1/events", batch)
        again = server.request("POST", "/v1/events", batch)
        faulty = server.request("POST", "/v1/events", {"events": [plain(surprise=1)]})
        [page] = [server.request("GET", "/v1/events")[1]]

    assert (first[0], again[0], faulty[0]) == (201, 200, 422)
    assert again[1]["receipts"] == [each | {"duplicate": True} for each in first[1]["receipts"]]
    assert {each["id"] for each in page["events"]} >= {each["id"] for each in batch["events"]}


class Sender:
    """Sends each batch until it is answered, as a client that was told to try again does."""

    def __init__(self, server: Serving, batches: int) -> None:
        self.statuses: Counter[int] = Counter()
        self.sent: list[str] = []
        self._server, self._batches = server, batches
        self._patience = threading.Event()  # nobody sets it
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def join(self) -> None:
        self._thread.join(timeout=60)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        connection = self._server.connect()
        for _ in range(self._batches):
            events = [plain(id=ids.uuid7()) for _ in range(5)]
            self.sent += [event["id"] for event in events]
            self._send(connection, events)
        connection.close()

    def _send(self, connection: http.client.HTTPConnection, events: list[dict[str, Any]]) -> None:
        while True:
            connection.request(
                "POST",
                "/v1/events",
                json.dumps({"events": events}),
                {"Content-Type": "application/json"},
            )
            answer = connection.getresponse()
            answer.read()
            self.statuses[answer.status] += 1
            if answer.status in (200, 201):
                return
            assert answer.status == 503
            # A moment instead of the second that is asked for: the test need not last longer.
            self._patience.wait(int(answer.getheader("retry-after") or "") / 50)


def test_killed_workers_are_started_anew_and_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with serving(path, ingest_workers=2) as server:
        senders = [Sender(server, 150) for _ in range(4)]
        killed: set[int] = set()
        while len(killed) < 6:
            for worker in workers_of(server):
                if worker not in killed:
                    os.kill(worker, signal.SIGKILL)
                    killed.add(worker)
                    break
        for sender in senders:
            sender.join()

    sent = [event_id for sender in senders for event_id in sender.sent]
    assert stored_ids(path) == Counter(sent)


def test_workers_end_with_their_server(tmp_path: Path) -> None:
    with serving(tmp_path / "log.db", ingest_workers=2) as server:
        server.request("POST", "/v1/events", plain())
        workers = workers_of(server)
        server.process.kill()
        server.process.wait()

        assert workers
        for worker in workers:
            _wait_until_gone(worker)


def _wait_until_gone(pid: int) -> None:
    deadline = Instant.now().micros + 30_000_000
    while Path(f"/proc/{pid}/stat").exists():
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        if state == "Z":  # gone, and waits for somebody to notice
            return
        assert Instant.now().micros < deadline, f"{pid} is still there"


def test_too_much_at_once_is_refused_before_it_is_read(
    make_client: MakeClient,
) -> None:
    client = make_client(Settings(max_waiting_bytes=1_000, max_body_bytes=100_000))

    answer = client.post("/v1/events", json=plain(message="x" * 2_000))

    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:whodid:problem:busy"
    assert int(answer.headers["retry-after"]) >= 1
    assert client.post("/v1/events", json=plain()).status_code == 201


def test_slow_bodies_can_not_hold_more_memory_than_there_is(tmp_path: Path) -> None:
    body = b'{"action":"invoice.update","actor":{"type":"user","id":"7"}}'
    head = b"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    with serving(tmp_path / "log.db", max_waiting_bytes=1_000_000, body_timeout_s=4) as server:
        slow = []
        for _ in range(3):
            held = socket.create_connection(server.address)
            held.sendall(head + b"Content-Length: 400000\r\n\r\n" + b"{" * 399_999)
            slow.append(held)
        statuses = sorted(_status(held) for held in slow)
        free = socket.create_connection(server.address)
        free.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)

        assert (statuses, _status(free)) == ([408, 408, 503], 201)
        for held in [*slow, free]:
            held.close()


def test_bodies_that_are_announced_and_do_not_come_keep_nobody_out(tmp_path: Path) -> None:
    head = b"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    with serving(tmp_path / "log.db", max_waiting_bytes=1_000_000, body_timeout_s=2) as server:
        idle = [socket.create_connection(server.address) for _ in range(5)]
        for each in idle:
            each.sendall(head + b"Content-Length: 900000\r\n\r\n")

        status, _ = server.request("POST", "/v1/events", plain())
        timed_out = [_status(each) for each in idle]

        assert status == 201
        assert timed_out == [408] * 5
        for each in idle:
            each.close()


def test_a_server_stops_also_while_a_worker_is_started_anew(tmp_path: Path) -> None:
    with serving(tmp_path / "log.db", ingest_workers=2) as server:
        for worker in workers_of(server):
            os.kill(worker, signal.SIGKILL)
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(timeout=25)

    assert server.process.returncode is not None


def test_health_fails_while_nobody_is_there_to_store(tmp_path: Path) -> None:
    with serving(tmp_path / "log.db", ingest_workers=1, health_memory_s=0) as server:
        healthy, _ = server.request("GET", "/healthz")
        deadline = Instant.now().micros + 20_000_000
        status = 200
        while status == 200:
            for worker in workers_of(server):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
            status, _ = server.request("GET", "/healthz")
            assert Instant.now().micros < deadline

    assert (healthy, status) == (200, 503)


def test_a_worker_runs_no_module_of_the_folder_that_it_is_started_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "msgspec.py").write_text("raise SystemExit('not ours')\n")
    monkeypatch.chdir(tmp_path)
    store = SqliteStore(tmp_path / "log.db")

    async def store_one() -> Answer:
        intake = WorkerIntake(store.url, settings=Settings(ingest_workers=1))
        await intake.start()
        try:
            return await intake.store(Upload(body=json.dumps(plain()).encode()))
        finally:
            await intake.close()

    assert asyncio.run(store_one()).status == 201
    store.close()


def _status(connection: socket.socket) -> int:
    connection.settimeout(30)
    return int(connection.recv(65_536).split()[1])
