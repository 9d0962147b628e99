"""The canonical form: vectors, laws, and that no changed byte goes unseen."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from tests import format_reference as reference
from tests.schema_documents import documents
from tests.strategies import events
from whodid import actions, canonical
from whodid.canonical import CORE_KEYS, Encoded, encode, recompute_entry
from whodid.errors import EventError, LedgerError
from whodid.event import Actor, Change, Event, Source, Target, Tenant, decode
from whodid.ledger.merkle import leaf_hash
from whodid.times import Instant

DOCUMENT = json.loads(reference.VECTORS.read_bytes())
VECTORS = [pytest.param(vector, id=vector["name"]) for vector in DOCUMENT["vectors"]]
ERASED = [
    pytest.param(vector, id=vector["name"]) for vector in DOCUMENT["vectors"] if "erase" in vector
]
REFUSED = [pytest.param(case, id=case["name"]) for case in DOCUMENT["refused"]]

ACTOR = Actor(type="user", id="7", name="Bob")
DEFAULTS = {"category": "system", "operation": "other", "severity": "info"}
ID = "0199d3a0-7b00-7000-8000-000000000001"
RECEIVED = Instant.parse("2026-03-15T11:00:00.731042Z")

seeds = st.binary(min_size=16, max_size=16)
any_event = st.one_of(events(), documents().map(lambda given: decode(json.dumps(given).encode())))


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What a store keeps of one event."""

    encoded: Encoded
    body: bytes
    secret: bytes
    entry: bytes
    gone: bytes | None = None


def keep(event: Event, *, seed: bytes = bytes(16), writer: str | None = None) -> Kept:
    encoded = encode(event, defaults=actions.defaults(event.action))
    stamp = canonical.stamp_bytes(
        event_id=event.id or ID,
        received_at=RECEIVED,
        tenant=canonical.tenant_of(event),
        writer=writer,
    )
    return Kept(
        encoded=encoded,
        body=canonical.body_bytes(encoded.core, stamp, encoded.units),
        secret=seed,
        entry=canonical.commit(encoded.core, stamp, encoded.units, seed=seed),
    )


def erase(kept: Kept, *paths: str) -> Kept:
    body, secret, gone = canonical.erase_units(
        kept.body, secret=kept.secret, gone=kept.gone, paths=paths
    )
    return Kept(encoded=kept.encoded, body=body, secret=secret, entry=kept.entry, gone=gone)


def entry_of(kept: Kept) -> bytes:
    return recompute_entry(kept.body, secret=kept.secret, gone=kept.gone)


def paths(kept: Kept) -> list[str]:
    return [path for path, _ in kept.encoded.units]


# Vectors


def test_there_are_vectors_enough() -> None:
    assert len(VECTORS) >= 21
    assert len({vector["seed"] for vector in DOCUMENT["vectors"]}) == len(VECTORS)


def test_the_worked_example_of_the_specification_is_the_first_vector() -> None:
    text = (reference.VECTORS.parents[2] / "docs" / "spec" / "format.md").read_text()
    example = DOCUMENT["vectors"][0]

    assert example["entry"] == "d7827e8aa910eee54fd0e289e2dc7267c0f1464748b567a485b54668bd4b1fae"
    for name in ("seed", "core", "entry", "leaf"):
        assert re.search(rf"^{name} +{re.escape(example[name])}$", text, re.MULTILINE)
    for path, value in example["units"].items():
        assert re.search(rf"^{path} +{re.escape(value)}$", text, re.MULTILINE)
        salt = reference.salt(bytes.fromhex(example["seed"]), path)
        digest = reference.digest(path, value, salt)
        assert re.search(rf"^{path} +salt {salt.hex()}  digest {digest.hex()}$", text, re.MULTILINE)


@pytest.mark.parametrize("vector", VECTORS)
def test_the_reference_computes_the_vectors(vector: dict[str, Any]) -> None:
    assert reference.computed(vector) == vector


