"""Are the columns what the events say? Read without numpy and without the code that writes them.

Facets, charts, counts and filtered pages come from the columns: whoever could change these unseen
could hide events from everybody who searches, with the log itself intact.
"""

from __future__ import annotations

import sqlite3
import struct
import sys
from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from whodid.stores.base import FacetField
from whodid.stores.dictionary import DictKind
from whodid.stores.facets import address_text, facet_name
from whodid.stores.sqlite_indexer import watermark

_NUMBERED = (
    "tenant", "actor", "action", "app", "country", "agent", "ip", "category", "operation",
    "severity", "outcome",
)  # fmt: skip
_ADDRESS = 7
_CODED: Mapping[int, FacetField] = {
    DictKind.TENANT: "tenant",
    DictKind.ACTOR: "actor",
    DictKind.ACTION: "action",
    DictKind.APP: "app",
    DictKind.COUNTRY: "country",
}
_TYPES = {1: "B", 2: "H", 4: "I", 8: "Q"}


def column_problems(connection: sqlite3.Connection) -> Iterator[str]:
    """What is wrong with the columns, in English; nothing when they are sound.

    Memory is flat: one block at a time, and the codes.
    """
    covered = 0
    blocks = connection.execute(
        "SELECT first, last, events, oldest, newest FROM whodid_column_block ORDER BY first"
    ).fetchall()
    addresses = _addresses(connection)
    for first, last, *told in blocks:
        if first != covered + 1 or last < first:
            yield f"the blocks of the columns have a hole or overlap at position {first}"
        covered = last
        fault = _block_fault(connection, first, last, told, addresses)
        if fault:
            yield f"{fault} of positions {first} to {last} differs from the events"
    if covered != watermark(connection, "columns"):
        yield "the columns don't end where their watermark says"
    [columns] = connection.execute("SELECT count(*) FROM whodid_column").fetchone()
    if columns != len(blocks) * (len(_NUMBERED) + 1):
        yield "there are columns that belong to no block"
    yield from _code_problems(connection, covered=covered)


def _addresses(connection: sqlite3.Connection) -> dict[bytes | None, int]:
    rows = connection.execute(
        "SELECT ip, code FROM whodid_column_code WHERE kind = ? ORDER BY code", (_ADDRESS,)
    )
    return {None: 0} | dict(rows)


def _block_fault(
    connection: sqlite3.Connection,
    first: int,
    last: int,
    told: Sequence[int],
    addresses: Mapping[bytes | None, int],
) -> str | None:
    """Which part of a block isn't what its events have."""
    rows = connection.execute(
        f"SELECT position, occurred_at, {', '.join(_NUMBERED)} FROM whodid_event "
        "WHERE position BETWEEN ? AND ? ORDER BY position",
        (first, last),
    ).fetchall()
    stored = dict(
        connection.execute(
            "SELECT name, data FROM whodid_column WHERE first = ? ORDER BY name", (first,)
        )
    )
    by_column: list[list[int]] = [[] for _ in range(2 + len(_NUMBERED))]
    if rows:
        by_column = [list(each) for each in zip(*rows, strict=True)]
    positions, moments, *numbered = by_column
    ips = _NUMBERED.index("ip")
    numbered[ips] = [addresses.get(row[2 + ips], -1) for row in rows]
    if told != [len(rows), min(moments, default=0), max(moments, default=0)]:
        return "the head"
    size = last - first + 1
    try:
        times = _moments(stored["occurred_at"])
        if len(times) != size or [times[each - first] for each in positions] != moments:
            return "the time"
        for name, numbers in zip(_NUMBERED, numbered, strict=True):
            expected = numbers
            if len(numbers) < size:
                expected = [0] * size
                for position, number in zip(positions, numbers, strict=True):
                    expected[position - first] = number
            if _numbers(stored[name], size) != expected:
                return f"the column {name}"
    except (struct.error, ValueError, LookupError):
        return "a damaged column"
    return None


def _moments(stored: bytes) -> list[int]:
    width, oldest = struct.unpack_from("<Bq", stored)
    return [oldest + offset for offset in _unpacked(stored[9:], width)]


def _numbers(stored: bytes, size: int) -> list[int]:
    """The number of every event of a column: which of the distinct ones it is, and these."""
    width, distinct = struct.unpack_from("<BI", stored)
    values = _unpacked(stored[5 : 5 + 4 * distinct], 4)
    if any(later <= value for value, later in pairwise(values)):
        raise ValueError("a number is there twice, or out of order")
    rest = stored[5 + 4 * distinct :]
    if distinct == 1 and not rest:
        return [values[0]] * size
    return list(map(values.__getitem__, _unpacked(rest, width)))


def _unpacked(stored: bytes, width: int) -> Sequence[int]:
    numbers = array(_TYPES[width])
    numbers.frombytes(stored)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _code_problems(connection: sqlite3.Connection, *, covered: int) -> Iterator[str]:
    """Codes that stand for another value than they should."""
    by_code: dict[int, tuple[int, str] | None] = {0: None}
    for code, kind, name, ip in connection.execute(
        "SELECT code, kind, name, ip FROM whodid_column_code ORDER BY code"
    ):
        by_code[code] = kind, name
        if (kind == _ADDRESS) != (ip is not None) or ip and address_text(ip) != name:
            yield f"the code {code} of an address stands for another one"
    following = 0
    for first, stored in connection.execute(
        "SELECT first, codes FROM whodid_column_ref ORDER BY first"
    ):
        codes = _unpacked(stored[: len(stored) // 4 * 4], 4)
        if first != following:
            yield "the codes of the dictionary have a hole"
        following = first + len(codes)
        expected = _names(connection, first=first, last=following - 1)
        for ref, code in enumerate(codes, start=first):
            if by_code.get(code, (0, "")) != expected.get(ref):
                yield f"the code of the value {ref} of the dictionary stands for another one"
    [top] = connection.execute(
        "SELECT coalesce(max(max(tenant, actor, action, app, country)), -1) FROM whodid_event "
        "WHERE position <= ?",
        (covered,),
    ).fetchone()
    if top >= following:
        yield "there are values of the dictionary without a code"


def _names(connection: sqlite3.Connection, *, first: int, last: int) -> dict[int, tuple[int, str]]:
    """Kind and name of the facet values behind the references of a range."""
    return {
        ref: (kind, facet_name(_CODED[kind], text))
        for ref, kind, text in connection.execute(
            "SELECT ref, kind, val FROM whodid_dict WHERE ref BETWEEN ? AND ? ORDER BY ref",
            (first, last),
        )
        if kind in _CODED
    }
