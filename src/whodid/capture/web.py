"""What a request over HTTP is to an event, whatever framework serves it.

Addresses behind proxies, request ids, W3C trace context, URLs without values, exceptions as error
details, and what a finished request means. Pure: no framework and no I/O, so that the ASGI, WSGI
and Django middlewares say the same of the same request.

A request's headers are claims of whoever sent it. Of addresses only those are believed that a
configured number of the host's own proxies wrote. Bodies, cookies and headers that are not named
here are never looked at.
"""

from __future__ import annotations

import re
import socket
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from types import FrameType
from typing import Any, Literal, TypeAlias, get_args
from urllib.parse import quote, unquote

from msgspec import UNSET

from whodid import context
from whodid.context import Occasion
from whodid.describe import Describer, actor_of, message_of
from whodid.errors import ConfigError, UnavailableError
from whodid.event import (
    Actor,
    Client,
    ErrorDetail,
    Outcome,
    Reason,
    Request,
    Target,
    Trace,
    packed_ip,
)
from whodid.ids import uuid7
from whodid.jsonable import MAX_TEXT, cut, guarded_text, plain
from whodid.redaction import MASK, SECRET_NAMES, WORD_MASK, is_secret_name

ForwardedHeader: TypeAlias = Literal["x-forwarded-for", "forwarded"]
FORWARDED_HEADERS: tuple[ForwardedHeader, ...] = get_args(ForwardedHeader)
Fields: TypeAlias = Mapping[str, Any]
"""Keyword arguments for `AuditLog.draft`, `action` among them."""

MAX_USER_AGENT = 300  # characters
MAX_REQUEST_ID = 128
MAX_FORWARDED = 16  # addresses that are kept as claims, the nearest ones
MAX_FAULTS = 100
_MAX_SHORT = 256
_MAX_URL = 2_048
_MAX_METHOD = 16

# -- addresses -----------------------------------------------------------------------------------


def client_address(
    peer: str | None,
    forwarded: Sequence[str],
    *,
    trusted_proxies: int,
    header: ForwardedHeader = "x-forwarded-for",
) -> str | None:
    """The client's address, in its shortest form; None when it is none or not known.

    Each proxy adds, at the right end, the address it was called from. So the last
    `trusted_proxies` entries were written by the host's own proxies, and the first of these names
    the client; what stands before it anybody can have sent. With fewer entries the request did not
    come through all the proxies, and none is believed.

    Args:
        peer: Who opened the connection to the host.
        forwarded: The values of the header, one per line of the request, in its order.
        trusted_proxies: Number of the host's own proxies in front of it; 0 believes no header.
        header: How the proxies write: `forwarded` is RFC 7239.
    """
    if trusted_proxies > 0:
        hops = _hops(forwarded, header)
        if len(hops) >= trusted_proxies:
            return _address(hops[-trusted_proxies])
    return _address(peer or "")


def client_of(
    peer: str | None,
    forwarded: Sequence[str] = (),
    *,
    port: int | None = None,
    user_agent: str | None = None,
    trusted_proxies: int = 0,
    header: ForwardedHeader = "x-forwarded-for",
) -> Client:
    """From where a request came.

    The port is the client's own only when no proxy is between. `forwarded_for` holds the header's
    last entries as they came, a claim; without trusted proxies there is no reason to keep it.
    """
    address = client_address(peer, forwarded, trusted_proxies=trusted_proxies, header=header)
    is_direct = trusted_proxies == 0 and address is not None
    hops = _hops(forwarded, header) if trusted_proxies else []
    claims = [_printable(hop)[:_MAX_SHORT] for hop in hops[-MAX_FORWARDED:]]
    agent = cut(_printable(user_agent or ""), MAX_USER_AGENT)
    return Client(
        ip=address or UNSET,
        port=port if is_direct and port is not None and 0 <= port <= 65_535 else UNSET,
        forwarded_for=tuple(claim for claim in claims if claim),
        user_agent=agent or UNSET,
    )


def _hops(values: Sequence[str], header: ForwardedHeader) -> list[str]:
    """One entry per proxy, left to right. Empty ones count: a proxy wrote them, too."""
    hops = [hop.strip() for value in values for hop in value.split(",")]
    if header == "x-forwarded-for":
        return hops
    return [_forwarded_node(hop) for hop in hops]


# Cut at every comma, quoted or not: no node of RFC 7239 holds one, and a quote that the client
# opened must not swallow what a proxy wrote behind it.
_NODE = re.compile(r'(?:^|;)\s*for\s*=\s*"?([^";]*)', re.IGNORECASE)


def _forwarded_node(element: str) -> str:
    found = _NODE.search(element)
    return found[1].strip() if found else ""