@pytest.mark.parametrize("vector", VECTORS)
def test_whodid_computes_the_vectors(vector: dict[str, Any]) -> None:
    seed = bytes.fromhex(vector["seed"])
    stamp = {"event_id": vector["stamp"]["id"], "writer": None, **vector["stamp"]}
    del stamp["id"]
    stamp["received_at"] = Instant.parse(stamp["received_at"])

    encoded = encode(decode(vector["event"].encode()), defaults=vector["defaults"])
    stamped = canonical.stamp_bytes(**stamp)
    entry = canonical.commit(encoded.core, stamped, encoded.units, seed=seed)

    assert encoded.core.decode() == vector["core"]
    assert [(path, value.decode()) for path, value in encoded.units] == [*vector["units"].items()]
    assert stamped.decode() == vector["stamp_bytes"]
    assert entry.hex() == vector["entry"]
    assert leaf_hash(entry).hex() == vector["leaf"]
    body = canonical.body_bytes(encoded.core, stamped, encoded.units)
    assert body.decode() == vector["body"]
    assert recompute_entry(body, secret=seed, gone=None) == entry


@pytest.mark.parametrize("vector", ERASED)
def test_whodid_erases_as_the_vectors_do(vector: dict[str, Any]) -> None:
    body, secret, gone = canonical.erase_units(
        vector["body"].encode(),
        secret=bytes.fromhex(vector["seed"]),
        gone=None,
        paths=vector["erase"],
    )

    expected = vector["erased"]
    assert body.decode() == expected["body"]
    assert gone.decode() == expected["gone"]
    assert secret.hex() == expected["secret"]
    assert recompute_entry(body, secret=secret, gone=gone).hex() == vector["entry"]


@pytest.mark.parametrize("vector", VECTORS)
def test_an_event_read_back_from_a_vector_encodes_to_the_same_core_and_units(
    vector: dict[str, Any],
) -> None:
    stored = canonical.restore(vector["body"].encode(), index=0, position=0)
    again = encode(stored.event, defaults=DEFAULTS)

    assert again.core.decode() == vector["core"]
    assert {path: value.decode() for path, value in again.units} == vector["units"]


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_specification_refuses_is_refused_with_its_path(case: dict[str, str]) -> None:
    with pytest.raises(EventError) as caught:
        decode(case["event"].encode())

    assert caught.value.path == case["path"]


# Laws


@given(any_event, seeds)
def test_whodid_and_the_reference_agree_on_every_event(event: Event, seed: bytes) -> None:
    kept = keep(event, seed=seed, writer="key:k_1")
    wire = msgspec.json.encode(event, enc_hook=str).decode()
    result = reference.computed(
        {
            "name": "",
            "event": wire,
            "defaults": dict(actions.defaults(event.action)),
            "stamp": {
                "id": event.id or ID,
                "received_at": str(RECEIVED),
                "tenant": canonical.tenant_of(event),
                "writer": "key:k_1",
            },
            "seed": seed.hex(),
        }
    )

    assert kept.body.decode() == result["body"]
    assert kept.entry.hex() == result["entry"]


@given(any_event)
def test_an_event_comes_back_as_it_was_with_what_was_filled_in(event: Event) -> None:
    stored = canonical.restore(keep(event).body, index=5, position=9)

    filled = actions.defaults(event.action)
    tenant = event.tenant or Tenant(id="default")
    expected = msgspec.structs.replace(
        event,
        id=event.id or ID,
        tenant=tenant,
        idempotency_key=UNSET,
        category=event.category or filled["category"],
        operation=event.operation or filled["operation"],
        severity=event.severity or filled["severity"],
        outcome=event.outcome or "success",
    )
    assert stored.event == expected
    assert (stored.index, stored.position, stored.received_at) == (5, 9, RECEIVED)
    assert (stored.gone, stored.writer) == ((), None)


@given(any_event)
def test_the_api_form_is_the_event_and_what_the_store_added(event: Event) -> None:
    stored = canonical.restore(keep(event).body, index=5, position=9)

    form = json.loads(canonical.api_form(stored))

    assert (form.pop("index"), form.pop("received_at")) == (5, str(RECEIVED))
    assert decode(json.dumps(form).encode()) == stored.event


@given(any_event)
def test_core_and_stamp_are_the_bytes_of_rfc_8785(event: Event) -> None:
    body = canonical.open_body(keep(event, writer="key:k_1").body)

    for part in (body.core, body.stamp):
        assert rfc8785.dumps(json.loads(part)) == part


@given(any_event)
def test_units_without_floats_and_far_keys_are_the_bytes_of_rfc_8785(event: Event) -> None:
    for _, value in keep(event).encoded.units:
        parsed = json.loads(value)
        if not has_float_or_far_key(parsed):
            assert rfc8785.dumps(parsed) == value


