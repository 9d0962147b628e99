"""Events on their way to a server: kept in a table until it has them, sent by one thread.

What is put into the outbox is durable when `append` returns, and goes out in that order, in
batches, until the server has answered for each event; then it is deleted. A crash between the
answer and the deletion sends a batch again, and the server knows its ids: exactly once. Processes
that share an outbox share the work: a lock on a file beside it lets one of them send at a time, and
its end gives the work to another.

What the server can never store is set apart in the same table with the reason, said aloud and never
sent again; everything behind it goes on. While the server is away, or refuses the key, everything
waits, longer each time, up to a minute. A full outbox refuses what comes, so that whoever records
does what was agreed on for failures.

Not here: talking to the server (`client`), what happens to what the outbox refuses (`delivery`).
"""

from __future__ import annotations

import atexit
import logging
import os
import random
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from whodid.canonical import Encoded
from whodid.client import MAX_BODY_BYTES, MAX_EVENTS, wire_bytes
from whodid.errors import ConfigError, InvalidError, RefusedError, StoreUnavailableError
from whodid.times import Instant

try:
    import fcntl
except ImportError:  # Windows: each process sends what it finds, and ids tell
    fcntl = None  # type: ignore[assignment]  # asked for before each use
_HAS_LOCKS = fcntl is not None

MAX_BYTES = 1 << 30
RETRY_FIRST_S, RETRY_LAST_S = 0.5, 60.0
LOOK_AGAIN_S = 1.0  # for what other processes have put in, and for a sender that has ended
EXIT_TIMEOUT_S = 5.0
_BUSY_TIMEOUT_S = 5.0

# Numbers are never given twice: a batch that was sent may be deleted by its numbers alone.
_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS whodid_outbox (
      id INTEGER PRIMARY KEY AUTOINCREMENT, added_at INTEGER NOT NULL, body BLOB NOT NULL
    ) STRICT""",
    """CREATE TABLE IF NOT EXISTS whodid_outbox_refused (
      id INTEGER PRIMARY KEY, added_at INTEGER NOT NULL, body BLOB NOT NULL, reason TEXT NOT NULL
    ) STRICT""",
)

Send = Callable[[Sequence[bytes]], object]
"""Has events stored, all or nothing; raises as `Client.send`."""

_logger = logging.getLogger("whodid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What is in an outbox.

    Attributes:
        events: Wait to be sent.
        oldest_s: How long the oldest of them has been waiting: the lag.
        refused: Were set apart, since the server can never store them.
        size_bytes: Of both, as they lie in the file.
        trouble: Why nothing goes out now, None while all is well.
    """

    events: int
    oldest_s: float
    refused: int
    size_bytes: int
    trouble: str | None


