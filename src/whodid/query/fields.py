"""The qualifiers of the search language: their names, what they hold, and how a value is read.

`parse` asks here what a name means and turns literals into values; `evaluate` asks here what an
address range is; the viewer asks here what it can offer. What an event answers to a qualifier is
not here but in `evaluate`.
"""

from __future__ import annotations

import calendar
import difflib
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from typing import Literal, TypeAlias

from whodid.event import (
    ACTOR_TYPES,
    CATEGORIES,
    MAX_SAFE_INTEGER,
    OPERATIONS,
    OUTCOMES,
    SEVERITIES,
    packed_ip,
)
from whodid.times import Instant

Kind: TypeAlias = Literal[
    "dotted", "duration", "enum", "exact", "flag", "ip", "level", "number", "smart", "text",
    "time", "value",
]  # fmt: skip
"""How a field's values are written and compared: `dotted` a dotted name and all below it · `enum`
one of a closed list · `level` the same in ascending order · `exact` a string ignoring case ·
`flag` a property of the event (`has:`, `is:`) · `smart` somebody or something by id, e-mail or
name · `text` words in a text · `value` any JSON value."""

FLAGS_HAS = ("changes", "behalf", "via", "geo", "trace", "error", "reason")
FLAGS_IS = ("failed", "impersonated", "agent", "anonymous", "privileged", "redacted")
MISSING_FLAGS: Mapping[str, str] = {
    "is:verified": "the result of a verification for each event",
    "is:unverified": "the result of a verification for each event",
    "is:alerted": "alerts",
    "has:hold": "legal holds",
    "has:note": "notes",
}
"""Flags that are states beside the event; what they need, none of which exists yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A qualifier.

    Attributes:
        name: Canonical name, e.g. `actor.id`, or with its path `meta.invoice.number`.
        values: What an `enum`, `level` or `flag` can be, in the order it is told.
        single: An event has at most one value, so two different ones never match together.
    """

    name: str
    kind: Kind
    values: tuple[str, ...] = ()
    single: bool = False

    @property
    def has_order(self) -> bool:
        """Can its values be compared with < and >?"""
        return self.kind in ("time", "number", "duration", "level")


def _single(name: str, kind: Kind, values: tuple[str, ...] = ()) -> Field:
    return Field(name=name, kind=kind, values=values, single=True)


def _several(name: str, kind: Kind, values: tuple[str, ...] = ()) -> Field:
    return Field(name=name, kind=kind, values=values)


FIELDS: Mapping[str, Field] = {
    field.name: field
    for field in (
        _single("action", "dotted"),
        _single("category", "enum", CATEGORIES),
        _single("operation", "enum", OPERATIONS),
        _single("outcome", "enum", OUTCOMES),
        _single("severity", "level", SEVERITIES),
        _single("reason", "exact"),
        _single("actor", "smart"),
        _single("actor.id", "exact"),
        _single("actor.type", "enum", ACTOR_TYPES),
        _single("actor.name", "exact"),
        _single("actor.email", "exact"),
        _several("actor.role", "exact"),
        _single("behalf", "smart"),
        _single("behalf.id", "exact"),
        _single("behalf.type", "enum", ACTOR_TYPES),
        _single("behalf.name", "exact"),
        _single("behalf.email", "exact"),
        _several("via", "smart"),
        _several("via.id", "exact"),
        _several("via.type", "enum", ACTOR_TYPES),
        _several("via.name", "exact"),
        _several("via.email", "exact"),
        _several("target", "smart"),
        _several("target.id", "exact"),
        _several("target.type", "exact"),
        _several("target.name", "exact"),
        _single("tenant", "exact"),  # its id: a name may change, and is no column
        _several("scope", "exact"),
        _single("app", "exact"),
        _single("env", "exact"),
        _single("ip", "ip"),
        _single("country", "exact"),
        _single("city", "exact"),
        _single("asn", "number"),
        _several("agent", "text"),
        _several("device", "exact"),
        _single("session", "exact"),
        _single("credential", "exact"),
        _single("request", "exact"),
        _single("trace", "exact"),
        _single("correlation", "exact"),
        _single("method", "exact"),
        _several("path", "exact"),  # of the URL, or the route
        _single("status", "number"),
        _single("duration", "duration"),
        _several("changed", "exact"),
        _several("tag", "exact"),
        _several("message", "text"),
        _several("error", "text"),
        _single("id", "exact"),
        _single("index", "number"),
        _single("created", "time"),
        _single("received", "time"),
        _several("has", "flag", FLAGS_HAS),
        _several("is", "flag", FLAGS_IS),
    )
}
OPEN_FIELDS = ("old", "new", "meta")
"""These are followed by a path: `old.role`, `meta.invoice.number`."""