def has_float_or_far_key(value: Any) -> bool:
    if isinstance(value, dict):
        return any(
            key > "\uffff" or any(c > "\uffff" for c in key) or has_float_or_far_key(item)
            for key, item in value.items()
        )
    if isinstance(value, list):
        return any(has_float_or_far_key(item) for item in value)
    return isinstance(value, float)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_are_written_as_the_specification_says(value: float) -> None:
    assert msgspec.json.encode(value).decode() == reference.float_text(value)
    assert json.loads(reference.float_text(value)) == value


@given(any_event, seeds)
def test_the_entry_is_recomputed_from_what_is_stored(event: Event, seed: bytes) -> None:
    kept = keep(event, seed=seed)

    assert entry_of(kept) == kept.entry


@given(any_event)
def test_core_holds_core_keys_alone_and_units_all_others(event: Event) -> None:
    encoded = keep(event).encoded
    core = json.loads(encoded.core)

    assert set(core) <= set(CORE_KEYS)
    assert {"schema", "category", "operation", "severity", "outcome"} <= set(core)
    assert encoded.sent <= set(core)
    assert {key: core[key] for key in ("category", "operation", "severity", "outcome")} == {
        "category": encoded.labels.category,
        "operation": encoded.labels.operation,
        "severity": encoded.labels.severity,
        "outcome": encoded.labels.outcome,
    }
    heads = {path.split("/")[1] for path, _ in encoded.units}
    assert not heads & (set(CORE_KEYS) | {"id", "idempotency_key"})
    ordered = [path.encode() for path, _ in encoded.units]
    assert ordered == sorted(set(ordered))


@given(any_event, st.data())
def test_another_seed_stamp_core_or_unit_makes_another_entry(
    event: Event, data: st.DataObject
) -> None:
    kept = keep(event, seed=bytes(16))
    body = canonical.open_body(kept.body)
    core, stamp, units = body.core, body.stamp, list(body.units.items())
    number = data.draw(st.integers(0, len(units) - 1))
    path, value = units[number]

    others = [
        canonical.commit(core, stamp, units, seed=b"\1" + bytes(15)),
        canonical.commit(core + b" ", stamp, units, seed=bytes(16)),
        canonical.commit(core, stamp + b" ", units, seed=bytes(16)),
        canonical.commit(core, stamp, units[:number] + units[number + 1 :], seed=bytes(16)),
        canonical.commit(
            core,
            stamp,
            [*units[:number], (path, value + b" "), *units[number + 1 :]],
            seed=bytes(16),
        ),
    ]

    assert kept.entry not in others
    assert len(set(others)) == len(others)


# Erasure


@given(any_event, seeds, st.data())
def test_erased_in_any_order_the_bytes_are_the_same_and_the_entry_stays(
    event: Event, seed: bytes, data: st.DataObject
) -> None:
    kept = keep(event, seed=seed)
    wanted = data.draw(st.lists(st.sampled_from(paths(kept)), min_size=1, unique=True))

    at_once = erase(kept, *wanted)
    step_by_step = kept
    for path in data.draw(st.permutations(wanted)):
        step_by_step = erase(step_by_step, path)

    assert step_by_step == at_once
    assert entry_of(at_once) == kept.entry
    assert seed not in at_once.secret
    assert erase(at_once, *wanted, "/never/was") == at_once


@given(any_event, st.data())
def test_an_erased_event_is_read_without_what_is_gone(event: Event, data: st.DataObject) -> None:
    kept = keep(event)
    wanted = set(data.draw(st.lists(st.sampled_from(paths(kept)), min_size=1)))
    erased = erase(kept, *wanted)

    stored = canonical.restore(erased.body, gone=erased.gone, index=0, position=0)
    form = json.loads(canonical.api_form(stored))

    assert stored.gone == tuple(sorted(wanted))
    assert form["erased"] == sorted(wanted)
    if "/actor" in wanted:
        assert stored.event.actor == Actor(type="unknown")
        assert form["actor"] == {"erased": True}
    assert len(stored.event.targets) == len(event.targets)
    for number, target in enumerate(stored.event.targets):
        gone = f"/targets/{number}" in wanted
        assert target == (Target(type="erased") if gone else event.targets[number])
        assert (form["targets"][number] == {"erased": True}) is gone
    left = [n for n in range(len(event.changes)) if f"/changes/{n}" not in wanted]
    assert stored.event.changes == tuple(event.changes[number] for number in left)
    if "/tenant" in wanted:
        assert form["tenant"] == {"id": canonical.tenant_of(event)}


