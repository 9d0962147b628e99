"""One event in full: every field that it has stands somewhere in the drawer.

The order is that of questions: what and with what result, who, by what right, from where, what
changed, to what, in which request, and how it can be proved. What belongs to no question comes
last, so that nothing of an event is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from msgspec import UNSET

from whodid.actions import is_unproven
from whodid.event import Change, Event, Principal, StoredEvent, Target
from whodid.times import Instant
from whodid.viewer.address import Address
from whodid.viewer.countries import country_name
from whodid.viewer.diffs import Line, compare, replaced
from whodid.viewer.http import LinkOf
from whodid.viewer.moments import Moments, span
from whodid.viewer.people import KINDS, Person, actor_of, acts_as, name_of, portray
from whodid.viewer.terms import spell
from whodid.viewer.text import joined, leaves, plain

LATE_S = 5
"""Seconds between occurring and being received that are worth a flag."""
LONG_CHARACTERS = 600

Style = Literal["", "code", "muted", "tag", "warn", "long", "link"]


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a fact. `url` makes it a link; `is_outside` one that leaves the viewer."""

    text: str
    style: Style = ""
    url: str = ""
    is_outside: bool = False


@dataclass(frozen=True, slots=True)
class Fact:
    """A name and its values."""

    label: str
    parts: tuple[Part, ...]
    is_code: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    title: str
    facts: tuple[Fact, ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One link of the chain from who acted to how it reached the application."""

    role: str
    who: Person
    url: str = ""
    lines: tuple[Part, ...] = ()
    is_nobody: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """One field before and after.

    Attributes:
        owner: The target's name when an event changed several.
        mark: What was done to the values before they were stored: `masked`, `hashed`, ….
        note: In place of values, when there are none.
    """

    path: str
    label: str
    owner: str
    lines: tuple[Line, ...]
    mark: str = ""
    note: str = ""

    @property
    def is_masked(self) -> bool:
        return self.mark in ("masked", "hashed")


@dataclass(frozen=True, slots=True)
class Pivot:
    label: str
    detail: str
    url: str


def chain(stored: StoredEvent, *, address: Address) -> list[Node]:
    """Actor, on behalf of whom, and through what."""
    event = stored.event
    nodes = [
        _actor(stored, address=address),
        _behalf(event, stored=stored, address=address),
    ]
    nodes += [
        Node(
            role="Via",
            who=portray(principal),
            lines=(Part(KINDS[principal.type]), *_identity(principal)),
        )
        for principal in event.via
    ]
    if not event.via:
        nodes.append(_application(event))
    return nodes


def _actor(stored: StoredEvent, *, address: Address) -> Node:
    event, who = stored.event, actor_of(stored)
    if "/actor" in stored.gone:
        return Node(role="Actor", who=who)
    lines = tuple(_actor_lines(event))
    if is_unproven(stored):
        named = event.actor.name or event.actor.email or event.actor.id
        claim = Part(f"gave the name of {named}") if named else Part("gave no name")
        return Node(role="Actor", who=who, lines=(claim, *lines))
    url = _search_for(event.actor, address=address)
    return Node(role="Actor", who=who, url=url, lines=lines)


def _behalf(event: Event, *, stored: StoredEvent, address: Address) -> Node:
    principal = event.on_behalf_of
    if "/on_behalf_of" in stored.gone:
        return Node(
            role="On behalf of", who=Person(name="Erased person", shape="gone", icon="gone")
        )
    if not principal:
        return Node(
            role="On behalf of",
            who=Person(name="Nobody", shape="gone", icon="gone"),
            lines=(Part("own authority"),),
            is_nobody=True,
        )
    return Node(
        role="As" if acts_as(event) else "On behalf of",
        who=portray(principal),
        url=_search_for(principal, address=address, field="behalf"),
        lines=(Part(KINDS[principal.type]), *_identity(principal)),
    )


def _application(event: Event) -> Node:
    source = event.source
    name = (source.app or source.component or source.host) if source else UNSET
    if not source or not name:
        return Node(
            role="Via",
            who=Person(name="Not told", shape="gone", icon="gone"),
            is_nobody=True,
        )
    lines = [Part(f"version {source.version}")] if source.version else []
    if source.environment:
        lines.append(Part(source.environment))
    return Node(
        role="Via", who=Person(name=name, shape="machine", icon="globe"), lines=tuple(lines)
    )


def _actor_lines(event: Event) -> Iterator[Part]:
    actor = event.actor
    yield Part(KINDS[actor.type])
    yield from _identity(actor)
    if actor.roles:
        yield Part(", ".join(actor.roles))
    if auth := actor.auth:
        factor = UNSET if auth.mfa is UNSET else "second factor" if auth.mfa else "no second factor"
        signed_in = joined([_METHODS.get(auth.method or ""), factor])
        if signed_in:
            yield Part(signed_in[:1].upper() + signed_in[1:])


def _identity(principal: Principal) -> Iterator[Part]:
    """Id and e-mail address, unless they already serve as the name."""
    shown = name_of(principal)
    if principal.email and principal.email != shown:
        yield Part(principal.email)
    if principal.id and principal.id != shown:
        yield Part(principal.id, "code")


def _search_for(principal: Principal, *, address: Address, field: str = "actor.id") -> str:
    if not principal.id:
        return ""
    return address.searching(spell(field, principal.id)).ranging("all").list


def sections_before_changes(
    stored: StoredEvent, *, moments: Moments, address: Address
) -> list[Section]:
    """Why, by what right, and from where."""
    event = stored.event
    return _filled(
        _section("Reason", _why(event)),
        _section("Agent", _agent(event)),
        _section("Authority", _authority(event, moments=moments)),
        _section("From where", _from_where(event, stored=stored, address=address)),
    )


def sections_after_changes(
    stored: StoredEvent, *, moments: Moments, address: Address, link_of: LinkOf | None = None
) -> list[Section]:
    """On what, in which request, by which application, and everything else.

    Args:
        link_of: Says where the application shows a target.
    """
    event = stored.event
    return _filled(
        _section("Targets", _targets(event, stored=stored, address=address, link_of=link_of)),
        _section("Request", _request(event, address=address)),
        _section("Sign-in", _sign_in(event)),
        _section("More about the actor", _json_facts(event.actor.attributes)),
        _section("Application", _source(event, address=address)),
        _section("Metadata", _json_facts(event.metadata)),
        _section("Attachments", _attachments(event)),
        _section("Record", _record(stored, moments=moments)),
    )


def _section(title: str, facts: Iterable[Fact]) -> Section:
    return Section(title=title, facts=tuple(facts))


def _filled(*sections: Section) -> list[Section]:
    return [section for section in sections if section.facts]


def _fact(label: str, *parts: Part | None, is_code: bool = False) -> Iterator[Fact]:
    """A fact, if it has anything to tell."""
    told = tuple(part for part in parts if part and part.text)
    if told:
        yield Fact(label, told, is_code=is_code)


def _text(value: Any, style: Style = "") -> Part | None:  # Any: a leaf of the event or UNSET
    if value is UNSET or value == ():
        return None
    text = plain(value)
    return Part(text, "long" if len(text) > LONG_CHARACTERS else style)


def _why(event: Event) -> Iterator[Fact]:
    reason, error = event.reason, event.error
    if reason:
        yield from _fact("Reason", _text(reason.message), _text(reason.code, "code"))
        yield from _fact("Policy", _text(reason.policy, "code"))
    if error:
        yield from _fact("Error", _text(error.type, "code"), _text(error.message))
        yield from _fact("Fingerprint", _text(error.fingerprint, "code"))


_METHODS = {
    "password": "Password", "passkey": "Passkey", "otp": "One-time code", "oidc": "OpenID Connect",
    "saml": "SAML", "ldap": "LDAP", "mtls": "Client certificate", "api_key": "API key",
    "bearer": "Bearer token", "cookie": "Cookie", "basic": "Basic authentication",
    "magic_link": "Magic link", "recovery_code": "Recovery code", "none": "None", "other": "Other",
}  # fmt: skip
_AUTONOMY = {
    "suggested": "Suggested, a person carried it out",
    "approved": "Each step approved by a person",
    "autonomous": "On its own",
}


def _sign_in(event: Event) -> Iterator[Fact]:
    if auth := event.actor.auth:
        yield from _fact("Session", _text(auth.session_id, "code"))
        yield from _fact("Credential", _text(auth.credential_id, "code"))
        yield from _fact("Provider", _text(auth.idp))


def _agent(event: Event) -> Iterator[Fact]:
    if agent := event.actor.agent:
        version = _text(agent.version)
        yield from _fact("Model", _text(agent.model), version)
        yield from _fact("Framework", _text(agent.framework), _text(agent.protocol))
        yield from _fact("Tool", _text(agent.tool, "code"))
        yield from _fact("Instance", _text(agent.instance_id, "code"))
        yield from _fact("Autonomy", _text(_AUTONOMY.get(agent.autonomy or "", UNSET)))


_DELEGATIONS = {
    "impersonation": "Impersonation", "delegation": "Delegation", "agent": "AI agent",
    "automation": "Automation", "support_access": "Support access", "break_glass": "Break glass",
    "sudo": "Elevated rights",
}  # fmt: skip


def _authority(event: Event, *, moments: Moments) -> Iterator[Fact]:
    delegation = event.delegation
    if not delegation:
        return
    yield from _fact("Kind", Part(_DELEGATIONS[delegation.kind]))
    yield from _fact("Reason", _text(delegation.reason))
    yield from _fact("Ticket", _text(delegation.ticket, "code"))
    yield from _fact("Approved by", _text(delegation.approved_by))
    yield from _fact("Grant", _text(delegation.grant_id, "code"))
    if delegation.expires_at:
        yield from _fact("Lent until", Part(moments.full(delegation.expires_at)))


def _from_where(event: Event, *, stored: StoredEvent, address: Address) -> Iterator[Fact]:
    client = event.client
    if "/client" in stored.gone:
        yield Fact("Address", (Part("erased", "muted"),))
    if not client:
        return
    if client.ip:
        url = address.searching(spell("ip", client.ip)).ranging("all").list
        port = Part(f"port {client.port}", "muted") if client.port is not UNSET else None
        yield from _fact("Address", Part(client.ip, "code", url), port)
    elif client.port is not UNSET:
        yield from _fact("Port", _text(client.port))
    yield from _fact("Forwarded for", *(Part(hop, "code") for hop in client.forwarded_for))
    yield from _place(event)
    if network := client.network:
        asn = Part(f"AS{network.asn}", "code") if network.asn is not UNSET else None
        proxy = Part("proxy", "warn") if network.is_proxy else None
        tor = Part("Tor", "warn") if network.is_tor else None
        yield from _fact("Network", _text(network.org), asn, proxy, tor)
        direct = [
            word
            for word, value in (("no proxy", network.is_proxy), ("not Tor", network.is_tor))
            if value is False
        ]
        yield from _fact("Checked", Part(", ".join(direct), "muted"))
    if device := client.device:
        yield from _fact(
            "Device", Part(joined([device.browser, device.os], by=" on ")), _text(device.type)
        )
        yield from _fact("Device id", _text(device.id, "code"))
    yield from _fact("User agent", _text(client.user_agent, "muted"))


def _place(event: Event) -> Iterator[Fact]:
    geo = event.client.geo if event.client else UNSET
    if not geo:
        return
    country = f"{country_name(geo.country)} ({geo.country})" if geo.country else UNSET
    degrees = joined(
        [plain(value) if value is not UNSET else UNSET for value in (geo.lat, geo.lon)]
    )
    yield from _fact(
        "Place",
        Part(joined([geo.city, geo.region, country])),
        Part(degrees, "muted"),
    )


def changes(stored: StoredEvent) -> list[Changed]:
    """The event's changes, old to new, by word."""
    event = stored.event
    owners = {change.target for change in event.changes}
    return [
        _changed(change, owner=_owner(event, change) if len(owners) > 1 else "")
        for change in event.changes
    ]


def _owner(event: Event, change: Change) -> str:
    if change.target >= len(event.targets):
        return f"target {change.target + 1}"
    target = event.targets[change.target]
    return target.name or target.id or target.type


_NOTES = {"add": "added, without a value", "remove": "removed, without a value"}


def _changed(change: Change, *, owner: str) -> Changed:
    has_values = change.old is not UNSET or change.new is not UNSET
    note = ""
    if not has_values:
        is_secret = change.redacted and change.redacted != "truncated"
        note = "not recorded, by rule" if is_secret else _NOTES.get(change.op or "", "no values")
    return Changed(
        path=change.path,
        label=change.label or "",
        owner=owner,
        lines=tuple(_lines(change)) if has_values else (),
        mark=change.redacted or "",
        note=note,
    )


def _lines(change: Change) -> list[Line]:
    if change.redacted in ("masked", "hashed"):
        return [replaced(change.old, change.new)]  # words of a mask mean nothing
    return compare(change.old, change.new)


def _targets(
    event: Event, *, stored: StoredEvent, address: Address, link_of: LinkOf | None
) -> Iterator[Fact]:
    for number, target in enumerate(event.targets):
        if f"/targets/{number}" in stored.gone:
            yield Fact("Erased", (Part("erased", "muted"),))
            continue
        own_url = link_of(target) if link_of else None
        opening = Part("open", "link", own_url) if own_url and is_own_path(own_url) else None
        yield from _target(target, address=address, opening=opening)


def _target(target: Target, *, address: Address, opening: Part | None) -> Iterator[Fact]:
    url = address.searching(_query_of(target)).ranging("all").list if target.id else ""
    role = Part(target.role, "tag") if target.role else None
    version = Part(f"version {target.version}", "muted") if target.version else None
    link = None
    if target.url:
        is_web = is_web_address(target.url)
        link = Part(target.url, "muted", target.url if is_web else "", is_outside=is_web)
    name = Part(target.name, "", url) if target.name else None
    identity = Part(target.id, "code", "" if name else url) if target.id else None
    yield from _fact(
        target.type,
        *(name or identity, identity if name else None, role, version, link, opening),
    )
    if not (target.name or target.id or target.role or target.version or target.url):
        yield Fact(target.type, (Part("without id", "muted"),))
    yield from _json_facts(target.attributes)


def _query_of(target: Target) -> str:
    """What finds a target and no other: ids are often small numbers that each type counts anew."""
    return f"{spell('target.type', target.type)} {spell('target.id', target.id or '')}"


def is_own_path(url: str) -> bool:
    """Is this a path of the same site? An address with `//` or a backslash in front is none."""
    return bool(re.fullmatch(r"/(?![/\\])[^\\\x00-\x20\x7f]*", url))


def is_web_address(url: str) -> bool:
    """May this become a link? Only http and https; anything else could run."""
    return bool(re.match(r"https?://[^\s/]", url, re.IGNORECASE))


def _request(event: Event, *, address: Address) -> Iterator[Fact]:
    request, trace = event.request, event.trace
    if request:
        yield from _fact(
            "Call",
            _text(request.method, "code"),
            _text(request.route, "code"),
            Part(f"status {request.status}") if request.status is not UNSET else None,
            Part(f"{plain(request.duration_ms)} ms", "muted")
            if request.duration_ms is not UNSET
            else None,
        )
        yield from _fact("URL", _text(request.url, "code"))
        yield from _fact("Request id", _linked("request", request.id, address=address))
    if trace:
        yield from _fact("Trace", _linked("trace", trace.trace_id, address=address))
        yield from _fact("Span", _text(trace.span_id, "code"))
    yield from _fact("Correlation", _linked("correlation", event.correlation_id, address=address))


def _linked(field: str, value: Any, *, address: Address) -> Part | None:  # Any: text or UNSET
    if value is UNSET:
        return None
    return Part(value, "code", address.searching(spell(field, value)).ranging("all").list)


def _source(event: Event, *, address: Address) -> Iterator[Fact]:
    if source := event.source:
        yield from _fact("App", _text(source.app), _text(source.version, "code"))
        yield from _fact("Component", _text(source.component))
        yield from _fact("Environment", _text(source.environment))
        yield from _fact("Host", _text(source.host, "code"), _text(source.instance, "code"))
    if tenant := event.tenant:
        identity = Part(tenant.id, "code") if tenant.name else _text(tenant.id)
        yield from _fact("Tenant", _text(tenant.name), identity)
    for node in event.scope:
        name = _text(node.name)
        yield from _fact(
            node.type or "Scope", name or _text(node.id), _text(node.id, "code") if name else None
        )


def _json_facts(values: Any) -> Iterator[Fact]:  # Any: a mapping of JSON or UNSET
    if values is UNSET:
        return
    for path, value in leaves(values):
        text = plain(value)
        style: Style = "long" if len(text) > LONG_CHARACTERS else ""
        if value is None or value == "":
            yield Fact(path, (Part(text or "empty", "muted"),), is_code=True)
        else:
            yield Fact(path, (Part(text, style),), is_code=True)


def _attachments(event: Event) -> Iterator[Fact]:
    for attachment in event.attachments:
        size = Part(f"{attachment.size:,} bytes", "muted") if attachment.size is not UNSET else None
        yield from _fact(
            "File", _text(attachment.name), _text(attachment.media_type, "muted"), size
        )
        yield from _fact("SHA-256", Part(attachment.sha256, "code"))


def _record(stored: StoredEvent, *, moments: Moments) -> Iterator[Fact]:
    event = stored.event
    yield from _fact("Action", Part(event.action, "code"))
    yield from _fact(
        "Kind", _text(event.category), _text(event.operation), Part(f"{stored.severity} severity")
    )
    yield from _fact("Occurred", Part(moments.full(stored.occurred_at)))
    yield from _fact("Received", Part(moments.full(stored.received_at)), _lateness(stored))
    if event.count > 1 or event.window:
        yield from _fact("Stands for", Part(f"{event.count:,} events"))
    if window := event.window:
        yield from _fact("From", Part(moments.full(window.start)))
        yield from _fact("To", Part(moments.full(window.end)))
    yield from _fact("Tags", *(Part(tag, "tag") for tag in event.tags))
    yield from _fact("Data classes", *(Part(name, "tag") for name in event.data_classes))
    yield from _fact("Written by", Part(stored.writer, "code") if stored.writer else None)
    yield from _fact("Key", _text(event.idempotency_key, "code"))
    yield from _fact("Id", Part(stored.id, "code"))
    yield from _fact("Erased", *(Part(path, "code") for path in stored.gone))


def _lateness(stored: StoredEvent) -> Part | None:
    text = lateness(stored)
    return Part(text, "warn") if text else None


def lateness(stored: StoredEvent) -> str:
    """`Received 7 s later`, when the two times differ by more than they should; else ""."""
    seconds = (stored.received_at - stored.occurred_at).total_seconds()
    if abs(seconds) <= LATE_S:
        return ""
    return f"Received {span(int(abs(seconds)))} {'later' if seconds > 0 else 'earlier'}"


def pivots(stored: StoredEvent, *, address: Address) -> list[Pivot]:
    """Searches that start from this event."""
    event = stored.event
    found: list[tuple[str, str, str]] = []
    if event.actor.id:
        noun = {"user": "person", "ai_agent": "agent"}.get(event.actor.type, "actor")
        noun = "account" if is_unproven(stored) else noun
        found.append((f"This {noun}", name_of(event.actor), spell("actor.id", event.actor.id)))
    if event.client and event.client.ip:
        found.append(("This address", event.client.ip, spell("ip", event.client.ip)))
    if event.actor.auth and event.actor.auth.session_id:
        session = event.actor.auth.session_id
        found.append(("This session", session, spell("session", session)))
    record = next((target for target in event.targets if target.id), None)
    if record and record.id:
        found.append(("This record", record.name or record.id, _query_of(record)))
    if event.request and event.request.id:
        found.append(("This request", event.request.id, spell("request", event.request.id)))
    if event.trace:
        found.append(("This trace", event.trace.trace_id, spell("trace", event.trace.trace_id)))
    everywhere = address.ranging("all")
    links = [
        Pivot(label, detail, everywhere.searching(query).list) for label, detail, query in found
    ]
    return [*links, _around(stored, address=address)]


def _around(stored: StoredEvent, *, address: Address) -> Pivot:
    margin = timedelta(minutes=5)
    try:
        start, end = (
            Instant.of(stored.occurred_at - margin),
            Instant.of(stored.occurred_at + margin),
        )
    except OverflowError:
        start = end = stored.occurred_at
    return Pivot("± 5 minutes", "", address.searching("").spanning(start, end).list)
