"""Who seals in a process: appending threads for one another, and one for what hosts commit.

Threads that append at once take turns here and not at the database's lock: the one whose turn it
is seals for all that wait, with what each of them has computed already, and the others find their
answers done. That is how they share a commit.

The thread for hosts looks several times a second, since nobody tells it of a commit: a
notification would need a session that listens, which pgbouncer doesn't give. Looking is a few index
look-ups and no lock. Every process may have one; the sealer's row makes them take turns.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from whodid.errors import AuditError
from whodid.stores.doubles import EventId, Ready

LOOK_S = 0.1
BUSY_S, REST_S = 30.0, 0.5  # so long after the last event it looks often, and then now and then
MAX_WAIT_S = 5.0
_LOGGED_EVERY_S = 60.0

_log = logging.getLogger("whodid.sealer")


class Waiting:
    """Events of this process's threads that are about to be sealed. Thread-safe."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._known: dict[EventId, Ready] = {}
        self._sealed: dict[EventId, int] = {}

    @contextmanager
    def announced(self, events: Sequence[Sequence[Ready]]) -> Iterator[None]:
        """Have events known to whoever seals, from before they are committed until it is over."""
        names = [event.name for each in events for event in each]
        self._known.update((event.name, event) for each in events for event in each)
        try:
            yield
        finally:
            for name in names:
                self._known.pop(name, None)
                self._sealed.pop(name, None)

    def seal(
        self,
        wanted: set[EventId],
        work: Callable[[Mapping[EventId, Ready]], Mapping[EventId, int]],
    ) -> dict[EventId, int]:
        """The indexes of those of these events that are sealed, here or by a thread before.

        Args:
            work: Seals what is committed, and tells the index of each that it sealed.
        """
        if not wanted:
            return {}
        with self._turn:
            if not wanted <= self._sealed.keys():
                for name, index in work(self._known).items():
                    if name in self._known:
                        self._sealed[name] = index
            return {name: self._sealed[name] for name in wanted if name in self._sealed}


class SealingThread:
    """Does a piece of work again and again once it was woken, until it is closed."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._process = os.getpid()
        self._woken_at = 0.0

    def wake(self) -> None:
        """Look often from now on; begin, if it hasn't begun in this process. Idempotent."""
        self._woken_at = time.monotonic()
        if self._thread is not None and self._process == os.getpid():
            return
        with self._lock:
            if self._stop.is_set() or (self._thread and self._process == os.getpid()):
                return
            self._process = os.getpid()
            self._thread = threading.Thread(target=self._run, name="whodid-sealer", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop, and wait until it has. Idempotent."""
        self._stop.set()
        thread = self._thread
        if thread is not None and self._process == os.getpid():
            thread.join()

    def _run(self) -> None:
        wait, logged = LOOK_S, float("-inf")
        while not self._stop.wait(wait):
            try:
                self._work()
                is_busy = time.monotonic() - self._woken_at < BUSY_S
                wait = LOOK_S if is_busy else REST_S
            except Exception as error:  # noqa: BLE001 - nobody is there to be told; it goes on
                wait = min(wait * 2, MAX_WAIT_S)
                if time.monotonic() - logged > _LOGGED_EVERY_S:
                    logged = time.monotonic()
                    known = isinstance(error, AuditError)
                    _log.error("events wait to be sealed: %s", error, exc_info=not known)
