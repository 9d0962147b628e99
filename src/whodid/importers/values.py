"""What importers share to read values of unknown kind: nothing here trusts a type or a length.

Every function takes whatever a record holds and gives back something that the schema allows, or
None. What a value means is the importers' business.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from typing import Any, TypeAlias

from whodid.event import MAX_SAFE_INTEGER, packed_ip
from whodid.ids import derived_id
from whodid.importers.base import UnmappableError, record_bytes
from whodid.redaction import is_secret_name, redact_text
from whodid.times import Instant

Values: TypeAlias = dict[str, Any]
"""What `from_mapping` reads. `Any`, since it holds values of every kind."""

MAX_SHORT = 256  # characters of an id or a name, as the schema has it
MAX_TEXT = 4_096  # characters of a message
MAX_URL = 2_048
MAX_USER_AGENT = 1_024
MAX_VALUE = 2_048  # characters of a text, bytes of a list, that is kept in metadata
_MAX_NESTING = 3
_MAX_ID_BITS = 256  # a longer number is no id; Python refuses to write very long ones at all


# -- texts ---------------------------------------------------------------------------------------


def lowered(value: object) -> Mapping[str, Any]:
    """The object with its keys in lower case; empty when it is none."""
    if not isinstance(value, dict) or not value:
        return {}
    try:
        return {key.lower(): item for key, item in value.items()}
    except AttributeError:  # a key that is no string, which JSON does not have
        return {key.lower(): item for key, item in value.items() if isinstance(key, str)}


def inner(value: object) -> Mapping[str, Any]:
    """The object as it is; empty when it is none."""
    return value if isinstance(value, dict) else {}


def text(value: object, limit: int = MAX_SHORT) -> str | None:
    """A string of at least one visible character, cut with a mark; None for anything else."""
    if value is None:
        return None
    if isinstance(value, str):
        stripped = value.strip()
        return (stripped if len(stripped) <= limit else cut(stripped, limit)) or None
    if isinstance(value, int) and not isinstance(value, bool):
        return cut(str(value), limit) if value.bit_length() <= _MAX_ID_BITS else None
    return None


def cut(given: str, limit: int) -> str:
    """The text, its end replaced by a mark when it is longer than `limit` characters."""
    return given if len(given) <= limit else given[: limit - 1] + "…"


def whole(value: object, *, at_least: int = 0, at_most: int = MAX_SAFE_INTEGER) -> int | None:
    """A whole number within bounds, also when it is written as a string."""
    if isinstance(value, str) and len(value) <= 20 and value.isascii() and value.isdigit():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if at_least <= value <= at_most else None


def degrees(value: object, limit: int) -> float | None:
    """A latitude or longitude, or None when it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if -limit <= value <= limit else None  # NaN is in no bounds


def truth(value: object) -> bool:
    """Is it true, or a word for it?"""
    return value is True or isinstance(value, str) and value.strip().lower() in ("true", "yes")


def present(**values: Any) -> Values:
    """The values that say something: zero and false do, None and what is empty do not."""
    return {key: value for key, value in values.items() if value or isinstance(value, int | float)}


_EMAIL = re.compile(r"[^\s@/:]{1,64}@[^\s@/:]{1,190}\.[A-Za-z]{2,24}")


def email(value: str | None) -> str | None:
    """The text, when it is an e-mail address."""
    return value if value and _EMAIL.fullmatch(value) else None


# -- names ---------------------------------------------------------------------------------------

_CAPITALS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NO_NAME = re.compile(r"[^a-z0-9]+")


@lru_cache(maxsize=4096)
def fold(name: str) -> str:
    """A foreign name as one segment of ours; never empty."""
    folded = _NO_NAME.sub("_", _CAPITALS.sub("_", name).lower()).strip("_")
    return folded if folded[:1].isalpha() else f"x_{folded}".rstrip("_")


