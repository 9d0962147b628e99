"""The background indexer of SQLite: what makes searches fast, written after the events are safe.

Indexing inside an append would triple its cost, so a thread does it later, in batches. Each `Step`
works forward from a watermark in `whodid_counter` and keeps up one index. A batch is read and
prepared without any lock, then written in one short transaction that checks that the watermark is
where it was, and advances it: a crash anywhere leaves nothing half done, and two indexers can't do
the same work twice. What lies beyond the watermark is for searches to scan.

Several processes may each have an indexer; a lock on a file beside the database lets one of them
work. Where there is no `flock` (Windows) the watermark alone keeps it right.

Nothing depends on the indexer but speed: when it fails, appends and searches go on, the failure is
logged once and tried again later.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from whodid.errors import StoreUnavailableError
from whodid.stores.sqlite_write import transaction

LOOK_S = 0.25
QUIET_S = 1.0
MAX_WAIT_S = 5.0
POLL_S = 2.0
LEASE_RETRY_S = 5.0
FAILURE_RETRY_S = 60.0
_BUSY_TIMEOUT_S = 1.0
_CHECKPOINT_BATCHES = 16

_log = logging.getLogger("whodid.indexer")

Turn = Callable[[], AbstractContextManager[Any]]
Progress = Callable[[int, int], None]


class Step(Protocol):
    """One index, kept up with the numbers (positions of events, references) of what it covers.

    Attributes:
        name: The watermark is the counter `indexed.<name>`.
        batch: Numbers that one transaction covers; it should take less than 150 ms.
        least: Fewest numbers worth a transaction when no more arrive; 1 for an index of any size.
    """

    @property
    def name(self) -> str: ...
    @property
    def batch(self) -> int: ...
    @property
    def least(self) -> int: ...

    def newest(self, connection: sqlite3.Connection) -> int:
        """The last number that there is to cover; 0 for none."""
        ...

    def prepare(self, connection: sqlite3.Connection, *, after: int, last: int) -> Any:
        """What will be written for the numbers above `after` up to `last`; takes no lock.

        `Any`, since it goes to `write` alone.
        """
        ...

    def write(self, connection: sqlite3.Connection, prepared: Any) -> None:
        """Write it, inside a transaction of the indexer's that is the only one to write."""
        ...


def watermark(connection: sqlite3.Connection, name: str) -> int:
    """The last number that the index of this name covers; 0 for none."""
    row = connection.execute(
        "SELECT value FROM whodid_counter WHERE name = ?", (f"indexed.{name}",)
    ).fetchone()
    return int(row[0]) if row else 0


def check_covered(connection: sqlite3.Connection, step: Step, *, to: int) -> None:
    """Return if what was just read from an index had everything up to the number `to`.

    Raises:
        StoreUnavailableError: It is being rebuilt. A moment later searches scan what it lacks.
    """
    if watermark(connection, step.name) < to:
        raise StoreUnavailableError("an index is being rebuilt; try again")


def newest_position(connection: sqlite3.Connection) -> int:
    """The position of the last event; all before it are committed as well."""
    row = connection.execute("SELECT value FROM whodid_counter WHERE name = 'position'").fetchone()
    return int(row[0])


def advance(
    connection: sqlite3.Connection, step: Step, *, to: int, turn: Turn = nullcontext
) -> bool:
    """Index one batch, up to the number `to` at most; False when another indexer was faster.

    Durable with its commit, done once however often it is tried; a crash leaves the old state.

    Raises:
        sqlite3.OperationalError: The file can't be written, or others hold it; try again.
    """
    after = watermark(connection, step.name)
    last = min(to, after + step.batch)
    if last <= after:
        return False
    prepared = step.prepare(connection, after=after, last=last)
    with turn(), transaction(connection):
        if watermark(connection, step.name) != after:
            return False
        step.write(connection, prepared)
        connection.execute(
            "INSERT INTO whodid_counter (name, value) VALUES (?, ?) "
            "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (f"indexed.{step.name}", last),
        )
    return True


def catch_up(
    path: Path,
    steps: Sequence[Step],
    *,
    turn: Turn = nullcontext,
    progress: Progress | None = None,
) -> None:
    """Index everything that there is now, in this thread, without a pause.

    Durable batch by batch; a crash leaves what was done. Idempotent.

    Args:
        turn: As for `Indexer`, but not the same one.
        progress: Called after each batch with how many numbers are done, of how many.

    Raises:
        sqlite3.OperationalError: The file can't be written. What is done stays done.
    """
    # With the lease other indexers rest; without it the watermark keeps the two apart.
    with closing(_connect(path, busy_timeout_s=30.0)) as connection, _lease(path):
        ends = [step.newest(connection) for step in steps]
        starts = [watermark(connection, step.name) for step in steps]
        total = sum(max(end - start, 0) for end, start in zip(ends, starts, strict=True))
        done = batches = 0
        for step, end in zip(steps, ends, strict=True):
            while (before := watermark(connection, step.name)) < end:
                advance(connection, step, to=end, turn=turn)
                done += watermark(connection, step.name) - before
                batches += 1
                if batches % _CHECKPOINT_BATCHES == 0:
                    _checkpoint(connection)
                if progress:
                    progress(min(done, total), total)


@dataclass(slots=True)
class _Backlog:
    """What one step has before it, and since when (seconds of the monotonic clock)."""

    step: Step
    end: int = 0
    moved_at: float = 0.0
    waits_since: float | None = None

    def is_due(self, connection: sqlite3.Connection, *, now: float) -> bool:
        """Is it time for a batch: a whole one, or a smaller one since no more arrives?"""
        end, start = self.step.newest(connection), watermark(connection, self.step.name)
        if end != self.end:
            self.end, self.moved_at = end, now
        if end - start < self.step.least:
            self.waits_since = None
            return False
        if self.waits_since is None:
            self.waits_since = now
        return (
            end - start >= self.step.batch
            or now - self.moved_at >= QUIET_S
            or now - self.waits_since >= MAX_WAIT_S
        )

    @property
    def is_waiting(self) -> bool:
        return self.waits_since is not None


