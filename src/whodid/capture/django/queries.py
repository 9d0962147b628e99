"""Statements about many rows: `update`, `bulk_create`, `bulk_update`, and bare deletes.

One event a row, as if each had been saved, with a `correlation_id` in common; above the limit one
for all (`summaries`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from django.db import connections
from django.db.models import Model, Q, QuerySet
from django.db.models.fields import AutoField

from whodid import context
from whodid.capture.django import guard, links, summaries, unit
from whodid.capture.django.conf import get_audit
from whodid.capture.django.fields import Plan, Row, fetch_many, is_link, keyed, plan_of
from whodid.capture.django.guard import claimed
from whodid.capture.django.orm import emit, grouped
from whodid.capture.django.summaries import Summary

_update = QuerySet.update
_bulk_create = QuerySet.bulk_create
_bulk_update = QuerySet.bulk_update
_raw_delete: Any = QuerySet._raw_delete  # Django's own, stable for years


def install(settings: object) -> None:
    """Wrap Django's methods. Idempotent."""
    wrapped: Any = QuerySet
    wrapped.update = update
    wrapped.bulk_create = bulk_create
    wrapped.bulk_update = bulk_update
    wrapped._raw_delete = raw_delete


# -- update --------------------------------------------------------------------------------------


@functools.wraps(_update)
def update(self: Any, **kwargs: Any) -> int:
    """Update, and record each row that changed."""
    plan = plan_of(self.model)
    if plan is None or not context.is_recording() or self.query.is_sliced or not kwargs:
        return _update(self, **kwargs)
    if guard.is_summed(plan.model._meta.db_table):
        with claimed():
            return _update(self, **kwargs)
    self._for_write = True
    using = self.db
    with unit.atomic_if_needed(using):
        unit.wait_to_write(connections[using], plan.model._meta.db_table)
        audit = get_audit()
        before: dict[Any, Row] | Summary = {}
        with audit.guarded("reading rows before they are updated"):
            before = summaries.limited(plan, self._chain())
        with claimed():
            result = _update(self, **kwargs)
        with audit.guarded("recording rows that were updated"):
            if isinstance(before, Summary):
                summaries.tell(plan, "update", before, using=using, fields=list(kwargs))
            else:
                _tell_updates(plan, before, kwargs, using=using)
        return result


update.alters_data = True  # type: ignore[attr-defined]  # as Django's has it: no template may call


def _tell_updates(
    plan: Plan, before: dict[Any, Row], values: dict[str, Any], *, using: str
) -> None:
    keys = list(before)
    pk = plan.model._meta.pk
    moved: dict[Any, Any] = {}
    if pk is not None and keys and (new_key := values.get(pk.name, values.get("pk"))) is not None:
        moved = {keys[0]: new_key}  # a key is unique: at most one row can have been given it
    after = fetch_many(plan, [moved.get(key, key) for key in keys], using=using)
    with grouped(len(keys)):
        for key, old in before.items():
            new = after.get(moved.get(key, key))
            if new is not None:
                emit(plan, old, new, instance=None, using=using)


# -- bulk_create and bulk_update -----------------------------------------------------------------


@functools.wraps(_bulk_update)
def bulk_update(
    self: Any, objs: Iterable[Model], fields: Iterable[str], *args: Any, **kwargs: Any
) -> Any:
    """Update many; each of the statements that Django makes of it is recorded by `update`."""
    plan = plan_of(self.model)
    if plan is None or not context.is_recording():
        return _bulk_update(self, objs, fields, *args, **kwargs)
    listed, names = tuple(objs), list(fields)
    if not summaries.is_too_many(len(listed)):
        with grouped(len(listed)):
            return _bulk_update(self, listed, names, *args, **kwargs)
    self._for_write = True
    using = self.db
    with unit.atomic_if_needed(using):
        with guard.summed(plan.model._meta.db_table):
            result = _bulk_update(self, listed, names, *args, **kwargs)
        with get_audit().guarded("recording rows that were updated"):
            summary = summaries.summary_of_keys({each.pk for each in listed})
            summaries.tell(plan, "update", summary, using=using, fields=names)
        return result


