"""The registry's entries are valid, and every event reads as English."""

from __future__ import annotations

import re
import string
import subprocess
import sys
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodid import actions
from whodid.actions import Fragment, sentence
from whodid.event import (
    CATEGORIES,
    OPERATIONS,
    OUTCOMES,
    SEVERITIES,
    Actor,
    Event,
    StoredEvent,
    from_mapping,
)
from whodid.times import Instant

BOB = {"type": "user", "id": "7", "name": "Bob"}
ANA = {"type": "user", "id": "8", "name": "Ana"}


def an_event(action: str, **given: Any) -> StoredEvent:
    event = from_mapping({"action": action, "actor": BOB} | given)
    return StoredEvent(
        event=event, received_at=Instant.parse("2026-03-15T11:00:00Z"), index=0, position=0
    )


def said(action: str, **given: Any) -> str:
    return "".join(fragment.text for fragment in sentence(an_event(action, **given)))


def an_update(action: str, **change: Any) -> dict[str, Any]:
    return {"action": action, "targets": [{"type": "thing", "name": "T"}], "changes": [change]}


# ── The registry ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("action", actions.all_actions(), ids=lambda action: action.name)
def test_every_entry_is_valid(action: actions.Action) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*){1,4}", action.name)
    assert action.category in CATEGORIES
    assert action.operation in OPERATIONS
    assert action.severity in SEVERITIES
    assert set(action.phrases) <= set(OUTCOMES)


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("action", actions.all_actions(), ids=lambda action: action.name)
def test_every_entry_has_a_sentence_for_every_outcome(action: actions.Action, outcome: str) -> None:
    for targets in ([], [BOB], [ANA], [ANA, BOB], [{"type": "thing"}], [{"type": "erased"}]):
        text = said(action.name, outcome=outcome, targets=targets)

        assert text == text.strip()
        assert text[0] in string.ascii_lowercase
        assert not re.search(r"[{}]|  |\bed\b", text)


FIXED_NAMES = """
    audit.log.view audit.log.search audit.log.export audit.log.reveal audit.key.create
    audit.key.revoke audit.user.create audit.user.update audit.user.delete
    audit.integrity.verify audit.integrity.loss audit.retention.run audit.erasure.run
    audit.ledger_key.rotate audit.hold.place audit.hold.release audit.stream.create
    audit.stream.update audit.stream.delete audit.stream.disable audit.alert.raise
    audit.logging.start audit.logging.stop user.role.grant user.role.revoke permission.grant
    permission.revoke user.enable user.disable user.lock user.unlock user.password.change
    user.password.reset api_key.create api_key.revoke error.raise access.check data.sql
    http.read http.create http.update http.delete
"""


@pytest.mark.parametrize("name", FIXED_NAMES.split())
def test_the_names_that_the_design_fixes_are_known(name: str) -> None:
    known = actions.find(name)

    assert known is not None
    assert (known.category == "audit") == name.startswith("audit.")


def test_an_action_is_found_by_its_exact_name_alone() -> None:
    assert actions.find("user.login") is not None
    assert actions.find("user.login.extra") is None
    assert actions.find("user") is None
    assert actions.find("words") is None


def test_all_actions_are_listed_by_name() -> None:
    names = [action.name for action in actions.all_actions()]

    assert names == sorted(set(names))


def test_every_field_of_every_template_exists() -> None:
    for action in actions.all_actions():
        for template in (*action.sentence, *(t for ts in action.phrases.values() for t in ts)):
            for name in re.findall(r"\{([^}]+)\}", template):
                for option in name.split("|"):
                    assert option.partition(":")[0] in actions._FIELDS, template


def test_the_registry_is_not_read_when_an_event_is_imported() -> None:
    code = (
        "import sys, whodid.event, whodid.actions;"
        "assert 'tomllib' not in sys.modules and 'importlib.resources' not in sys.modules"
    )

    subprocess.run([sys.executable, "-c", code], check=True)


# ── Defaults ────────────────────────────────────────────────────────────────────────────────────


