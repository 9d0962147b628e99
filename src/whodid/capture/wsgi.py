"""The audit log for every host that speaks WSGI: Flask, Pyramid, Bottle and plain ones.

```python
app.wsgi_app = AuditMiddleware(app.wsgi_app, audit)
```

Each request gets an id and becomes the context of what is recorded in it, while its answer is
iterated, too; an exception that nobody caught and an answer of 401 or 403 become events. The
answer's pieces pass one by one as they come, and no body is looked at.

The request runs in a copy of the thread's context, so that nothing of it is left for the next
request of the same thread, however the answer ends.

Flask answers 500 by itself to exceptions that nobody caught; they are taken from its signal
`got_request_exception`.
"""

from __future__ import annotations

import contextvars
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from whodid import context
from whodid.capture.web import (
    ForwardedHeader,
    Incoming,
    WebOccasion,
    WebOptions,
    given_actor,
    note_error,
)
from whodid.errors import AuditError
from whodid.event import Actor
from whodid.jsonable import cut
from whodid.log import AuditLog

Environ: TypeAlias = dict[str, Any]  # as WSGI has it: texts, streams and functions
Headers: TypeAlias = list[tuple[str, str]]
StartResponse: TypeAlias = Callable[..., Callable[[bytes], object]]
# `Any`: start_response has an optional third argument, which frameworks annotate in many ways.
App: TypeAlias = Callable[[Environ, Any], Iterable[bytes]]
FindActor: TypeAlias = Callable[[Environ], object]
Run: TypeAlias = Callable[..., Any]  # `Context.run`: gives what the function gives

__all__ = ["ENVIRON_KEY", "AuditMiddleware", "note_error"]

ENVIRON_KEY = "whodid.occasion"
"""Where in the environ the request's occasion is, for hosts that know more than the middleware."""


class AuditMiddleware:
    """Runs an application with each of its requests as the context of what it records.

    Events are written when the answer has been given out, before the server ends the request. When
    one can't be written the answer is what it would have been, unless the log fails closed
    (`on_failure="raise"`): then refusals are written before their answer begins, and the
    AuditError is raised to the application in place of it.
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
            app: The application; `flask_app.wsgi_app` for Flask.
            trusted_proxies: How many of the host's own proxies are in front, see
                `web.client_address`.
            forwarded_header: In which header those proxies write.
            exclude: Paths that are passed through untouched, with all below them.
            request_id_header: Read from the request and set on the answer.
            record_requests: Make an event of every request.
            find_actor: Asked with the environ whenever an event is made; gives an Actor, an object
                that the log can describe, or None for nobody. By default `REMOTE_USER` is asked,
                which servers and authentication middleware set.

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
        self._find_actor = find_actor
        _hear_flask()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        # An application inside another one that has the middleware has its context already.
        if ENVIRON_KEY in environ or self._options.is_excluded(_path(environ)):
            return self.app(environ, start_response)
        occasion = environ[ENVIRON_KEY] = self._occasion(environ)
        run = contextvars.copy_context().run
        run(context.occasion(occasion).__enter__)  # for as long as the copy lives
        exchange = _Exchange(self._audit, occasion, start_response, run)
        body: Iterable[bytes] = exchange.step(self.app, environ, exchange.start_response)
        wrapper = environ.get("wsgi.file_wrapper")
        if isinstance(wrapper, type) and isinstance(body, wrapper):
            exchange.tell()  # now: the server must get the file itself, to send it its own way
            return body
        if isinstance(body, list | tuple):
            return _SizedBody(body, exchange)
        return _Body(body, exchange)

    def _occasion(self, environ: Environ) -> _WsgiOccasion:
        given_id = environ.get(_key(self._options.request_id_header))
        return _WsgiOccasion(
            environ, self._options, given_id=given_id, find_actor=lambda: self._actor(environ)
        )

    def _actor(self, environ: Environ) -> Actor | None:
        if self._find_actor is not None:
            return given_actor(self._find_actor(environ), self._audit.describers)
        name = cut(str(environ.get("REMOTE_USER") or ""), 256)
        return Actor(type="user", id=name, name=name) if name else None


class _Exchange:
    """One request and its answer."""

    __slots__ = ("_audit", "_lost", "_occasion", "_start", "run")

    def __init__(
        self, audit: AuditLog, occasion: _WsgiOccasion, start: StartResponse, run: Run
    ) -> None:
        self._audit, self._occasion, self._start, self.run = audit, occasion, start, run
        self._lost: OSError | None = None

    def step(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a piece of the application in the request's context, and record what it raises."""
        try:
            return self.run(function, *args)
        except StopIteration:
            raise
        except Exception as error:
            if error is not self._lost:
                with self._audit.guarded("wsgi"):
                    self._occasion.failed(error)
            try:
                self.tell()
            except AuditError as failure:
                raise failure from error
            raise

    def start_response(
        self, status: str, headers: Headers, exc_info: Any = None
    ) -> Callable[[bytes], object]:
        """What the application calls in place of the server's."""
        occasion = self._occasion
        with self._audit.guarded("wsgi"):
            occasion.answered(_code(status))
            if exc_info and exc_info[1] is not None:
                occasion.failed(exc_info[1])
        if self._audit.on_failure == "raise" and occasion.is_due:
            self._tell()
        name = occasion.options.request_id_header
        if not any(given.lower() == name.lower() for given, _ in headers):
            headers = [*headers, (name, occasion.request_id)]
        # With two arguments unless there is a third: not all servers' have a default.
        write = self._start(status, headers, *([exc_info] if exc_info else []))
        return lambda data: self._write(write, data)

    def _write(self, write: Callable[[bytes], object], data: bytes) -> object:
        try:
            return write(data)
        except OSError as error:
            self._lost = error  # the client has gone: not the application's fault
            raise

    def tell(self) -> None:
        """Record what the request has become since it was last told."""
        if self._occasion.is_due:
            self.run(self._tell)

    def _tell(self) -> None:
        with self._audit.guarded("wsgi"):
            events = self._occasion.due()
            if events and context.is_recording():
                self._audit.deliver([self._audit.draft(**fields) for fields in events])


