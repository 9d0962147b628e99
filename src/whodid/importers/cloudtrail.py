"""AWS CloudTrail records as events.

`s3.amazonaws.com` + `GetObject` becomes the action `s3.get_object`, and so on; `ConsoleLogin`
becomes `user.login`. The source's own name stays in `metadata.source_action`. Decisions:

- The actor is who called: the ARN of `userIdentity`. A role session's role is in its `roles`, not
  in `on_behalf_of`: the session acts with the role's rights, for nobody else. `on_behalf_of` is
  set only where CloudTrail names another party: `onBehalfOf` (IAM Identity Center), a
  `sourceIdentity`, or the user who issued a federated session. A service that called on the
  actor's behalf (`invokedBy`) is in `via`.
- The role session of a person (at the console, with a second factor, through IAM Identity Center)
  is a `user`, any other one a `service_account`.
- `sourceIPAddress` may be a service's name; then it is in `metadata.source_address`.
- Access key ids name the session (`ASIA…`) or the credential (`AKIA…`). They are kept as
  `sha256:` and the first 32 hex digits of the id's SHA-256, so that one's own can be found.
- Request parameters and response elements are kept in `metadata` when they are short. What is not
  kept, secrets among it, is counted in `metadata.omitted`.
- The tenant is the importing person's choice; the account is in `metadata.aws_account`.

Names of keys are read without case, since Athena and its kin write them in lower case.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeAlias

from whodid.event import MAX_SAFE_INTEGER, Event, from_mapping, packed_ip
from whodid.ids import derived_id
from whodid.importers.base import Reader, UnmappableError, record_bytes
from whodid.redaction import is_secret_name, redact_text
from whodid.times import Instant

Values: TypeAlias = dict[str, Any]  # what `from_mapping` reads

MAX_SHORT = 256  # characters of an id or a name, as the schema has it
MAX_VALUE = 2_048  # characters of a text, bytes of a list, that is kept in metadata
MAX_KEPT = {"request": 40, "response": 20, "additional": 15}  # values kept of each part
MAX_KEPT_BYTES = {"request": 16_384, "response": 8_192, "additional": 4_096}
MAX_TARGETS = 10
_MAX_NESTING = 3


def read(record: Mapping[str, Any]) -> Event:
    """The event of one CloudTrail record.

    Raises:
        UnmappableError: It names no event, or its time can't be read.
        EventError: It holds what the schema does not allow, e.g. an oversized number.
    """
    given = _lowered(record)
    name = _text(given.get("eventname"), 120)
    if name is None:
        raise UnmappableError("no eventName: is this a CloudTrail record?")
    service = _service(_text(given.get("eventsource")))
    action = "user.login" if name == "ConsoleLogin" else _action(service, name)
    operation = _operation(action, given)
    identity = _Identity.of(given.get("useridentity"))
    outcome, reason = _outcome(given, name)
    values: Values = {
        "id": _event_id(record, given),
        "occurred_at": _occurred_at(given),
        "action": action,
        "operation": operation,
        "category": _category(action, operation, given),
        "severity": _severity(action, operation, identity, outcome),
        "outcome": outcome,
        "reason": reason,
        "actor": _actor(identity, given, name),
        "on_behalf_of": _on_behalf_of(identity),
        "via": _via(identity),
        "targets": _targets(given, service),
        "source": _present(app="cloudtrail", component=service),
        "client": _client(given),
        "request": _present(id=_text(given.get("requestid"))),
        "correlation_id": _text(given.get("sharedeventid")),
        "metadata": _metadata(given, identity, name),
        "tags": _tags(identity, given),
    }
    return from_mapping(
        {key: value for key, value in values.items() if value not in (None, {}, [])}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Identity:
    """`userIdentity` and what lies in it, keys in lower case; empty where there is none."""

    type: str
    given: Mapping[str, Any]
    session: Mapping[str, Any]
    attributes: Mapping[str, Any]
    issuer: Mapping[str, Any]

    @classmethod
    def of(cls, value: object) -> _Identity:
        given = _lowered(value)
        session = _lowered(given.get("sessioncontext"))
        return cls(
            type=_text(given.get("type")) or "",
            given=given,
            session=session,
            attributes=_lowered(session.get("attributes")),
            issuer=_lowered(session.get("sessionissuer")),
        )

    def text(self, key: str) -> str | None:
        return _text(self.given.get(key))


# -- ids and times -------------------------------------------------------------------------------

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def _event_id(record: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """CloudTrail's own id, else one derived from what the record says."""
    own = given.get("eventid")
    if isinstance(own, str) and _UUID.fullmatch(own.lower()):
        return own.lower()
    return derived_id("cloudtrail", record_bytes(record))