def test_a_known_action_has_the_defaults_of_the_registry() -> None:
    assert actions.defaults("user.role.grant") == {
        "category": "iam",
        "operation": "grant",
        "severity": "medium",
    }


@pytest.mark.parametrize(
    ("action", "operation", "category"),
    [
        ("thing.create", "create", "data"),
        ("thing.add", "create", "data"),
        ("thing.import", "create", "data"),
        ("s3.get_object", "read", "data"),
        ("ec2.describe_instances", "read", "data"),
        ("s3.head_object", "read", "data"),
        ("thing.download", "read", "data"),
        ("thing.approve", "update", "data"),
        ("s3.put_object", "update", "data"),
        ("thing.purge", "delete", "data"),
        ("thing.deleted", "delete", "data"),
        ("admin.login", "login", "system"),
        ("admin.log_in", "login", "system"),
        ("admin.logout", "logout", "system"),
        ("iam.attach_user_policy", "grant", "system"),
        ("iam.detach_user_policy", "revoke", "system"),
        ("thing.export", "export", "system"),
        ("lambda.invoke", "execute", "system"),
        ("thing.disable", "configure", "system"),
        ("thing.frobnicate", "other", "system"),
        ("protected_branch.policy_override", "other", "system"),
    ],
)
def test_an_unknown_action_gets_its_operation_by_its_verb(
    action: str, operation: str, category: str
) -> None:
    assert actions.defaults(action) == {
        "category": category,
        "operation": operation,
        "severity": "info",
    }


# ── Sentences of known actions ──────────────────────────────────────────────────────────────────


def test_values_are_strong_and_words_are_not() -> None:
    stored = an_event(
        "user.role.grant", targets=[ANA], changes=[{"path": "role", "old": None, "new": "admin"}]
    )

    assert sentence(stored) == (
        Fragment("gave "),
        Fragment("Ana", strong=True),
        Fragment(" the role "),
        Fragment("admin", strong=True),
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"action": "user.login"}, "signed in"),
        (
            {
                "action": "user.login",
                "actor": BOB | {"auth": {"method": "recovery_code"}},
            },
            "signed in with a recovery code",
        ),
        ({"action": "user.login", "targets": [BOB]}, "signed in"),
        ({"action": "user.role.grant", "targets": [ANA]}, "gave Ana a role"),
        (
            {
                "action": "user.role.grant",
                "targets": [BOB],
                "changes": [{"path": "roles", "old": ["ops"], "new": ["ops", "admin"]}],
            },
            "gave themselves the role admin",
        ),
        (
            {
                "action": "user.role.revoke",
                "targets": [ANA, {"type": "role", "id": "admin"}],
            },
            "took the role admin from Ana",
        ),
        (
            {
                "action": "customer.export",
                "metadata": {"records": 12480, "format": "CSV"},
            },
            "exported 12,480 customers as CSV",
        ),
        (
            {
                "action": "invoice.update",
                "targets": [{"type": "invoice", "id": str(n)} for n in range(6)],
                "changes": [{"path": "due_date", "new": "2026-11-30"}],
            },
            "changed the due date of 6 invoices",
        ),
        (
            {
                "action": "payout.update",
                "changes": [{"path": "account", "new": "NO93 •••• 17", "redacted": "masked"}],
            },
            "changed the payout account to NO93 •••• 17",
        ),
        (
            {
                "action": "payout.update",
                "changes": [{"path": "account", "redacted": "hashed", "new": "9f2c"}],
            },
            "changed the payout account to (masked)",
        ),
        (
            {
                "action": "shipment.assign",
                "targets": [{"type": "shipment", "id": "LF-20931"}, ANA],
            },
            "assigned shipment LF-20931 to Ana",
        ),
        ({"action": "user.password.change"}, "changed their own password"),
        ({"action": "user.password.change", "targets": [BOB]}, "changed their own password"),
        ({"action": "user.password.change", "targets": [ANA]}, "changed the password of Ana"),
        (
            {
                "action": "settings.security.update",
                "changes": [{"path": "mfa_policy", "old": "required", "new": "optional"}],
            },
            "changed the MFA policy from required to optional in the security settings",
        ),
        (
            {
                "action": "error.raise",
                "outcome": "error",
                "error": {"type": "TimeoutError", "message": "carrier is silent\n  at line 3"},
                "request": {"method": "POST", "route": "/invoices/{id}/send"},
            },
            "ran into TimeoutError in POST /invoices/{id}/send: carrier is silent",
        ),
        (
            {
                "action": "audit.hold.place",
                "targets": [{"type": "hold", "id": "INC-2061"}],
                "metadata": {"records": 33},
            },
            "put 33 events under legal hold INC-2061",
        ),
    ],
)
def test_a_sentence_reads_as_the_viewer_shows_it(given: dict[str, Any], expected: str) -> None:
    assert said(**given) == expected


