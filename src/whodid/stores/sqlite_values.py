"""The dictionary of text values in SQLite.

Words of the kinds with many values are indexed (`sqlite_text`), so that only values that can pass
a term are asked; a pattern without a whole word asks all of them, one after the other.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence

from whodid.query.ast import Term
from whodid.stores.dictionary import MANY_VALUED, Dictionary, DictionaryView, DictKind
from whodid.stores.sqlite_indexer import check_covered, watermark
from whodid.stores.sqlite_text import ValueStep, needed_by_value


class OpenDictionary(DictionaryView):
    """The dictionary as one connection sees it."""

    def __init__(self, shared: Dictionary, connection: sqlite3.Connection) -> None:
        self._connection = connection
        super().__init__(shared)

    def _newest(self) -> int:
        return ValueStep().newest(self._connection)

    def _read_few(self, after: int, newest: int) -> Iterable[tuple[int, int, int, str]]:
        many = ", ".join(str(int(kind)) for kind in MANY_VALUED)
        return self._connection.execute(
            "SELECT ref, tenant, kind, val FROM whodid_dict NOT INDEXED "
            f"WHERE ref > ? AND ref <= ? AND kind NOT IN ({many}) ORDER BY ref",
            (after, newest),
        )

    def _read_text(self, ref: int) -> str | None:
        row = self._connection.execute(
            "SELECT val FROM whodid_dict WHERE ref = ?", (ref,)
        ).fetchone()
        return None if row is None else str(row[0])

    def _candidates(
        self,
        kind: DictKind,
        term: Term,
        *,
        tenants: Sequence[int] | None,
        after: int,
        newest: int,
    ) -> Iterator[tuple[int, int, str]]:
        """Values above `after` that can pass a term, ascending: from the index, then its tail."""
        needed = needed_by_value(term, kind, tenants=tenants)
        if needed is not None:
            end = min(watermark(self._connection, ValueStep().name), newest)
            yield from self._connection.execute(
                "SELECT d.ref, d.tenant, d.val FROM whodid_value_text AS t "
                "CROSS JOIN whodid_dict AS d ON d.ref = t.rowid "
                "WHERE t.whodid_value_text MATCH ? AND t.rowid BETWEEN ? AND ? ORDER BY t.rowid",
                (needed, after + 1, end),
            )
            check_covered(self._connection, ValueStep(), to=end)
            after = max(after, end)
        yield from self._connection.execute(
            "SELECT ref, tenant, val FROM whodid_dict NOT INDEXED "
            "WHERE ref > ? AND ref <= ? AND kind = ? ORDER BY ref",
            (after, newest, int(kind)),
        )
