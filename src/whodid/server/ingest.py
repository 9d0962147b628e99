"""POST /v1/events: from a request to durable events, all of them or none.

Here, on the event loop: who may send how much, what kind of body it is, and the body itself, read
behind the gate and only as far as its limit. What the body says is the writer's (`intake`,
`bodies`). Nothing here decides what is stored: the schema, the recorder and the store do.

Two things keep memory bounded and are said before it grows: all bodies that are held at once
(`max_waiting_bytes`: 503) and each one alone (`max_body_bytes`: 413).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive

from whodid.server.auth import Caller, caller_of
from whodid.server.bodies import MAX_KEY_LENGTH, Coding, Form, Upload, quota_spent, too_large
from whodid.server.intake import Intake
from whodid.server.problems import RETRY_AFTER_S, refuse
from whodid.server.quotas import Owner, Quotas
from whodid.server.settings import Settings
from whodid.server.writing import Answer

FORMS: dict[str, Form] = {
    "application/json": "json",
    "application/x-ndjson": "lines",
    "application/ndjson": "lines",
    "application/jsonl": "lines",
}
CODINGS: dict[str, Coding] = {
    "identity": "identity",
    "gzip": "gzip",
    "x-gzip": "gzip",
    "zstd": "zstd",
}
_KEY = re.compile(rf"[\x21-\x7e]{{1,{MAX_KEY_LENGTH}}}")


class Ingest:
    """The endpoint, and the bodies that it holds."""

    def __init__(self, intake: Intake, *, settings: Settings, quotas: Quotas) -> None:
        self._intake, self._settings, self._quotas = intake, settings, quotas
        self.held_bytes = 0  # the event loop alone counts, so no lock

    async def answer(self, request: Request) -> Response:
        """Store the events of a request. Durable when it is answered.

        Raises:
            ProblemError: 403, 408, 413, 415, 422, 429 or 503, before anything was stored.
        """
        caller = caller_of(request.scope)
        caller.check_scope("ingest")
        self._check_quotas(caller)
        form, coding, key = _described(request.headers)
        with self._hold() as hold:
            body = await self._read(request, hold)
            answer = await self._intake.store(
                Upload(
                    body=body,
                    form=form,
                    coding=coding,
                    tenant=caller.tenant,
                    writer=caller.writer,
                    key=key,
                    spent=self._quotas.spent_tenants(now=time.monotonic()),
                )
            )
        self._count(caller, answer, size=len(body))
        return Response(
            answer.body,
            status_code=answer.status,
            media_type=answer.media_type,
            headers=answer.headers,
        )

    def check(self) -> None:
        """Return if events can be stored now.

        Raises:
            StoreUnavailableError: They can't.
        """
        self._intake.check()

    # -- how much

    def _check_quotas(self, caller: Caller) -> None:
        owners: list[tuple[Owner, str]] = [("key", caller.principal)]
        if caller.tenant is not None:
            owners.append(("tenant", caller.tenant))
        for owner, name in owners:
            wait_s = self._quotas.wait_s(owner, name, now=time.monotonic())
            if wait_s:
                self._quotas.refuse(owner, name)
                raise quota_spent(f"the quota of this {owner}", wait_s=wait_s)

    def _count(self, caller: Caller, answer: Answer, *, size: int) -> None:
        now = time.monotonic()
        events = sum(count for count, _ in answer.stored.values())
        # Bytes count for a key even when nothing was stored: they were read and taken apart.
        self._quotas.take("key", caller.principal, events=events, size=size, now=now)
        for tenant, (count, stored_bytes) in answer.stored.items():
            self._quotas.take("tenant", tenant, events=count, size=stored_bytes, now=now)
        if answer.status >= 400:
            self._quotas.refuse("key", caller.principal)

    # -- the body

    @contextmanager
    def _hold(self) -> Iterator[_Hold]:
        hold = _Hold(self)
        try:
            yield hold
        finally:
            self.held_bytes -= hold.size

    def reserve(self, size: int) -> None:
        """Count bytes that are held from now on.

        Raises:
            ProblemError: 503, too many are held already.
        """
        self._check_room(size)
        self.held_bytes += size

    async def _read(self, request: Request, hold: _Hold) -> bytes:
        """The whole body, read no further than its limit.

        Raises:
            ProblemError: 413 too large, said before or while it arrives; 408 too slow; 503 too
                many bodies.
            ClientDisconnect: Nobody waits for an answer any more.
        """
        self._check_length(request.headers.get("content-length", "0"))
        with anyio.move_on_after(self._settings.body_timeout_s):
            return await self._read_pieces(request.receive, hold)
        raise refuse(
            408,
            "slow",
            f"the body did not arrive within {self._settings.body_timeout_s:g} seconds",
        )

    def _check_length(self, said: str) -> None:
        """Refuse what can't be taken before it is read.

        Nothing is reserved for it: whoever only says that a large body comes would keep out others.
        """
        if not said.isdecimal() or len(said) > 15 or int(said) > self._settings.max_body_bytes:
            raise too_large(self._settings)
        self._check_room(int(said))

    def _check_room(self, size: int) -> None:
        if self.held_bytes + size > self._settings.max_waiting_bytes:
            raise refuse(
                503,
                "busy",
                "as much waits to be stored as may wait; nothing was stored; send it again later",
                headers={"retry-after": str(RETRY_AFTER_S)},
            )

    async def _read_pieces(self, receive: Receive, hold: _Hold) -> bytes:
        body = bytearray()
        while True:
            message = await receive()
            piece = self._piece(message, left=self._settings.max_body_bytes - len(body))
            hold.grow_by(len(piece))
            is_end = not message.get("more_body")
            if is_end and not body:
                return piece  # most bodies come in one
            body += piece
            if is_end:
                return bytes(body)

    def _piece(self, message: Message, *, left: int) -> bytes:
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        piece: bytes = message.get("body", b"")
        if len(piece) > left:
            raise too_large(self._settings)
        return piece


class _Hold:
    """The bytes that one request holds."""

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest
        self.size = 0

    def grow_by(self, size: int) -> None:
        self._ingest.reserve(size)
        self.size += size


def _described(headers: Headers) -> tuple[Form, Coding, str | None]:
    """What the headers say of the body.

    Raises:
        ProblemError: 415 a kind that is not read; 400 an idempotency key that is none.
    """
    # Sent twice is one list (RFC 9110 §5.3), and no list is of a kind that is read.
    media_type, _, parameters = ", ".join(headers.getlist("content-type")).partition(";")
    charset = parameters.strip().lower().replace('"', "").removeprefix("charset=")
    form = FORMS.get(media_type.strip().lower())
    if form is None or charset not in ("", "utf-8"):
        raise refuse(
            415,
            "type",
            "expected Content-Type: application/json or application/x-ndjson, in UTF-8, got "
            + (ascii(headers["content-type"][:100]) if "content-type" in headers else "none"),
        )
    given = ", ".join(headers.getlist("content-encoding")) or "identity"
    coding = CODINGS.get(given.strip().lower())
    if coding is None:
        raise refuse(
            415,
            "type",
            "expected Content-Encoding: gzip, zstd, or none",
            headers={"accept-encoding": "gzip, zstd"},
        )
    return form, coding, _idempotency_key(headers)


def _idempotency_key(headers: Headers) -> str | None:
    given = headers.getlist("idempotency-key")
    if not given:
        return None
    # The draft of the IETF has it in quotes; most clients send it bare.
    key = given[0].strip()
    if len(key) >= 2 and key.startswith('"') and key.endswith('"'):
        key = key[1:-1]
    if len(given) > 1 or not _KEY.fullmatch(key):
        raise refuse(
            400,
            "idempotency-key",
            f"expected one Idempotency-Key of 1 to {MAX_KEY_LENGTH} visible ASCII characters",
        )
    return key
