"""Verification of a PostgreSQL store: everything is recomputed from the stored bytes and compared.

What of it no engine decides lies in `verifying`. It sees one moment (REPEATABLE READ), takes no
lock, and its memory is flat in the number of events; the dictionary is held whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from whodid.access import Access
from whodid.errors import LedgerError
from whodid.ledger.merkle import Frontier, leaf_hash
from whodid.stores.base import Problem, TreeHead, VerifyReport
from whodid.stores.dictionary import DictKind, dictionary_texts
from whodid.stores.doubles import hashes_of
from whodid.stores.postgres_connections import Connection
from whodid.stores.postgres_seal import has_passed_by
from whodid.stores.rows import Columns
from whodid.stores.verifying import MAX_PROBLEMS, check_event, check_head

_PROGRESS_EVERY = 1_000
_PIECE = 500
_EVENT = (
    "arrival", "received_at", "id", "tenant", "codec", "body", "secret", "gone",
)  # fmt: skip
_SEALED = (
    "position", "tenant", "index", "id", "occurred_at", "received_at", "category", "operation",
    "severity", "outcome", "ip", "actor", "action", "app", "country", "agent", "plain",
)  # fmt: skip
_TEXTS = ("actor", "action", "app", "country", "agent")


@dataclass(slots=True)
class _Tree:
    name: str
    frontier: Frontier = field(default_factory=Frontier)


@dataclass(slots=True)
class _Check:
    """One verification under way."""

    connection: Connection
    key: bytes
    access: Access
    dictionary: dict[int, tuple[int, int, str]]
    trees: dict[int, _Tree]
    problems: list[Problem] = field(default_factory=list)
    used: set[int] = field(default_factory=set)
    events: int = 0
    refs: int = 0

    def report(self, what: str, *, tenant: int | None = None, index: int | None = None) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            name = self.trees[tenant].name if tenant in self.trees else None
            self.problems.append(Problem(tenant=name, index=index, what=what))

    def number(self, query: str) -> int:
        row = self.connection.execute(query.encode()).fetchone()
        return int(row[0]) if row else 0


def verify(
    connection: Connection,
    *,
    key: bytes,
    access: Access,
    progress: Callable[[int, int], None] | None,
) -> VerifyReport:
    """Compare the whole store, or the trees that `access` sees, with its stored bytes.

    Args:
        connection: Inside a transaction that sees one moment.
        progress: Called now and then with how many leaves are done, of how many.
    """
    check = _Check(connection, key, access, _dictionary(connection), {})
    for ref, (tenant, kind, value) in check.dictionary.items():
        if kind == DictKind.TENANT and tenant == 0 and access.sees(value):
            check.trees[ref] = _Tree(value)
    total = check.number("SELECT count(*) FROM whodid_leaf")
    done = 0
    for piece in _pieces(connection, sorted(check.trees)):
        _check_piece(check, piece)
        done += len(piece)
        if progress and done // _PROGRESS_EVERY != (done - len(piece)) // _PROGRESS_EVERY:
            progress(done, total)
    heads = [head for tenant in sorted(check.trees) if (head := _check_head(check, tenant))]
    if access.tenants is None:
        _check_whole(check)
    if progress:
        progress(total, total)
    return VerifyReport(events=check.events, trees=heads, problems=check.problems)


def _dictionary(connection: Connection) -> dict[int, tuple[int, int, str]]:
    rows = connection.execute("SELECT ref, tenant, kind, val FROM whodid_dict ORDER BY ref")
    return {
        ref: (tenant, kind, value.decode("utf-8", "replace")) for ref, tenant, kind, value in rows
    }


_Leaf = tuple[tuple[int, int, int, bytes], dict[str, Any], dict[str, Any]]


def _pieces(connection: Connection, tenants: Sequence[int]) -> Iterator[list[_Leaf]]:
    """Every leaf with the rows of its event, tree by tree in order, some at a time."""
    sealed = ", ".join(f's."{name}"' for name in _SEALED)
    events = ", ".join(f"e.{name}" for name in _EVENT)
    for tenant in tenants:
        after = -1
        while True:
            rows = connection.execute(
                f'SELECT l."index", l.position, l.entry, {sealed}, {events} '
                'FROM (SELECT l.tenant, l."index", l.position, l.entry FROM whodid_leaf AS l '
                'WHERE l.tenant = %s AND l."index" > %s ORDER BY l."index" LIMIT %s) AS l '
                "LEFT JOIN LATERAL (SELECT * FROM whodid_sealed AS s "
                "WHERE s.position = l.position OFFSET 0) AS s ON TRUE "
                "LEFT JOIN LATERAL (SELECT * FROM whodid_event AS e WHERE e.id = s.id "
                "AND e.received_at = s.received_at AND e.arrival = s.arrival OFFSET 0) AS e "
                'ON TRUE ORDER BY l."index", s.arrival'.encode(),
                (tenant, after, _PIECE),
            ).fetchall()
            piece = []
            for index, position, entry, *values in rows:
                columns = dict(zip(_SEALED, values[: len(_SEALED)], strict=True))
                event = dict(zip(_EVENT, values[len(_SEALED) :], strict=True))
                piece.append(((tenant, index, position, entry), columns, event))
            if piece:
                yield piece
                after = piece[-1][0][1]
            if len(rows) < _PIECE:
                break


def _check_piece(check: _Check, piece: Sequence[_Leaf]) -> None:
    references = _references(check, piece)
    for leaf, columns, event in piece:
        tenant, index, position, entry = leaf
        tree = check.trees[tenant]
        if index != tree.frontier.size:
            check.report(f"expected leaf {tree.frontier.size} here", tenant=tenant, index=index)
        tree.frontier.append(leaf_hash(entry))
        if columns["position"] is None or event["body"] is None:
            check.report("the event is missing", tenant=tenant, index=index)
            continue
        check.events += 1
        try:
            _check_event(check, leaf, columns, event, references.get(position, set()))
        except LedgerError as error:
            check.report(str(error), tenant=tenant, index=index)


def _references(check: _Check, piece: Sequence[_Leaf]) -> dict[int, set[tuple[int, int, int]]]:
    """The references of these events: time of arrival, kind and hash, by position."""
    # By hash and position: that is how they are found, and there is no index on position alone.
    found: dict[int, set[tuple[int, int, int]]] = {}
    low, high = piece[0][0][2], piece[-1][0][2]
    months = [event["received_at"] for _, _, event in piece if event["received_at"] is not None]
    if not months:
        return found
    rows = check.connection.execute(
        "SELECT position, received_at, kind, hash FROM whodid_event_ref "
        "WHERE position BETWEEN %s AND %s AND received_at BETWEEN %s AND %s ORDER BY position",
        (low, high, min(months), max(months)),
    )
    for position, received_at, kind, hash_ in rows:
        found.setdefault(position, set()).add((received_at, kind, hash_))
    return found


def _check_event(
    check: _Check,
    leaf: tuple[int, int, int, bytes],
    columns: dict[str, Any],
    event: dict[str, Any],
    references: set[tuple[int, int, int]],
) -> None:
    tenant, index, position, entry = leaf
    name = check.trees[tenant].name
    if (columns["tenant"], columns["index"]) != (tenant, index):
        raise LedgerError("the event's tenant or index differs from its leaf's")
    if event["tenant"] != name.encode():
        raise LedgerError("the event belongs to another tenant")
    row = event | columns | {"id": columns["id"].bytes}
    stored, derived = check_event(row, entry=entry, tenant=name, index=index, position=position)
    _check_dictionary(check, columns, derived)
    if columns["plain"] != event["body"].isascii():
        raise LedgerError("the column plain differs from the body")
    expected = {
        (derived.received_at, kind, hash_)
        for kind, hash_ in hashes_of(derived, tenant=stored.tenant_id, key=check.key)
    }
    check.refs += len(expected)
    if expected != references:
        raise LedgerError("a reference for finding the event is missing or was changed")


def _check_dictionary(check: _Check, columns: dict[str, Any], derived: Columns) -> None:
    for name, (kind, value) in zip(_TEXTS, dictionary_texts(derived), strict=True):
        ref = columns[name]
        check.used.add(ref)
        expected = (columns["tenant"], kind, value)
        if (ref != 0 or value) and check.dictionary.get(ref) != expected:
            raise LedgerError(f"the column {name} differs from the body")


def _check_head(check: _Check, tenant: int) -> TreeHead | None:
    """Compare a tree's stored state with its leaves."""
    tree = check.trees[tenant]
    row = check.connection.execute(
        "SELECT log_id, size, frontier FROM whodid_log_state WHERE tenant = %s", (tenant,)
    ).fetchone()
    found, faults = check_head(row, tenant=tree.name, frontier=tree.frontier, key=check.key)
    for fault in faults:
        check.report(fault, tenant=tenant)
    return found


