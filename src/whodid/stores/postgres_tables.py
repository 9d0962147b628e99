"""How many rows get into a table of PostgreSQL's, and columns of values into a statement."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg

COPY_FROM = 24
"""From so many rows on COPY is faster than INSERT."""


@dataclass(frozen=True, slots=True)
class Table:
    """How rows get into a table: a few by INSERT, in one round trip, many by COPY."""

    name: LiteralString
    columns: tuple[LiteralString, ...]
    types: tuple[str, ...]

    def put(self, cursor: psycopg.Cursor[Any], rows: Sequence[tuple[object, ...]]) -> None:
        names = ", ".join(self.columns)
        if len(rows) < COPY_FROM:
            places = ", ".join(f"%s::{kind}" for kind in self.types)
            cursor.executemany(
                f"INSERT INTO {self.name} ({names}) VALUES ({places})".encode(), rows
            )
            return
        with cursor.copy(f"COPY {self.name} ({names}) FROM STDIN (FORMAT BINARY)".encode()) as copy:
            copy.set_types(self.types)
            for row in rows:
                copy.write_row(row)


def uuid_array(ids: Iterable[str]) -> str:
    """For `%s::uuid[]`: the driver takes ten times as long for a list."""
    return "{" + ",".join(ids) + "}"


def number_array(numbers: Iterable[int]) -> str:
    """For `%s::bigint[]`."""
    return "{" + ",".join(map(str, numbers)) + "}"


def text_array(texts: Iterable[str]) -> str:
    """For `%s::bytea[]`, as UTF-8."""
    return "{" + ",".join([f'"\\\\x{text.encode().hex()}"' for text in texts]) + "}"
