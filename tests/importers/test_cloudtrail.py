from __future__ import annotations

import copy
import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from whodid import recorder
from whodid.errors import InvalidError
from whodid.event import Event, checked
from whodid.importers import READERS, UnmappableError
from whodid.recorder import prepare
from whodid.redaction import redact

READ = READERS["cloudtrail"].read
SAMPLES = Path(__file__).parents[2].parent / "shared" / "data" / "saas-audit-panther"

GET_OBJECT: dict[str, Any] = {
    "eventVersion": "1.09",
    "userIdentity": {
        "type": "AssumedRole",
        "principalId": "AROAQ:deploy",
        "arn": "arn:aws:sts::123456789012:assumed-role/Deployer/deploy",
        "accountId": "123456789012",
        "accessKeyId": "ASIAIOSFODNN7EXAMPLE",
        "sessionContext": {
            "attributes": {"mfaAuthenticated": "false", "creationDate": "2025-01-21T16:08:03Z"},
            "sessionIssuer": {
                "type": "Role",
                "arn": "arn:aws:iam::123456789012:role/Deployer",
                "userName": "Deployer",
            },
        },
    },
    "eventTime": "2025-01-21T17:39:10Z",
    "eventSource": "s3.amazonaws.com",
    "eventName": "GetObject",
    "awsRegion": "eu-central-1",
    "sourceIPAddress": "203.0.113.9",
    "userAgent": "aws-cli/2.15",
    "requestParameters": {"bucketName": "invoices", "key": "2025/42.pdf", "maxKeys": 3},
    "responseElements": None,
    "additionalEventData": {"CipherSuite": "TLS_AES_128_GCM_SHA256"},
    "requestID": "REQ1",
    "eventID": "4d482238-d0c5-4337-800f-d1ed79957fd4",
    "readOnly": True,
    "resources": [
        {"type": "AWS::S3::Object", "ARN": "arn:aws:s3:::invoices/2025/42.pdf"},
        {"type": "AWS::S3::Bucket", "ARN": "arn:aws:s3:::invoices", "accountId": "123456789012"},
    ],
    "eventType": "AwsApiCall",
    "managementEvent": False,
    "recipientAccountId": "123456789012",
    "eventCategory": "Data",
}


def a_record(**changes: Any) -> dict[str, Any]:
    """The sample with other values; `None` takes a key away."""
    record = copy.deepcopy(GET_OBJECT) | changes
    return {key: value for key, value in record.items() if value is not None}


def an_identity(kind: str, **values: Any) -> dict[str, Any]:
    return {"userIdentity": {"type": kind, **values}}


def metadata(event: Event) -> dict[str, Any]:
    return event.metadata or {}


def test_a_record_becomes_an_event_with_all_its_parts() -> None:
    event = READ(GET_OBJECT)

    assert (event.action, event.operation, event.category) == ("s3.get_object", "read", "data")
    assert (event.outcome, event.severity) == ("success", "info")
    assert event.id == "4d482238-d0c5-4337-800f-d1ed79957fd4"
    assert str(event.occurred_at) == "2025-01-21T17:39:10.000000Z"
    assert event.actor.type == "service_account"
    assert event.actor.id == "arn:aws:sts::123456789012:assumed-role/Deployer/deploy"
    assert (event.actor.name, event.actor.roles) == ("Deployer", ("Deployer",))
    assert [(target.type, target.id, target.name) for target in event.targets] == [
        ("s3.object", "arn:aws:s3:::invoices/2025/42.pdf", "42.pdf"),
        ("s3.bucket", "arn:aws:s3:::invoices", "invoices"),
    ]
    assert event.targets[1].role == "affected"
    assert event.client
    assert (event.client.ip, event.client.user_agent) == ("203.0.113.9", "aws-cli/2.15")
    assert event.request
    assert event.request.id == "REQ1"
    assert event.source
    assert (event.source.app, event.source.component) == ("cloudtrail", "s3")
    assert event.tenant is UNSET
    assert metadata(event) == {
        "source_action": "s3.amazonaws.com:GetObject",
        "aws_account": "123456789012",
        "aws_region": "eu-central-1",
        "event_type": "AwsApiCall",
        "request.bucketName": "invoices",
        "request.key": "2025/42.pdf",
        "request.maxKeys": 3,
        "additional.CipherSuite": "TLS_AES_128_GCM_SHA256",
    }