_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d(?:\.\d+)?) ?(Z|UTC|[+-]\d\d:?\d\d)?", re.ASCII
)
_TIME_KEYS = ("eventtime", "@timestamp", "p_event_time")


def _occurred_at(given: Mapping[str, Any]) -> str | None:
    """When it happened; None when the record does not say.

    Raises:
        UnmappableError: It says so in a way that can't be read: the time must not be guessed.
    """
    value = next((given[key] for key in _TIME_KEYS if given.get(key) not in (None, "")), None)
    if value is None:
        return None
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            seconds = value / 1000 if value > 10**11 else value
            return str(Instant.of(datetime.fromtimestamp(seconds, UTC)))
        found = _TIME.fullmatch(value.strip().upper()) if isinstance(value, str) else None
        if found:
            zone = "+00:00" if found[3] in (None, "Z", "UTC") else found[3]
            zone = zone if ":" in zone else f"{zone[:3]}:{zone[3:]}"
            return str(Instant.parse(f"{found[1]}T{found[2]}{zone}"))
    except (ValueError, OverflowError, OSError):
        pass
    raise UnmappableError("eventTime: expected a time such as 2026-03-15T11:00:00Z")


# -- the action ----------------------------------------------------------------------------------

_CAPITALS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_RELEASE = re.compile(r"\d{8}(?:v\d+)?$")  # of the API: CreateFunction20150331v2
_NO_NAME = re.compile(r"[^a-z0-9]+")


@lru_cache(maxsize=4096)
def _fold(name: str) -> str:
    """A foreign name as one segment of ours; never empty."""
    folded = _NO_NAME.sub("_", _CAPITALS.sub("_", name).lower()).strip("_")
    return folded if folded[:1].isalpha() else f"x_{folded}".rstrip("_")


def _service(source: str | None) -> str | None:
    """`s3` of `s3.amazonaws.com`."""
    return _fold(source.split(".", 1)[0])[:60] if source else None


@lru_cache(maxsize=4096)
def _action(service: str | None, name: str) -> str:
    folded = _fold(_RELEASE.sub("", name) or name)[:64]
    # Actions beginning with `audit.` are whodid's own.
    return f"{'aws_audit' if service == 'audit' else service or 'aws'}.{folded}"


_READING = frozenset(
    "get list describe head lookup batch_get search query scan select filter check verify view "
    "preview simulate estimate validate test detect resolve decode".split()
)
_OPERATIONS: Mapping[str, str] = {
    **dict.fromkeys(
        ("create", "run", "copy", "allocate", "register", "import", "restore", "generate", "issue",
         "request", "publish", "upload", "clone", "provision", "purchase", "invite"), "create"),
    **dict.fromkeys(
        ("delete", "terminate", "remove", "deregister", "release", "purge", "destroy", "schedule"),
        "delete"),
    **dict.fromkeys(
        ("update", "modify", "put", "set", "change", "replace", "tag", "untag", "rotate", "reset",
         "add", "attach", "detach", "associate", "disassociate", "move", "resize", "write"),
        "update"),
    **dict.fromkeys(
        ("start", "stop", "reboot", "invoke", "send", "execute", "suspend", "resume", "cancel",
         "retry", "decrypt", "encrypt", "sign", "assume", "submit"), "execute"),
    **dict.fromkeys(("enable", "disable", "configure"), "configure"),
    **dict.fromkeys(("authorize", "grant", "accept", "allow"), "grant"),
    **dict.fromkeys(("revoke", "deny", "reject"), "revoke"),
    **dict.fromkeys(("export",), "export"),
    **dict.fromkeys(("login", "logon", "authenticate"), "login"),
    **dict.fromkeys(("logout", "signout"), "logout"),
}  # fmt: skip
_RIGHTS = re.compile(r"(?:role|user|group)_policy|user_to_group|user_from_group|_from_.*profile")