class Outbox:
    """A table in a SQLite file, and the thread that empties it.

    Safe for many threads and processes; forked children go on with a connection and a thread of
    their own.
    """

    def __init__(
        self, path: str | os.PathLike[str], send: Send, *, max_bytes: int = MAX_BYTES
    ) -> None:
        """Open the outbox, and begin to send what is left in it.

        Args:
            path: Made when there is none, for its owner alone.
            max_bytes: Of the events in it; beyond, nothing is added.

        Raises:
            ConfigError: This is no SQLite file, or no place for one.
        """
        self.path, self._send, self._max_bytes = Path(path), send, max_bytes
        self._begin()
        with self._translated(), self._transaction() as connection:
            for statement in _SCHEMA:
                connection.execute(statement)
        _outboxes.add(self)
        if self.waiting().events:
            self._start()

    def _begin(self) -> None:
        self._lock = threading.RLock()  # of the connection
        self._connection: sqlite3.Connection | None = None
        self._lease_file: int | None = None
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_closed = self._is_new = self._is_idle = False
        self._trouble: str | None = None

    def append(
        self, batch: Sequence[Encoded], *, writer: object = None, now: object = None
    ) -> None:
        """Keep events, all or none; durable when it returns.

        Raises:
            StoreUnavailableError: The outbox is full, or can't be written now.
        """
        added_at = Instant.now().micros
        rows = [(added_at, wire_bytes(each.event)) for each in batch]
        with self._lock, self._translated(), self._transaction() as connection:
            self._check_room(sum(len(body) for _, body in rows))
            connection.executemany("INSERT INTO whodid_outbox (added_at, body) VALUES (?, ?)", rows)
        self._wake()

    def waiting(self) -> Waiting:
        """What is in it now.

        Raises:
            StoreUnavailableError: It can't be read now.
        """
        with self._lock, self._translated():
            connection = self._open()
            (events,) = connection.execute("SELECT count(*) FROM whodid_outbox").fetchone()
            (refused,) = connection.execute("SELECT count(*) FROM whodid_outbox_refused").fetchone()
            first = connection.execute(
                "SELECT added_at FROM whodid_outbox ORDER BY id LIMIT 1"
            ).fetchone()
            size = self._size()
        oldest = first[0] if first else None
        lag_s = (Instant.now().micros - oldest) / 1e6 if oldest is not None else 0.0
        return Waiting(
            events=events,
            oldest_s=max(lag_s, 0.0),
            refused=refused,
            size_bytes=size,
            trouble=self._trouble if events else None,
        )

    def flush(self, timeout_s: float | None = None) -> bool:
        """Wait until everything that was put in before is sent or set apart.

        Returns:
            False when `timeout_s` seconds passed before that.
        """
        with self._lock, self._translated():
            last = self._open().execute("SELECT max(id) FROM whodid_outbox").fetchone()[0]
        until = None if timeout_s is None else time.monotonic() + timeout_s
        self._wake()
        while self._is_waiting(last or 0):
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                return False
            with self._changed:
                self._changed.wait(min(LOOK_AGAIN_S, left) if left is not None else LOOK_AGAIN_S)
        return True

    def _is_waiting(self, last: int) -> bool:
        with self._lock, self._translated():
            found = self._open().execute(
                "SELECT 1 FROM whodid_outbox WHERE id <= ? LIMIT 1", (last,)
            )
            return found.fetchone() is not None

    def close(self) -> None:
        """Send what waits, for at most 5 seconds while the server takes it, and end. Idempotent."""
        until = time.monotonic() + EXIT_TIMEOUT_S
        with self._changed:
            thread = self._thread
            while thread is not None and not self._is_idle and self._trouble is None:
                left = until - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            self._is_closed = True
            self._changed.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join(max(until - time.monotonic(), 0.1))
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
        _outboxes.discard(self)

    def begin_anew(self) -> None:
        """In a child after fork: thread, connection and lock are the parent's."""
        if self._connection is not None:
            _of_parents.append(self._connection)  # closing it would meddle with the parent's file
        if self._lease_file is not None:
            os.close(self._lease_file)  # else the parent's lock would outlive the parent
        self._begin()

    # -- the table

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            if not self.path.exists():
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
            self._connection = sqlite3.connect(
                self.path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
        return self._connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._open()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _size(self) -> int:
        """Bytes in use in the file."""
        connection = self._open()
        pages, free, size = (
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    def _check_room(self, wanted: int) -> None:
        size = self._size()
        if size + wanted > self._max_bytes:
            raise StoreUnavailableError(
                f"the outbox {self.path} is full: {size:,} of {self._max_bytes:,} bytes; "
                "make the server take events, or give the outbox more room"
            )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn SQLite's errors into ours, once, at this seam."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise StoreUnavailableError(f"the outbox {self.path} can't be used: {error}") from error
        except sqlite3.DatabaseError as error:
            raise ConfigError(f"{self.path} is no SQLite file; name another outbox") from error
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise StoreUnavailableError(f"the outbox {self.path} can't be used: {why}") from error

    # -- sending

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="whodid-outbox", daemon=True)
            self._thread.start()

    def _wake(self) -> None:
        with self._changed:
            if self._is_closed:
                return
            self._is_new, self._is_idle = True, False
            self._start()
            self._changed.notify_all()

    def _run(self) -> None:
        failures = 0
        while not self._is_closed:
            with self._lease() as is_ours:
                if not is_ours:
                    self._settle(None, is_idle=True)  # another process sends what is put in here
                    self._rest(LOOK_AGAIN_S)
                    continue
                while not self._is_closed:
                    wait_s = self._step(failures)
                    failures = failures + 1 if self._trouble is not None else 0
                    if wait_s:
                        self._rest(wait_s)

    def _step(self, failures: int) -> float:
        """Send one batch; how long to wait before the next."""
        try:
            with self._changed:
                self._is_new = False
            batch = self._next_batch()
            if not batch:
                self._settle(None, is_idle=True)
                return LOOK_AGAIN_S
            self._deliver(batch)
        except Exception as error:  # noqa: BLE001 - the thread must go on, whatever a server does
            self._settle(error)
            return _pause_s(error, failures)
        self._settle(None)
        return 0.0

    def _next_batch(self) -> list[tuple[int, bytes]]:
        """Number and bytes of the oldest events, as many as go into one request."""
        with self._lock, self._translated():
            found = (
                self._open()
                .execute(
                    "SELECT id, body FROM whodid_outbox ORDER BY id LIMIT ?",
                    (MAX_EVENTS,),
                )
                .fetchall()
            )
        size = 0
        for count, (_, body) in enumerate(found):
            size += len(body) + 1
            if size > MAX_BODY_BYTES and count:
                return found[:count]
        return found

    def _deliver(self, batch: Sequence[tuple[int, bytes]]) -> None:
        """Send a batch, and take out of the table what the server has, or can never have.

        Raises:
            AuditError: Not now; what was not sent stays.
        """
        try:
            self._send([body for _, body in batch])
        except InvalidError as error:
            if len(batch) == 1:
                self._set_apart(batch[0][0], error)
                return
            middle = len(batch) // 2
            self._deliver(batch[:middle])
            self._deliver(batch[middle:])
            return
        self._forget(batch)

    def _forget(self, batch: Sequence[tuple[int, bytes]]) -> None:
        with self._lock, self._translated(), self._transaction() as connection:
            connection.executemany(
                "DELETE FROM whodid_outbox WHERE id = ?", [(number,) for number, _ in batch]
            )

    def _set_apart(self, number: int, error: InvalidError) -> None:
        with self._lock, self._translated(), self._transaction() as connection:
            connection.execute(
                "INSERT INTO whodid_outbox_refused (id, added_at, body, reason) "
                "SELECT id, added_at, body, ? FROM whodid_outbox WHERE id = ?",
                (str(error), number),
            )
            connection.execute("DELETE FROM whodid_outbox WHERE id = ?", (number,))
        _logger.error(
            "an event can't be stored by the server and was set apart in %s: %s", self.path, error
        )

    def _settle(self, error: Exception | None, *, is_idle: bool = False) -> None:
        """Remember how it went, say it once, and tell whoever waits."""
        before = self._trouble
        with self._changed:
            self._trouble = _words_of(error) if error is not None else None
            self._is_idle = is_idle and not self._is_new
            self._changed.notify_all()
        if self._trouble is not None and before is None:
            level = logging.ERROR if isinstance(error, RefusedError) else logging.WARNING
            _logger.log(
                level, "events wait in %s and are sent again later: %s", self.path, self._trouble
            )
        if self._trouble is None and before is not None:
            _logger.info("events of %s are sent again", self.path)

    def _rest(self, seconds: float) -> None:
        """Wait, but no longer than something new can be sent."""
        until = time.monotonic() + seconds
        with self._changed:
            while not self._is_closed and (left := until - time.monotonic()) > 0:
                if self._is_new and self._trouble is None:
                    return
                self._changed.wait(left)

    @contextmanager
    def _lease(self) -> Iterator[bool]:
        """Be the one that sends, if there is no other; ends with the process at last."""
        if not _HAS_LOCKS:
            yield True
            return
        try:
            file = os.open(f"{self.path}-sender", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._lease_file = file
        except OSError:
            yield True  # a folder without room for it: sent twice is stored once
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
            self._lease_file = None
            os.close(file)


def _pause_s(error: Exception, failures: int) -> float:
    """How long to wait after an error; at random, so that many senders don't come at once."""
    asked_s = error.retry_after_s if isinstance(error, StoreUnavailableError) else None
    grown_s = min(RETRY_FIRST_S * 2.0 ** min(failures, 10), RETRY_LAST_S)
    return max(asked_s or 0.0, grown_s * random.uniform(0.5, 1.0))


def _words_of(error: Exception) -> str:
    return str(error) or type(error).__name__


# -- the end of the process, and fork ------------------------------------------------------------

_outboxes: weakref.WeakSet[Outbox] = weakref.WeakSet()
_of_parents: list[sqlite3.Connection] = []


def _close_all() -> None:
    for each in list(_outboxes):
        each.close()


def _begin_anew() -> None:
    for each in list(_outboxes):
        each.begin_anew()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
