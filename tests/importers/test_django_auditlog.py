from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from msgspec import UNSET

from tests.importers.conftest import event_of
from tests.importers.samples import DJANGO_AUDITLOG
from whodid.event import Event
from whodid.importers import READERS, UnmappableError


def a_row(number: int = 0, **changes: Any) -> dict[str, Any]:
    return copy.deepcopy(DJANGO_AUDITLOG[number]) | changes


def of(record: dict[str, Any]) -> Event:
    return event_of("django-auditlog", record)


def test_a_row_becomes_an_event_with_all_its_parts() -> None:
    event = of(DJANGO_AUDITLOG[0])

    assert (event.action, event.outcome) == ("invoice.update", "success")
    assert str(event.occurred_at) == "2026-03-15T11:00:00.250000Z"
    assert (event.actor.type, event.actor.id) == ("user", "7")
    assert event.actor.email == "ana@harbour.example"
    (target,) = event.targets
    assert (target.type, target.id, target.name) == ("invoice", "2026-1184", "Invoice 2026-1184")
    assert event.changes[0].path == "due_date"
    assert (event.changes[0].old, event.changes[0].new) == ("2026-03-01", "2026-04-01")
    assert event.client
    assert (event.client.ip, event.client.port) == ("203.0.113.9", 51822)
    assert event.request
    assert event.request.id == "req-1"
    assert event.source
    assert (event.source.app, event.source.component) == ("django-auditlog", "shop")
    assert event.metadata == {
        "source_action": "shop.invoice:update",
        "log_entry": "901",
        "additional.ticket": "H-12",
    }


def test_a_row_of_dumpdata_is_read_as_well() -> None:
    event = of(DJANGO_AUDITLOG[1])

    assert (event.action, event.targets[0].type, event.targets[0].id) == (
        "user.create",
        "user",
        "9",
    )
    assert (event.actor.id, event.actor.name) == ("ana", "ana")
    assert [(change.path, change.op, change.old, change.new) for change in event.changes] == [
        ("username", UNSET, None, "bo"),
        ("groups", "add", UNSET, ["Crane"]),
    ]
    assert (event.metadata or {})["omitted"] == 1


@pytest.mark.parametrize(
    ("number", "verb"),
    [(0, "create"), (1, "update"), (2, "delete"), (3, "access"), ("1", "update")],
)
def test_the_number_is_the_verb(number: object, verb: str) -> None:
    assert of(a_row(action=number)).action == f"invoice.{verb}"


@pytest.mark.parametrize("number", [4, -1, "x", None, 1.5, True])
def test_a_number_that_is_no_verb_is_unmappable(number: object) -> None:
    with pytest.raises(UnmappableError, match="action: expected 0"):
        READERS["django-auditlog"].read(a_row(action=number))


@pytest.mark.parametrize(
    ("given", "action", "app"),
    [
        ("shop.invoice", "invoice.update", "shop"),
        ("shop | invoice", "invoice.update", "shop"),
        ("invoice", "invoice.update", None),
        (["shop", "invoice"], "invoice.update", "shop"),
        ({"app_label": "shop", "model": "lineitem"}, "lineitem.update", "shop"),
        ("shop.audit", "django_audit.update", "shop"),
        (12, "object.update", None),
        (None, "object.update", None),
    ],
)
def test_the_content_type_is_read_in_every_spelling(
    given: object, action: str, app: str | None
) -> None:
    event = of(a_row(content_type=given))

    assert event.action == action
    assert event.source
    assert (event.source.component or None) == app


@pytest.mark.parametrize(
    ("changes", "kind", "own_id"),
    [
        ({"actor": {"id": 7, "username": "ana"}}, "user", "7"),
        ({"actor": "ana"}, "user", "ana"),
        ({"actor": None, "actor_id": 8}, "user", "8"),
        ({"actor": None}, "user", "ana@harbour.example"),
        ({"actor": None, "actor_email": None}, "anonymous", UNSET),
        ({"actor": None, "actor_email": None, "remote_addr": None}, "system", UNSET),
    ],
)
def test_the_actor_is_who_the_row_names(changes: dict[str, Any], kind: str, own_id: object) -> None:
    actor = of(a_row(**changes)).actor

    assert (actor.type, actor.id) == (kind, own_id)


def test_changes_may_be_a_string_of_json() -> None:
    as_text = of(a_row(changes=json.dumps(DJANGO_AUDITLOG[0]["changes"])))

    assert as_text.changes == of(DJANGO_AUDITLOG[0]).changes


@pytest.mark.parametrize("given", ["{broken", 7, ["a"], "[" * 100_000])
def test_changes_that_cannot_be_read_are_counted(given: object) -> None:
    event = of(a_row(changes=given))

    assert event.changes == ()
    assert (event.metadata or {})["omitted"] == 1


def test_what_was_taken_out_of_a_relation_is_removed() -> None:
    given = {"groups": {"type": "m2m", "operation": "delete", "objects": ["Crane"]}}

    (change,) = of(a_row(changes=given)).changes

    assert (change.op, change.old, change.new) == ("remove", ["Crane"], UNSET)


def test_what_is_no_row_is_unmappable() -> None:
    with pytest.raises(UnmappableError, match="no object_pk"):
        READERS["django-auditlog"].read({"action": 1})
