"""Rows of django-auditlog's table `auditlog_logentry` as events.

Read are rows as `values()` gives them, and those of `dumpdata auditlog`, best with
`--natural-foreign`, which names content types instead of numbering them. `shop.invoice` becomes
`invoice.update`; the app is in `source.component`. Decisions:

- A row without an actor is `anonymous` when it has an address, since then somebody made the
  request; otherwise `system`: a command, a task or a shell.
- auditlog writes "None" where there was no value; it is read as null, whatever it meant.
- A row has no id that is its own everywhere: ids are derived from all that it says.
- `serialized_data` is the whole object; it is left out, and counted in `metadata.omitted`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from whodid.event import Event, from_mapping
from whodid.importers.base import Reader, UnmappableError
from whodid.importers.values import (
    MAX_SHORT,
    Values,
    a_target,
    action_name,
    email,
    event_id,
    first_time,
    fold,
    inner,
    ip,
    is_plain,
    is_short,
    keep_short,
    kind_name,
    present,
    text,
    whole,
)

_VERBS = ("create", "update", "delete", "access")
_MODEL = "auditlog.logentry"
_MAX_CHANGES = 200
_MAX_CHANGES_CHARACTERS = 1_000_000


def read(record: Mapping[str, Any]) -> Event:
    """The event of one row.

    Raises:
        UnmappableError: It is no row of auditlog's, its action or its time can't be read.
        EventError: It holds what the schema does not allow, e.g. an oversized number.
    """
    row = _row(record)
    if not recognises(record):
        raise UnmappableError("no object_pk and action: is this a row of auditlog_logentry?")
    number = whole(row.get("action"), at_most=len(_VERBS) - 1)
    if number is None:
        raise UnmappableError("action: expected 0 create, 1 update, 2 delete or 3 access")
    app, model = _content_type(row)
    verb, noun = _VERBS[number], fold(model) if model else "object"
    changes, omitted = _changes(row.get("changes"))
    values: Values = {
        "id": event_id(None, record, form="django-auditlog"),
        "occurred_at": first_time(row, "timestamp", "@timestamp"),
        "action": action_name(f"{noun}.{verb}", "django"),
        "outcome": "success",
        "actor": _actor(row),
        "targets": [_target(row, noun)],
        "changes": changes,
        "source": present(app="django-auditlog", component=app),
        "client": present(
            ip=ip(text(row.get("remote_addr"))), port=whole(row.get("remote_port"), at_most=65_535)
        ),
        "request": present(id=text(row.get("cid"))),
        "metadata": _metadata(row, app=app, model=model, verb=verb, omitted=omitted),
    }
    return from_mapping(present(**values))


def _row(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """The columns; `dumpdata` has them one level deeper."""
    fields = record.get("fields")
    return fields if record.get("model") == _MODEL and isinstance(fields, dict) else record


def _content_type(row: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """App and model, as far as the row names them."""
    given = row.get("content_type")
    app, model = row.get("content_type__app_label"), row.get("content_type__model")
    if isinstance(given, dict):
        app, model = given.get("app_label"), given.get("model") or given.get("name")
    elif isinstance(given, list) and len(given) == 2:
        app, model = given
    elif isinstance(given, str) and given.strip():
        # "shop.invoice", and "shop | invoice" as Django prints it
        before, _, after = given.replace("|", ".").rpartition(".")
        app, model = before.strip(), after.strip()
    return text(app, 100), text(model, 100)


def _actor(row: Mapping[str, Any]) -> Values:
    given = row.get("actor")
    person = inner(given)
    natural = given[0] if isinstance(given, list) and given else None
    name = next(
        filter(None, (
            text(person.get("username")), text(natural), text(row.get("actor__username")),
            text(given) if isinstance(given, str) and not given.isdigit() else None,
        )),
        None,
    )  # fmt: skip
    address = next(
        filter(None, (email(text(row.get("actor_email"))), email(text(person.get("email"))))), None
    )
    own_id = next(
        filter(None, (
            text(row.get("actor_id")), text(person.get("id")), text(person.get("pk")),
            text(given) if not isinstance(given, list) else None, name, address,
        )),
        None,
    )  # fmt: skip
    if own_id is None:
        return {"type": "anonymous" if text(row.get("remote_addr")) else "system"}
    return present(type="user", id=own_id, name=name, email=address)


def _target(row: Mapping[str, Any], noun: str) -> Values:
    kind = kind_name(noun, "object")
    own_id = text(row.get("object_pk"), MAX_SHORT * 8) or text(row.get("object_id"))
    name = text(row.get("object_repr"))
    return a_target(kind, own_id, name) if own_id else present(type=kind, name=name)


# -- changes -------------------------------------------------------------------------------------


def _changes(given: object) -> tuple[list[Values], int]:
    """The changes, and how many were left out."""
    if isinstance(given, str):
        try:
            given = json.loads(given) if len(given) <= _MAX_CHANGES_CHARACTERS else given
        except (ValueError, RecursionError):
            return [], 1
    if not isinstance(given, dict):
        return [], 0 if given in (None, "", []) else 1
    found = [*_each_change(given)]
    return found[:_MAX_CHANGES], len(given) - len(found[:_MAX_CHANGES])


def _each_change(given: Mapping[Any, Any]) -> Iterator[Values]:
    for field, value in given.items():
        if not isinstance(field, str) or not 0 < len(field) <= MAX_SHORT:
            continue
        if isinstance(value, list) and len(value) == 2:
            old, new = map(_value, value)
            if _is_kept(old) and _is_kept(new):
                yield {"path": field, "old": old, "new": new}
        elif isinstance(value, dict) and isinstance(value.get("objects"), list):
            # Many to many: what was put in, or taken out.
            is_added = value.get("operation") != "delete"
            side, op = ("new", "add") if is_added else ("old", "remove")
            if is_short(value["objects"]):
                yield {"path": field, "op": op, side: value["objects"]}


def _value(value: object) -> object:
    return None if value == "None" else value


def _is_kept(value: object) -> bool:
    return value is None or is_short(value) or isinstance(value, dict) and is_plain(value)


def _metadata(
    row: Mapping[str, Any], *, app: str | None, model: str | None, verb: str, omitted: int
) -> Values:
    """What our schema has no key for, when it is short; the rest is counted."""
    name = ".".join(filter(None, (app, model))) or text(row.get("content_type_id"))
    name = name or text(row.get("content_type")) or "object"
    address = text(row.get("remote_addr"))
    kept: Values = present(
        source_action=f"{name}:{verb}",
        log_entry=text(row.get("id")),
        source_address=None if ip(address) else address,
    )
    omitted += keep_short(kept, inner(row.get("additional_data")), prefix="additional", values=30)
    omitted += 1 if row.get("serialized_data") else 0
    return kept | ({"omitted": omitted} if omitted else {})


def recognises(record: Mapping[str, Any]) -> bool:
    """Is this a row of auditlog's? It has `object_pk` and a content type."""
    if record.get("model") == _MODEL:
        return isinstance(record.get("fields"), dict)
    has_type = any(isinstance(key, str) and key.startswith("content_type") for key in record)
    return "object_pk" in record and "action" in record and has_type


DJANGO_AUDITLOG = Reader(
    name="django-auditlog",
    description="Rows of django-auditlog: dumpdata, a list or JSON lines",
    read=read,
    recognises=recognises,
    is_dated=True,
)