def test_an_erasure_that_finds_nothing_is_a_fault_of_ours() -> None:
    with pytest.raises(AssertionError, match="without a unit to erase"):
        erase(keep(Event(action="a.b", actor=ACTOR)), "/message")


def test_an_erased_value_is_found_nowhere_in_what_is_left() -> None:
    secret = "very-private-name"
    kept = keep(Event(action="a.b", actor=Actor(type="user", id="7", name=secret)))

    erased = erase(kept, "/actor")

    assert secret.encode() in kept.body
    assert secret.encode() not in erased.body + (erased.gone or b"") + erased.secret
    assert erased.secret == canonical.salt(kept.secret, "")


# Changed bytes

SAMPLE = Event(
    action="user.role.grant",
    actor=ACTOR,
    targets=(Target(type="user", id="9", name="Žana"), Target(type="role", id="admin")),
    changes=(Change(path="role", old=None, new=[1, 2.5, "x"]),),
    source=Source(app="web"),
    message="a b",
)


def noticed(kept: Kept, *, part: str, changed: bytes) -> bool:
    parts = {"body": kept.body, "secret": kept.secret, "gone": kept.gone, part: changed}
    try:
        found = recompute_entry(
            parts["body"] or b"", secret=parts["secret"] or b"", gone=parts["gone"]
        )
    except LedgerError:
        return True
    return found != kept.entry


@pytest.mark.parametrize(
    "erased", [(), ("/actor",), ("/actor", "/targets/1", "/changes/0")], ids=str
)
@pytest.mark.parametrize("part", ["body", "secret", "gone"])
def test_any_flipped_bit_is_noticed(part: str, erased: tuple[str, ...]) -> None:
    kept = keep(SAMPLE, seed=bytes(range(16)), writer="key:k_1")
    kept = erase(kept, *erased) if erased else kept
    data: bytes = getattr(kept, part) or b""

    assert entry_of(kept) == kept.entry
    for place in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[place] ^= 1 << bit
            assert noticed(kept, part=part, changed=bytes(changed)), (place, bit)


@pytest.mark.parametrize("part", ["body", "secret", "gone"])
def test_any_byte_cut_off_doubled_or_added_is_noticed(part: str) -> None:
    kept = erase(keep(SAMPLE, seed=bytes(range(16))), "/actor")
    data: bytes = getattr(kept, part)

    for place in range(len(data)):
        assert noticed(kept, part=part, changed=data[:place])
        assert noticed(kept, part=part, changed=data[:place] + data[place + 1 :])
        assert noticed(kept, part=part, changed=data[: place + 1] + data[place:])
        assert noticed(kept, part=part, changed=data[:place] + b" " + data[place:])
    assert noticed(kept, part=part, changed=data + b"\n")


