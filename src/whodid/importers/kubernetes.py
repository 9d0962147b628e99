"""Kubernetes' audit log (`audit.k8s.io`) as events, also as EKS writes it.

`create` of `pods/exec` becomes `pods.exec.create`. Decisions:

- One event per request, from the record of its end: stage `ResponseComplete`, or `Panic` where the
  server broke. Records of earlier stages are passed over; one without a stage is taken.
- With impersonation the actor is who made the request; whose rights it used is in
  `on_behalf_of`, with a delegation of kind `impersonation`.
- `system:anonymous` is `anonymous`; other names with `system:` or `eks:` in front are machines'.
- Bodies of requests and answers hold secrets as often as not: they are left out, and counted in
  `metadata.omitted`. Of the address only the path is kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from whodid.event import Event, from_mapping
from whodid.importers.base import PassedOverError, Reader, UnmappableError
from whodid.importers.values import (
    MAX_TEXT,
    MAX_USER_AGENT,
    Values,
    a_target,
    action_name,
    code_name,
    credential_name,
    email,
    event_id,
    first_time,
    inner,
    ip,
    ips,
    keep_short,
    kind_name,
    path_of,
    present,
    text,
    whole,
)

_TIME_KEYS = ("requestReceivedTimestamp", "stageTimestamp", "p_event_time", "timestamp")
_FINAL_STAGES = (None, "ResponseComplete", "Panic")
_MAX_ROLES = 32


def read(record: Mapping[str, Any]) -> Event:
    """The event of one record of the audit log.

    Raises:
        PassedOverError: Of an earlier stage of the request.
        UnmappableError: It is of another kind, or its time can't be read.
        EventError: It holds what the schema does not allow, e.g. an oversized number.
    """
    if not recognises(record):
        raise UnmappableError("no audit event: expected kind Event and a verb, or audit.k8s.io")
    if text(record.get("kind")) == "EventList":
        raise UnmappableError("a list of events: give its items one by one, as jq -c .items[] does")
    stage = text(record.get("stage"))
    if stage not in _FINAL_STAGES:
        raise PassedOverError("of an earlier stage; the record of the request's end says it all")
    verb = (text(record.get("verb"), 60) or "request").lower()
    resource = _resource(record)
    operation = _OPERATIONS.get((resource, verb)) or _VERBS.get(verb, "other")
    outcome, reason = _outcome(record, stage)
    who = _who(record)
    values: Values = {
        "id": event_id(record.get("auditID"), record, form="kubernetes"),
        "occurred_at": first_time(record, *_TIME_KEYS),
        "action": action_name(f"{resource.replace('/', '.')}.{verb}", "kubernetes"),
        "operation": operation,
        "category": _category(resource, operation),
        "severity": _severity(resource, operation, outcome, who),
        "outcome": outcome,
        "reason": reason,
        **who,
        "targets": _targets(record, resource),
        "source": present(app="kubernetes", component=text(_reference(record).get("apiGroup"))),
        "client": _client(record),
        "request": present(
            url=path_of(text(record.get("requestURI"), 4_096)), status=_status(record)
        ),
        "metadata": _metadata(record, resource, verb),
    }
    return from_mapping(present(**values))


# -- what was done -------------------------------------------------------------------------------


def _reference(record: Mapping[str, Any]) -> Mapping[str, Any]:
    return inner(record.get("objectRef"))


def _resource(record: Mapping[str, Any]) -> str:
    """`pods/exec`; for what is no resource the first part of the path, such as `healthz`."""
    reference = _reference(record)
    resource = text(reference.get("resource"), 60)
    if resource:
        part = text(reference.get("subresource"), 60)
        return f"{resource}/{part}" if part else resource
    path = path_of(text(record.get("requestURI"), 4_096)) or ""
    return _first_segment(path) or "api"


def _first_segment(path: str) -> str:
    """The first part of a path, of at most 60 characters."""
    return path.strip("/").split("/", 1)[0][:60]


_VERBS = {
    "get": "read", "list": "read", "watch": "read", "head": "read", "create": "create",
    "post": "create", "update": "update", "put": "update", "patch": "update", "delete": "delete",
    "deletecollection": "delete", "approve": "grant", "escalate": "grant", "bind": "grant",
}  # fmt: skip
_BINDINGS = ("rolebindings", "clusterrolebindings")
_OPERATIONS = {
    **{(name, "create"): "grant" for name in _BINDINGS},
    **{(name, "delete"): "revoke" for name in _BINDINGS},
    **{
        (f"pods/{part}", verb): "execute"
        for part in ("exec", "attach", "portforward", "proxy")
        for verb in ("create", "get")
    },
    ("pods/eviction", "create"): "delete",
    ("tokenreviews", "create"): "other",
    ("subjectaccessreviews", "create"): "read",
    ("selfsubjectaccessreviews", "create"): "read",
    ("selfsubjectrulesreviews", "create"): "read",
}
_IAM = re.compile(r"(?:cluster)?role(?:binding)?s|serviceaccounts(?:/token)?|certificatesigning.*")


def _category(resource: str, operation: str) -> str:
    if resource == "tokenreviews":
        return "authentication"
    if resource.endswith("reviews"):
        return "authorization"
    if _IAM.fullmatch(resource):
        return "iam"
    if resource in ("secrets", "configmaps"):
        return "data"
    return "api" if operation in ("read", "execute", "other") else "configuration"


def _severity(resource: str, operation: str, outcome: str, who: Values) -> str:
    changes = operation not in ("read", "other")
    if who["actor"]["type"] == "anonymous" and changes and outcome == "success":
        return "high"
    if operation in ("grant", "revoke", "execute") or outcome == "denied":
        return "medium"
    if _IAM.fullmatch(resource) and changes or operation == "delete":
        return "medium"
    if resource == "secrets":
        return "low"
    return "low" if changes else "info"


_REASONS = {
    "Forbidden": "not_permitted", "Unauthorized": "not_permitted", "NotFound": "not_found",
    "AlreadyExists": "conflict", "Conflict": "conflict", "Invalid": "invalid",
    "BadRequest": "invalid", "Timeout": "timeout", "ServerTimeout": "timeout",
    "TooManyRequests": "rate_limited", "Gone": "expired", "Expired": "expired",
}  # fmt: skip


def _status(record: Mapping[str, Any]) -> int | None:
    return whole(inner(record.get("responseStatus")).get("code"), at_least=100, at_most=599)


def _outcome(record: Mapping[str, Any], stage: str | None) -> tuple[str, Values]:
    answer, notes = inner(record.get("responseStatus")), inner(record.get("annotations"))
    code, why = _status(record), text(answer.get("reason"))
    reason = present(
        code=_REASONS.get(why or "") or code_name(why),
        message=text(answer.get("message"), MAX_TEXT),
        policy=text(notes.get("authorization.k8s.io/reason")),
    )
    if stage == "Panic":
        return "error", reason
    if code in (401, 403) or notes.get("authorization.k8s.io/decision") == "forbid":
        return "denied", reason
    if code is not None:
        return ("success" if code < 400 else "failure" if code < 500 else "error"), reason
    return ("failure" if answer.get("status") == "Failure" else "unknown"), reason


# -- who -----------------------------------------------------------------------------------------


def _who(record: Mapping[str, Any]) -> Values:
    """Who made the request; with impersonation also whose rights it used."""
    actor = _actor(inner(record.get("user")))
    other = _actor(inner(record.get("impersonatedUser")))
    if "id" not in other:
        return {"actor": actor}
    behalf = {key: value for key, value in other.items() if key in ("type", "id", "name", "email")}
    return {"actor": actor, "on_behalf_of": behalf, "delegation": {"kind": "impersonation"}}


def _actor(user: Mapping[str, Any]) -> Values:
    name = text(user.get("username"))
    groups = user.get("groups")
    roles = [text(group) for group in groups] if isinstance(groups, list) else []
    return present(
        type=_actor_type(name),
        id=name,
        email=email(name),
        roles=[role for role in roles if role][:_MAX_ROLES],
        auth=present(credential_id=_credential(inner(user.get("extra")))),
    )


def _actor_type(name: str | None) -> str:
    if name is None:
        return "unknown"
    if name == "system:anonymous":
        return "anonymous"
    return "service_account" if name.startswith(("system:", "eks:")) else "user"


def _credential(extra: Mapping[str, Any]) -> str | None:
    """What the request was made with: EKS's access key, or the id of a token or certificate."""
    for key in ("accessKeyId", "authentication.kubernetes.io/credential-id"):
        listed = extra.get(key)
        found = text(listed[0]) if isinstance(listed, list) and listed else None
        if found:
            return credential_name(found)
    return None


