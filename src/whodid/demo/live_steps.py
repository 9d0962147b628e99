"""What goes on from now: people who come and go, and now and then something noteworthy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

from whodid.demo.books import Books
from whodid.demo.calendar import SECOND
from whodid.demo.companies import Person
from whodid.demo.days import Step, somebody, sync, tell
from whodid.demo.duties import DUTIES, Act
from whodid.demo.mishaps import break_down, refuse, several, stranger
from whodid.demo.sessions import SYNC, Session, user_actor
from whodid.demo.work import colleague, create_key, do, granted
from whodid.event import Auth, Event


def go_on(
    rng: Random, companies: Sequence[Books], *, at: int, per_second: float
) -> Iterator[tuple[int, list[Event]]]:
    """One step after the other, by a dozen people who come and go."""
    shares = [books.company.share for books in companies]
    desks: list[tuple[Books, Session]] = []
    while True:
        at += max(1, int(rng.expovariate(per_second) * SECOND))
        luck = rng.random()
        if luck < 1 / 40:
            yield at, _noteworthy(rng.choices(companies, shares)[0], at)
        elif luck < 0.06:
            yield at, sync(companies[0], SYNC, at)
        elif len(desks) < 8 or (luck < 0.12 and len(desks) < 16):
            books = rng.choices(companies, shares)[0]
            session = books.session(somebody(books, at, 12))
            desks.append((books, session))
            yield at, [books.sign_in(session, at)]
        elif luck < 0.17:
            books, session = desks.pop(rng.randrange(len(desks)))
            yield at, tell(books, Step(at, session, "logout"))
        else:
            books, session = rng.choice(desks)
            yield at, do(books, session, at)


def _noteworthy(books: Books, at: int) -> list[Event]:
    """What somebody who watches would look at."""
    rng, person = books.rng, somebody(books, at, 12)
    session = books.session(person)
    match rng.randrange(6):
        case 0:  # many wrong passwords for one account, from far away
            far = stranger(books, user_actor(person, Auth(method="password")))
            many = several(at, rng.randrange(6, 30))
            return [books.sign_in(far, at, why_not="bad_password", **many)]
        case 1:
            return refuse(books, session, at)
        case 2:
            return break_down(books, session, at, DUTIES[person.duty].acts[0])
        case 3:
            chief = books.session(_chief(books))
            whom = colleague(books, chief.person)
            return [granted(books, chief, at, whom, new="team_lead")]
        case 4:
            session = books.session(_chief(books))
            return create_key(books, session, at, Act(1, "api_key.create", "create_key"))
        case _:
            metadata = {"records": rng.randrange(4_000, 40_000), "format": "CSV"}
            rest: dict[str, Any] = {"metadata": metadata, "severity": "medium"}
            return [books.event(session, at, "data.export", call="GET /export", **rest)]


def _chief(books: Books) -> Person:
    """Somebody who may hand out roles and keys."""
    chiefs = ("admin", "manager", "school_office", "owner")
    return next(person for person in books.company.people if person.duty in chiefs)