BAD_BODIES: dict[str, tuple[Any, str]] = {
    "white space": (lambda b: b.replace(b'{"core":', b'{"core": '), "body is not in canonical"),
    "another order": (
        lambda b: b'{"units":{},' + b[1:].replace(b'"units"', b'"other"'), "cannot be read"
    ),
    "a unit twice": (
        lambda b: b.replace(b'"units":{', b'"units":{"/actor":{},'), "body is not in canonical"
    ),
    "a core key twice": (
        lambda b: b.replace(b'"core":{', b'"core":{"action":"x.y",'), "core is not in canonical"
    ),
    "a stamp key twice": (
        lambda b: b.replace(b'"stamp":{', b'"stamp":{"id":"x",'), "stamp is not in canonical"
    ),
    "core with another escape": (
        lambda b: b.replace(b"role.grant", b"role.gr\\u0061nt"), "core is not in canonical"
    ),
    "core with white space": (
        lambda b: b.replace(b'"schema":1', b'"schema": 1'), "core is not in canonical"
    ),
    "core that is no object": (lambda b: b"[]", "body cannot be read"),
    "no JSON": (lambda b: b"\xff\x00", "body cannot be read"),
    "nothing": (lambda b: b"", "body cannot be read"),
    "100,000 brackets": (lambda b: b'{"core":' + b"[" * 100_000, "body cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), BAD_BODIES.values(), ids=BAD_BODIES)
def test_a_body_in_another_form_is_refused(change: Any, message: str) -> None:
    kept = keep(SAMPLE)
    with pytest.raises(LedgerError, match=message):
        recompute_entry(change(kept.body), secret=kept.secret, gone=None)


BAD_GONE: dict[str, tuple[Any, str]] = {
    "upper case": (lambda g: g.upper().replace(b"/ACTOR", b"/actor"), "not in canonical form"),
    "a space in the digest": (lambda g: g.replace(b'":"', b'":" '), "not in canonical form"),
    "a short digest": (lambda g: g[:-4] + b'"}', "another length"),
    "no hex": (lambda g: b'{"/actor":"zz"}', "cannot be read"),
    "empty": (lambda g: b"{}", "empty"),
    "a number": (lambda g: b'{"/actor":1}', "cannot be read"),
    "no JSON": (lambda g: b"\xff", "cannot be read"),
    "a unit that is still there": (
        lambda g: g.replace(b"/actor", b"/message"), "both present and erased"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), BAD_GONE.values(), ids=BAD_GONE)
def test_a_list_of_erased_units_in_another_form_is_refused(change: Any, message: str) -> None:
    erased = erase(keep(SAMPLE), "/actor")
    with pytest.raises(LedgerError, match=message):
        recompute_entry(erased.body, secret=erased.secret, gone=change(erased.gone))


@pytest.mark.parametrize("length", [0, 15, 17, 32])
def test_a_seed_of_another_length_is_refused(length: int) -> None:
    kept = keep(SAMPLE)
    with pytest.raises(LedgerError, match=f"the seed has {length} bytes, expected 16"):
        recompute_entry(kept.body, secret=bytes(length), gone=None)


def test_salts_that_do_not_fit_the_units_left_are_refused() -> None:
    erased = erase(keep(SAMPLE), "/actor")
    with pytest.raises(LedgerError, match="salts do not fit"):
        recompute_entry(erased.body, secret=erased.secret[:-16], gone=erased.gone)


@pytest.mark.parametrize(
    "body",
    [
        b'{"core":{},"stamp":{"id":"x","received_at":"x","tenant":"t"},"units":{}}',
        b'{"core":[],"stamp":{},"units":{}}',
        b'{"core":{"action":"a.b"},"stamp":{"id":1},"units":{}}',
        b"",
    ],
)
def test_bytes_that_are_no_event_are_not_restored(body: bytes) -> None:
    with pytest.raises(LedgerError):
        canonical.restore(body, index=3, position=3)


# What is refused before anything is encoded


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"message": "x\ud800"}, "$.message"),
        ({"actor": Actor(type="user", id="\udfff")}, "$.actor.id"),
        ({"actor": Actor(type="user", id="1", roles=("ok", "\udfff"))}, "$.actor.roles[1]"),
        ({"targets": (Target(type="t"), Target(type="t", name="\ud83d"))}, "$.targets[1].name"),
        ({"changes": (Change(path="p", new={"a": ["\ud83d"]}),)}, "$.changes[0].new.a[0]"),
        ({"metadata": {"k": {"\ud800": 1}}}, "$.metadata.k"),
        ({"source": Source(app="\ud800")}, "$.source.app"),
        ({"tenant": Tenant(id="\ud800")}, "$.tenant.id"),
        ({"tenant": Tenant(id="t", name="\ud800")}, "$.tenant.name"),
        ({"idempotency_key": "\ud800"}, "$.idempotency_key"),
    ],
)
def test_a_lone_surrogate_is_refused_with_its_path(values: Any, path: str) -> None:
    event = Event(**{"action": "a.b", "actor": ACTOR, **values})
    with pytest.raises(EventError, match="holds a lone surrogate") as caught:
        encode(event, defaults=DEFAULTS)

    assert caught.value.path == path


def test_a_value_that_is_no_json_is_refused() -> None:
    event = Event(action="a.b", actor=ACTOR, message=object())  # type: ignore[arg-type]  # on purpose
    with pytest.raises(EventError, match="expected JSON values, got object"):
        encode(event, defaults=DEFAULTS)


def test_nul_is_a_character_like_others() -> None:
    kept = keep(Event(action="a.b", actor=ACTOR, message="a\0b"))

    assert dict(kept.encoded.units)["/message"] == b'"a\\u0000b"'
    assert canonical.restore(kept.body, index=0, position=0).event.message == "a\0b"


def test_null_and_absent_are_two_forms() -> None:
    def unit(change: Change) -> bytes:
        return keep(Event(action="a.b", actor=ACTOR, changes=(change,))).encoded.units[1][1]

    assert unit(Change(path="p", old=None, new=1)) == b'{"new":1,"old":null,"path":"p"}'
    assert unit(Change(path="p", new=1)) == b'{"new":1,"path":"p"}'