@pytest.mark.parametrize(
    ("source", "name", "action"),
    [
        ("s3.amazonaws.com", "GetObject", "s3.get_object"),
        ("signin.amazonaws.com", "ConsoleLogin", "user.login"),
        (None, "ConsoleLogin", "user.login"),
        (None, "CreateUser", "aws.create_user"),
        ("rds.amazonaws.com", "DescribeDBInstances", "rds.describe_db_instances"),
        ("cognito-idp.amazonaws.com", "AdminGetUser", "cognito_idp.admin_get_user"),
        ("lambda.amazonaws.com", "CreateFunction20150331v2", "lambda.create_function"),
        ("s3.amazonaws.com", "ListObjectsV2", "s3.list_objects_v2"),
        ("waf.amazonaws.com", "CreateIPSet", "waf.create_ip_set"),
        ("20200101.amazonaws.com", "20150331", "x_20200101.x_20150331"),
        ("audit.amazonaws.com", "Stop", "aws_audit.stop"),
        ("ß.amazonaws.com", "!!", "x.x"),
    ],
)
def test_a_foreign_name_is_folded_into_ours(source: str | None, name: str, action: str) -> None:
    event = READ(a_record(eventSource=source, eventName=name))

    assert event.action == action
    assert metadata(event)["source_action"] == (f"{source}:{name}" if source else name)


@pytest.mark.parametrize(
    ("name", "read_only", "operation"),
    [
        ("Frobnicate", True, "read"),
        ("Frobnicate", "true", "read"),
        ("Frobnicate", False, "other"),
        ("DescribeInstances", None, "read"),
        ("BatchGetSecretValue", None, "read"),
        ("CreateBucket", False, "create"),
        ("DeleteBucket", False, "delete"),
        ("PutBucketPolicy", False, "update"),
        ("StopInstances", False, "execute"),
        ("DisableKey", False, "configure"),
        ("AuthorizeSecurityGroupIngress", False, "grant"),
        ("RevokeSecurityGroupIngress", False, "revoke"),
    ],
)
def test_the_operation_is_told_by_read_only_and_the_verb(
    name: str, read_only: object, operation: str
) -> None:
    assert READ(a_record(eventName=name, readOnly=read_only)).operation == operation


@pytest.mark.parametrize(
    ("name", "operation"),
    [
        ("AttachUserPolicy", "grant"),
        ("PutRolePolicy", "grant"),
        ("DetachRolePolicy", "revoke"),
        ("AddUserToGroup", "grant"),
        ("RemoveUserFromGroup", "revoke"),
        ("CreateUser", "create"),
    ],
)
def test_rights_are_granted_and_revoked(name: str, operation: str) -> None:
    event = READ(a_record(eventSource="iam.amazonaws.com", eventName=name, readOnly=False))

    assert (event.operation, event.category, event.severity) == (operation, "iam", "medium")


@pytest.mark.parametrize(
    ("source", "name", "severity"),
    [
        ("cloudtrail.amazonaws.com", "StopLogging", "high"),
        ("guardduty.amazonaws.com", "DeleteDetector", "high"),
        ("s3.amazonaws.com", "DeleteBucketPublicAccessBlock", "high"),
        ("iam.amazonaws.com", "CreateAccessKey", "high"),
        ("ec2.amazonaws.com", "TerminateInstances", "medium"),
        ("ec2.amazonaws.com", "RunInstances", "low"),
    ],
)
def test_what_hides_or_opens_things_is_severe(source: str, name: str, severity: str) -> None:
    event = READ(a_record(eventSource=source, eventName=name, readOnly=False))

    assert event.severity == severity


@pytest.mark.parametrize(
    ("code", "outcome", "reason"),
    [
        ("AccessDenied", "denied", "access_denied"),
        ("AccessDeniedException", "denied", "access_denied_exception"),
        ("Client.UnauthorizedOperation", "denied", "client.unauthorized_operation"),
        ("VpceAccessDenied", "denied", "vpce_access_denied"),
        ("NoSuchEntity", "failure", "no_such_entity"),
        ("404", "failure", "x_404"),
        ("...", "failure", None),
    ],
)
def test_the_error_code_tells_the_outcome(code: str, outcome: str, reason: str | None) -> None:
    event = READ(a_record(errorCode=code, errorMessage="not today"))

    assert event.outcome == outcome
    assert event.reason
    assert (event.reason.code or None, event.reason.message) == (reason, "not today")