@lru_cache(maxsize=4096)
def action_name(name: str, owner: str) -> str:
    """A foreign dotted name as an action of ours.

    Args:
        owner: A word for whose it is; before a name of one segment, and before `audit.`, which
            only whodid's own actions begin with.
    """
    segments = [fold(part)[:48].rstrip("_") for part in name.split(".") if part] or ["x"]
    if len(segments) == 1:
        segments.insert(0, owner)
    if len(segments) > 5:
        segments[4:] = ["_".join(segments[4:])]
    if segments[0] == "audit":
        segments[0] = f"{owner}_audit"
    return ".".join(segments)[:128].rstrip("._")


def kind_name(name: str | None, otherwise: str) -> str:
    """A foreign type as the type of a target."""
    parts = [fold(part) for part in name.split(".") if part] if name else []
    return ".".join(parts)[:64].rstrip("._") or otherwise


def code_name(given: str | None) -> str | None:
    """`client.unauthorized_operation` of `Client.UnauthorizedOperation`."""
    if given is None:
        return None
    return ".".join(fold(part) for part in given.split(".") if part)[:64].rstrip("._") or None


# -- ids and times -------------------------------------------------------------------------------

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def event_id(own: object, record: Mapping[str, Any], *, form: str) -> str:
    """The record's own UUID, else one derived from all that it says.

    Args:
        form: The importer's name, which keeps equal records of two systems apart.

    Raises:
        UnmappableError: The record holds what JSON can't say.
    """
    if isinstance(own, str) and _UUID.fullmatch(own.lower()):
        return own.lower()
    return derived_id(form, record_bytes(record))


_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:(\.\d+)|(\d{6}|\d{9}))? ?(Z|UTC|[+-]\d\d:?\d\d)?",
    re.ASCII,
)
_DIGITS = re.compile(r"\d{9,20}", re.ASCII)
# Seconds up to the year 5138; a larger number counts smaller parts.
_UNITS = ((10**17, 10**9), (10**14, 10**6), (10**11, 10**3))


def first_time(given: Mapping[str, Any], *keys: str, name: str | None = None) -> Instant | None:
    """When it happened, by the first of the keys that says; None when none does.

    A time without a zone is in UTC. Numbers, also written as strings, count seconds since 1970,
    or milli-, micro- or nanoseconds by their size.

    Args:
        name: What an error calls the key, when that is spelled otherwise in the system's documents.

    Raises:
        UnmappableError: It says so in a way that can't be read: the time must not be guessed.
    """
    for key in keys:
        value = given.get(key)
        if value is not None and value != "":
            return _read_time(value, name or key)
    return None


