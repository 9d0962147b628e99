"""Four sample companies whose log has something to find: for `whodid demo`, benchmarks and tests.

`history` tells their last 30 days, `live` goes on from there. The days are made of people who
sign in, work on records and sign out, and of the machines around them; nights and weekends are
quiet where they would be. What a change calls old is what the change before it called new.
`STORIES` are the things worth finding, with the search that finds each.

Pure: everything follows from `seed` and `now`; no clock, no sleeping, no store. Nobody and
nothing here is real: addresses are from the ranges for documentation, mail domains end in
`.example`.

Where to find what; a line imports lines below it:

    stories     what is worth finding: `STORIES`, and a function for each that tells it
    live_steps  what goes on from now
    days        a month of ordinary days: sessions of people, rounds of machines
    work        one function for each kind of work that people do
    mishaps     faults, refusals, strangers
    books       a company's records at the moment; every event is written here
    sessions    who acts, from where and by what right
    duties      what people of a duty do, and how often
    records     kinds of records: fields, names, steps
    calendar    the days that stories and ordinary days share
    companies   the tenants and their people: `COMPANIES`
    places      cities, networks and devices
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from random import Random

from whodid.demo.books import Books
from whodid.demo.calendar import HOUR, Calendar, when
from whodid.demo.companies import COMPANIES
from whodid.demo.days import in_order, routine
from whodid.demo.live_steps import go_on
from whodid.demo.stories import STORIES, Story, story_events
from whodid.event import Event
from whodid.times import Instant

__all__ = ["COMPANIES", "STORIES", "Story", "history", "live"]


def history(*, seed: int, now: Instant, events: int = 20_000) -> Iterator[Event]:
    """The last 30 days of four tenants, at least `events` events, ascending by `occurred_at`.

    The machines' rounds and the stories alone are about 1,800, so fewer are not to be had. Memory
    is flat: one day is held at a time. The same arguments give the same events with the
    same ids, so appending them twice adds nothing.
    """
    yield from heapq.merge(
        routine(seed=seed, now=now, events=events), story_events(seed=seed, now=now), key=when
    )


def live(*, seed: int, now: Instant, per_second: float = 1.5) -> Iterator[Event]:
    """What goes on from `now`: endless, ascending by `occurred_at`, on average `per_second`.

    It knows no clock: append each event when its `occurred_at` has come, e.g. after
    `time.sleep(max(0, (event.occurred_at - Instant.now()).total_seconds()))`. About one event in
    forty is noteworthy.
    """
    rng = Random(f"{seed}/live/{now.micros}")
    day = Calendar.of(now)
    first = 5_000 + now.micros // HOUR % 4_000  # numbers that the history has not given
    companies = [Books(company, rng=rng, day=day, first_number=first) for company in COMPANIES]
    steps = go_on(rng, companies, at=now.micros, per_second=per_second)
    yield from in_order(steps, end=None)
