"""The indexer: in the background, in any number of processes, killed at any moment."""

from __future__ import annotations

import contextlib
import itertools
import logging
import multiprocessing
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.synchronize import Event as Signal
from pathlib import Path
from typing import Any

import pytest

from whodid.stores import sqlite_indexer
from whodid.stores.sqlite import SqliteStore
from whodid.stores.sqlite_indexer import Indexer, advance, catch_up, newest_position, watermark
from whodid.stores.sqlite_text import TextStep, ValueStep
from whodid.testing import EVERYTHING, a_query, an_event, prepared

PATIENCE_S = 60
SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    SqliteStore(path).close()
    connection = sqlite3.connect(path, isolation_level=None)
    yield connection
    connection.close()


@dataclass
class CountingStep:
    """A step that notes what it is asked for, and writes nothing."""

    name: str = "counting"
    batch: int = 10
    least: int = 1
    done: list[tuple[int, int]] = field(default_factory=list)
    before_write: Callable[[], object] = lambda: None

    def newest(self, connection: sqlite3.Connection) -> int:
        return newest_position(connection)

    def prepare(self, connection: sqlite3.Connection, *, after: int, last: int) -> Any:
        self.before_write()
        return (after, last)

    def write(self, connection: sqlite3.Connection, prepared: Any) -> None:
        self.done.append(prepared)


def fill(path: Path, count: int, *, word: str = "harbour") -> None:
    """Append so many events, and leave them to be indexed."""
    store = SqliteStore(path)
    for start in range(0, count, 500):
        numbers = range(start, min(start + 500, count))
        store.append(prepared(*(an_event(message=f"{word} n{number}") for number in numbers)))
    store.close()


def until(condition: Callable[[], bool]) -> None:
    """Wait for another thread or process to bring something about."""
    deadline = time.monotonic() + PATIENCE_S
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        pause.wait(0.005)


def indexed_positions(path: Path, word: str = "harbour") -> list[int]:
    """Where the index has a word, and how often it has it there."""
    connection = sqlite3.connect(path)
    rows = connection.execute(
        "SELECT rowid FROM whodid_text WHERE whodid_text MATCH ? ORDER BY rowid", (word,)
    ).fetchall()
    connection.close()
    return [row[0] for row in rows]


def covered(path: Path, name: str = "text") -> int:
    connection = sqlite3.connect(path)
    try:
        return watermark(connection, name)
    finally:
        connection.close()


def check_whole(path: Path, count: int) -> None:
    """Every event is in the index exactly once, and the log is sound."""
    store = SqliteStore(path)
    store.index_now()
    report = store.verify(access=EVERYTHING)
    hits = store.count(a_query("harbour"), access=EVERYTHING).count
    store.close()
    assert report.is_sound, report.problems
    assert covered(path) == hits == count
    assert indexed_positions(path) == list(range(1, count + 1))


# ---- one step


def test_batches_follow_each_other_up_to_the_end(
    path: Path, connection: sqlite3.Connection
) -> None:
    fill(path, 25)
    step = CountingStep()

    while advance(connection, step, to=25):
        pass

    assert step.done == [(0, 10), (10, 20), (20, 25)]
    assert watermark(connection, "counting") == 25


def test_what_another_indexer_did_meanwhile_is_not_done_again(
    path: Path, connection: sqlite3.Connection
) -> None:
    fill(path, 25)
    other = sqlite3.connect(path, isolation_level=None)
    faster = CountingStep()
    slower = CountingStep(before_write=lambda: advance(other, faster, to=25))

    assert advance(connection, slower, to=25) is False

    assert (slower.done, faster.done) == ([], [(0, 10)])
    assert watermark(connection, "counting") == 10
    other.close()


def test_a_batch_that_fails_leaves_the_watermark(
    path: Path, connection: sqlite3.Connection
) -> None:
    fill(path, 5)

    class Failing(CountingStep):
        def write(self, connection: sqlite3.Connection, prepared: Any) -> None:
            connection.execute("INSERT INTO whodid_span VALUES (99, 1, 1)")
            raise sqlite3.OperationalError("no more")

    with pytest.raises(sqlite3.OperationalError):
        advance(connection, Failing(), to=5)

    assert watermark(connection, "counting") == 0
    assert connection.execute("SELECT count(*) FROM whodid_span").fetchone() == (0,)


