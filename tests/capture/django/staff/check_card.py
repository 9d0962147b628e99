"""A user model with as little as can sign in; see `test_custom_users`."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from tests.capture.django.site import actions, one
from tests.capture.django.staff.models import Card
from whodid.event import Event

Told = Callable[[], list[Event]]
CODE = "correct-horse-9"


@pytest.fixture
def card(told: Told) -> Card:
    card = Card(number="4711-0815")
    card.set_password(CODE)
    card.save()
    told()
    return card


def signed_in(card: Card) -> Client:
    browser = Client(raise_request_exception=False)
    browser.post("/login/", {"username": card.number, "password": CODE})
    return browser


def test_a_card_is_made_and_unmade(told: Told) -> None:
    card = Card.objects.create(number="4711-0815")
    card.set_password(CODE)
    card.save()
    card.delete()

    events = told()
    assert actions(events) == ["user.create", "user.password.reset", "user.delete"]
    assert {event.targets[0].id for event in events} == {"4711-0815"}


def test_signing_in_is_told_and_failing_to(card: Card, told: Told) -> None:
    signed_in(card)
    Client().post("/login/", {"username": card.number, "password": "wrong"})

    events = told()
    assert [(event.action, event.outcome) for event in events] == [
        ("user.login", "success"), ("user.login", "failure"),
    ]  # fmt: skip
    assert {event.targets[0].id for event in events} == {"4711-0815"}


def test_who_acts_is_told(card: Card, told: Told) -> None:
    browser = signed_in(card)

    browser.get("/make/editors/")

    assert one(told(), "role.create").actor.id == "4711-0815"


def test_the_log_is_not_for_those_of_whom_nothing_says_what_they_may(card: Card) -> None:
    assert signed_in(card).get("/audit/").status_code == 403
