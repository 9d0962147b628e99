"""Writing the columns of a SQLite store: from events to blocks, a step of the indexer.

Blocks lie in `whodid_column_block` and are immutable but for a revision. The newest ones are small
and are merged as more arrive: thousands to tens of thousands to whole ones, so that each event is
written three times.

Needs numpy.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from whodid.errors import LedgerError
from whodid.stores import columns
from whodid.stores.base import FacetField
from whodid.stores.columns import BLOCK_EVENTS, NUMBERED, Block, make_block, merge_blocks
from whodid.stores.dictionary import DictKind
from whodid.stores.facets import address_text, facet_name
from whodid.stores.sqlite_sidecar import revise

REF_CHUNK = 4_096
"""So many references have their codes in one row."""

_TIERS = (BLOCK_EVENTS // 8, BLOCK_EVENTS)
_LOOKUP = 500
_ADDRESS = 7  # a kind beside those of DictKind; stored, never renumber
_CODED: Mapping[int, FacetField] = {
    DictKind.TENANT: "tenant",
    DictKind.ACTOR: "actor",
    DictKind.ACTION: "action",
    DictKind.APP: "app",
    DictKind.COUNTRY: "country",
}
_DICTIONARY = tuple(_CODED.values())
_SELECTED = ("position", "occurred_at", *NUMBERED)
_SELECT = f"SELECT {', '.join(_SELECTED)} FROM whodid_event"


# ---- codes of facet values


@dataclass(slots=True)
class Codes:
    """The codes of facet values: those stored, and new ones beyond them, which may be stored.

    Attributes:
        next: The first code that nothing has.
        top: References up to this one have their code, stored or in `refs`.
        new: Kind, name and address of the new ones.
        refs: Codes of references that have none stored.
    """

    next: int
    top: int
    new: dict[int, tuple[int, str, bytes | None]] = field(default_factory=dict)
    refs: dict[int, int] = field(default_factory=dict)
    known: dict[int, dict[str, int]] = field(default_factory=dict)
    addresses: dict[bytes | None, int] = field(default_factory=lambda: {None: 0})

    def copy(self) -> Codes:
        return replace(
            self,
            new=dict(self.new),
            refs=dict(self.refs),
            known={kind: dict(codes) for kind, codes in self.known.items()},
            addresses=dict(self.addresses),
        )

    def of_addresses(
        self, connection: sqlite3.Connection, packed: Sequence[bytes | None]
    ) -> list[int]:
        """The code of each packed address, a new one where it has none; 0 for None."""
        unknown = {ip: address_text(ip) for ip in set(packed) - self.addresses.keys() if ip}
        packed_by_name = {name: ip for ip, name in unknown.items()}
        codes = self._of(connection, _ADDRESS, packed_by_name)
        self.addresses |= {ip: codes[name] for ip, name in unknown.items()}
        return [self.addresses[ip] for ip in packed]

    def learn(self, connection: sqlite3.Connection, *, top: int) -> None:
        """Give its code to every reference up to this one."""
        if top <= self.top:
            return
        names: dict[int, dict[int, str]] = {kind: {} for kind in _CODED}
        for ref, kind, text in connection.execute(
            "SELECT ref, kind, val FROM whodid_dict WHERE ref > ? AND ref <= ? ORDER BY ref",
            (self.top, top),
        ):
            if kind in names:
                names[kind][ref] = facet_name(_CODED[kind], text)
        for kind, by_ref in names.items():
            codes = self._of(connection, kind, dict.fromkeys(by_ref.values()))
            self.refs |= {ref: codes[name] for ref, name in by_ref.items()}
        self.top = top

    def _of(
        self, connection: sqlite3.Connection, kind: int, names: Mapping[str, bytes | None]
    ) -> Mapping[str, int]:
        """The codes of values of a kind, by name; with their addresses for those that are one."""
        known = self.known.setdefault(kind, {})
        wanted = sorted(names.keys() - known.keys())
        for start in range(0, len(wanted), _LOOKUP):
            some = wanted[start : start + _LOOKUP]
            # Not as JSON, whose texts SQLite ends at a NUL.
            known |= connection.execute(
                "SELECT name, code FROM whodid_column_code "
                f"WHERE kind = ? AND name IN ({', '.join('?' * len(some))}) ORDER BY name",
                (kind, *some),
            ).fetchall()
        for name in wanted:
            if name not in known:
                known[name] = self.next
                self.new[self.next] = kind, name, names[name]
                self.next += 1
        return known


def open_codes(connection: sqlite3.Connection) -> Codes:
    """The codes as they are stored."""
    following = _number(connection, "SELECT coalesce(max(code), 0) + 1 FROM whodid_column_code")
    return Codes(next=following, top=last_coded(connection))


def last_coded(connection: sqlite3.Connection) -> int:
    """The last reference that has a code stored."""
    row = connection.execute(
        "SELECT first + length(codes) / 4 - 1 FROM whodid_column_ref ORDER BY first DESC LIMIT 1"
    ).fetchone()
    return int(row[0]) if row else 0


def _number(connection: sqlite3.Connection, sql: str, *params: Any) -> int:
    return int(connection.execute(sql, params).fetchone()[0])


def read_revision(connection: sqlite3.Connection) -> int:
    """How often blocks were changed that readers may know."""
    return _number(
        connection,
        "SELECT coalesce(max(value), 0) FROM whodid_counter WHERE name = 'columns.revision'",
    )


# ---- from events to blocks


def read_block(connection: sqlite3.Connection, codes: Codes, *, first: int, last: int) -> Block:
    """The block of a range of positions as the events have it."""
    rows = connection.execute(
        f"{_SELECT} WHERE position >= ? AND position <= ? ORDER BY position", (first, last)
    ).fetchall()
    values = zip(*rows, strict=True) if rows else [()] * len(_SELECTED)
    read: dict[str, Sequence[Any]] = dict(zip(_SELECTED, values, strict=True))
    read["ip"] = codes.of_addresses(connection, read["ip"])
    made = {name: np.array(column, np.int64) for name, column in read.items()}
    block = make_block(made["position"], made, first=first, last=last)
    codes.learn(connection, top=max(int(block.column(name).values[-1]) for name in _DICTIONARY))
    return block


def _encoded(block: Block) -> dict[str, bytes]:
    stored = {name: columns.encode_column(block.column(name)) for name in NUMBERED}
    return stored | {"occurred_at": columns.encode_moments(block.moments())}


@dataclass(frozen=True, slots=True)
class Head:
    """A stored block without its columns."""

    first: int
    last: int
    revision: int
    events: int
    oldest: int
    newest: int


_HEADS = "SELECT first, last, revision, events, oldest, newest FROM whodid_column_block"


def read_heads(connection: sqlite3.Connection, *, after: int = 0) -> list[Head]:
    """The blocks that begin after a position, ascending."""
    rows = connection.execute(f"{_HEADS} WHERE first > ? ORDER BY first", (after,))
    return [Head(*row) for row in rows]


def _read_column(connection: sqlite3.Connection, first: int, name: str) -> bytes:
    row = connection.execute(
        "SELECT data FROM whodid_column WHERE first = ? AND name = ?", (first, name)
    ).fetchone()
    if row is None:
        raise LedgerError("a block of the columns is damaged; run whodid verify")
    return bytes(row[0])


def stored_block(connection: sqlite3.Connection, head: Head) -> Block:
    """A block as it is stored; each column is read whenever it is asked for."""
    size = head.last - head.first + 1
    return Block(
        first=head.first,
        last=head.last,
        events=head.events,
        oldest=head.oldest,
        newest=head.newest,
        column=lambda name: columns.decode_column(
            _read_column(connection, head.first, name), size=size
        ),
        moments=lambda: columns.decode_moments(
            _read_column(connection, head.first, "occurred_at"), size=size
        ),
    )


# ---- keeping them up


@dataclass(frozen=True, slots=True)
class Prepared:
    """What one batch of the indexer will write.

    Attributes:
        revision: Of the blocks that this was made from.
        blocks: The new events, with the smaller blocks before them that they complete.
        replaced: First positions of those.
        codes: New ones.
        refs: Chunks of codes by their first reference.
    """

    after: int
    last: int
    revision: int
    blocks: Sequence[tuple[Block, Mapping[str, bytes]]]
    replaced: Sequence[int]
    codes: Codes
    refs: Mapping[int, bytes]


def prepare(connection: sqlite3.Connection, *, after: int, last: int) -> Prepared:
    """Read the events above `after` up to `last` into blocks, merged with those they complete."""
    revision, codes = read_revision(connection), open_codes(connection)
    top = codes.top
    small = [
        stored_block(connection, head)
        for head in read_heads(connection, after=after // BLOCK_EVENTS * BLOCK_EVENTS)
    ]
    stored, blocks = {block.first for block in small}, small
    for start in range(after // _TIERS[0] * _TIERS[0], last, _TIERS[0]):
        first, end = max(start, after) + 1, min(start + _TIERS[0], last)
        blocks = _merged([*blocks, read_block(connection, codes, first=first, last=end)])
    kept = {id(block) for block in small}
    made = [block for block in blocks if id(block) not in kept]
    return Prepared(
        after=after,
        last=last,
        revision=revision,
        blocks=[(block, _encoded(block)) for block in made],
        replaced=sorted(stored - {block.first for block in blocks if id(block) in kept}),
        codes=codes,
        refs=_ref_chunks(connection, codes, after=top),
    )


def _merged(blocks: list[Block]) -> list[Block]:
    """The blocks, of which the last ones are one if they complete a larger size."""
    last = blocks[-1].last
    for size in reversed(_TIERS):
        if last % size == 0:
            small = [block for block in blocks if block.first > last - size]
            rest = blocks[: len(blocks) - len(small)]
            return [*rest, merge_blocks(small) if len(small) > 1 else small[0]]
    return blocks


def _ref_chunks(connection: sqlite3.Connection, codes: Codes, *, after: int) -> dict[int, bytes]:
    """The chunks that hold the codes of the references above `after`."""
    if codes.top == after:
        return {}
    first = after // REF_CHUNK * REF_CHUNK
    filled = np.zeros(codes.top + 1 - first, "<u4")
    row = connection.execute(
        "SELECT codes FROM whodid_column_ref WHERE first = ?", (first,)
    ).fetchone()
    if row:
        known = np.frombuffer(row[0], "<u4")
        filled[: len(known)] = known
    if codes.refs:
        filled[np.array(list(codes.refs)) - first] = list(codes.refs.values())
    return {
        first + start: filled[start : start + REF_CHUNK].tobytes()
        for start in range(0, len(filled), REF_CHUNK)
    }


def write(connection: sqlite3.Connection, prepared: Prepared) -> None:
    """Store a batch, inside a transaction in which the watermark is what it was read from."""
    if read_revision(connection) != prepared.revision:
        # Events were deleted meanwhile; now nobody can.
        prepared = prepare(connection, after=prepared.after, last=prepared.last)
    _write_codes(connection, prepared.codes)
    connection.executemany(
        "INSERT OR REPLACE INTO whodid_column_ref (first, codes) VALUES (?, ?)",
        list(prepared.refs.items()),
    )
    gone = [(first,) for first in prepared.replaced]
    connection.executemany("DELETE FROM whodid_column_block WHERE first = ?", gone)
    connection.executemany("DELETE FROM whodid_column WHERE first = ?", gone)
    for block, stored in prepared.blocks:
        _write_block(connection, block, stored)


def _write_codes(connection: sqlite3.Connection, codes: Codes) -> None:
    connection.executemany(
        "INSERT INTO whodid_column_code (code, kind, name, ip) VALUES (?, ?, ?, ?)",
        [(code, *value) for code, value in codes.new.items()],
    )


def _write_block(connection: sqlite3.Connection, block: Block, stored: Mapping[str, bytes]) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO whodid_column_block "
        "(first, last, revision, events, oldest, newest) VALUES (?, ?, ?, ?, ?, ?)",
        (
            block.first,
            block.last,
            read_revision(connection),
            block.events,
            block.oldest,
            block.newest,
        ),
    )
    connection.executemany(
        "INSERT OR REPLACE INTO whodid_column (first, name, data) VALUES (?, ?, ?)",
        [(block.first, name, data) for name, data in stored.items()],
    )


def rebuild(connection: sqlite3.Connection, *, first: int, last: int) -> None:
    """Write the blocks of these positions anew, after their events were changed or deleted.

    Inside the transaction that did so. Other processes notice by the new revision.
    """
    revise(connection)
    for head in read_heads(connection):
        if head.first <= last and head.last >= first:
            codes = open_codes(connection)
            block = read_block(connection, codes, first=head.first, last=head.last)
            _write_codes(connection, codes)
            _write_block(connection, block, _encoded(block))