def test_a_login_takes_its_outcome_from_the_answer() -> None:
    event = READ(
        a_record(
            eventSource="signin.amazonaws.com",
            eventName="ConsoleLogin",
            errorMessage="Failed authentication",
            responseElements={"ConsoleLogin": "Failure"},
            additionalEventData={"MFAUsed": "Yes"},
            resources=None,
            requestParameters=None,
            **an_identity("IAMUser", userName="ana", arn="arn:aws:iam::1:user/ana"),
        )
    )

    assert (event.category, event.operation, event.outcome) == (
        "authentication",
        "login",
        "failure",
    )
    assert event.reason
    assert event.reason.code == "failed_authentication"
    assert (event.actor.type, event.actor.name) == ("user", "ana")
    assert event.actor.auth
    assert (event.actor.auth.method, event.actor.auth.mfa) == ("password", True)
    assert event.targets == ()


@pytest.mark.parametrize(
    ("identity", "kind", "actor_id"),
    [
        ({"type": "Root", "arn": "arn:aws:iam::1:root"}, "user", "arn:aws:iam::1:root"),
        ({"type": "IAMUser", "userName": "ana"}, "user", "ana"),
        ({"type": "AWSService", "invokedBy": "a.amazonaws.com"}, "system", "a.amazonaws.com"),
        ({"type": "AWSService"}, "system", None),
        ({"type": "AWSAccount", "accountId": "12"}, "external", "12"),
        ({"type": "AWSAccount", "principalId": "AIDA", "accountId": "12"}, "external", "AIDA"),
        ({"type": "IdentityCenterUser", "principalId": "P"}, "user", "P"),
        ({"type": "Unknown", "principalId": "P"}, "unknown", "P"),
        ({"type": "SomethingNew", "arn": "A"}, "unknown", "A"),
        ({"type": "IAMUser"}, "unknown", None),
        ({}, "unknown", None),
        (None, "unknown", None),
        ("root", "unknown", None),
    ],
)  # fmt: skip
def test_the_actor_is_who_called(identity: Any, kind: str, actor_id: str | None) -> None:
    actor = READ(a_record(userIdentity=identity)).actor

    assert (actor.type, actor.id or None) == (kind, actor_id)


@pytest.mark.parametrize(
    "change",
    [
        {"sessionCredentialFromConsole": "true"},
        {"sessionCredentialFromConsole": True},
        {
            "userIdentity": {
                "type": "AssumedRole",
                "arn": "a",
                "sessionContext": {"sessionIssuer": {"userName": "AWSReservedSSO_Admin_1"}},
            }
        },
        {
            "userIdentity": {
                "type": "AssumedRole",
                "arn": "a",
                "sessionContext": {"attributes": {"mfaAuthenticated": "true"}},
            }
        },
    ],
)
def test_a_role_session_with_a_person_behind_it_is_a_user(change: dict[str, Any]) -> None:
    assert READ(a_record(**change)).actor.type == "user"


def test_a_session_named_by_an_address_has_the_address_as_email() -> None:
    arn = "arn:aws:sts::1:assumed-role/Admin/ana@acme.example"

    assert READ(a_record(**an_identity("AssumedRole", arn=arn))).actor.email == "ana@acme.example"


def test_a_role_is_a_role_and_not_somebody_acted_for() -> None:
    assert READ(GET_OBJECT).on_behalf_of is UNSET


@pytest.mark.parametrize(
    ("identity", "for_whom"),
    [
        ({"type": "IdentityCenterUser", "onBehalfOf": {"userId": "u-1"}}, "u-1"),
        ({"type": "AssumedRole", "sessionContext": {"sourceIdentity": "ana"}}, "ana"),
        (
            {
                "type": "FederatedUser",
                "sessionContext": {"sessionIssuer": {"type": "IAMUser", "arn": "arn:x"}},
            },
            "arn:x",
        ),
    ],
)
def test_another_party_that_the_record_names_is_acted_for(
    identity: dict[str, Any], for_whom: str
) -> None:
    behalf = READ(a_record(userIdentity={"arn": "a", **identity})).on_behalf_of

    assert behalf
    assert (behalf.type, behalf.id) == ("user", for_whom)