ROLE = {"type": "role", "id": BOB["id"], "name": "Auditors"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {"action": "permission.grant", "changes": [{"path": "permission", "new": "see"}]},
            "gave Auditors the right see",
        ),
        ({"action": "user.login"}, "signed in as Auditors"),
        ({"action": "user.password.change"}, "changed the password of Auditors"),
        ({"action": "user.disable"}, "suspended Auditors"),
        ({"action": "user.lock"}, "locked the account of Auditors"),
    ],
    ids=lambda given: given["action"] if isinstance(given, dict) else "",
)
def test_what_only_shares_its_id_with_the_actor_is_not_the_actor(
    given: dict[str, Any], expected: str
) -> None:
    assert said(**given, targets=[ROLE]) == expected


@pytest.mark.parametrize("kind", ["user", "anonymous", "unknown"])
def test_a_sign_in_that_failed_says_who_was_named_and_not_that_they_tried(kind: str) -> None:
    stored = an_event(
        "user.login",
        actor={"type": kind, "id": "7", "name": "root"},
        targets=[{"type": "user", "id": "7", "name": "root"}],
        outcome="failure",
        reason={"code": "bad_password"},
    )

    assert actions.is_unproven(stored)
    assert sentence(stored) == (
        Fragment("tried to sign in as "),
        Fragment("root", strong=True),
        Fragment(": wrong password"),
    )


@pytest.mark.parametrize(
    "given",
    [
        {"action": "user.login"},
        {"action": "user.login", "outcome": "denied"},
        {"action": "user.delete", "outcome": "failure"},
        {"action": "user.login", "outcome": "failure", "actor": {"type": "api_key", "id": "k"}},
    ],
)
def test_whoever_is_known_to_have_acted_is_proven(given: dict[str, Any]) -> None:
    assert not actions.is_unproven(an_event(**given))


def test_a_sign_in_that_failed_of_nobody_named_says_no_more() -> None:
    assert said("user.login", outcome="failure", actor={"type": "unknown"}) == "failed to sign in"


def test_what_a_program_tried_it_failed_to_do() -> None:
    key = {"type": "api_key", "id": "k", "name": "nightly"}

    assert said("user.login", outcome="failure", actor=key) == "failed to sign in"


DESK = {"type": "desk", "id": "4", "name": "Oslo"}


@pytest.mark.parametrize(
    ("change", "ending"),
    [
        ({"path": "status", "old": "draft", "new": "sent"}, " from draft to sent"),
        ({"path": "weight", "old": 12000, "new": 9}, " from 12,000 to 9"),
        ({"path": "note", "old": None, "new": "new"}, " from nothing to new"),
        ({"path": "note", "old": "old", "new": ""}, " from old to nothing"),
        ({"path": "note", "new": "new"}, ""),
        ({"path": "note", "old": "a" * 41, "new": "b"}, ""),
        ({"path": "note", "old": "a\nb", "new": "b"}, ""),
        ({"path": "parts", "old": [1], "new": [2]}, ""),
        ({"path": "iban", "old": "•", "new": "••", "redacted": "masked"}, ""),
    ],
)
def test_short_values_of_a_single_change_are_told(change: dict[str, Any], ending: str) -> None:
    text = said("desk.update", targets=[DESK], changes=[change])

    assert text == f"changed the {change['path']} of desk Oslo{ending}"


