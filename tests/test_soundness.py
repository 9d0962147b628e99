from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from whodid import soundness
from whodid.errors import EventError
from whodid.event import (
    Actor,
    Attachment,
    Change,
    Client,
    Delegation,
    ErrorDetail,
    Event,
    Principal,
    Reason,
    Request,
    ScopeNode,
    Source,
    Target,
    Tenant,
    Trace,
    checked,
)
from whodid.ids import uuid7
from whodid.soundness import sound


def made(part: Any, /, **fields: Any) -> Any:
    """A part with values that a type checker would refuse."""
    return part(**fields)


LONG = "x" * 257
ANA = Actor(type="user", id="7", name="Ana", roles=("clerk",))
LEA = Principal(type="user", id="8")
# What is wrong here is right there: an action is no type, a path may be neither.
WORDS = ("invoice.send", "invoice", "status", "Two Words", "", LONG, 7)
ODD_TARGETS: list[dict[str, Any]] = [
    *({"type": word} for word in WORDS),
    *({name: text} for name in ("id", "name", "version", "url") for text in (LONG, "", 7, None)),
    *({"role": role} for role in ("parent", "uncle", None)),
    {"attributes": {str(number): 1 for number in range(33)}},
]
ODD_CHANGES: list[dict[str, Any]] = [
    *({"path": word} for word in WORDS),
    *({"op": op} for op in ("add", "swap")),
    *({"target": target} for target in (1, -1, "0", 0.5, True)),
    *({"label": label} for label in ("Status", LONG)),
    *({"redacted": mark} for mark in ("masked", "hidden")),
    *({side: value} for side in ("old", "new") for value in (UNSET, None, 1, [1], {"a": "b"})),
]
ODD_EVENTS: list[dict[str, Any]] = [
    {},
    *({"action": word} for word in WORDS),
    *({"id": id_} for id_ in (UNSET, "42", uuid7().upper(), uuid7() + "0", 7)),
    *({"correlation_id": text} for text in (UNSET, "c", LONG, 7)),
    *({"count": count} for count in (2, 0, -1, True, 1.0, "1")),
    *({"schema": schema} for schema in (2, "1", True)),
    *({"actor": actor} for actor in (
        Actor(type="unknown"), Actor(type="user", id=LONG),
        made(Actor, type="user", id="7", name=7), made(Actor, type="nobody", id="7"), None, "ana",
    )),
    *({"on_behalf_of": each} for each in (LEA, Principal(type="user", id=LONG))),
    *({"client": client} for client in (Client(ip="192.0.2.1"), Client(user_agent="x" * 1_025))),
    *({"request": request} for request in (Request(id="r1"), Request(status=99))),
    *({"tenant": tenant} for tenant in (Tenant(id="acme"), Tenant(id=LONG))),
    *({"source": source} for source in (Source(app="shop"), Source(app=LONG))),
    *({"trace": trace} for trace in (Trace(trace_id="a" * 32), Trace(trace_id="0" * 32))),
    *({name: word} for name in ("category", "operation", "severity", "outcome")
      for word in ("data", "update", "high", "denied", "odd")),
    *({"idempotency_key": key} for key in ("k", "", "x" * 129)),
    *({"message": text} for text in ("m", "x" * 5_000)),
    *({"reason": reason} for reason in (Reason(code="no"), Reason(code="Not A Code"))),
    *({"error": error} for error in (ErrorDetail(type="E"), ErrorDetail(type=LONG))),
    *({"delegation": each} for each in (Delegation(kind="sudo"), made(Delegation, kind="magic"))),
    *({"via": (Principal(type="user", id="7"),) * count} for count in (1, 9)),
    *({"scope": (each,)} for each in (ScopeNode(id="a"), ScopeNode(id=LONG))),
    *({"tags": tags} for tags in (("gdpr",), ("Not A Tag",))),
    *({"data_classes": names} for names in (("pii",), ("x" * 33,))),
    *({"metadata": metadata} for metadata in ({"a": 1}, {str(n): 1 for n in range(101)})),
    {"window": "today"},
    {"on_behalf_of": ANA},  # right as an actor alone
    {"attachments": (Attachment(name="a", sha256="not hex"),)},
    {"targets": (Target(type="invoice", id="1"),) * 51},
    {"changes": (Change(path="status", old=1, new=2),) * 501},
    *({"targets": (odd,)} for odd in (None, "x")),
]  # fmt: skip


def an_event(**fields: Any) -> Event:
    values: dict[str, Any] = {
        "id": uuid7(),
        "action": "invoice.send",
        "actor": ANA,
        "targets": (Target(type="invoice", id="1", name="2026-1"),),
        "changes": (Change(path="status", old="draft", new="sent"),),
    }
    return Event(**{**values, **fields})


def a_target(**fields: Any) -> Target:
    return Target(**{"type": "invoice", "id": "1", "name": "2026-1", **fields})


def a_change(**fields: Any) -> Change:
    return Change(**{"path": "status", "old": "draft", "new": "sent", **fields})


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    _forget()
    yield
    _forget()


def _forget() -> None:
    for kept in (
        *soundness._parts.values(),
        soundness._actions,
        soundness._types,
        soundness._paths,
    ):
        kept.clear()  # type: ignore[attr-defined]  # dicts and sets have it


def refusal_of(event: Event) -> str | None:
    try:
        checked(event)
    except EventError as error:
        return str(error)
    return None


def sound_refusal_of(event: Event) -> str | None:
    try:
        assert sound(event) == event
    except EventError as error:
        return str(error)
    return None


ODD: list[dict[str, Any]] = [
    *ODD_EVENTS,
    *({"targets": (a_target(**odd),)} for odd in ODD_TARGETS),
    *({"targets": (a_target(), a_target(**odd))} for odd in ODD_TARGETS),
    *({"changes": (a_change(**odd),)} for odd in ODD_CHANGES),
    *({"changes": (a_change(), a_change(**odd))} for odd in ODD_CHANGES),
]


@pytest.mark.parametrize("odd", ODD, ids=[str(number) for number in range(len(ODD))])
def test_nothing_passes_that_the_schema_refuses_beside_what_was_seen(odd: dict[str, Any]) -> None:
    sound(an_event())
    event = an_event(**odd)

    assert sound_refusal_of(event) == refusal_of(event)
    assert sound_refusal_of(event) == refusal_of(event)  # nor a second time


@given(st.lists(st.sampled_from(ODD), min_size=2, max_size=8))
def test_nor_after_any_others(odd: list[dict[str, Any]]) -> None:
    for fields in odd:
        event = an_event(**fields)
        assert sound_refusal_of(event) == refusal_of(event)


def test_an_event_of_parts_that_were_seen_is_given_back_as_it_is() -> None:
    sound(an_event())
    event = an_event(changes=(Change(path="status", old="sent", new="paid"),))

    assert sound(event) is event


def test_a_part_that_only_equals_one_that_was_seen_is_looked_at() -> None:
    sound(an_event())
    event = an_event(actor=msgspec.structs.replace(ANA))

    assert not soundness._is_known(event)
    assert sound(event) == event


def test_what_is_remembered_has_a_limit() -> None:
    for number in range(soundness.MAX_REMEMBERED + 10):
        sound(an_event(changes=(Change(path=f"field_{number}", old=1, new=2),)))

    assert len(soundness._paths) < soundness.MAX_REMEMBERED
    assert sound(an_event()).action == "invoice.send"
