"""Talks to a whodid server: sends events to its ingest API, and asks it for some.

`Client.append` is what a store's `append` is, so that everything which delivers events delivers
to a server as well. Each answer becomes one of three things that a sender can do: the batch is
stored; something in it can never be (`InvalidError`); or the same may work later (any other
`AuditError`), after the time that the server names. Needs the standard library alone.

Not here: keeping events until the server has them (`outbox`).
"""

from __future__ import annotations

import http.client
import logging
import ssl
import threading
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, NoReturn
from urllib.parse import quote, urlencode, urlsplit

import msgspec
from msgspec import UNSET, Struct, structs

from whodid import event as events
from whodid.canonical import Encoded
from whodid.errors import (
    BatchError,
    ConfigError,
    ConflictError,
    EventError,
    InvalidError,
    RefusedError,
    StoreUnavailableError,
)
from whodid.event import DEFAULT_TENANT, Event

MAX_EVENTS = 500
MAX_BODY_BYTES = 4_000_000  # unpacked; a server takes 5 MB unless its operator chose another limit
_MAX_ANSWER_BYTES = 64 << 20
_PACKED_FROM_BYTES = 1_024
# What a server adds to an event that it gives out, beside `id` and `tenant`.
_ADDED = ("received_at", "index", "erased")
_OWN = "audit."

_logger = logging.getLogger("whodid")
_write_event = msgspec.json.Encoder(enc_hook=events.write_hook).encode


class Receipt(Struct, frozen=True):
    """What a server says of an event that it has.

    Attributes:
        index: Leaf position in the tenant's tree, zero-based; None until sealed.
        received_at: RFC 3339, by the server's clock.
        duplicate: It had the event before.
    """

    id: str
    tenant: str
    index: int | None
    received_at: str
    duplicate: bool


class _Receipts(Struct):
    receipts: list[Receipt]


class _Fault(Struct):
    index: int
    path: str = "$"
    problem: str = "not an event"


class _Problem(Struct):
    type: str = ""
    detail: str = ""
    errors: list[_Fault] = []
    index: int = 0
    path: str = "$"


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def retry_after_s(self) -> float | None:
        """How long the server asks to wait; at most an hour is believed."""
        said = self.headers.get("retry-after", "")
        return min(float(said), 3_600.0) if said.isdecimal() else None

    def problem(self) -> _Problem:
        try:
            return msgspec.json.decode(self.body, type=_Problem)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return _Problem()  # of a proxy's


