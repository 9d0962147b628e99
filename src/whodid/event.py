"""The event: who did what to what, when, from where, with what result.

Frozen values for the whole of `docs/spec/event.schema.json`, validated once when they are read
(`decode`, `decode_many`, `from_mapping`). Absent is `UNSET`, never `None`: `null` is a value of
its own and exists only as a change's old or new and inside metadata and attributes. Empty lists
and objects at schema keys become absent, so that one fact has one form.

Not here: how an event becomes bytes (`canonical`), what an action means (`actions`), what must
not be stored (`redaction`).
"""

from __future__ import annotations

import json
import math
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, get_args

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from whodid.errors import EventError
from whodid.times import Instant

MAX_SAFE_INTEGER = 2**53 - 1
MAX_DEPTH = 32  # levels of lists and objects inside one metadata, attribute or change value

_ACTION_PATTERN = r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*){1,4}\Z"
_KIND_PATTERN = r"^[a-z][a-z0-9_.]*\Z"
_UUID_PATTERN = r"^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z"
_TAG_PATTERN = r"^[a-z0-9][a-z0-9_:.-]{0,63}\Z"
_COUNTRY_PATTERN = r"^[A-Z]{2}\Z"
_TRACE_PATTERN = r"^(?!0{32})[0-9a-f]{32}\Z"
_SPAN_PATTERN = r"^(?!0{16})[0-9a-f]{16}\Z"
_SHA256_PATTERN = r"^[0-9a-f]{64}\Z"
Short: TypeAlias = Annotated[str, Meta(min_length=1, max_length=256)]
Text: TypeAlias = Annotated[str, Meta(max_length=4096)]
Url: TypeAlias = Annotated[str, Meta(max_length=2048)]
Kind: TypeAlias = Annotated[str, Meta(max_length=64, pattern=_KIND_PATTERN)]
Uuid: TypeAlias = Annotated[str, Meta(pattern=_UUID_PATTERN)]
ActionName: TypeAlias = Annotated[str, Meta(max_length=128, pattern=_ACTION_PATTERN)]
Tag: TypeAlias = Annotated[str, Meta(pattern=_TAG_PATTERN)]
SafeInt: TypeAlias = Annotated[int, Meta(ge=-MAX_SAFE_INTEGER, le=MAX_SAFE_INTEGER)]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_SAFE_INTEGER)]
# Whole numbers stay whole: as floats they would be written with a point.
Latitude: TypeAlias = Annotated[int, Meta(ge=-90, le=90)] | Annotated[float, Meta(ge=-90, le=90)]
Longitude: TypeAlias = (
    Annotated[int, Meta(ge=-180, le=180)] | Annotated[float, Meta(ge=-180, le=180)]
)
Duration: TypeAlias = Annotated[int, Meta(ge=0)] | Annotated[float, Meta(ge=0)]
# `Any`, since these hold whatever JSON the application has; checked by `_check_json`.
Json: TypeAlias = Any

Category: TypeAlias = Literal[
    "authentication", "authorization", "iam", "data", "configuration",
    "system", "error", "api", "audit",
]  # fmt: skip
Operation: TypeAlias = Literal[
    "create", "read", "update", "delete", "login", "logout",
    "grant", "revoke", "export", "execute", "configure", "other",
]  # fmt: skip
Severity: TypeAlias = Literal["debug", "info", "low", "medium", "high", "critical"]
Outcome: TypeAlias = Literal["success", "failure", "denied", "error", "unknown"]
ActorType: TypeAlias = Literal[
    "user", "service_account", "api_key", "ai_agent", "system",
    "scheduled_job", "device", "anonymous", "external", "unknown",
]  # fmt: skip
DelegationKind: TypeAlias = Literal[
    "impersonation", "delegation", "agent", "automation", "support_access", "break_glass", "sudo"
]
AuthMethod: TypeAlias = Literal[
    "password", "passkey", "otp", "oidc", "saml", "ldap", "mtls", "api_key", "bearer",
    "cookie", "basic", "magic_link", "recovery_code", "none", "other",
]  # fmt: skip
Autonomy: TypeAlias = Literal["suggested", "approved", "autonomous"]
TargetRole: TypeAlias = Literal["primary", "affected", "parent", "source", "destination"]
ChangeOp: TypeAlias = Literal["add", "remove", "replace"]
Redaction: TypeAlias = Literal["masked", "hashed", "omitted", "truncated"]