def _operation(action: str, given: Mapping[str, Any]) -> str:
    """`readOnly` decides what reads; the verb the rest."""
    verb, _, rest = action.rpartition(".")[2].partition("_")
    if action == "user.login":
        return "login"
    if _truth(given.get("readonly")):
        return "read"
    if action.startswith("iam.") and _RIGHTS.search(rest):
        return "revoke" if verb in ("detach", "delete", "remove") else "grant"
    if verb in _READING or verb == "batch" and rest.startswith("get"):
        return "read"
    return _OPERATIONS.get(verb, "other")


_SIGN_IN = ("signin.", "sso.", "sts.", "user.", "cognito_idp.")
_IDENTITY = ("iam.", "identitystore.", "sso_directory.", "organizations.", "rolesanywhere.")
_WATCHING = ("cloudtrail.", "guardduty.", "securityhub.", "config.", "macie", "access_analyzer.")


def _category(action: str, operation: str, given: Mapping[str, Any]) -> str:
    if action.startswith(_SIGN_IN):
        return "authentication"
    if action.startswith(_IDENTITY):
        return "iam"
    is_data = _text(given.get("eventcategory")) == "Data" or given.get("managementevent") is False
    if is_data or action.startswith(("secretsmanager.", "dynamodb.get", "s3.get_object")):
        return "data"
    return "api" if operation in ("read", "execute", "other") else "configuration"


_ALARMING = re.compile(
    r"cloudtrail\.(?:stop_logging|delete_trail|put_event_selectors)"
    r"|guardduty\.(?:delete|disable|disassociate)\w*|config\.(?:stop|delete)\w*"
    r"|securityhub\.(?:disable|delete)\w*|kms\.(?:disable_key|schedule_key_deletion)"
    r"|\w+\.\w*(?:disable|delete)\w*(?:encryption|logging|public_access_block)\w*"
    r"|iam\.(?:create_access_key|update_login_profile|create_login_profile|deactivate_mfa_device)"
)


def _severity(action: str, operation: str, identity: _Identity, outcome: str) -> str:
    if _ALARMING.fullmatch(action):
        return "high"
    if identity.type == "Root":
        return "medium" if operation == "read" else "high"
    if operation in ("grant", "revoke", "delete") or outcome == "denied":
        return "medium"
    if action.startswith(_IDENTITY) and operation != "read":
        return "medium"
    if action == "user.login":
        return "info" if outcome == "success" else "low"
    return "info" if operation == "read" else "low"


_DENIED = re.compile(r"access_?denied|unauthori[sz]ed|not_?authori[sz]ed|forbidden", re.IGNORECASE)


def _outcome(given: Mapping[str, Any], name: str) -> tuple[str, Values]:
    code = _text(given.get("errorcode"))
    message = _text(given.get("errormessage"), 4096)
    answers = given.get("responseelements")
    answer = answers.get(name) if isinstance(answers, dict) else None
    if code is None and answer == "Failure":  # of ConsoleLogin and its kin
        code = message if message and len(message) <= 60 else None
        return "failure", _present(code=_code(code), message=message)
    if code is None:
        return "success", {}
    outcome = "denied" if _DENIED.search(code) else "failure"
    return outcome, _present(code=_code(code), message=message)


def _code(text: str | None) -> str | None:
    """`client.unauthorized_operation` of `Client.UnauthorizedOperation`."""
    if text is None:
        return None
    return ".".join(_fold(part) for part in text.split(".") if part)[:64].rstrip("._") or None


# -- who -----------------------------------------------------------------------------------------

_ACTOR_TYPES = {
    "Root": "user",
    "IAMUser": "user",
    "FederatedUser": "user",
    "SAMLUser": "user",
    "WebIdentityUser": "user",
    "IdentityCenterUser": "user",
    "Directory": "user",
    "AWSService": "system",
    "AWSAccount": "external",
    "Role": "service_account",
    "AssumedRole": "service_account",
}