def _read_time(value: object, key: str) -> Instant:
    try:
        if isinstance(value, str):
            value = value.strip()
            if _DIGITS.fullmatch(value):
                value = int(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return _of_number(value)
        found = _TIME.fullmatch(value.upper()) if isinstance(value, str) else None
        if found:
            zone = "+00:00" if found[5] in (None, "Z", "UTC") else found[5]
            zone = zone if ":" in zone else f"{zone[:3]}:{zone[3:]}"
            fraction = found[3] or (f".{found[4]}" if found[4] else "")
            return Instant.parse(f"{found[1]}T{found[2]}{fraction}{zone}")
    except (ValueError, OverflowError, OSError):
        pass
    raise UnmappableError(f"{key}: expected a time such as 2026-03-15T11:00:00Z")


def _of_number(value: float) -> Instant:
    divisor = next((parts for least, parts in _UNITS if value > least), 1)
    if isinstance(value, int):  # exact, where a float would round
        return Instant.from_micros(value * 10**6 // divisor)
    return Instant.of(datetime.fromtimestamp(value / divisor, UTC))


def newest_before(
    month_and_clock: tuple[int, int, int, int, int], *, until: Instant, zone: tzinfo
) -> Instant | None:
    """The newest instant, not after `until`, at which clocks in `zone` showed this.

    Args:
        month_and_clock: Month, day, hour, minute, second; the year is what is looked for.

    Returns:
        None when there is no such day or second.
    """
    # Eight years back: between 1896 and 1904, and 2096 and 2104, there is no 29 February.
    for year in range(until.year + 1, max(until.year - 9, 0), -1):
        try:
            moment = Instant.of(datetime(year, *month_and_clock, tzinfo=zone))
        except (ValueError, OverflowError):
            continue
        if moment <= until:
            return moment
    return None


# -- addresses -----------------------------------------------------------------------------------


def ip(value: object) -> str | None:
    """The text, when it is an address."""
    return value if isinstance(value, str) and packed_ip(value) is not None else None


def ips(values: Iterable[object], limit: int = 16) -> list[str]:
    """The addresses among the values."""
    return [value for value in values if isinstance(value, str) and ip(value)][:limit]


_QUERY = re.compile(r"[?#;]")
_PARAMETER = re.compile(r"(?:^|[&;?])([A-Za-z_][A-Za-z0-9_.\[\]-]{0,31})=")


def path_of(url: str | None, limit: int = MAX_URL) -> str | None:
    """The address up to its query, whose values are secrets often enough."""
    return cut(_QUERY.split(url, maxsplit=1)[0], limit) or None if url else None


def parameter_names(url: str | None) -> list[str]:
    """The names, without values, of an address's first 20 parameters, each once."""
    if not url or "?" not in url:
        return []
    return list(dict.fromkeys(_PARAMETER.findall(url[:MAX_URL].partition("?")[2])))[:20]


def credential_name(key: str) -> str:
    """A name for a credential's id that is searchable and does not give the id away."""
    if redact_text(key) == key:  # a placeholder or a pseudonym
        return key
    return "sha256:" + hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:32]


# -- what has no place of its own ----------------------------------------------------------------


def a_target(kind: str, identity: str, name: str | None = None) -> Values:
    """A target; an id that is too long is cut, and whole in its attributes."""
    target: Values = {"type": kind, "id": cut(identity, MAX_SHORT)}
    if name and name != identity:
        target["name"] = cut(name, MAX_SHORT)
    if len(identity) > MAX_SHORT:
        target["attributes"] = {"id": cut(identity, MAX_TEXT)}
    return target


_KEY = re.compile(r"[^A-Za-z0-9_.-]+")


def keep_short(
    kept: Values, part: Mapping[str, Any], *, prefix: str = "", values: int = 40, room: int = 8_192
) -> int:
    """Put what is short of `part` into `kept`, which becomes metadata.

    Args:
        prefix: Stands before the keys, with a dot.
        values: How many are kept at most.
        room: Bytes that they may take.

    Returns:
        How much was not kept: what is long, too much, or secret by its name.
    """
    omitted = taken = 0
    for path, value in _leaves(part, prefix, 0):
        key = _KEY.sub("_", path).lstrip(".-")
        fits = taken < values and 0 < len(key) <= 64 and key not in kept
        if fits and is_short(value) and not is_secret_name(path) and _size(value) <= room:
            kept[key] = value
            taken += 1
            room -= _size(value)
        elif value is not None and value != {}:
            omitted += 1
    return omitted


def _leaves(value: object, path: str, depth: int) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value and depth < _MAX_NESTING:
        for key, item in value.items():
            # A secret by its name is one leaf, whatever is inside.
            deeper = _MAX_NESTING if is_secret_name(key) else depth + 1
            yield from _leaves(item, f"{path}.{key}" if path else key, deeper)
    elif path:
        yield path, value


def is_short(value: object) -> bool:
    """Is it worth its place in metadata?"""
    if isinstance(value, list):
        # A policy's statements say who may do what: worth their length.
        return all(map(is_plain, value)) and _size(value) <= MAX_VALUE
    if isinstance(value, str):
        return len(value) <= MAX_VALUE
    if isinstance(value, int | float):
        return abs(value) <= MAX_SAFE_INTEGER
    return False


def is_plain(value: object, depth: int = 0) -> bool:
    """Is it short and flat?"""
    if isinstance(value, dict | list):
        items = value.values() if isinstance(value, dict) else value
        return depth < _MAX_NESTING and all(is_plain(item, depth + 1) for item in items)
    return value is None or is_short(value)


def _size(value: object) -> int:
    """About the bytes in metadata. Lone surrogates, which are refused later, count as well."""
    if isinstance(value, str):
        return len(value) + 2 if value.isascii() else len(json.dumps(value))
    return 20 if isinstance(value, int | float) else len(json.dumps(value))
