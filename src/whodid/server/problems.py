"""How an error looks to a client: problem+json (RFC 9457), and never a traceback.

The one exception is the answer that makes a browser ask for a key: it carries a page.

`problem_of` is the one seam where whodid's errors become answers. `Answers` is the outermost layer
of the application: whatever escapes from below ends there, with an id that leads to the server's
own log and nothing of its inside in the body.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Mapping, Sequence

from msgspec import Struct, structs
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from whodid.errors import (
    AuditError,
    BatchError,
    ConfigError,
    ConflictError,
    CursorError,
    EventError,
    InvalidError,
    LedgerError,
    QuerySyntaxError,
    RefusedError,
    UnavailableError,
)
from whodid.server import wire
from whodid.server.logs import FewWarnings

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1
SECURITY_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
"""On every answer of the API: its JSON must never be run, framed, sniffed or kept."""

_TITLES = {
    400: "the request is wrong",
    401: "a key is needed",
    403: "not allowed",
    404: "not found",
    405: "another method is needed",
    408: "the request took too long",
    409: "stored before with another body",
    413: "too large",
    415: "another content type is needed",
    422: "not an event",
    429: "too much was sent",
    431: "the head is too large",
    500: "something broke",
    503: "not possible now",
}
_log = logging.getLogger("whodid.server")
_log.addFilter(FewWarnings())


class ProblemError(Exception):
    """Ends a request with this answer.

    Lives inside the server only: callers of whodid as a library never meet it.

    Attributes:
        problem: The body.
        headers: Further headers, such as `WWW-Authenticate`.
        page: HTML that a person gets in place of the problem, or None.
    """

    def __init__(
        self,
        problem: wire.Problem,
        headers: Mapping[str, str] | None = None,
        *,
        page: str | None = None,
    ) -> None:
        super().__init__(problem.detail)
        self.problem, self.headers, self.page = problem, dict(headers or {}), page


def refuse(
    status: int, kind: str, detail: str, *, headers: Mapping[str, str] | None = None
) -> ProblemError:
    """The error that ends a request; further members go in with `with_members`.

    Args:
        kind: Stable name, the end of the problem's `type`.
        detail: What was expected, what came, what to do.
    """
    problem = wire.Problem(
        type=f"urn:whodid:problem:{kind}", title=_TITLES[status], status=status, detail=detail
    )
    return ProblemError(problem, headers)


def with_members(error: ProblemError, **members: object) -> ProblemError:
    """The same with further members of the body."""
    return ProblemError(structs.replace(error.problem, **members), error.headers, page=error.page)


def with_page(error: ProblemError, page: str) -> ProblemError:
    """The same, shown to a person as this HTML."""
    return ProblemError(error.problem, error.headers, page=page)


def wrong_parameters(names: Sequence[str], detail: str) -> ProblemError:
    """Query parameters that cannot be read."""
    return with_members(refuse(400, "parameter", detail), parameters=list(names))


def response_of(error: ProblemError) -> Response:
    """The answer that ends the request."""
    is_page = error.page is not None
    return Response(
        error.page if is_page else wire.write(error.problem),
        status_code=error.problem.status,
        media_type="text/html" if is_page else MEDIA_TYPE,
        headers=error.headers,
    )


def problem_of(error: AuditError) -> ProblemError:
    """What a client is told about an error of whodid's."""
    match error:
        case EventError() | BatchError():
            return faulty_events([(0, error)] if isinstance(error, EventError) else error.errors)
        case QuerySyntaxError():
            return with_members(
                refuse(400, "query", str(error)),
                code=error.code,
                message=error.message,
                position=error.position,
                length=error.length,
                suggestion=error.suggestion,
            )
        case CursorError():
            return with_members(refuse(400, "cursor", str(error)), parameters=["cursor"])
        case ConflictError():
            return with_members(
                refuse(409, "conflict", str(error)), index=error.index, path=error.path
            )
        case RefusedError():
            return refuse(403, "refused", str(error))
        case UnavailableError():
            _log.warning("a request was answered 503: %s", error)
            return refuse(
                503,
                "unavailable",
                "the store cannot do this now; nothing was half written, send it again later",
                headers={"retry-after": str(RETRY_AFTER_S)},
            )
        case InvalidError() if not isinstance(error, ConfigError):
            return refuse(400, "invalid", str(error))
        case LedgerError():
            return _unexpected(error, "the stored log does not hold together; run `whodid verify`")
        case _:
            return _unexpected(error)


