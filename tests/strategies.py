"""Events and searches for property tests.

Words, ids and addresses come from short lists as often as from anywhere, so that events share
values; and searches are made from values that occur in the events, so that most of them hit. Every
field, operator, wildcard, range and kind of nesting of the search language is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, TypeAlias, TypeVar, get_args

import msgspec
from hypothesis import strategies as st
from msgspec import UNSET

from whodid import actions, canonical
from whodid.event import (
    ACTOR_TYPES,
    CATEGORIES,
    NAMELESS_ACTOR_TYPES,
    OPERATIONS,
    OUTCOMES,
    SEVERITIES,
    Actor,
    ActorType,
    Agent,
    Attachment,
    Auth,
    Autonomy,
    Change,
    ChangeOp,
    Client,
    Delegation,
    DelegationKind,
    Device,
    ErrorDetail,
    Event,
    Geo,
    Network,
    Principal,
    Reason,
    Redaction,
    Request,
    ScopeNode,
    Source,
    StoredEvent,
    Target,
    TargetRole,
    Tenant,
    Trace,
    Window,
)
from whodid.query.ast import EVERYTHING, And, Node, Not, Or, Text, within
from whodid.query.fields import (
    ALIASES,
    FIELDS,
    FLAGS_HAS,
    FLAGS_IS,
    OPEN_FIELDS,
    SUGAR,
    Field,
    Kind,
)
from whodid.query.parse import parse
from whodid.query.words import words
from whodid.times import Instant

NOW = Instant.parse("2026-03-15T12:00:00Z")

T = TypeVar("T")
Strategy: TypeAlias = st.SearchStrategy[T]
# `Any`: attributes, metadata and changes hold whatever JSON an application has.
Facts: TypeAlias = Mapping[str, Sequence[Any]]

# ---- events


NAMES = (
    "Ana", "ana", "Ana Novak", "Novak, Ana", "Žana Šimić", "Z\u030cana S\u030cimic\u0301",
    "Straße", "STRASSE", "ΣΊΣΥΦΟΣ", "İstanbul", "محمد علي", "עִבְרִית", "हिन्दी",
    "李雷", "田中 さくら", "한국", "하늘", "ﾀﾅｶ ｶﾞ",
    "O'Neil \"Bob\"", "a*b", "C:\\temp", "\u202eevil", "nul\x00byte", "…", "🙂 ok",
    "<script>alert(1)</script>", "'; DROP TABLE event; --", "x" * 200,
    "AND", "1.10", "null", "True",
)  # fmt: skip
IDS = ("1", "42", "u-7", "alice", "ALICE", "user:42", "a,b", "(7)", "--", "é", "10.0.0.1", "admin")
EMAILS = ("alice@example.com", "Alice@Example.COM", "bob@example.org", "žana@exämple.de")
ACTIONS = (
    "user.login", "user.login.failed", "user.logout", "user.role.grant", "users.list",
    "invoice.delete", "invoice.delete.bulk", "session.create", "a.b", "my_app.do_it",
)  # fmt: skip
KINDS = ("user", "invoice", "session", "erased", "unknown", "api_key")
ROLES = ("admin", "Owner", "viewer", "ROOT", "billing admin")
ADDRESSES = (
    "203.0.113.7", "10.0.0.1", "10.1.2.3", "192.168.1.9", "127.0.0.1", "172.16.0.1", "8.8.8.8",
    "0.0.0.0", "255.255.255.255", "::1", "2001:db8::7", "2001:DB8:0:0::7", "fe80::1", "fd00::1",
    "::ffff:10.0.0.1", "::ffff:203.0.113.7",
)  # fmt: skip
PATHS = ("role", "Role", "address.city", "items[0].price", "/a/b", "größe", "a b", "*")
KEYS = ("order", "Order", "a", "a.b", "b", "b.c", "invoice.number", "number", "note-1", "0")
TAGS = ("gdpr", "hr", "pci:dss", "a", "a.b-c")
URLS = (
    "https://app.example.com/api/v1/orders/7?x=1#top", "/api/v1/orders/7", "https://example.com",
    "//example.com/a//b", "mailto:a@b", "http://[broken/x", "?", "/größe/ä ö",
)  # fmt: skip
ROUTES = ("/api/v1/orders/{id}", "/api/v1/*", "orders")
USER_AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0",
    "curl/8.14.1",
    "",
    "Ünï/1",
)
MESSAGES = (
    "password reset", "Reset the password", "passwordreset", "", "role: user → admin",
    "东京都庁 login", "free text", "a\nb\tc",
)  # fmt: skip

names = st.one_of(st.sampled_from(NAMES), st.text(min_size=1, max_size=12))
ids = st.one_of(st.sampled_from(IDS), st.text(min_size=1, max_size=8))
texts = st.one_of(st.sampled_from(MESSAGES), st.sampled_from(NAMES), st.text(max_size=30))
scalars: Strategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, 1, -1, 42, 2026, 2**53 - 1, -(2**53) + 1]),
    st.floats(allow_nan=False, allow_infinity=False),
    names,
)
# By hand and not `st.recursive`, which throws most of what it draws away.
_keys = st.one_of(st.sampled_from(KEYS), st.text(max_size=4))
_flat = st.one_of(
    scalars, st.lists(scalars, max_size=2), st.dictionaries(_keys, scalars, max_size=2)
)
json_values: Strategy[Any] = st.one_of(
    scalars,
    scalars,
    st.lists(_flat, max_size=2),
    st.dictionaries(_keys, _flat, max_size=2),
)


def maybe(strategy: Strategy[T]) -> Strategy[Any]:
    """The value, or UNSET."""
    return st.one_of(st.just(UNSET), strategy)


def tuples_of(strategy: Strategy[T], *sizes: int) -> Strategy[tuple[T, ...]]:
    """A tuple of one of these lengths."""
    return st.sampled_from(sizes).flatmap(
        lambda size: st.lists(strategy, min_size=size, max_size=size).map(tuple)
    )


@cache
def instants() -> Strategy[Instant]:
    """Times around `NOW` mostly, and the first and last there are."""
    near = st.sampled_from([timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)]).flatmap(
        lambda unit: st.integers(-500, 40).map(lambda number: NOW + number * unit)
    )
    anywhere = st.datetimes(timezones=st.just(UTC)).map(Instant.of)
    edges = (datetime.min, datetime.max, datetime(2026, 3, 15), datetime(2026, 1, 1))  # noqa: DTZ001, DTZ901  # UTC follows
    return st.one_of(
        near, near, anywhere, st.sampled_from([Instant.of(e.replace(tzinfo=UTC)) for e in edges])
    )


_emails = st.one_of(st.sampled_from(EMAILS), ids)


@cache
def principals() -> Strategy[Principal]:
    return st.builds(
        _principal, st.sampled_from(ACTOR_TYPES), maybe(ids), maybe(names), maybe(_emails)
    )


def _principal(kind: ActorType, number: Any, name: Any, email: Any) -> Principal:
    return Principal(type=kind, id=_needed(kind, number), name=name, email=email)


def _needed(kind: str, number: Any) -> Any:
    """The id, or one where there must be one."""
    return number or ("7" if kind not in NAMELESS_ACTOR_TYPES else UNSET)


@cache
def actors() -> Strategy[Actor]:
    auth = st.builds(
        Auth,
        method=maybe(st.sampled_from(["password", "otp", "none"])),
        mfa=maybe(st.booleans()),
        session_id=maybe(ids),
        credential_id=maybe(ids),
    )
    agent = st.builds(
        Agent, model=maybe(names), autonomy=maybe(st.sampled_from(get_args(Autonomy)))
    )
    return st.builds(
        _actor,
        principals(),
        roles=tuples_of(st.one_of(st.sampled_from(ROLES), names), 0, 1, 2),
        attributes=maybe(st.dictionaries(names, json_values, max_size=2)),
        auth=maybe(auth),
        agent=maybe(agent),
    )


def _actor(principal: Principal, **parts: Any) -> Actor:
    return Actor(
        type=principal.type, id=principal.id, name=principal.name, email=principal.email, **parts
    )


@cache
def targets() -> Strategy[Target]:
    return st.builds(
        Target,
        type=st.sampled_from(KINDS),
        id=maybe(ids),
        name=maybe(names),
        role=maybe(st.sampled_from(get_args(TargetRole))),
        attributes=maybe(st.dictionaries(names, json_values, max_size=2)),
    )


@cache
def changes() -> Strategy[Change]:
    return st.builds(
        Change,
        path=st.one_of(st.sampled_from(PATHS), names),
        op=maybe(st.sampled_from(get_args(ChangeOp))),
        old=maybe(json_values),
        new=maybe(json_values),
        target=st.integers(0, 3),
        label=maybe(names),
        redacted=maybe(st.sampled_from(get_args(Redaction))),
    )


@cache
def _clients() -> Strategy[Client]:
    addresses = st.one_of(st.sampled_from(ADDRESSES), st.ip_addresses().map(str))
    short = st.sampled_from(NAMES)
    device = st.builds(
        Device, id=maybe(ids), type=maybe(short), os=maybe(short), browser=maybe(short)
    )
    geo = st.builds(
        Geo,
        country=maybe(st.sampled_from(["DE", "NO", "JP"])),
        city=maybe(names),
        lat=maybe(st.integers(-90, 90)),
    )
    network = st.builds(Network, asn=maybe(st.integers(0, 2**32)), is_tor=maybe(st.booleans()))
    return st.builds(
        Client,
        ip=maybe(addresses),
        port=maybe(st.integers(0, 65535)),
        user_agent=maybe(st.one_of(st.sampled_from(USER_AGENTS), texts)),
        device=maybe(device),
        geo=maybe(geo),
        network=maybe(network),
    )


@cache
def _requests() -> Strategy[Request]:
    durations = st.one_of(st.sampled_from([0, 1, 1999, 2000, 2000.5, 60_000]), st.floats(0, 1e9))
    return st.builds(
        Request,
        id=maybe(ids),
        method=maybe(st.sampled_from(["GET", "post", ""])),
        route=maybe(st.sampled_from(ROUTES)),
        url=maybe(st.sampled_from(URLS)),
        status=maybe(st.sampled_from([100, 200, 204, 400, 404, 500, 599])),
        duration_ms=maybe(durations),
    )


def _traces() -> Strategy[Trace]:
    digits = st.sampled_from(["4bf92f3577b34da6a3ce929d0e0e4736", "1" * 32])
    return st.builds(Trace, trace_id=digits, span_id=maybe(st.just("00f067aa0ba902b7")))


def _delegations() -> Strategy[Delegation]:
    return st.builds(
        Delegation,
        kind=st.sampled_from(get_args(DelegationKind)),
        reason=maybe(texts),
        expires_at=maybe(instants()),
    )


@cache
def _parts() -> dict[str, Strategy[Any]]:
    """How each key of an event is made that it need not have."""
    scope = st.builds(ScopeNode, type=maybe(st.sampled_from(KINDS)), id=ids, name=maybe(names))
    windows = st.tuples(instants(), instants()).map(
        lambda ends: Window(start=min(ends), end=max(ends))
    )
    return {
        "id": st.uuids(version=4).map(str),
        "idempotency_key": ids,
        "occurred_at": instants(),
        "category": st.sampled_from(CATEGORIES),
        "operation": st.sampled_from(OPERATIONS),
        "severity": st.sampled_from(SEVERITIES),
        "outcome": st.sampled_from(OUTCOMES),
        "reason": st.builds(
            Reason, code=maybe(st.sampled_from(["bad_password", "locked"])), message=maybe(texts)
        ),
        "message": texts,
        "on_behalf_of": principals(),
        "via": tuples_of(principals(), 1, 2),
        "delegation": _delegations(),
        "changes": tuples_of(changes(), 1, 2, 3),
        "tenant": st.builds(Tenant, id=st.sampled_from(["acme", "Globex"]), name=maybe(names)),
        "scope": tuples_of(scope, 1, 3),
        "source": st.builds(
            Source,
            app=maybe(st.sampled_from(["shop", "Shop", "crm"])),
            environment=maybe(st.sampled_from(["prod", "test"])),
        ),
        "client": _clients(),
        "request": _requests(),
        "trace": _traces(),
        "correlation_id": ids,
        "error": st.builds(ErrorDetail, type=maybe(names), message=maybe(texts)),
        "metadata": st.dictionaries(st.sampled_from(KEYS), json_values, max_size=4),
        "tags": st.lists(st.sampled_from(TAGS), unique=True, max_size=3).map(tuple),
        "data_classes": st.just(("personal",)),
        "attachments": st.just((Attachment(name="a.pdf", sha256="0" * 64),)),
        "count": st.integers(1, 5),
        "window": windows,
    }


_actions = st.sampled_from(ACTIONS)
_target_lists = tuples_of(targets(), 0, 1, 1, 2, 5)


@st.composite
def events(draw: st.DrawFn) -> Event:
    """Valid events of every shape: bare ones, full ones, and any choice of parts between."""
    parts = _parts()
    share = draw(st.sampled_from(["none", "some", "some", "all"]))
    chosen: Sequence[str] = ()
    if share != "none":
        chosen = [key for key in parts if share == "all" or draw(st.booleans(), label=f"has {key}")]
    values = {key: draw(parts[key], label=key) for key in chosen}
    return Event(
        action=draw(st.sampled_from(ACTIONS)),
        actor=draw(actors()),
        targets=draw(tuples_of(targets(), 0, 1, 1, 2, 5)),
        **values,
    )


@st.composite
def stored_events(draw: st.DrawFn, found: Strategy[Event] | None = None) -> StoredEvent:
    """Events as a store gives them back: some unsealed, some with erased units."""
    event = draw(events() if found is None else found)
    encoded = canonical.encode(event, defaults=actions.defaults(event.action))
    stamp = canonical.stamp_bytes(
        event_id=event.id or str(draw(st.uuids(version=4))),
        received_at=draw(instants()),
        tenant=event.tenant.id if event.tenant else "default",
    )
    body, gone = canonical.body_bytes(encoded.core, stamp, encoded.units), None
    paths = [path for path, _ in encoded.units]
    erased = draw(st.one_of(st.just([]), st.lists(st.sampled_from(paths), unique=True, max_size=4)))
    if erased:
        body, _, gone = canonical.erase_units(body, secret=bytes(16), gone=None, paths=erased)
    position = draw(st.integers(0, 9))
    index = draw(st.sampled_from([None, position]))
    return canonical.restore(body, gone=gone, index=index, position=position)


# ---- searches


_FALLBACKS: Mapping[Kind, Sequence[Any]] = {
    "dotted": ("user.login", "nothing.here"),
    "duration": (0, 2000),
    "exact": ("erased", "unknown", "x"),
    "ip": ("10.0.0.1", "2001:db8::1"),
    "number": (0, 404),
    "smart": ("alice", "unknown"),
    "text": ("password reset",),
    "time": (NOW,),
    "value": ("admin", 5, None),
}
"""What is searched in a field that the event has no value of."""


@st.composite
def query_nodes(draw: st.DrawFn, found: Sequence[StoredEvent] = ()) -> Node:
    """Trees of searches: what `parse` makes, and sometimes what only code makes."""
    facts = [facts_of(stored) for stored in found]
    node = parse(_query(draw, facts), now=NOW).node
    if draw(_one_to_eight) > 1:
        return node
    texts = draw(st.sampled_from(facts))["free"] if facts else ["a b"]
    text = draw(st.sampled_from(texts))
    start, end = draw(_bounds), draw(_bounds)
    made: Sequence[Node] = (
        Text(text), Text(text, phrase=True), within(start, end), EVERYTHING, Or(()),
    )  # fmt: skip
    leaf = draw(st.sampled_from(made))
    return draw(st.sampled_from([leaf, Not(leaf), And((leaf, node)), Or((node, leaf))]))


@st.composite
def query_texts(draw: st.DrawFn, found: Sequence[StoredEvent] = ()) -> str:
    """Searches that `parse` accepts, of up to nine terms."""
    return _query(draw, [facts_of(stored) for stored in found])


# Strategies are made once: to make one costs more than to draw from it.
_one_to_eight = st.integers(1, 8)
_shapes = st.sampled_from(["term", "term", "blank", "and", "or", "not", "minus", "nothing"])
_inner_shapes = st.sampled_from(["term", "term", "term", "blank", "and", "or", "not", "minus"])
_signs = st.sampled_from(["", "", "", "", "-", "NOT "])
_bounds = st.one_of(st.none(), instants())
_names = st.sampled_from([*FIELDS, *ALIASES, *SUGAR, *["old", "new", "meta", "free"] * 2])


def _query(draw: st.DrawFn, facts: Sequence[Facts], depth: int = 0) -> str:
    shape = "term" if depth == 3 else draw(_inner_shapes if depth else _shapes)
    if shape == "term":
        return draw(_signs) + _term(draw, draw(st.sampled_from(facts)) if facts else {})
    if shape == "nothing":
        return ""
    first = _query(draw, facts, depth + 1)
    match shape:
        case "blank":
            return f"{first} {_query(draw, facts, depth + 1)}"
        case "and":
            return f"{first} AND {_query(draw, facts, depth + 1)}"
        case "or":
            return f"({first} OR {_query(draw, facts, depth + 1)})"
        case "not":
            return f"NOT ({first})"
        case _:
            return f"-({first})"


def _term(draw: st.DrawFn, facts: Facts) -> str:
    """Free text, or a qualifier with one value or two."""
    name = draw(_names)
    if name == "free":
        return draw(
            st.sampled_from(_free_spellings(draw(st.sampled_from(facts.get(name, MESSAGES)))))
        )
    if name in SUGAR:
        return f"{name}:{str(draw(st.sampled_from(facts.get('created', [NOW]))))[:16]}"
    field, values = _field_and_values(draw, name, facts)
    values = values or field.values or _FALLBACKS[field.kind]
    written = draw(st.sampled_from(spellings(field, draw(st.sampled_from(values)))))
    if written[0] not in _SIGNS and draw(_one_to_eight) == 1:
        others = spellings(field, draw(st.sampled_from(values)))
        written += "," + draw(
            st.sampled_from([other for other in others if other[0] not in _SIGNS])
        )
    shown = field.name if name in OPEN_FIELDS else name
    return f"{shown.upper() if draw(_one_to_eight) == 1 else shown}:{written}"


def _field_and_values(draw: st.DrawFn, name: str, facts: Facts) -> tuple[Field, Sequence[Any]]:
    name = ALIASES.get(name, name)
    if name not in OPEN_FIELDS:
        return FIELDS[name], facts.get(name, ())
    known = [key for key in facts if key.startswith(f"{name}.")]
    path = draw(st.sampled_from(known)) if known else f"{name}.role"
    values = facts.get(path, ())
    if not writable(path) or path == f"{name}." or draw(_one_to_eight) == 1:
        path = f"{name}.*"
    return Field(name=path, kind="value"), values


def writable(text: str) -> bool:
    """Can it be written without quotes?"""
    return bool(text) and not any(letter.isspace() or letter in '"(),:' for letter in text)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def spellings(field: Field, value: Any) -> list[str]:
    """Ways to search for a value, operator in front."""
    match field.kind:
        case "dotted":
            return _dotted_spellings(value)
        case "enum":
            return [value, value.upper(), quoted(value), f"{value[:2]}*", f"*{value[2:]}", "*"]
        case "flag":
            return [value, value.upper(), quoted(value)]
        case "level":
            return [f"{op}{value}" for op in _OPERATORS] + ["*"]
        case "number" | "duration":
            return _number_spellings(value)
        case "time":
            return _time_spellings(value)
        case "ip":
            return _address_spellings(value)
        case "text":
            return _text_spellings(value)
        case _:
            return _string_spellings(value, may_be_empty=field.kind == "value")


_OPERATORS = ("", "=", ">", ">=", "<", "<=")
_SIGNS = "<>="


def _dotted_spellings(action: str) -> list[str]:
    head = action.partition(".")[0]
    last = action.rpartition(".")[2]
    return [
        action, f"={action}", f"={head}", head, f"{head}.*", f"{action}.*", f"*.{last}", "*",
        f"{head[:2]}*{last[-1]}", action.upper(), quoted(action),
    ]  # fmt: skip


def _string_spellings(value: Any, *, may_be_empty: bool) -> list[str]:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    spelled = ["*"]
    if text or may_be_empty:
        spelled += [quoted(text), quoted(text.upper()), f"={quoted(text)}"]
    spelled += [quoted(word) for word in words(text)[:2]]
    if writable(text) and text[0] not in _SIGNS and "*" not in text:
        half = len(text) // 2
        spelled += [text, text.swapcase(), f"={text}", f"{text[:half]}*", f"*{text[half:]}"]
        spelled += [f"*{text[half : half + 1]}*", f"{text[:1]}*{text[-1:]}", f"{text}**"]
    return spelled


def _number_spellings(value: float) -> list[str]:
    if isinstance(value, float) and "e" in repr(value):
        value = int(value)
    near = [value, value, value + 1, value - 1]
    return [
        *(f"{op}{number}" for op in _OPERATORS for number in near), "*",
        f"{value}..{value + 10}", f"{value - 10}..{value}", f"..{value}", f"{value}..*",
    ]  # fmt: skip


def _time_spellings(value: Instant) -> list[str]:
    text = str(value)
    literals = [text, text[:19] + "Z", text[:16], text[:13], text[:10], text[:7], text[:4]]
    return [
        *(f"{op}{literal}" for op in _OPERATORS for literal in literals),
        *(f"{literal}..{end}" for literal in literals for end in (*literals[:3], "9999", "*")),
        "*", "..now", "7d", "-2w..now", "1y", "3mo", "90m", "today", "yesterday", "2026-01..2026-03"
    ]  # fmt: skip


def _address_spellings(address: str) -> list[str]:
    bits = [0, 7, 8, 24, 32] if ":" not in address else [96, 97, 104, 128]
    return [address, *(f"{address}/{number}" for number in bits), "private", "public", "*"]


def _text_spellings(value: str) -> list[str]:
    found = words(value)
    spelled = ["*", "=" + quoted(value or "x")]
    for start in range(min(len(found), 4)):
        spelled += [quoted(" ".join(found[start : start + size])) for size in (1, 2, 3)]
        spelled += [found[start], f"*{found[start]}*", f"{found[start]}*"]
    spelled.append(quoted(" ".join(reversed(found))) if found else "nothing")
    return spelled


def _free_spellings(value: str) -> list[str]:
    """Words are folded, so none of them is a keyword, and none begins with a sign."""
    found = words(value)[:9]
    if not found:
        return ["nothing"]
    return [
        *(quoted(" ".join(found[start : start + 2])) for start in range(len(found))),
        "-".join(found[:3]), found[-1], quoted(" ".join(reversed(found))),
        found[0][: max(len(found[0]) - 1, 1)],  # no word of its own: a near miss
    ]  # fmt: skip


def facts_of(stored: StoredEvent) -> Facts:
    """The values that an event answers to each qualifier, and under `free` those of free text.

    Written apart from `evaluate` on purpose, and more broadly: it need not be exact, since it only
    says what is worth searching for.
    """
    event = stored.event
    facts: dict[str, list[Any]] = {
        "free": [event.action],
        "action": [event.action],
        "created": [stored.occurred_at],
        "received": [stored.received_at],
        "id": [stored.id],
        "tenant": [stored.tenant_id],
        "has": list(FLAGS_HAS),
        "is": list(FLAGS_IS),
    }
    for name, value in _pairs(stored):
        if value is not UNSET and value is not None:
            facts.setdefault(name, []).append(value)
            if isinstance(value, str):
                facts["free"].append(value)
    for change in event.changes:
        for side, value in (("old", change.old), ("new", change.new)):
            if value is not UNSET:
                _add_json(facts, f"{side}.{change.path}", value)
    if event.metadata:
        for key, value in event.metadata.items():
            _add_json(facts, f"meta.{key}", value)
    return facts


def _pairs(stored: StoredEvent) -> Iterator[tuple[str, Any]]:
    event = stored.event
    for name in ("category", "operation", "outcome", "severity", "message"):
        yield name, getattr(event, name)
    yield "correlation", event.correlation_id
    yield "index", stored.index
    principals = [("actor", event.actor), ("behalf", event.on_behalf_of)]
    for prefix, someone in [*principals, *(("via", one) for one in event.via)]:
        if someone:
            for part in ("id", "name", "email"):
                yield prefix, getattr(someone, part)
                yield f"{prefix}.{part}", getattr(someone, part)
            yield f"{prefix}.type", someone.type
    for role in event.actor.roles:
        yield "actor.role", role
    if event.actor.auth:
        yield "session", event.actor.auth.session_id
        yield "credential", event.actor.auth.credential_id
    for target in event.targets:
        for part in ("type", "id", "name"):
            yield f"target.{part}", getattr(target, part)
            yield "target", getattr(target, part)
    for change in event.changes:
        yield "changed", change.path
    for tag in event.tags:
        yield "tag", tag
    yield from _context_pairs(event)


def _context_pairs(event: Event) -> Iterator[tuple[str, Any]]:
    for node in event.scope:
        yield "scope", node.id
        yield "scope", node.name
    for qualifier, part, name in _PLACES:
        found = getattr(event, part)
        if found:
            yield qualifier, getattr(found, name)
    if not event.client:
        return
    for qualifier, part, name in _CLIENT_PLACES:
        found = getattr(event.client, part)
        if found:
            yield qualifier, getattr(found, name)


_PLACES = (
    ("reason", "reason", "code"), ("app", "source", "app"),
    ("env", "source", "environment"), ("ip", "client", "ip"), ("agent", "client", "user_agent"),
    ("request", "request", "id"), ("method", "request", "method"), ("path", "request", "url"),
    ("path", "request", "route"), ("status", "request", "status"), ("trace", "trace", "trace_id"),
    ("duration", "request", "duration_ms"),
    ("error", "error", "type"), ("error", "error", "message"),
)  # fmt: skip
_CLIENT_PLACES = (
    ("country", "geo", "country"), ("city", "geo", "city"), ("asn", "network", "asn"),
    ("device", "device", "id"), ("device", "device", "type"), ("device", "device", "os"),
    ("device", "device", "browser"),
)  # fmt: skip


def _add_json(facts: dict[str, list[Any]], path: str, value: Any) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _add_json(facts, f"{path}.{key}", item)
    elif isinstance(value, list):
        for item in value:
            _add_json(facts, path, item)
    else:
        facts.setdefault(path, []).append(value)
        if isinstance(value, str):
            facts["free"].append(value)