ALIASES: Mapping[str, str] = {
    "user": "actor", "who": "actor", "by": "actor",
    "on": "target",
    "verb": "operation", "crud": "operation",
    "result": "outcome",
    "org": "tenant",
    "source": "app",
    "ua": "agent",
    "time": "created", "when": "created",
    "level": "severity",
    "type": "category",
}  # fmt: skip
"""Other names, also in front of a dot: `user.id` is `actor.id`."""

SUGAR: Mapping[str, str] = {"since": ">=", "until": "<=", "after": ">", "before": "<"}
"""Names that are `created` with an operator."""


def find_field(name: str) -> Field | None:
    """The field of a qualifier's name or alias, in any case; None when there is none."""
    name = name.lower()
    head, dot, path = name.partition(".")
    if head in OPEN_FIELDS:
        return _several(name, "value") if path else None
    if name in SUGAR:
        return FIELDS["created"]
    return FIELDS.get(ALIASES.get(head, head) + dot + path)


def nearest_name(name: str) -> str | None:
    """The name that was perhaps meant by an unknown one."""
    name = name.lower()[:64]  # no name is longer, and the comparison is quadratic
    head, dot, path = name.partition(".")
    known = [*FIELDS, *SUGAR, *ALIASES]
    known += [
        alias + field.removeprefix(meant)
        for alias, meant in ALIASES.items()
        for field in FIELDS
        if field.startswith(meant + ".")
    ]
    if near := difflib.get_close_matches(name, known, 1, 0.7):
        return near[0]
    if path and (near := difflib.get_close_matches(head, OPEN_FIELDS, 1, 0.7)):
        return near[0] + dot + path
    return None


def glob(pattern: str) -> Callable[[str], bool]:
    """A test whether a whole text fits the pattern, in which `*` stands for any characters.

    No regular expression: `*a*a*a*` on a long text would take one minutes.
    """
    if "*" not in pattern:
        return lambda text: text == pattern
    head, *middle, tail = pattern.split("*")
    pieces = [piece for piece in middle if piece]
    shortest = len(head) + len(tail)

    def fits(text: str) -> bool:
        if len(text) < shortest or not text.startswith(head) or not text.endswith(tail):
            return False
        start, end = len(head), len(text) - len(tail)
        for piece in pieces:  # the first place is as good as any later one
            found = text.find(piece, start, end)
            if found < 0:
                return False
            start = found + len(piece)
        return True

    return fits


# ---- numbers


_NUMBER = re.compile(r"(-?[0-9]+)(?:\.([0-9]+))?(ms|s|m|h)?")
_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}


def read_number(text: str, kind: Kind) -> float:
    """The number of a literal, an int when it is whole; of a duration the milliseconds.

    Raises:
        ValueError: Not a number of this kind; the text is the reason, empty when it is the shape.
    """
    found = _NUMBER.fullmatch(text)
    if not found or found[3] and kind != "duration":
        raise ValueError("")
    # In whole numbers, since 1.1 s is 1100 ms exactly.
    digits = found[2] or ""
    scale: int = 10 ** len(digits)
    number = int(found[1] + digits) * _UNIT_MS[found[3] or "ms"]
    if abs(number) > MAX_SAFE_INTEGER * scale:
        raise ValueError("beyond ±(2^53-1)")
    return number // scale if number % scale == 0 else number / scale


# ---- addresses


IpRange: TypeAlias = tuple[bytes, bytes]
"""First and last address, packed, both of 4 or both of 16 bytes."""

_PRIVATE = (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
    "192.168.0.0/16", "::/127", "fc00::/7", "fe80::/10",
)  # fmt: skip
# Not `ipaddress.is_private`: its answer differs between Python versions.


