from __future__ import annotations

import copy
from typing import Any

import pytest
from msgspec import UNSET

from tests.importers.conftest import event_of, vendor_records
from tests.importers.samples import OKTA
from whodid.errors import InvalidError
from whodid.event import Event
from whodid.importers import READERS, UnmappableError


def a_record(number: int = 0, **changes: Any) -> dict[str, Any]:
    """A sample with other values; `None` takes a key away."""
    record = copy.deepcopy(OKTA[number]) | changes
    return {key: value for key, value in record.items() if value is not None}


def of(record: dict[str, Any]) -> Event:
    return event_of("okta", record)


def test_a_record_becomes_an_event_with_all_its_parts() -> None:
    event = of(OKTA[0])

    assert event.id == "5a3f1c52-d801-11ef-9f2b-7b1f0a3c9d10"
    assert (event.action, event.outcome, event.severity) == ("user.login", "failure", "low")
    assert event.reason
    assert (event.reason.code, event.reason.message) == ("bad_password", "INVALID_CREDENTIALS")
    assert str(event.occurred_at) == "2025-01-21T17:39:10.250000Z"
    assert (event.actor.type, event.actor.id, event.actor.name) == ("user", "00u1ana", "Ana Lunde")
    assert event.actor.email == "ana@harbour.example"
    assert event.actor.auth
    assert (event.actor.auth.method, event.actor.auth.session_id) == ("password", "sess-1")
    assert [(target.type, target.id, target.name) for target in event.targets] == [
        ("user", "00u1ana", "Ana Lunde"),
        ("app_instance", "0oa1app", "Berths of the harbour"),
    ]
    assert event.message == "User login to Okta"
    assert event.correlation_id == "Z4nPq1"
    assert event.source
    assert event.source.app == "okta"
    assert event.request
    assert (event.request.id, event.request.url) == ("req-1", "/api/v1/authn")
    assert event.metadata == {
        "source_action": "user.session.start",
        "legacy_event_type": "core.user_auth.login_failed",
        "debug.threatSuspected": "false",
        "omitted": 1,
    }


def test_from_where_is_in_client_with_place_and_network() -> None:
    client = of(OKTA[0]).client

    assert client
    assert (client.ip, client.forwarded_for) == ("203.0.113.9", ("198.51.100.4",))
    assert client.geo
    assert (client.geo.country, client.geo.region, client.geo.city) == ("NO", "Vestland", "Bergen")
    assert (client.geo.lat, client.geo.lon) == (60.3943, 5.3259)
    assert client.device
    assert (client.device.type, client.device.os) == ("Computer", "Linux")
    assert client.network
    assert (client.network.asn, client.network.is_proxy) == (64500, False)


def test_a_country_without_a_known_code_is_kept_as_a_word() -> None:
    event = of(a_record(client={"geographicalContext": {"country": "Atlantis"}}))

    assert event.client
    assert event.client.geo is UNSET
    assert (event.metadata or {})["country"] == "Atlantis"


@pytest.mark.parametrize(
    ("name", "action"),
    [
        ("user.session.end", "user.logout"),
        ("user.authentication.auth_via_mfa", "user.mfa.verify"),
        ("user.mfa.factor.deactivate", "user.mfa.disable"),
        ("user.lifecycle.suspend", "user.disable"),
        ("group.user_membership.add", "group.member.add"),
        ("system.api_token.create", "api_key.create"),
        ("policy.evaluate_sign_on", "policy.evaluate_sign_on"),
        ("app.oauth2.as.token.grant.access_token", "app.oauth2.as.token.grant_access_token"),
        ("logout", "okta.logout"),
    ],
)
def test_what_whodid_has_a_name_for_gets_it_and_other_names_stay(name: str, action: str) -> None:
    event = of(a_record(eventType=name))

    assert event.action == action
    assert (event.metadata or {})["source_action"] == name


