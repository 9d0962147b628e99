"""What verification finds out about an event and a tree, in whatever engine they lie. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from whodid import canonical
from whodid.errors import LedgerError
from whodid.event import StoredEvent
from whodid.ids import uuid_bytes
from whodid.ledger.merkle import Frontier
from whodid.stores.base import TreeHead
from whodid.stores.rows import CODEC_RAW, Columns, derive_stored, log_id

MAX_PROBLEMS = 1_000
_DERIVED = (
    "occurred_at", "received_at", "category", "operation", "severity", "outcome", "ip",
)  # fmt: skip


def check_event(
    row: Mapping[str, Any], *, entry: bytes, tenant: str, index: int, position: int
) -> tuple[StoredEvent, Columns]:
    """The event of a row and its columns, after all that the body tells was compared with it.

    Args:
        row: Codec, body, secret, gone, id (16 bytes), and the columns that are no references. As
            the database gives them, hence `Any`.
        entry: What the leaf holds.
        tenant: Whose tree it is.

    Raises:
        LedgerError: Something differs; says what, and no value.
    """
    if row["codec"] != CODEC_RAW:
        raise LedgerError("the body is in an unknown codec")
    if row["secret"] is None:
        raise LedgerError("the secret is missing")
    if canonical.recompute_entry(row["body"], secret=row["secret"], gone=row["gone"]) != entry:
        raise LedgerError("the event does not lead to its leaf: it was changed")
    if row["gone"] is not None:
        # Only a signed control record excuses an erasure, and there are none yet.
        raise LedgerError("units were erased without a control record")
    stored = canonical.restore(row["body"], gone=row["gone"], index=index, position=position)
    if stored.tenant_id != tenant:
        raise LedgerError("the event belongs to another tenant")
    if row["id"] != uuid_bytes(stored.id):
        raise LedgerError("the column id differs from the body")
    columns = derive_stored(stored)
    for name in _DERIVED:
        if row[name] != getattr(columns, name):
            raise LedgerError(f"the column {name} differs from the body")
    return stored, columns


def check_head(
    row: Sequence[Any] | None, *, tenant: str, frontier: Frontier, key: bytes
) -> tuple[TreeHead | None, list[str]]:
    """The head of a tree, and how its stored state differs from what the leaves give.

    Args:
        row: Log id, size and frontier, as stored; None when there are none.
        frontier: Of the leaves.
        key: Of the store, for the log id.
    """
    if row is None:
        return None, ["the state of the tree is missing"]
    name, size, stored = row
    faults = []
    if (size, stored) != (frontier.size, frontier.to_bytes()):
        faults.append(
            f"the state of the tree says {size} leaves and another root than its "
            f"{frontier.size} leaves give"
        )
    if name != log_id(key, tenant=tenant):
        faults.append("the log id of the tree was changed")
    head = TreeHead(tenant=tenant, log_id=name, size=frontier.size, root=frontier.root())
    return head, faults