def read_network(text: str) -> str:
    """An address or CIDR range as its canonical range: `10.1.2.3/8` → `10.0.0.0/8`.

    An IPv4-mapped range is one of IPv4.

    Raises:
        ValueError: It is neither.
    """
    address, slash, length = text.partition("/")
    packed = packed_ip(address) if address.isascii() else None
    if packed is None or slash and not re.fullmatch("[0-9]{1,3}", length):
        raise ValueError("no address")
    bits = int(length) if slash else len(packed) * 8
    if slash and len(packed) == 4 and ":" in address:
        bits -= 96  # counted from the front of ::ffff:0:0/96
    if not 0 <= bits <= len(packed) * 8:
        raise ValueError("no such prefix length")
    hosts = (1 << (len(packed) * 8 - bits)) - 1
    first = (int.from_bytes(packed, "big") & ~hosts).to_bytes(len(packed), "big")
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    return f"{socket.inet_ntop(family, first)}/{bits}"


def ip_ranges(value: str) -> tuple[IpRange, ...]:
    """The address ranges of an `ip` term: a canonical CIDR range, `private` or `public`."""
    if value == "private":
        return _PRIVATE_RANGES
    if value == "public":
        return _PUBLIC_RANGES
    return (_range_of(value),)


def _range_of(network: str) -> IpRange:
    address, _, length = network.partition("/")
    first = packed_ip(address)
    if first is None:
        raise AssertionError("an ip term must hold a range as read_network writes it")
    hosts = (1 << (len(first) * 8 - int(length))) - 1
    number = int.from_bytes(first, "big") & ~hosts
    return number.to_bytes(len(first), "big"), (number | hosts).to_bytes(len(first), "big")


def _gaps(ranges: tuple[IpRange, ...]) -> tuple[IpRange, ...]:
    gaps: list[IpRange] = []
    for size in (4, 16):
        free = 0
        for first, last in sorted(pair for pair in ranges if len(pair[0]) == size):
            start = int.from_bytes(first, "big")
            if start > free:
                gaps.append((free.to_bytes(size, "big"), (start - 1).to_bytes(size, "big")))
            free = int.from_bytes(last, "big") + 1
        if free < 1 << (8 * size):
            gaps.append((free.to_bytes(size, "big"), b"\xff" * size))
    return tuple(gaps)


_PRIVATE_RANGES = tuple(_range_of(network) for network in _PRIVATE)
_PUBLIC_RANGES = _gaps(_PRIVATE_RANGES)


# ---- times


FIRST = Instant.of(datetime.min.replace(tzinfo=UTC))
LAST = Instant.of(datetime.max.replace(tzinfo=UTC))
_TICK = timedelta(microseconds=1)

_DATE_TIME = re.compile(
    r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2})"
    r"(?:[Tt]([0-9]{2})(?::([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,9}))?)?)?"
    r"([Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)?)?)?)?"
)
_AGO = re.compile(r"-?([0-9]{1,9})(mo|[mhdwy])")
_AGO_UNITS = {
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}


@dataclass(frozen=True, slots=True)
class Span:
    """The time that a literal stands for: from `start`, to `end` (exclusive; None beyond 9999).

    `is_ago` says that it is a moment counted back from now, which alone means "since then".
    """

    start: Instant
    end: Instant | None
    is_ago: bool = False


def read_time(text: str, *, now: Instant, zone: tzinfo) -> Span:
    """The span of a time literal at the literal's precision, e.g. a whole month.

    Args:
        zone: For literals without offset, and for the calendar of `today`, `3mo` and `1y`.

    Raises:
        ValueError: Not a time; the text is the reason, empty when it is the shape.
    """
    word = text.lower()
    if word == "now":
        return _moment(now)
    if word in ("today", "yesterday"):
        day = local_time(now, zone).date()
        try:
            return _day_span(day - timedelta(days=word == "yesterday"), zone)
        except OverflowError:
            raise ValueError("outside the years 0001 to 9999") from None
    if ago := _AGO.fullmatch(word):
        moment = _moment(_ago(int(ago[1]), ago[2], now=now, zone=zone))
        return Span(moment.start, moment.end, is_ago=True)
    parts = _DATE_TIME.fullmatch(text)
    if not parts:
        raise ValueError("")
    return _calendar_span(parts, zone)


def first_instant(wall: datetime, zone: tzinfo) -> Instant:
    """When clocks in `zone` first show the naive time `wall` or, where it is skipped, a later one.

    Outside the years 0001 to 9999 in UTC it is the nearest instant inside.
    """
    return _instant(wall.replace(fold=0), zone)


def end_instant(last: datetime, zone: tzinfo) -> Instant | None:
    """The instant after clocks in `zone` last show the naive time `last`; None beyond 9999."""
    if is_skipped(last, zone):
        return _instant(last, zone)
    instant = _instant(last.replace(fold=1), zone)
    return None if instant == LAST else instant + _TICK