class Client:
    """A server, as one key sees it. Safe for use from many threads, and after fork."""

    def __init__(self, url: str, *, key: str | None = None, timeout_s: float = 30.0) -> None:
        """Remember where the server is; nothing is sent yet.

        Args:
            url: E.g. `https://audit.example.com`, with the path that a proxy puts before it.
            key: `whodid_…`, with the scope `ingest` to send and `read` to ask.
            timeout_s: For connecting, and for each answer.

        Raises:
            ConfigError: This is no such URL, or the key no key.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError("expected the URL of a server, such as https://audit.example.com")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ConfigError(
                "the URL of a server has no user, query or fragment; give the key as `key`, "
                "or in the environment as WHODID_KEY"
            )
        if key is not None and not (key.isascii() and key.isprintable() and " " not in key):
            raise ConfigError("the key of a server is one word such as whodid_…; look for a blank")
        self.url = url.rstrip("/")
        self._host, self._port = parts.hostname, _port_of(url)
        self._base = parts.path.rstrip("/")
        self._timeout_s = timeout_s
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._headers = {"User-Agent": "whodid-client"}
        if key is not None:
            self._headers["Authorization"] = f"Bearer {key}"
            if self._tls is None and not _is_here(self._host):
                _logger.warning("the key of the audit log's server goes over plain http; use https")
        self._lock = threading.Lock()
        self._kept: http.client.HTTPConnection | None = None

    # -- sending

    def append(
        self, batch: Sequence[Encoded], *, writer: object = None, now: object = None
    ) -> list[Receipt]:
        """Have a batch stored, all or nothing; durable there when it returns, idempotent by id.

        Raises:
            InvalidError: Something in it can never be stored.
            RefusedError: The server does not take this key.
            StoreUnavailableError: Not now; says after which time, if the server did.
        """
        return self.send([wire_bytes(each.event) for each in batch])

    def send(self, lines: Sequence[bytes]) -> list[Receipt]:
        """The same with events as `wire_bytes` writes them."""
        body = b"\n".join(lines)
        headers = {"Content-Type": "application/x-ndjson"}
        if len(body) >= _PACKED_FROM_BYTES:
            body, headers["Content-Encoding"] = _packed(body), "gzip"
        with self._lock:
            answer = self._ask("POST", "/v1/events", body=body, headers=headers, keep=True)
        if answer.status not in (200, 201):
            _raise_for(answer, self.url, count=len(lines))
        try:
            receipts = msgspec.json.decode(answer.body, type=_Receipts).receipts
        except (msgspec.MsgspecError, UnicodeError):
            receipts = []
        if len(receipts) != len(lines):
            raise StoreUnavailableError(f"{self.url} answers as no whodid does; check the URL")
        return receipts

    # -- asking

    def search(self, query: str, *, tenant: str | None = None, limit: int = 50) -> list[Event]:
        """The newest events that a search finds, among those that the key may see.

        Args:
            tenant: Only its events.

        Raises:
            InvalidError: The search can't be read; says where.
            RefusedError: The key may not read.
            StoreUnavailableError: Not now.
        """
        wanted = f"({query}) tenant:{_quoted(tenant)}" if tenant and query.strip() else query
        if tenant and not query.strip():
            wanted = f"tenant:{_quoted(tenant)}"
        answer = self._get(f"/v1/events?{urlencode({'q': wanted, 'limit': limit})}")
        return [_event_of(each) for each in msgspec.json.decode(answer.body)["events"]]

    def find(self, event_id: str, *, tenant: str | None = None) -> Event | None:
        """The event with this id; None when there is none that the key may see.

        Raises:
            As `search`.
        """
        chosen = f"?{urlencode({'tenant': tenant})}" if tenant else ""
        answer = self._get(f"/v1/events/{quote(event_id, safe='')}{chosen}", may_miss=True)
        return None if answer.status == 404 else _event_of(msgspec.json.decode(answer.body))

    def _get(self, path: str, *, may_miss: bool = False) -> _Answer:
        answer = self._ask("GET", path, keep=False)
        is_miss = may_miss and answer.status == 404 and answer.problem().type.endswith(":event")
        if answer.status != 200 and not is_miss:
            _raise_for(answer, self.url, count=0)
        return answer

    def close(self) -> None:
        """Let go of the connection; one is made anew at need. Idempotent."""
        with self._lock:
            self._drop()

    def begin_anew(self) -> None:
        """In a child after fork: the connection is the parent's."""
        self._lock = threading.Lock()
        self._kept = None

    # -- one request

    def _ask(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        keep: bool,
    ) -> _Answer:
        """One answer.

        Args:
            keep: Use the connection that is kept, the lock being held.
        """
        is_kept = keep and self._kept is not None
        connection = self._kept if keep and self._kept is not None else self._connect()
        try:
            connection.request(
                method, self._base + path, body=body, headers={**self._headers, **(headers or {})}
            )
            answer = _read(connection)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            if is_kept and isinstance(error, ConnectionError):
                # The server may have closed what was idle. Sent twice is stored once: ids tell.
                self._kept = None
                return self._ask(method, path, body=body, headers=headers, keep=keep)
            raise StoreUnavailableError(
                f"{self.url} can't be reached: {_words_of(error)}"
            ) from error
        if keep and connection.sock is not None:
            self._kept = connection
        else:
            connection.close()
            self._kept = None if keep else self._kept
        return answer

    def _connect(self) -> http.client.HTTPConnection:
        if self._tls is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        return http.client.HTTPSConnection(
            self._host, self._port, timeout=self._timeout_s, context=self._tls
        )

    def _drop(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None


def wire_bytes(event: Event) -> bytes:
    """An event as it is sent: one line of JSON.

    The tenant that stands for "none" is left out, so that a key that is bound to another fills in
    its own. Actions beginning with `audit.` are the server's own: what this process says of its
    losses goes as `logging.drop`.
    """
    if event.tenant and event.tenant.id == DEFAULT_TENANT and not event.tenant.name:
        event = structs.replace(event, tenant=UNSET)
    if event.action.startswith(_OWN):
        event = structs.replace(event, action=event.action.removeprefix(_OWN))
    return _write_event(event)


def _read(connection: http.client.HTTPConnection) -> _Answer:
    response = connection.getresponse()
    body = response.read(_MAX_ANSWER_BYTES + 1)
    if len(body) > _MAX_ANSWER_BYTES:
        raise http.client.HTTPException("the answer is too large")
    if response.length:  # the connection broke in the middle
        raise http.client.IncompleteRead(body)
    return _Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, body)


def _raise_for(answer: _Answer, url: str, *, count: int) -> NoReturn:
    """What an answer that is none of success means.

    Raises:
        AuditError: Of the kind that says what the sender can do.
    """
    problem = answer.problem()
    said = problem.detail or f"it answers {answer.status}"
    kind = problem.type.rpartition(":")[2]
    match answer.status:
        case 409:
            raise ConflictError(problem.path, index=problem.index, by="id or idempotency key")
        case 422 | 403 if problem.errors:
            raise BatchError([(each.index, _fault(each)) for each in problem.errors])
        case 413 | 422:
            raise InvalidError(f"{url}: {said}")
        case 400 if kind in ("json", "query", "parameter", "cursor", "invalid"):
            raise InvalidError(f"{url}: {said}")
        case 401 | 403:
            raise RefusedError(f"{url}: {said}")
        case status if 300 <= status < 400:
            where = answer.headers.get("location", "elsewhere")
            raise StoreUnavailableError(f"{url} sends to {where[:200]}; use that URL")
    raise StoreUnavailableError(f"{url}: {said}", retry_after_s=answer.retry_after_s)


def _fault(found: _Fault) -> EventError:
    return EventError(found.path, found.problem)


def _event_of(given: dict[str, Any]) -> Event:
    """An event that a server gave out, without what it added."""
    known = {key: value for key, value in given.items() if key not in _ADDED}
    known.setdefault("occurred_at", given.get("received_at"))
    if known.get("actor") == {"erased": True}:
        known["actor"] = {"type": "unknown"}
    known["targets"] = [
        {"type": "erased"} if each == {"erased": True} else each
        for each in known.get("targets", ())
    ]
    known["changes"] = [each for each in known.get("changes", ()) if each != {"erased": True}]
    return events.from_mapping(known)


def _packed(body: bytes) -> bytes:
    packer = zlib.compressobj(1, wbits=31)  # fast, in gzip's form
    return packer.compress(body) + packer.flush()


def _port_of(url: str) -> int | None:
    try:
        return urlsplit(url).port
    except ValueError as error:
        raise ConfigError(f"the URL of a server: {error}") from None


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _words_of(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
