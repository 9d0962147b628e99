"""Event ⇄ bytes: core, units, stamp, seed and entry, version 1 of `docs/spec/format.md`.

The only place that decides what is committed to. An event is encoded once (`encode`), stamped and
committed by the store (`stamp_bytes`, `commit`, `body_bytes`), and from then on its bytes are never
written again: they are what is verified, exported and shown. Reading goes the other way (`restore`,
`api_form`), by slicing the stored bytes, not by re-encoding them.

Pure: no clock, no randomness, no database. Not here: the tree (`ledger`), what must be redacted
before (`redaction`), the defaults by action (`actions`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct

from whodid import event as events
from whodid.errors import EventError, LedgerError
from whodid.event import DEFAULT_TENANT, Event, StoredEvent
from whodid.times import Instant

CORE_KEYS = (
    "action", "category", "control", "control_signature", "count", "data_classes", "occurred_at",
    "operation", "outcome", "schema", "severity", "source", "trace", "window",
)  # fmt: skip
"""Every other key of the event is a unit, but `id`, `tenant` and `idempotency_key`."""

SEED_BYTES = 16
DIGEST_BYTES = 32
_LISTED = ("changes", "targets")  # one unit per element
_KEPT_APART = frozenset({"id", "tenant", "idempotency_key"})
_FILLED = ("category", "operation", "outcome", "severity")
_UNIT_KEYS = tuple(
    key
    for key in Event.__struct_fields__
    if key not in CORE_KEYS and key not in _LISTED and key not in _KEPT_APART
)
_CORE_FIELDS = tuple(key for key in Event.__struct_fields__ if key in CORE_KEYS)


class Labels(Struct, frozen=True, kw_only=True):
    """The closed-set keys that every stored event has."""

    category: str
    operation: str
    severity: str
    outcome: str


class Encoded(Struct, frozen=True, kw_only=True):
    """An event and its claimed bytes: what a store appends.

    Attributes:
        event: The event as claimed, after redaction.
        core: JSON bytes that stay as long as the entry does.
        units: Pairs of path and JSON bytes, ascending by the path's bytes; each can go on its own.
        sent: Core keys that the sender gave; the others were filled in and don't make a conflict.
        labels: Category, operation, severity and outcome, given or filled in.
    """

    event: Event
    core: bytes
    units: tuple[tuple[str, bytes], ...]
    sent: frozenset[str]
    labels: Labels

    @property
    def size_bytes(self) -> int:
        return len(self.core) + sum(len(path) + len(value) for path, value in self.units)


@dataclass(frozen=True, slots=True)
class Body:
    """A stored body taken apart: raw JSON bytes, nothing decoded."""

    core: bytes
    stamp: bytes
    units: Mapping[str, bytes]


def encode(event: Event, *, defaults: Mapping[str, str]) -> Encoded:
    """Write core and units of an event.

    Args:
        event: After redaction.
        defaults: `category`, `operation` and `severity` for the keys that the event leaves out.

    Raises:
        EventError: A string holds a lone surrogate, or a value is no JSON.
    """
    try:
        values: dict[str, Any] = {"schema": event.schema}
        sent = set()
        for key in _CORE_FIELDS:
            value = getattr(event, key)
            if value is UNSET or value == () or (key == "count" and value == 1):
                continue
            values[key] = value
            sent.add(key)
        for key in _FILLED:
            if key not in values:
                values[key] = "success" if key == "outcome" else defaults[key]
        for text in (event.idempotency_key, tenant_of(event)):  # in neither core nor units
            if text:
                text.encode()
        return Encoded(
            event=event,
            core=_write(values),
            units=_units(event),
            sent=frozenset(sent),
            labels=Labels(**{key: values[key] for key in _FILLED}),
        )
    except UnicodeEncodeError:
        values = msgspec.to_builtins(event, enc_hook=events.write_hook)
        raise EventError(events.surrogate_path(values) or "$", "holds a lone surrogate") from None
    except TypeError as error:
        raise EventError("$", str(error)) from None


def _units(event: Event) -> tuple[tuple[str, bytes], ...]:
    units = [
        ("/" + key, _write(value))
        for key in _UNIT_KEYS
        if (value := getattr(event, key)) is not UNSET and value != ()
    ]
    for key in _LISTED:
        units += [
            (f"/{key}/{number}", _write(item)) for number, item in enumerate(getattr(event, key))
        ]
    if event.tenant and event.tenant.name:
        units.append(("/tenant", _write({"name": event.tenant.name})))
    units.sort()  # paths are ASCII, so code points sort as bytes do
    return tuple(units)


def stamp_bytes(
    *, event_id: str, received_at: Instant, tenant: str, writer: str | None = None
) -> bytes:
    """What the store adds: the id, its clock, whose tree, and an authenticated writer."""
    stamp = {"id": event_id, "received_at": str(received_at), "tenant": tenant}
    if writer is not None:
        stamp["writer"] = writer
    return _write(stamp)


def body_bytes(core: bytes, stamp: bytes, units: Sequence[tuple[str, bytes]]) -> bytes:
    """The stored form: `{"core":…,"stamp":…,"units":{…}}`."""
    listed = b",".join(b'"%s":%s' % (path.encode(), value) for path, value in units)
    return b'{"core":%s,"stamp":%s,"units":{%s}}' % (core, stamp, listed)


def commit(core: bytes, stamp: bytes, units: Sequence[tuple[str, bytes]], *, seed: bytes) -> bytes:
    """The 32-byte entry of an event, from its parts and the 16-byte seed.

    Args:
        units: Ascending by path.
    """
    # `salt` and `unit_digest` written out: this runs for every unit that is ever stored.
    sha256, salted = hashlib.sha256, b"whodid.salt.v1\n" + seed
    digests = []
    for path, value in units:
        name = path.encode()
        field = b"whodid.field.v1\n" + sha256(salted + name).digest()[:16]
        digests.append((name, sha256(field + len(name).to_bytes(2, "big") + name + value).digest()))
    return entry_of(core, stamp, digests, nonce=salt(seed, ""))


def salt(seed: bytes, path: str) -> bytes:
    """16 bytes for one unit; for the path "" the nonce of the entry."""
    return hashlib.sha256(b"whodid.salt.v1\n" + seed + path.encode()).digest()[:16]


def unit_digest(path: str, value: bytes, *, salt: bytes) -> bytes:
    """The 32-byte commitment to one unit."""
    name = path.encode()
    return hashlib.sha256(
        b"whodid.field.v1\n" + salt + len(name).to_bytes(2, "big") + name + value
    ).digest()


def entry_of(
    core: bytes, stamp: bytes, digests: Sequence[tuple[bytes, bytes]], *, nonce: bytes
) -> bytes:
    """The entry from the digests of all units, live and erased, ascending by path."""
    parts = [
        b"whodid.entry.v1\n",
        nonce,
        len(core).to_bytes(4, "big"),
        core,
        len(stamp).to_bytes(4, "big"),
        stamp,
        len(digests).to_bytes(2, "big"),
    ]
    for path, digest in digests:
        parts += (len(path).to_bytes(2, "big"), path, digest)
    return hashlib.sha256(b"".join(parts)).digest()


class _StoredBody(Struct, forbid_unknown_fields=True):
    core: Raw
    stamp: Raw
    units: dict[str, Raw]


class _Stamp(Struct, forbid_unknown_fields=True):
    id: str
    received_at: str
    tenant: str
    writer: str | None = None


_body_decoder = msgspec.json.Decoder(_StoredBody)
_stamp_decoder = msgspec.json.Decoder(_Stamp)
_raw_map_decoder = msgspec.json.Decoder(dict[str, Raw])
_gone_decoder = msgspec.json.Decoder(dict[str, str])
_encoder = msgspec.json.Encoder(order="sorted", enc_hook=events.write_hook)
_write: Callable[[object], bytes] = _encoder.encode


def open_body(body: bytes) -> Body:
    """Take a stored body apart.

    Raises:
        LedgerError: These are not the bytes of a body.
    """
    try:
        parsed = _body_decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise LedgerError("the stored body cannot be read") from None
    return Body(
        bytes(parsed.core),
        bytes(parsed.stamp),
        {path: bytes(value) for path, value in parsed.units.items()},
    )


def open_gone(gone: bytes | None) -> dict[str, bytes]:
    """Path → digest of the erased units of an event.

    Raises:
        LedgerError: These are not the bytes of such a map.
    """
    if gone is None:
        return {}
    try:
        digests = {path: bytes.fromhex(text) for path, text in _gone_decoder.decode(gone).items()}
    except (msgspec.MsgspecError, UnicodeError, ValueError):
        raise LedgerError("the list of erased units cannot be read") from None
    if not digests or any(len(digest) != DIGEST_BYTES for digest in digests.values()):
        raise LedgerError("the list of erased units is empty or holds a digest of another length")
    # One spelling: `fromhex` reads upper case and spaces as well.
    if _gone_bytes(digests) != gone:
        raise LedgerError("the list of erased units is not in canonical form")
    return digests


def _gone_bytes(digests: Mapping[str, bytes]) -> bytes:
    return _write({path: digest.hex() for path, digest in digests.items()})


def recompute_entry(body: bytes, *, secret: bytes, gone: bytes | None) -> bytes:
    """The entry that stored bytes lead to; the verifier compares it with the leaf.

    Args:
        secret: The seed, or after an erasure the nonce and the salts of the surviving units.

    Raises:
        LedgerError: The bytes are not in canonical form, or do not fit together.
    """
    parts = open_body(body)
    _check_canonical(body, parts)
    erased = open_gone(gone)
    if erased.keys() & parts.units.keys():
        raise LedgerError("a unit is both present and erased")
    nonce, salts = _open_secret(secret, sorted(parts.units), erased=bool(erased))
    digests = {
        path: unit_digest(path, value, salt=salts[path]) for path, value in parts.units.items()
    } | erased
    ordered = sorted((path.encode(), digest) for path, digest in digests.items())
    return entry_of(parts.core, parts.stamp, ordered, nonce=nonce)


def _check_canonical(body: bytes, parts: Body) -> None:
    if body_bytes(parts.core, parts.stamp, sorted(parts.units.items())) != body:
        raise LedgerError("the body is not in canonical form")
    for name, part in (("core", parts.core), ("stamp", parts.stamp)):
        try:
            written = _write(msgspec.json.decode(part))
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            raise LedgerError(f"the {name} is not in canonical form") from None
        if written != part:
            raise LedgerError(f"the {name} is not in canonical form")


def _open_secret(
    secret: bytes, paths: Sequence[str], *, erased: bool
) -> tuple[bytes, dict[str, bytes]]:
    if not erased:
        if len(secret) != SEED_BYTES:
            raise LedgerError(f"the seed has {len(secret)} bytes, expected {SEED_BYTES}")
        return salt(secret, ""), {path: salt(secret, path) for path in paths}
    if len(secret) != 16 * (1 + len(paths)):
        raise LedgerError("the salts do not fit the units that are left")
    salts = [secret[start : start + 16] for start in range(16, len(secret), 16)]
    return secret[:16], dict(zip(paths, salts, strict=True))


def erase_units(
    body: bytes, *, secret: bytes, gone: bytes | None, paths: Sequence[str]
) -> tuple[bytes, bytes, bytes]:
    """Body, secret and gone of the same event without the units at `paths`; the entry stays.

    Idempotent: paths that are gone already, or never were, change nothing.

    Raises:
        LedgerError: The stored bytes do not fit together.
        AssertionError: Nothing is gone, before or after: the caller's selection is wrong.
    """
    parts = open_body(body)
    erased = open_gone(gone)
    nonce, salts = _open_secret(secret, sorted(parts.units), erased=bool(erased))
    for path in set(paths) & parts.units.keys():
        erased[path] = unit_digest(path, parts.units[path], salt=salts[path])
    if not erased:
        raise AssertionError("erase_units was called without a unit to erase")
    left = sorted((path, value) for path, value in parts.units.items() if path not in erased)
    return (
        body_bytes(parts.core, parts.stamp, left),
        nonce + b"".join(salts[path] for path, _ in left),
        _gone_bytes(erased),
    )


def restore(
    body: bytes, *, gone: bytes | None = None, index: int | None, position: int
) -> StoredEvent:
    """The event of a stored body.

    Raises:
        LedgerError: The bytes are not those of an event.
    """
    parts = open_body(body)
    erased = tuple(sorted(open_gone(gone)))
    try:
        stamp = _stamp_decoder.decode(parts.stamp)
        event = events.decode(
            _assemble(parts, stamp, erased, placeholders=_PLACEHOLDERS, controls=False)
        )
        received_at = Instant.parse(stamp.received_at)
    except (msgspec.MsgspecError, EventError, ValueError) as error:
        raise LedgerError(f"the stored event at index {index} cannot be read: {error}") from None
    return StoredEvent(
        event=event,
        received_at=received_at,
        index=index,
        position=position,
        gone=erased,
        writer=stamp.writer,
        body=body,
    )


def api_form(stored: StoredEvent) -> bytes:
    """One JSON object: the event with `id`, `tenant`, `received_at` and `index`.

    Sliced from the stored bytes; erased targets and changes appear as `{"erased":true}`, other
    erased units in the list `erased`.
    """
    parts = open_body(stored.body)
    stamp = _stamp_decoder.decode(parts.stamp)
    event = _assemble(parts, stamp, stored.gone, placeholders=_ERASED, controls=True)
    extra: dict[str, object] = {"index": stored.index, "received_at": stamp.received_at}
    if stored.gone:
        extra["erased"] = stored.gone
    return event[:-1] + b"," + _write(extra)[1:]


_PLACEHOLDERS = {"actor": b'{"type":"unknown"}', "targets": b'{"type":"erased"}', "changes": b""}
_ERASED = {
    "actor": b'{"erased":true}',
    "targets": b'{"erased":true}',
    "changes": b'{"erased":true}',
}
_ELEMENT = re.compile(r"/(changes|targets)/(\d+)", re.ASCII)


def _assemble(
    parts: Body,
    stamp: _Stamp,
    gone: Sequence[str],
    *,
    placeholders: Mapping[str, bytes],
    controls: bool,
) -> bytes:
    """Splice core and units into one JSON object with `id` and `tenant`."""
    members = [b'"id":' + _write(stamp.id)]
    members += [
        b'"%s":%s' % (key.encode(), bytes(value))
        for key, value in _raw_map_decoder.decode(parts.core).items()
        if controls or not key.startswith("control")
    ]
    elements: dict[str, list[tuple[int, bytes]]] = {}
    tenant: dict[str, Any] = {"id": stamp.tenant}
    units = dict(parts.units) | {path: placeholders.get(path.split("/")[1], b"") for path in gone}
    for path, value in units.items():
        element = _ELEMENT.fullmatch(path)
        if not value:
            continue
        if element:
            elements.setdefault(element[1], []).append((int(element[2]), value))
        elif path == "/tenant":
            tenant |= msgspec.json.decode(value)
        else:
            members.append(b'"%s":%s' % (path[1:].encode(), value))
    for key, items in elements.items():
        listed = b",".join(value for _, value in sorted(items))
        members.append(b'"%s":[%s]' % (key.encode(), listed))
    members.append(b'"tenant":' + _write(tenant))
    return b"{" + b",".join(members) + b"}"


def first_difference(newcomer: Encoded, *, body: bytes, gone: bytes | None) -> str | None:
    """Where a second arrival differs from what is stored, or None when it says the same.

    Only what the newcomer sent counts; what was filled in and what was erased does not.

    Returns:
        A path such as `/actor` or `/action`.
    """
    parts = open_body(body)
    erased = open_gone(gone)
    ours = _raw_map_decoder.decode(newcomer.core)
    theirs = _raw_map_decoder.decode(parts.core)
    for key in sorted(newcomer.sent):
        if key not in theirs or bytes(ours[key]) != bytes(theirs[key]):
            return "/" + key
    for path, value in newcomer.units:
        if path not in erased and parts.units.get(path) != value:
            return path
    if newcomer.event.id and newcomer.event.id != _stamp_decoder.decode(parts.stamp).id:
        return "/id"
    return None


def tenant_of(event: Event) -> str:
    """The id of the tenant whose tree the event goes into."""
    return event.tenant.id if event.tenant else DEFAULT_TENANT