class Indexer:
    """The thread that keeps the indexes of one database up, from the first `wake` to `close`.

    Thread-safe. It uses a connection of its own.
    """

    def __init__(
        self,
        path: Path,
        steps: Sequence[Step],
        *,
        turn: Turn = nullcontext,
        rests: bool = True,
    ) -> None:
        """Make an indexer; nothing runs before `wake`.

        Args:
            turn: Entered around each transaction, so that writers of this process take turns
                with it in order; the database's own lock is waited for by trying again.
            rests: Rest as long as it works, for the threads beside it.
        """
        self._path = path
        self._steps = tuple(steps)
        self._turn = turn
        self._rests = rests
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._wanted = threading.Event()
        self._stopping = threading.Event()
        self._failure: Exception | None = None
        self._batches = 0

    @property
    def steps(self) -> Sequence[Step]:
        """The indexes that it keeps up."""
        return self._steps

    @property
    def failure(self) -> Exception | None:
        """Why the indexes don't advance at the moment, None when they do."""
        return self._failure

    def wake(self) -> None:
        """Tell that there may be something to index. Costs next to nothing when it is awake."""
        if self._thread is None:
            self._start()
        if not self._wanted.is_set():
            self._wanted.set()

    def close(self) -> None:
        """Stop, within the batch at hand; what is not indexed is for the next one. Idempotent."""
        with self._lock:
            self._stopping.set()
            self._wanted.set()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None and not self._stopping.is_set():
                thread = threading.Thread(target=self._run, name="whodid-indexer", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:
                    # Whoever wakes us has stored something, and must not take it for not stored.
                    self._fail(error)
                else:
                    self._thread = thread

    def _run(self) -> None:
        wait_s = LOOK_S  # a command that appends once is gone by then
        while not self._stopping.wait(wait_s):
            wait_s = LEASE_RETRY_S
            try:
                with _lease(self._path) as is_ours:
                    if is_ours:
                        with closing(_connect(self._path)) as connection:
                            self._work(connection)
            # The seam to a thread that nobody waits for: what isn't told here is told nowhere.
            except Exception as error:  # noqa: BLE001 - kept, told once, tried again
                if not _is_busy(error):
                    self._fail(error)
                    wait_s = FAILURE_RETRY_S

    def _work(self, connection: sqlite3.Connection) -> None:
        """Index until the end, resting whenever there is nothing to do."""
        backlogs = [_Backlog(step) for step in self._steps]
        while not self._stopping.is_set():
            self._wanted.clear()  # before the look, so that what arrives after it wakes us
            now = time.monotonic()
            due = [each for each in backlogs if each.is_due(connection, now=now)]
            for backlog in due:
                self._advance(connection, backlog)
            if due:
                continue
            if any(each.is_waiting for each in backlogs):
                self._wanted.set()  # spares appends the waking
                self._stopping.wait(LOOK_S)
            else:
                self._wanted.wait(POLL_S)  # other processes don't wake us
                self._stopping.wait(LOOK_S)

    def _advance(self, connection: sqlite3.Connection, backlog: _Backlog) -> None:
        if self._stopping.is_set():
            return
        started = time.thread_time()
        try:
            advance(connection, backlog.step, to=backlog.end, turn=self._turn)
        except sqlite3.OperationalError as error:
            if not _is_busy(error):
                raise
            self._stopping.wait(LOOK_S)  # writers come first
            return
        self._failure = None
        self._batches += 1
        if self._batches % _CHECKPOINT_BATCHES == 0:
            _checkpoint(connection)
        if self._rests:
            # Half of the time is for those who write events; the tail is scanned meanwhile.
            self._stopping.wait(min(time.thread_time() - started, LOOK_S))

    def _fail(self, error: Exception) -> None:
        told = self._failure
        self._failure = error
        if told is None or str(told) != str(error):
            _log.warning(
                "%s is not indexed at the moment, so searches get slower but stay right: %s; "
                "check the disk and the file's mode, or run whodid verify",
                self._path,
                error,
            )


def _connect(path: Path, *, busy_timeout_s: float = _BUSY_TIMEOUT_S) -> sqlite3.Connection:
    # By URI, so that a file which has gone is not made anew.
    uri = f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, timeout=busy_timeout_s, isolation_level=None)
    # A lost index is made again, but the file must not be torn: the log is in it.
    connection.execute("PRAGMA synchronous=FULL")
    # At a commit it would be done inside the turn, and writers would wait for it.
    connection.execute("PRAGMA wal_autocheckpoint=0")
    return connection


def _is_busy(error: Exception) -> bool:
    """Is it only that others hold the file at the moment?"""
    return getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY")


def _checkpoint(connection: sqlite3.Connection) -> None:
    """Copy the write-ahead log into the file, as far as nobody has to wait for it."""
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


@contextmanager
def _lease(path: Path) -> Iterator[bool]:
    """Be the one indexer of the database, if there is no other; ends with the process at last."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield True
        return
    try:
        file = os.open(f"{path}-indexer", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:  # a folder that can't be written to; the database may be another's
        yield True
        return
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = True
        except BlockingIOError:
            is_ours = False
        except OSError:  # a file system without locks
            is_ours = True
        yield is_ours
    finally:
        with contextlib.suppress(OSError):
            os.close(file)
