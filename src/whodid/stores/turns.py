"""Taking turns: writers of one SQLite file queue up on a lock beside it.

SQLite alone lets whoever asks at the right moment write, and others wait for seconds: of four busy
processes one is starved. With the queue every one gets its turn. It is for fairness only:
correctness is SQLite's own lock, which is taken in any case. So a writer whose turn does not come
(its holder is stopped, the file system knows no locks, there is no `flock`) goes on without.

Never held while a transaction of somebody else's is open: that would turn the order of the two
locks round, and both would wait for each other.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: SQLite's own waiting serves
    fcntl = None  # type: ignore[assignment]  # asked for before each use

PATIENCE_S = 2.0
_LOOK_S = 0.0005


class Turns:
    """One process's place in the queue of a database. One thread at a time may wait in it."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(database.name + "-turn")
        self._file: int | None = None
        self._is_usable = fcntl is not None

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for our turn, at most `PATIENCE_S`, and have it until the block ends."""
        has_turn = self._is_usable and self._wait()
        try:
            yield
        finally:
            if has_turn:
                self._unlock()

    def close(self) -> None:
        """Leave the queue. The file stays: taking it away could part two writers' queues."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _wait(self) -> bool:
        # Looked at again and again, since a lock that is waited for can't be given up: a stopped
        # holder would stop us all.
        until = time.monotonic() + PATIENCE_S
        try:
            if self._file is None:
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            while True:
                try:
                    fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return True
                except BlockingIOError:
                    if time.monotonic() > until:
                        return False
                    time.sleep(_LOOK_S)
        except OSError:
            self._is_usable = False  # e.g. a network file system without locks, a read-only folder
            return False

    def _unlock(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(self._file, fcntl.LOCK_UN)
