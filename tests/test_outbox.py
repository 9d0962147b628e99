from __future__ import annotations

import json
import logging
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.faulty_proxy import FAULTS, faulty_proxy
from tests.server.serving import serving, start
from whodid import AuditLog, ids, outbox
from whodid.canonical import Encoded
from whodid.client import Client
from whodid.errors import BatchError, ConfigError, EventError, RefusedError, StoreUnavailableError
from whodid.outbox import Outbox
from whodid.stores.sqlite import SqliteStore
from whodid.testing import EVERYTHING, an_event, prepared

ROOT = Path(__file__).parents[1]


class Inbox:
    """Where events are sent in these tests: takes them, or does what it is told.

    Attributes:
        batches: What was sent, each as a list of ids.
    """

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.error: Exception | None = None
        self.refused: set[str] = set()
        self._changed = threading.Condition()

    def send(self, lines: Sequence[bytes]) -> None:
        sent = [json.loads(line)["id"] for line in lines]
        with self._changed:
            self.batches.append(sent)
            self._changed.notify_all()
        if self.error is not None:
            raise self.error
        faulty = [place for place, each in enumerate(sent) if each in self.refused]
        if faulty:
            raise BatchError([(place, EventError("$.action", "odd")) for place in faulty])

    def sent(self) -> list[str]:
        return [each for batch in self.batches for each in batch]

    def wait_for(self, batches: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.batches) >= batches, timeout=30)


Make = Callable[..., Outbox]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    with ExitStack() as made:
        yield lambda send, **named: made.enter_context(
            closing(Outbox(tmp_path / "outbox.db", send, **named))
        )


@pytest.fixture(autouse=True)
def no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "RETRY_FIRST_S", 0.02)
    monkeypatch.setattr(outbox, "RETRY_LAST_S", 0.1)
    monkeypatch.setattr(outbox, "LOOK_AGAIN_S", 0.05)


def some(count: int, **fields: Any) -> list[Encoded]:
    return prepared(*(an_event(id=ids.uuid7(), **fields) for _ in range(count)))


def ids_of(batch: Sequence[Encoded]) -> list[str]:
    return [str(each.event.id) for each in batch]


def test_what_is_put_in_goes_out_in_its_order(make: Make) -> None:
    inbox = Inbox()
    box = make(inbox.send)
    events = some(30)

    for each in events:
        box.append([each])
    assert box.flush(30)

    assert inbox.sent() == ids_of(events)
    assert box.waiting().events == 0