_BRACKETED = re.compile(r"\[([^\]]*)\](?::\d{1,5})?")
_WITH_PORT = re.compile(r"([\d.]+):\d{1,5}")


def _address(text: str) -> str | None:
    """The address in `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`."""
    text = text.strip()
    found = _BRACKETED.fullmatch(text) or _WITH_PORT.fullmatch(text)
    bare = (found[1] if found else text).partition("%")[0]  # fe80::1%eth0
    packed = packed_ip(bare)
    if packed is None:
        return None
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(filter(str.isprintable, text))


# -- ids, traces, URLs ---------------------------------------------------------------------------

_REQUEST_ID = re.compile(f"[!-~]{{1,{MAX_REQUEST_ID}}}")
_TRACEPARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-((?!0{32})[0-9a-f]{32})-((?!0{16})[0-9a-f]{16})-[0-9a-f]{2}(-.*)?"
)


def request_id(given: str | None) -> str:
    """The id that was sent with a request if it is short printable ASCII, else a new one."""
    if given and _REQUEST_ID.fullmatch(given):
        return given
    return uuid7()


def trace_of(traceparent: str | Sequence[str] | None) -> Trace | None:
    """The trace that a request belongs to, None if its header breaks the rules.

    W3C Trace Context §3.2: lower case only, version ff and ids of zeros are invalid, version 00
    has four fields, later ones may have more; a header sent twice is none.
    """
    values = [traceparent] if isinstance(traceparent, str) else list(traceparent or ())
    found = _TRACEPARENT.fullmatch(values[0].strip(" \t")) if len(values) == 1 else None
    if found is None or (found[1] == "00" and found[4]):
        return None
    return Trace(trace_id=found[2], span_id=found[3])


_PATH_SAFE = "/%:@!$&'()*+,;=~"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\[\]-]{0,31}")
_BARE_NAME = re.compile(r"[A-Za-z_.-]{1,32}")  # without `=` and with digits it may be a token


def stripped_url(path: str | bytes, query: str = "") -> str:
    """The address with the names of its parameters and without their values, at most 2,048 long.

    Args:
        path: From the root of the host; what may not stand in a URL is escaped.
        query: Without the question mark.
    """
    plain_path = path if isinstance(path, bytes) else path.encode("utf-8", "replace")
    url = quote(plain_path, safe=_PATH_SAFE)
    if query:
        url += "?" + "&".join(map(_without_value, re.split("[&;]", query[: 4 * _MAX_URL])))
    return cut(url, _MAX_URL)


def _without_value(parameter: str) -> str:
    name, equals, value = parameter.partition("=")
    if not equals:
        return name if not name or _BARE_NAME.fullmatch(name) else MASK
    return f"{name if _NAME.fullmatch(name) else MASK}={MASK if value else ''}"


# -- exceptions ----------------------------------------------------------------------------------

_OWN = "whodid.capture."
# What frameworks raise when the client has gone. By name, so that none is imported.
_DISCONNECTS = frozenset({"ClientDisconnect", "ClientDisconnected", "WebSocketDisconnect"})


def is_disconnect(error: BaseException) -> bool:
    """Has only the client gone away?"""
    return any(kind.__name__ in _DISCONNECTS for kind in type(_only(error)).__mro__)


def fingerprint(error: BaseException) -> str:
    """16 hex digits that are the same for the same error from the same place.

    Of the type and the functions it came through, each once, so that neither edits of other lines
    nor the depth of a recursion nor any value makes a new group.
    """
    error = _only(error)
    kind = type(error)
    functions = dict.fromkeys(
        f"{frame.f_globals.get('__name__')}:{frame.f_code.co_qualname}" for frame in _frames(error)
    )
    places = (f"{kind.__module__}:{kind.__qualname__}", *functions)
    return sha256("\n".join(places).encode("utf-8", "replace")).hexdigest()[:16]


def _frames(error: BaseException) -> Iterator[FrameType]:
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if not str(frame.f_globals.get("__name__")).startswith(_OWN):
            yield frame


def error_of(error: BaseException) -> ErrorDetail:
    """What broke: type, message without secrets and cut, fingerprint; no locals, no bodies."""
    error = _only(error)
    return ErrorDetail(
        type=plain(type(error).__name__[:_MAX_SHORT]) or UNSET,
        message=message_of(error, limit=MAX_TEXT) or UNSET,
        fingerprint=fingerprint(error),
    )


