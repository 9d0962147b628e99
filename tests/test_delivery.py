from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whodid import ids
from whodid.actions import sentence
from whodid.canonical import Encoded
from whodid.delivery import Buffered, Direct, Notices, Tally, words_of
from whodid.errors import ConfigError, ConflictError, EventError, StoreUnavailableError
from whodid.event import Actor, Event, StoredEvent, Target
from whodid.recorder import prepare
from whodid.spool import REJECTED, Spool
from whodid.stores.sqlite import SqliteStore
from whodid.testing import EVERYTHING, an_event, prepared


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "log.db")
    yield store
    store.close()


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path / "log.db-spool")
    yield spool
    spool.close()


@pytest.fixture
def direct(store: SqliteStore, spool: Spool) -> Direct:
    return Direct(store, prepare=prepare, spool=spool)


@pytest.fixture
def buffered(store: SqliteStore, spool: Spool) -> Iterator[Buffered]:
    buffered = Buffered(store, prepare=prepare, spool=spool)
    yield buffered
    buffered.close()


def some(number: int, **only_what_matters: Any) -> list[Event]:
    return [an_event(id=ids.uuid7(), **only_what_matters) for _ in range(number)]


def ids_of(events: Sequence[Event]) -> list[str]:
    return [str(each.id) for each in events]


def stored(store: SqliteStore) -> list[StoredEvent]:
    """In the order in which they were appended."""
    found: list[StoredEvent] = []
    while page := store.read_from(found[-1].position + 1 if found else 0, access=EVERYTHING):
        found += page
    return found


def stored_ids(store: SqliteStore) -> list[str]:
    return [each.id for each in stored(store)]


def said(event: StoredEvent) -> str:
    return "".join(fragment.text for fragment in sentence(event))


@contextmanager
def a_broken_store(store: SqliteStore) -> Iterator[None]:
    """The database can't be written while the block runs."""
    store._writing.execute("PRAGMA query_only = ON")
    yield
    store._writing.execute("PRAGMA query_only = OFF")


class Gate:
    """A writer that lets events into a store only while it is open."""

    def __init__(self, store: SqliteStore) -> None:
        self.store, self._is_open = store, threading.Event()
        self.entered = threading.Semaphore(0)

    def append(self, batch: Sequence[Encoded], **rest: Any) -> object:
        self.entered.release()
        self._is_open.wait()
        return self.store.append(batch, **rest)

    def open(self) -> None:
        self._is_open.set()


# Direct


def test_an_event_is_stored_when_deliver_returns(direct: Direct, store: SqliteStore) -> None:
    events = some(2)
    direct.deliver(events)

    assert stored_ids(store) == ids_of(events)
    assert direct.tally == Tally(written=2)


def test_an_event_without_id_and_time_gets_both(direct: Direct, store: SqliteStore) -> None:
    direct.deliver([an_event()])

    [found] = stored(store)
    assert found.event.occurred_at
    assert found.event.id


def test_nothing_delivered_is_no_append(direct: Direct, store: SqliteStore) -> None:
    direct.deliver([])

    assert direct.tally == Tally()
    assert direct.flush()


