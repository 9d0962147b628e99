"""What happened to a row, or to a link between rows, and which events that makes.

The ORM's capture says *what changed* in these two values; a translator says *what it means*. Most
models have none: `invoices.invoice` that is updated is `invoice.update`. Accounts, roles and
settings have translators of their own (`accounts`, `settings`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from django.apps import apps
from django.db.models import Model, QuerySet
from msgspec import UNSET

from whodid.capture.django import fields
from whodid.capture.django.conf import get_audit
from whodid.capture.django.people import type_of
from whodid.event import Change, Event, Json, Target
from whodid.jsonable import cut, guarded_text
from whodid.redaction import MASK

Operation: TypeAlias = Literal["create", "update", "delete"]
_MAX_NAME = 200
_MAX_ID = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class RowChange:
    """A row that was made, changed or removed.

    Attributes:
        model: The concrete model.
        pk: Its key; for an update that changes the key, the old one.
        label: What people call it, at most 200 characters, or empty.
        old: Field's name → value as JSON; empty for a create, of an update only what changed.
        new: The same afterwards; empty for a delete.
        labels: What the object behind a foreign key is called, where it was loaded already.
        instance: None for statements about many rows. Never to be queried with.
        using: Alias of the database.
        metadata: What else there is to say.
        parent: Key of the object in whose history the row belongs, too (`Audit.parent`).
    """

    model: type[Model]
    operation: Operation
    pk: object
    label: str
    old: Mapping[str, Json]
    new: Mapping[str, Json]
    instance: Model | None
    using: str
    labels: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Json] = field(default_factory=dict)
    parent: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkChange:
    """Links of one object over one many-to-many field that were made or removed.

    Attributes:
        model: Of the object whose links they are; either side of the field.
        field: The field's name, as declared.
        related: The model on the other side.
        added: Pairs of key and label, as `removed`.
    """

    model: type[Model]
    pk: object
    label: str
    field: str
    related: type[Model]
    added: Sequence[tuple[object, str]]
    removed: Sequence[tuple[object, str]]
    instance: Model | None
    using: str


Translate: TypeAlias = Callable[[RowChange | LinkChange], Iterable[Mapping[str, Any]]]
"""Gives the arguments of `AuditLog.draft`, `action` among them, for each event."""

_translators: dict[str, Translate] = {}


def register_translator(model: type[Model], translate: Translate) -> None:
    """Have a model's changes translated by this; also those of its proxies and old versions."""
    _translators[model._meta.label_lower] = translate


def drafted(change: RowChange | LinkChange) -> list[Event]:
    """The events of a change, with the context of now."""
    translate = _translators.get(change.model._meta.label_lower, default_translation)
    audit = get_audit()
    return [audit.draft(**arguments) for arguments in translate(change)]


def default_translation(change: RowChange | LinkChange) -> list[dict[str, Any]]:
    """`<type>.create|update|delete`, with the target and its changes."""
    kind = type_of(change.model)
    target = Target(type=kind, id=text_of_key(change.pk), name=change.label[:_MAX_NAME] or UNSET)
    if isinstance(change, LinkChange):
        return [{"action": f"{kind}.update", "target": target, "changes": [_link_change(change)]}]
    arguments: dict[str, Any] = {
        "action": f"{kind}.{change.operation}",
        "target": target,
        "changes": changes_of_row(change),
    }
    if parent := _parent_of(change):
        arguments["targets"] = [parent]
    metadata = dict(change.metadata)
    if change.labels:
        metadata["labels"] = change.labels
    if metadata:
        arguments["metadata"] = metadata
    return [arguments]


def changes_of_row(change: RowChange, names: Iterable[str] | None = None) -> list[Change]:
    """The changes of these fields, by default of all."""
    listed = names if names is not None else dict.fromkeys([*change.new, *change.old])
    old, new = change.old, change.new
    return [_change(name, old.get(name, UNSET), new.get(name, UNSET)) for name in listed]


def _change(name: str, old: Json, new: Json) -> Change:
    if old == MASK or new == MASK:
        return Change(path=name, old=old, new=new, redacted="masked")
    return Change(path=name, old=old, new=new)


def _link_change(change: LinkChange) -> Change:
    old = [_linked(each) for each in change.removed]
    new = [_linked(each) for each in change.added]
    return Change(path=change.field, old=old or UNSET, new=new or UNSET)


def _linked(each: tuple[object, str]) -> dict[str, str]:
    key, label = each
    return {"id": text_of_key(key), "name": label[:_MAX_NAME]}


def text_of_key(key: object) -> str:
    """A primary key as the id of a target; the parts of a composite one joined by `:`."""
    if isinstance(key, tuple):
        return cut(":".join(guarded_text(part) for part in key), _MAX_ID)
    return cut(guarded_text(key), _MAX_ID)


def _parent_of(change: RowChange) -> Target | None:
    """The object in whose history this row belongs, too."""
    name = fields.options_of(change.model).parent
    if name is None:
        return None
    relation: Any = change.model._meta.get_field(name)
    if change.parent is None or relation.related_model is None:
        return None
    related = apps.get_model(relation.related_model._meta.label)
    key: Any = change.parent
    if not relation.target_field.primary_key:  # it is pointed at by another field
        rows: QuerySet[Any] = QuerySet(model=related, using=change.using)
        found = rows.filter(**{relation.target_field.attname: key}).values_list("pk", flat=True)
        key = found.first()
    if key is None:
        return None
    return Target(
        type=type_of(related),
        id=text_of_key(key),
        name=change.labels.get(name) or UNSET,
        role="parent",
    )
