from __future__ import annotations

import copy
from typing import Any

import pytest
from msgspec import UNSET

from tests.importers.conftest import event_of, vendor_records
from tests.importers.samples import KUBERNETES
from whodid.event import Event
from whodid.importers import READERS, PassedOverError, UnmappableError


def a_record(number: int = 0, **changes: Any) -> dict[str, Any]:
    """A sample with other values; `None` takes a key away."""
    record = copy.deepcopy(KUBERNETES[number]) | changes
    return {key: value for key, value in record.items() if value is not None}


def of(record: dict[str, Any]) -> Event:
    return event_of("kubernetes", record)


def test_a_record_becomes_an_event_with_all_its_parts() -> None:
    event = of(KUBERNETES[0])

    assert event.id == "0b7e0c5a-6f3d-4f39-9e9a-5d0c3e4b1a2f"
    assert (event.action, event.operation, event.category) == ("secrets.get", "read", "data")
    assert (event.outcome, event.severity) == ("success", "low")
    assert str(event.occurred_at) == "2025-01-21T17:39:10.250000Z"
    assert (event.actor.type, event.actor.id) == (
        "service_account",
        "system:serviceaccount:berths:api",
    )
    assert event.actor.roles == ("system:serviceaccounts", "system:authenticated")
    (target,) = event.targets
    assert (target.type, target.id, target.name) == ("secrets", "berths/db", "db")
    assert event.client
    assert (event.client.ip, event.client.forwarded_for) == ("10.0.3.17", ("198.51.100.4",))
    assert event.request
    assert (event.request.url, event.request.status) == (
        "/api/v1/namespaces/berths/secrets/db",
        200,
    )
    assert event.reason
    assert event.reason.policy == 'RBAC: allowed by RoleBinding "api/berths"'
    assert event.source
    assert event.source.app == "kubernetes"
    assert event.metadata == {
        "source_action": "get secrets",
        "level": "Metadata",
        "annotation.decision": "allow",
        "omitted": 1,
    }


@pytest.mark.parametrize("stage", ["RequestReceived", "ResponseStarted"])
def test_an_earlier_stage_of_a_request_is_passed_over(stage: str) -> None:
    with pytest.raises(PassedOverError, match="earlier stage"):
        READERS["kubernetes"].read(a_record(stage=stage))


def test_a_request_that_broke_the_server_is_an_error() -> None:
    assert of(a_record(stage="Panic")).outcome == "error"


@pytest.mark.parametrize(
    ("answer", "outcome", "code"),
    [
        ({"code": 201}, "success", UNSET),
        ({"code": 403, "reason": "Forbidden"}, "denied", "not_permitted"),
        ({"code": 401, "reason": "Unauthorized"}, "denied", "not_permitted"),
        ({"code": 404, "reason": "NotFound"}, "failure", "not_found"),
        ({"code": 409, "reason": "AlreadyExists"}, "failure", "conflict"),
        ({"code": 500, "reason": "InternalError"}, "error", "internal_error"),
        ({"status": "Failure"}, "failure", UNSET),
        ({}, "unknown", UNSET),
        (None, "unknown", UNSET),
    ],
)
def test_the_answer_tells_the_outcome(answer: Any, outcome: str, code: object) -> None:
    event = of(a_record(responseStatus=answer))

    assert event.outcome == outcome
    assert event.reason
    assert event.reason.code == code


@pytest.mark.parametrize(
    ("reference", "verb", "action", "operation"),
    [
        ({"resource": "pods"}, "list", "pods.list", "read"),
        ({"resource": "pods", "subresource": "exec"}, "create", "pods.exec.create", "execute"),
        (
            {"resource": "pods", "subresource": "eviction"},
            "create",
            "pods.eviction.create",
            "delete",
        ),
        ({"resource": "clusterrolebindings"}, "create", "clusterrolebindings.create", "grant"),
        ({"resource": "rolebindings"}, "delete", "rolebindings.delete", "revoke"),
        ({"resource": "pods"}, "deletecollection", "pods.deletecollection", "delete"),
        ({"resource": "audit"}, "get", "kubernetes_audit.get", "read"),
        (None, "get", "api.get", "read"),
        ({"resource": "pods"}, None, "pods.request", "other"),
    ],
)
def test_resource_and_verb_make_the_action(
    reference: Any, verb: str | None, action: str, operation: str
) -> None:
    event = of(a_record(objectRef=reference, verb=verb))

    assert (event.action, event.operation) == (action, operation)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ana@harbour.example", "user"),
        ("kubernetes-admin", "user"),
        ("system:anonymous", "anonymous"),
        ("system:kube-scheduler", "service_account"),
        ("system:node:quay-1", "service_account"),
        ("eks:node-manager", "service_account"),
        (None, "unknown"),
    ],
)
def test_the_name_tells_a_person_from_a_machine(name: str | None, kind: str) -> None:
    assert of(a_record(user={"username": name})).actor.type == kind


def test_with_impersonation_the_actor_is_who_did_it() -> None:
    event = of(KUBERNETES[1])

    assert (event.actor.id, event.actor.roles) == ("ana@harbour.example", ("system:masters",))
    assert event.on_behalf_of
    assert event.on_behalf_of.id == "bo@harbour.example"
    assert event.delegation
    assert event.delegation.kind == "impersonation"
    assert (event.action, event.outcome, event.severity) == ("pods.exec.create", "denied", "medium")


def test_a_change_by_nobody_is_severe() -> None:
    event = of(
        a_record(verb="create", user={"username": "system:anonymous"}, responseStatus={"code": 201})
    )

    assert event.severity == "high"


def test_an_event_of_the_cluster_is_no_audit_event() -> None:
    with pytest.raises(UnmappableError, match="no audit event"):
        READERS["kubernetes"].read({"kind": "Event", "involvedObject": {}, "reason": "Pulled"})


def test_a_list_of_events_says_what_to_do() -> None:
    record = {"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": []}

    with pytest.raises(UnmappableError, match="one by one"):
        READERS["kubernetes"].read(record)


def test_an_address_that_is_none_is_kept_apart() -> None:
    event = of(a_record(sourceIPs=["@"]))

    assert event.client
    assert event.client.ip is UNSET
    assert (event.metadata or {})["source_address"] == "@"


def test_every_vendor_record_is_stored_with_the_time_and_the_actor_that_it_holds() -> None:
    records = vendor_records("Amazon.EKS.Audit")

    events = [of(record) for record in records]

    held = [record for record in records if "requestReceivedTimestamp" in record]
    named = [record for record in records if record.get("user")]
    assert (len(records), len(held), len(named)) == (90, 4, 75)
    assert sum(bool(event.occurred_at) for event in events) == len(held)
    assert sum(event.actor.type != "unknown" for event in events) == len(named)
