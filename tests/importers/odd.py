"""Records that went wrong, in every way that logs go wrong; the same for the same seed.

Used by the tests for a few thousand, and by `benchmarks/odd_lines.py` for a million.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from random import Random
from typing import Any
from uuid import UUID

from tests.importers.samples import LINES, RECORDS

STRANGE: tuple[Any, ...] = (
    None, True, False, 0, -1, 7, 2**53, 2**63, -(2**64), 10**40, 1.5, 1e308, -0.0, "", " ", "0",
    "-", "null", "None", "7", "1" * 400, "2025-13-45T99:99:99Z", "yesterday", "1737481150",
    1737481150, 99999999999999, "localhost", "cloudformation.amazonaws.com", "999.1.1.1",
    "203.0.113.9:443", "::ffff:203.0.113.9", "a\0b", "\u202e", "é" * 300, "x" * 70_000, "audit.x",
    "....", "🜁", [], {}, [[]], [None, 7, {}], {"": ""}, {"id": {"id": []}}, ["a"] * 600,
)  # fmt: skip


def odd_line(rng: Random, form: str) -> bytes:
    """One line of a file of this format: sound about once in four, else broken somehow."""
    if form in LINES:
        return _odd_text(rng, rng.choice(LINES[form]))
    record = copy.deepcopy(rng.choice(RECORDS[form]))
    if rng.random() < 0.995:
        _make_new(rng, record)
    for _ in range(rng.choice((0, 0, 1, 1, 2, 5))):
        rng.choice(_CHANGES)(rng, record)
    line = json.dumps(record, ensure_ascii=rng.random() < 0.5)
    return _damaged(rng, line.encode("utf-8", "surrogatepass"))


# -- records


def _make_new(rng: Random, record: dict[str, Any]) -> None:
    """Give the record an id, and a request or an object, of its own."""
    for key in ("eventID", "uuid", "auditID"):
        if key in record:
            record[key] = str(UUID(int=rng.getrandbits(128), version=4))
    for key in ("request_id", "requestID", "cid", "correlation_id"):
        if key in record:
            record[key] = f"{rng.getrandbits(64):x}"
    for key in ("@timestamp", "object_pk"):
        if key in record:
            record[key] = rng.randrange(10**12, 2 * 10**12)
    for key, inner in (("fields", "object_pk"), ("metadata", "lines")):
        if key in record:
            record[key][inner] = rng.randrange(10**12)


def _place(rng: Random, record: dict[str, Any]) -> tuple[Any, Any]:
    """Some container inside the record, and a key or index of it."""
    place: Any = record
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = rng.choice(keys)
        inner = place[key]
        if not isinstance(inner, dict | list) or not inner or rng.random() < 0.3:
            return place, key
        place = inner


def _another_value(rng: Random, record: dict[str, Any]) -> None:
    place, key = _place(rng, record)
    place[key] = copy.deepcopy(rng.choice(STRANGE))


def _another_kind(rng: Random, record: dict[str, Any]) -> None:
    place, key = _place(rng, record)
    value = place[key]
    place[key] = rng.choice((str(value), [value], {"value": value}, json.dumps(value)))


def _gone(rng: Random, record: dict[str, Any]) -> None:
    place, key = _place(rng, record)
    if len(record) > 1:
        del place[key]


def _surrogate(rng: Random, record: dict[str, Any]) -> None:
    place, key = _place(rng, record)
    place[key] = f"a{chr(rng.randrange(0xD800, 0xE000))}"


def _nested(rng: Random, record: dict[str, Any]) -> None:
    place, key = _place(rng, record)
    value: Any = "x"
    for _ in range(rng.choice((5, 40, 200))):
        value = {"a": value} if rng.random() < 0.5 else [value]
    place[key] = value


def _strange_key(rng: Random, record: dict[str, Any]) -> None:
    key = rng.choice(("", "\0", "a.b.c", "-", "é", "K" * 300, "old_x", "password", "line", "until"))
    record[key] = copy.deepcopy(rng.choice(STRANGE))


def _cased(rng: Random, record: dict[str, Any]) -> None:
    for key in list(record):
        record[key.lower() if rng.random() < 0.7 else key.upper()] = record.pop(key)


_CHANGES: tuple[Callable[[Random, dict[str, Any]], None], ...] = (
    _another_value, _another_value, _another_value, _another_kind, _gone, _surrogate, _nested,
    _strange_key, _cased,
)  # fmt: skip


# -- lines

_WORDS = (
    "", " ", "-", "[", "]", '"', "\\", "\0", "\u202e", "99:99:99", "31/Feb/2025:24:00:61 +9999",
    "Feb 30", "999.999.999.999", "from 192.0.2.1 port 22 ssh2", "é" * 50, "x" * 9_000, "1" * 30,
    "port 99999999", "message repeated 999999999 times: [ ", "COMMAND=", "%00", "\x1b[2J",
)  # fmt: skip


def _odd_text(rng: Random, line: str) -> bytes:
    for _ in range(rng.choice((0, 0, 1, 1, 2, 5))):
        words = line.split(" ")
        at = rng.randrange(len(words))
        change = rng.randrange(4)
        if change == 0:
            words[at] = rng.choice(_WORDS)
        elif change == 1:
            words.insert(at, rng.choice(_WORDS))
        elif change == 2:
            del words[at]
        else:
            words[at] = words[at][::-1]
        line = " ".join(words)
    return _damaged(rng, line.encode())


def _damaged(rng: Random, data: bytes) -> bytes:
    """The bytes, once in three broken off, with strange ones among them, or twice on a line."""
    how = rng.randrange(12)
    at = rng.randrange(len(data) + 1)
    if how == 0:
        data = data[:at]
    elif how == 1:
        data = data[:at] + rng.choice((b"\0", b"\xff", b"\xed\xa0\x80", b"\x1b")) + data[at:]
    elif how == 2:
        data = data[:at] + data
    elif how == 3:
        data = data[at:]
    return data.replace(b"\n", b" ").replace(b"\r", b" ")
