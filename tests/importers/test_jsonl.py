from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given

from tests.strategies import stored_events
from whodid import canonical
from whodid.actions import defaults
from whodid.errors import EventError
from whodid.event import StoredEvent
from whodid.importers import READERS, UnmappableError, decode_record

READ = READERS["jsonl"].read


def a_record(**values: Any) -> dict[str, Any]:
    return {"action": "invoice.update", "actor": {"type": "user", "id": "7"}} | values


@given(stored_events())
def test_what_an_export_writes_is_the_event_again(stored: StoredEvent) -> None:
    if stored.gone:
        return
    event = stored.event
    encoded = canonical.encode(event, defaults=defaults(event.action))
    stamp = canonical.stamp_bytes(
        event_id=stored.id, received_at=stored.received_at, tenant=stored.tenant_id
    )
    body = canonical.body_bytes(encoded.core, stamp, encoded.units)
    exported = canonical.api_form(canonical.restore(body, index=3, position=9))

    again = READ(decode_record(exported))

    imported = canonical.encode(again, defaults=defaults(again.action))
    assert imported.units == encoded.units
    assert again.id == stored.id
    assert again.occurred_at == stored.occurred_at


def test_an_event_without_id_gets_the_same_one_each_time() -> None:
    one, two = READ(a_record(message="a")), READ(a_record(message="a"))

    assert one.id
    assert one.id == two.id
    assert READ(a_record(message="b")).id != one.id


def test_white_space_and_the_order_of_keys_make_no_other_id() -> None:
    one = READ(decode_record(b'{"action":"a.b","actor":{"type":"system"}}'))
    two = READ(decode_record(b'{"actor" : {"type": "system"}, "action": "a.b"}'))

    assert one.id == two.id


def test_an_event_with_an_idempotency_key_needs_no_id() -> None:
    assert READ(a_record(idempotency_key="k")).id is msgspec.UNSET


def test_an_unknown_key_is_refused_with_its_path() -> None:
    with pytest.raises(EventError, match=r"\$\.wat: unknown key"):
        READ(a_record(wat=1))


@pytest.mark.parametrize(
    "erased",
    [
        {"erased": ["/client"]},
        {"targets": [{"type": "invoice", "id": "1"}, {"erased": True}]},
        {"changes": [{"erased": True}]},
    ],
)
def test_an_event_after_erasure_is_no_event_to_import(erased: dict[str, Any]) -> None:
    with pytest.raises(UnmappableError, match="erased"):
        READ(a_record(**erased))


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "no JSON"),
        (b'{"a":', "it ends too early"),
        (b"{'a': 1}", "no JSON"),
        (b'{"a":"\\ud800"}', "no JSON"),
        (b'"\xff"', "no JSON"),
        (b"[1]", "expected a JSON object, got a list"),
        (b"3", "got a number"),
        (b"null", "got null"),
        (b"true", "got a truth value"),
        (b'"x"', "got a string"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_object_is_refused_with_the_reason(raw: bytes, reason: str) -> None:
    with pytest.raises(UnmappableError, match=reason):
        decode_record(raw)