CATEGORIES: tuple[str, ...] = get_args(Category)
OPERATIONS: tuple[str, ...] = get_args(Operation)
SEVERITIES: tuple[str, ...] = get_args(Severity)  # ascending
OUTCOMES: tuple[str, ...] = get_args(Outcome)
ACTOR_TYPES: tuple[str, ...] = get_args(ActorType)
NAMELESS_ACTOR_TYPES = frozenset({"anonymous", "system", "unknown"})  # these need no id

_MAX_STEP = 64  # characters of a key that an error message quotes
# Left as they are by `checked`, so that the schema refuses them: msgspec would write base64.
_NOT_JSON = (bytes, bytearray, memoryview)
_METADATA_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
DEFAULT_TENANT = "default"


class _Part(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What all parts share: immutable, keyword-only, unknown keys refused."""


class Reason(_Part, frozen=True, kw_only=True):
    """Why the outcome is what it is; `code` is a short stable word such as `bad_password`."""

    code: Annotated[str, Meta(max_length=64, pattern=_KIND_PATTERN)] | UnsetType = UNSET
    message: Text | UnsetType = UNSET
    policy: Short | UnsetType = UNSET


class Auth(_Part, frozen=True, kw_only=True):
    """How the actor proved who it is."""

    method: AuthMethod | UnsetType = UNSET
    mfa: bool | UnsetType = UNSET
    session_id: Short | UnsetType = UNSET
    credential_id: Short | UnsetType = UNSET
    idp: Short | UnsetType = UNSET


class Agent(_Part, frozen=True, kw_only=True):
    """What an AI agent is and how freely it acted."""

    instance_id: Short | UnsetType = UNSET
    model: Short | UnsetType = UNSET
    version: Short | UnsetType = UNSET
    framework: Short | UnsetType = UNSET
    protocol: Short | UnsetType = UNSET
    tool: Short | UnsetType = UNSET
    autonomy: Autonomy | UnsetType = UNSET


class Principal(_Part, frozen=True, kw_only=True):
    """Somebody or something with an identity; names and e-mails as of then."""

    type: ActorType
    id: Short | UnsetType = UNSET
    name: Short | UnsetType = UNSET
    email: Short | UnsetType = UNSET

    def __post_init__(self) -> None:
        if self.id is UNSET and self.type not in NAMELESS_ACTOR_TYPES:
            raise ValueError(".id: is required unless type is anonymous, system or unknown")


class Actor(Principal, frozen=True, kw_only=True):
    """Who did it."""

    roles: Annotated[tuple[Short, ...], Meta(max_length=32)] = ()
    attributes: Annotated[dict[str, Json], Meta(max_length=32)] | UnsetType = UNSET
    auth: Auth | UnsetType = UNSET
    agent: Agent | UnsetType = UNSET

    def __post_init__(self) -> None:
        super().__post_init__()
        _freeze(self, "roles")
        _drop_empty(self, "attributes", "auth", "agent")
        if self.attributes is not UNSET:
            _check_json(self.attributes, ".attributes")


class Target(_Part, frozen=True, kw_only=True):
    """On what it was done."""

    type: Kind
    id: Short | UnsetType = UNSET
    name: Short | UnsetType = UNSET
    role: TargetRole | UnsetType = UNSET
    version: Short | UnsetType = UNSET
    url: Url | UnsetType = UNSET
    attributes: Annotated[dict[str, Json], Meta(max_length=32)] | UnsetType = UNSET

    def __post_init__(self) -> None:
        _drop_empty(self, "attributes")
        if self.attributes is not UNSET:
            _check_json(self.attributes, ".attributes")


class Change(_Part, frozen=True, kw_only=True):
    """One field before and after. `UNSET` is "there was none", `None` is "it was null"."""

    path: Short
    op: ChangeOp | UnsetType = UNSET
    old: Json = UNSET
    new: Json = UNSET
    target: Count = 0
    label: Short | UnsetType = UNSET
    redacted: Redaction | UnsetType = UNSET

    def __post_init__(self) -> None:
        if self.old is not UNSET:
            _check_json(self.old, ".old")
        if self.new is not UNSET:
            _check_json(self.new, ".new")


class Delegation(_Part, frozen=True, kw_only=True):
    """By what right the actor acts for somebody else."""

    kind: DelegationKind
    grant_id: Short | UnsetType = UNSET
    reason: Text | UnsetType = UNSET
    ticket: Short | UnsetType = UNSET
    approved_by: Short | UnsetType = UNSET
    expires_at: Instant | UnsetType = UNSET

    def __post_init__(self) -> None:
        _take_times(self, "expires_at")


class Tenant(_Part, frozen=True, kw_only=True):
    """Whose data this is."""

    id: Short
    name: Short | UnsetType = UNSET


class ScopeNode(_Part, frozen=True, kw_only=True):
    """One step of the path in the organisation tree, root first."""

    type: Kind | UnsetType = UNSET
    id: Short
    name: Short | UnsetType = UNSET


class Source(_Part, frozen=True, kw_only=True):
    """Which application wrote the event."""

    app: Short | UnsetType = UNSET
    component: Short | UnsetType = UNSET
    version: Short | UnsetType = UNSET
    environment: Short | UnsetType = UNSET
    host: Short | UnsetType = UNSET
    instance: Short | UnsetType = UNSET


class Device(_Part, frozen=True, kw_only=True):
    """What the actor used."""

    id: Short | UnsetType = UNSET
    type: Short | UnsetType = UNSET
    os: Short | UnsetType = UNSET
    browser: Short | UnsetType = UNSET


class Geo(_Part, frozen=True, kw_only=True):
    """Where the address is, as of then. Degrees, WGS 84."""

    country: Annotated[str, Meta(pattern=_COUNTRY_PATTERN)] | UnsetType = UNSET
    region: Short | UnsetType = UNSET
    city: Short | UnsetType = UNSET
    lat: Latitude | UnsetType = UNSET
    lon: Longitude | UnsetType = UNSET

    def __post_init__(self) -> None:
        _check_finite(self, "lat", "lon")


class Network(_Part, frozen=True, kw_only=True):
    """Whose network the address is in."""

    asn: SafeInt | UnsetType = UNSET
    org: Short | UnsetType = UNSET
    is_proxy: bool | UnsetType = UNSET
    is_tor: bool | UnsetType = UNSET


class Client(_Part, frozen=True, kw_only=True):
    """From where."""

    ip: str | UnsetType = UNSET
    port: Annotated[int, Meta(ge=0, le=65535)] | UnsetType = UNSET
    forwarded_for: Annotated[tuple[Short, ...], Meta(max_length=16)] = ()
    user_agent: Annotated[str, Meta(max_length=1024)] | UnsetType = UNSET
    device: Device | UnsetType = UNSET
    geo: Geo | UnsetType = UNSET
    network: Network | UnsetType = UNSET

    def __post_init__(self) -> None:
        _freeze(self, "forwarded_for")
        _drop_empty(self, "device", "geo", "network")
        if self.ip is not UNSET and packed_ip(self.ip) is None:
            raise ValueError(".ip: expected an IPv4 or IPv6 address")


class Request(_Part, frozen=True, kw_only=True):
    """The HTTP request it happened in."""

    id: Short | UnsetType = UNSET
    method: Annotated[str, Meta(max_length=16)] | UnsetType = UNSET
    route: Short | UnsetType = UNSET
    url: Url | UnsetType = UNSET
    status: Annotated[int, Meta(ge=100, le=599)] | UnsetType = UNSET
    duration_ms: Duration | UnsetType = UNSET

    def __post_init__(self) -> None:
        _check_finite(self, "duration_ms")


class Trace(_Part, frozen=True, kw_only=True):
    """W3C trace context."""

    trace_id: Annotated[str, Meta(pattern=_TRACE_PATTERN)]
    span_id: Annotated[str, Meta(pattern=_SPAN_PATTERN)] | UnsetType = UNSET


class ErrorDetail(_Part, frozen=True, kw_only=True):
    """What broke; `fingerprint` groups like errors."""

    type: Short | UnsetType = UNSET
    message: Text | UnsetType = UNSET
    fingerprint: Short | UnsetType = UNSET


class Attachment(_Part, frozen=True, kw_only=True):
    """A file kept elsewhere, pinned by its digest. Size in bytes."""

    name: Short
    media_type: Short | UnsetType = UNSET
    size: Count | UnsetType = UNSET
    sha256: Annotated[str, Meta(pattern=_SHA256_PATTERN)]


class Window(_Part, frozen=True, kw_only=True):
    """The time a record with `count` above 1 stands for."""

    start: Instant
    end: Instant

    def __post_init__(self) -> None:
        _take_times(self, "start", "end")


class Event(_Part, frozen=True, kw_only=True):
    """One recorded fact, as an application sends it.

    Made by `decode`, `from_mapping` or the constructor. The readers check everything and raise
    `EventError`; the constructor checks only what would corrupt the bytes (values that are no
    JSON, times without a zone) and raises `ValueError`; `checked` makes up for the rest.
    """

    schema: Literal[1] = 1
    id: Uuid | UnsetType = UNSET
    idempotency_key: Annotated[str, Meta(min_length=1, max_length=128)] | UnsetType = UNSET
    occurred_at: Instant | UnsetType = UNSET
    action: ActionName
    category: Category | UnsetType = UNSET
    operation: Operation | UnsetType = UNSET
    severity: Severity | UnsetType = UNSET
    outcome: Outcome | UnsetType = UNSET
    reason: Reason | UnsetType = UNSET
    message: Text | UnsetType = UNSET
    actor: Actor
    on_behalf_of: Principal | UnsetType = UNSET
    via: Annotated[tuple[Principal, ...], Meta(max_length=8)] = ()
    delegation: Delegation | UnsetType = UNSET
    targets: Annotated[tuple[Target, ...], Meta(max_length=50)] = ()
    changes: Annotated[tuple[Change, ...], Meta(max_length=500)] = ()
    tenant: Tenant | UnsetType = UNSET
    scope: Annotated[tuple[ScopeNode, ...], Meta(max_length=8)] = ()
    source: Source | UnsetType = UNSET
    client: Client | UnsetType = UNSET
    request: Request | UnsetType = UNSET
    trace: Trace | UnsetType = UNSET
    correlation_id: Short | UnsetType = UNSET
    error: ErrorDetail | UnsetType = UNSET
    metadata: Annotated[dict[str, Json], Meta(max_length=100)] | UnsetType = UNSET
    tags: Annotated[tuple[Tag, ...], Meta(max_length=32)] = ()
    data_classes: Annotated[
        tuple[Annotated[str, Meta(max_length=32)], ...], Meta(max_length=16)
    ] = ()
    attachments: Annotated[tuple[Attachment, ...], Meta(max_length=16)] = ()
    count: Annotated[int, Meta(ge=1, le=MAX_SAFE_INTEGER)] = 1
    window: Window | UnsetType = UNSET

    def __post_init__(self) -> None:
        _take_times(self, "occurred_at")
        _freeze(self, "via", "targets", "changes", "scope", "tags", "data_classes", "attachments")
        _drop_empty(self, "reason", "source", "client", "request", "error", "metadata")
        if self.metadata is not UNSET:
            for key in self.metadata:
                if not isinstance(key, str) or not _METADATA_KEY.fullmatch(key):
                    raise ValueError(
                        ".metadata: expected keys of 1 to 64 letters, digits, _ . or -, "
                        "beginning with a letter, digit or _"
                    )
            _check_json(self.metadata, ".metadata")
        for name in ("tags", "data_classes"):
            items = getattr(self, name)
            if len(items) > 1 and len(set(items)) != len(items):
                raise ValueError(f".{name}: expected each item once")


class StoredEvent(Struct, frozen=True, kw_only=True):
    """An event as a store gives it back: the claim, and what the store added.

    Attributes:
        event: The event; `id`, `tenant`, category, operation, severity and outcome are set.
            An erased actor is of type `unknown`, an erased target of type `erased`, erased
            changes are left out.
        received_at: The store's clock at append.
        index: Leaf position in the tenant's tree, zero-based; None until sealed.
        position: Store-wide sealed order. Internal: shown to nobody limited to some tenants.
        gone: Paths of erased units, e.g. `/actor`.
        writer: Who appended it, e.g. `key:k_3f9a`, or None.
        body: The stored bytes it was read from.
    """

    event: Event
    received_at: Instant
    index: int | None
    position: int
    gone: tuple[str, ...] = ()
    writer: str | None = None
    body: bytes = b""

    @property
    def id(self) -> str:
        return str(self.event.id)

    @property
    def tenant_id(self) -> str:
        return self.event.tenant.id if self.event.tenant else DEFAULT_TENANT

    @property
    def occurred_at(self) -> Instant:
        """When it happened; when it was received if the sender did not say."""
        return self.event.occurred_at or self.received_at

    @property
    def outcome(self) -> str:
        return self.event.outcome or "success"

    @property
    def severity(self) -> str:
        return self.event.severity or "info"


def packed_ip(text: str) -> bytes | None:
    """The 4 or 16 bytes of an address, an IPv4-mapped one as IPv4; None when it is none."""
    try:
        if ":" not in text:
            return socket.inet_pton(socket.AF_INET, text)
        packed = socket.inet_pton(socket.AF_INET6, text)
    except (OSError, ValueError):
        return None
    return packed[12:] if packed.startswith(b"\0" * 10 + b"\xff\xff") else packed


def decode(data: bytes) -> Event:
    """Read one event from JSON.

    Raises:
        EventError: With the path of the first fault.
    """
    try:
        return _translated(_decoder.decode, data)
    except msgspec.DecodeError as error:
        raise EventError(*_json_fault(data, str(error))) from None


def from_mapping(values: Mapping[str, Any]) -> Event:
    """Make an event from plain values, checked as `decode` checks JSON.

    Times may be aware datetimes as well as strings.

    Raises:
        EventError: With the path of the first fault.
    """
    return _translated(lambda given: msgspec.convert(given, Event, dec_hook=_read_hook), values)


def checked(event: Event) -> Event:
    """The same event with every rule of the schema checked, for events made by the constructor.

    Raises:
        EventError: With the path of the first fault.
    """
    try:
        values = msgspec.to_builtins(event, enc_hook=write_hook, builtin_types=_NOT_JSON)
    except TypeError as error:
        raise EventError("$", str(error)) from None
    return from_mapping(values)


def surrogate_path(value: Json, path: str = "$") -> str | None:
    """Where in a JSON value a lone surrogate is, which no UTF-8 can say; None when nowhere."""
    return next(_surrogates(value, path), None)


def _surrogates(value: Json, path: str) -> Iterator[str]:
    if isinstance(value, str):
        if not _is_unicode(value):
            yield path
    elif isinstance(value, dict):
        for key, item in value.items():
            if not _is_unicode(key):
                yield path
            yield from _surrogates(item, path + _step(key))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _surrogates(item, f"{path}[{number}]")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_T = TypeVar("_T")
_In = TypeVar("_In")


def _translated(read: Callable[[_In], _T], data: _In) -> _T:
    try:
        return read(data)
    except msgspec.ValidationError as error:
        raise _event_error(str(error)) from None
    except UnicodeDecodeError:
        raise EventError("$", "the body is not UTF-8") from None
    except RecursionError:
        raise EventError("$", "nested too deeply") from None


# As msgspec ends its messages: "at `$.via[0]`", "at `key` in `$.metadata`".
_WHERE = re.compile(r"(.*) - at `(?:key` in `)?(\$[\w.\[\]]{0,200})`", re.DOTALL | re.ASCII)
_PATH = re.compile(r'((?:\.\w+|\[\d+\]|\["(?:[^"\\]|\\.)*"\])+): (.*)', re.DOTALL)
_UNKNOWN_KEY = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING_KEY = re.compile(r"Object missing required field `(.*)`")


def _event_error(message: str) -> EventError:
    found = _WHERE.fullmatch(message)
    problem, path = (found[1], found[2]) if found else (message, "$")
    if inner := _PATH.fullmatch(problem):
        return EventError(path + inner[1], inner[2])
    if unknown := _UNKNOWN_KEY.fullmatch(problem):
        return EventError(path + _step(unknown[1]), "unknown key")
    if missing := _MISSING_KEY.fullmatch(problem):
        return EventError(f"{path}.{missing[1]}", "is required")
    if problem.startswith("Invalid enum value"):
        problem = _enum_problem(path)
    elif found := _PATTERN.fullmatch(problem):
        problem = "expected " + _SHAPES.get(found[1], f"text like {found[1]}")
    return EventError(path, problem[:1].lower() + problem[1:].replace("`", ""))


_PATTERN = re.compile(r"Expected `str` matching regex (.*)", re.DOTALL)
_SHAPES = {
    repr(pattern): shape
    for pattern, shape in (
        (_ACTION_PATTERN, "2 to 5 lower-case words joined by dots, such as invoice.delete"),
        (_KIND_PATTERN, "a lower-case word such as invoice, with digits, _ and . after the first"),
        (_UUID_PATTERN, "a UUID in lower case, such as 0199d3a0-7b00-7000-8000-000000000001"),
        (_TAG_PATTERN, "1 to 64 lower-case letters, digits, _ : . or -, such as gdpr"),
        (_COUNTRY_PATTERN, "a country as two capital letters, such as NO"),
        (_TRACE_PATTERN, "32 lower-case hex digits, not all zero"),
        (_SPAN_PATTERN, "16 lower-case hex digits, not all zero"),
        (_SHA256_PATTERN, "64 lower-case hex digits"),
    )
}
_ENUMS: Mapping[str, tuple[Any, ...]] = {
    "schema": (1,),
    "category": CATEGORIES,
    "operation": OPERATIONS,
    "severity": SEVERITIES,
    "outcome": OUTCOMES,
    "type": ACTOR_TYPES,
    "kind": get_args(DelegationKind),
    "method": get_args(AuthMethod),
    "autonomy": get_args(Autonomy),
    "role": get_args(TargetRole),
    "op": get_args(ChangeOp),
    "redacted": get_args(Redaction),
}


def _enum_problem(path: str) -> str:
    allowed = _ENUMS[path.rpartition(".")[2]]
    return f"expected {'one of ' * (len(allowed) > 1)}{', '.join(map(str, allowed))}"


def _step(key: str) -> str:
    """One step of a path. What is no plain name is quoted and cut: it came from outside."""
    if key.isascii() and key.isidentifier() and len(key) <= _MAX_STEP:
        return "." + key
    return f"[{json.dumps(key[:_MAX_STEP])}]"


def _json_fault(data: bytes, message: str) -> tuple[str, str]:
    """Path and problem of what msgspec cannot read as JSON."""
    # It says "truncated" of a lone surrogate; the standard library reads those, so ask it where.
    try:
        path = surrogate_path(json.loads(data))
    except (ValueError, RecursionError):
        path = None
    if path is not None:
        return path, "holds a lone surrogate"
    if message == "Input data was truncated":
        return "$", "the JSON ends too early"
    return "$", "the JSON cannot be read: " + message.removeprefix("JSON is malformed: ")


def _read_hook(kind: type, value: Any) -> Any:
    if kind is not Instant:
        raise AssertionError(f"no reader for {kind}: a field has a type msgspec does not know")
    if isinstance(value, datetime):
        return _instant(value)
    if isinstance(value, str):
        return Instant.parse(value)
    raise ValueError("expected a time as a string")


def write_hook(value: Any) -> str:
    """Write what msgspec cannot: times in the canonical form."""
    if isinstance(value, Instant):
        return str(value)
    raise TypeError(f"expected JSON values, got {type(value).__name__}; turn it into a string")


def _drop_empty(part: Struct, *names: str) -> None:
    for name in names:
        value = getattr(part, name)
        if value is not UNSET and (value == {} or isinstance(value, Struct) and not _is_set(value)):
            msgspec.structs.force_setattr(part, name, UNSET)


def _freeze(part: Struct, *names: str) -> None:
    """Turn lists into tuples: an empty list must be absent as the empty tuple is."""
    for name in names:
        value = getattr(part, name)
        if type(value) is not tuple:
            msgspec.structs.force_setattr(part, name, tuple(value))


def _take_times(part: Struct, *names: str) -> None:
    """Turn aware datetimes into Instants: msgspec would write others in a form of its own."""
    for name in names:
        value = getattr(part, name)
        if value is not UNSET and type(value) is not Instant:
            try:
                msgspec.structs.force_setattr(part, name, _instant(value))
            except ValueError as error:
                raise ValueError(f".{name}: {error}") from None


def _instant(value: object) -> Instant:
    if not isinstance(value, datetime):
        raise ValueError(f"expected an aware datetime, got {type(value).__name__}")
    try:
        return Instant.of(value)
    except OverflowError:
        raise ValueError("outside the years 0001 to 9999 in UTC") from None


def _is_set(part: Struct) -> bool:
    return bool(part != _empty(type(part)))


@cache
def _empty(kind: type[Struct]) -> Struct:
    return kind()  # only parts whose keys may all be absent can be empty


def _check_finite(part: Struct, *names: str) -> None:
    for name in names:
        value = getattr(part, name)
        if value is not UNSET and (not math.isfinite(value) or abs(value) > MAX_SAFE_INTEGER):
            raise ValueError(f".{name}: expected a finite number within ±(2^53-1)")


def _check_json(value: Json, path: str, depth: int = 0) -> None:
    """Refuse what JSON cannot say or another reader would read differently.

    Raises:
        ValueError: With `path` in front, so that the reader can complete it.
    """
    if value is None or value is True or value is False:
        return
    if isinstance(value, str):
        return  # lone surrogates are found when the string is encoded
    if isinstance(value, int):
        if abs(value) > MAX_SAFE_INTEGER:
            raise ValueError(f"{path}: integer beyond ±(2^53-1); send it as a string")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{path}: expected a finite number; send NaN and Infinity as strings")
    elif depth == MAX_DEPTH:
        raise ValueError(f"{path}: nested deeper than {MAX_DEPTH} levels")
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ValueError(f"{path}: expected string keys, got {type(key).__name__}")
            _check_json(item, path + _step(key), depth + 1)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            _check_json(item, f"{path}[{number}]", depth + 1)
    else:
        raise ValueError(f"{path}: expected a JSON value, got {type(value).__name__}")


_decoder = msgspec.json.Decoder(Event, dec_hook=_read_hook)
