"""A store that can't be opened yet, and is when it can: its log must not keep a host from working.

Until then every call fails as a call to a broken store does, so that what was agreed on for that
happens: events are spooled, and put back once it opens.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from whodid.errors import StoreUnavailableError
from whodid.stores.base import EventStore

TRY_AGAIN_S = 1.0

_logger = logging.getLogger("whodid")


class LateStore:
    """Has all that the store has which it opens at first need.

    Attributes:
        path: The database's file, for what is kept beside it; absent where there is none.
    """

    def __init__(
        self, open_now: Callable[[], EventStore], error: StoreUnavailableError, *, path: Path | None
    ) -> None:
        """Take over after the first failure.

        Args:
            open_now: Opens the store, or raises StoreUnavailableError.
            error: Why it could not be opened.
        """
        self._open_now, self._error = open_now, error
        self._lock = threading.Lock()
        self._store: EventStore | None = None
        self._tried_at = time.monotonic()
        if path is not None:
            self.path = path
        _logger.error("the audit log can't be opened yet, events are kept: %s", error)

    def open(self) -> EventStore:
        """The store; it is tried again at most once a second.

        Raises:
            StoreUnavailableError: It still can't be opened.
        """
        with self._lock:
            if self._store is None:
                if time.monotonic() - self._tried_at < TRY_AGAIN_S:
                    raise self._error
                self._tried_at = time.monotonic()
                try:
                    self._store = self._open_now()
                except StoreUnavailableError as error:
                    self._error = error
                    raise
            return self._store

    def close(self) -> None:
        """Close the store, if it was opened. Idempotent."""
        if self._store is not None:
            self._store.close()

    def __getattr__(self, name: str) -> Any:  # whatever the store has
        if name.startswith("_") or name == "path":
            raise AttributeError(name)
        return getattr(self.open(), name)
