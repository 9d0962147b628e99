"""The stories can be found, and tell what the guide says."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from tests.demo.conftest import NOW, SEED, as_stored, when
from whodid import actions, demo
from whodid.event import Event, StoredEvent
from whodid.query.evaluate import matches
from whodid.query.parse import parse
from whodid.times import Instant

HOWTO = Path(__file__).parents[2] / "docs" / "howto" / "demo.md"
GUIDE_SEARCHES = sorted(set(re.findall(r"`([a-z.]+:[^`\n]+)`", HOWTO.read_text("utf-8"))))


def found(story: demo.Story, events: list[StoredEvent]) -> list[StoredEvent]:
    node = parse(story.search, now=NOW).node
    return [stored for stored in events if matches(node, stored)]


def said(events: list[StoredEvent]) -> list[str]:
    """Who did what, as the list shows it."""
    return [
        f"{'somebody' if actions.is_unproven(stored) else stored.event.actor.name} "
        + "".join(fragment.text for fragment in actions.sentence(stored))
        for stored in events
    ]


def the_story(title: str) -> demo.Story:
    return next(story for story in demo.STORIES if story.title == title)


@pytest.mark.parametrize(
    "now",
    [
        "2026-11-19T06:23:59Z",  # a minute too early for the morning after
        "2026-11-21T12:00:00Z",  # a Saturday
        "2026-11-23T03:00:00Z",  # a Monday, before anybody is up
        "2026-03-29T00:30:00Z",  # clocks go forward in Oslo
        "2026-10-25T00:59:59.999999Z",  # and back
        "2024-02-29T23:59:59Z",
        "2027-01-01T00:00:00Z",
    ],
)
def test_every_story_lies_whole_in_the_last_week_whenever_now_is(now: str) -> None:
    moment = Instant.parse(now)
    events = list(demo.history(seed=SEED, now=moment, events=200))
    week = [as_stored(event) for event in events if when(event) > moment - timedelta(days=7)]

    assert [len(found(story, week)) for story in demo.STORIES] == [21, 2, 9, 132, 47, 60, 2, 2]
    assert when(events[-1]) <= moment


def test_nobody_works_who_was_suspended(month: list[Event]) -> None:
    mornings = [
        when(event)
        for event in month
        if event.actor.name == "Tomás Reyes" and event.client and event.client.geo
        and event.client.geo.country != "SG"
    ]  # fmt: skip

    assert max(mornings) == Instant.parse("2026-11-18T22:31:02Z")  # he signs out for the night


@pytest.mark.parametrize("story", demo.STORIES, ids=lambda story: story.title)
def test_the_search_of_a_story_finds_its_tenants_events_alone(
    story: demo.Story, stored_month: list[StoredEvent]
) -> None:
    hits = found(story, stored_month)

    assert hits
    assert {stored.tenant_id for stored in hits} == {story.tenant}
    assert all(stored.occurred_at > NOW - timedelta(days=7) for stored in hits)


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        (
            "Whose account was taken over?",
            [
                "somebody tried to sign in as Tomás Reyes 14 times in 16 minutes: wrong password",
                "Tomás Reyes signed in with a recovery code",
                "Tomás Reyes gave themselves the role admin",
                "Tomás Reyes exported 12,480 customers as CSV",
                "Tomás Reyes created the API key sync-2",
                "Tomás Reyes tried to switch off the audit stream siem-main: not permitted",
            ],
        ),
        (
            "Who made Alice an admin?",
            [
                "Victor Lang gave Alice Moreau the role admin",
                "Ruth Adebayo gave Alice Morin the role admin",
            ],
        ),
        (
            "What happened to invoice 42?",
            [
                "Mira Okafor wrote invoice 2026-0042 for Vogt & Sønner",
                "Jonas Berg changed the amount of invoice 2026-0042 from 18,400 to 14,800",
                "Astrid Lunde changed the terms and the reference of invoice 2026-0042",
                "Jonas Berg tried to approve invoice 2026-0042: not permitted",
                "Mira Okafor approved invoice 2026-0042",
                "Ledgerbot changed the due date of invoice 2026-0042 from 2026-11-27 to 2026-12-13",
                "Priya Raman looked at invoice 2026-0042",
                "Astrid Lunde changed the amount of invoice 2026-0042 from 14,800 to 18,400",
                "Mira Okafor sent invoice 2026-0042 to Vogt & Sønner",
            ],
        ),
        (
            "Who is trying passwords?",
            [
                "somebody tried to sign in as Gwen Hartley: wrong password",
                "somebody tried to sign in as a.bell@fernmere.example: no such user",
                "Ravi Castell signed in",
            ],
        ),
        (
            "What broke after the release?",
            [
                "Jonas Berg ran into LookupError in POST /shipments/quote: "
                "no tariff for zone 'islands'"
            ],
        ),
        (
            "Who switched off mandatory MFA?",
            [
                "Gwen Hartley changed the MFA policy from required to optional in the security "
                "settings",
                "Gwen Hartley changed the MFA policy from optional to required in the security "
                "settings",
            ],
        ),
        (
            "Which account woke up?",
            ["Owen Tranter signed in", "Owen Tranter exported 1,862 customers as CSV"],
        ),
    ],
)
def test_a_story_is_told_in_sentences(
    title: str, expected: list[str], stored_month: list[StoredEvent]
) -> None:
    sentences = iter(said(found(the_story(title), stored_month)))

    assert all(sentence in sentences for sentence in expected)  # in this order


def test_the_takeover_keeps_the_times_of_the_night(stored_month: list[StoredEvent]) -> None:
    times = {
        stored.event.action: str(stored.occurred_at)
        for stored in found(the_story("Whose account was taken over?"), stored_month)
    }

    assert times["user.login"] == "2026-11-19T01:47:09.000000Z"  # 02:47 in Oslo
    assert times["user.role.grant"] == "2026-11-19T01:51:47.230000Z"
    assert times["settings.audit_stream.disable"] == "2026-11-19T02:01:15.000000Z"


def test_every_story_is_told_in_the_guide() -> None:
    guide = HOWTO.read_text(encoding="utf-8")

    for story in demo.STORIES:
        assert story.title in guide
        assert f"`{story.search}`" in guide


@pytest.mark.parametrize("search", GUIDE_SEARCHES)
def test_every_search_in_the_guide_finds_something(
    search: str, stored_month: list[StoredEvent]
) -> None:
    node = parse(search, now=NOW).node

    assert any(matches(node, stored) for stored in stored_month)
