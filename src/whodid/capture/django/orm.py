"""Saving and deleting: what the row was and what it became, whoever wrote it before.

`Model._save_table` and `Collector.delete` are wrapped once, for all models: whatever leads to a
row's change in the ORM comes through them, or through a statement about many rows (`queries`). The
row is read right before and right after, so that stale objects, expressions and what the database
makes of a value are told as they are. What receivers of signals do is outside: a receiver that
raises leaves what it would have left without us, and the event says just that.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.db import connections
from django.db.models import Model, QuerySet
from django.db.models.deletion import Collector

from whodid import context
from whodid.capture.django import links, summaries, unit
from whodid.capture.django.conf import get_audit
from whodid.capture.django.fields import (
    Plan,
    Row,
    fetch,
    fetch_many,
    is_link,
    plan_of,
)
from whodid.capture.django.guard import claimed
from whodid.capture.django.rows import Operation, RowChange, drafted
from whodid.capture.django.summaries import Summary
from whodid.event import Json
from whodid.ids import uuid7

_save_base = Model.save_base
_save_table: Any = Model._save_table  # Django's own, stable for years
_delete = Collector.delete
_BEFORE = "_whodid_before"
_UNREAD: Row = ()
"""A row that is there, perhaps, and could not be read: what is not known must not be told."""


def install(settings: object) -> None:
    """Wrap Django's methods. Idempotent."""
    Model.save_base = save_base  # type: ignore[method-assign]  # what this module is for
    Model._save_table = save_table  # type: ignore[attr-defined]
    Collector.delete = delete  # type: ignore[method-assign]


# -- saving --------------------------------------------------------------------------------------


@functools.wraps(_save_base)
def save_base(self: Model, *args: Any, **kwargs: Any) -> None:
    """Save; of an inherited model, forget what an earlier attempt that failed had read."""
    self.__dict__.pop(_BEFORE, None)
    _save_base(self, *args, **kwargs)


save_base.alters_data = True  # type: ignore[attr-defined]  # as Django's has it: no template may call


@functools.wraps(_save_table)
def save_table(
    self: Any,
    raw: bool = False,
    cls: Any = None,
    force_insert: bool = False,
    force_update: bool = False,
    using: Any = None,
    update_fields: Any = None,
) -> Any:
    """Write one table's part of an instance, and record the row in the same transaction."""
    plan = plan_of(type(self))
    if plan is None or not context.is_recording():
        return _save_table(self, raw, cls, force_insert, force_update, using, update_fields)
    with unit.atomic_if_needed(using):
        is_new = (
            force_insert or not (force_update or update_fields or raw) and _is_inserted(self, plan)
        )
        old = _row_before(self, plan, using=using, is_new=is_new)
        with claimed():
            updated = _save_table(self, raw, cls, force_insert, force_update, using, update_fields)
        if cls is not plan.model:
            self.__dict__[_BEFORE] = old  # a parent's table; the child's follows in this block
            return updated
        with get_audit().guarded("recording a row that was saved"):
            new = fetch(plan, self.pk, using=using)
            if new is not None and old is not _UNREAD:
                emit(plan, old, new, instance=self, using=using)
        return updated


def _is_inserted(instance: Any, plan: Plan) -> bool:
    """Does Django insert without trying an update? It does where a new key makes sure."""
    return bool(instance._state.adding and plan.has_default_key)


def _row_before(instance: Any, plan: Plan, *, using: str, is_new: bool) -> Row | None:
    if _BEFORE in instance.__dict__:
        before: Row | None = instance.__dict__.pop(_BEFORE)
        return before
    key = instance.pk
    if is_new or not _has_key(key):
        return None
    unit.wait_to_write(connections[using], plan.model._meta.db_table)
    with get_audit().guarded("reading a row before it is saved"):
        return fetch(plan, key, using=using)
    return _UNREAD


def _has_key(key: Any) -> bool:
    return key is not None and not (isinstance(key, tuple) and None in key)