def test_catching_up_tells_how_far_it_is(path: Path) -> None:
    fill(path, 25)
    told: list[tuple[int, int]] = []

    catch_up(path, [CountingStep()], progress=lambda done, total: told.append((done, total)))

    assert told == [(10, 25), (20, 25), (25, 25)]


# ---- in the background


def test_what_is_appended_gets_indexed_without_anybody_asking(path: Path) -> None:
    store = SqliteStore(path)
    store.append(prepared(*(an_event(message="harbour") for _ in range(30))))

    until(lambda: covered(path) == 30)

    assert indexed_positions(path) == list(range(1, 31))
    store.close()


def test_a_server_indexes_what_it_finds_waiting(path: Path) -> None:
    fill(path, 30)
    store = SqliteStore(path)

    store.start_indexing()
    until(lambda: covered(path) == 30)

    store.close()


def test_what_another_process_appends_gets_indexed_too(path: Path) -> None:
    fill(path, 1)
    store = SqliteStore(path)
    store.start_indexing()
    until(lambda: covered(path) == 1)

    worker = SPAWN.Process(target=fill, args=(path, 20))
    worker.start()
    worker.join()
    until(lambda: covered(path) == 21)

    store.close()


def test_a_command_that_appends_once_does_not_wait_for_the_indexer(path: Path) -> None:
    store = SqliteStore(path)
    store.append(prepared(an_event(message="harbour")))

    started = time.monotonic()
    store.close()

    assert time.monotonic() - started < 0.2
    assert covered(path) == 0


def test_closing_stops_it_within_a_batch(path: Path) -> None:
    fill(path, 3_000)
    waits = threading.Event()
    step = CountingStep(batch=1, before_write=waits.set)
    indexer = Indexer(path, [step])
    indexer.wake()
    assert waits.wait(PATIENCE_S)

    started = time.monotonic()
    indexer.close()

    assert time.monotonic() - started < 1
    assert 0 < covered(path, "counting") < 3_000
    indexer.wake()  # nothing starts again


def test_it_gives_way_to_a_writer_and_goes_on_later(path: Path) -> None:
    fill(path, 10)
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    asked = threading.Event()
    step = CountingStep(before_write=asked.set)
    indexer = Indexer(path, [step])
    indexer.wake()
    assert asked.wait(PATIENCE_S)
    asked.clear()
    assert asked.wait(PATIENCE_S), "it did not try again"

    assert step.done == []
    assert indexer.failure is None
    writer.execute("ROLLBACK")
    until(lambda: bool(step.done))

    indexer.close()
    writer.close()


