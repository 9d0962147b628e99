from __future__ import annotations

import copy
from typing import Any

import pytest
from msgspec import UNSET

from tests.importers.conftest import event_of, vendor_records
from tests.importers.samples import GITHUB
from whodid.event import Event
from whodid.importers import READERS, UnmappableError


def a_record(number: int = 0, **changes: Any) -> dict[str, Any]:
    """A sample with other values; `None` takes a key away."""
    record = copy.deepcopy(GITHUB[number]) | changes
    return {key: value for key, value in record.items() if value is not None}


def of(record: dict[str, Any]) -> Event:
    return event_of("github", record)


def test_a_record_becomes_an_event_with_all_its_parts() -> None:
    event = of(GITHUB[0])

    assert (event.action, event.operation, event.category) == ("repo.access", "update", "data")
    assert (event.outcome, event.severity) == ("success", "high")
    assert str(event.occurred_at) == "2025-01-21T17:39:10.123000Z"
    assert (event.actor.type, event.actor.id, event.actor.name) == ("user", "4711", "ana-lunde")
    assert event.actor.email == "ana@harbour.example"
    assert event.actor.auth
    assert event.actor.auth.method == "api_key"
    assert event.actor.auth.credential_id == "2m7vI9pQyq1l9b6oT5rB0c5H2yq3xwZ8m4kE1uN6sDg="
    assert [(target.type, target.id, target.name, target.role) for target in event.targets] == [
        ("repo", "5512", "harbour/berths", UNSET),
        ("org", "99", "harbour", "parent"),
        ("business", "12", "harbour", "parent"),
    ]
    assert [(change.path, change.old, change.new) for change in event.changes] == [
        ("visibility", "private", "public")
    ]
    assert event.client
    assert event.client.ip == "203.0.113.9"
    assert event.client.geo
    assert event.client.geo.country == "NO"
    assert event.request
    assert event.request.id == "C0DE:1A2B:3C4D"
    assert event.source
    assert (event.source.app, event.source.component) == ("github", "repo")
    assert event.metadata
    assert event.metadata["source_action"] == "repo.access"


@pytest.mark.parametrize(
    ("name", "action"),
    [
        ("repo.destroy", "repo.destroy"),
        ("Repo.Destroy", "repo.destroy"),
        ("user.failed_login", "user.login"),
        ("two_factor_authentication.disabled", "user.mfa.disable"),
        ("audit.log", "github_audit.log"),
        ("audit_log_streaming.destroy", "audit_log_streaming.destroy"),
        ("login", "github.login"),
        ("a.b.c.d.e.f.g", "a.b.c.d.e_f_g"),
        ("!.?", "x.x"),
    ],
)
def test_a_foreign_name_is_folded_into_ours(name: str, action: str) -> None:
    event = of(a_record(action=name))

    assert event.action == action
    assert (event.metadata or {})["source_action"] == name


@pytest.mark.parametrize(
    ("changes", "operation"),
    [
        ({"action": "git.push"}, "update"),
        ({"action": "git.clone"}, "read"),
        ({"action": "org.add_member"}, "grant"),
        ({"action": "org.remove_member"}, "revoke"),
        ({"action": "team.add_repository"}, "grant"),
        ({"action": "hook.create", "operation_type": "create"}, "create"),
        ({"action": "hook.config_changed", "operation_type": "modify"}, "update"),
        ({"action": "hook.destroy", "operation_type": None}, UNSET),
    ],
)
def test_the_operation_is_told_by_name_or_type(changes: dict[str, Any], operation: object) -> None:
    assert of(a_record(**changes)).operation == operation


def test_only_a_failed_sign_in_is_a_failure() -> None:
    event = of(a_record(action="user.failed_login"))

    assert (event.action, event.outcome) == ("user.login", "failure")


