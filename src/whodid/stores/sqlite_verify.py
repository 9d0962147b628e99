"""Verification of a SQLite store: everything is recomputed from the stored bytes and compared.

Finds what was changed, removed, added or reordered behind the log's back in any table, as long as
the tree's own state was not rewritten with it: against that only a checkpoint kept elsewhere helps.
Memory is flat in the number of events; the dictionary is held whole.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from whodid.access import Access
from whodid.errors import LedgerError
from whodid.event import StoredEvent
from whodid.ledger.merkle import Frontier, leaf_hash
from whodid.stores.base import Problem, TreeHead, VerifyReport
from whodid.stores.dictionary import DictKind
from whodid.stores.migrate import migrate_sqlite
from whodid.stores.rows import Columns, reference_hash
from whodid.stores.sqlite_column_check import column_problems
from whodid.stores.sqlite_text_verify import TextCheck
from whodid.stores.verifying import MAX_PROBLEMS, check_event, check_head

_PROGRESS_EVERY = 1_000
_COLUMNS = (
    "position", "tenant", "index", "id", "occurred_at", "received_at", "actor", "action",
    "category", "operation", "severity", "outcome", "app", "country", "agent", "ip", "codec",
    "body", "secret", "gone",
)  # fmt: skip
_DICTIONARY = {
    "actor": DictKind.ACTOR,
    "action": DictKind.ACTION,
    "app": DictKind.APP,
    "country": DictKind.COUNTRY,
    "agent": DictKind.AGENT,
}


@dataclass(slots=True)
class _Tree:
    name: str
    frontier: Frontier = field(default_factory=Frontier)


@dataclass(slots=True)
class _Check:
    """One verification under way."""

    connection: sqlite3.Connection
    key: bytes
    access: Access
    dictionary: dict[int, tuple[int, int, str]]
    trees: dict[int, _Tree]
    text: TextCheck | None = None
    problems: list[Problem] = field(default_factory=list)
    used: set[int] = field(default_factory=set)
    events: int = 0
    refs: int = 0

    def report(self, what: str, *, tenant: int | None = None, index: int | None = None) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            name = self.trees[tenant].name if tenant in self.trees else None
            self.problems.append(Problem(tenant=name, index=index, what=what))


def verify(
    connection: sqlite3.Connection,
    *,
    key: bytes,
    access: Access,
    progress: Callable[[int, int], None] | None,
) -> VerifyReport:
    """Compare the whole store, or the trees that `access` sees, with its stored bytes.

    Args:
        connection: Inside a read transaction, so that it sees one moment.
        progress: Called now and then with how many leaves are done, of how many.
    """
    check = _Check(connection, key, access, _dictionary(connection), {})
    for ref, (tenant, kind, value) in check.dictionary.items():
        if kind == DictKind.TENANT and tenant == 0 and access.sees(value):
            check.trees[ref] = _Tree(value)
    if access.tenants is None:
        check.text = TextCheck(connection)
    total = connection.execute("SELECT count(*) FROM whodid_leaf").fetchone()[0]
    for done, row in enumerate(_leaves(connection, check.trees), start=1):
        _check_leaf(check, row)
        if progress and done % _PROGRESS_EVERY == 0:
            progress(done, total)
    heads = [head for head in map(_heads(check), sorted(check.trees)) if head]
    if access.tenants is None:
        _check_whole(check)
    if progress:
        progress(total, total)
    return VerifyReport(events=check.events, trees=heads, problems=check.problems)


def _dictionary(connection: sqlite3.Connection) -> dict[int, tuple[int, int, str]]:
    rows = connection.execute("SELECT ref, tenant, kind, val FROM whodid_dict ORDER BY ref")
    return {ref: (tenant, kind, value) for ref, tenant, kind, value in rows}


def _leaves(connection: sqlite3.Connection, trees: dict[int, _Tree]) -> Iterator[dict[str, Any]]:
    """Every leaf with its event's row, tree by tree in order."""
    columns = ", ".join(f'e."{name}"' for name in _COLUMNS)
    for tenant in sorted(trees):
        rows = connection.execute(
            f'SELECT l."index", l.entry, l.position, {columns} FROM whodid_leaf AS l '
            "LEFT JOIN whodid_event AS e ON e.position = l.position "
            'WHERE l.tenant = ? ORDER BY l."index"',
            (tenant,),
        )
        for index, entry, position, *values in rows:
            row = dict(zip(_COLUMNS, values, strict=True))
            yield row | {"leaf": (tenant, index, entry, position)}


def _check_leaf(check: _Check, row: dict[str, Any]) -> None:
    tenant, index, entry, _ = row["leaf"]
    tree = check.trees[tenant]
    if index != tree.frontier.size:
        check.report(f"expected leaf {tree.frontier.size} here", tenant=tenant, index=index)
    tree.frontier.append(leaf_hash(entry))
    if row["position"] is None or row["body"] is None:
        check.report("the event is missing", tenant=tenant, index=index)
        return
    check.events += 1
    try:
        _check_event(check, row, tree.name)
    except LedgerError as error:
        check.report(str(error), tenant=tenant, index=index)


def _check_event(check: _Check, row: dict[str, Any], tenant_name: str) -> None:
    tenant, index, entry, position = row["leaf"]
    if (row["tenant"], row["index"]) != (tenant, index):
        raise LedgerError("the event's tenant or index differs from its leaf's")
    stored, columns = check_event(
        row, entry=entry, tenant=tenant_name, index=index, position=position
    )
    _check_dictionary(check, row, columns)
    _check_references(check, stored, columns)
    if check.text:
        check.text.add(
            position=position,
            tenant=tenant,
            occurred_at=columns.occurred_at,
            body=row["body"],
        )