def _actor(identity: _Identity, given: Mapping[str, Any], name: str) -> Values:
    kind = _ACTOR_TYPES.get(identity.type, "unknown")
    issuer_name = _text(identity.issuer.get("username"))
    role = issuer_name if identity.type == "AssumedRole" else None
    own_id = next(
        filter(None, map(identity.text, ("arn", "principalid", "invokedby", "accountid"))), None
    )
    user_name = identity.text("username")
    if kind == "service_account" and _is_person(identity, given, name=name, role=role or ""):
        kind = "user"
    return _present(
        type=kind if own_id or user_name else "system" if kind == "system" else "unknown",
        id=own_id or user_name,
        name=user_name or issuer_name,
        email=_email(own_id),
        roles=[role] if role else None,
        auth=_auth(identity, given, name),
    )


def _is_person(identity: _Identity, given: Mapping[str, Any], *, name: str, role: str) -> bool:
    """Is there a person behind the role session? Machines have no console and no second factor."""
    return (
        name == "ConsoleLogin"
        or _truth(given.get("sessioncredentialfromconsole"))
        or _truth(identity.attributes.get("mfaauthenticated"))
        or role.startswith("AWSReservedSSO_")
    )


_EMAIL = re.compile(r"[^\s@/:]{1,64}@[^\s@/:]{1,190}\.[A-Za-z]{2,24}")


def _email(own_id: str | None) -> str | None:
    """The session's name, where companies let people sign in under their address."""
    tail = re.split(r"[/:]", own_id)[-1] if own_id else ""
    return tail if _EMAIL.fullmatch(tail) else None


def _auth(identity: _Identity, given: Mapping[str, Any], name: str) -> Values:
    key = identity.text("accesskeyid")
    is_temporary = key is not None and not key.startswith("AKIA")
    mfa = identity.attributes.get("mfaauthenticated")
    method = None
    if name == "ConsoleLogin":
        mfa = _lowered(given.get("additionaleventdata")).get("mfaused", mfa)
        method = "password" if identity.type in ("IAMUser", "Root") else None
    elif key and not is_temporary:
        method = "api_key"
    return _present(
        method=method,
        mfa=None if mfa in (None, "") else _truth(mfa),
        session_id=_key_name(key) if key and is_temporary else None,
        credential_id=_key_name(key) if key and not is_temporary else None,
    )


def _key_name(key: str) -> str:
    """A name for an access key id that is searchable and does not give the id away."""
    if redact_text(key) == key:  # a placeholder or a pseudonym
        return key
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()[:32]


def _on_behalf_of(identity: _Identity) -> Values:
    person = _text(_lowered(identity.given.get("onbehalfof")).get("userid"))
    source = _text(identity.session.get("sourceidentity"))
    if person or source:
        return _present(type="user", id=person or source, email=_email(source))
    if identity.type == "FederatedUser" and _text(identity.issuer.get("type")) == "IAMUser":
        issuer_id = _text(identity.issuer.get("arn")) or _text(identity.issuer.get("principalid"))
        if issuer_id:
            return _present(type="user", id=issuer_id, name=_text(identity.issuer.get("username")))
    return {}


def _via(identity: _Identity) -> list[Values]:
    service = identity.text("invokedby")
    if service is None or identity.type == "AWSService":
        return []
    return [{"type": "system", "id": service}]


# -- on what -------------------------------------------------------------------------------------

# Names of request parameters that say what is acted on, most telling first.
_TARGET_PARAMETERS: Mapping[str, str] = {
    "bucketName": "s3.bucket",
    "instanceId": "ec2.instance",
    "functionName": "lambda.function",
    "dBInstanceIdentifier": "rds.instance",
    "dBClusterIdentifier": "rds.cluster",
    "dBSnapshotIdentifier": "rds.snapshot",
    "dBClusterSnapshotIdentifier": "rds.cluster_snapshot",
    "secretId": "secretsmanager.secret",
    "tableName": "dynamodb.table",
    "roleArn": "iam.role",
    "roleName": "iam.role",
    "userName": "iam.user",
    "groupName": "group",
    "policyArn": "iam.policy",
    "policyName": "iam.policy",
    "instanceProfileName": "iam.instance_profile",
    "keyId": "kms.key",
    "networkAclId": "ec2.network_acl",
    "groupId": "ec2.security_group",
    "vpcId": "ec2.vpc",
    "subnetId": "ec2.subnet",
    "imageId": "ec2.image",
    "snapshotId": "ec2.snapshot",
    "volumeId": "ec2.volume",
    "internetGatewayId": "ec2.internet_gateway",
    "trafficMirrorSessionId": "ec2.traffic_mirror_session",
    "guardrailIdentifier": "bedrock.guardrail",
    "modelId": "bedrock.model",
    "queueUrl": "sqs.queue",
    "topicArn": "sns.topic",
    "detectorId": "guardduty.detector",
    "repositoryName": "ecr.repository",
    "projectArn": "codebuild.project",
    "domainName": "domain",
    "stackName": "cloudformation.stack",
    "trailName": "cloudtrail.trail",
    "clusterName": "cluster",
    "resourceArn": "resource",
    "name": "resource",
}