def test_known_actions_tell_short_values_as_well() -> None:
    change = {"path": "status", "old": "draft", "new": "sent"}
    text = said("invoice.update", targets=[{"type": "invoice", "id": "9"}], changes=[change])

    assert text == "changed the status of invoice 9 from draft to sent"


@pytest.mark.parametrize(
    ("path", "new", "expected"),
    [
        ("active", False, "switched active off for desk Oslo"),
        ("is_active", True, "switched active on for desk Oslo"),
    ],
)
def test_a_change_of_a_yes_or_no_is_a_switch(path: str, new: bool, expected: str) -> None:
    change = {"path": path, "old": not new, "new": new}

    assert said("desk.update", targets=[DESK], changes=[change]) == expected


def test_values_of_one_of_several_targets_are_not_told_of_all() -> None:
    change = {"path": "status", "old": "draft", "new": "sent"}
    text = said("desk.update", targets=[DESK, DESK | {"id": "5"}], changes=[change])

    assert text == "changed the status of 2 desks"


def test_linked_objects_are_told_by_name() -> None:
    linked = [{"id": "1", "name": "ops"}, {"id": "2", "name": ""}]
    changes = [{"path": "role", "new": linked}]

    assert said("user.role.grant", targets=[ANA], changes=changes) == "gave Ana the role ops, 2"


@pytest.mark.parametrize(
    ("side", "verb"), [("new", "added"), ("old", "removed")], ids=["added", "removed"]
)
def test_settings_that_come_or_go_as_a_whole_are_not_changed(side: str, verb: str) -> None:
    changes = [{"path": path, side: 1} for path in "ab"]
    text = said(
        "settings.update", targets=[{"type": "settings", "name": "Preferences"}], changes=changes
    )

    assert text == f"{verb} the settings Preferences"


def test_settings_with_values_before_and_after_are_changed() -> None:
    changes = [{"path": "a", "old": 1, "new": 2}, {"path": "b", "new": 1}, {"path": "c", "new": 1}]
    text = said(
        "settings.update", targets=[{"type": "settings", "name": "Preferences"}], changes=changes
    )

    assert text == "changed 3 fields in the settings of Preferences"


@pytest.mark.parametrize(
    ("action", "target", "expected"),
    [
        ("order.create", {"type": "order", "id": "1", "name": "Order 1"}, "created Order 1"),
        ("order.create", {"type": "order", "id": "1"}, "created order 1"),
        (
            "order.create",
            {"type": "order", "id": "1", "name": "Ordering"},
            "created order Ordering",
        ),
        ("access.check", {"type": "path", "id": "/x/"}, "was allowed to open /x/"),
    ],
)
def test_a_kind_is_not_said_twice(action: str, target: dict[str, str], expected: str) -> None:
    assert said(action, targets=[target]) == expected


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        ("success", "gave Ana a role"),
        ("failure", "failed to give Ana a role"),
        ("denied", "tried to give Ana a role"),
        ("error", "could not give Ana a role"),
        ("unknown", "may have given Ana a role"),
    ],
)
def test_the_outcome_is_told_by_the_verb(outcome: str, expected: str) -> None:
    assert said("user.role.grant", outcome=outcome, targets=[ANA]) == expected


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ({"code": "bad_password"}, "tried to sign in as Bob: wrong password"),
        ({"code": "mfa_failed"}, "tried to sign in as Bob: second factor failed"),
        ({"code": "rate_limited"}, "tried to sign in as Bob: too many tries"),
        ({"code": "exception", "message": "disk full"}, "tried to sign in as Bob: disk full"),
        ({"code": "lunar_phase"}, "tried to sign in as Bob: lunar phase"),
    ],
)
def test_the_reason_is_told_in_words(reason: dict[str, str], expected: str) -> None:
    assert said("user.login", outcome="failure", reason=reason) == expected


