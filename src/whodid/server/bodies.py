"""What came in the body of a POST: unpacked, taken apart, each event decoded and encoded.

Plain functions on bytes, called by the writer (`writing`), never on the event loop. Whatever is
wrong with a body ends in a `ProblemError` that says where. Nothing here stores.
"""

from __future__ import annotations

import importlib
import math
import sys
import zlib
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import Raw, Struct, structs

from whodid import event as events
from whodid import recorder
from whodid.canonical import Encoded, tenant_of
from whodid.errors import EventError, InvalidError
from whodid.event import Event, Tenant
from whodid.server import wire
from whodid.server.problems import (
    RETRY_AFTER_S,
    ProblemError,
    faulty_events,
    malformed_json,
    refuse,
    with_members,
)
from whodid.server.settings import Settings
from whodid.stores.base import key_of_part

Form: TypeAlias = Literal["json", "lines"]
Coding: TypeAlias = Literal["identity", "gzip", "zstd"]

RATIO_COUNTS_FROM_BYTES = 1_000_000
"""Below this size a body may be packed as tightly as it likes."""
MAX_ZSTD_WINDOW = 23  # 8 MiB, what RFC 8878 asks every reader to have; more is memory for nothing
MAX_KEY_LENGTH = 100
_STEP_BYTES = 262_144

_members = msgspec.json.Decoder(dict[str, Raw])
_elements = msgspec.json.Decoder(list[Raw])
_anything = msgspec.json.Decoder()


class Upload(Struct, frozen=True, kw_only=True):
    """A body that waits to be stored, and what its request said about it.

    Attributes:
        body: As it was sent, packed or not.
        form: One JSON value, or one event a line.
        coding: How the body is packed.
        tenant: The tenant that the key is bound to, or None.
        writer: Who sends, for the stamp.
        key: The request's idempotency key, or None.
        spent: Seconds to wait for each tenant that has used up its quota.
    """

    body: bytes
    form: Form = "json"
    coding: Coding = "identity"
    tenant: str | None = None
    writer: str | None = None
    key: str | None = None
    spent: dict[str, float] = {}  # frozen with the upload: nobody writes into it


def read_upload(upload: Upload, *, settings: Settings) -> list[Encoded]:
    """The events of a body, ready to be stored.

    Raises:
        ProblemError: Says what is wrong with the body, or with which of its events.
    """
    body = unpack(upload.body, upload.coding, settings=settings)
    decoded = _decoded(body, upload.form, settings=settings)
    _check_tenants(decoded, tenant=upload.tenant)
    if upload.key is not None:
        decoded = _with_keys(decoded, upload.key)
    return _prepared(decoded, upload=upload, settings=settings)


# -- packed bodies


def unpack(body: bytes, coding: Coding, *, settings: Settings) -> bytes:
    """The body as it was before it was packed; never more than its limit is held in memory.

    Raises:
        ProblemError: 400 not packed like that, or cut off; 413 larger than allowed, or packed so
            tightly that it is no honest body.
    """
    match coding:
        case "identity":
            return body
        case "gzip":
            return _drained(_gunzip(body), body, coding, settings=settings)
        case "zstd":
            return _drained(_unzstd(body), body, coding, settings=settings)


_Reader: TypeAlias = Callable[[int], bytes | None]
"""Gives at most so many bytes; b"" at the end, None when the data ended too early."""


def _drained(read: _Reader, body: bytes, coding: Coding, *, settings: Settings) -> bytes:
    unpacked = bytearray()
    while True:
        try:
            piece = read(_STEP_BYTES)
        except (zlib.error, _zstd().ZstdError) as error:
            reason = str(error).partition(": ")[2] or str(error)
            raise _not_packed(coding, f"the data are damaged ({reason})") from None
        if piece is None:
            raise _not_packed(coding, f"it ends too early, after {len(body):,} bytes")
        if not piece:
            return bytes(unpacked)
        unpacked += piece
        _check_expansion(len(unpacked), packed=len(body), settings=settings)


def _check_expansion(size: int, *, packed: int, settings: Settings) -> None:
    if size > settings.max_body_bytes:
        raise too_large(settings, "the unpacked body")
    if size > RATIO_COUNTS_FROM_BYTES and size > packed * settings.max_body_ratio:
        raise refuse(
            413,
            "ratio",
            f"the body unpacks to more than {settings.max_body_ratio} times its size; "
            "send it with less compression, or in smaller batches",
        )


def _gunzip(body: bytes) -> _Reader:
    return _read_members(body, lambda: zlib.decompressobj(wbits=31))


def _unzstd(body: bytes) -> _Reader:
    zstd = _zstd()
    options = {zstd.DecompressionParameter.window_log_max: MAX_ZSTD_WINDOW}
    return _read_members(body, lambda: zstd.ZstdDecompressor(options=options))


def _read_members(body: bytes, new: Callable[[], Any]) -> _Reader:
    """Both forms may have several members, one after the other (RFC 1952 §2.2, RFC 8878 §3)."""
    member, rest = new(), body

    def read(limit: int) -> bytes | None:
        nonlocal member, rest
        while True:
            if member.eof:
                if not member.unused_data:
                    return b""
                member, rest = new(), member.unused_data
            piece: bytes = member.decompress(rest, limit)
            # zlib gives back what it has not looked at yet, zstd keeps it.
            rest = getattr(member, "unconsumed_tail", b"")
            if piece:
                return piece
            if not member.eof:
                return None

    return read


