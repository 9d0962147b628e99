"""One event in place of one a row, for statements about more rows than `WHODID["bulk_limit"]`.

It says how many rows there were, by which statement (without its values), and the digest of their
keys, by which a list of keys from elsewhere can be checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from whodid.capture.django import unit
from whodid.capture.django.conf import get_audit, get_settings
from whodid.capture.django.fields import FETCHED_AT_ONCE, Plan, Row
from whodid.capture.django.guard import template_of
from whodid.capture.django.people import type_of
from whodid.capture.django.rows import text_of_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Rows that are too many to be told one by one.

    Attributes:
        digest: SHA-256 of their keys, one a line, in the order of the keys.
        filter: The statement that finds them, without values; empty if they were listed.
    """

    rows: int
    digest: str
    filter: str = ""


def is_too_many(rows: int) -> bool:
    return rows > get_settings().bulk_limit


def limited(plan: Plan, query: Any) -> dict[Any, Row] | Summary:
    """The rows that a query finds, by key; a summary when they are too many."""
    rows = query.select_related(None).order_by()
    rows.query.clear_ordering(force=True)
    listed = rows.values_list(*plan.attnames)[: get_settings().bulk_limit + 1]
    found = {plan.key(row): row for row in listed}
    return found if not is_too_many(len(found)) else _summary_of(query)


def _summary_of(query: Any) -> Summary:
    keys = query.select_related(None).order_by("pk").values_list("pk", flat=True)
    statement = str(query.query.get_compiler(query.db).as_sql()[0])
    count, digest = _digest(keys.iterator(chunk_size=FETCHED_AT_ONCE))
    return Summary(rows=count, digest=digest, filter=template_of(statement))


def summary_of_keys(keys: Iterable[Any]) -> Summary:
    """The summary of rows whose keys are known."""
    count, digest = _digest(sorted(keys))
    return Summary(rows=count, digest=digest)


def _digest(keys: Iterable[Any]) -> tuple[int, str]:
    digest, count = hashlib.sha256(), 0
    for count, key in enumerate(keys, start=1):  # noqa: B007 - the last one counts
        digest.update(text_of_key(key).encode("utf-8", "replace") + b"\n")
    return count, digest.hexdigest()


def tell(
    plan: Plan, verb: str, summary: Summary, *, using: str, fields: Sequence[str] = ()
) -> None:
    """Add the event.

    Args:
        fields: Names of those that the statement sets.
    """
    kind = type_of(plan.model)
    metadata: dict[str, Any] = {
        "summary": True, "rows": summary.rows, "keys_sha256": summary.digest,
    }  # fmt: skip
    if fields:
        metadata["fields"] = sorted(fields)
    if summary.filter:
        metadata["filter"] = summary.filter
    event = get_audit().draft(
        f"{kind}.{verb}",
        target={"type": kind},
        metadata=metadata,
        tags=["summary"],
        message=f"{summary.rows:,} rows in one statement",
    )
    unit.add([event], using)