@pytest.mark.parametrize(
    ("result", "outcome"),
    [
        ("SUCCESS", "success"),
        ("ALLOW", "success"),
        ("FAILURE", "failure"),
        ("UNANSWERED", "failure"),
        ("DENY", "denied"),
        ("RATE_LIMIT", "denied"),
        ("CHALLENGE", "unknown"),
        ("SKIPPED", "unknown"),
        ("NEVER_SEEN", "unknown"),
        (None, "unknown"),
    ],
)
def test_the_outcome_is_one_of_ours(result: str | None, outcome: str) -> None:
    assert of(a_record(outcome={"result": result})).outcome == outcome


@pytest.mark.parametrize(
    ("name", "reason", "code"),
    [
        ("user.session.start", "LOCKED_OUT", "locked"),
        ("user.session.start", "VERIFICATION_ERROR", "bad_password"),
        ("user.authentication.auth_via_mfa", "VERIFICATION_ERROR", "mfa_failed"),
        ("user.session.start", "Too many requests by one user", "rate_limited"),
        ("user.session.start", "SOMETHING_NEW", "something_new"),
        ("user.session.start", "Sign-on policy says no", UNSET),
    ],
)
def test_the_reason_is_one_of_ours_where_there_is_one(name: str, reason: str, code: object) -> None:
    event = of(a_record(eventType=name, outcome={"result": "FAILURE", "reason": reason}))

    assert event.reason
    assert (event.reason.code, event.reason.message) == (code, reason)


def test_that_an_account_was_locked_is_a_success() -> None:
    outcome = {"result": "FAILURE", "reason": "LOCKED_OUT"}

    assert of(a_record(eventType="user.account.lock", outcome=outcome)).outcome == "success"


@pytest.mark.parametrize(
    ("actor", "kind", "own_id"),
    [
        ({"id": "1", "type": "User"}, "user", "1"),
        ({"id": "1", "type": "SystemPrincipal"}, "system", "1"),
        ({"id": "1", "type": "PublicClientApp"}, "service_account", "1"),
        ({"id": "1", "type": "AIAgent"}, "ai_agent", "1"),
        ({"id": "1", "type": "Robot"}, "unknown", "1"),
        (
            {"id": "unknown", "alternateId": "ana@x.example", "type": "User"},
            "user",
            "ana@x.example",
        ),
        ({"id": "unknown", "alternateId": "unknown", "type": "User"}, "unknown", UNSET),
        (None, "unknown", UNSET),
    ],
)
def test_the_actor_is_who_okta_names(actor: Any, kind: str, own_id: object) -> None:
    found = of(a_record(actor=actor)).actor

    assert (found.type, found.id) == (kind, own_id)


def test_details_of_a_change_are_changes() -> None:
    event = of(OKTA[1])

    assert event.action == "user.role.grant"
    assert [(change.path, change.old, change.new) for change in event.changes] == [
        ("role", "none", "SUPER_ADMIN")
    ]
    assert [target.attributes for target in event.targets] == [
        {"alternate_id": "bo@harbour.example"}
    ]


def test_a_change_in_a_sign_in_is_of_the_target_that_it_was_of() -> None:
    target = {
        "type": "AuthenticatorEnrollment",
        "id": "f1",
        "changeDetails": {"to": {"state": "on"}},
    }
    event = of(a_record(target=[target]))

    (change,) = event.changes
    assert event.targets[change.target].id == "f1"


def test_keys_in_lower_case_are_read_too() -> None:
    lower = {key.lower(): value for key, value in OKTA[0].items()}

    event = of(lower)

    assert (event.action, event.id) == ("user.login", OKTA[0]["uuid"])
    assert event.correlation_id == "Z4nPq1"


def test_what_names_no_event_type_is_unmappable() -> None:
    with pytest.raises(UnmappableError, match="no eventType"):
        READERS["okta"].read({"published": "2025-01-21T17:39:10Z"})


def test_every_vendor_record_is_stored_but_one_that_names_no_event() -> None:
    records = vendor_records("Okta.SystemLog")
    events = []
    refused = []

    for record in records:
        try:
            events.append(of(record))
        except InvalidError:
            refused.append(record)

    held = [record for record in records if "published" in record or "p_event_time" in record]
    assert (len(records), len(held)) == (47, 43)
    assert [set(record) for record in refused] == [{"p_log_type"}]
    assert sum(bool(event.occurred_at) for event in events) == len(held)
    assert sum(event.actor.type != "unknown" for event in events) == 45