def test_a_service_in_between_is_via() -> None:
    identity = an_identity("IAMUser", arn="arn:ana", invokedBy="cloudformation.amazonaws.com")

    (via,) = READ(a_record(**identity)).via

    assert (via.type, via.id) == ("system", "cloudformation.amazonaws.com")


def test_an_access_key_id_is_kept_as_a_digest() -> None:
    temporary = READ(GET_OBJECT).actor.auth
    lasting = READ(
        a_record(**an_identity("IAMUser", arn="a", accessKeyId="AKIAIOSFODNN7EXAMPLE"))
    ).actor.auth

    assert temporary
    assert lasting
    assert temporary.session_id == "sha256:cb20d34a7adda2f5d2043836051e242f"
    assert temporary.credential_id is UNSET
    assert lasting.method == "api_key"
    assert str(lasting.credential_id).startswith("sha256:")
    assert lasting.session_id is UNSET


@pytest.mark.parametrize("address", ["cloudformation.amazonaws.com", "AWS Internal", "<ip>"])
def test_an_address_that_is_none_is_kept_apart(address: str) -> None:
    event = READ(a_record(sourceIPAddress=address, userAgent=None))

    assert event.client is UNSET
    assert metadata(event)["source_address"] == address


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2025-01-21T17:39:10Z", "2025-01-21T17:39:10.000000Z"),
        ("2025-01-21 17:39:10.000000000", "2025-01-21T17:39:10.000000Z"),
        ("2025-01-21 17:39:10.123456789", "2025-01-21T17:39:10.123456Z"),
        ("2025-01-21 17:39:10", "2025-01-21T17:39:10.000000Z"),
        ("2025-01-21 17:39:10 UTC", "2025-01-21T17:39:10.000000Z"),
        ("2025-01-21T17:39:10+0100", "2025-01-21T16:39:10.000000Z"),
        ("2025-01-21T17:39:10.5+01:00", "2025-01-21T16:39:10.500000Z"),
        (1737481150, "2025-01-21T17:39:10.000000Z"),
        (1737481150000, "2025-01-21T17:39:10.000000Z"),
        (1737481150.5, "2025-01-21T17:39:10.500000Z"),
    ],
)
def test_a_time_is_read_in_every_spelling(written: Any, meant: str) -> None:
    assert str(READ(a_record(eventTime=written)).occurred_at) == meant


@pytest.mark.parametrize("key", ["@timestamp", "p_event_time"])
def test_a_time_may_stand_under_another_name(key: str) -> None:
    record = a_record(eventTime=None, **{key: "2025-01-21 17:39:10"})

    assert str(READ(record).occurred_at) == "2025-01-21T17:39:10.000000Z"


def test_a_record_without_time_has_none() -> None:
    assert READ(a_record(eventTime=None)).occurred_at is UNSET


@pytest.mark.parametrize(
    "written", ["yesterday", "2025-13-01T00:00:00Z", "2025-01-21", True, [], {}, 1e300, "12:00"]
)
def test_a_time_that_cannot_be_read_is_not_guessed(written: Any) -> None:
    with pytest.raises(UnmappableError, match="eventTime"):
        READ(a_record(eventTime=written))


@pytest.mark.parametrize("own", ["1", None, 7, "f1e2d3c4-b5a6-7890-1234-567890abcdef"])
def test_a_record_without_a_good_id_gets_the_same_one_each_time(own: Any) -> None:
    one = READ(a_record(eventID=own))
    two = READ(dict(reversed(a_record(eventID=own).items())))

    assert one.id
    assert one.id == two.id
    assert one.id != READ(a_record(eventID=own, awsRegion="us-east-1")).id


