"""What every importer is: a name, and a pure function from one record to one event."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Any, TypeAlias

import msgspec

from whodid.errors import InvalidError
from whodid.event import Event
from whodid.importers.splitting import Piece, RawRecord, split_json
from whodid.times import Instant

ReadRecord: TypeAlias = Callable[[Mapping[str, Any]], Event]
"""One decoded record → its event. `Any`, since a record holds whatever its system writes.

Raises `UnmappableError` or `EventError`, and nothing else, whatever the record holds.
"""


class UnmappableError(InvalidError):
    """A record cannot become an event. Says why, in words that hold no value of the record."""


class PassedOverError(UnmappableError):
    """A record is none by the format's own rules: another one of the same log says it all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a line of text does not say about itself.

    Attributes:
        until: No line was written after this: a time without a year is the newest one before it.
        zone: Of times that name none.
        undated_at: When to assume that records happened which name no time; None assumes nothing.
    """

    until: Instant
    zone: tzinfo = UTC
    undated_at: Instant | None = None


Decode: TypeAlias = Callable[[RawRecord, Context], Mapping[str, Any]]
"""The bytes of a record → the record. Raises `UnmappableError` and nothing else."""


def _recognises_nothing(record: Mapping[str, Any]) -> bool:
    return False


_decoder = msgspec.json.Decoder()


def decode_record(raw: bytes) -> dict[str, Any]:
    """The JSON object that a raw record is.

    Raises:
        UnmappableError: It is no JSON, or JSON of another kind.
    """
    try:
        record = _decoder.decode(raw)
    except msgspec.DecodeError as error:
        raise UnmappableError(f"no JSON: {_plain(str(error))}") from None
    except UnicodeError:
        raise UnmappableError("no JSON: the text is not UTF-8") from None
    except RecursionError:
        raise UnmappableError("nested too deeply") from None
    if not isinstance(record, dict):
        kind = {list: "a list", str: "a string", type(None): "null", bool: "a truth value"}
        raise UnmappableError(f"expected a JSON object, got {kind.get(type(record), 'a number')}")
    return record


def _plain(problem: str) -> str:
    if problem == "Input data was truncated":
        return "it ends too early"
    return problem[:1].lower() + problem[1:]


def decode_json(piece: RawRecord, context: Context) -> Mapping[str, Any]:
    """The JSON object of a record, which says everything about itself."""
    return decode_record(piece.raw)


def decode_line(piece: RawRecord, context: Context) -> Mapping[str, Any]:
    r"""A line of text as a record, with all that its event depends on.

    Returns:
        `line`, without blanks and NULs around it, bytes that are no UTF-8 written as `\xff`;
        `occurrence`, 1 for the first of several equal lines; `until` and `zone` of the context.
    """
    return {
        "line": piece.raw.decode("utf-8", "backslashreplace").strip(" \t\r\n\0"),
        "occurrence": piece.occurrence,
        "until": context.until,
        "zone": context.zone,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """How one system's log becomes events.

    Attributes:
        name: What the command line calls it.
        description: One line of help.
        read: From a decoded record to its event.
        split: From the chunks of a file to the raw records in it, in flat memory.
        decode: From a raw record to a decoded one.
        recognises: Is a decoded record one of this system's? No two readers say so of one.
        is_dated: Does the system write a time into every record? Then one without was cut, and an
            import must be told its time; otherwise it is of the moment at which it is stored.
    """

    name: str
    description: str
    read: ReadRecord
    split: Callable[[Iterable[bytes]], Iterator[Piece]] = split_json
    decode: Decode = decode_json
    recognises: Callable[[Mapping[str, Any]], bool] = _recognises_nothing
    is_dated: bool = False


_sorted = msgspec.json.Encoder(order="sorted")


def record_bytes(record: Mapping[str, Any]) -> bytes:
    """The record in one spelling, so that white space and the order of keys make no other id.

    Raises:
        UnmappableError: It holds what JSON can't say.
    """
    try:
        return _sorted.encode(record)
    except UnicodeEncodeError:
        raise UnmappableError("holds a lone surrogate") from None
    except RecursionError:
        raise UnmappableError("nested too deeply") from None
    except (TypeError, ValueError, OverflowError):
        raise UnmappableError("holds a value that JSON has no form for") from None


def line_bytes(record: Mapping[str, Any]) -> bytes:
    """What tells a line from all others: its text, and which of several equal ones it is."""
    written: bytes = record["line"].encode("utf-8", "backslashreplace")
    # NUL stands in no line after its ends, so no line can pretend to be another's second.
    return written if record["occurrence"] == 1 else written + b"\0%d" % record["occurrence"]
