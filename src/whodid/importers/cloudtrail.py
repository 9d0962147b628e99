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

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from whodid.event import Event, from_mapping
from whodid.importers.base import Reader, UnmappableError
from whodid.importers.values import (
    MAX_TEXT,
    MAX_USER_AGENT,
    Values,
    a_target,
    code_name,
    credential_name,
    email,
    event_id,
    first_time,
    fold,
    ip,
    keep_short,
    lowered,
    present,
    text,
    truth,
)

MAX_KEPT = {"request": 40, "response": 20, "additional": 15}  # values kept of each part
MAX_KEPT_BYTES = {"request": 16_384, "response": 8_192, "additional": 4_096}
MAX_TARGETS = 10


_TIME_KEYS = ("eventtime", "@timestamp", "p_event_time")


def read(record: Mapping[str, Any]) -> Event:
    """The event of one CloudTrail record.

    Raises:
        UnmappableError: It names no event, or its time can't be read.
        EventError: It holds what the schema does not allow, e.g. an oversized number.
    """
    given = lowered(record)
    name = text(given.get("eventname"), 120)
    if name is None:
        raise UnmappableError("no eventName: is this a CloudTrail record?")
    service = _service(text(given.get("eventsource")))
    action = "user.login" if name == "ConsoleLogin" else _action(service, name)
    operation = _operation(action, given)
    identity = _Identity.of(given.get("useridentity"))
    outcome, reason = _outcome(given, name)
    values: Values = {
        "id": event_id(given.get("eventid"), record, form="cloudtrail"),
        "occurred_at": first_time(given, *_TIME_KEYS, name="eventTime"),
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
        "source": present(app="cloudtrail", component=service),
        "client": _client(given),
        "request": present(id=text(given.get("requestid"))),
        "correlation_id": text(given.get("sharedeventid")),
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
        given = lowered(value)
        session = lowered(given.get("sessioncontext"))
        return cls(
            type=text(given.get("type")) or "",
            given=given,
            session=session,
            attributes=lowered(session.get("attributes")),
            issuer=lowered(session.get("sessionissuer")),
        )

    def text(self, key: str) -> str | None:
        return text(self.given.get(key))


# -- the action ----------------------------------------------------------------------------------

_RELEASE = re.compile(r"\d{8}(?:v\d+)?$")  # of the API: CreateFunction20150331v2


def _service(source: str | None) -> str | None:
    """`s3` of `s3.amazonaws.com`."""
    return fold(source.split(".", 1)[0])[:60] if source else None


@lru_cache(maxsize=4096)
def _action(service: str | None, name: str) -> str:
    folded = fold(_RELEASE.sub("", name) or name)[:64]
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
    if truth(given.get("readonly")):
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
    is_data = text(given.get("eventcategory")) == "Data" or given.get("managementevent") is False
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
    code = text(given.get("errorcode"))
    message = text(given.get("errormessage"), MAX_TEXT)
    answers = given.get("responseelements")
    answer = answers.get(name) if isinstance(answers, dict) else None
    if code is None and answer == "Failure":  # of ConsoleLogin and its kin
        code = message if message and len(message) <= 60 else None
        return "failure", present(code=code_name(code), message=message)
    if code is None:
        return "success", {}
    outcome = "denied" if _DENIED.search(code) else "failure"
    return outcome, present(code=code_name(code), message=message)


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
    issuer_name = text(identity.issuer.get("username"))
    role = issuer_name if identity.type == "AssumedRole" else None
    own_id = next(
        filter(None, map(identity.text, ("arn", "principalid", "invokedby", "accountid"))), None
    )
    user_name = identity.text("username")
    if kind == "service_account" and _is_person(identity, given, name=name, role=role or ""):
        kind = "user"
    return present(
        type=kind if own_id or user_name else "system" if kind == "system" else "unknown",
        id=own_id or user_name,
        name=user_name or issuer_name,
        email=email(re.split(r"[/:]", own_id)[-1] if own_id else None),
        roles=[role] if role else None,
        auth=_auth(identity, given, name),
    )


def _is_person(identity: _Identity, given: Mapping[str, Any], *, name: str, role: str) -> bool:
    """Is there a person behind the role session? Machines have no console and no second factor."""
    return (
        name == "ConsoleLogin"
        or truth(given.get("sessioncredentialfromconsole"))
        or truth(identity.attributes.get("mfaauthenticated"))
        or role.startswith("AWSReservedSSO_")
    )


def _auth(identity: _Identity, given: Mapping[str, Any], name: str) -> Values:
    key = identity.text("accesskeyid")
    is_temporary = key is not None and not key.startswith("AKIA")
    mfa = identity.attributes.get("mfaauthenticated")
    method = None
    if name == "ConsoleLogin":
        mfa = lowered(given.get("additionaleventdata")).get("mfaused", mfa)
        method = "password" if identity.type in ("IAMUser", "Root") else None
    elif key and not is_temporary:
        method = "api_key"
    return present(
        method=method,
        mfa=None if mfa in (None, "") else truth(mfa),
        session_id=credential_name(key) if key and is_temporary else None,
        credential_id=credential_name(key) if key and not is_temporary else None,
    )


def _on_behalf_of(identity: _Identity) -> Values:
    person = text(lowered(identity.given.get("onbehalfof")).get("userid"))
    source = text(identity.session.get("sourceidentity"))
    if person or source:
        return present(type="user", id=person or source, email=email(source))
    if identity.type == "FederatedUser" and text(identity.issuer.get("type")) == "IAMUser":
        issuer_id = text(identity.issuer.get("arn")) or text(identity.issuer.get("principalid"))
        if issuer_id:
            return present(type="user", id=issuer_id, name=text(identity.issuer.get("username")))
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
        resource = lowered(item)
        arn = text(resource.get("arn"), 2048)
        if arn:
            kind = text(resource.get("type"))
            yield _target(_resource_kind(kind) if kind else _arn_kind(arn, service), arn)


def _from_parameters(parameters: object, service: str | None) -> Iterator[Values]:
    if not isinstance(parameters, dict):
        return
    found, key = False, text(parameters.get("key"), 2048)
    for name, kind in _TARGET_PARAMETERS.items():
        if name not in parameters:
            continue
        value = text(parameters[name], 2048)
        if value is None or value == _HIDDEN:
            continue
        if name == "bucketName" and key:
            kind, value = "s3.object", f"{value}/{key}"
        elif "." not in kind and service:
            kind = f"{service}.{kind}"[:64]
        if name not in _VAGUE_PARAMETERS or not found:
            found = True
            yield _target(kind, value)
    instances = lowered(parameters.get("instancesSet")).get("items")
    for item in instances if isinstance(instances, list) else ():
        instance = text(lowered(item).get("instanceid"), 2048)
        if instance:
            yield _target("ec2.instance", instance)


def _target(kind: str, identity: str) -> Values:
    return a_target(kind, identity, re.split(r"[/:]", identity.rstrip("/:"))[-1])


def _resource_kind(kind: str) -> str:
    """`s3.bucket` of `AWS::S3::Bucket`."""
    parts = [fold(part) for part in kind.split("::") if part and part != "AWS"]
    return ".".join(parts)[:64].rstrip("._") or "resource"


def _arn_kind(arn: str, service: str | None) -> str:
    """`iam.role` of `arn:aws:iam::123456789012:role/admin`."""
    parts = arn.split(":", 5)
    if len(parts) < 6:
        return f"{service or 'aws'}.resource"
    owner = fold(parts[2] or service or "aws")
    head = re.split(r"[/:]", parts[5])[0] if re.search(r"[/:]", parts[5]) else ""
    if owner == "s3":
        return "s3.object" if head else "s3.bucket"
    return f"{owner}.{fold(head) if head else 'resource'}"[:64].rstrip("._")


# -- from where, and the rest --------------------------------------------------------------------


def _client(given: Mapping[str, Any]) -> Values:
    address = text(given.get("sourceipaddress"))
    return present(
        ip=ip(address),
        user_agent=text(given.get("useragent"), MAX_USER_AGENT),
    )


def _metadata(given: Mapping[str, Any], identity: _Identity, name: str) -> Values:
    """What our schema has no key for, when it is short; the rest is counted."""
    address = text(given.get("sourceipaddress"))
    source = text(given.get("eventsource"))
    kept: Values = present(
        source_action=f"{source}:{name}" if source else name,
        aws_account=text(given.get("recipientaccountid")) or identity.text("accountid"),
        aws_region=text(given.get("awsregion")),
        event_type=text(given.get("eventtype")),
        source_address=None if ip(address) else address,
        vpc_endpoint=text(given.get("vpcendpointid")),
    )
    omitted = 0
    for prefix, key in (
        ("request", "requestparameters"),
        ("response", "responseelements"),
        ("additional", "additionaleventdata"),
    ):
        part = given.get(key)
        if isinstance(part, dict):
            omitted += keep_short(
                kept, part, prefix=prefix, values=MAX_KEPT[prefix], room=MAX_KEPT_BYTES[prefix]
            )
        elif part is not None:
            omitted += 1
    if omitted:
        kept["omitted"] = omitted
    return kept


def _tags(identity: _Identity, given: Mapping[str, Any]) -> list[str]:
    tags = ["aws"]
    if identity.type == "Root":
        tags.append("root")
    if truth(given.get("sessioncredentialfromconsole")):
        tags.append("console")
    return tags


def recognises(record: Mapping[str, Any]) -> bool:
    """Is this one of CloudTrail's?"""
    keys = {key.lower() for key in record}
    return "eventname" in keys and not keys.isdisjoint(
        ("eventsource", "useridentity", "awsregion", "eventversion")
    )


CLOUDTRAIL = Reader(
    name="cloudtrail",
    description='AWS CloudTrail: {"Records": […]} files, lists or JSON lines, packed or not',
    read=read,
    recognises=recognises,
    is_dated=True,
)
