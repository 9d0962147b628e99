"""The audit log for every host that speaks ASGI: Starlette, FastAPI, Litestar and plain ones.

```python
app.add_middleware(AuditMiddleware, audit=audit)
```

Each request gets an id and becomes the context of what is recorded in it; an exception that nobody
caught and an answer of 401 or 403 become events. The answer's bytes pass as they come, so that
streams, websockets and background tasks work as without it, and no body is looked at.

With `add_middleware` Starlette puts it inside what writes its page for status 500, which then has
no request id; `app = AuditMiddleware(app, audit)` puts it around everything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any, TypeAlias

import anyio
import anyio.to_thread

from whodid import context
from whodid.capture.web import (
    ANONYMOUS,
    Fields,
    ForwardedHeader,
    Incoming,
    WebOccasion,
    WebOptions,
    given_actor,
    note_error,
)
from whodid.describe import actor_of
from whodid.errors import AuditError
from whodid.event import Actor
from whodid.jsonable import cut, guarded_text
from whodid.log import AuditLog

# As ASGI has them; the values of a scope and of a message are of many types, hence `Any`.
Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
FindActor: TypeAlias = Callable[[Scope], object]

__all__ = ["SCOPE_KEY", "AuditMiddleware", "note_error", "route_of"]

SCOPE_KEY = "whodid.occasion"
"""Where in the scope the request's occasion is, for hosts that know more than the middleware."""


class AuditMiddleware:
    """Runs an application with each of its requests as the context of what it records.

    When an event can't be written the answer is what it would have been, unless the log fails
    closed (`on_failure="raise"`): then the AuditError is raised in place of a refusal's answer, and
    from the exception of a request that failed.
    """

    def __init__(
        self,
        app: App,
        audit: AuditLog,
        *,
        trusted_proxies: int = 0,
        forwarded_header: ForwardedHeader = "x-forwarded-for",
        exclude: Sequence[str] = (),
        request_id_header: str = "x-request-id",
        record_requests: bool = False,
        find_actor: FindActor | None = None,
    ) -> None:
        """Put the middleware around an application.

        Args:
            trusted_proxies: How many of the host's own proxies are in front, see
                `web.client_address`. What a server such as uvicorn believes by itself
                (`--proxy-headers`, `--forwarded-allow-ips`) has happened before.
            forwarded_header: In which header those proxies write.
            exclude: Paths that are passed through untouched, with all below them.
            request_id_header: Read from the request and set on the answer.
            record_requests: Make an event of every request.
            find_actor: Asked with the scope whenever an event is made; gives an Actor, an object
                that the log can describe, or None for nobody. Must not block. By default
                `scope["user"]` is asked, as Starlette's authentication sets it.

        Raises:
            ConfigError: An option can't be meant.
        """
        self.app, self._audit = app, audit
        self._options = WebOptions(
            trusted_proxies=trusted_proxies,
            forwarded_header=forwarded_header,
            exclude=exclude,
            request_id_header=request_id_header,
            record_requests=record_requests,
            secret_names=audit.rules.names,
        )
        self._id_header = request_id_header.lower().encode("ascii")
        self._find_actor = find_actor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] not in ("http", "websocket")
            or SCOPE_KEY in scope  # an application inside another one that has the middleware
            or self._options.is_excluded(scope["path"])
        ):
            await self.app(scope, receive, send)
            return
        occasion = scope[SCOPE_KEY] = self._occasion(scope)
        answer = _Answer(
            occasion,
            send,
            tell=self._tell,
            id_header=self._id_header,
            tells_before=self._audit.on_failure == "raise",
        )
        with context.occasion(occasion):
            try:
                await self.app(scope, receive, answer.send)
            except anyio.get_cancelled_exc_class():
                await self._tell(occasion)  # what it had become before the client went away
                raise
            except Exception as error:
                if error is not answer.lost:
                    with self._audit.guarded("asgi"):
                        occasion.failed(error)
                try:
                    await self._tell(occasion)
                except AuditError as failure:
                    raise failure from error
                raise
            await self._tell(occasion)

    def _occasion(self, scope: Scope) -> _AsgiOccasion:
        given_id = next(_values(scope, self._id_header), None)
        return _AsgiOccasion(
            scope, self._options, given_id=given_id, find_actor=lambda: self._actor(scope)
        )

    def _actor(self, scope: Scope) -> Actor | None:
        if self._find_actor is not None:
            return given_actor(self._find_actor(scope), self._audit.describers)
        user = scope.get("user")
        if user is None:
            return None
        if not getattr(user, "is_authenticated", True):
            return ANONYMOUS
        actor = actor_of(user, self._audit.describers)
        return actor if actor.id else _named(user, actor)

    async def _tell(self, occasion: WebOccasion) -> None:
        """Record what the request has become since it was last told."""
        if not occasion.is_due:
            return
        events: list[Fields] = []
        with self._audit.guarded("asgi"):
            events = occasion.due()
        if not events or not context.is_recording():
            return
        if self._audit.is_buffered:
            self._write(events)
            return
        # A store blocks while it writes. Shielded: a request that was cancelled has an end, too.
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._write, events)

    def _write(self, events: Sequence[Fields]) -> None:
        with self._audit.guarded("asgi"):
            self._audit.deliver([self._audit.draft(**fields) for fields in events])


