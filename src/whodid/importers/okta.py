"""Okta's System Log as events.

`user.session.start` becomes `user.login`, and so on for what whodid has an action of its own; other
names stay. Okta's name is in `metadata.source_action`. Decisions:

- `SUCCESS` and `ALLOW` are a success, `FAILURE`, `ABANDONED` and `UNANSWERED` a failure, `DENY` and
  `RATE_LIMIT` denied; a `CHALLENGE` decides nothing yet and is `unknown`, as is all else.
- Who is not known to Okta has the id `unknown`; then it is called by what was typed as its name.
- Okta writes countries as English words, the schema as codes: those words that `COUNTRIES` knows
  are in `client.geo`, others in `metadata.country`.

Names of keys are read without case, since data lakes write them in lower case.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from whodid.event import Event, from_mapping
from whodid.importers.base import Reader, UnmappableError
from whodid.importers.countries import country_code
from whodid.importers.values import (
    MAX_SHORT,
    MAX_TEXT,
    MAX_USER_AGENT,
    Values,
    a_target,
    action_name,
    code_name,
    degrees,
    email,
    event_id,
    first_time,
    inner,
    ip,
    ips,
    is_plain,
    is_short,
    keep_short,
    kind_name,
    lowered,
    path_of,
    present,
    text,
    truth,
    whole,
)

_TIME_KEYS = ("published", "p_event_time", "@timestamp")
_MAX_TARGETS = 20
_MAX_CHANGES = 50


def read(record: Mapping[str, Any]) -> Event:
    """The event of one System Log record.

    Raises:
        UnmappableError: It names no event type, or its time can't be read.
        EventError: It holds what the schema does not allow, e.g. an oversized number.
    """
    given = lowered(record)
    name = text(given.get("eventtype"), 120) or text(given.get("legacyeventtype"), 120)
    if name is None:
        raise UnmappableError("no eventType: is this a record of Okta's System Log?")
    action = _OURS.get(name) or action_name(name.lower(), "okta")
    outcome, reason = _outcome(given, action)
    client = lowered(given.get("client"))
    debug = inner(lowered(given.get("debugcontext")).get("debugdata"))
    listed = _given_targets(given)
    actor = _actor(given)
    targets = _with_account(action, actor, [*_targets(listed)])
    values: Values = {
        "id": event_id(given.get("uuid"), record, form="okta"),
        "occurred_at": first_time(given, *_TIME_KEYS),
        "action": action,
        "category": _category(action, name),
        "severity": _severity(given, name),
        "outcome": outcome,
        "reason": reason,
        "message": text(given.get("displaymessage"), MAX_TEXT),
        "actor": actor,
        "targets": targets,
        "changes": [*_changes(listed, first=len(targets) - len(listed))],
        "source": {"app": "okta"},
        "client": _client(client, given),
        "request": present(
            id=text(debug.get("requestId")), url=path_of(text(debug.get("requestUri"), 4_096))
        ),
        "correlation_id": text(lowered(given.get("transaction")).get("id")),
        "metadata": _metadata(name, given, client=client, debug=debug),
    }
    return from_mapping(present(**values))


_OURS: Mapping[str, str] = {
    "user.session.start": "user.login",
    "user.session.end": "user.logout",
    "user.session.impersonation.initiate": "user.impersonate",
    "user.authentication.auth_via_mfa": "user.mfa.verify",
    "user.mfa.okta_verify.deny_push": "user.mfa.verify",
    "user.account.update_password": "user.password.change",
    "user.account.reset_password": "user.password.reset",
    "user.account.lock": "user.lock",
    "user.account.unlock": "user.unlock",
    "user.account.unlock_by_admin": "user.unlock",
    "user.account.update_profile": "user.update",
    "user.account.privilege.grant": "user.role.grant",
    "user.account.privilege.revoke": "user.role.revoke",
    "user.lifecycle.create": "user.create",
    "user.lifecycle.activate": "user.enable",
    "user.lifecycle.reactivate": "user.enable",
    "user.lifecycle.unsuspend": "user.enable",
    "user.lifecycle.deactivate": "user.disable",
    "user.lifecycle.suspend": "user.disable",
    "user.lifecycle.delete.completed": "user.delete",
    "user.mfa.factor.activate": "user.mfa.enable",
    "user.mfa.factor.unsuspend": "user.mfa.enable",
    "user.mfa.factor.deactivate": "user.mfa.disable",
    "user.mfa.factor.suspend": "user.mfa.disable",
    "user.mfa.factor.reset_all": "user.mfa.disable",
    "group.lifecycle.create": "group.create",
    "group.lifecycle.delete": "group.delete",
    "group.profile.update": "group.update",
    "group.user_membership.add": "group.member.add",
    "group.user_membership.remove": "group.member.remove",
    "system.api_token.create": "api_key.create",
    "system.api_token.revoke": "api_key.revoke",
}


# -- what was done -------------------------------------------------------------------------------


def _category(action: str, name: str) -> str | None:
    """None leaves it to the registry."""
    if name in _OURS:
        return None
    if action.startswith(("user.authentication.", "user.session.", "app.oauth2.")):
        return "authentication"
    if action.startswith("policy.evaluate"):
        return "authorization"
    if action.startswith(("user.", "group.", "iam.")):
        return "iam"
    if ".rate_limit" in action or "rate_limit" in action.rpartition(".")[2]:
        return "system"
    return "configuration" if action.startswith(_CONFIGURED) else None


_CONFIGURED = ("application.", "policy.", "zone.", "system.", "security.", "device.")
_SEVERITIES = {"WARN": "low", "ERROR": "medium", "HIGH": "high"}
_ALARMING = re.compile(
    r"(?:group|user\.account)\.privilege\.grant|user\.session\.impersonation\.\w+"
    r"|policy\.(?:lifecycle|rule)\.(?:delete|deactivate)|zone\.(?:deactivate|delete)"
    r"|system\.mfa\.factor\.deactivate|security\.threat\.\w+|user\.account\.report_suspicious\w*"
    r"|system\.log_stream\.lifecycle\.(?:deactivate|delete)|user\.mfa\.okta_verify\.deny_push"
)


def _severity(given: Mapping[str, Any], name: str) -> str | None:
    if _ALARMING.match(name):
        return "high"
    return _SEVERITIES.get((text(given.get("severity")) or "").upper())


_OUTCOMES = {
    "SUCCESS": "success", "ALLOW": "success", "FAILURE": "failure", "ABANDONED": "failure",
    "UNANSWERED": "failure", "DENY": "denied", "RATE_LIMIT": "denied",
}  # fmt: skip
# Okta's reasons in our words, which have sentences.
_REASONS = {
    "INVALID_CREDENTIALS": "bad_password", "INVALID_LOGIN": "bad_password",
    "LOCKED_OUT": "locked", "USER_LOCKED_OUT": "locked", "ACCOUNT_LOCKED": "locked",
    "UNKNOWN_USER": "unknown_user", "USER_NOT_FOUND": "unknown_user",
    "INACTIVE": "disabled", "SUSPENDED": "disabled", "DEPROVISIONED": "disabled",
    "PASSWORD_EXPIRED": "expired", "EXPIRED": "expired", "REVOKED": "revoked",
    "MFA_REQUIRED": "mfa_required", "NOT_ALLOWED": "not_permitted",
    "ACCESS_DENIED": "not_permitted", "INSUFFICIENT_SCOPE": "not_permitted",
    "RATE_LIMIT": "rate_limited", "TIMEOUT": "timeout",
}  # fmt: skip
_CODE = re.compile(r"[A-Z][A-Z0-9_]{1,60}")


def _outcome(given: Mapping[str, Any], action: str) -> tuple[str, Values]:
    answer = lowered(given.get("outcome"))
    result = (text(answer.get("result")) or "").upper()
    why = text(answer.get("reason"), MAX_TEXT)
    code = _REASONS.get(why or "") or (code_name(why) if why and _CODE.fullmatch(why) else None)
    if why == "VERIFICATION_ERROR" and action == "user.mfa.verify":
        code = "mfa_failed"
    elif why == "VERIFICATION_ERROR" and action == "user.login":
        code = "bad_password"
    elif result == "RATE_LIMIT" or why and "too many requests" in why.lower():
        code = "rate_limited"
    outcome = _OUTCOMES.get(result, "unknown")
    if action == "user.lock" and why == "LOCKED_OUT":
        return "success", {}  # Okta calls it a failure: of the sign-in that led to it
    if text(given.get("eventtype")) == "user.mfa.okta_verify.deny_push":
        outcome = "denied"
    return outcome, present(code=code, message=why)


# -- who -----------------------------------------------------------------------------------------

_UNKNOWN = frozenset(("unknown", "null", "none"))


def _known(value: object) -> str | None:
    """The text, unless it is a word for having none."""
    found = text(value)
    return None if found and found.lower() in _UNKNOWN else found


def _actor(given: Mapping[str, Any]) -> Values:
    actor = lowered(given.get("actor"))
    alternate = _known(actor.get("alternateid"))
    own_id = _known(actor.get("id")) or alternate
    return present(
        type=_actor_type(text(actor.get("type")) or "", own_id),
        id=own_id,
        name=_known(actor.get("displayname")) or alternate,
        email=email(alternate),
        auth=_auth(lowered(given.get("authenticationcontext"))),
    )


def _actor_type(kind: str, own_id: str | None) -> str:
    word = kind.lower()
    if word == "systemprincipal":
        return "system"
    if not own_id:
        return "unknown"
    if word in ("user", "appuser", "externaluser"):
        return "user"
    if "agent" in word and "ai" in word:
        return "ai_agent"
    return "service_account" if "app" in word or "client" in word else "unknown"


_METHODS = {
    "PASSWORD": "password", "OTP": "otp", "SMS": "otp", "EMAIL": "otp", "CALL": "otp",
    "WEBAUTHN": "passkey", "FIDO2": "passkey", "ASSERTION": "saml", "CERTIFICATE": "mtls",
    "JWT": "bearer", "IWA": "other", "SIGNED_NONCE": "passkey",
}  # fmt: skip


def _auth(context: Mapping[str, Any]) -> Values:
    return present(
        method=_METHODS.get((text(context.get("credentialtype")) or "").upper()),
        session_id=_known(context.get("externalsessionid")),
        idp=_known(lowered(context.get("issuer")).get("id"))
        or _known(context.get("authenticationprovider")),
    )


# -- on what -------------------------------------------------------------------------------------


def _given_targets(given: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    listed = given.get("target")
    items = listed[:_MAX_TARGETS] if isinstance(listed, list) else [listed]
    return [item for item in map(lowered, items) if item]


def _targets(listed: Sequence[Mapping[str, Any]]) -> Iterator[Values]:
    for number, item in enumerate(listed):
        alternate, name = _known(item.get("alternateid")), _known(item.get("displayname"))
        own_id = _known(item.get("id")) or alternate or name
        kind = kind_name(text(item.get("type")), "resource")
        target: Values = a_target(kind, own_id, name) if own_id else {"type": kind}
        if alternate and alternate not in (own_id, name):
            target.setdefault("attributes", {})["alternate_id"] = alternate
        if number:
            target["role"] = "affected"
        yield target


def _with_account(action: str, actor: Values, targets: list[Values]) -> list[Values]:
    """Of a sign-in the account is what it is about; an app or a factor is what it is affecting."""
    is_told = any(target["type"] == "user" for target in targets)
    if action not in ("user.login", "user.mfa.verify") or is_told or "id" not in actor:
        return targets
    account = present(type="user", id=actor["id"], name=actor.get("name"))
    return [account, *({**target, "role": "affected"} for target in targets)]


def _changes(listed: Sequence[Mapping[str, Any]], *, first: int) -> Iterator[Values]:
    """What `changeDetails` of the targets says: from and to.

    Args:
        first: Which of the event's targets the first one listed is.
    """
    count = 0
    for number, item in enumerate(listed, start=first):
        details = lowered(item.get("changedetails"))
        if not details:
            continue
        before, after = inner(details.get("from")), inner(details.get("to"))
        for field in dict.fromkeys((*before, *after)):
            change: Values = {"path": field[:MAX_SHORT]}
            for side, values in (("old", before), ("new", after)):
                if field in values and (is_short(values[field]) or is_plain(values[field])):
                    change[side] = values[field]
            if field and len(change) > 1 and count < _MAX_CHANGES:
                count += 1
                yield change | ({"target": number} if number else {})


# -- from where, and the rest --------------------------------------------------------------------


def _client(client: Mapping[str, Any], given: Mapping[str, Any]) -> Values:
    agent = lowered(client.get("useragent"))
    where = lowered(client.get("geographicalcontext"))
    place = lowered(where.get("geolocation"))
    security = lowered(given.get("securitycontext"))
    chain = lowered(given.get("request")).get("ipchain")
    hops = [lowered(hop).get("ip") for hop in chain] if isinstance(chain, list) else []
    address = ip(text(client.get("ipaddress")))
    return present(
        ip=address,
        forwarded_for=[hop for hop in ips(hops) if hop != address],
        user_agent=text(agent.get("rawuseragent"), MAX_USER_AGENT),
        device=present(
            id=_known(lowered(given.get("device")).get("id")),
            type=_known(client.get("device")),
            os=_known(agent.get("os")),
            browser=_known(agent.get("browser")),
        ),
        geo=present(
            country=country_code(text(where.get("country"))),
            region=text(where.get("state")),
            city=text(where.get("city")),
            lat=degrees(place.get("lat"), 90),
            lon=degrees(place.get("lon"), 180),
        ),
        network=present(
            asn=whole(security.get("asnumber")),
            org=text(security.get("asorg")),
            is_proxy=truth(security["isproxy"]) if security.get("isproxy") is not None else None,
        ),
    )


# Opaque, long, or read above.
_DEBUG_READ = frozenset(("requestId", "requestUri", "url", "dtHash", "logOnlySecurityData"))


def _metadata(
    name: str, given: Mapping[str, Any], *, client: Mapping[str, Any], debug: Mapping[str, Any]
) -> Values:
    """What our schema has no key for, when it is short; the rest is counted."""
    country = text(lowered(client.get("geographicalcontext")).get("country"))
    address = text(client.get("ipaddress"))
    kept: Values = present(
        source_action=name,
        legacy_event_type=text(given.get("legacyeventtype")),
        country=None if country_code(country) else country,
        zone=_known(client.get("zone")),
        device_name=_known(lowered(given.get("device")).get("name")),
        source_address=None if ip(address) else address,
    )
    rest = {key: value for key, value in debug.items() if key not in _DEBUG_READ}
    omitted = keep_short(kept, rest, prefix="debug", values=20, room=4_096)
    return kept | ({"omitted": omitted} if omitted else {})


_MARKS = frozenset(
    "published legacyeventtype displaymessage debugcontext authenticationcontext securitycontext "
    "transaction outcome".split()
)


def recognises(record: Mapping[str, Any]) -> bool:
    """Is this one of Okta's? It has an `eventType`, and others of its keys."""
    keys = {key.lower() for key in record}
    is_named = not keys.isdisjoint(("eventtype", "legacyeventtype"))
    return is_named and "eventname" not in keys and len(keys & _MARKS) >= 1 and "actor" in keys


OKTA = Reader(
    name="okta",
    description="Okta's System Log: the API's answer or JSON lines",
    read=read,
    recognises=recognises,
    is_dated=True,
)