def _check_whole(check: _Check) -> None:
    """What only shows when all tenants are seen: rows too many, positions with holes."""
    leaves = sum(tree.frontier.size for tree in check.trees.values())
    if check.number("SELECT count(*) FROM whodid_leaf") != leaves:
        check.report("there are leaves of an unknown tenant")
    if check.number("SELECT count(*) FROM whodid_log_state") != len(check.trees):
        check.report("there are states of unknown trees")
    if check.number("SELECT count(*) FROM whodid_sealed") != check.events:
        check.report("there are events without a leaf")
    last = check.number("SELECT coalesce(max(position), 0) FROM whodid_leaf")
    if last != leaves:
        check.report("the positions of the leaves have holes")
    if check.number("SELECT coalesce(max(position), 0) FROM whodid_seal") != last:
        check.report("the position counter differs from the leaves")
    _check_unsealed(check)
    _check_keys(check)
    if not check.problems:  # a faulty event's own would be told as faults of their own
        if check.number("SELECT count(*) FROM whodid_event_ref") != check.refs:
            check.report("there are references that belong to no event")
        if check.dictionary.keys() - check.used - check.trees.keys():
            check.report("the dictionary holds values that no event uses")


def _check_unsealed(check: _Check) -> None:
    """Events that wait for the sealer are well; those that it won't find are not."""
    if has_passed_by(check.connection):
        check.report("there are events that the sealer passed by; run whodid index --rebuild")
    refused = check.number("SELECT count(*) FROM whodid_refused")
    if refused:
        check.report(f"{refused} rows were inserted that are no events, and were not sealed")


def _check_keys(check: _Check) -> None:
    if check.number(
        "SELECT count(*) FROM whodid_event_key AS k WHERE NOT EXISTS (SELECT 1 FROM whodid_event "
        "AS e WHERE e.id = k.id AND e.tenant = k.tenant AND e.received_at = k.received_at OFFSET 0)"
    ):
        check.report("a key belongs to no event")
    if check.number(
        "SELECT count(*) FROM whodid_event AS e WHERE NOT EXISTS (SELECT 1 FROM whodid_event_key "
        "AS k WHERE e.id = k.id AND e.tenant = k.tenant AND e.received_at = k.received_at OFFSET 0)"
    ):
        check.report("an event has no key: it could be stored twice")
    if check.number(
        "SELECT count(*) FROM whodid_idempotency AS i WHERE NOT EXISTS (SELECT 1 FROM "
        "whodid_event_key AS k WHERE k.id = i.id AND k.tenant = i.tenant OFFSET 0)"
    ):
        check.report("an idempotency key belongs to no event")