def emit(
    plan: Plan,
    old: Row | None,
    new: Row | None,
    *,
    instance: Model | None,
    using: str,
    label: str | None = None,
    linked: Mapping[str, Json] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Add the events of a row that was `old` and is `new`; none when nothing differs.

    Args:
        linked: What a row that is deleted was linked to, by field.
    """
    operation, was, became = _difference(plan, old, new, linked or {})
    row = new or old
    if operation is None or row is None:
        return
    if label is None:
        label = plan.label(instance) if instance is not None else ""
        # An instance that was loaded in part, or that there is none of: named by its row.
        label = label or plan.label(plan.bare(row, using=using))
    change = RowChange(
        model=plan.model,
        operation=operation,
        pk=plan.key(old or row),
        label=label,
        old=was,
        new=became,
        labels=plan.labels(instance, became or was),
        instance=instance,
        using=using,
        metadata=metadata or {},
        parent=row[plan.parent] if plan.parent is not None else None,
    )
    unit.add(drafted(change), using)


def _difference(
    plan: Plan, old: Row | None, new: Row | None, linked: Mapping[str, Json]
) -> tuple[Operation | None, dict[str, Json], dict[str, Json]]:
    """What was done, and the fields before and after; None when nothing differs."""
    if old is None:
        return ("create", {}, plan.written(new)) if new is not None else (None, {}, {})
    if new is None:
        return "delete", {**plan.written(old), **linked}, {}
    was, became = plan.changed(old, new)
    return "update" if was else None, was, became


# -- deleting ------------------------------------------------------------------------------------


@functools.wraps(_delete)
def delete(self: Any) -> Any:
    """Delete what was collected, cascades included, and record each row."""
    recorded = _recorded_models(self)
    if not recorded or not context.is_recording():
        return _delete(self)
    with unit.atomic_if_needed(self.using):
        unit.wait_to_write(connections[self.using], recorded[0]._meta.db_table)
        audit = get_audit()
        doomed: list[_Doomed] = []
        lost: list[links.Links] = []
        with audit.guarded("reading rows before they are deleted"):
            doomed = [*_doomed(self), *_orphaned(self)]
            lost = list(_lost_links(self))
        with grouped(sum(each.size for each in doomed) + len(lost)):
            with claimed({model._meta.db_table for model in _collected_models(self)}):
                result = _delete(self)
            with audit.guarded("recording rows that were deleted"):
                _tell(doomed, lost, using=self.using)
        return result


def _recorded_models(collector: Any) -> list[Any]:
    """The models of what was collected of which anything is recorded."""
    collected = _collected_models(collector)
    return [model for model in collected if plan_of(model) or links.is_recorded(model)]


def _collected_models(collector: Any) -> list[Any]:
    return [
        *collector.data,
        *(rows.model for rows in collector.fast_deletes),
        *(field.model for field, _ in collector.field_updates),
    ]


class _Doomed:
    """Rows of one model that are to be deleted, or that lose what they point at.

    Attributes:
        summary: In place of the rows when they are too many to be told one by one.
        stays: They are changed, not deleted.
    """

    __slots__ = ("instances", "plan", "rows", "stays", "summary")

    def __init__(
        self,
        plan: Plan,
        found: dict[Any, Row] | Summary,
        instances: Mapping[Any, Model],
        *,
        stays: bool,
    ) -> None:
        self.summary = found if isinstance(found, Summary) else None
        self.rows = {} if isinstance(found, Summary) else found
        self.plan, self.instances, self.stays = plan, instances, stays

    @property
    def size(self) -> int:
        return self.summary.rows if self.summary else len(self.rows)


def _doomed(collector: Any) -> list[_Doomed]:
    """The rows that go, each once: a parent's row of an inherited model goes with the child's."""
    using = collector.using
    found: list[_Doomed] = []
    for queryset in collector.fast_deletes:
        plan = plan_of(queryset.model)
        if plan is not None:
            rows = summaries.limited(plan, queryset._chain())
            found.append(_Doomed(plan, rows, {}, stays=False))
    for model, instances in collector.data.items():
        plan = plan_of(model)
        known = {each.pk: each for each in instances if each.pk is not None}
        if plan is not None and known:
            rows = _rows_of(plan, list(known), using=using)
            found.append(_Doomed(plan, rows, known, stays=False))
    parts = {
        (parent, key)
        for each in found
        for parent in each.plan.model._meta.get_parent_list()
        for key in each.rows
    }
    for each in found:
        each.rows = {k: row for k, row in each.rows.items() if (each.plan.model, k) not in parts}
    return found


def _rows_of(plan: Plan, keys: list[Any], *, using: str) -> dict[Any, Row] | Summary:
    if summaries.is_too_many(len(keys)):
        return summaries.summary_of_keys(keys)
    return fetch_many(plan, keys, using=using)


def _orphaned(collector: Any) -> Iterator[_Doomed]:
    """Rows whose foreign key is set to something else because its object goes.

    Of those that Django has loaded; the others it changes with `QuerySet.update`, which tells.
    """
    for (field, _), groups in collector.field_updates.items():
        plan = plan_of(field.model)
        if plan is None:
            continue
        keys = [
            instance.pk
            for group in groups
            if not (isinstance(group, QuerySet) and group._result_cache is None)
            for instance in group
        ]
        if keys:
            rows = fetch_many(plan, list(dict.fromkeys(keys)), using=collector.using)
            yield _Doomed(plan, rows, {}, stays=True)


def _lost_links(collector: Any) -> Iterator[links.Links]:
    """Links that go: because they are removed, or with the object at either end."""
    for model, instances in collector.data.items():
        if instances and is_link(model):
            rows: QuerySet[Any] = QuerySet(model=model, using=collector.using)
            yield links.read(rows.filter(pk__in=[each.pk for each in instances]))
    for queryset in collector.fast_deletes:
        if is_link(queryset.model):
            yield links.read(queryset._chain())


def _tell(doomed: list[_Doomed], lost: Sequence[links.Links], *, using: str) -> None:
    told: dict[tuple[Any, Any], dict[str, Json]] = {}
    for each in doomed:
        if not each.stays:
            for model in (each.plan.model, *each.plan.model._meta.get_parent_list()):
                told |= {(model, key): {} for key in each.rows}
    for link in lost:
        links.tell(link, removed=True, using=using, gone=told)
    for each in doomed:
        if each.summary:
            summaries.tell(each.plan, "delete", each.summary, using=using)
        after = fetch_many(each.plan, list(each.rows), using=using) if each.stays else {}
        lines = (each.plan.model, *each.plan.model._meta.get_parent_list())
        for key, old in each.rows.items():
            new = after.get(key)
            if each.stays and new is None:
                continue  # deleted in the end, and told as such
            linked: dict[str, Json] = {}
            for model in lines:
                linked |= told.get((model, key), {})
            emit(each.plan, old, new, instance=each.instances.get(key), using=using, linked=linked)


def grouped(rows: int) -> Any:
    """What is recorded in a block about several rows shares a `correlation_id`."""
    if rows < 2 or context.current().correlation_id:
        return context.bind()
    return context.bind(correlation_id=uuid7())
