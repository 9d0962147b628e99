"""Many-to-many fields, from either side: which objects were linked, and which are no more.

Read off the rows of the field's hidden table, so that it does not matter which side was asked,
with which method, or whether an object at one end was deleted. Told of the object whose model
declares the field. Links of one object and field that change several times in a transaction are
told once, without what came and went.

Not here: fields with a table of the project's own, whose rows are recorded like any others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.db.models import Model, QuerySet

from whodid.capture.django import unit
from whodid.capture.django.fields import FETCHED_AT_ONCE, is_link, plan_of
from whodid.capture.django.guard import label_of
from whodid.capture.django.rows import LinkChange, drafted, text_of_key
from whodid.event import Json

Pair = tuple[Any, Any]
"""Keys of an object and of what it is linked to."""


@dataclass(frozen=True, slots=True)
class Ends:
    """A hidden table: the field that it belongs to, and the columns of its two ends."""

    owner: type[Model]
    field: str
    related: type[Model]
    near: str
    far: str


@dataclass(frozen=True, slots=True)
class Links:
    """Rows of a hidden table, and what people call the objects at their ends."""

    through: type[Model]
    pairs: Sequence[Pair]
    near: Mapping[Any, str]
    far: Mapping[Any, str]


def install(settings: object) -> None:
    """Nothing: `orm` and `queries` tell of the rows that they write."""


def is_recorded(model: type[Model]) -> bool:
    """Is this the hidden table of a field that is recorded?"""
    return is_link(model) and plan_of(ends_of(model).owner) is not None


@lru_cache(maxsize=1024)
def ends_of(through: type[Model]) -> Ends:
    """What a hidden table links."""
    owner: Any = through._meta.auto_created
    field = next(
        each for each in owner._meta.local_many_to_many if each.remote_field.through is through
    )
    return Ends(
        owner=owner._meta.concrete_model or owner,
        field=field.name,
        related=field.related_model._meta.concrete_model or field.related_model,
        near=through._meta.get_field(field.m2m_field_name()).attname,  # type: ignore[union-attr]  # keys
        far=through._meta.get_field(field.m2m_reverse_field_name()).attname,  # type: ignore[union-attr]
    )


def read(rows: QuerySet[Any]) -> Links:
    """The links that a query of a hidden table finds."""
    through: Any = rows.model
    ends = ends_of(through)
    return labelled(through, list(rows.order_by().values_list(ends.near, ends.far)), rows.db)


def labelled(through: type[Model], pairs: Sequence[Pair], using: str) -> Links:
    """The same of links whose keys are known."""
    ends = ends_of(through)
    near = _labels(ends.owner, {pair[0] for pair in pairs}, using)
    far = _labels(ends.related, {pair[1] for pair in pairs}, using)
    return Links(through, pairs, near, far)


def wanted(through: type[Model], listed: Iterable[Any]) -> list[Pair]:
    """The links that instances of a hidden table stand for."""
    ends = ends_of(through)
    return list(dict.fromkeys((getattr(it, ends.near), getattr(it, ends.far)) for it in listed))


def existing(through: type[Model], pairs: Sequence[Pair], using: str) -> set[Pair]:
    """Which of these links there are already."""
    ends = ends_of(through)
    rows: QuerySet[Any] = QuerySet(model=through, using=using)
    found: set[Pair] = set()
    for start in range(0, len(pairs), FETCHED_AT_ONCE):
        part = pairs[start : start + FETCHED_AT_ONCE]
        near, far = {pair[0] for pair in part}, {pair[1] for pair in part}
        known = rows.filter(**{f"{ends.near}__in": near, f"{ends.far}__in": far})
        found |= set(known.values_list(ends.near, ends.far))
    return found


def _labels(model: type[Model], keys: Iterable[Any], using: str) -> dict[Any, str]:
    listed = list(keys)
    rows: QuerySet[Any] = QuerySet(model=model, using=using)
    labels: dict[Any, str] = {}
    for start in range(0, len(listed), FETCHED_AT_ONCE):
        found = rows.filter(pk__in=listed[start : start + FETCHED_AT_ONCE])
        if columns := _NAMED_BY.get(model._meta.label_lower):
            named = found.values_list("pk", *columns)
            labels |= {pk: label_of(".".join(names)) for pk, *names in named}
        else:
            labels |= {each.pk: label_of(each) for each in found}
    return labels


_NAMED_BY = {
    "auth.group": ("name",),
    "auth.permission": ("content_type__app_label", "codename"),
}
"""What rights and roles are called, where their text can't be had.

The text of a permission queries for its model's name, and the models of a migration have none.
"""


def tell(
    links: Links,
    *,
    removed: bool,
    using: str,
    gone: MutableMapping[tuple[Any, Any], dict[str, Json]] | None = None,
) -> None:
    """Add an event for each object whose links these are.

    Args:
        removed: They are no more; else they are new.
        gone: Objects that are deleted themselves: their links are put there, by field, to be told
            with the deletion.
    """
    ends = ends_of(links.through)
    if plan_of(ends.owner) is None:
        return
    by_object: dict[Any, dict[Any, str]] = {}
    for near, far in links.pairs:
        by_object.setdefault(near, {})[far] = links.far.get(far, "")
    for key, others in by_object.items():
        if gone is not None and (ends.owner, key) in gone:
            listed = [{"id": text_of_key(far), "name": name} for far, name in others.items()]
            gone[ends.owner, key][ends.field] = listed
            continue
        added, lost = ({}, others) if removed else (others, {})
        _tell_object(links, key, added, lost, using=using)


def _tell_object(
    links: Links, key: Any, added: dict[Any, str], removed: dict[Any, str], *, using: str
) -> None:
    ends = ends_of(links.through)
    about = ("links", links.through, key)
    entry = unit.waiting(using, about)
    if isinstance(entry, _LinkEntry):
        was_added, was_removed = entry.added, entry.removed
        added, removed = (
            {k: v for k, v in was_added.items() if k not in removed}
            | {k: v for k, v in added.items() if k not in was_removed},
            {k: v for k, v in was_removed.items() if k not in added}
            | {k: v for k, v in removed.items() if k not in was_added},
        )
    change = LinkChange(
        model=ends.owner,
        pk=key,
        label=links.near.get(key, ""),
        field=ends.field,
        related=ends.related,
        added=sorted(added.items(), key=_by_text),
        removed=sorted(removed.items(), key=_by_text),
        instance=None,
        using=using,
    )
    events = drafted(change) if added or removed else []
    if isinstance(entry, _LinkEntry):
        entry.events, entry.added, entry.removed = events, added, removed
    else:
        unit.add_entry(_LinkEntry(events, about, added=added, removed=removed), using)


def _by_text(item: tuple[Any, str]) -> tuple[str, str]:
    return item[1], str(item[0])


class _LinkEntry(unit.Entry):
    """Links of one object that wait for a commit, so that later ones can be merged in."""

    __slots__ = ("added", "removed")

    def __init__(
        self, events: Any, key: object, *, added: dict[Any, str], removed: dict[Any, str]
    ) -> None:
        super().__init__(events, key)
        self.added, self.removed = added, removed
