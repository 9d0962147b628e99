"""The histogram: events over time, stacked by outcome or severity, drawn as SVG.

Widths are percentages and heights pixels of the drawing, so that it fits any width without a
script and without distorting its text.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from whodid.query.buckets import bucket_name
from whodid.query.fields import first_instant
from whodid.stores.base import Bucket, Histogram, SplitBy
from whodid.times import Instant
from whodid.viewer.address import Address, brief_time
from whodid.viewer.moments import Moments
from whodid.viewer.text import plural

TOP, FLOOR = 14.0, 86.0
_THINNEST = 1.0  # a single failure among thousands must still be seen
_GAP = 0.2  # of a bar's width
_MAX_TICKS = 8


@dataclass(frozen=True, slots=True)
class Layer:
    """Values that are drawn as one: their class in the stylesheet and their name in the key.

    Attributes:
        said: How their number is told at a bar, "" when it is not: the quiet need no word.
    """

    css: str
    values: tuple[str, ...]
    name: str
    said: str = ""


LAYERS: Mapping[SplitBy, Sequence[Layer]] = {
    "outcome": (
        Layer("", ("success", "unknown"), "Success"),
        Layer("d", ("denied",), "Denied", "denied"),
        Layer("f", ("failure", "error"), "Failure, error", "failed"),
    ),
    "severity": (
        Layer("", ("debug", "info", "low"), "Low and below"),
        Layer("m", ("medium",), "Medium", "medium"),
        Layer("d", ("high",), "High", "high"),
        Layer("f", ("critical",), "Critical", "critical"),
    ),
}
"""From the floor upwards."""
_TICK_STEPS: Sequence[tuple[str, int]] = (
    ("minute", 1), ("minute", 2), ("minute", 5), ("minute", 15), ("minute", 30), ("hour", 1),
    ("hour", 3), ("hour", 6), ("hour", 12), ("day", 1), ("day", 2), ("week", 1), ("week", 2),
    ("month", 1), ("month", 2), ("month", 3), ("month", 6), ("year", 1), ("year", 2), ("year", 5),
    ("year", 10), ("year", 50), ("year", 100), ("year", 500), ("year", 2000),
)  # fmt: skip
_FIRST = datetime.min  # noqa: DTZ901 - what a clock on a wall shows
# Weeks begin on Monday, as the year 1 did.
_LENGTHS = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One layer's part of a bar, in pixels from the top."""

    css: str
    y: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bucket. `x` and `width` are percentages; the link zooms into it.

    Attributes:
        place: Which bucket it is, counted from 0.
        name: What a screen reader says.
        tip_time: With `tip_counts`, what is shown while it is pointed at or focused.
    """

    place: int
    x: float
    width: float
    slot_x: float
    slot_width: float
    slices: Sequence[Slice]
    url: str
    name: str
    tip_time: str
    tip_counts: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    x: float
    label: str
    is_last: bool = False
    is_alternate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """The whole drawing.

    Attributes:
        highest: What the upper line stands for.
        bar_name: How long one bar is.
        edges: Where all buckets begin and the last one ends; a stretch of them can be chosen.
        totals: Events of each bucket.
        is_exact: False when the numbers are estimates.
    """

    bars: Sequence[Bar]
    ticks: Sequence[Tick]
    highest: int
    bar_name: str
    name: str
    edges: Sequence[str]
    totals: Sequence[int]
    layers: Sequence[Layer]
    is_exact: bool = True


def draw(histogram: Histogram, *, address: Address, moments: Moments) -> Chart | None:
    """The histogram as a drawing, or None when it has no event."""
    buckets = histogram.buckets
    peak = max((bucket.total for bucket in buckets), default=0)
    if not peak:
        return None
    highest = _round_up(peak)
    step = 100 / len(buckets)
    bars = [
        _bar(
            bucket,
            index,
            step,
            highest=highest,
            layers=LAYERS[histogram.split_by],
            address=address,
            moments=moments,
        )
        for index, bucket in enumerate(buckets)
        if bucket.total
    ]
    length = bucket_name([buckets[0].start, *(bucket.end for bucket in buckets)])
    busiest = max(buckets, key=lambda bucket: bucket.total)
    return Chart(
        bars=bars,
        ticks=_ticks(buckets, moments=moments),
        highest=highest,
        bar_name=length,
        name=f"Events over time, one bar is {length}; busiest {_time(busiest, moments)} "
        f"with {plural(busiest.total, 'event')}",
        edges=[brief_time(edge) for edge in (buckets[0].start, *(it.end for it in buckets))],
        totals=[bucket.total for bucket in buckets],
        layers=LAYERS[histogram.split_by],
        is_exact=histogram.exact,
    )


def _bar(
    bucket: Bucket,
    place: int,
    step: float,
    *,
    highest: int,
    layers: Sequence[Layer],
    address: Address,
    moments: Moments,
) -> Bar:
    slices: list[Slice] = []
    y, x = FLOOR, place * step
    for layer in layers:
        count = _in_layer(layer, bucket)
        if count:
            height = max(count / highest * (FLOOR - TOP), _THINNEST)
            y -= height
            slices.append(Slice(css=layer.css, y=round(y, 1), height=round(height, 1)))
    counts = _counts(bucket, layers)
    time = _time(bucket, moments)
    return Bar(
        place=place,
        x=round(x + step * _GAP / 2, 3),
        width=round(step * (1 - _GAP), 3),
        slot_x=round(x, 3),
        slot_width=round(step, 3),
        slices=slices,
        url=address.spanning(bucket.start, bucket.end).list,
        name=f"{time}: {counts}",
        tip_time=time,
        tip_counts=counts,
    )


def _time(bucket: Bucket, moments: Moments) -> str:
    return moments.between(bucket.start, bucket.end)


def _in_layer(layer: Layer, bucket: Bucket) -> int:
    return sum(bucket.counts.get(value, 0) for value in layer.values)


def _counts(bucket: Bucket, layers: Sequence[Layer]) -> str:
    told = [
        f"{count:,} {layer.said}"
        for layer in layers
        if layer.said and (count := _in_layer(layer, bucket))
    ]
    return ", ".join([plural(bucket.total, "event"), *told])


def _round_up(peak: int) -> int:
    """The next number that reads well on an axis."""
    if peak <= 10:
        return peak
    scale = 1
    while True:
        for factor in (10, 12, 15, 20, 25, 30, 40, 50, 60, 80):
            if factor * scale >= peak:
                return factor * scale
        scale *= 10


def _ticks(buckets: Sequence[Bucket], *, moments: Moments) -> list[Tick]:
    """At most eight marks at round local times, as far apart as they must be."""
    for step, multiple in _TICK_STEPS:
        times = _round_times(buckets, step=step, multiple=multiple, moments=moments)
        if len(times) <= _MAX_TICKS:
            return [
                _tick(time, number, buckets, step=step, moments=moments)
                for number, time in enumerate(times)
            ]
    return []


def _tick(
    time: Instant, number: int, buckets: Sequence[Bucket], *, step: str, moments: Moments
) -> Tick:
    index = bisect_right(buckets, time, key=lambda bucket: bucket.start) - 1
    bucket = buckets[index]
    inside = (time - bucket.start) / (bucket.end - bucket.start)
    x = (index + inside) * 100 / len(buckets)
    is_last = x > 93
    return Tick(
        x=round(x, 3),
        label=moments.tick(time, step="last day" if is_last and step == "day" else step),
        is_last=is_last,
        is_alternate=number % 2 == 1 and not is_last,
    )


def _round_times(
    buckets: Sequence[Bucket], *, step: str, multiple: int, moments: Moments
) -> list[Instant]:
    """Round local times within the buckets; one more than may be used when there are too many."""
    start, end = buckets[0].start, buckets[-1].end
    times: list[Instant] = []
    number = _number_of(moments.local(start).replace(tzinfo=None), step=step) // multiple
    while len(times) <= _MAX_TICKS:
        local = _nth(number * multiple, step=step)
        time = first_instant(local, moments.zone) if local else end
        if time >= end:
            break
        if time >= start:
            times.append(time)
        number += 1
    return times


def _number_of(local: datetime, *, step: str) -> int:
    """How many whole steps lie between the year 1 and a local time."""
    match step:
        case "month":
            return (local.year - 1) * 12 + local.month - 1
        case "year":
            return local.year
        case _:
            return (local - _FIRST) // _LENGTHS[step]


def _nth(number: int, *, step: str) -> datetime | None:
    """The local time after so many steps, or None beyond the year 9999; reverses `_number_of`."""
    try:
        match step:
            case "month":
                return _FIRST.replace(year=number // 12 + 1, month=number % 12 + 1)
            case "year":
                return _FIRST.replace(year=max(number, 1))  # in front of the year 1 there is none
            case _:
                return _FIRST + number * _LENGTHS[step]
    except (OverflowError, ValueError):
        return None