def faulty_events(errors: Sequence[tuple[int, InvalidError]], *, cap: int = 100) -> ProblemError:
    """The events that can't be stored, each with where and why; nothing of the batch was stored."""
    faults = [
        wire.Fault(index=index, path=error.path, problem=error.problem)
        if isinstance(error, EventError)
        else wire.Fault(index=index, path="$", problem=str(error))
        for index, error in errors[:cap]
    ]
    count = "1 event is" if len(errors) == 1 else f"{len(errors)} events are"
    first = faults[0]
    refused = refuse(
        422,
        "event",
        f"{count} not as the schema wants; nothing was stored; "
        f"event {first.index}, {first.path}: {first.problem}",
    )
    return with_members(refused, errors=faults, faulty=len(errors))


def _unexpected(
    error: BaseException, detail: str = "an error that was not foreseen"
) -> ProblemError:
    """500, with an id that leads to the traceback in the server's own log."""
    error_id = secrets.token_hex(8)
    _log.error("error %s while answering a request", error_id, exc_info=error)
    return with_members(
        refuse(500, "internal", f"{detail}; look for {error_id} in the server's log"),
        error_id=error_id,
    )


def http_exception(_request: Request, error: Exception) -> Response:
    """Starlette's own refusals (no such path) in our form."""
    if not isinstance(error, HTTPException):
        raise AssertionError("http_exception is registered for HTTPException alone")
    if error.status_code not in _TITLES:
        return response_of(_unexpected(error))
    return response_of(
        refuse(error.status_code, "path", _TITLES[error.status_code], headers=error.headers)
    )


class Answers:
    """The outermost layer: every error becomes an answer, every answer gets its headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": "no websockets here"})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                _add_headers(message)
            await send(message)

        try:
            await self._app(scope, receive, guarded)
        except ClientDisconnect:
            return  # nobody is there to be answered
        except Exception as error:  # the host seam: a user must never see a traceback
            answer = response_of(error_answer(error))
            if started:
                # Part of another answer is out already; only closing the connection tells the
                # client that it is broken, and uvicorn does that when we raise.
                raise
            await answer(scope, receive, guarded)


def error_answer(error: Exception) -> ProblemError:
    """What a client is told about any error: of ours, or one that was not foreseen."""
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, AuditError):
        return problem_of(error)
    return _unexpected(error)


def _add_headers(message: Message) -> None:
    headers = message.setdefault("headers", [])
    present = {name.lower() for name, _ in headers}
    # The viewer brings headers of its own, with the policy that its pages need.
    headers += [
        (name.encode(), value.encode())
        for name, value in SECURITY_HEADERS.items()
        if name.encode() not in present
    ]


def json_response(value: Struct, *, status: int = 200) -> Response:
    """An answer of the API."""
    return Response(wire.write(value), status_code=status, media_type="application/json")


_BYTE = re.compile(r"^(?:JSON is malformed: )?(.*?)(?: \(byte (\d+)\))?$", re.DOTALL)


def malformed_json(message: str) -> ProblemError:
    """400 with what the JSON reader says, and where when it says so."""
    found = _BYTE.match(message)
    problem, byte = (found[1], found[2]) if found else (message, None)
    if byte is None:
        return refuse(400, "json", f"the body is no JSON: {problem}")
    refused = refuse(400, "json", f"the body is no JSON: {problem} at byte {byte}")
    return with_members(refused, byte=int(byte))