def _check_dictionary(check: _Check, row: dict[str, Any], columns: Columns) -> None:
    for name, kind in _DICTIONARY.items():
        ref, value = row[name], getattr(columns, name)
        check.used.add(ref)
        expected = (row["tenant"], int(kind), value)
        if (ref != 0 or value) and check.dictionary.get(ref) != expected:
            raise LedgerError(f"the column {name} differs from the body")


def _check_references(check: _Check, stored: StoredEvent, columns: Columns) -> None:
    expected = {
        (
            int(kind),
            reference_hash(check.key, tenant=stored.tenant_id, name=name),
            columns.occurred_at,
            stored.position,
        )
        for kind, name in columns.refs
    }
    check.refs += len(expected)
    for reference in expected:
        if not check.connection.execute(
            "SELECT 1 FROM whodid_event_ref "
            "WHERE kind = ? AND hash = ? AND occurred_at = ? AND position = ?",
            reference,
        ).fetchone():
            raise LedgerError("a reference for finding the event is missing or was changed")


def _heads(check: _Check) -> Callable[[int], TreeHead | None]:
    """Compare a tree's stored state with its leaves."""

    def head(tenant: int) -> TreeHead | None:
        tree = check.trees[tenant]
        row = check.connection.execute(
            "SELECT log_id, size, frontier FROM whodid_log_state WHERE tenant = ?", (tenant,)
        ).fetchone()
        found, faults = check_head(row, tenant=tree.name, frontier=tree.frontier, key=check.key)
        for fault in faults:
            check.report(fault, tenant=tenant)
        return found

    return head


def _check_whole(check: _Check) -> None:
    """What only shows when all tenants are seen: rows too many, positions with holes."""

    def number(sql: str) -> int:
        return int(check.connection.execute(sql).fetchone()[0])

    _check_file(check)
    for fault in column_problems(check.connection):
        check.report(f"{fault}; run whodid index --rebuild")
    leaves = sum(tree.frontier.size for tree in check.trees.values())
    if number("SELECT count(*) FROM whodid_leaf") != leaves:
        check.report("there are leaves of an unknown tenant")
    if number("SELECT count(*) FROM whodid_log_state") != len(check.trees):
        check.report("there are states of unknown trees")
    if number("SELECT count(*) FROM whodid_event") != check.events:
        check.report("there are events without a leaf")
    _check_leftovers(check)
    last = number("SELECT coalesce(max(position), 0) FROM whodid_leaf")
    if last != leaves:
        check.report("the positions of the leaves have holes")
    _check_text(check, last=last)
    if number("SELECT coalesce(max(value), 0) FROM whodid_counter WHERE name = 'position'") != last:
        check.report("the position counter differs from the leaves")
    if number(
        "SELECT count(*) FROM whodid_idempotency AS i LEFT JOIN whodid_event AS e "
        "ON e.tenant = i.tenant AND e.id = i.id WHERE e.position IS NULL"
    ):
        check.report("an idempotency key belongs to no event")


def _check_leftovers(check: _Check) -> None:
    """References and dictionary values that no event accounts for."""
    if check.problems:
        return  # a faulty event's own would be told as faults of their own
    [references] = check.connection.execute("SELECT count(*) FROM whodid_event_ref").fetchone()
    if references != check.refs:
        check.report("there are references that belong to no event")
    used = check.used | check.trees.keys() | _key_apps(check.connection)
    if check.dictionary.keys() - used:
        check.report("the dictionary holds values that no event uses")


def _check_text(check: _Check, *, last: int) -> None:
    """The text index; not after other faults, which it would only repeat."""
    if check.problems or check.text is None:
        return
    for fault in check.text.faults(last=last, values=check.dictionary):
        check.report(f"{fault}; run whodid index --rebuild")


def _check_file(check: _Check) -> None:
    """The file itself: an index without a row hides an event from lists, a trigger changes them."""
    faults = check.connection.execute("PRAGMA integrity_check(100)").fetchall()
    if faults != [("ok",)]:
        check.report(f"the file contradicts itself in {len(faults)} places: {faults[0][0][:200]}")
    expected = sqlite3.connect(":memory:", isolation_level=None)
    migrate_sqlite(expected)
    differing = sorted(_schema(expected) ^ _schema(check.connection))
    expected.close()
    if differing:
        names = ", ".join(sorted({name for _, name, _ in differing}))
        check.report(f"tables, indexes or triggers are not those of the schema: {names[:200]}")


def _schema(connection: sqlite3.Connection) -> set[tuple[str, str, str | None]]:
    """Everything of the log in a database, as it was declared.

    `whodid_waiting` is the host's side of it (`capture.django.handoff`): on its way to a log.
    """
    return set(
        connection.execute(
            "SELECT type, name, sql FROM sqlite_master WHERE tbl_name LIKE 'whodid~_%' ESCAPE '~' "
            "AND tbl_name <> 'whodid_waiting' ORDER BY type, name"
        )
    )


def _key_apps(connection: sqlite3.Connection) -> set[int]:
    rows = connection.execute("SELECT DISTINCT app FROM whodid_idempotency ORDER BY app")
    return {row[0] for row in rows}