def _zstd() -> Any:
    """The standard library's module since 3.14, the same one from PyPI before."""
    return importlib.import_module(
        "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    )


def _not_packed(coding: Coding, why: str) -> ProblemError:
    return refuse(400, "coding", f"the body cannot be unpacked as {coding}: {why}")


def too_large(settings: Settings, what: str = "the body") -> ProblemError:
    """413: more bytes than a body may have."""
    return refuse(
        413,
        "size",
        f"{what} has more than {settings.max_body_bytes:,} bytes; send smaller batches",
    )


# -- taken apart


def _decoded(body: bytes, form: Form, *, settings: Settings) -> list[Event]:
    pieces = _lines(body) if form == "lines" else _take_apart(body)
    _check_number(pieces, settings=settings)
    decoded: list[Event] = []
    errors: list[tuple[int, InvalidError]] = []
    for index, piece in enumerate(pieces):
        try:
            decoded.append(events.decode(piece))
        except EventError as error:
            errors.append((index, error))
    if errors:
        if form == "json":
            # Taking apart skips over strings; a broken one is found only now, and is no JSON.
            _check_json(body)
        raise faulty_events(errors, cap=settings.max_errors)
    return decoded


def _lines(body: bytes) -> Sequence[bytes]:
    """The JSON of each event, one a line; blank lines don't count."""
    return [line for line in body.split(b"\n") if line.strip()]


def _take_apart(body: bytes) -> Sequence[bytes | Raw]:
    """The JSON of each event."""
    if not body.strip():
        raise refuse(400, "json", 'the body is empty; expected one event or {"events": […]}')
    try:
        members = _members.decode(body)
        if "events" not in members:
            return [body]
        pieces = _elements.decode(members["events"])
    except msgspec.ValidationError:
        _check_json(body)
        raise refuse(422, "batch", 'expected one event, or {"events": […]}') from None
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise _no_json(error) from None
    if len(members) > 1:
        raise refuse(422, "batch", 'expected {"events": […]} without any other key')
    return pieces


def _check_number(pieces: Sequence[bytes | Raw], *, settings: Settings) -> None:
    if not pieces:
        raise refuse(422, "batch", f"expected 1 to {settings.max_batch_events:,} events, got none")
    if len(pieces) > settings.max_batch_events:
        raise refuse(
            413, "size",
            f"expected at most {settings.max_batch_events:,} events, got {len(pieces):,}; "
            "send smaller batches",
        )  # fmt: skip


def _check_json(body: bytes) -> None:
    """Refuse what is no JSON, with the place: it says more than the fault of one event."""
    try:
        _anything.decode(body)
    except msgspec.ValidationError:
        return  # JSON, but a number that no float can hold: the event's own fault names it
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise _no_json(error) from None


def _no_json(error: Exception) -> ProblemError:
    if isinstance(error, RecursionError):
        return refuse(400, "json", "the JSON is nested too deeply")
    if isinstance(error, UnicodeError):
        return refuse(400, "json", "the body is not UTF-8")
    message = str(error)
    if message == "Input data was truncated":
        message = "it ends too early, or a string holds a lone surrogate"
    return malformed_json(message)


# -- checked and encoded


def _check_tenants(decoded: Sequence[Event], *, tenant: str | None) -> None:
    """A key bound to one tenant writes into that one alone."""
    if tenant is None:
        return
    foreign = [
        index for index, event in enumerate(decoded) if event.tenant and event.tenant.id != tenant
    ]
    if foreign:
        faults = [
            wire.Fault(index=index, path="$.tenant.id", problem="not the tenant of this key")
            for index in foreign[:100]
        ]
        refused = refuse(
            403,
            "tenant",
            f"event {foreign[0]}: this key is bound to another tenant; nothing was stored; "
            "leave the tenant out, or use a key for that tenant or for *",
        )
        raise with_members(refused, errors=faults, faulty=len(foreign))


def _with_keys(decoded: Sequence[Event], key: str) -> list[Event]:
    """The events under the request's idempotency key: event 7 of a batch under `key#7`.

    So a batch that is sent again is found again, after a restart and by any process, with nothing
    kept but what is kept for each event's own key. An event that has a key of its own keeps it.
    """
    return [
        event
        if event.idempotency_key
        else structs.replace(event, idempotency_key=key_of_part(key, number))
        for number, event in enumerate(decoded)
    ]


def _prepared(decoded: Sequence[Event], *, upload: Upload, settings: Settings) -> list[Encoded]:
    encoded: list[Encoded] = []
    errors: list[tuple[int, InvalidError]] = []
    bound = Tenant(id=upload.tenant) if upload.tenant is not None else None
    for index, event in enumerate(decoded):
        if bound is not None and not event.tenant:
            event = structs.replace(event, tenant=bound)
        if upload.spent and (wait_s := upload.spent.get(tenant_of(event))) is not None:
            raise quota_spent("the quota of a tenant", wait_s=wait_s)
        try:
            encoded.append(recorder.prepare(event))
        except EventError as error:
            errors.append((index, error))
    if errors:
        raise faulty_events(errors, cap=settings.max_errors)
    return encoded


def quota_spent(whose: str, *, wait_s: float) -> ProblemError:
    """429: the sender, or a tenant that it writes into, has used up what may be sent for now."""
    wait = max(RETRY_AFTER_S, math.ceil(wait_s))
    return refuse(
        429,
        "quota",
        f"{whose} is used up for now; nothing was stored; send it again in {wait} s",
        headers={"retry-after": str(wait)},
    )
