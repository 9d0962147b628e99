"""Who may reach the server, and what they may see.

Two ways in. A **key** (`Authorization: Bearer whodid_<id>_<secret>`) opens the API as far as its
scopes and its tenant go. **Without a key** a person at this very machine gets in, to the API and
to the pages, as long as no key exists: only when the server listens on a loopback address, the
peer is one, the Host is a name of this machine, nothing says that a proxy stands between, and an
unsafe request does not come from a foreign page. Each of those conditions closes a known door:
DNS rebinding (Host), a reverse proxy that would make the whole world local (Forwarded,
X-Forwarded-*, Via), a web page that posts to localhost (Origin, Sec-Fetch-Site).

The pages open on a loopback address alone, to requests that meet all of those conditions; as soon
as a key exists they need one with the scope `read` besides, since a reverse proxy that adds no
header looks like a person here. A browser sends it by Basic, see `login`. The viewer's static
files show nothing of the log and need none. On any other address the pages stay shut until there
are users.

`Gate` stands before every route but /healthz. Bodies are read behind it, never before.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from threading import Lock
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from whodid.access import Access
from whodid.errors import ConfigError
from whodid.server.login import key_needed, password_of
from whodid.server.problems import RETRY_AFTER_S, ProblemError, refuse
from whodid.server.settings import Settings, is_loopback_address
from whodid.server.threads import Threads
from whodid.stores.base import ApiKey, EventStore
from whodid.times import Instant

SCOPES = frozenset({"ingest", "read", "export", "manage"})
OPEN_PATHS = frozenset({"/healthz"})
STATIC = "/static/"
"""Below are the viewer's own files, which show nothing of the log."""
ALL_TENANTS = "*"