class _Answer:
    """What the application sends, on its way to the server.

    Attributes:
        lost: What the server raised because the client has gone.
    """

    __slots__ = ("_id_header", "_occasion", "_send", "_tell", "_tells_before", "lost")

    def __init__(
        self,
        occasion: _AsgiOccasion,
        send: Send,
        *,
        tell: Callable[[WebOccasion], Awaitable[None]],
        id_header: bytes,
        tells_before: bool,
    ) -> None:
        self._occasion, self._send, self._tell = occasion, send, tell
        self._id_header, self._tells_before = id_header, tells_before
        self.lost: OSError | None = None

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind in _BEGINNINGS:
            message = self._begun(kind, message)
            if self._tells_before:
                await self._tell(self._occasion)
        try:
            await self._send(message)
        except OSError as error:
            self.lost = error
            raise
        if kind in _ENDS and not message.get("more_body"):
            # Not later: after the answer an application may go on for long in background tasks.
            await self._tell(self._occasion)

    def _begun(self, kind: str, message: Message) -> Message:
        """Note the status, and set the request's id on the answer."""
        if kind != "websocket.close":
            self._occasion.answered(message.get("status", 101))
            given = list(message.get("headers") or ())
            if not any(name.lower() == self._id_header for name, _ in given):
                given.append((self._id_header, self._occasion.request_id.encode("ascii")))
            return {**message, "headers": given}
        if self._occasion.status is None and not self._occasion.is_nowhere():
            self._occasion.answered(403)  # which servers answer when it was not accepted
        return message


_BEGINNINGS = frozenset(
    {
        "http.response.start", "websocket.accept", "websocket.close",
        "websocket.http.response.start",
    }
)  # fmt: skip
_ENDS = frozenset({"http.response.body", "websocket.close", "websocket.http.response.body"})


class _AsgiOccasion(WebOccasion):
    __slots__ = ("_path", "_query", "_scope")

    def __init__(
        self,
        scope: Scope,
        options: WebOptions,
        *,
        given_id: str | None,
        find_actor: Callable[[], Actor | None],
    ) -> None:
        super().__init__(options, given_id=given_id, find_actor=find_actor)
        self._scope = scope
        # As it came: what is inside may rewrite it.
        self._path: str | bytes = scope.get("raw_path") or scope["path"]
        self._query: bytes = scope.get("query_string") or b""

    def read(self) -> Incoming:
        scope = self._scope
        peer, port = scope.get("client") or (None, None)
        path = self._path
        return Incoming(
            method=scope.get("method", "GET"),  # a websocket begins with GET
            path=path.partition(b"?")[0] if isinstance(path, bytes) else path,
            query=self._query.decode("latin-1"),
            peer=peer,
            port=port,
            forwarded=list(_values(scope, self.options.forwarded_header.encode("ascii"))),
            user_agent=next(_values(scope, b"user-agent"), None),
            traceparent=list(_values(scope, b"traceparent")),
        )

    def route(self) -> str | None:
        return route_of(self._scope)

    def parameters(self) -> Mapping[str, object]:
        return self._scope.get("path_params") or {}

    def is_nowhere(self) -> bool:
        """Was a websocket closed because there is none at its path, rather than refused?"""
        return "router" in self._scope and "endpoint" not in self._scope


def _values(scope: Scope, name: bytes) -> Iterator[str]:
    """The values of a header, one for each of its lines."""
    for key, value in scope["headers"]:
        if key.lower() == name:
            yield value.decode("latin-1")


def _named(user: object, actor: Actor) -> Actor:
    """An actor of a user object without an id, as Starlette's own are."""
    try:
        name = cut(guarded_text(getattr(user, "display_name", "")), 256)
    except Exception:  # noqa: BLE001 - a host's property: the object's text will do
        return actor
    return Actor(type="user", id=name, name=name) if name else actor


def route_of(scope: Scope) -> str | None:
    """The template of the route that a request has taken, None when it has taken none.

    As Litestar, FastAPI and Starlette leave it in the scope. Where a router only says what it found
    in the path, the template is put together of that, if there is one way to.
    """
    if isinstance(template := scope.get("path_template"), str):
        return template
    parameters = scope.get("path_params") or {}
    route = scope.get("route")
    if route is None:
        return _template(scope["path"], parameters) if "endpoint" in scope else None
    # The path of a FastAPI route that came with a router lacks the router's prefix.
    included = (scope.get("fastapi") or {}).get("effective_route_context")
    if included is not None and getattr(included, "original_route", None) is route:
        route = included
    prefix = scope.get("root_path", "").rstrip("/")
    prefix = _template(prefix, parameters, is_partial=True) or ""
    if hasattr(route, "routes"):  # a mount, which root_path has already
        return prefix + "/{path}"
    path = getattr(route, "path_format", None) or getattr(route, "path", None)
    return prefix + path if isinstance(path, str) else None


def _template(path: str, parameters: Mapping[str, Any], *, is_partial: bool = False) -> str | None:
    """The path with names in place of values; None if a value is not one segment of it."""
    segments = path.split("/")
    for name, value in parameters.items():
        text = guarded_text(value)
        if segments.count(text) == 1:
            segments[segments.index(text)] = f"{{{name}}}"
        elif not is_partial:
            return None
    return "/".join(segments)
