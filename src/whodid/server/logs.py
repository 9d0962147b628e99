"""Warnings that come over and over, told a few times a minute and then counted.

A store that is away, or a stranger who sends nonsense, would otherwise write a line for each
request, until the disk that the log stands on is full. Errors are never left out: each has an id
that somebody was told to look for.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from threading import Lock

PERIOD_S = 60.0
MOST_IN_PERIOD = 5
_MAX_KINDS = 100


@dataclass(slots=True)
class _Kind:
    """One text of warning.

    Attributes:
        since: When the period began, in seconds since 1970.
        told: How many were let through in it.
        left_out: How many were not.
    """

    since: float
    told: int = 0
    left_out: int = 0


class FewWarnings(logging.Filter):
    """Lets a few warnings of one text through in a minute; the next minute's first counts the rest.

    Two with other values in the same text are the same. Safe for use from many threads.
    """

    def __init__(self) -> None:
        super().__init__()
        self._kinds: dict[str, _Kind] = {}
        self._lock = Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether the record is written."""
        if record.levelno != logging.WARNING:
            return True
        text = str(record.msg)
        with self._lock:
            kind, left_out = self._kind(text, now=record.created)
            if kind.told == MOST_IN_PERIOD:
                kind.left_out += 1
                return False
            kind.told += 1
        if left_out:
            record.msg = f"{text} (and {left_out:,} more like it before, not written)"
        return True

    def _kind(self, text: str, *, now: float) -> tuple[_Kind, int]:
        """The kind in its period, and how many were left out in the one that ended just now."""
        known = self._kinds.get(text)
        # A clock that was set back begins a new period, too: silence would last for hours.
        if known is not None and 0 <= now - known.since < PERIOD_S:
            return known, 0
        if known is None and len(self._kinds) == _MAX_KINDS:
            self._kinds.clear()  # no text of ours holds values, so this is somebody else's
        fresh = self._kinds[text] = _Kind(since=now)
        return fresh, known.left_out if known else 0