def test_a_failure_is_kept_and_told_once_and_hurts_nobody(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(CountingStep):
        def prepare(self, connection: sqlite3.Connection, *, after: int, last: int) -> Any:
            raise sqlite3.OperationalError("database or disk is full")

    fill(path, 10)
    indexer = Indexer(path, [Failing()])
    with caplog.at_level(logging.WARNING, logger="whodid"):
        indexer.wake()
        until(lambda: indexer.failure is not None)
        indexer.close()

    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "disk is full" in caplog.text
    assert "check the disk" in caplog.text


def test_a_lease_that_can_not_be_written_stops_nothing(path: Path) -> None:
    fill(path, 10)
    Path(f"{path}-indexer").unlink(missing_ok=True)
    Path(f"{path}-indexer").mkdir()

    with sqlite_indexer._lease(path) as is_ours:
        assert is_ours


def test_a_broken_index_hurts_no_append(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(path, 10)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("DROP TABLE whodid_value_text")
    connection.close()
    store = SqliteStore(path)
    store.start_indexing()
    until(lambda: bool(caplog.records))

    store.append(prepared(an_event(message="harbour")))

    assert store.count(a_query("harbour"), access=EVERYTHING).count == 11
    store.close()


def test_only_one_of_two_has_the_lease(path: Path) -> None:
    fill(path, 1)
    with sqlite_indexer._lease(path) as first, sqlite_indexer._lease(path) as second:
        assert (first, second) == (True, False)

    with sqlite_indexer._lease(path) as later:
        assert later


# ---- several processes, killed


def _index_for_ever(path: Path, started: Signal) -> None:
    started.set()
    while True:
        with contextlib.suppress(sqlite3.OperationalError):
            catch_up(path, [TextStep(batch=7), ValueStep(batch=3)])


def _index_and_die(path: Path, statements: int) -> None:
    """Index, and be killed before the so many-th statement: anywhere, in a transaction or not."""
    connection = sqlite3.connect(path, isolation_level=None)
    left = itertools.count(statements, -1)
    connection.set_trace_callback(
        lambda sql: None if next(left) else os.kill(os.getpid(), signal.SIGKILL)
    )
    for step in (ValueStep(batch=3), TextStep(batch=7)):
        while advance(connection, step, to=step.newest(connection)):
            pass


def test_a_killed_indexer_goes_on_where_it_was(path: Path) -> None:
    count = 300
    fill(path, count)
    kills = 0
    while covered(path) < count:
        worker = SPAWN.Process(target=_index_and_die, args=(path, 130 + 17 * kills))
        worker.start()
        worker.join()
        assert worker.exitcode in (0, -signal.SIGKILL)
        kills += worker.exitcode != 0

    assert kills > 3
    check_whole(path, count)


def test_two_indexers_and_a_writer_neither_double_nor_leave_out(path: Path) -> None:
    fill(path, 500)
    started = [SPAWN.Event(), SPAWN.Event()]
    workers = [SPAWN.Process(target=_index_for_ever, args=(path, each)) for each in started]
    for worker, each in zip(workers, started, strict=True):
        worker.start()
        assert each.wait(PATIENCE_S)

    fill(path, 1_000)
    until(lambda: covered(path) == 1_500)
    for worker in workers:
        worker.kill()
        worker.join()

    check_whole(path, 1_500)


# ---- verification


SABOTAGE = {
    "a posting is gone": "INSERT INTO whodid_text (whodid_text, rowid, words) "
    "VALUES ('delete', 2, 'harbour')",
    "a posting too many": "INSERT INTO whodid_text (rowid, words) VALUES (2, 'castle')",
    "the watermark says more": "UPDATE whodid_counter SET value = 30 WHERE name = 'indexed.text'",
    "the times are narrower": "UPDATE whodid_span SET newest = oldest - 1",
    "no times": "DELETE FROM whodid_span",
    "a value's posting is gone": "INSERT INTO whodid_value_text (whodid_value_text, rowid, words) "
    "VALUES ('delete', (SELECT max(ref) FROM whodid_dict WHERE kind = 2), 'alice')",
    "another index": "DROP TABLE whodid_text",
}


@pytest.mark.parametrize("statement", SABOTAGE.values(), ids=SABOTAGE.keys())
def test_an_index_that_hides_events_is_found_and_can_be_made_anew(
    path: Path, statement: str
) -> None:
    fill(path, 20)
    store = SqliteStore(path)
    store.index_now()
    before = store.verify(access=EVERYTHING)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(statement)
    connection.close()

    after = store.verify(access=EVERYTHING)

    assert before.is_sound, before.problems
    assert not after.is_sound
    if not statement.startswith("DROP"):
        assert "index --rebuild" in after.problems[0].what
        store.index_now(rebuild=True)
        again = store.verify(access=EVERYTHING)
        assert again.is_sound, again.problems
    store.close()


def test_a_moved_posting_is_found(path: Path) -> None:
    """As many as before, and all of them somewhere."""
    fill(path, 20)
    store = SqliteStore(path)
    store.append(prepared(an_event(message="castle")))
    store.index_now()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(
        "INSERT INTO whodid_text (whodid_text, rowid, words) VALUES ('delete', 21, 'castle')"
    )
    connection.execute("INSERT INTO whodid_text (rowid, words) VALUES (20, 'castle')")
    connection.close()

    report = store.verify(access=EVERYTHING)

    assert not report.is_sound
    store.close()