_VAGUE_PARAMETERS = frozenset({"resourceArn", "name"})  # a target only where there is no better one
_HIDDEN = "HIDDEN_DUE_TO_SECURITY_REASONS"  # CloudTrail's own mask


def _targets(given: Mapping[str, Any], service: str | None) -> list[Values]:
    """The resources that CloudTrail names, else those that the parameters do."""
    targets = [*_from_resources(given.get("resources"), service)]
    if not targets:
        targets = [*_from_parameters(given.get("requestparameters"), service)]
    for target in targets[1:]:
        target["role"] = "affected"
    return targets[:MAX_TARGETS]


def _from_resources(resources: object, service: str | None) -> Iterator[Values]:
    for item in resources if isinstance(resources, list) else ():
        resource = _lowered(item)
        arn = _text(resource.get("arn"), 2048)
        if arn:
            kind = _text(resource.get("type"))
            yield _target(_resource_kind(kind) if kind else _arn_kind(arn, service), arn)


def _from_parameters(parameters: object, service: str | None) -> Iterator[Values]:
    if not isinstance(parameters, dict):
        return
    found, key = False, _text(parameters.get("key"), 2048)
    for name, kind in _TARGET_PARAMETERS.items():
        if name not in parameters:
            continue
        value = _text(parameters[name], 2048)
        if value is None or value == _HIDDEN:
            continue
        if name == "bucketName" and key:
            kind, value = "s3.object", f"{value}/{key}"
        elif "." not in kind and service:
            kind = f"{service}.{kind}"[:64]
        if name not in _VAGUE_PARAMETERS or not found:
            found = True
            yield _target(kind, value)
    instances = _lowered(parameters.get("instancesSet")).get("items")
    for item in instances if isinstance(instances, list) else ():
        instance = _text(_lowered(item).get("instanceid"), 2048)
        if instance:
            yield _target("ec2.instance", instance)


def _target(kind: str, identity: str) -> Values:
    target: Values = {"type": kind, "id": _cut(identity, MAX_SHORT)}
    name = re.split(r"[/:]", identity.rstrip("/:"))[-1]
    if name and name != identity:
        target["name"] = _cut(name, MAX_SHORT)
    if len(identity) > MAX_SHORT:
        target["attributes"] = {"id": identity}  # whole
    return target


def _resource_kind(kind: str) -> str:
    """`s3.bucket` of `AWS::S3::Bucket`."""
    parts = [_fold(part) for part in kind.split("::") if part and part != "AWS"]
    return ".".join(parts)[:64].rstrip("._") or "resource"


def _arn_kind(arn: str, service: str | None) -> str:
    """`iam.role` of `arn:aws:iam::123456789012:role/admin`."""
    parts = arn.split(":", 5)
    if len(parts) < 6:
        return f"{service or 'aws'}.resource"
    owner = _fold(parts[2] or service or "aws")
    head = re.split(r"[/:]", parts[5])[0] if re.search(r"[/:]", parts[5]) else ""
    if owner == "s3":
        return "s3.object" if head else "s3.bucket"
    return f"{owner}.{_fold(head) if head else 'resource'}"[:64].rstrip("._")


# -- from where, and the rest --------------------------------------------------------------------


def _client(given: Mapping[str, Any]) -> Values:
    address = _text(given.get("sourceipaddress"))
    return _present(
        ip=address if _is_ip(address) else None,
        user_agent=_text(given.get("useragent"), 1024),
    )