@pytest.mark.parametrize(
    ("changes", "targets"),
    [
        ({"requestParameters": {"bucketName": "b"}}, [("s3.bucket", "b")]),
        ({"requestParameters": {"bucketName": "b", "key": "k/l"}}, [("s3.object", "b/k/l")]),
        (
            {"requestParameters": {"userName": "ana", "policyArn": "arn:p"}},
            [("iam.user", "ana"), ("iam.policy", "arn:p")],
        ),
        ({"requestParameters": {"name": "n", "instanceId": "i-1"}}, [("ec2.instance", "i-1")]),
        ({"requestParameters": {"name": "n"}}, [("s3.resource", "n")]),
        (
            {"requestParameters": {"instancesSet": {"items": [{"instanceId": "i-1"}, 3, {}]}}},
            [("ec2.instance", "i-1")],
        ),
        ({"requestParameters": {"userName": "HIDDEN_DUE_TO_SECURITY_REASONS"}}, []),
        ({"requestParameters": None}, []),
        ({"resources": ["{'arn': 'x'}"], "requestParameters": {"keyId": "k"}}, [("kms.key", "k")]),
        (
            {"resources": [{"ARN": "arn:aws:iam::1:role/a/admin"}]},
            [("iam.role", "arn:aws:iam::1:role/a/admin")],
        ),
        ({"resources": [{"arn": "arn:aws:sqs:e:1:j"}]}, [("sqs.resource", "arn:aws:sqs:e:1:j")]),
        ({"resources": [{"arn": "strange"}]}, [("s3.resource", "strange")]),
    ],
)  # fmt: skip
def test_the_target_is_what_the_record_names(
    changes: dict[str, Any], targets: list[tuple[str, str]]
) -> None:
    event = READ(a_record(**{"resources": None} | changes))

    assert [(target.type, target.id) for target in event.targets] == targets


def test_a_long_id_is_cut_with_a_mark_and_kept_whole_beside_it() -> None:
    arn = "arn:aws:s3:::invoices/" + "x" * 400
    (target,) = READ(a_record(resources=[{"ARN": arn}])).targets

    assert str(target.id).endswith("…")
    assert target.attributes == {"id": arn}


def test_only_what_is_short_is_kept_and_the_rest_is_counted() -> None:
    event = READ(
        a_record(
            requestParameters={
                "policyDocument": "x" * 3000,
                "deep": {"er": {"still": {"deeper": 1}}, "fine": "y"},
                "list": ["a", "b"],
                "statements": [{"Effect": "Allow", "Principal": {"AWS": "*"}}],
                "empty": None,
                "strange key!": 1,
            },
            responseElements="text",
        )
    )

    kept = {key: value for key, value in metadata(event).items() if key.startswith("re")}
    assert kept == {
        "request.deep.fine": "y",
        "request.list": ["a", "b"],
        "request.statements": [{"Effect": "Allow", "Principal": {"AWS": "*"}}],
        "request.strange_key_": 1,
    }
    assert metadata(event)["omitted"] == 3


def test_a_record_without_a_time_gives_an_event_without_one() -> None:
    record = a_record()
    assert READ(record).occurred_at
    del record["eventTime"]

    assert not READ(record).occurred_at


def test_long_parameters_are_kept_up_to_what_an_event_holds() -> None:
    event = READ(a_record(requestParameters={f"p{number}": "x" * 2000 for number in range(40)}))

    assert metadata(event)["omitted"] == 32
    prepare(event)


def test_a_flood_of_parameters_is_cut() -> None:
    event = READ(a_record(requestParameters={f"p{number}": number for number in range(500)}))

    assert metadata(event)["omitted"] == 460
    assert len(metadata(event)) < 100


def test_secrets_and_session_tokens_are_left_out() -> None:
    event = READ(
        a_record(
            eventName="AssumeRole",
            requestParameters={"masterUserPassword": "hunter2", "tokenCode": "123"},
            responseElements={
                "credentials": {"accessKeyId": "ASIAIOSFODNN7EXAMPLE", "sessionToken": "IQoJb3Jp"},
                "accessKey": {"accessKeyId": "AKIAIOSFODNN7EXAMPLE"},
            },
        )
    )

    written = json.dumps([metadata(redact(event)), metadata(event)])
    assert "hunter2" not in written
    assert "IQoJb3Jp" not in written
    assert "AKIA" not in json.dumps(metadata(redact(event)))


