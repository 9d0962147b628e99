"""The dictionary of text values in PostgreSQL.

Of the kinds with many values every one is asked, a piece at a time; what passed is remembered, so
that the next time only new ones are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from whodid.query.ast import Term
from whodid.stores.dictionary import MANY_VALUED, Dictionary, DictionaryView, DictKind
from whodid.stores.postgres_connections import Connection

_PIECE = 20_000


class OpenPostgresDictionary(DictionaryView):
    """The dictionary as one connection sees it."""

    def __init__(self, shared: Dictionary, connection: Connection) -> None:
        self._connection = connection
        super().__init__(shared)

    def _newest(self) -> int:
        # Numbers are given under the sealer's lock, so those before the last are visible as well.
        row = self._connection.execute("SELECT coalesce(max(ref), 0) FROM whodid_dict").fetchone()
        return int(row[0]) if row else 0

    def _read_few(self, after: int, newest: int) -> Iterable[tuple[int, int, int, str]]:
        rows = self._connection.execute(
            "SELECT ref, tenant, kind, val FROM whodid_dict "
            "WHERE ref > %s AND ref <= %s AND kind <> ALL(%s::smallint[]) ORDER BY ref",
            (after, newest, [int(kind) for kind in MANY_VALUED]),
        )
        return ((ref, tenant, kind, text.decode()) for ref, tenant, kind, text in rows)

    def _read_text(self, ref: int) -> str | None:
        row = self._connection.execute(
            "SELECT val FROM whodid_dict WHERE ref = %s", (ref,)
        ).fetchone()
        return None if row is None else row[0].decode()

    def _candidates(
        self,
        kind: DictKind,
        term: Term,
        *,
        tenants: Sequence[int] | None,
        after: int,
        newest: int,
    ) -> Iterator[tuple[int, int, str]]:
        while True:
            rows = self._connection.execute(
                "SELECT ref, tenant, val FROM whodid_dict "
                "WHERE ref > %s AND ref <= %s AND kind = %s ORDER BY ref LIMIT %s",
                (after, newest, int(kind), _PIECE),
            ).fetchall()
            yield from ((ref, tenant, text.decode()) for ref, tenant, text in rows)
            if len(rows) < _PIECE:
                return
            after = rows[-1][0]
