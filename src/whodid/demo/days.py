"""A month of ordinary days: who works when, and what runs by itself.

A day is planned as steps, which are then told in the order of time; what a step comes to is
written by `work` and `mishaps`.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence
from datetime import date
from itertools import accumulate
from random import Random
from typing import NamedTuple
from zoneinfo import ZoneInfo

from whodid.demo.books import Books, named_target
from whodid.demo.calendar import DAY, DAYS, HOUR, MINUTE, SECOND, Calendar, when
from whodid.demo.companies import COMPANIES, Company, Person
from whodid.demo.duties import Act
from whodid.demo.mishaps import noise
from whodid.demo.sessions import BACKUP, SYNC, Session, deployer
from whodid.demo.work import do, edit_several, run_agent
from whodid.event import Event, Target
from whodid.times import Instant


class Step(NamedTuple):
    """Something that is going to happen. Told in order of time, so that old values are old."""

    at: int
    session: Session
    what: str


class _Hour(NamedTuple):
    start: int
    end: int
    weight: float
    local: int  # hour of the day where the company is


def routine(*, seed: int, now: Instant, events: int) -> Iterator[Event]:
    """Ordinary days, ascending, at least `events` events."""
    calendar = Calendar.of(now)
    companies = [
        Books(company, rng=Random(f"{seed}/{company.id}"), day=calendar) for company in COMPANIES
    ]
    hours = [_hours(books.company, seed=seed, end=now.micros) for books in companies]
    scale = [
        events * books.company.share / sum(hour.weight for hour in theirs)
        for books, theirs in zip(companies, hours, strict=True)
    ]
    yield from in_order(_days(companies, hours, scale), end=now.micros)


def _days(
    companies: Sequence[Books], hours: Sequence[Sequence[_Hour]], scale: Sequence[float]
) -> Iterator[tuple[int, list[Event]]]:
    """What each step comes to, in order of the steps; one day is planned at a time."""
    pending: list[tuple[int, int, Books, Step]] = []  # the number keeps the order total
    number = 0
    end = hours[0][-1].end
    for first in range(0, len(hours[0]), 24):
        for index, books in enumerate(companies):
            day = hours[index][first : first + 24]
            budget = math.ceil(scale[index] * sum(hour.weight for hour in day))
            for step in _plan_day(books, day, budget, end=end):
                number += 1
                heapq.heappush(pending, (step.at, number, books, step))
        until = hours[0][first : first + 24][-1].end
        while pending and pending[0][0] < until:
            at, _, books, step = heapq.heappop(pending)
            yield at, tell(books, step)


def in_order(told: Iterator[tuple[int, list[Event]]], *, end: int | None) -> Iterator[Event]:
    """Events ascending, from steps that are: what a step leads to later waits for its time."""
    waiting: list[tuple[int, int, Event]] = []
    number = 0
    for at, events in told:
        for event in events:
            number += 1
            heapq.heappush(waiting, (when(event).micros, number, event))
        while waiting and waiting[0][0] <= at:
            yield heapq.heappop(waiting)[2]
    while waiting and (end is None or waiting[0][0] < end):
        yield heapq.heappop(waiting)[2]


def _hours(company: Company, *, seed: int, end: int) -> list[_Hour]:
    """The hours of 30 days with how much is done in each, by local hour and weekday."""
    zone = ZoneInfo(company.zone)
    moods: dict[date, float] = {}
    hours = []
    start = end - DAYS * DAY
    while start < end:
        stop = min(start - start % HOUR + HOUR, end)
        local = Instant.from_micros(start).astimezone(zone)
        day = local.date()
        if day not in moods:  # no two Tuesdays are alike
            moods[day] = Random(f"{seed}/{company.id}/{day}").uniform(0.82, 1.18)
        weight = company.hours[local.hour] * company.weekdays[local.weekday()] * moods[day]
        hours.append(_Hour(start, stop, weight * (stop - start) / HOUR, local.hour))
        start = stop
    return hours


def _plan_day(books: Books, hours: Sequence[_Hour], budget: int, *, end: int) -> list[Step]:
    """At least `budget` steps that begin in these hours and happen before `end`."""
    steps = _machine_steps(books, hours)
    weights = list(accumulate(hour.weight for hour in hours))
    while len(steps) < budget:
        hour = books.rng.choices(hours, cum_weights=weights)[0]
        at = books.rng.randrange(hour.start, hour.end)
        person = somebody(books, at, hour.local)
        steps += (
            step
            for step in _plan_session(books, person, at)
            if step.at < end and not books.is_absent(person, step.at)
        )
    return steps


def somebody(books: Books, at: int, local_hour: int) -> Person:
    """Who signs in at this hour: at night those who work nights, where there are such."""
    people = [person for person in books.company.people if not books.is_absent(person, at)]
    if local_hour < 6 or local_hour >= 22:
        people = [person for person in people if person.duty == "nights"] or people
    return books.rng.choices(people, [person.weight for person in people])[0]


def _plan_session(books: Books, person: Person, at: int) -> Iterator[Step]:
    """Sign in, some pieces of work with pauses between, often sign out."""
    rng = books.rng
    session = books.session(person)
    for _ in range(rng.choice((1, 1, 2)) if rng.random() < 0.07 else 0):
        yield Step(at, session, "failed")
        at += rng.randrange(8 * SECOND, 40 * SECOND)
    yield Step(at, session, "login")
    for _ in range(1 + int(rng.expovariate(1 / 9))):
        at += int(rng.lognormvariate(4.1, 0.8) * SECOND)
        yield Step(at, session, "work")
    if rng.random() < 0.5:
        at += int(rng.lognormvariate(4.1, 0.8) * SECOND)
        yield Step(at, session, "logout")


def _machine_steps(books: Books, hours: Sequence[_Hour]) -> list[Step]:
    """What runs by itself: backups, a sync, releases, the agent's morning round, strangers."""
    zone = ZoneInfo(books.company.zone)
    rng = books.rng
    is_freight = books.company.id == "larkspur"
    steps: list[Step] = []
    for hour in hours:
        if hour.end - hour.start < HOUR:
            continue  # cut off by the ends of the month
        weekday = Instant.from_micros(hour.start).astimezone(zone).weekday()
        if hour.local == (6 if is_freight else 3):
            steps.append(Step(hour.start + rng.randrange(3 * SECOND), BACKUP, "backup"))
        if is_freight and 6 <= hour.local < 22 and hour.local % 2:
            steps.append(Step(hour.start + rng.randrange(5 * MINUTE), SYNC, "sync"))
        if hour.local == 16 and weekday in (1, 3):
            bot = deployer(books.company.apps[0])
            steps.append(Step(hour.start + 20 * MINUTE, bot, "release"))
        if is_freight and hour.local == 6 and weekday < 5:
            mira = books.session(books.company.find("Mira Okafor"))
            steps.append(Step(hour.start + 45 * MINUTE + 10 * SECOND, mira, "agent"))
        if rng.random() < 0.12:
            steps.append(Step(rng.randrange(hour.start, hour.end), BACKUP, "noise"))
    return steps


