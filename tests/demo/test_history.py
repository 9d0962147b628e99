"""A month of four companies is truthful, repeatable and has every kind of event."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import msgspec

from tests.demo.conftest import NOW, SEED, when
from whodid import actions, demo
from whodid.event import ACTOR_TYPES, OUTCOMES, Event, checked
from whodid.recorder import prepare
from whodid.redaction import redact


def test_there_are_at_least_as_many_events_as_asked_for(month: list[Event]) -> None:
    assert 20_000 <= len(month) < 24_000
    assert len(list(demo.history(seed=SEED, now=NOW, events=500))) >= 500


def test_events_come_in_the_order_of_time_within_30_days(month: list[Event]) -> None:
    assert all(when(a) <= when(b) for a, b in pairwise(month))
    assert when(month[-1]) <= NOW
    assert NOW - timedelta(days=30) <= when(month[0]) < NOW - timedelta(days=29)


def test_every_event_keeps_the_schema_and_can_be_stored(month: list[Event]) -> None:
    for event in month:
        assert checked(event) == event
        prepare(event)


def test_no_event_holds_what_looks_like_a_secret(month: list[Event]) -> None:
    assert [event.action for event in month if redact(event) is not event] == []


def test_ids_are_uuids_of_version_7_and_tell_the_time(month: list[Event]) -> None:
    ids = {str(event.id) for event in month}

    assert len(ids) == len(month)
    for event in month[::500]:
        text = str(event.id)
        assert text[14] == "7"
        assert int(text[:8] + text[9:13], 16) == when(event).micros // 1_000


def test_the_same_arguments_give_the_same_events() -> None:
    first, again, other = (
        list(demo.history(seed=seed, now=NOW, events=600)) for seed in (SEED, SEED, SEED + 1)
    )

    assert first == again
    assert {event.id for event in first}.isdisjoint(event.id for event in other)


def test_the_order_of_hashes_changes_nothing() -> None:
    code = (
        "from whodid import demo; from whodid.times import Instant;"
        f"print([e.id for e in demo.history(seed=1, now=Instant.parse('{NOW}'), events=300)])"
    )
    ids = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for hash_seed in ("1", "2")
    }

    assert len(ids) == 1


def test_four_tenants_of_different_size(month: list[Event]) -> None:
    sizes = Counter(event.tenant.id for event in month if event.tenant)

    assert set(sizes) == {"larkspur", "fernmere", "alderquay", "pepperpine"}
    assert sizes["larkspur"] > 2 * sizes["fernmere"] > 2 * sizes["pepperpine"]


def test_every_action_is_in_the_registry(month: list[Event]) -> None:
    living = islice(demo.live(seed=SEED, now=NOW), 3_000)

    assert {e.action for e in (*month, *living) if actions.find(e.action) is None} == set()


def test_every_kind_of_event_occurs(month: list[Event]) -> None:
    kinds = Counter(event.action for event in month)
    outcomes = {event.outcome or "success" for event in month}
    actors = {event.actor.type for event in month}

    assert set(outcomes) == set(OUTCOMES) - {"unknown"}
    assert actors <= set(ACTOR_TYPES)
    assert {
        "user",
        "anonymous",
        "ai_agent",
        "api_key",
        "service_account",
        "scheduled_job",
    } <= actors
    for action in (
        "user.login user.logout user.role.grant user.role.revoke user.disable access.check "
        "error.raise settings.update settings.security.update api_key.create user.impersonate "
        "invoice.update invoice.create customer.export product.delete webhook.deliver backup.run"
    ).split():
        assert kinds[action], action
    assert any(event.attachments for event in month)
    assert any(event.scope for event in month)
    assert any(event.count > 1 and event.window for event in month)


def test_failed_sign_ins_come_from_several_countries(month: list[Event]) -> None:
    countries = {
        event.client.geo.country
        for event in month
        if event.action == "user.login"
        and event.outcome == "failure"
        and event.client
        and event.client.geo
    }

    assert len(countries) >= 8


def test_an_agent_acts_for_a_person_and_says_by_what_right(month: list[Event]) -> None:
    runs = [event for event in month if event.actor.type == "ai_agent"]

    assert len(runs) > 50
    for event in runs:
        assert event.on_behalf_of
        assert event.delegation
        assert event.delegation.kind == "agent"
        assert event.delegation.grant_id
        assert event.actor.agent
        assert event.actor.agent.tool
        assert [step.name for step in event.via] == ["invoice-mcp"]


def test_support_acts_as_a_customer_with_a_ticket(month: list[Event]) -> None:
    acted = [
        event
        for event in month
        if event.delegation and event.delegation.kind == "impersonation" and event.on_behalf_of
    ]

    assert any(e.on_behalf_of and e.on_behalf_of.name == "Hannah Vogt" for e in acted)
    assert {event.actor.name for event in acted} == {"Priya Raman"}
    assert all(event.delegation and event.delegation.ticket for event in acted)


def test_several_events_share_a_request(month: list[Event]) -> None:
    sizes = Counter(event.request.id for event in month if event.request)

    assert sizes["req_7d41e0"] == 4
    assert sum(size > 1 for size in sizes.values()) > 200


def test_masked_values_are_marked(month: list[Event]) -> None:
    marks = [change for event in month for change in event.changes if change.redacted]

    assert len(marks) > 100
    assert all("•" in str(c.new) for c in marks if c.new is not msgspec.UNSET)


def test_what_a_change_calls_old_is_what_the_change_before_called_new(month: list[Event]) -> None:
    last: dict[tuple[str, str, str], object] = {}
    checks = 0
    for event in month:
        for change in event.changes:
            if change.redacted or not event.targets or not event.targets[0].id:
                continue
            target = event.targets[0]
            key = (target.type, str(target.id), change.path)
            if target.type in ("invoice", "shipment", "order") and key in last:
                assert change.old == last[key], key
                checks += 1
            last[key] = change.new

    assert checks > 2_000


def test_nothing_real_is_named(month: list[Event]) -> None:
    documentation = re.compile(r"192\.0\.2\.|198\.51\.100\.|203\.0\.113\.|2001:db8:|10\.4\.0\.")
    for event in month:
        assert event.client
        assert documentation.match(event.client.ip or "")
        text = msgspec.json.encode(event, enc_hook=str).decode()
        assert all(host.endswith(".example") for host in re.findall(r"https?://([^/\"]+)", text))
        assert all(host.endswith(".example") for host in re.findall(r"@([\w.-]+\w)", text))


def test_everyones_ids_differ_within_a_company() -> None:
    for company in demo.COMPANIES:
        assert len({person.id for person in company.people}) == len(company.people)


def test_days_are_busier_than_nights_and_weekdays_than_weekends(month: list[Event]) -> None:
    local = [
        when(event).astimezone(ZoneInfo("Europe/Oslo"))
        for event in month
        if event.tenant and event.tenant.id == "larkspur"
    ]
    hours = Counter(moment.hour for moment in local)
    days = Counter(moment.weekday() for moment in local)

    assert hours[10] > 6 * hours[3]
    assert days[1] > 2.5 * days[6]
