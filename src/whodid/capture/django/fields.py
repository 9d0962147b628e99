"""The fields of a model: which are recorded, how their values are written, how a row is read.

All that can be known of a model is found once (`plan_of`). Values come from the database, not from
instances: those may be stale, hold expressions, or hold what the database writes differently.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from django.apps import apps
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.signals import setting_changed
from django.db import connections
from django.db.models import NOT_PROVIDED, BinaryField, Field, Model, QuerySet
from django.db.models.base import ModelState
from django.db.models.fields.files import FileField

from whodid.capture.django.conf import get_settings
from whodid.capture.django.guard import label_of
from whodid.event import Json
from whodid.jsonable import plain
from whodid.redaction import MASK, is_secret_name

FETCHED_AT_ONCE = 500
Row = tuple[Any, ...]
"""Values of the concrete fields, in the order of `Plan.names`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a model says of itself in an inner class `Audit`.

    Attributes:
        exclude: Fields that are not recorded.
        sensitive: Fields whose values are masked.
        label: The attribute that names an instance, instead of its text.
        parent: The foreign key to the object in whose history a row belongs, too.
    """

    exclude: frozenset[str] = frozenset()
    sensitive: frozenset[str] = frozenset()
    label: str | None = None
    parent: str | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class Plan:
    """All that is known of a model that is recorded.

    Attributes:
        model: The concrete one.
        names: Of its concrete fields, those of parents included.
        attnames: The attributes that hold their values.
        writers: Turn a value into JSON.
        recorded: Places of the fields that are recorded.
        pk: Places of the fields of the primary key.
        relations: Name and attribute of the foreign keys, for labels.
        parent: Place of the foreign key to the object in whose history a row belongs, too.
        has_default_key: A new instance has a key of its own making, such as a UUID.
    """

    model: type[Model]
    names: tuple[str, ...]
    attnames: tuple[str, ...]
    writers: tuple[Callable[[Any], Json], ...]
    recorded: tuple[int, ...]
    pk: tuple[int, ...]
    relations: tuple[tuple[str, str], ...]
    options: Options
    parent: int | None = None
    has_default_key: bool = False
    reads: dict[tuple[str, bool], _Read] = field(default_factory=dict)

    def key(self, row: Row) -> Any:
        """The primary key in a row."""
        if len(self.pk) == 1:
            return row[self.pk[0]]
        return tuple(row[place] for place in self.pk)

    def written(self, row: Row) -> dict[str, Json]:
        """What is recorded of a whole row; fields that hold nothing are left out."""
        return {
            self.names[place]: self.writers[place](row[place])
            for place in self.recorded
            if row[place] is not None
        }

    def changed(self, old: Row, new: Row) -> tuple[dict[str, Json], dict[str, Json]]:
        """Old and new of the recorded fields that differ."""
        was, became = {}, {}
        for place in self.recorded:
            if old[place] is not new[place] and not _is_same(old[place], new[place]):
                name, write = self.names[place], self.writers[place]
                was[name], became[name] = write(old[place]), write(new[place])
        return was, became

    def label(self, instance: Model) -> str:
        """What people call an instance."""
        if self.options.label is None:
            return label_of(instance)
        return label_of(instance.__dict__.get(self.options.label, ""))

    def bare(self, row: Row, *, using: str) -> Model:
        """An instance with the values of a row, made without any code of the host's."""
        made = self.model.__new__(self.model)
        made._state = ModelState()
        made._state.db, made._state.adding = using, False
        made.__dict__.update(zip(self.attnames, row, strict=False))
        return made

    def labels(self, instance: Model | None, names: Iterable[str]) -> dict[str, str]:
        """What the objects behind these fields are called, where they are loaded already."""
        if instance is None or not self.relations:
            return {}
        wanted = set(names)
        cache = instance._state.fields_cache
        return {
            name: label_of(related)
            for name, _ in self.relations
            if name in wanted and (related := cache.get(name)) is not None
        }


def _is_same(old: Any, new: Any) -> bool:
    try:
        return type(old) is type(new) and bool(old == new)
    except Exception:  # noqa: BLE001 - a host's field: taken for a change
        return False


# -- which models --------------------------------------------------------------------------------

_plans: dict[type[Model], Plan | None] = {}
_lock = threading.Lock()


def plan_of(model: type[Model]) -> Plan | None:
    """What is known of a model; None when its rows are not recorded."""
    try:
        return _plans[model]
    except KeyError:
        pass
    with _lock:
        if model not in _plans:
            concrete = model._meta.concrete_model or model
            _plans[model] = _make_plan(concrete) if _is_recorded(concrete) else None
    return _plans[model]