def test_many_go_out_together(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox = Inbox()
    box = make(inbox.send)

    box.append(some(1_200))
    assert box.flush(30)

    assert [len(batch) for batch in inbox.batches] == [500, 500, 200]


def test_a_request_has_a_limit_of_bytes_and_one_event_always_fits(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MAX_BODY_BYTES", 700)
    inbox = Inbox()
    box = make(inbox.send)

    box.append([*some(4), *some(1, message="x" * 2_000), *some(2)])
    assert box.flush(30)

    assert [len(batch) for batch in inbox.batches] == [4, 1, 2]


def test_everything_waits_while_the_server_is_away_and_the_lag_is_told(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    inbox = Inbox()
    inbox.error = StoreUnavailableError("https://audit can't be reached")
    box = make(inbox.send)
    with caplog.at_level(logging.INFO, "whodid"):
        box.append(some(3))
        inbox.wait_for(4)
        waiting = box.waiting()
        inbox.error = None
        assert box.flush(30)

    assert (waiting.events, waiting.refused) == (3, 0)
    assert waiting.oldest_s > 0
    assert waiting.size_bytes > 0
    assert waiting.trouble == "https://audit can't be reached"
    assert box.waiting().trouble is None
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]  # said once


def test_a_refused_key_keeps_everything_and_is_an_error(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    inbox = Inbox()
    inbox.error = RefusedError("https://audit: unknown key")
    box = make(inbox.send)
    with caplog.at_level(logging.INFO, "whodid"):
        box.append(some(2))
        inbox.wait_for(2)

    assert box.waiting().events == 2
    assert caplog.records[0].levelname == "ERROR"
    inbox.error = None
    assert box.flush(30)


def test_a_fault_of_ours_does_not_end_the_sending(make: Make) -> None:
    inbox = Inbox()
    inbox.error = ZeroDivisionError("a bug")
    box = make(inbox.send)
    box.append(some(1))
    inbox.wait_for(3)
    inbox.error = None

    assert box.flush(30)


def test_what_can_never_be_stored_is_set_apart_and_the_rest_goes_on(
    make: Make, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    inbox = Inbox()
    box = make(inbox.send)
    events = some(40)
    inbox.refused = {ids_of(events)[7], ids_of(events)[31]}

    box.append(events)
    assert box.flush(30)

    assert (box.waiting().events, box.waiting().refused) == (0, 2)
    assert caplog.text.count("was set apart") == 2
    with sqlite3.connect(tmp_path / "outbox.db") as connection:
        rows = connection.execute("SELECT body, reason FROM whodid_outbox_refused").fetchall()
    connection.close()
    assert {json.loads(body)["id"] for body, _ in rows} == inbox.refused
    assert all("odd" in reason for _, reason in rows)


def test_a_full_outbox_refuses_and_says_what_to_do(make: Make) -> None:
    inbox = Inbox()
    inbox.error = StoreUnavailableError("away")
    box = make(inbox.send, max_bytes=200_000)

    def fill() -> None:
        for _ in range(1_000):
            box.append(some(20, message="x" * 500))

    with pytest.raises(StoreUnavailableError, match=r"is full.*make the server take events"):
        fill()

    before = box.waiting().events
    inbox.error = None
    assert box.flush(30)
    box.append(some(20, message="x" * 500))
    assert before % 20 == 0
    assert box.flush(30)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outbox.db").write_text("something else entirely" * 100)

    with pytest.raises(ConfigError, match="no SQLite file"):
        Outbox(tmp_path / "outbox.db", Inbox().send)


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match=r"nowhere/outbox\.db can't be used"):
        Outbox(tmp_path / "nowhere" / "outbox.db", Inbox().send)


def test_the_file_is_its_owners_alone(make: Make, tmp_path: Path) -> None:
    make(Inbox().send).append(some(1))

    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name


def test_what_was_left_goes_out_with_the_next_start(make: Make, tmp_path: Path) -> None:
    away = Inbox()
    away.error = StoreUnavailableError("away")
    first = Outbox(tmp_path / "outbox.db", away.send)
    events = some(3)
    first.append(events)
    away.wait_for(1)
    first.close()

    inbox = Inbox()
    assert make(inbox.send).flush(30)

    assert inbox.sent() == ids_of(events)


def test_the_end_of_a_short_script_sends_what_it_put_in(tmp_path: Path) -> None:
    with serving(tmp_path / "log.db") as server:
        script = (
            "from whodid import AuditLog\n"
            f"audit = AuditLog({server.url!r}, outbox={str(tmp_path / 'o.db')!r})\n"
            "audit.record('invoice.send', actor=('user', '7'))\n"
        )
        done = subprocess.run([sys.executable, "-W", "error", "-c", script], check=False, cwd=ROOT)

    assert done.returncode == 0
    store = SqliteStore(tmp_path / "log.db", create=False)
    assert store.stats(access=EVERYTHING).events == 1
    store.close()


def test_a_forked_child_puts_in_and_sends_by_itself(make: Make, tmp_path: Path) -> None:
    inbox = Inbox()
    box = make(inbox.send)
    box.append(some(1))
    assert box.flush(30)
    [theirs] = some(1)
    child = os.fork()
    if child == 0:
        box.append([theirs])
        os._exit(0)
    os.waitpid(child, 0)

    [ours] = some(1)
    box.append([ours])
    assert box.flush(30)

    assert inbox.sent()[1:] == ids_of([theirs, ours])


# -- with a real server, through a network that does what networks do


def stored_ids(database: Path) -> list[str]:
    """In the order in which they were sealed."""
    store = SqliteStore(database, create=False)
    found: list[Any] = []
    while page := store.read_from(found[-1].position + 1 if found else 0, access=EVERYTHING):
        found += page
    store.close()
    return [each.id for each in found]


@pytest.mark.parametrize("seed", range(4))
def test_each_event_reaches_the_server_once_through_whatever_goes_wrong(
    tmp_path: Path, seed: int
) -> None:
    rng = Random(seed)
    faults = [*FAULTS, *rng.choices(FAULTS, k=40)]
    rng.shuffle(faults)
    recorded: list[str] = []
    with (
        serving(tmp_path / "log.db") as server,
        faulty_proxy(server.address, faults) as proxy,
        AuditLog(proxy.url, outbox=tmp_path / "outbox.db") as audit,
    ):
        while len(proxy.seen) < len(faults):
            event_id = audit.record("invoice.send", actor=("user", "7"), target=("invoice", "42"))
            recorded.append(str(event_id))
        assert audit.flush(60)

    assert stored_ids(tmp_path / "log.db") == recorded
    assert set(proxy.seen) >= set(FAULTS)


def test_a_server_that_is_killed_and_comes_back_has_each_event_once(tmp_path: Path) -> None:
    database = tmp_path / "log.db"
    recorded: list[str] = []
    server = start(database)
    with (
        faulty_proxy(server.address) as proxy,
        AuditLog(proxy.url, outbox=tmp_path / "outbox.db") as audit,
    ):
        for number in range(6):
            recorded += [str(audit.record("invoice.send", actor="user:7")) for _ in range(50)]
            if number % 2:
                server.process.send_signal(signal.SIGKILL)
                server.process.communicate()
                recorded += [str(audit.record("invoice.send", actor="user:7")) for _ in range(5)]
                server = start(database)
                proxy.target = server.address
        assert audit.flush(60)
    server.process.terminate()
    server.process.communicate(timeout=30)

    assert stored_ids(database) == recorded


SENDER = """
import sys
from whodid import AuditLog
audit = AuditLog(sys.argv[1], outbox=sys.argv[2])
while True:
    print(audit.record("invoice.send", actor=("user", "7")), flush=True)
"""


def test_senders_that_are_killed_lose_nothing_they_recorded(tmp_path: Path) -> None:
    """Two processes share the outbox; each is killed in the middle of its work, several times."""
    rng = Random(1)
    recorded: set[str] = set()
    with serving(tmp_path / "log.db") as server:
        arguments = [sys.executable, "-c", SENDER, server.url, str(tmp_path / "outbox.db")]
        for _ in range(4):
            senders = [
                subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd=ROOT)
                for _ in range(2)
            ]
            for sender in senders:
                assert sender.stdout
                for _ in range(rng.randrange(5, 60)):
                    recorded.add(sender.stdout.readline().strip())
                sender.kill()
                rest, _ = sender.communicate()
                recorded |= {line for line in rest.split("\n")[:-1] if line}
        with AuditLog(server.url, outbox=tmp_path / "outbox.db") as audit:
            assert audit.flush(60)

    stored = stored_ids(tmp_path / "log.db")
    assert len(stored) == len(set(stored))
    assert set(stored) >= recorded


def test_two_processes_send_one_at_a_time_and_the_end_of_one_hands_over(tmp_path: Path) -> None:
    first, second = Inbox(), Inbox()
    one = Outbox(tmp_path / "outbox.db", first.send)
    one.append(some(1))
    assert one.flush(30)
    other = Outbox(tmp_path / "outbox.db", second.send)

    other.append(some(3))
    assert other.flush(30)
    assert (sum(map(len, first.batches)), second.batches) == (4, [])
    one.close()
    other.append(some(2))
    assert other.flush(30)
    other.close()

    assert sum(map(len, second.batches)) == 2


# -- as an AuditLog


def test_a_log_on_a_server_is_read_there(tmp_path: Path) -> None:
    with (
        serving(tmp_path / "log.db") as server,
        AuditLog(server.url, outbox=tmp_path / "outbox.db") as audit,
    ):
        event_id = audit.record("invoice.send", actor=("user", "7"), target=("invoice", "42"))
        assert audit.flush(30)

        [found] = audit.search("action:invoice.send")
        assert found.id == event_id
        assert audit.get(str(event_id)) == found
        assert audit.history(("invoice", "42")) == [found]
        with pytest.raises(ConfigError, match="look at them there"):
            _ = audit.store
        with pytest.raises(ConfigError, match="the key decides"):
            audit.search("", access=EVERYTHING)


def test_a_log_on_a_server_needs_an_outbox() -> None:
    with pytest.raises(ConfigError, match="outbox: name a file"):
        AuditLog("https://audit.example.com")


def test_when_the_outbox_takes_nothing_events_are_spooled_and_come_back(tmp_path: Path) -> None:
    with (
        serving(tmp_path / "log.db") as server,
        AuditLog(server.url, outbox=tmp_path / "outbox.db") as audit,
    ):
        box = audit.outbox
        assert box
        box._max_bytes = 0
        lost = audit.record("invoice.send", actor=("user", "7"))
        assert list((tmp_path / "outbox.db-spool").iterdir())
        box._max_bytes = 1 << 30
        audit.delivery.recover()  # type: ignore[attr-defined]  # a Direct
        assert audit.flush(30)

        assert [each.id for each in audit.search("action:invoice.*")] == [lost]


def test_what_was_lost_is_told_to_the_server_too(tmp_path: Path) -> None:
    with (
        serving(tmp_path / "log.db") as server,
        AuditLog(server.url, outbox=tmp_path / "outbox.db", on_failure="drop") as audit,
    ):
        box = audit.outbox
        assert box
        box._max_bytes = 0
        audit.record("invoice.send", actor=("user", "7"))
        box._max_bytes = 1 << 30
        audit.record("invoice.send", actor=("user", "8"))
        assert audit.flush(30)

        [told] = audit.search("action:logging.drop")

    assert told.metadata == {"records": 1}


def test_the_key_may_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHODID_KEY", "two words")

    with pytest.raises(ConfigError, match="one word"):
        AuditLog("https://audit.example.com", outbox=tmp_path / "outbox.db")


def test_a_client_after_fork_has_a_connection_of_its_own(tmp_path: Path) -> None:
    with serving(tmp_path / "log.db") as server, closing(Client(server.url)) as client:
        client.append(some(1))
        kept = client._kept
        client.begin_anew()
        client.append(some(1))

        assert client._kept is not kept
        assert kept
        kept.close()
