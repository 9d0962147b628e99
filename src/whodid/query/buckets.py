"""Where the bars of a histogram begin: at round local times, few enough to read.

Days, weeks and months begin when they begin in the zone, so a day on which the clocks change has
23 or 25 hours and so has its bar. What is counted in them is the store's business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from itertools import count, pairwise
from typing import Literal, TypeAlias, assert_never

from whodid.query.fields import FIRST, LAST, first_instant, is_skipped, local_time
from whodid.times import Instant

Unit: TypeAlias = Literal["second", "minute", "hour", "day", "week", "month", "year"]

_TICK = timedelta(microseconds=1)
_SECONDS: Mapping[Unit, int] = {
    "second": 1, "minute": 60, "hour": 3_600, "day": 86_400, "week": 604_800,
    "month": 2_629_746, "year": 31_556_952,
}  # fmt: skip
"""On average, as the Gregorian calendar has it."""


@dataclass(frozen=True, slots=True)
class _Step:
    """How far apart edges are: `number` of `unit`."""

    number: int
    unit: Unit

    @property
    def seconds(self) -> int:
        """The length, on average where the calendar varies it."""
        return self.number * _SECONDS[self.unit]

    @property
    def shortest_s(self) -> int:
        """The shortest it can be: what bounds the number of buckets in a window."""
        if self.unit == "month":
            return self.number * 28 * _SECONDS["day"]
        if self.unit == "year":  # some years together lack up to three leap days
            return max(self.number * 365 * _SECONDS["day"], self.seconds - 3 * _SECONDS["day"])
        return self.seconds

    def __str__(self) -> str:
        return f"{self.number} {self.unit}" + ("s" if self.number != 1 else "")


_NUMBERS: Mapping[Unit, tuple[int, ...]] = {
    "second": (1, 5, 15, 30),
    "minute": (1, 5, 15, 30),
    "hour": (1, 2, 3, 6, 12),
    "day": (1,),
    "week": (1,),
    "month": (1, 3),
    "year": (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000),
}
_LADDER = tuple(_Step(number, unit) for unit, numbers in _NUMBERS.items() for number in numbers)


def bucket_edges(start: Instant, end: Instant, *, zone: tzinfo, target: int = 84) -> list[Instant]:
    """The edges of the buckets that cover a window, ascending, at least two.

    The first is not after `start`, the last not before `end`. All are round times in `zone`, such
    as even hours for buckets of two hours, except at the ends of the years 0001 to 9999 and where
    a day begins later than at midnight.

    Args:
        start: Of the window, inclusive.
        end: Exclusive; a window that is empty or reversed is treated as one microsecond.
        target: How many buckets are wanted at most. There may be two more, since edges are round.
    """
    start = min(start, LAST - _TICK)
    end = max(end, start + _TICK)
    target = max(target, 1)
    window_s = (end - start).total_seconds()
    for step in _LADDER:
        if window_s > step.shortest_s * target:
            continue
        edges = _edges(step, start, end, zone)
        if len(edges) <= target + 3:
            return edges
    raise AssertionError("the longest step must cover all years in one bucket or two")


def bucket_name(edges: Sequence[Instant]) -> str:
    """How long the buckets are, such as `2 hours`; the nearest usual length where they differ."""
    lengths = sorted((later - earlier).total_seconds() for earlier, later in pairwise(edges))
    if not lengths:
        raise AssertionError("a bucket has two edges")
    usual_s = max(lengths[(len(lengths) - 1) // 2], 0.001)
    nearest = min(_LADDER, key=lambda step: max(step.seconds / usual_s, usual_s / step.seconds))
    return str(nearest)


def _edges(step: _Step, start: Instant, end: Instant, zone: tzinfo) -> list[Instant]:
    """Edges from the last one not after `start` to the first one not before `end`."""
    edges = [FIRST]  # before which a zone west of Greenwich begins year 1
    for edge in _candidates(step, start, zone):
        if edge <= start:
            edges = [edge]
        elif edge > edges[-1]:  # a day that a zone left out begins when the next one does
            edges.append(edge)
        if edge >= end:
            return edges
    raise AssertionError("edges go on until the last instant")


def _candidates(step: _Step, start: Instant, zone: tzinfo) -> Iterator[Instant]:
    """Edges from one not after `start` on, ascending, the last one for ever at the end of time."""
    local = local_time(start, zone)
    match step.unit:
        case "second" | "minute":
            return _even_edges(step, start, zone)
        case "hour":
            return _even_edges(step, start, zone) if step.number == 1 else _hours(step, local, zone)
        case "day" | "week":
            days = step.number * (7 if step.unit == "week" else 1)
            first = (local.toordinal() - 1) // days * days + 1  # 0001-01-01, day 1, is a Monday
            return (_start_of_day(day, zone) for day in count(first, days))
        case "month" | "year":
            months = step.number * (12 if step.unit == "year" else 1)
            first = (local.year * 12 + local.month - 1) // months * months
            return (_start_of_month(month, zone) for month in count(first, months))
        case _:
            assert_never(step.unit)


def _even_edges(step: _Step, start: Instant, zone: tzinfo) -> Iterator[Instant]:
    """Evenly spaced in elapsed time, so that an hour that comes twice has two bars."""
    length = step.seconds * 1_000_000
    edge = start.micros
    while over := _wall_micros(edge, zone) % length:
        edge -= over
    while True:
        yield _clamped(edge)
        edge += length
        # A zone may have shifted by half an hour: go on to where its hours begin now.
        while over := _wall_micros(edge, zone) % length:
            edge += length - over


def _hours(step: _Step, local: datetime, zone: tzinfo) -> Iterator[Instant]:
    """At fixed hours of the day; one that clocks jump over is left out."""
    for day in count(local.toordinal()):
        yield _start_of_day(day, zone)
        if day > date.max.toordinal():
            continue
        for hour in range(step.number, 24, step.number):
            wall = datetime.combine(date.fromordinal(day), time(hour))
            if not is_skipped(wall, zone):
                yield first_instant(wall, zone)


def _start_of_day(ordinal: int, zone: tzinfo) -> Instant:
    if ordinal > date.max.toordinal():
        return LAST
    return first_instant(datetime.combine(date.fromordinal(ordinal), time.min), zone)


def _start_of_month(month: int, zone: tzinfo) -> Instant:
    """Of the month counted from January of year 0."""
    year, of_year = divmod(month, 12)
    if not 1 <= year <= 9999:
        return FIRST if year < 1 else LAST
    return _start_of_day(date(year, of_year + 1, 1).toordinal(), zone)


def _wall_micros(micros: int, zone: tzinfo) -> int:
    """What clocks show at an instant, as microseconds since 1970-01-01T00:00 on them."""
    instant = _clamped(micros)
    return micros + (local_time(instant, zone) - instant.replace(tzinfo=None)) // _TICK


def _clamped(micros: int) -> Instant:
    return Instant.from_micros(min(max(micros, FIRST.micros), LAST.micros))