def test_an_empty_list_given_to_the_constructor_is_absent() -> None:
    given: Any = []
    event = Event(action="a.b", actor=Actor(type="system", roles=given), via=given, changes=given)

    assert keep(event).encoded.units == (("/actor", b'{"type":"system"}'),)


def test_sizes_count_core_and_units() -> None:
    encoded = keep(Event(action="a.b", actor=ACTOR)).encoded

    unit = b'{"id":"7","name":"Bob","type":"user"}'
    assert encoded.size_bytes == len(encoded.core) + len("/actor") + len(unit)


def test_salts_and_digests_are_those_of_the_specification() -> None:
    seed = bytes(range(16))

    salt = hashlib.sha256(b"whodid.salt.v1\n" + seed + b"/tags").digest()[:16]
    digest = hashlib.sha256(b"whodid.field.v1\n" + salt + b"\x00\x05/tags" + b'["hr"]').digest()
    assert canonical.salt(seed, "/tags") == salt
    assert canonical.unit_digest("/tags", b'["hr"]', salt=salt) == digest


# The same event again

FIRST = Event(
    action="user.role.grant",
    actor=ACTOR,
    id=ID,
    occurred_at=RECEIVED,
    message="hello",
    targets=(Target(type="user", id="9"), Target(type="role", id="admin")),
    source=Source(app="web"),
    tenant=Tenant(id="acme", name="ACME"),
)

ARRIVALS: dict[str, tuple[Mapping[str, Any], str | None]] = {
    "the very same": ({}, None),
    "without id": ({"id": UNSET}, None),
    "without the time": ({"occurred_at": UNSET}, None),
    "without a message": ({"message": UNSET}, None),
    "with fewer targets": ({"targets": FIRST.targets[:1]}, None),
    "with what was filled in": ({"category": "iam", "outcome": "success"}, None),
    "another action": ({"action": "user.role.revoke"}, "/action"),
    "another outcome": ({"outcome": "denied"}, "/outcome"),
    "another time": ({"occurred_at": Instant.parse("2026-01-01T00:00:00Z")}, "/occurred_at"),
    "a count": ({"count": 2}, "/count"),
    "another source": ({"source": Source(app="web", host="h")}, "/source"),
    "another actor": ({"actor": Actor(type="user", id="8")}, "/actor"),
    "another message": ({"message": "goodbye"}, "/message"),
    "more targets": ({"targets": (*FIRST.targets, Target(type="t"))}, "/targets/2"),
    "another tenant's name": ({"tenant": Tenant(id="acme", name="Acme")}, "/tenant"),
    "something new": ({"metadata": {"a": 1}}, "/metadata"),
    "another id": ({"id": ID[:-1] + "2"}, "/id"),
    "two differences": ({"message": "x", "severity": "low"}, "/severity"),
}


@pytest.mark.parametrize(("changed", "path"), ARRIVALS.values(), ids=ARRIVALS)
def test_a_second_arrival_differs_where_it_says_something_else(
    changed: Mapping[str, Any], path: str | None
) -> None:
    kept = keep(FIRST)
    newcomer = keep(msgspec.structs.replace(FIRST, **changed)).encoded

    assert canonical.first_difference(newcomer, body=kept.body, gone=None) == path


def test_what_was_erased_counts_as_equal() -> None:
    erased = erase(keep(FIRST), "/actor", "/targets/1")
    other = Actor(type="user", id="8")
    newcomer = keep(msgspec.structs.replace(FIRST, actor=other)).encoded
    assert canonical.first_difference(newcomer, body=erased.body, gone=erased.gone) is None

    target = Target(type="user", id="10")
    newcomer = keep(msgspec.structs.replace(FIRST, targets=(target,))).encoded
    found = canonical.first_difference(newcomer, body=erased.body, gone=erased.gone)
    assert found == "/targets/0"


@given(any_event)
def test_an_event_says_the_same_as_itself(event: Event) -> None:
    kept = keep(event)

    assert canonical.first_difference(kept.encoded, body=kept.body, gone=None) is None
    stored = canonical.restore(kept.body, index=0, position=0)
    again = encode(stored.event, defaults=DEFAULTS)
    assert canonical.first_difference(again, body=kept.body, gone=None) is None