def test_what_the_store_cannot_take_is_spooled_and_put_back_at_the_next_success(
    direct: Direct, store: SqliteStore, spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    failed, later = some(3), some(1)
    with a_broken_store(store):
        direct.deliver(failed)
        in_between = stored_ids(store)
    direct.deliver(later)

    assert in_between == []
    assert stored_ids(store) == ids_of(later + failed)
    assert direct.tally == Tally(written=1, spooled=3, put_back=3)
    assert "3 events not stored but spooled in" in caplog.text
    assert "read-only" in caplog.text
    assert spool.size_bytes() == 0


def test_what_a_dead_process_spooled_is_put_back_at_the_start(
    store: SqliteStore, spool: Spool
) -> None:
    events = some(3)
    spool.add(prepared(*events))
    spool.close()

    direct = Direct(store, prepare=prepare, spool=spool)

    assert stored_ids(store) == ids_of(events)
    assert direct.tally == Tally(put_back=3)


def test_nothing_is_put_back_while_the_host_could_roll_it_back(
    store: SqliteStore, spool: Spool
) -> None:
    spool.add(prepared(*some(1)))
    spool.close()
    is_lasting = False
    direct = Direct(store, prepare=prepare, spool=spool, is_lasting=lambda: is_lasting)
    direct.deliver(some(1))
    before = direct.tally.put_back
    is_lasting = True
    direct.deliver(some(1))

    assert before == 0
    assert direct.tally == Tally(written=2, put_back=1)


def test_with_raise_a_failure_is_the_callers(store: SqliteStore) -> None:
    direct = Direct(store, prepare=prepare, on_failure="raise")

    with a_broken_store(store), pytest.raises(StoreUnavailableError, match="read-only"):
        direct.deliver(some(1))
    with pytest.raises(StoreUnavailableError, match="busy"):
        direct.failed(some(1), StoreUnavailableError("busy"))

    assert stored(store) == []
    assert direct.tally == Tally()


def test_with_raise_an_error_of_a_driver_is_one_of_ours(store: SqliteStore) -> None:
    direct = Direct(store, prepare=prepare, on_failure="raise")

    with pytest.raises(StoreUnavailableError, match="RuntimeError") as caught:
        direct.failed(some(1), RuntimeError("password=hunter2xyzzy"))

    assert isinstance(caught.value.__cause__, RuntimeError)
    assert "hunter2" not in str(caught.value)


def test_with_drop_events_are_counted_and_the_log_says_what_it_lacks(
    store: SqliteStore, caplog: pytest.LogCaptureFixture
) -> None:
    direct = Direct(store, prepare=prepare, on_failure="drop")
    with a_broken_store(store):
        direct.deliver([*some(2), *some(1, tenant="acme")])
    direct.deliver(some(1))

    [_, *found] = stored(store)
    drops = {each.tenant_id: each.event for each in found}
    assert direct.tally == Tally(written=1, lost=3)
    assert {tenant: each.metadata for tenant, each in drops.items()} == {
        "default": {"records": 2},
        "acme": {"records": 1},
    }
    assert {each.action for each in drops.values()} == {"audit.logging.drop"}
    assert sorted(said(each) for each in found) == [
        "lost events that could not be kept: 1",
        "lost events that could not be kept: 2",
    ]
    assert drops["acme"].reason
    assert drops["acme"].reason.code == "store_unavailable"
    assert drops["acme"].severity == "critical"
    assert "3 events lost" in caplog.text


def test_what_not_even_the_spool_can_keep_is_counted_and_said(
    store: SqliteStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool = Spool(tmp_path / "small", max_bytes=100)
    direct = Direct(store, prepare=prepare, spool=spool)
    with a_broken_store(store):
        direct.deliver(some(2))
    direct.deliver(some(1))

    [_, drop] = stored(store)
    assert direct.tally == Tally(written=1, lost=2)
    assert (drop.event.action, drop.event.metadata) == ("audit.logging.drop", {"records": 2})
    assert drop.event.reason
    assert drop.event.reason.code == "spool_unavailable"
    assert "2 events lost: the spool" in caplog.text


def test_an_event_that_cannot_be_stored_stops_no_other(
    direct: Direct, store: SqliteStore, caplog: pytest.LogCaptureFixture
) -> None:
    events = some(3)
    huge = msgspec.structs.replace(
        events[1], targets=tuple(Target(type="t", attributes={"a": "x" * 4_000}) for _ in range(20))
    )
    direct.deliver([events[0], huge, events[2]])

    assert stored_ids(store) == ids_of([events[0], events[2]])
    assert direct.tally == Tally(written=2, rejected=1)
    assert "1 event can't be stored" in caplog.text


def test_with_raise_an_event_that_cannot_be_stored_is_the_callers(store: SqliteStore) -> None:
    direct = Direct(store, prepare=prepare, on_failure="raise")

    with pytest.raises(EventError, match="written by whodid alone"):
        direct.deliver([*some(1), an_event(action="audit.logging.stop")])

    assert stored(store) == []


def test_with_raise_a_fault_of_ours_is_an_error_that_nobody_passes_over(
    store: SqliteStore,
) -> None:
    def prepare_none(event: Event) -> Encoded:
        raise RuntimeError("a fault")

    with pytest.raises(EventError, match="made ready to be stored: RuntimeError"):
        Direct(store, prepare=prepare_none, on_failure="raise").deliver(some(1))


def test_a_contradiction_is_set_apart_and_stops_no_other(
    direct: Direct, store: SqliteStore, spool: Spool
) -> None:
    events = some(3)
    store.append(prepared(msgspec.structs.replace(events[1], actor=Actor(type="system"))))
    direct.deliver(events)

    assert direct.tally == Tally(written=2, rejected=1)
    assert set(stored_ids(store)) == set(ids_of(events))
    assert str(events[1].id) in (spool.folder / REJECTED).read_text()


def test_with_raise_a_contradiction_is_the_callers(store: SqliteStore) -> None:
    [event] = some(1)
    store.append(prepared(event))
    direct = Direct(store, prepare=prepare, on_failure="raise")

    with pytest.raises(ConflictError):
        direct.deliver([msgspec.structs.replace(event, actor=Actor(type="system"))])


def test_events_of_a_thread_that_is_told_to_end_are_spooled(
    store: SqliteStore, spool: Spool
) -> None:
    class Interrupted:
        def append(self, batch: Sequence[Encoded], **rest: Any) -> object:
            raise SystemExit  # as the handler of a signal does, e.g. gunicorn's

    direct = Direct(Interrupted(), prepare=prepare, spool=spool)
    events = some(1)
    with pytest.raises(SystemExit):
        direct.deliver(events)
    Direct(store, prepare=prepare, spool=spool)

    assert stored_ids(store) == ids_of(events)


def test_events_that_somebody_else_could_not_write_are_spooled(
    direct: Direct, store: SqliteStore, caplog: pytest.LogCaptureFixture
) -> None:
    events = some(2)
    direct.failed(events, RuntimeError("connection to postgres://app:hunter2xyzzy@db lost"))
    before = stored_ids(store)
    direct.recover()

    assert before == []
    assert stored_ids(store) == ids_of(events)
    assert "RuntimeError" in caplog.text
    assert "hunter2" not in caplog.text


def test_many_threads_lose_nothing_while_the_store_comes_and_goes(
    direct: Direct, store: SqliteStore
) -> None:
    events = [some(1)[0] for _ in range(160)]

    def deliver_each(part: Sequence[Event]) -> None:
        for each in part:
            direct.deliver([each])

    threads = [
        threading.Thread(target=deliver_each, args=(events[start::8],)) for start in range(8)
    ]
    with a_broken_store(store):
        for thread in threads[:4]:
            thread.start()
        for thread in threads[:4]:
            thread.join()
    for thread in threads[4:]:
        thread.start()
    for thread in threads[4:]:
        thread.join()
    direct.recover()

    found = stored_ids(store)
    assert len(found) == 160
    assert set(found) == set(ids_of(events))


# Both

STEPS = st.lists(
    st.sampled_from(["one", "many", "break", "mend", "restart", "flush", "recover"]), max_size=30
)


@pytest.mark.parametrize("mode", [Direct, Buffered])
@settings(max_examples=30)
@given(steps=STEPS)
def test_whatever_fails_and_restarts_each_event_is_stored_once(
    tmp_path_factory: pytest.TempPathFactory, mode: type[Direct | Buffered], steps: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    store, spool = SqliteStore(folder / "log.db"), Spool(folder / "spool")
    delivery = mode(store, prepare=prepare, spool=spool)
    delivered: list[Event] = []
    for step in [*steps, "mend", "restart"]:
        if step in ("one", "many"):
            events = some(1 if step == "one" else 20)
            delivery.deliver(events)
            delivered += events
        elif step in ("break", "mend"):
            store._writing.execute(f"PRAGMA query_only = {'ON' if step == 'break' else 'OFF'}")
        elif step == "restart":
            delivery.close()
            spool.close()
            delivery = mode(store, prepare=prepare, spool=spool)
        elif step == "flush":
            delivery.flush()
        else:
            delivery.recover()
    found = stored_ids(store)
    delivery.close()
    store.close()

    assert sorted(found) == sorted(ids_of(delivered))


# Buffered


def test_a_flush_writes_all_that_was_delivered_in_order(
    buffered: Buffered, store: SqliteStore
) -> None:
    events = some(1_200)
    for each in events:
        buffered.deliver([each])
    is_written = buffered.flush()

    assert is_written
    assert stored_ids(store) == ids_of(events)
    assert (buffered.tally, buffered.waiting) == (Tally(written=1_200), 0)


def test_events_are_written_without_a_flush(store: SqliteStore) -> None:
    gate = Gate(store)
    gate.open()
    buffered = Buffered(gate, prepare=prepare, on_failure="drop")
    buffered.deliver(some(1))

    assert gate.entered.acquire(timeout=10)
    buffered.close()


def test_an_event_is_as_it_was_when_it_was_delivered(
    buffered: Buffered, store: SqliteStore
) -> None:
    notes = {"status": "draft", "list": [1]}
    buffered.deliver([an_event(metadata=notes), Event(action="a.b", actor=Actor(type="system"))])
    notes["status"] = "sent"
    buffered.flush()

    assert stored(store)[0].event.metadata == {"status": "draft", "list": [1]}


def test_closing_writes_what_is_queued_and_later_events_are_written_at_once(
    buffered: Buffered, store: SqliteStore
) -> None:
    events = some(3)
    buffered.deliver(events[:2])
    buffered.close()
    buffered.close()
    at_the_close = stored_ids(store)
    buffered.deliver(events[2:])

    assert at_the_close == ids_of(events[:2])
    assert stored_ids(store) == ids_of(events)


def test_a_flush_gives_up_when_its_time_is_over(store: SqliteStore) -> None:
    gate = Gate(store)
    buffered = Buffered(gate, prepare=prepare, on_failure="drop")
    buffered.deliver(some(1))

    assert not buffered.flush(timeout_s=0.01)
    gate.open()
    assert buffered.flush()
    buffered.close()


def test_a_full_queue_drops_counts_and_records_what_it_dropped(store: SqliteStore) -> None:
    gate = Gate(store)
    buffered = Buffered(gate, prepare=prepare, on_failure="raise", capacity=2, when_full="drop")
    events = some(1)
    buffered.deliver(events)
    gate.entered.acquire()  # the thread has taken it, so the queue is empty
    for _ in range(2):
        events += some(1)
        buffered.deliver(events[-1:])
    buffered.deliver(some(3, tenant="acme"))
    gate.open()
    buffered.close()

    found = stored(store)
    [drop] = [each for each in found if each.event.action == "audit.logging.drop"]
    assert [each.id for each in found if each is not drop] == ids_of(events)
    assert (drop.tenant_id, drop.event.metadata) == ("acme", {"records": 3})
    assert drop.event.reason
    assert drop.event.reason.code == "queue_full"
    assert buffered.tally == Tally(written=3, lost=3)


def test_a_blocked_caller_goes_on_as_soon_as_there_is_room(store: SqliteStore) -> None:
    gate = Gate(store)
    buffered = Buffered(gate, prepare=prepare, on_failure="raise", capacity=1, patience_s=60)
    events = some(10)
    threads = [threading.Thread(target=buffered.deliver, args=([each],)) for each in events]
    for thread in threads:
        thread.start()
    gate.open()
    for thread in threads:
        thread.join()
    buffered.flush()

    assert set(stored_ids(store)) == set(ids_of(events))
    assert len(stored(store)) == 10
    buffered.close()


def test_more_events_at_once_than_the_queue_holds_go_through(store: SqliteStore) -> None:
    buffered = Buffered(store, prepare=prepare, on_failure="raise", capacity=3, patience_s=60)
    events = some(50)
    buffered.deliver(events)
    buffered.close()

    assert stored_ids(store) == ids_of(events)


def test_a_caller_that_was_blocked_too_long_has_its_event_spooled(
    store: SqliteStore, spool: Spool
) -> None:
    gate = Gate(store)
    buffered = Buffered(gate, prepare=prepare, spool=spool, capacity=1, patience_s=0.01)
    events = some(3)
    buffered.deliver(events[:1])
    gate.entered.acquire()
    buffered.deliver(events[1:])
    spooled = buffered.tally.spooled
    gate.open()
    buffered.close()

    assert spooled == 1
    assert sorted(stored_ids(store)) == sorted(ids_of(events))


def test_with_raise_a_store_that_fails_fills_the_queue_and_then_the_callers_fail(
    store: SqliteStore,
) -> None:
    buffered = Buffered(store, prepare=prepare, on_failure="raise", capacity=2, patience_s=0.01)
    events: list[Event] = []

    with a_broken_store(store), pytest.raises(StoreUnavailableError, match="queue of 2 events"):  # noqa: PT012 - it is not known which one fails
        while True:
            [event] = some(1)
            buffered.deliver([event])
            events.append(event)
    buffered.flush()

    assert stored_ids(store) == ids_of(events)
    buffered.close()


def test_with_raise_a_store_that_fails_to_the_end_has_its_events_counted_as_lost(
    store: SqliteStore, caplog: pytest.LogCaptureFixture
) -> None:
    buffered = Buffered(store, prepare=prepare, on_failure="raise")
    with a_broken_store(store):
        buffered.deliver(some(3))
        buffered.close()

    assert buffered.tally == Tally(lost=3)
    assert "3 events lost" in caplog.text


def test_what_the_store_cannot_take_in_the_thread_is_spooled_and_put_back(
    buffered: Buffered, store: SqliteStore
) -> None:
    failed, later = some(5), some(1)
    with a_broken_store(store):
        buffered.deliver(failed)
        buffered.flush()
        in_between = stored_ids(store)
    buffered.deliver(later)
    buffered.flush()

    assert in_between == []
    assert stored_ids(store) == ids_of(later + failed)
    assert buffered.tally == Tally(written=1, spooled=5, put_back=5)


def test_an_event_that_cannot_be_encoded_stops_no_other(
    buffered: Buffered, store: SqliteStore
) -> None:
    good = some(2)
    bad = Event(action="a.b", actor=Actor(type="user", id="\ud800"))
    unchecked = Event(action="No Action", actor=Actor(type="system"))
    buffered.deliver([good[0], bad, unchecked, an_event(action="audit.logging.stop"), good[1]])
    buffered.flush()

    assert stored_ids(store) == ids_of(good)
    assert buffered.tally == Tally(written=2, rejected=3)


def test_with_raise_an_event_that_cannot_be_encoded_is_the_callers(store: SqliteStore) -> None:
    buffered = Buffered(store, prepare=prepare, on_failure="raise")

    with pytest.raises(EventError, match="can't be encoded"):
        buffered.deliver([Event(action="a.b", actor=Actor(type="user", id="\ud800"))])
    buffered.close()


def test_an_event_that_the_store_records_itself_while_it_is_written_blocks_nothing(
    store: SqliteStore,
) -> None:
    class Talking:
        """A writer that records what it does, as one does whose log lines are captured."""

        def append(self, batch: Sequence[Encoded], **rest: Any) -> object:
            if len(stored(store)) < 5:
                talkative.deliver(some(2))
            return store.append(batch, **rest)

    talkative = Buffered(
        Talking(), prepare=prepare, on_failure="drop", capacity=1, patience_s=3_600
    )
    talkative.deliver(some(1))
    talkative.flush(timeout_s=60)
    talkative.close()

    assert talkative.tally.lost >= 1
    assert len(stored(store)) >= 5


def test_a_fault_in_preparing_costs_one_event_and_not_the_thread(store: SqliteStore) -> None:
    def prepare_some(event: Event) -> Encoded:
        if event.action == "invoice.break":
            raise RuntimeError("a fault")
        return prepare(event)

    buffered = Buffered(store, prepare=prepare_some, on_failure="drop")
    buffered.deliver([*some(1), *some(1, action="invoice.break"), *some(1)])
    buffered.flush()
    buffered.deliver(some(1))
    buffered.close()

    assert buffered.tally == Tally(written=3, rejected=1)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_who_flushes_does_not_wait_for_a_thread_that_was_told_to_end(
    store: SqliteStore, caplog: pytest.LogCaptureFixture
) -> None:
    class Interrupted:
        def append(self, batch: Sequence[Encoded], **rest: Any) -> object:
            if any(each.event.action == "invoice.break" for each in batch):
                raise SystemExit
            return store.append(batch, **rest)

    buffered = Buffered(Interrupted(), prepare=prepare, on_failure="drop")
    buffered.deliver(some(2, action="invoice.break"))
    assert buffered.flush(timeout_s=60)
    buffered.deliver(some(1))
    assert buffered.flush(timeout_s=60)
    buffered.close()

    assert (buffered.tally.lost, buffered.tally.written) == (2, 1)
    assert "2 events lost: SystemExit" in caplog.text


def test_a_buffer_without_room_is_refused(store: SqliteStore) -> None:
    with pytest.raises(ConfigError, match="at least 1 event, got 0"):
        Buffered(store, prepare=prepare, on_failure="drop", capacity=0)


# The end of the process, and fork

SCRIPT = (
    "import os, signal, sys, threading, multiprocessing\n"
    "from tests.test_delivery import *\n"
    "log = Path(sys.argv[1])\n"
    "store = SqliteStore(log)\n"
    "spool = Spool(log.with_name('log.db-spool'))\n"
    "buffered = Buffered(store, prepare=prepare, spool=spool)\n"
)


def run(code: str, store: SqliteStore) -> subprocess.CompletedProcess[str]:
    [_, path] = store.url.split("sqlite:///", 1)
    return subprocess.run(
        [sys.executable, "-c", SCRIPT + code, path], check=False, capture_output=True, text=True
    )


@pytest.mark.parametrize("end", ["", "sys.exit(3)", "raise RuntimeError('the host broke')"])
def test_what_is_queued_is_written_when_the_interpreter_ends(store: SqliteStore, end: str) -> None:
    done = run(f"buffered.deliver(some(700))\n{end}\n", store)

    assert len(stored(store)) == 700, done.stderr


def test_events_recorded_while_the_interpreter_ends_are_written(store: SqliteStore) -> None:
    code = (
        "import atexit\n"
        "atexit.register(lambda: buffered.deliver(some(1)))\n"  # runs before ours
        "class Late:\n"
        "    def __del__(self): buffered.deliver(some(1))\n"
        "late = Late()\n"
        "buffered.deliver(some(1))\n"
    )
    done = run(code, store)

    assert len(stored(store)) == 3, done.stderr


def test_a_store_that_hangs_at_the_end_has_its_events_spooled(
    store: SqliteStore, spool: Spool
) -> None:
    code = (
        "from whodid import delivery\n"
        "delivery.EXIT_TIMEOUT_S = 0.05\n"
        "buffered = Buffered(Gate(store), prepare=prepare, spool=spool)\n"
        "buffered.deliver(some(3))\n"
    )
    done = run(code, store)

    Direct(store, prepare=prepare, spool=spool)
    assert len(stored(store)) == 3, done.stderr
    assert "3 events not stored but spooled" in done.stderr


def test_a_child_of_multiprocessing_writes_what_is_queued(store: SqliteStore) -> None:
    code = (
        "store.close()\n"
        "def work():\n"
        "    buffered = Buffered(SqliteStore(log), prepare=prepare, spool=spool)\n"
        "    buffered.deliver(some(5))\n"
        "child = multiprocessing.get_context('fork').Process(target=work)\n"
        "child.start()\n"
        "child.join()\n"
    )
    done = run(code, store)

    assert len(stored(store)) == 5, done.stderr


def test_after_fork_child_and_parent_write_their_own_events_once(store: SqliteStore) -> None:
    # A store is opened after fork: SQLite's connections must not be carried through it.
    code = (
        "class Opening:\n"
        "    def append(self, batch, **rest):\n"
        "        with threading.Lock():\n"
        "            opened = SqliteStore(log)\n"
        "            try: return opened.append(batch, **rest)\n"
        "            finally: opened.close()\n"
        "store.close()\n"
        "buffered = Buffered(Opening(), prepare=prepare, spool=spool)\n"
        "buffered.deliver(some(3, actor='parent'))\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    buffered.deliver(some(2, actor='child'))\n"
        "    assert buffered.flush(30)\n"
        "    print('child', buffered.tally.written)\n"
        "    sys.stdout.flush()\n"
        "    os._exit(0)\n"
        "buffered.deliver(some(1, actor='parent'))\n"
        "os.waitpid(child, 0)\n"
    )
    done = run(code, store)

    assert sorted(str(each.event.actor.id) for each in stored(store)) == [
        *["child"] * 2,
        *["parent"] * 4,
    ], done.stderr
    assert done.stdout == "child 2\n"


def test_a_child_after_fork_can_speak_though_another_thread_was_speaking(
    store: SqliteStore,
) -> None:
    code = (
        "notices, is_held = Notices(), threading.Event()\n"
        "def hold():\n"
        "    notices._lock.acquire()\n"
        "    is_held.set()\n"
        "    threading.Event().wait()\n"
        "threading.Thread(target=hold, daemon=True).start()\n"
        "is_held.wait()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    signal.alarm(20)\n"
        "    notices.say('a kind', 'from the child')\n"
        "    os._exit(7)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    done = run(code, store)

    assert done.stdout == "7\n", done.stderr


def test_kill_9_loses_at_most_what_is_queued(store: SqliteStore) -> None:
    code = "buffered.deliver(some(10))\nbuffered.flush()\nos.kill(os.getpid(), signal.SIGKILL)\n"
    done = run(code, store)

    assert done.returncode == -signal.SIGKILL
    assert len(stored(store)) == 10


def test_a_process_killed_while_its_store_fails_has_spooled_all_that_deliver_returned_for(
    store: SqliteStore, spool: Spool
) -> None:
    code = (
        "direct = Direct(store, prepare=prepare, spool=spool)\n"
        "with a_broken_store(store):\n"
        "    while True:\n"
        "        [event] = some(1)\n"
        "        direct.deliver([event])\n"
        "        print(event.id, flush=True)\n"
    )
    [_, path] = store.url.split("sqlite:///", 1)
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT + code, path],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as other:
        assert other.stdout is not None
        delivered = [line for line, _ in zip(other.stdout, range(30), strict=False)]
        other.kill()
        delivered += [line for line in other.stdout if line.endswith("\n")]
    expected = "".join(delivered).split()

    Direct(store, prepare=prepare, spool=spool)
    found = stored_ids(store)

    assert len(expected) >= 30
    assert found[: len(expected)] == expected
    assert len(found) == len(set(found))


# What is said


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_a_kind_of_line_is_written_once_a_minute_with_the_number_since(
    caplog: pytest.LogCaptureFixture,
) -> None:
    notices = Notices()
    for now in (0, 1, 59, 60, 61):
        notices.say("lost", "{events} lost", count=2, now=now)
    notices.say("other", "another kind", now=61)
    notices.say_rest()

    assert lines(caplog) == [
        "2 events lost",
        "6 events lost",
        "another kind",
        "2 events lost",
    ]


def test_a_percent_sign_in_a_line_is_only_that(caplog: pytest.LogCaptureFixture) -> None:
    Notices().say("path", "/var/%s/log", level=logging.ERROR)

    assert lines(caplog) == ["/var/%s/log"]


def test_one_event_is_said_to_be_one(caplog: pytest.LogCaptureFixture) -> None:
    notices = Notices()
    notices.say("one", "{events} lost")
    notices.say("many", "{events} lost", count=1_200)

    assert lines(caplog) == ["1 event lost", "1,200 events lost"]


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (StoreUnavailableError("the disk is full"), "the disk is full"),
        (ValueError("no token=hunter2\nDETAIL: (7, hunter2)"), "ValueError: no token=[masked]"),
        (ValueError("one\r2026-01-01 a line that was made up"), "ValueError: one"),
        (ValueError(), "ValueError"),
        (MuteError(), "MuteError: [MuteError without text]"),
    ],
)
def test_an_error_is_told_in_one_line_without_secrets(error: Exception, words: str) -> None:
    assert words_of(error) == words