def test_keys_in_lower_case_are_read_too() -> None:
    lower = {key.lower(): value for key, value in GET_OBJECT.items()}

    event = READ(lower)

    assert (event.action, event.id) == ("s3.get_object", GET_OBJECT["eventID"])


@pytest.mark.parametrize(
    "record", [{}, {"eventType": "logout"}, {"eventName": ""}, {"eventName": []}]
)
def test_what_names_no_event_is_unmappable(record: dict[str, Any]) -> None:
    with pytest.raises(UnmappableError, match="no eventName"):
        READ(record)


def is_stored_or_refused(record: dict[str, Any]) -> bool:
    """True when it becomes a valid event; False when it is refused as it should be."""
    try:
        event = READ(record)
    except InvalidError:
        return False
    assert checked(event) == event
    recorder.prepare(event)
    return True


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=300)
junk = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4)
    ),
    max_leaves=8,
)
paths = [
    *((key,) for key in GET_OBJECT),
    *(("userIdentity", key) for key in GET_OBJECT["userIdentity"]),
    ("userIdentity", "invokedBy"),
    ("userIdentity", "userName"),
    ("userIdentity", "onBehalfOf"),
    ("userIdentity", "sessionContext", "attributes"),
    ("userIdentity", "sessionContext", "sessionIssuer"),
    ("userIdentity", "sessionContext", "sourceIdentity"),
    ("requestParameters", "key"),
    ("requestParameters", "instancesSet"),
    ("requestParameters", "name"),
    ("requestParameters", "password"),
    ("responseElements", "ConsoleLogin"),
    ("errorCode",),
    ("errorMessage",),
    ("sharedEventID",),
]


@given(
    st.dictionaries(st.sampled_from(paths), junk, max_size=6),
    st.sampled_from(["x", "ConsoleLogin"]),
)
def test_whatever_stands_in_a_record_it_becomes_an_event_or_is_refused(
    changes: dict[tuple[str, ...], Any], name: str
) -> None:
    record: dict[str, Any] = copy.deepcopy(GET_OBJECT) | {"eventName": name}
    for path, value in changes.items():
        place = record
        for key in path[:-1]:
            if not isinstance(place.get(key), dict):
                place[key] = {}
            place = place[key]
        place[path[-1]] = value

    is_stored_or_refused(record)


@given(st.dictionaries(st.text(max_size=12), junk, max_size=6))
def test_whatever_is_sent_as_a_record_is_refused_or_stored(record: dict[str, Any]) -> None:
    is_stored_or_refused(record)
    is_stored_or_refused({"eventName": "GetObject", **record})


def samples() -> list[dict[str, Any]]:
    if not (SAMPLES / "events.jsonl.gz").exists():
        pytest.skip("NOT TESTED: no data of saas-audit-panther beside the checkout")
    return read_samples()


@cache
def read_samples() -> list[dict[str, Any]]:
    file = SAMPLES / "events.jsonl.gz"
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        found = [json.loads(line) for line in lines]
    return [item["event"] for item in found if item["log_type"] == "AWS.CloudTrail"]


def test_every_vendor_record_is_stored_but_those_that_name_no_event() -> None:
    records = samples()

    refused = [record for record in records if not is_stored_or_refused(record)]

    assert len(records) == 250
    assert [set(record) & {"eventName", "eventname"} for record in refused] == [set(), set()]


def test_vendor_records_keep_their_secrets_out_of_the_log() -> None:
    for record in samples():
        try:
            event = redact(READ(record))
        except InvalidError:
            continue
        given_metadata = metadata(event)
        assert not [key for key in given_metadata if key.lower().endswith(("token", "password"))]


@given(st.data())
def test_vendor_records_with_anything_in_place_of_a_field_break_nothing(
    data: st.DataObject,
) -> None:
    record = copy.deepcopy(data.draw(st.sampled_from(samples())))
    place: Any = record
    while isinstance(place, dict) and place:
        key = data.draw(st.sampled_from(sorted(place)))
        if not isinstance(place[key], dict) or data.draw(st.booleans()):
            place[key] = data.draw(junk)
            break
        place = place[key]

    is_stored_or_refused(record)