def test_a_success_tells_no_reason() -> None:
    assert said("user.login", reason={"code": "expired"}) == "signed in"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (1, "1 second"),
        (60, "1 minute"),
        (90, "90 seconds"),
        (960, "16 minutes"),
        (3600, "1 hour"),
        (86_400, "1 day"),
        (129_600, "36 hours"),
        (259_200, "3 days"),
    ],
)
def test_a_record_of_several_tells_how_many_in_what_time(seconds: int, expected: str) -> None:
    start = Instant.parse("2026-03-15T11:00:00Z")
    end = Instant.from_micros(start.micros + seconds * 1_000_000)

    text = said(
        "user.login",
        outcome="failure",
        count=14,
        window={"start": str(start), "end": str(end)},
        reason={"code": "bad_password"},
    )

    assert text == f"tried to sign in as Bob 14 times in {expected}: wrong password"


def test_a_target_without_name_is_called_by_its_id() -> None:
    assert said("customer.read", targets=[{"type": "customer", "id": "c-9"}]) == (
        "looked at the customer c-9"
    )


def test_a_uuid_is_cut_and_not_shown_at_all_beside_a_name() -> None:
    target = {"type": "invoice", "id": "0199d3a0-7b00-7000-8000-000000000001"}

    assert said("invoice.approve", targets=[target]) == "approved invoice 0199d3a0…"
    assert said("invoice.approve", targets=[target | {"name": "2026-7"}]) == (
        "approved invoice 2026-7"
    )


def test_several_targets_are_named_once_and_counted() -> None:
    targets = [{"type": "user", "id": str(n), "name": name} for n, name in enumerate("ABC")]

    assert said("user.disable", targets=targets) == "suspended A and 2 more"


def test_a_target_that_something_was_done_near_is_not_counted() -> None:
    targets = [{"type": "invoice", "id": "1"}, {"type": "invoice", "id": "2", "role": "parent"}]

    assert said("invoice.void", targets=targets) == "voided invoice 1"


def test_an_erased_target_is_called_so() -> None:
    assert said("invoice.approve", targets=[{"type": "erased"}]) == "approved an erased record"


def test_a_long_value_is_cut_at_120_characters() -> None:
    fragments = sentence(
        an_event("customer.read", targets=[{"type": "customer", "name": "x" * 256}])
    )

    assert fragments[1] == Fragment("x" * 119 + "…", strong=True)


def test_braces_in_values_are_left_alone() -> None:
    target = {"type": "customer", "name": "{actor.__class__} {meta:secret}"}

    assert said("customer.read", targets=[target], metadata={"secret": "s"}) == (
        "looked at the customer {actor.__class__} {meta:secret}"
    )


def test_a_field_name_with_odd_characters_stands_apart_like_a_value() -> None:
    fragments = sentence(
        an_event(**an_update("invoice.update", path="x", label="due\u202edate", new=1))
    )

    assert Fragment("due\u202edate", strong=True) in fragments


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["due_date"], "the due date"),
        (["billingAddress"], "the billing address"),
        (["customer.address.zip_code"], "the zip code"),
        (["/lines/0/vat_rate"], "the VAT rate"),
        (["terms", "due_date"], "the terms and the due date"),
        (["a", "b", "c"], "3 fields"),
    ],
)
def test_changed_fields_are_named_in_words(paths: list[str], expected: str) -> None:
    changes = [{"path": path, "new": 1} for path in paths]

    text = said("invoice.update", targets=[{"type": "invoice", "id": "42"}], changes=changes)

    assert text == f"changed {expected} of invoice 42"


# ── Sentences of unknown actions ────────────────────────────────────────────────────────────────