@pytest.mark.parametrize(
    ("changes", "kind", "own_id"),
    [
        ({}, "user", "4711"),
        ({"actor_id": None}, "user", "ana-lunde"),
        ({"actor": "dependabot[bot]"}, "service_account", "4711"),
        ({"actor_is_bot": True}, "service_account", "4711"),
        ({"actor_is_agent": True}, "ai_agent", "4711"),
        ({"actor": "Copilot", "actor_id": None}, "ai_agent", "Copilot"),
        ({"actor": "", "actor_id": None}, "unknown", UNSET),
    ],
)
def test_the_actor_is_a_person_a_machine_or_an_agent(
    changes: dict[str, Any], kind: str, own_id: object
) -> None:
    actor = of(a_record(**changes)).actor

    assert (actor.type, actor.id) == (kind, own_id)


def test_an_agent_acts_for_who_started_it() -> None:
    event = of(GITHUB[2])

    assert event.actor.type == "ai_agent"
    assert event.actor.agent
    assert event.actor.agent.instance_id == "012345a6-b7c8-4012-8e3f-451234567901"
    assert event.on_behalf_of
    assert (event.on_behalf_of.id, event.on_behalf_of.name) == ("4711", "ana-lunde")
    assert event.delegation
    assert event.delegation.kind == "agent"


def test_a_bot_acts_for_nobody_that_the_record_does_not_name() -> None:
    assert of(GITHUB[1]).on_behalf_of is UNSET


@pytest.mark.parametrize(
    ("number", "targets"),
    [
        (1, [("user", "4712"), ("org", "99")]),
        (
            2,
            [
                ("pull_request", "8"),
                ("repo", "harbour/berths"),
                ("user", "4711"),
                ("org", "harbour"),
            ],
        ),
        (3, [("ruleset", "77"), ("repo", "harbour/berths"), ("org", "harbour")]),
    ],
)
def test_the_target_is_what_the_action_is_about(
    number: int, targets: list[tuple[str, str]]
) -> None:
    event = of(GITHUB[number])

    assert [(target.type, target.id) for target in event.targets] == targets


@pytest.mark.parametrize(
    ("given", "change"),
    [
        ({"old_name": "a", "name": "b"}, ("name", "a", "b")),
        ({"old_name": "a", "new_name": "b", "name": "c"}, ("name", "a", "b")),
        ({"name_was": "a", "name": "b"}, ("name", "a", "b")),
        (
            {"ruleset_old_enforcement": "x", "ruleset_enforcement": "y"},
            ("ruleset_enforcement", "x", "y"),
        ),
        ({"old_login": "a"}, ("login", "a", UNSET)),
        ({"old_flag": False, "flag": None, "new_flag": True}, ("flag", False, True)),
    ],
)
def test_pairs_of_old_and_new_are_changes(given: dict[str, Any], change: tuple[Any, ...]) -> None:
    event = of(a_record(previous_visibility=None, **given))

    assert [(item.path, item.old, item.new) for item in event.changes] == [change]


def test_what_is_not_kept_is_counted_and_secrets_are_among_it() -> None:
    event = of(GITHUB[3])

    assert event.metadata
    assert event.metadata["config.url"] == "https://ci.example/hook"
    assert "hunter2xyzzy" not in str(event)
    assert event.metadata["omitted"] == 1


def test_a_record_without_an_id_of_its_own_gets_the_same_one_each_time() -> None:
    one, two = of(GITHUB[0]), of(dict(reversed(GITHUB[0].items())))

    assert one.id == two.id
    assert one.id != of(a_record(actor="bo")).id


def test_what_names_no_action_is_unmappable() -> None:
    with pytest.raises(UnmappableError, match="no action"):
        READERS["github"].read({"actor": "ana"})


def test_every_vendor_record_is_stored_with_actor_action_and_the_time_that_it_holds() -> None:
    records = vendor_records("GitHub.Audit")

    events = [of(record) for record in records]

    timed = [
        event
        for event, record in zip(events, records, strict=True)
        if {"created_at", "@timestamp", "at_sign_timestamp"} & set(record)
    ]
    assert (len(events), len(timed)) == (50, 28)
    assert all(event.occurred_at for event in timed)
    assert sum(event.actor.type != "unknown" for event in events) == 49


def test_of_a_protected_branch_the_branch_is_the_target() -> None:
    event = of(a_record(action="protected_branch.destroy", name="main", repo="acme/api"))

    branch, repo = event.targets[:2]
    assert (branch.type, branch.id) == ("branch", "main")
    assert (repo.type, repo.name) == ("repo", "acme/api")