def _is_recorded(model: type[Model]) -> bool:
    meta = model._meta
    if meta.auto_created or meta.swapped or meta.abstract:
        return False
    settings = get_settings()
    names = {meta.app_label.lower(), meta.label_lower}
    if settings.only:
        return bool(names & settings.only)
    return not names & settings.excluded


def is_link(model: type[Model]) -> bool:
    """Is this the hidden table of a many-to-many field?"""
    return bool(model._meta.auto_created)


@lru_cache(maxsize=1)
def tables() -> Mapping[str, type[Model]]:
    """Tables whose rows are recorded, hidden ones of many-to-many fields included."""
    found: dict[str, type[Model]] = {}
    for model in apps.get_models(include_auto_created=True):
        owner = model._meta.auto_created or model
        if plan_of(owner) is not None:  # type: ignore[arg-type]  # a model: Django's own mark
            found[model._meta.db_table] = model
    return found


def forget() -> None:
    """Find everything anew: the settings have changed."""
    _plans.clear()
    tables.cache_clear()


def _forget(*, setting: str, **_: object) -> None:
    if setting in ("WHODID", "INSTALLED_APPS"):
        forget()


setting_changed.connect(_forget, dispatch_uid="whodid.fields")


def options_of(model: type[Model]) -> Options:
    """What a model says of itself."""
    plan = plan_of(model)
    return plan.options if plan is not None else _read_options(model)


def _read_options(model: type[Model]) -> Options:
    given = getattr(model, "Audit", None) or getattr(_present(model), "Audit", None)
    return Options(
        exclude=frozenset(getattr(given, "exclude", ())),
        sensitive=frozenset(getattr(given, "sensitive", ())),
        label=getattr(given, "label", None),
        parent=getattr(given, "parent", None),
    )


def _present(model: type[Model]) -> type[Model] | None:
    """What an old version of a model in a migration has become: that has the inner class."""
    try:
        return apps.get_model(model._meta.label)
    except LookupError:
        return None


def _make_plan(model: type[Model]) -> Plan:
    options = _read_options(model)
    concrete = _concrete_fields(model)
    names = tuple(each.name for each in concrete)
    keys = _key_names(model)
    return Plan(
        model=model,
        names=names,
        attnames=tuple(each.attname for each in concrete),
        writers=tuple(_writer(each, options, model) for each in concrete),
        recorded=tuple(
            place
            for place, each in enumerate(concrete)
            if each.name not in options.exclude and not _is_parent_link(each)
        ),
        pk=tuple(place for place, each in enumerate(concrete) if each.attname in keys),
        relations=tuple((each.name, each.attname) for each in concrete if each.is_relation),
        options=options,
        parent=names.index(options.parent) if options.parent in names else None,
        has_default_key=_has_default_key(model),
    )


def _has_default_key(model: type[Model]) -> bool:
    # As `Model._save_table` asks; NOT_PROVIDED is a class, and so are many defaults.
    default = getattr(model._meta.pk, "default", NOT_PROVIDED)
    return bool(default) and default is not NOT_PROVIDED


def _concrete_fields(model: type[Model]) -> list[Field[Any, Any]]:
    """Each name once: a child's key may have the name of its parent's."""
    found: dict[str, Field[Any, Any]] = {}
    for each in model._meta.concrete_fields:
        if each.column is not None:
            found[each.attname] = each
    return list(found.values())


def _key_names(model: type[Model]) -> frozenset[str]:
    """Attributes of the primary key; several when it is composite (Django 5.2)."""
    parts = getattr(model._meta, "pk_fields", None) or [model._meta.pk]
    return frozenset(part.attname for part in parts)


def _is_parent_link(each: Field[Any, Any]) -> bool:
    remote = getattr(each, "remote_field", None)
    return bool(getattr(remote, "parent_link", False))


def _writer(each: Field[Any, Any], options: Options, model: type[Model]) -> Callable[[Any], Json]:
    is_password = issubclass(model, AbstractBaseUser) and each.name == "password"
    names = get_settings().redaction.names
    if is_password or each.name in options.sensitive or is_secret_name(each.name, names=names):
        return _masked
    if each.name == "key" and _HOLDS_SECRETS.search(model.__name__):
        return _masked
    if isinstance(each, FileField):
        return lambda value: plain(str(value)) if value is not None else None
    if isinstance(each, BinaryField):
        return lambda value: plain(bytes(value)) if value is not None else None
    return plain


