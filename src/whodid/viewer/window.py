"""Which stretch of time a page shows: a quick range, a given one, or what the search says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import time, timedelta, tzinfo

from whodid.errors import InvalidError
from whodid.query.ast import Node, time_window
from whodid.query.fields import first_instant, local_time, read_time
from whodid.times import Instant
from whodid.viewer.moments import DAY, HOUR, MINUTE, Moments

DEFAULT_RANGE = "7d"
RANGES: Mapping[str, tuple[int, str]] = {
    "15m": (15 * MINUTE, "15 minutes"),
    "1h": (HOUR, "1 hour"),
    "24h": (DAY, "24 hours"),
    "7d": (7 * DAY, "7 days"),
    "30d": (30 * DAY, "30 days"),
    "1y": (365 * DAY, "1 year"),
}
"""Name in the address → length in seconds and how it is read."""
ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """From `start` (inclusive) to `end` (exclusive); None is open.

    Attributes:
        range: Name of the quick range, or None when the window was given or searched for.
        words: Behind a number of events: `in 7 days`.
        is_searched: The search itself says when.
    """

    start: Instant | None
    end: Instant | None
    range: str | None
    words: str
    is_searched: bool = False

    @property
    def is_bounded(self) -> bool:
        return self.start is not None or self.end is not None


def read_window(params: Mapping[str, str], *, node: Node, moments: Moments) -> Window:
    """The window that an address asks for.

    Args:
        params: With `range`, or with `from` and `to`; without any of them the search decides,
            and if it says nothing either it is the default range.
        node: The search.

    Raises:
        InvalidError: An unknown range, no times, or one that ends before it starts.
    """
    if params.get("from") or params.get("to"):
        return _given(params.get("from", ""), params.get("to", ""), moments=moments)
    name = params.get("range", "")
    searched = time_window(node)
    if not name and searched != (None, None):
        return Window(
            start=searched[0],
            end=searched[1],
            range=None,
            words=_words(*searched, moments=moments),
            is_searched=True,
        )
    return quick(name or DEFAULT_RANGE, now=moments.now)


def quick(name: str, *, now: Instant) -> Window:
    """The quick range of this name, ending now.

    Its end is open: events that arrive while somebody reads must be counted as new ones.

    Raises:
        InvalidError: There is no such range.
    """
    if name == ALL:
        return Window(start=None, end=None, range=ALL, words="in all")
    if name not in RANGES:
        raise InvalidError(f"range: expected one of {', '.join([*RANGES, ALL])}")
    seconds, words = RANGES[name]
    return Window(
        start=Instant.of(now - timedelta(seconds=seconds)),
        end=None,
        range=name,
        words=f"in {words}",
    )


def _given(start_text: str, end_text: str, *, moments: Moments) -> Window:
    start = _moment("from", start_text, moments=moments)
    end = _moment("to", end_text, moments=moments)
    if start and end and start >= end:
        raise InvalidError("from, to: the window ends before it starts")
    return Window(start=start, end=end, range=None, words=_words(start, end, moments=moments))


def _moment(name: str, text: str, *, moments: Moments) -> Instant | None:
    if not text:
        return None
    try:
        return read_time(text.strip(), now=moments.now, zone=moments.zone).start
    except ValueError:
        raise InvalidError(
            f"{name}: expected a time such as 2026-03-15, 2026-03-15T11:00 or 2026-03-15T11:00Z"
        ) from None


def _words(start: Instant | None, end: Instant | None, *, moments: Moments) -> str:
    if start and end:
        return moments.between(start, end)
    if start:
        return f"since {moments.short(start)}"
    return f"before {moments.short(end)}" if end else "in all"


def smallest_range_holding(moment: Instant, *, now: Instant) -> str:
    """The shortest quick range that reaches back to a moment."""
    age = (now - moment).total_seconds()
    return next((name for name, (seconds, _) in RANGES.items() if 0 <= age < seconds), ALL)


def shifted(
    start: Instant, end: Instant, *, by: int, zone: tzinfo
) -> tuple[Instant, Instant] | None:
    """The window as long as this one, `by` lengths later; None beyond the years 1 to 9999.

    Whole days of the zone stay whole days, also where the clocks change between them.
    """
    first, last = local_time(start, zone), local_time(end, zone)
    try:
        if first.time() == last.time() == time.min:
            length = (last - first) * by
            return first_instant(first + length, zone), first_instant(last + length, zone)
        elapsed = (end - start) * by
        return Instant.of(start + elapsed), Instant.of(end + elapsed)
    except OverflowError:
        return None


def next_wider(name: str) -> str:
    """The quick range after this one."""
    names = [*RANGES, ALL]
    return names[min(names.index(name) + 1, len(names) - 1)]


def zoomed_out(start: Instant, end: Instant) -> tuple[Instant, Instant]:
    """A window around this one, three times as long, within the years 1 to 9999."""
    length = end - start
    try:
        first = Instant.of(start - length)
    except OverflowError:
        first = start
    try:
        return first, Instant.of(end + length)
    except OverflowError:
        return first, end
