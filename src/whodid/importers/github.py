"""GitHub's audit log as events: the export's, the API's and the streamed one's records.

Names of actions stay as they are (`repo.destroy`, `org.add_member`), but for those of signing in,
which whodid has its own for; GitHub's name is in `metadata.source_action`. Decisions:

- The log holds what was done: every outcome is `success`, but that of a failed sign-in.
- `[bot]` at the end of a name, and `actor_is_bot`, is a `service_account`; `actor_is_agent`, and
  Copilot, an `ai_agent`, who acts for the record's `user`.
- `hashed_token` is a digest already; it names the credential, so that one's own can be found.
- Pairs of `old_x` and `x` (or `new_x`, `x_was`, `previous_x`) are changes.
- A record without an actor's name, such as a push with a deploy key, has an actor `unknown`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from whodid.event import Event, from_mapping
from whodid.importers.base import Reader, UnmappableError
from whodid.importers.values import (
    MAX_USER_AGENT,
    Values,
    a_target,
    action_name,
    email,
    event_id,
    first_time,
    fold,
    ip,
    is_plain,
    is_short,
    keep_short,
    path_of,
    present,
    text,
    truth,
    whole,
)

_TIME_KEYS = ("@timestamp", "created_at", "at_sign_timestamp", "p_event_time")


def read(record: Mapping[str, Any]) -> Event:
    """The event of one record of GitHub's audit log.

    Raises:
        UnmappableError: It names no action, or its time can't be read.
        EventError: It holds what the schema does not allow, e.g. an oversized number.
    """
    name = text(record.get("action"), 120)
    if name is None:
        raise UnmappableError("no action: is this a record of GitHub's audit log?")
    action = _OURS.get(name) or action_name(name.lower(), "github")
    operation = _operation(name, record)
    values: Values = {
        "id": event_id(None, record, form="github"),
        "occurred_at": first_time(record, *_TIME_KEYS),
        "action": action,
        "operation": operation,
        "category": _category(name, action),
        "severity": _severity(name, record),
        "outcome": "failure" if name == "user.failed_login" else "success",
        "actor": _actor(record),
        **_behalf(record),
        "targets": _targets(name, record),
        "changes": [*_changes(record)],
        "source": present(app="github", component=fold(name.split(".", 1)[0])),
        "client": _client(record),
        "request": _request(record),
        "metadata": _metadata(name, record),
    }
    return from_mapping(present(**values))


_OURS: Mapping[str, str] = {
    "user.failed_login": "user.login",
    "user.change_password": "user.password.change",
    "user.reset_password": "user.password.reset",
    "two_factor_authentication.enabled": "user.mfa.enable",
    "two_factor_authentication.disabled": "user.mfa.disable",
    "user.two_factor_enabled": "user.mfa.enable",
    "user.two_factor_disabled": "user.mfa.disable",
}


# -- what was done -------------------------------------------------------------------------------

_OPERATION_TYPES = {
    "create": "create", "access": "read", "modify": "update", "remove": "delete",
    "authentication": "login", "transfer": "update", "restore": "update",
}  # fmt: skip
# GitHub's own word is no verb of English, or another one: `repo.access` changes who may see it.
_OPERATIONS = {
    "repo.access": "update", "git.push": "update", "git.clone": "read", "git.fetch": "read",
}  # fmt: skip
_ADDING = re.compile(r"(?:add|grant|invite)\w*(?:member|user|collaborator|repository|role)?")
_REMOVING = re.compile(r"(?:remove|revoke)\w*(?:member|user|collaborator|repository|role)")


def _operation(name: str, record: Mapping[str, Any]) -> str | None:
    """What is told by name or by `operation_type`; None leaves it to the verb."""
    if name in _OPERATIONS:
        return _OPERATIONS[name]
    prefix, _, verb = name.rpartition(".")
    if prefix in _PEOPLE and _ADDING.fullmatch(verb):
        return "grant"
    if prefix in _PEOPLE and _REMOVING.fullmatch(verb):
        return "revoke"
    if name in _OURS or name.startswith("user.login"):
        return None
    return _OPERATION_TYPES.get(text(record.get("operation_type")) or "")


_PEOPLE = frozenset(
    "org team business enterprise role organization_role organization_moderators repo "
    "external_group enterprise_team org_credential_authorization".split()
)
_IAM = _PEOPLE - {"repo"} | frozenset(
    "user two_factor_authentication public_key oauth_access oauth_authorization "
    "personal_access_token sso_response external_identity org_secret_scanning".split()
)
_DATA = frozenset(("git", "repo", "pull_request", "issue", "issues", "issue_comment", "gist"))


def _category(name: str, action: str) -> str | None:
    prefix = name.split(".", 1)[0]
    if action != name.lower() or name.startswith("user.log"):
        return None  # the registry's
    if prefix in _IAM or "member" in name or "collaborator" in name:
        return "iam"
    return "data" if prefix in _DATA else "configuration"


_ALARMING = re.compile(
    r"protected_branch\.(?:destroy|policy_override)|repository_ruleset\.destroy|repo\.destroy"
    r"|ip_allow_list\w*\.\w*(?:disable|destroy|remove)\w*|\w+\.disable_(?:two_factor|saml|oauth)\w*"
    r"|\w*secret_scanning\w*\.disable\w*|audit_log_streaming\.(?:destroy|disable|update)"
    r"|business\.(?:add_admin|invite_admin)|\w*dependabot\w*\.disable\w*"
)
_NOTABLE = re.compile(
    r"\w+\.(?:destroy|transfer\w*|disable\w*|remove\w*|add_member|update_member|add_user)"
)


def _severity(name: str, record: Mapping[str, Any]) -> str | None:
    if _ALARMING.fullmatch(name):
        return "high"
    if name == "repo.access" and text(record.get("visibility")) == "public":
        return "high"
    if name in _OURS:
        return None
    return "medium" if _NOTABLE.fullmatch(name) else "info"


# -- who -----------------------------------------------------------------------------------------

_AGENTS = frozenset(("copilot", "copilot[bot]", "copilot-swe-agent", "copilot-swe-agent[bot]"))


def _actor(record: Mapping[str, Any]) -> Values:
    name = text(record.get("actor"))
    own_id = text(record.get("actor_id")) or name
    kind = "user"
    if not own_id:
        kind = "unknown"
    elif _is_agent(record):
        kind = "ai_agent"
    elif name and name.endswith("[bot]") or truth(record.get("actor_is_bot")):
        kind = "service_account"
    agent = present(instance_id=text(record.get("agent_session_id")))
    return present(
        type=kind,
        id=own_id,
        name=name,
        email=email(text(record.get("external_identity_nameid"))),
        auth=_auth(record),
        agent=agent if kind == "ai_agent" else None,
    )


def _is_agent(record: Mapping[str, Any]) -> bool:
    name = text(record.get("actor")) or ""
    return truth(record.get("actor_is_agent")) or name.lower() in _AGENTS


def _auth(record: Mapping[str, Any]) -> Values:
    access = (text(record.get("programmatic_access_type")) or "").lower()
    credential = text(record.get("hashed_token")) or text(record.get("token_id"))
    method = None
    if "personal access token" in access:
        method = "api_key"
    elif "token" in access or credential:
        method = "bearer"
    return present(method=method, credential_id=credential)


def _behalf(record: Mapping[str, Any]) -> Values:
    """For whom an agent acted."""
    person = text(record.get("user"))
    if not person or not _is_agent(record) or person == text(record.get("actor")):
        return {}
    behalf = {"type": "user", "id": text(record.get("user_id")) or person, "name": person}
    return {"on_behalf_of": behalf, "delegation": {"kind": "agent"}}


# -- on what -------------------------------------------------------------------------------------

# What an action is about, by its prefix, most telling first.
_ABOUT: Mapping[str, tuple[str, ...]] = {
    "org": ("user", "team", "org"),
    "team": ("team", "user", "repo", "org"),
    "user": ("user",),
    "business": ("user", "business"),
    "enterprise": ("user", "business"),
    "organization_moderators": ("user", "org"),
    "organization_role": ("user", "team", "org"),
}
_ABOUT_ELSE = ("repo", "team", "user", "org", "business")
_MAX_TARGETS = 6


def _targets(name: str, record: Mapping[str, Any]) -> list[Values]:
    prefix, _, verb = name.partition(".")
    kinds = _ABOUT.get(prefix, _ABOUT_ELSE)
    if prefix == "org" and "repo" in verb:
        kinds = _ABOUT_ELSE
    found = [*_of_prefix(prefix, record), *(_target(kind, record) for kind in kinds)]
    targets = [target for target in found if target]
    for target in targets[1:]:
        target["role"] = "parent" if target["type"] in ("org", "business") else "affected"
    return targets[:_MAX_TARGETS]


def _of_prefix(prefix: str, record: Mapping[str, Any]) -> Iterator[Values]:
    """`hook` of `hook_id`, `ruleset` of `repository_ruleset.…` and `ruleset_id`, or a branch."""
    branch = text(record.get("name")) or text(record.get("branch"))
    if prefix == "protected_branch" and branch:
        yield a_target("branch", branch, branch)
        return
    if prefix in _ABOUT or prefix in _ABOUT_ELSE:
        return
    for stem in dict.fromkeys((prefix, prefix.rpartition("_")[2])):
        own_id = text(record.get(f"{stem}_id"))
        name = text(record.get(f"{stem}_name"))
        if own_id or name:
            yield a_target(fold(stem)[:64], own_id or name or "", name)
            return


def _target(kind: str, record: Mapping[str, Any]) -> Values | None:
    name = text(record.get(kind)) or (text(record.get("repository")) if kind == "repo" else None)
    own_id = text(record.get(f"{kind}_id")) or name
    return a_target(kind, own_id, name) if own_id else None


_OLD = re.compile(r"(.*_)?(?:old|previous)_(.+)|(.+)_was")
_MAX_CHANGES = 50


def _changes(record: Mapping[str, Any]) -> Iterator[Values]:
    count = 0
    for key, old in record.items():
        found = _OLD.fullmatch(key) if isinstance(key, str) and len(key) <= 100 else None
        if found is None or count == _MAX_CHANGES:
            continue
        before, field = found[1] or "", found[2] or found[3]
        new_key = next(
            (name for name in (f"{before}new_{field}", f"{before}{field}") if name in record), None
        )
        change: Values = {"path": f"{before}{field}"}
        if _is_kept(old):
            change["old"] = old
        if new_key is not None and _is_kept(record[new_key]):
            change["new"] = record[new_key]
        if len(change) > 1:
            count += 1
            yield change


def _is_kept(value: object) -> bool:
    return value is None or is_short(value) or isinstance(value, dict) and is_plain(value)


# -- from where, and the rest --------------------------------------------------------------------

_COUNTRY = re.compile(r"[A-Z]{2}")


def _client(record: Mapping[str, Any]) -> Values:
    where = record.get("actor_location")
    place: Mapping[str, Any] = where if isinstance(where, dict) else {}
    country = text(place.get("country_code"))
    geo = present(
        country=country if country and _COUNTRY.fullmatch(country) else None,
        region=text(place.get("region_name")),
        city=text(place.get("city")),
    )
    return present(
        ip=ip(text(record.get("actor_ip"))),
        user_agent=text(record.get("user_agent"), MAX_USER_AGENT),
        geo=geo,
    )


def _request(record: Mapping[str, Any]) -> Values:
    return present(
        id=text(record.get("request_id")),
        method=text(record.get("request_method"), 16),
        route=text(record.get("route")),
        url=path_of(text(record.get("url_path"), 4_096)),
        status=whole(record.get("status_code"), at_least=100, at_most=599),
    )


# Read above, or of no use to anybody.
_READ = frozenset((
    "action", "actor", "actor_id", "actor_ip", "actor_is_agent", "actor_is_bot", "actor_location",
    "agent_session_id", "external_identity_nameid", "hashed_token", "token_id", "user_agent",
    "request_id", "request_method", "route", "url_path", "status_code", "query_string", "repo",
    "repo_id", "repository", "org", "org_id", "business", "business_id", "team", "user", "user_id",
    *_TIME_KEYS,
))  # fmt: skip


def _metadata(name: str, record: Mapping[str, Any]) -> Values:
    """What our schema has no key for, when it is short; the rest is counted."""
    kept: Values = {"source_action": name}
    address = text(record.get("actor_ip"))
    if address and not ip(address):
        kept["source_address"] = address
    rest = {
        key: value
        for key, value in record.items()
        if isinstance(key, str) and key not in _READ and not key.startswith("p_")
        if not _OLD.fullmatch(key[:100])
    }
    omitted = keep_short(kept, rest)
    return kept | ({"omitted": omitted} if omitted else {})


_MARKS = (
    "_document_id", "actor_id", "actor_ip", "actor_location", "business", "created_at", "org",
    "repo", "@timestamp",
)  # fmt: skip


def recognises(record: Mapping[str, Any]) -> bool:
    """Is this one of GitHub's? `action` and `actor` are strings, and its own keys are there."""
    return (
        isinstance(record.get("action"), str)
        and isinstance(record.get("actor"), str)
        and "object_pk" not in record
        and any(mark in record for mark in _MARKS)
    )


GITHUB = Reader(
    name="github",
    description="GitHub's audit log: an export, the API's answer or streamed JSON lines",
    read=read,
    recognises=recognises,
    is_dated=True,
)