def tell(books: Books, step: Step) -> list[Event]:
    """The events that a step comes to, the first of them at its time."""
    at, session, what = step
    match what:
        case "work":
            return do(books, session, at)
        case "login":
            return [books.sign_in(session, at)]
        case "failed":
            by_password = session.actor.auth and session.actor.auth.method == "password"
            code = "bad_password" if by_password and books.rng.random() < 0.8 else "mfa_failed"
            return [books.sign_in(session, at, why_not=code)]
        case "logout":
            return [books.event(session, at, "user.logout", call="DELETE /session", status=204)]
        case "noise":
            return noise(books, at)
        case "agent":
            return run_agent(books, session, at, Act(1, "invoice.update", "run_agent"))
        case "sync":
            return sync(books, session, at)
        case "backup":
            return [_backed_up(books, session, at)]
        case "release":
            return [_released(books, session, at)]
        case _:
            raise AssertionError(f"nobody knows how to {what}")


def _backed_up(books: Books, session: Session, at: int) -> Event:
    day = Instant.from_micros(at).date().isoformat()
    snapshot = Target(type="snapshot", id=f"snap_{day}", name=day)
    metadata = {"bytes": books.rng.randrange(2**33, 2**34), "seconds": books.rng.randrange(80, 400)}
    return books.event(session, at, "backup.run", on=[snapshot], metadata=metadata)


def _released(books: Books, session: Session, at: int) -> Event:
    version = books.versions[session.app]
    version[1:] = [version[1] + 1, 0] if books.rng.random() < 0.3 else [version[1], version[2] + 1]
    release = named_target("release", ".".join(map(str, version)))
    metadata = {"app": session.app, "commit": f"{books.rng.getrandbits(48):012x}"}
    tags = ("deploy",)
    return books.event(session, at, "release.publish", on=[release], metadata=metadata, tags=tags)


def sync(books: Books, session: Session, at: int) -> list[Event]:
    """The carrier's system reports where shipments are: several in one request."""
    call = "POST /api/shipments/status"
    return edit_several(
        books, session, at, "shipment.update", call=call, path="status", at_most=4, apart=40_000
    )