# -- on what, from where, and the rest -----------------------------------------------------------


def _targets(record: Mapping[str, Any], resource: str) -> list[Values]:
    reference = _reference(record)
    if not text(reference.get("resource")):
        return []
    made = inner(inner(record.get("responseObject")).get("metadata"))
    asked = inner(inner(record.get("requestObject")).get("metadata"))
    name = next(filter(None, (text(part.get("name")) for part in (reference, made, asked))), None)
    namespace = text(reference.get("namespace"))
    kind = kind_name(resource.replace("/", "."), "resource")
    identity = "/".join(filter(None, (namespace, name)))
    target: Values = a_target(kind, identity, name) if identity else {"type": kind}
    more = present(namespace=namespace, api_group=text(reference.get("apiGroup")))
    target["attributes"] = target.get("attributes", {}) | more
    return [target]


def _client(record: Mapping[str, Any]) -> Values:
    listed = record.get("sourceIPs")
    addresses = ips(listed, 17) if isinstance(listed, list) else []
    return present(
        ip=addresses[0] if addresses else None,
        forwarded_for=addresses[1:],
        user_agent=text(record.get("userAgent"), MAX_USER_AGENT),
    )


_BODIES = ("requestObject", "responseObject")


def _metadata(record: Mapping[str, Any], resource: str, verb: str) -> Values:
    """What our schema has no key for, when it is short; the rest is counted."""
    listed = record.get("sourceIPs")
    first = text(listed[0]) if isinstance(listed, list) and listed else None
    kept: Values = present(
        source_action=f"{verb} {resource}",
        level=text(record.get("level")),
        source_address=None if ip(first) else first,
    )
    # The name of an annotation is long, and its last part tells it from others.
    notes = {
        key.rpartition("/")[2]: value
        for key, value in inner(record.get("annotations")).items()
        if key != "authorization.k8s.io/reason"
    }
    omitted = keep_short(kept, notes, prefix="annotation", values=20, room=4_096)
    extra = {
        key.rpartition("/")[2]: value
        for key, value in inner(inner(record.get("user")).get("extra")).items()
        if key in ("arn", "canonicalArn", "sessionName", "principalId")
    }
    omitted += keep_short(kept, extra, prefix="user", values=8, room=2_048)
    omitted += sum(1 for body in _BODIES if record.get(body))
    return kept | ({"omitted": omitted} if omitted else {})


def recognises(record: Mapping[str, Any]) -> bool:
    """Is this an audit event, and not one of the cluster's own kind `Event`?"""
    version = record.get("apiVersion")
    if isinstance(version, str) and version.startswith("audit.k8s.io/"):
        return True
    has_own = any(key in record for key in ("objectRef", "requestURI", "responseStatus"))
    return record.get("kind") == "Event" and has_own and ("verb" in record or "stage" in record)


KUBERNETES = Reader(
    name="kubernetes",
    description="Kubernetes' audit log, also EKS's: JSON lines",
    read=read,
    recognises=recognises,
    is_dated=True,
)
