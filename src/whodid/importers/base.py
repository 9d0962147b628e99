"""What every importer is: a name, and a pure function from one record to one event."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

from whodid.errors import InvalidError
from whodid.event import Event
from whodid.importers.splitting import Piece, split_json

ReadRecord: TypeAlias = Callable[[Mapping[str, Any]], Event]
"""One decoded record → its event. `Any`, since a record holds whatever its system writes.

Raises `UnmappableError` or `EventError`, and nothing else, whatever the record holds.
"""


class UnmappableError(InvalidError):
    """A record cannot become an event. Says why, in words that hold no value of the record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """How one system's log becomes events.

    Attributes:
        name: What the command line calls it.
        description: One line of help.
        read: From a decoded record to its event.
        split: From the chunks of a file to the raw records in it, in flat memory.
    """

    name: str
    description: str
    read: ReadRecord
    split: Callable[[Iterable[bytes]], Iterator[Piece]] = split_json


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


_sorted = msgspec.json.Encoder(order="sorted")


def record_bytes(record: Mapping[str, Any]) -> bytes:
    """The record in one spelling, so that white space and the order of keys make no other id."""
    return _sorted.encode(record)
