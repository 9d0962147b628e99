"""An application's own objects become actors, targets and snapshots."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
from msgspec import UNSET
from pydantic import BaseModel

from whodid.describe import actor_of, kind_of, message_of, snapshot_of, target_of
from whodid.event import Actor, Target


class SalesInvoice:
    def __init__(self, id_: int) -> None:
        self.id, self.total, self._hidden = id_, 12, "x"

    def __str__(self) -> str:
        return f"Invoice {self.id}"


class Slotted:
    __slots__ = ("name",)

    def __init__(self) -> None:
        self.name = "slotted"


class Odd:
    @property
    def id(self) -> int:
        raise RuntimeError("detached")

    def __str__(self) -> str:
        raise RuntimeError("no text")


class Robots:
    """Knows robots."""

    def actor(self, value: object) -> Actor | None:
        return Actor(type="service_account", id="r2") if value == "robot" else None

    def target(self, value: object) -> Target | None:
        return Target(type="robot", id="r2") if value == "robot" else None

    def snapshot(self, value: object) -> Mapping[str, Any] | None:
        return {"arms": 2} if value == "robot" else None


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Invoice", "invoice"), ("SalesInvoice", "sales_invoice"), ("HTTPRequest", "http_request"),
        ("shop.Invoice", "shop.invoice"), ("Žaba", "aba"), ("_", "object"), ("9Lives", "object"),
    ],
)  # fmt: skip
def test_a_class_names_the_type_of_its_objects(name: str, kind: str) -> None:
    assert kind_of(name) == kind


@pytest.mark.parametrize(
    ("given", "target"),
    [
        (Target(type="invoice", id="1"), Target(type="invoice", id="1")),
        ("invoice:42", Target(type="invoice", id="42")),
        ("settings", Target(type="settings")),
        (("invoice", 42), Target(type="invoice", id="42")),
        (("invoice", 42, "No. 42"), Target(type="invoice", id="42", name="No. 42")),
        ({"type": "invoice", "id": 42}, Target(type="invoice", id="42")),
        (SalesInvoice(7), Target(type="sales_invoice", id="7", name="Invoice 7")),
        (Odd(), Target(type="odd", name="[Odd without text]")),
        ("robot", Target(type="robot", id="r2")),
    ],
)
def test_a_target_may_be_given_in_several_forms(given: object, target: Target) -> None:
    assert target_of(given, [Robots()]) == target


@pytest.mark.parametrize(
    ("given", "actor"),
    [
        ("user:7", Actor(type="user", id="7")),
        ("system", Actor(type="system")),
        ({"type": "user", "id": 7, "name": "Ana", "email": None},
         Actor(type="user", id="7", name="Ana")),
        (SalesInvoice(7), Actor(type="user", id="7", name="Invoice 7")),
        ("robot", Actor(type="service_account", id="r2")),
    ],
)  # fmt: skip
def test_an_actor_may_be_given_in_several_forms(given: object, actor: Actor) -> None:
    assert actor_of(given, [Robots()]) == actor


def test_a_snapshot_holds_the_public_attributes_as_json() -> None:
    assert snapshot_of(SalesInvoice(7)) == {"id": 7, "total": 12}
    assert snapshot_of(Slotted()) == {"name": "slotted"}
    assert snapshot_of({"a": b"12"}) == {"a": "[2 bytes]"}
    assert snapshot_of("robot", [Robots()]) == {"arms": 2}
    assert snapshot_of("invoice:42") is None


def test_long_ids_and_names_are_cut() -> None:
    target = target_of(("invoice", "x" * 1_000, "y" * 1_000))

    assert target.id is not UNSET
    assert target.name is not UNSET
    assert (len(target.id), len(target.name)) == (256, 200)


@dataclasses.dataclass
class Account:
    id: int
    pet: str


class Profile(BaseModel):
    id: int
    pet: str


class Titled(BaseModel):
    id: int
    title: str

    def __str__(self) -> str:
        return self.title


class Bare:
    id = 7


@pytest.mark.parametrize("given", [Account(7, "hunter2"), Profile(id=7, pet="hunter2"), Bare()])
def test_what_shows_a_programmer_all_fields_is_no_name(given: object) -> None:
    assert (target_of(given).id, target_of(given).name) == ("7", UNSET)
    assert (actor_of(given).id, actor_of(given).name) == ("7", UNSET)


def test_a_text_of_its_own_is_a_name() -> None:
    assert target_of(Titled(id=7, title="Invoice 7")).name == "Invoice 7"


def test_the_row_that_postgresql_quotes_is_not_in_a_message() -> None:
    error = ValueError(
        'null value in column "name"\nDETAIL:  Failing row contains (7, null, pbkdf2_sha256$1$x).'
    )

    assert message_of(error, limit=200) == 'null value in column "name"'