class _Body:
    """The answer's pieces. Told at their end or when closed, since not all middleware closes."""

    __slots__ = ("_exchange", "_given", "_is_closed", "_pieces")

    def __init__(self, given: Iterable[bytes], exchange: _Exchange) -> None:
        self._given, self._exchange = given, exchange
        self._is_closed = False
        self._pieces: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._pieces is None:
            self._pieces = self._exchange.step(iter, self._given)
        try:
            piece: bytes = self._exchange.step(next, self._pieces)
        except StopIteration:
            self._exchange.tell()
            raise
        return piece

    def close(self) -> None:
        self._is_closed = True
        close = getattr(self._given, "close", None)
        if close is not None:
            self._exchange.step(close)
        self._exchange.tell()

    def __del__(self) -> None:
        # Test clients forget to close. A generator of Flask's must end in the context it ran in.
        # Nothing is told here: what is collected may be so while the store holds its lock.
        close = getattr(self._given, "close", None)
        if close is not None and not self._is_closed and self._pieces is not None:
            self._exchange.run(close)


class _SizedBody(_Body):
    """The same with a length, of which servers make a Content-Length."""

    __slots__ = ("_size",)

    def __init__(self, given: Sequence[bytes], exchange: _Exchange) -> None:
        super().__init__(given, exchange)
        self._size = len(given)

    def __len__(self) -> int:
        return self._size


class _WsgiOccasion(WebOccasion):
    __slots__ = ("_environ", "_flask", "_path")

    def __init__(
        self,
        environ: Environ,
        options: WebOptions,
        *,
        given_id: str | None,
        find_actor: Callable[[], Actor | None],
    ) -> None:
        super().__init__(options, given_id=given_id, find_actor=find_actor)
        self._environ = environ
        # As it came: what is inside may move parts of it.
        self._path = _path(environ)
        self._flask: object = None

    def read(self) -> Incoming:
        environ = self._environ
        port = str(environ.get("REMOTE_PORT", ""))
        return Incoming(
            method=str(environ.get("REQUEST_METHOD", "")),
            path=self._path.encode("latin-1", "replace"),
            query=str(environ.get("QUERY_STRING", "")),
            peer=environ.get("REMOTE_ADDR"),
            port=int(port) if port.isascii() and port.isdecimal() and len(port) <= 5 else None,
            forwarded=_present(environ, self.options.forwarded_header),
            user_agent=environ.get("HTTP_USER_AGENT"),
            traceparent=_present(environ, "traceparent"),
        )

    def route(self) -> str | None:
        return _template(getattr(self._flasks(), "url_rule", None), self._environ)

    def parameters(self) -> Mapping[str, object]:
        return getattr(self._flasks(), "view_args", None) or {}

    def answered(self, status: int) -> None:
        super().answered(status)
        self._flask = self._flasks()

    def _flasks(self) -> object:
        """Flask's own request, which it takes away again when the view has returned."""
        return self._environ.get("werkzeug.request") or self._flask


def _path(environ: Environ) -> str:
    """The path from the root of the host, its bytes as characters."""
    path: str = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    return path or "/"


def _key(header: str) -> str:
    return "HTTP_" + header.upper().replace("-", "_")


def _present(environ: Environ, header: str) -> list[str]:
    # Servers join the lines of one header with commas.
    value = environ.get(_key(header))
    return [] if value is None else [value]


def _code(status: str) -> int:
    digits = status[:3]
    return int(digits) if digits.isascii() and digits.isdecimal() else 0


_RULE_PART = re.compile(r"<(?:[^<>:]*:)?([^<>]+)>")


def _template(rule: object, environ: Environ) -> str | None:
    """A rule of Flask's as other frameworks write their routes."""
    text = getattr(rule, "rule", None)
    if not isinstance(text, str):
        return None
    prefix: str = environ.get("SCRIPT_NAME", "").rstrip("/")
    return prefix + _RULE_PART.sub(r"{\1}", text)


def _hear_flask() -> None:
    """Hear of the exceptions that Flask answers by itself, however its application is wrapped."""
    flask = sys.modules.get("flask")
    if flask is not None:
        flask.got_request_exception.connect(_heard)  # once, however often it is called


def _heard(_app: object, exception: BaseException, **_rest: object) -> None:
    note_error(exception)
