"""POST /v1/events: from a request's body to durable events, all of them or none.

The body is read behind the gate and only as far as its limit; it is taken apart so that each
event's faults are its own; every event goes through `recorder.prepare`, like all events from
outside. Nothing here decides what is stored: the schema, the recorder and the store do.
"""

from __future__ import annotations

import anyio
import msgspec
from msgspec import Raw, structs
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope

from whodid import event as events
from whodid import recorder
from whodid.canonical import Encoded
from whodid.errors import EventError, InvalidError
from whodid.event import Event, Tenant
from whodid.server import wire
from whodid.server.auth import Caller
from whodid.server.problems import (
    ProblemError,
    faulty_events,
    malformed_json,
    refuse,
    with_members,
)
from whodid.server.settings import Settings
from whodid.stores.base import EventStore, Receipt

_members = msgspec.json.Decoder(dict[str, Raw])
_elements = msgspec.json.Decoder(list[Raw])
_anything = msgspec.json.Decoder()


async def read_body(scope: Scope, receive: Receive, *, settings: Settings) -> bytes:
    """The whole body, read no further than its limit.

    Raises:
        ProblemError: 413 too large, said before or while it arrives; 408 too slow; 415 no JSON.
        ClientDisconnect: Nobody waits for an answer any more.
    """
    headers = {bytes(name).lower(): bytes(value) for name, value in scope["headers"]}
    _check_type(headers)
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or int(length) > settings.max_body_bytes:
        raise _too_large(settings)
    message = await receive()
    if not message.get("more_body"):
        return _piece(message, left=settings.max_body_bytes, settings=settings)
    with anyio.move_on_after(settings.body_timeout_s):
        return await _read_pieces(message, receive, settings=settings)
    raise refuse(408, "slow", f"the body did not arrive within {settings.body_timeout_s:g} seconds")


async def _read_pieces(message: Message, receive: Receive, *, settings: Settings) -> bytes:
    body = bytearray()
    while True:
        body += _piece(message, left=settings.max_body_bytes - len(body), settings=settings)
        if not message.get("more_body"):
            return bytes(body)
        message = await receive()


def _piece(message: Message, *, left: int, settings: Settings) -> bytes:
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    piece: bytes = message.get("body", b"")
    if len(piece) > left:
        raise _too_large(settings)
    return piece


def _too_large(settings: Settings) -> ProblemError:
    return refuse(
        413,
        "size",
        f"the body has more than {settings.max_body_bytes:,} bytes; send smaller batches",
    )


def _check_type(headers: dict[bytes, bytes]) -> None:
    media_type, _, parameters = headers.get(b"content-type", b"").partition(b";")
    charset = parameters.strip().lower().replace(b'"', b"").removeprefix(b"charset=")
    if media_type.strip().lower() != b"application/json" or charset not in (b"", b"utf-8"):
        raise refuse(415, "type", "expected Content-Type: application/json, in UTF-8")
    if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
        raise refuse(
            415, "type", "compressed bodies are not read; send it without Content-Encoding"
        )


def store_body(
    body: bytes, *, caller: Caller, store: EventStore, settings: Settings
) -> tuple[int, wire.Receipts]:
    """Store what a body holds: one event, or `{"events": […]}`; all of it or nothing.

    Durable when it returns. Idempotent as the store is: the same body again gives the first
    receipts with `duplicate`.

    Returns:
        The status (201, or 200 when all were there before) and the receipts.

    Raises:
        ProblemError: Names each event that can't be stored.
        ConflictError: One of them was stored before with another body.
        StoreUnavailableError: Try again.
    """
    decoded = _decoded(body, settings=settings)
    _check_tenants(decoded, caller=caller)
    encoded = _prepared(decoded, tenant=caller.tenant, settings=settings)
    receipts = store.append(encoded, writer=caller.writer)
    status = 200 if all(receipt.duplicate for receipt in receipts) else 201
    return status, wire.Receipts(receipts=[_shown(receipt) for receipt in receipts])


def _decoded(body: bytes, *, settings: Settings) -> list[Event]:
    pieces = _take_apart(body, settings=settings)
    decoded: list[Event] = []
    errors: list[tuple[int, InvalidError]] = []
    for index, piece in enumerate(pieces):
        try:
            decoded.append(events.decode(piece))
        except EventError as error:
            errors.append((index, error))
    if errors:
        # Taking apart skips over strings; a broken one is found only now, and is no JSON.
        _check_json(body)
        raise faulty_events(errors, cap=settings.max_errors)
    return decoded


def _take_apart(body: bytes, *, settings: Settings) -> list[bytes | Raw]:
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
    if not pieces:
        raise refuse(422, "batch", f"expected 1 to {settings.max_batch_events:,} events, got none")
    if len(pieces) > settings.max_batch_events:
        raise refuse(
            413, "size",
            f"expected at most {settings.max_batch_events:,} events, got {len(pieces):,}; "
            "send smaller batches",
        )  # fmt: skip
    return list(pieces)


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


def _check_tenants(decoded: list[Event], *, caller: Caller) -> None:
    """A key bound to one tenant writes into that one alone."""
    if caller.tenant is None:
        return
    foreign = [
        index
        for index, event in enumerate(decoded)
        if event.tenant and event.tenant.id != caller.tenant
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


def _prepared(decoded: list[Event], *, tenant: str | None, settings: Settings) -> list[Encoded]:
    encoded: list[Encoded] = []
    errors: list[tuple[int, InvalidError]] = []
    bound = Tenant(id=tenant) if tenant is not None else None
    for index, event in enumerate(decoded):
        if bound is not None and not event.tenant:
            event = structs.replace(event, tenant=bound)
        try:
            encoded.append(recorder.prepare(event))
        except EventError as error:
            errors.append((index, error))
    if errors:
        raise faulty_events(errors, cap=settings.max_errors)
    return encoded


def _shown(receipt: Receipt) -> wire.Receipt:
    return wire.Receipt(
        id=receipt.id,
        tenant=receipt.tenant,
        index=receipt.index,
        received_at=str(receipt.received_at),
        duplicate=receipt.duplicate,
    )
