"""What verification finds out about one event, in whatever engine its row lies. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from whodid import canonical
from whodid.errors import LedgerError
from whodid.event import StoredEvent
from whodid.ids import uuid_bytes
from whodid.stores.rows import CODEC_RAW, Columns, derive_stored

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