def is_skipped(wall: datetime, zone: tzinfo) -> bool:
    """Do clocks in `zone` jump over the naive time `wall`?"""
    wall = wall.replace(fold=0)
    try:
        there = wall.replace(tzinfo=zone).astimezone(UTC).astimezone(zone)
    except (OverflowError, ValueError):
        return False
    return there.replace(tzinfo=None, fold=0) != wall


def _moment(instant: Instant) -> Span:
    return Span(instant, None if instant == LAST else instant + _TICK)


def local_time(instant: Instant, zone: tzinfo) -> datetime:
    """What clocks in `zone` show, as a naive time; in UTC where that is no year 0001 to 9999."""
    try:
        return instant.astimezone(zone).replace(tzinfo=None)
    except (OverflowError, ValueError):
        return instant.replace(tzinfo=None)


def _instant(wall: datetime, zone: tzinfo) -> Instant:
    try:
        if is_skipped(wall, zone):
            return _transition(wall, zone)
        return Instant.of(wall.replace(tzinfo=zone))
    except (OverflowError, ValueError):
        return FIRST if wall.year < 5000 else LAST


def _transition(wall: datetime, zone: tzinfo) -> Instant:
    """The instant at which clocks jump over the naive time `wall`."""
    # In a gap fold=1 is read with the offset after it and so lies before it, fold=0 the reverse.
    low = Instant.of(wall.replace(tzinfo=zone, fold=1)).micros
    high = Instant.of(wall.replace(tzinfo=zone, fold=0)).micros
    before = local_time(Instant.from_micros(low), zone)
    while high - low > 1:
        middle = (low + high) // 2
        gone_by = timedelta(microseconds=middle - low)
        local = local_time(Instant.from_micros(middle), zone)
        if local - before == gone_by:
            low, before = middle, local
        else:
            high = middle
    return Instant.from_micros(high)


def _day_span(day: date, zone: tzinfo) -> Span:
    return Span(
        first_instant(datetime.combine(day, time.min), zone),
        end_instant(datetime.combine(day, time.max), zone),
    )


def _ago(number: int, unit: str, *, now: Instant, zone: tzinfo) -> Instant:
    try:
        if unit in _AGO_UNITS:
            return now - number * _AGO_UNITS[unit]
        local = local_time(now, zone)
        months = local.year * 12 + local.month - 1 - number * (12 if unit == "y" else 1)
        year, month = divmod(months, 12)
        day = min(local.day, calendar.monthrange(year, month + 1)[1])
        return first_instant(local.replace(year=year, month=month + 1, day=day), zone)
    except (OverflowError, ValueError):
        raise ValueError("before the year 0001") from None


def _calendar_span(parts: re.Match[str], zone: tzinfo) -> Span:
    year, month, day, hour, minute, second = (
        None if part is None else int(part) for part in parts.groups()[:6]
    )
    _check("year", year, low=1, high=9999)
    _check("month", month, low=1, high=12)
    if year is None:
        raise AssertionError("the pattern of a time demands a year")
    last_day = calendar.monthrange(year, month or 1)[1]
    if day is not None and not 1 <= day <= last_day:
        raise ValueError(f"day must be in 1..{last_day}")
    _check("hour", hour, low=0, high=23)
    _check("minute", minute, low=0, high=59)
    _check("second", second, low=0, high=59)
    fraction = (parts[7] or "")[:6]
    first = datetime.combine(
        date(year, month or 1, day or 1),
        time(hour or 0, minute or 0, second or 0, int(fraction.ljust(6, "0"))),
    )
    last = datetime.combine(
        date(year, month or 12, day or calendar.monthrange(year, month or 12)[1]),
        time(
            23 if hour is None else hour,
            59 if minute is None else minute,
            59 if second is None else second,
            int(fraction.ljust(6, "9")),
        ),
    )
    offset = zone if parts[8] is None else _read_offset(parts[8])
    return Span(first_instant(first, offset), end_instant(last, offset))


def _check(what: str, number: int | None, *, low: int, high: int) -> None:
    if number is not None and not low <= number <= high:
        raise ValueError(f"{what} must be in {low}..{high}")


def _read_offset(text: str) -> tzinfo:
    if text in "Zz":
        return UTC
    hours, minutes = int(text[1:3]), int(text[3:].lstrip(":") or 0)
    _check("offset", hours, low=0, high=23)
    _check("offset minutes", minutes, low=0, high=59)
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if text[0] == "-" else offset)