def _is_ip(address: str | None) -> bool:
    return address is not None and packed_ip(address) is not None


def _metadata(given: Mapping[str, Any], identity: _Identity, name: str) -> Values:
    """What our schema has no key for, when it is short; the rest is counted."""
    address = _text(given.get("sourceipaddress"))
    source = _text(given.get("eventsource"))
    kept: Values = _present(
        source_action=f"{source}:{name}" if source else name,
        aws_account=_text(given.get("recipientaccountid")) or identity.text("accountid"),
        aws_region=_text(given.get("awsregion")),
        event_type=_text(given.get("eventtype")),
        source_address=None if _is_ip(address) else address,
        vpc_endpoint=_text(given.get("vpcendpointid")),
    )
    omitted = 0
    for prefix, key in (
        ("request", "requestparameters"),
        ("response", "responseelements"),
        ("additional", "additionaleventdata"),
    ):
        part = given.get(key)
        if isinstance(part, dict):
            omitted += _keep_short(kept, prefix, part)
        elif part is not None:
            omitted += 1
    if omitted:
        kept["omitted"] = omitted
    return kept


_KEY = re.compile(r"[^A-Za-z0-9_.-]+")


def _keep_short(kept: Values, prefix: str, part: Mapping[str, Any]) -> int:
    """Put what is short into `kept`, and say how much was not."""
    omitted = taken = 0
    room = MAX_KEPT_BYTES[prefix]
    for path, value in _leaves(part, prefix, 0):
        key = _KEY.sub("_", path)
        fits = taken < MAX_KEPT[prefix] and len(key) <= 64 and key not in kept
        if fits and _is_short(value) and not is_secret_name(path) and _size(value) <= room:
            kept[key] = value
            taken += 1
            room -= _size(value)
        elif value is not None:
            omitted += 1
    return omitted


def _leaves(value: object, path: str, depth: int) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value and depth < _MAX_NESTING:
        for key, item in value.items():
            # A secret by its name is one leaf, whatever is inside.
            deeper = _MAX_NESTING if is_secret_name(key) else depth + 1
            yield from _leaves(item, f"{path}.{key}", deeper)
    else:
        yield path, value


def _is_short(value: object) -> bool:
    if isinstance(value, list):
        # A policy's statements say who may do what: worth their length.
        return all(map(_is_plain, value)) and _size(value) <= MAX_VALUE
    if isinstance(value, str):
        return len(value) <= MAX_VALUE
    if isinstance(value, int | float):
        return abs(value) <= MAX_SAFE_INTEGER
    return False


def _size(value: object) -> int:
    """Bytes in metadata. Lone surrogates, which are refused later, count as well."""
    return len(json.dumps(value))


def _is_plain(value: object, depth: int = 0) -> bool:
    if isinstance(value, dict | list):
        items = value.values() if isinstance(value, dict) else value
        return depth < _MAX_NESTING and all(_is_plain(item, depth + 1) for item in items)
    return value is None or _is_short(value)


def _tags(identity: _Identity, given: Mapping[str, Any]) -> list[str]:
    tags = ["aws"]
    if _occurred_at(given) is None:
        tags.append("time:unknown")  # it will be shown at the time of the import
    if identity.type == "Root":
        tags.append("root")
    if _truth(given.get("sessioncredentialfromconsole")):
        tags.append("console")
    return tags


# -- values of unknown kind ----------------------------------------------------------------------


def _lowered(value: object) -> Mapping[str, Any]:
    """The object with its keys in lower case; empty when it is none."""
    if not isinstance(value, Mapping):
        return {}
    return {key.lower(): item for key, item in value.items() if isinstance(key, str)}


def _text(value: object, limit: int = MAX_SHORT) -> str | None:
    """A string of at least one visible character, cut with a mark; None for anything else."""
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        return None
    return _cut(value.strip(), limit) or None


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _truth(value: object) -> bool:
    return value is True or isinstance(value, str) and value.strip().lower() in ("true", "yes")


def _present(**values: Any) -> Values:
    return {key: value for key, value in values.items() if value not in (None, {}, [], "")}


CLOUDTRAIL = Reader(
    name="cloudtrail",
    description='AWS CloudTrail: {"Records": […]} files, lists or JSON lines, packed or not',
    read=read,
)
