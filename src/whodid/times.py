"""One kind of time: `Instant`, an aware `datetime` in UTC with microseconds.

Events, stamps and columns all use it, so that a time has one spelling (`str(instant)`, the
canonical form of FORMAT: always UTC, always six digits, further digits cut off) and one number
(`instant.micros`, for columns). It is a class of its own because msgspec's `datetime` rounds
nanoseconds and keeps offsets. This module knows no clock but `Instant.now()` and no zones.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Self

# Hours and offsets are spelled out: what `fromisoformat` makes of 24:00 and of +05:99 depends on
# the Python version, and the stored bytes must not.
_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]([01]\d|2[0-3]):\d\d:\d\d(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Instant(datetime):
    """An aware `datetime` in UTC; make it with `parse`, `of`, `from_micros` or `now`."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an RFC 3339 time with offset.

        Raises:
            ValueError: Not such a time, a leap second, or outside the years 0001 to 9999 in UTC.
        """
        if not _RFC3339.fullmatch(text):
            raise ValueError("expected an RFC 3339 time with offset, such as 2026-03-15T11:00:00Z")
        try:
            # fromisoformat cuts digits beyond the sixth off, as FORMAT wants.
            return cls.of(datetime.fromisoformat(text.upper()))
        except (ValueError, OverflowError):
            raise ValueError(
                "no such day or second, or outside the years 0001 to 9999 in UTC"
            ) from None

    @classmethod
    def of(cls, moment: datetime) -> Self:
        """Turn any aware datetime into an Instant.

        Raises:
            ValueError: `moment` has no zone, so it names no instant.
            OverflowError: Outside the years 0001 to 9999 in UTC.
        """
        if moment.tzinfo is None:
            raise ValueError("expected a datetime with a zone, got a naive one")
        utc = moment.astimezone(UTC)
        return cls(
            utc.year, utc.month, utc.day, utc.hour, utc.minute, utc.second, utc.microsecond, UTC
        )

    @classmethod
    def from_micros(cls, micros: int) -> Self:
        """The instant `micros` microseconds after 1970-01-01T00:00:00Z."""
        return cls.of(_EPOCH + timedelta(microseconds=micros))

    @classmethod
    def now(cls, tz: object = None) -> Self:
        """The present, by this machine's clock."""
        return cls.of(datetime.now(UTC))

    @property
    def micros(self) -> int:
        """Microseconds since 1970-01-01T00:00:00Z."""
        since: timedelta = datetime.__sub__(self, _EPOCH)
        return since // _MICROSECOND

    def __str__(self) -> str:
        # `astimezone` and `replace` give an Instant again, in whatever zone they were told.
        utc = self if self.tzinfo is UTC else self.astimezone(UTC)
        return utc.isoformat(timespec="microseconds")[:26] + "Z"
