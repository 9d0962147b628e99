"""Any Python value as JSON that an event may hold: never an exception, never without bounds.

What applications have in their fields is no JSON: decimals, dates, models, lazy texts, bytes. Here
each becomes what a person would write for it, and what is too large is cut with a mark. Nothing is
asked of an object but its text, and that is guarded.

Not here: what is secret (`redaction`), what a field of a framework means (`capture`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Set
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from pathlib import PurePath
from typing import Any
from uuid import UUID

from whodid.event import MAX_SAFE_INTEGER, Json
from whodid.times import Instant

MAX_TEXT = 2_048  # characters of one string
MAX_ITEMS = 200  # of one list or object
MAX_LABEL = 200
_MAX_DEPTH = 8
_CUT = "… [cut]"


def plain(value: Any, *, max_text: int = MAX_TEXT) -> Json:
    """The value as JSON: texts cut at `max_text`, lists and objects at 200 items and 8 levels."""
    kind = value.__class__
    if kind is str:
        return _text(value, max_text)
    if value is None or kind is bool:
        return value
    if kind is int:
        return value if -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER else str_of_int(value)
    return _plain(value, max_text, 0)


def str_of_int(value: int) -> str:
    """A number that JSON readers would round, in digits; its size if it has very many."""
    bits = value.bit_length()
    return str(value) if bits < 4_096 else f"[integer of {bits:,} bits]"


def label(value: Any) -> str:
    """What people call an object, at most 200 characters; empty if it can't say."""
    return _text(guarded_text(value), MAX_LABEL)


def guarded_text(value: Any) -> str:
    """`str(value)`, or a mark with its type when that raises."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - a host's __str__: whatever it raises, the event is made
        return f"[{type(value).__name__} without text]"


def cut(text: str, limit: int) -> str:
    """The text with at most `limit` characters, a mark at the end if any were taken."""
    if len(text) <= limit:
        return text
    return text[: limit - len(_CUT)] + _CUT if limit > len(_CUT) else text[:limit]


def _text(text: str, limit: int) -> str:
    if len(text) > limit:
        text = cut(text, limit)
    # Lone surrogates are no UTF-8 and would make the event impossible to write.
    return text if text.isascii() or _is_unicode(text) else text.encode("utf-8", "replace").decode()


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _plain(value: Any, max_text: int, depth: int) -> Json:
    if value is None or value is True or value is False:
        return value
    if isinstance(value, Enum):
        return _plain(value.value, max_text, depth)
    if isinstance(value, str):
        return _text(str.__str__(value), max_text)
    if isinstance(value, int):
        number = int(value)
        return number if abs(number) <= MAX_SAFE_INTEGER else str_of_int(number)
    if isinstance(value, float):
        return _float(value)
    for kinds, write in _WRITERS:
        if isinstance(value, kinds):
            return write(value)
    if depth >= _MAX_DEPTH:
        return "[nested too deeply]"
    return _compound(value, max_text, depth + 1)


def _float(value: float) -> Json:
    if math.isfinite(value) and abs(value) <= MAX_SAFE_INTEGER:
        return float(value)
    return repr(float(value))


def _compound(value: Any, max_text: int, depth: int) -> Json:
    try:
        if isinstance(value, Mapping):
            return _object(value.items(), len(value), max_text, depth)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            names = [each.name for each in dataclasses.fields(value)]
            pairs = [(name, getattr(value, name)) for name in names]
            return _object(pairs, len(pairs), max_text, depth)
        if isinstance(value, Set):
            items = [_plain(item, max_text, depth) for item in value]
            return _bounded(sorted(items, key=repr), len(items))
        if isinstance(value, list | tuple):
            return _bounded(
                [_plain(item, max_text, depth) for item in value[:MAX_ITEMS]], len(value)
            )
    except Exception:  # noqa: BLE001 - a host's container: whatever it raises, the event is made
        return f"[{type(value).__name__} that can't be read]"
    return _text(guarded_text(value), max_text)


def _object(pairs: Iterable[tuple[Any, Any]], size: int, max_text: int, depth: int) -> Json:
    written: dict[str, Json] = {}
    for key, item in pairs:
        if len(written) == MAX_ITEMS:
            written[_CUT] = f"{size - MAX_ITEMS:,} more"
            break
        written[_text(guarded_text(key), MAX_LABEL)] = _plain(item, max_text, depth)
    return written


def _bounded(items: list[Json], size: int) -> list[Json]:
    left = size - MAX_ITEMS
    return items if left <= 0 else [*items[:MAX_ITEMS], f"{left:,} more{_CUT}"]


def _bytes(value: bytes | bytearray | memoryview) -> str:
    size = value.nbytes if isinstance(value, memoryview) else len(value)
    return f"[{size:,} bytes]"


def _datetime(value: datetime) -> str:
    if value.tzinfo is None:
        return value.isoformat()  # without a zone: it is not ours to guess one
    try:
        return str(Instant.of(value))
    except (OverflowError, ValueError):
        return value.isoformat()


_WRITERS: tuple[tuple[Any, Callable[[Any], Json]], ...] = (
    (datetime, _datetime),
    ((date, time), lambda value: value.isoformat()),
    (timedelta, lambda value: value.total_seconds()),
    ((Decimal, UUID, PurePath, IPv4Address, IPv6Address), str),
    ((bytes, bytearray, memoryview), _bytes),
)