def _only(error: BaseException) -> BaseException:
    """The one exception inside a group of one: task groups wrap whatever is raised in them."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


# -- what a finished request means ---------------------------------------------------------------

_TRAFFIC: Mapping[str, str] = {
    "GET": "http.read", "HEAD": "http.read", "OPTIONS": "http.read",
    "POST": "http.create", "PUT": "http.update", "PATCH": "http.update", "DELETE": "http.delete",
}  # fmt: skip
_DENIED = (401, 403)


def fault(detail: ErrorDetail) -> Fields:
    """The event of an exception that nobody caught."""
    return {
        "action": "error.raise",
        "outcome": "error",
        "reason": Reason(code="exception"),
        "error": detail,
    }


def denial(status: int, path: str) -> Fields | None:
    """The event of a refused request; None for any other.

    401 and 403 have the same reason, as in imported access logs; the status tells them apart.
    """
    if status not in _DENIED:
        return None
    return {
        "action": "access.check",
        "outcome": "denied",
        "reason": Reason(code="not_permitted"),
        "targets": [_path_target(path)],
    }


def traffic(method: str, status: int, path: str) -> Fields:
    """The event of any request, for hosts that want all of them."""
    return {
        "action": _TRAFFIC.get(method, "http.request"),
        "outcome": _outcome(status),
        "targets": [_path_target(path)],
    }


def _outcome(status: int) -> Outcome:
    if status in _DENIED:
        return "denied"
    return "success" if status < 400 else "failure" if status < 500 else "error"


def _path_target(path: str) -> Target:
    return Target(type="path", id=cut(path, _MAX_SHORT) or "/")


# -- one request ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class WebOptions:
    """What a host may choose about its requests.

    Attributes:
        trusted_proxies: As `client_address` takes it. Too high a number lets whoever reaches the
            host past a proxy choose an address.
        exclude: Paths whose requests, and those below, are passed through untouched.
        request_id_header: Read from the request and set on the answer.
        record_requests: Make an event of every request, besides errors and refusals.
        secret_names: What a route gives one of these names is masked in the path.

    Raises:
        ConfigError: One of them can't be meant.
    """

    trusted_proxies: int = 0
    forwarded_header: ForwardedHeader = "x-forwarded-for"
    exclude: Sequence[str] = ()
    request_id_header: str = "x-request-id"
    record_requests: bool = False
    secret_names: frozenset[str] = SECRET_NAMES

    def __post_init__(self) -> None:
        proxies = self.trusted_proxies
        if not isinstance(proxies, int) or isinstance(proxies, bool) or not 0 <= proxies <= 32:
            raise ConfigError(f"trusted_proxies: expected a number from 0 to 32, got {proxies!r}")
        if self.forwarded_header not in FORWARDED_HEADERS:
            raise ConfigError(
                f"forwarded_header: expected one of {', '.join(FORWARDED_HEADERS)}, "
                f"got {self.forwarded_header!r}"
            )
        if isinstance(self.exclude, str):
            raise ConfigError("exclude: expected a list of paths, got one text; put it in a list")
        if not re.fullmatch(r"[A-Za-z0-9-]+", self.request_id_header):
            raise ConfigError(
                f"request_id_header: expected letters, digits and -, got {self.request_id_header!r}"
            )

    def is_excluded(self, path: str) -> bool:
        """Is this path, or one above it, to be left alone?"""
        return any(
            path == prefix or path.startswith(prefix.rstrip("/") + "/") for prefix in self.exclude
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """What a framework knows of a request, as it came.

    Attributes:
        path: From the root of the host.
        forwarded: The values of the header that the options name.
    """

    method: str
    path: str | bytes
    query: str
    peer: str | None
    port: int | None
    forwarded: Sequence[str]
    user_agent: str | None
    traceparent: Sequence[str]


class WebOccasion(Occasion, ABC):
    """One request, described when an event asks for it: most requests make none.

    So the route, which is known only after routing, is in the events that a view records. Status
    and duration are there from the moment the answer begins. What is assigned to `request`,
    `client` or `trace` replaces what would have been found.

    Attributes:
        request_id: Taken from the request or made.
        status: Of the answer, None before it begins.
        duration_ms: Until the answer began.
        is_refusal_told: An event tells already why the request is refused.
    """

    __slots__ = (
        "_begun", "_client", "_faults", "_faults_told", "_incoming", "_is_told", "_request",
        "_trace", "duration_ms", "is_refusal_told", "options", "request_id", "status",
    )  # fmt: skip
    # Set through their properties, by the initializer above this one.
    _client: Client | None
    _request: Request | None
    _trace: Trace | None

    def __init__(
        self,
        options: WebOptions,
        *,
        given_id: str | None,
        find_actor: Callable[[], Actor | None] | None,
    ) -> None:
        super().__init__(find_actor=find_actor)
        self._begun = time.perf_counter()
        self._incoming: Incoming | None = None
        self._faults: list[ErrorDetail] = []
        self._faults_told = 0
        self._is_told = self.is_refusal_told = False
        self.options = options
        self.request_id = request_id(given_id)
        self.status: int | None = None
        self.duration_ms: float | None = None

    @abstractmethod
    def read(self) -> Incoming:
        """The request as it came; asked for once."""

    @abstractmethod
    def route(self) -> str | None:
        """The template of the route, None before it is known."""

    @abstractmethod
    def parameters(self) -> Mapping[str, object]:
        """What the route found in the path, by the names that it has there; empty before."""

    @property
    def incoming(self) -> Incoming:
        if self._incoming is None:
            self._incoming = self.read()
        return self._incoming

    @property
    def path(self) -> str | bytes:
        """The path as it came; what the route gives the name of a secret is masked in it."""
        path = self.incoming.path
        secrets = [
            guarded_text(value)
            for name, value in self.parameters().items()
            if is_secret_name(name, names=self.options.secret_names) and value
        ]
        if not secrets:
            return path
        text = unquote(path)
        for secret in secrets:
            if secret not in text:  # it was written in another way than the host reads it
                return self.route() or f"/{WORD_MASK}"
            text = text.replace(secret, WORD_MASK)
        return text

    @property
    def request(self) -> Request | None:
        if self._request is not None:
            return self._request
        seen = self.incoming
        route = self.route()
        return Request(
            id=self.request_id,
            method=_printable(seen.method)[:_MAX_METHOD] or UNSET,
            route=cut(_printable(route), _MAX_SHORT) or UNSET if route else UNSET,
            url=stripped_url(self.path, seen.query) or UNSET,
            status=UNSET if self.status is None else self.status,
            duration_ms=UNSET if self.duration_ms is None else self.duration_ms,
        )

    @request.setter
    def request(self, given: Request | None) -> None:
        self._request = given

    @property
    def client(self) -> Client | None:
        if self._client is None:
            seen = self.incoming
            self._client = client_of(
                seen.peer,
                seen.forwarded,
                port=seen.port,
                user_agent=seen.user_agent,
                trusted_proxies=self.options.trusted_proxies,
                header=self.options.forwarded_header,
            )
        return self._client

    @client.setter
    def client(self, given: Client | None) -> None:
        self._client = given

    @property
    def trace(self) -> Trace | None:
        if self._trace is None:
            return trace_of(self.incoming.traceparent)
        return self._trace

    @trace.setter
    def trace(self, given: Trace | None) -> None:
        self._trace = given

    def answered(self, status: int) -> None:
        """The answer has begun."""
        self.status = status if 100 <= status <= 599 else None
        self.duration_ms = round((time.perf_counter() - self._begun) * 1_000, 3)

    def failed(self, error: BaseException) -> None:
        """An exception that nobody caught; the same one may be seen in several places.

        The first 100 different ones of a request are told: a websocket may stay open for days.
        """
        if not isinstance(error, Exception) or is_disconnect(error):
            return
        if isinstance(error, UnavailableError):
            return  # the store failed a host that fails closed: it could not be told that, either
        detail = error_of(error)
        is_new = all(
            (detail.type, detail.message) != (seen.type, seen.message) for seen in self._faults
        )
        if is_new and len(self._faults) < MAX_FAULTS:
            self._faults.append(detail)
        if self.status is None:
            self.answered(500)

    @property
    def is_due(self) -> bool:
        """Has `due` something to give? Of most requests it has not."""
        return self._faults_told < len(self._faults) or self._is_answer_due

    @property
    def _is_answer_due(self) -> bool:
        status = self.status
        return (
            not self._is_told
            and status is not None
            and (status in _DENIED or self.options.record_requests)
        )

    def due(self) -> list[Fields]:
        """The events that this request has become since it was last asked."""
        told, self._faults_told = self._faults_told, len(self._faults)
        events = [fault(detail) for detail in self._faults[told:]]
        if self.status is not None and self._is_answer_due:
            self._is_told = True
            events += self._of_answer(self.status)
        return events

    def _of_answer(self, status: int) -> Iterator[Fields]:
        path = stripped_url(self.path)
        refused = None if self.is_refusal_told else denial(status, path)
        if refused is not None:
            yield refused
        if self.options.record_requests:
            yield traffic(self.incoming.method, status, path)


def note_error(error: BaseException) -> None:
    """Record an exception that the framework turns into an answer without passing it on.

    For error handlers, signals, and hooks such as Litestar's `after_exception`. Outside of a
    request it does nothing.
    """
    occasion = context.current_occasion()
    if isinstance(occasion, WebOccasion):
        occasion.failed(error)


def given_actor(found: object, describers: Sequence[Describer]) -> Actor:
    """The actor that a host's own `find_actor` has found; None is nobody.

    Raises:
        TypeError: It found a mapping or a text that names none.
    """
    return ANONYMOUS if found is None else actor_of(found, describers)


ANONYMOUS = Actor(type="anonymous")