bulk_update.alters_data = True  # type: ignore[attr-defined]


@functools.wraps(_bulk_create)
def bulk_create(
    self: Any,
    objs: Iterable[Any],
    batch_size: int | None = None,
    ignore_conflicts: bool = False,
    update_conflicts: bool = False,
    update_fields: Sequence[str] | None = None,
    unique_fields: Sequence[str] | None = None,
) -> list[Any]:
    """Create many, and record each row that was made or changed."""
    listed = list(objs)

    def create() -> list[Any]:
        return _bulk_create(
            self, listed, batch_size=batch_size, ignore_conflicts=ignore_conflicts,
            update_conflicts=update_conflicts, update_fields=update_fields,
            unique_fields=unique_fields,
        )  # fmt: skip

    if not context.is_recording() or not listed:
        return create()
    if is_link(self.model) and links.is_recorded(self.model):
        return _create_links(self, listed, create)
    plan = plan_of(self.model)
    if plan is None:
        return create()
    self._for_write = True
    using = self.db
    with unit.atomic_if_needed(using):
        unit.wait_to_write(connections[using], plan.model._meta.db_table)
        audit = get_audit()
        births = _Births(plan, listed, using=using, by=_conflict_names(plan, unique_fields))
        has_conflicts = ignore_conflicts or update_conflicts
        with audit.guarded("reading rows before others are created"):
            births.look_before(has_conflicts=has_conflicts)
        with claimed():
            result = create()
        with audit.guarded("recording rows that were created"):
            births.tell()
        return result


bulk_create.alters_data = True  # type: ignore[attr-defined]


def _create_links(rows: Any, listed: list[Any], create: Callable[[], list[Any]]) -> list[Any]:
    """Create rows of the hidden table of a many-to-many field, and tell of the links."""
    rows._for_write = True
    using, through = rows.db, rows.model
    with unit.atomic_if_needed(using):
        unit.wait_to_write(connections[using], through._meta.db_table)
        audit = get_audit()
        known: set[links.Pair] = set()
        pairs = links.wanted(through, listed)
        with audit.guarded("reading links before others are made"):
            known = links.existing(through, pairs, using)
        with claimed():
            result = create()
        with audit.guarded("recording links"):
            new = [pair for pair in pairs if pair not in known]
            with grouped(len({near for near, _ in new})):
                links.tell(links.labelled(through, new, using), removed=False, using=using)
        return result


def _conflict_names(plan: Plan, unique_fields: Sequence[str] | None) -> tuple[str, ...]:
    """The attributes that rows collide by, as far as that was said."""
    if not unique_fields:
        return ()
    meta: Any = plan.model._meta
    named = [meta.pk.name if name == "pk" else name for name in unique_fields]
    return tuple(meta.get_field(name).attname for name in named)


# A row has the lower half of its transaction's number; the upper half is that of now, or one less.
_OWN_ROWS = """
SELECT row.{key} FROM {table} AS row, (
  SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS newest
) AS numbers
WHERE row.{key} > %s AND pg_xact_status((
  CASE WHEN (newest >> 32 << 32) + row.xmin::text::bigint <= newest + 1000000
  THEN (newest >> 32 << 32) ELSE (newest >> 32 << 32) - 4294967296 END + row.xmin::text::bigint
)::text::xid8) = 'in progress'
"""


