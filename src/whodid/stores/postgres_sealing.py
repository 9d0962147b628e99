"""The thread that seals what others commit: events that hosts store in their own transactions.

It looks several times a second, since nobody tells it of a commit: a notification would need a
session that listens, which pgbouncer doesn't give. Looking is a few index look-ups and no lock.
Every process may have one; the sealer's row makes them take turns.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable

from whodid.errors import AuditError

LOOK_S = 0.1
MAX_WAIT_S = 5.0
_LOGGED_EVERY_S = 60.0

_log = logging.getLogger("whodid.sealer")


class SealingThread:
    """Does a piece of work again and again once it was woken, until it is closed."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._process = os.getpid()

    def wake(self) -> None:
        """Begin, if it hasn't begun in this process. Idempotent."""
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
                wait = LOOK_S
            except Exception as error:  # noqa: BLE001 - nobody is there to be told; it goes on
                wait = min(wait * 2, MAX_WAIT_S)
                if time.monotonic() - logged > _LOGGED_EVERY_S:
                    logged = time.monotonic()
                    known = isinstance(error, AuditError)
                    _log.error("events wait to be sealed: %s", error, exc_info=not known)