_KEY = re.compile(r"whodid_([a-z0-9]{1,32})_([A-Za-z0-9_-]{20,128})", re.ASCII)
_LOCAL_HOST = re.compile(
    r"(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?", re.ASCII | re.IGNORECASE
)
_SAFE_METHODS = frozenset({"GET", "HEAD"})
_REMEDY = "make a key with `whodid keys create` and send it as `Authorization: Bearer <key>`"
_NOT_LOCAL_TO_API = f"without a key only this machine gets in: {_REMEDY}"
_NOT_LOCAL_TO_PAGES = (
    "the pages open at this machine alone, with and without a key: come through a tunnel, "
    f"or use the API: {_REMEDY}"
)
_SCOPE_ENTRY = "whodid.caller"
_NO_SECRET = b"\0" * 32  # compared with when there is no such key, so that both take as long
_MAX_REMEMBERED_KEYS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who sent a request that got through the gate.

    Attributes:
        key: The credential, or None for the person at this machine.
        address: Where the connection comes from.
        is_stranger: Came without a key for what shows nothing of the log, and sees nothing.
    """

    key: ApiKey | None
    address: str
    is_stranger: bool = False

    @property
    def principal(self) -> str:
        """The same for the same caller, e.g. `key:k3f9a2c1`."""
        return f"key:{self.key.id}" if self.key else f"local:{self.address}"

    @property
    def writer(self) -> str | None:
        """What the stamp of an event says about who appended it."""
        return f"key:{self.key.id}" if self.key else None

    @property
    def tenant(self) -> str | None:
        """The one tenant that the caller is bound to, or None."""
        return None if self.key is None or self.key.tenant == ALL_TENANTS else self.key.tenant

    @property
    def access(self) -> Access:
        """What the caller may see. The person at this machine owns the file: everything."""
        if self.is_stranger:
            return Access()
        if self.key is None:
            return Access.everything()
        if "read" not in self.key.scopes:
            return Access()
        if self.tenant is None:
            return Access(tenants=None, permissions=frozenset({"read"}))
        return Access.reader({self.tenant})

    def check_scope(self, scope: str) -> None:
        """Let the caller pass if its key has this scope.

        Raises:
            ProblemError: 403.
        """
        if self.key is not None and scope not in self.key.scopes:
            raise refuse(
                403, "scope", f"this key lacks the scope {scope!r}; make one that has it "
                f"with `whodid keys create --scope {scope}`",
            )  # fmt: skip


def caller_of(scope: Scope) -> Caller:
    """Who sent this request; the gate has put it there."""
    caller: Caller = scope[_SCOPE_ENTRY]
    return caller


def new_key(
    *,
    name: str,
    tenant: str,
    scopes: Collection[str],
    now: Instant,
    expires_at: Instant | None = None,
) -> tuple[str, ApiKey]:
    """Make a credential: the text for its owner, shown once, and what the store keeps of it.

    Args:
        name: What it is for, 1 to 200 characters.
        tenant: The tenant it is bound to, or `*` for all.
        scopes: One or more of `ingest`, `read`, `export`, `manage`.

    Raises:
        ConfigError: One of them is not such a thing.
    """
    if not 1 <= len(name) <= 200:
        raise ConfigError("name: expected 1 to 200 characters that say what the key is for")
    if not 1 <= len(tenant) <= 256:
        raise ConfigError("tenant: expected the id of a tenant, or * for all")
    if not scopes or not set(scopes) <= SCOPES:
        raise ConfigError(f"scopes: expected one or more of {', '.join(sorted(SCOPES))}")
    if expires_at is not None and expires_at <= now:
        raise ConfigError("expires_at: expected a time in the future")
    key_id, secret = "k" + secrets.token_hex(5), secrets.token_urlsafe(32)
    key = ApiKey(
        id=key_id,
        name=name,
        tenant=tenant,
        scopes=frozenset(scopes),
        digest=_digest(secret),
        created_at=now,
        expires_at=expires_at,
    )
    return f"whodid_{key_id}_{secret}", key


def _digest(secret: str) -> bytes:
    # One SHA-256 is enough: the secret has 256 random bits, nobody can try them all, and a slow
    # hash would be paid on every request.
    return hashlib.sha256(secret.encode()).digest()


class KeyRing:
    """The store's credentials, each believed for a moment after it was read.

    Safe for use from many threads.
    """

    def __init__(self, store: EventStore, *, memory_s: float) -> None:
        self._store = store
        self._memory_s = memory_s
        self._found: OrderedDict[str, tuple[float, ApiKey]] = OrderedDict()
        self._has_any = False
        self._lock = Lock()

    def remembered(self, key_id: str) -> ApiKey | None:
        """The credential, if it was read from the store just now. Never blocks."""
        with self._lock:
            read_at, key = self._found.get(key_id, (0.0, None))
        return key if key and time.monotonic() - read_at < self._memory_s else None

    def find(self, key_id: str) -> ApiKey | None:
        """The credential as the store has it."""
        key = self._store.find_key(key_id)
        with self._lock:
            self._found.pop(key_id, None)
            if key is not None:
                # Unknown ids are not remembered: whoever sends random ones would fill the memory.
                self._found[key_id] = (time.monotonic(), key)
                self._has_any = True
                if len(self._found) > _MAX_REMEMBERED_KEYS:
                    self._found.popitem(last=False)
        return key

    @property
    def knows_any(self) -> bool:
        """Was a key seen already? Never blocks."""
        return self._has_any

    def has_any(self) -> bool:
        """Is there a key, valid or expired? Once there was one, this stays true.

        An expired key counts: else the last one's expiry would open the API to everybody here.
        """
        if not self._has_any and self._store.keys():
            self._has_any = True
        return self._has_any


class Gate:
    """Lets a request through or ends it, and says who sent it."""

    def __init__(
        self, app: ASGIApp, *, keys: KeyRing, settings: Settings, threads: Threads
    ) -> None:
        self._app, self._keys = app, keys
        self._settings, self._threads = settings, threads
        self._running = 0  # the event loop alone counts, so no lock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or route_path(scope) in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        admit = self._admit_to_api if is_api(route_path(scope)) else self._admit_to_pages
        scope[_SCOPE_ENTRY] = await admit(scope)
        if self._running >= self._settings.max_requests:
            raise refuse(
                503,
                "busy",
                f"{self._running} requests are running, no more are taken; send it again later",
                headers={"retry-after": str(RETRY_AFTER_S)},
            )
        self._running += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._running -= 1

    async def _admit_to_api(self, scope: Scope) -> Caller:
        given = Headers(scope=scope).getlist("authorization")
        if given:
            found = _given_key(given, takes_basic=False)
            if not found:
                raise _unauthorized(f"the Authorization header holds no key of ours; {_REMEDY}")
            key = await self._valid_key(found)
            if not key:
                raise _unauthorized("this key is not valid, or is not any more")
            return Caller(key=key, address=_peer(scope))
        if not self._settings.is_loopback or await self._has_key():
            raise _unauthorized(f"this needs a key; {_REMEDY}")
        check_local(scope, settings=self._settings, remedy=_NOT_LOCAL_TO_API)
        return Caller(key=None, address=_peer(scope))

    async def _admit_to_pages(self, scope: Scope) -> Caller:
        if not self._settings.is_loopback:
            raise refuse(
                403,
                "pages",
                "the pages are shut on this address until there are users; "
                "listen on 127.0.0.1 and come through a tunnel, or use the API with a key",
            )
        # Before the key and besides it: until there are users the pages are for this machine, and
        # a browser elsewhere must not be asked for a key that would not help it.
        check_local(scope, settings=self._settings, remedy=_NOT_LOCAL_TO_PAGES)
        if route_path(scope).startswith(STATIC):
            return Caller(key=None, address=_peer(scope), is_stranger=True)
        if not await self._has_key():
            return Caller(key=None, address=_peer(scope))
        found = _given_key(Headers(scope=scope).getlist("authorization"), takes_basic=True)
        key = await self._valid_key(found) if found else None
        if not key or "read" not in key.scopes:
            raise key_needed()
        return Caller(key=key, address=_peer(scope))

    async def _has_key(self) -> bool:
        # A key made by another process must count from the next request on, so the store is
        # asked each time until it has one.
        return self._keys.knows_any or await self._threads.check(self._keys.has_any)

    async def _valid_key(self, found: re.Match[str]) -> ApiKey | None:
        # None for unknown, wrong and expired alike: which of them it is helps only a guesser.
        key_id, secret = found[1], found[2]
        key = self._keys.remembered(key_id) or await self._threads.check(self._keys.find, key_id)
        is_same = hmac.compare_digest(_digest(secret), key.digest if key else _NO_SECRET)
        if not key or not is_same or (key.expires_at and key.expires_at <= Instant.now()):
            return None
        return key


def _given_key(given: Sequence[str], *, takes_basic: bool) -> re.Match[str] | None:
    """Id and secret in the one Authorization header; None when it holds no key of ours."""
    if len(given) != 1:
        return None
    scheme, _, text = given[0].partition(" ")
    match scheme.lower():
        case "bearer":
            return _KEY.fullmatch(text.strip(" "))
        case "basic" if takes_basic:
            return _KEY.fullmatch(password_of(text))
        case _:
            return None


def route_path(scope: Scope) -> str:
    """The path as the routes see it: below the mount point, if there is one.

    The gate and the routes must agree, else a request would pass by the rule of another path.
    """
    path, prefix = str(scope["path"]), str(scope.get("root_path", ""))
    is_below = path == prefix or path.startswith(prefix + "/")
    return path[len(prefix) :] if prefix and is_below else path


def is_api(path: str) -> bool:
    """Does the path belong to the API? All others are pages."""
    return path in ("/v1", "/metrics", "/openapi.json") or path.startswith("/v1/")


def check_local(scope: Scope, *, settings: Settings, remedy: str) -> None:
    """Let a request pass that a person at this machine sent, directly and on purpose.

    Args:
        remedy: What whoever is refused can do.

    Raises:
        ProblemError: 403, naming the condition that failed and the remedy.
    """
    headers = Headers(scope=scope)
    if not settings.is_loopback or not is_loopback_address(_peer(scope)):
        raise _not_local("the connection does not come from this machine", remedy)
    hosts = headers.getlist("host")
    if len(hosts) != 1 or not _LOCAL_HOST.fullmatch(hosts[0]):
        raise _not_local("the Host is not localhost, 127.0.0.1 or [::1]", remedy)
    for name in headers:
        if name in ("forwarded", "via") or name.startswith("x-forwarded-"):
            raise _not_local(f"the header {name} says that a proxy stands between", remedy)
    is_safe = scope["method"] in _SAFE_METHODS
    if not is_safe and not _is_same_origin(headers, scheme=scope["scheme"], host=hosts[0]):
        raise _not_local("the request comes from a page of another origin", remedy)


def _is_same_origin(headers: Headers, *, scheme: str, host: str) -> bool:
    # Another port of localhost is the same site but another origin: refused as well.
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origins = headers.getlist("origin")
    if not origins:
        return True
    own = _origin_parts(f"{scheme}://{host}")
    return len(origins) == 1 and own is not None and _origin_parts(origins[0]) == own


def _origin_parts(origin: str) -> tuple[str, str, int] | None:
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        return None
    if not parts.hostname or parts.path or parts.query or parts.username is not None:
        return None
    if port is None:
        port = 443 if parts.scheme == "https" else 80
    return parts.scheme, parts.hostname, port


def _peer(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


def _not_local(why: str, remedy: str) -> ProblemError:
    return refuse(403, "not-local", f"{why}; {remedy}")


def _unauthorized(detail: str) -> ProblemError:
    return refuse(401, "key", detail, headers={"www-authenticate": 'Bearer realm="whodid"'})