# Seeds of one-time passwords and the like are called `key`, as are many harmless things.
_HOLDS_SECRETS = re.compile(r"device|otp|mfa|token|secret|credential", re.IGNORECASE)


def _masked(value: Any) -> Json:
    # "Has no password" and "two factors on" are what an audit is for.
    return value if value is None or value is True or value is False or value == "" else MASK


def snapshot_of(instance: Model) -> dict[str, Json]:
    """The loaded fields of an instance, for `scope`; foreign keys by id, files by name."""
    concrete = instance._meta.concrete_model or type(instance)
    plan = plan_of(concrete) or _make_plan(concrete)
    known = instance.__dict__
    return {
        plan.names[place]: plan.writers[place](known[plan.attnames[place]])
        for place in plan.recorded
        if plan.attnames[place] in known
    }


# -- reading rows --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Read:
    """A statement that reads one row by its key, compiled once.

    Attributes:
        bare_sql: The same in SQLite's own words.
    """

    sql: str
    bare_sql: str
    compiler: Any  # Django's SQLCompiler
    converters: Any


def fetch(plan: Plan, key: Any, *, using: str) -> Row | None:
    """The row with this key as it is in the database now; locked there where that is possible."""
    if len(plan.pk) != 1:
        rows = fetch_many(plan, [key], using=using)
        return rows.get(key)
    connection = connections[using]
    locks = connection.features.has_select_for_update and connection.in_atomic_block
    read = plan.reads.get((using, locks))
    if read is None:
        read = plan.reads[using, locks] = _compile(plan, using=using, locks=locks)
    pk_field = plan.model._meta.pk
    value = pk_field.get_db_prep_value(pk_field.get_prep_value(key), connection, prepared=True)
    if connection.vendor == "sqlite":
        # Past Django's cursor, which costs more than the statement and counts it among the host's.
        connection.ensure_connection()
        with connection.wrap_database_errors:
            found = connection.connection.execute(read.bare_sql, (value,)).fetchone()
    else:
        with connection.cursor() as cursor:
            cursor.execute(read.sql, (value,))
            found = cursor.fetchone()
    if found is None:
        return None
    if read.converters:
        [found] = read.compiler.apply_converters([found], read.converters)
    return tuple(found)


def _compile(plan: Plan, *, using: str, locks: bool) -> _Read:
    rows = _rows(plan, using).filter(pk=_Placeholder.of(plan))
    if locks:
        rows = rows.select_for_update()
    query = rows.values_list(*plan.attnames).query
    compiler = query.get_compiler(using)
    sql, params = compiler.as_sql()
    if len(params) != 1:
        raise AssertionError(f"reading {plan.model._meta.label} takes {len(params)} parameters")
    converters = compiler.get_converters(expression for expression, *_ in compiler.select)
    return _Read(sql, sql.replace("%s", "?").replace("%%", "%"), compiler, converters)


class _Placeholder:
    """Some key of the right kind, to compile a statement with."""

    @staticmethod
    def of(plan: Plan) -> Any:
        pk: Any = plan.model._meta.pk
        while pk.is_relation:
            pk = pk.target_field
        kind = pk.get_internal_type()
        if kind == "UUIDField":
            return "00000000-0000-0000-0000-000000000000"
        if kind in ("DateField", "DateTimeField"):
            return "2000-01-01T00:00:00Z" if kind == "DateTimeField" else "2000-01-01"
        return "1"


def _rows(plan: Plan, using: str) -> QuerySet[Any]:
    # Not a manager of the model's: those leave rows out.
    return QuerySet(model=plan.model, using=using)


def fetch_many(plan: Plan, keys: Sequence[Any], *, using: str) -> dict[Any, Row]:
    """The rows with these keys, by key."""
    if len(keys) == 1 and len(plan.pk) == 1:
        row = fetch(plan, keys[0], using=using)
        return {keys[0]: row} if row is not None else {}
    found: dict[Any, Row] = {}
    for start in range(0, len(keys), FETCHED_AT_ONCE):
        part = list(keys[start : start + FETCHED_AT_ONCE])
        found |= keyed(plan, _rows(plan, using).filter(pk__in=part))
    return found


def keyed(plan: Plan, rows: QuerySet[Any]) -> dict[Any, Row]:
    """The rows that a query finds, by key."""
    listed = rows.order_by().values_list(*plan.attnames)
    return {plan.key(row): row for row in listed.iterator(chunk_size=FETCHED_AT_ONCE)}