class _Births:
    """Rows that a `bulk_create` makes, found without trusting what the objects say afterwards."""

    def __init__(
        self, plan: Plan, listed: Sequence[Any], *, using: str, by: tuple[str, ...]
    ) -> None:
        self._plan, self._listed, self._using, self._by = plan, listed, using, by
        self._before: dict[Any, Row] = {}
        self._newest: Any = None
        self._has_conflicts = False
        self._keys = [each.pk for each in listed if each.pk is not None]

    def look_before(self, *, has_conflicts: bool) -> None:
        """Remember the rows that the new ones may collide with."""
        self._has_conflicts = has_conflicts
        if not has_conflicts:
            return
        self._before = self._colliding()
        if isinstance(self._plan.model._meta.pk, AutoField):
            newest = self._rows().order_by("-pk").values_list("pk", flat=True)
            self._newest = newest.first() or 0

    def tell(self) -> None:
        """Add the events of what was made."""
        plan, using = self._plan, self._using
        if summaries.is_too_many(len(self._listed)):
            summary = summaries.summary_of_keys(each.pk for each in self._listed)
            summaries.tell(plan, "create", summary, using=using)
            return
        instances = {each.pk: each for each in self._listed if each.pk is not None}
        after = self._after(list(instances))
        with grouped(len(after)):
            for key, new in after.items():
                emit(plan, self._before.get(key), new, instance=instances.get(key), using=using)

    def _after(self, keys: Sequence[Any]) -> dict[Any, Row]:
        if not self._has_conflicts:
            return fetch_many(self._plan, keys, using=self._using)
        found = self._colliding()
        if self._newest is not None:
            found |= keyed(self._plan, self._added())
        return found

    def _added(self) -> QuerySet[Any]:
        """The rows that came since, and not from others.

        In a transaction of SQLite's nobody else can have added any. In one of PostgreSQL's others'
        rows are seen as soon as they are committed; what is seen and in progress is our own.
        """
        rows = self._rows().filter(pk__gt=self._newest)
        connection = connections[self._using]
        if connection.vendor != "postgresql":
            return rows
        meta = self._plan.model._meta
        names = [connection.ops.quote_name(str(each)) for each in (meta.db_table, meta.pk.column)]
        with claimed(), connection.cursor() as cursor:
            cursor.execute(_OWN_ROWS.format(table=names[0], key=names[1]), (self._newest,))
            return rows.filter(pk__in=[key for (key,) in cursor.fetchall()])

    def _rows(self) -> QuerySet[Any]:
        return QuerySet(model=self._plan.model, using=self._using)

    def _colliding(self) -> dict[Any, Row]:
        found = fetch_many(self._plan, self._keys, using=self._using) if self._keys else {}
        for part in self._conditions():
            found |= keyed(self._plan, self._rows().filter(part))
        return found

    def _conditions(self) -> Iterator[Q]:
        for start in range(0, len(self._listed) if self._by else 0, 100):
            condition = Q()
            for each in self._listed[start : start + 100]:
                condition |= Q(**{name: getattr(each, name) for name in self._by})
            yield condition


# -- deletes without instances -------------------------------------------------------------------


@functools.wraps(_raw_delete)
def raw_delete(self: Any, using: str) -> Any:
    """Delete without looking at instances; inside of `Collector.delete` it is told already."""
    plan = plan_of(self.model)
    is_told = plan is None or guard.is_claimed(self.model._meta.db_table)
    if plan is None or is_told or not context.is_recording():
        return _raw_delete(self, using)
    with unit.atomic_if_needed(using):
        unit.wait_to_write(connections[using], plan.model._meta.db_table)
        audit = get_audit()
        before: dict[Any, Row] | Summary = {}
        with audit.guarded("reading rows before they are deleted"):
            before = summaries.limited(plan, self._chain())
        with claimed():
            result = _raw_delete(self, using)
        with audit.guarded("recording rows that were deleted"):
            if isinstance(before, Summary):
                summaries.tell(plan, "delete", before, using=using)
                return result
            with grouped(len(before)):
                for old in before.values():
                    emit(plan, old, None, instance=None, using=using)
        return result


raw_delete.alters_data = True  # type: ignore[attr-defined]