INVOICE = {"type": "invoice", "id": "2026-1184"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"action": "invoice.archive", "targets": [INVOICE]}, "archived invoice 2026-1184"),
        ({"action": "invoice.archive"}, "archived an invoice"),
        ({"action": "billing.invoice.archive", "targets": [INVOICE]}, "archived invoice 2026-1184"),
        (
            {"action": "billing.invoice.mark_paid", "targets": [INVOICE]},
            "marked invoice 2026-1184 as paid",
        ),
        ({"action": "invoice.created", "targets": [INVOICE]}, "created invoice 2026-1184"),
        ({"action": "s3.get_object"}, "got an object in S3"),
        (
            {"action": "s3.get_object", "targets": [{"type": "object", "id": "a.txt"}]},
            "got object a.txt",
        ),
        (
            {"action": "s3.list_objects", "targets": [{"type": "bucket", "id": "b"}]},
            "listed objects on bucket b",
        ),
        ({"action": "ec2.describe_instances"}, "described instances in EC2"),
        ({"action": "cloudtrail.lookup_events"}, "looked up events in cloudtrail"),
        ({"action": "user.session.start", "targets": [ANA]}, "started session on user Ana"),
        ({"action": "user.sign_up"}, "signed up"),
        ({"action": "admin.login"}, "logged in"),
        ({"action": "protected_branch.policy_override"}, "overrode a policy in protected branch"),
        ({"action": "message.resend"}, "resent a message"),
        ({"action": "report.rerun"}, "reran a report"),
        ({"action": "thing.deny"}, "denied a thing"),
        ({"action": "thing.deploy"}, "deployed a thing"),
        ({"action": "parcel.ship"}, "shipped a parcel"),
        ({"action": "parcel.fix"}, "fixed a parcel"),
        ({"action": "parcel.visit"}, "visited a parcel"),
        ({"action": "api_key.roll"}, "rolled an API key"),
        ({"action": "thing.frobnicate"}, "frobnicated a thing"),
        (an_update("thing.update", path="due_date", new=1), "changed the due date of thing T"),
        (
            {"action": "pods.create", "targets": [{"type": "pods", "name": n} for n in "ab"]},
            "created 2 pods",
        ),
    ],
)
def test_an_unknown_action_is_told_by_its_own_words(given: dict[str, Any], expected: str) -> None:
    assert said(**given) == expected


def test_an_unknown_action_keeps_its_base_form_when_it_did_not_work() -> None:
    given: dict[str, Any] = {"targets": [INVOICE], "reason": {"code": "not_permitted"}}

    assert said("invoice.archive", outcome="denied", **given) == (
        "tried to archive invoice 2026-1184: not permitted"
    )
    assert said("invoice.write", outcome="unknown") == "may have written an invoice"


_names = st.from_regex(r"[a-z][a-z0-9_]{0,8}(\.[a-z][a-z0-9_]{0,8}){1,4}", fullmatch=True)


@given(
    action=_names,
    outcome=st.sampled_from(OUTCOMES),
    kinds=st.lists(st.from_regex(r"[a-z][a-z0-9_.]{0,8}", fullmatch=True), max_size=3),
    value=st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=4,
    ),
)
def test_every_event_has_a_sentence(
    action: str, outcome: str, kinds: list[str], value: object
) -> None:
    stored = an_event(
        action,
        outcome=outcome,
        targets=[{"type": kind} for kind in kinds],
        changes=[{"path": "x", "old": value, "new": value}],
        metadata={"records": value},
    )

    fragments = sentence(stored)

    assert fragments[0].text.strip()
    assert not fragments[0].strong
    assert all(a.strong != b.strong for a, b in pairwise(fragments))


@given(
    known=st.sampled_from(actions.all_actions()),
    outcome=st.sampled_from(OUTCOMES),
    value=st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=5),
)
def test_a_known_action_has_a_sentence_whatever_its_values(
    known: actions.Action, outcome: str, value: object
) -> None:
    paths = {
        option.partition(":")[2]
        for template in known.sentence
        for name in re.findall(r"\{([^}]+)\}", template)
        for option in name.split("|")
        if ":" in option
    }
    stored = an_event(
        known.name,
        outcome=outcome,
        targets=[ANA],
        changes=[{"path": path, "old": value, "new": value} for path in sorted(paths)],
        metadata=dict.fromkeys(sorted(paths), value),
    )

    assert "".join(fragment.text for fragment in sentence(stored)).strip()


@pytest.mark.parametrize("action", ["a.b", "x.y", "s3.rm", "iam.sg"])
def test_what_is_no_verb_is_quoted_and_not_put_into_the_past(action: str) -> None:
    stored = StoredEvent(
        event=Event(action=action, actor=Actor(type="system"), outcome="success"),
        received_at=Instant.now(),
        index=0,
        position=1,
    )

    assert "".join(part.text for part in sentence(stored)) == f"performed {action}"
