"""A company's records as they are at the moment, and how its events are written.

Everything that happens, on ordinary days and in stories, becomes an event in `Books.event`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import Any, TypeAlias

from whodid.demo.calendar import DAYS, Calendar, absences, bad_release
from whodid.demo.companies import Company, Person, ascii_of
from whodid.demo.records import DATA_CLASSES, FIELDS, NAMES, OWNERS, PREFIXES, Field, Record
from whodid.demo.sessions import Session, person_session
from whodid.event import (
    Attachment,
    Change,
    Event,
    Reason,
    Request,
    Source,
    Target,
    Tenant,
    Trace,
)
from whodid.times import Instant

_KEPT_RECORDS = 1_000  # of one kind; so that memory does not grow with the events
Thing: TypeAlias = Target | Record | Person


@dataclass(slots=True)
class Books:
    """One company's records as they are at the moment, and how its events are written."""

    company: Company
    rng: Random
    day: Calendar
    first_number: int = 301
    records: dict[str, list[Record]] = field(init=False, default_factory=dict)
    given: dict[str, int] = field(init=False, default_factory=dict)  # the last number by kind
    versions: dict[str, list[int]] = field(init=False)
    absent: Mapping[str, int] = field(init=False)
    bad_release: tuple[int, int] = field(init=False)
    tenant: Tenant = field(init=False)

    def __post_init__(self) -> None:
        self.tenant = Tenant(id=self.company.id, name=self.company.name)
        self.versions = {app: [4, 16, 0] for app in self.company.apps}
        self.versions |= {"dispatch": [2, 7, 3]}
        self.absent = absences(self.company, self.day)
        self.bad_release = bad_release(self.day)
        start = self.day.at("00:00", zone="UTC", days_ago=DAYS)
        for kind in self.company.kinds:
            for _ in range(len(self.names(kind)) or 60):
                self.new_record(kind, start)

    # -- records

    def names(self, kind: str) -> tuple[str, ...]:
        return NAMES.get(f"{self.company.id}.{kind}") or NAMES.get(kind, ())

    def new_record(self, kind: str, at: int) -> Record:
        records, names = self.records.setdefault(kind, []), self.names(kind)
        given = self.given[kind] = self.given.get(kind, -1) + 1
        number = self.first_number + given
        if names:
            name = names[given] if given < len(names) else self._new_name(kind)
        elif kind == "invoice":
            name = f"{self.day.day.year}-{number:04d}"
        else:
            name = f"{PREFIXES.get(kind, '')}{20_000 + number}"
        values = {one.path: one.make(self.rng, None, at) for one in FIELDS[kind]}
        owner = self.pick(OWNERS[kind]) if kind in OWNERS else None
        record = Record(kind, f"{kind[:3]}_{10_000 + number}", name, values, owner)
        records.append(record)
        if len(records) > _KEPT_RECORDS:  # the oldest but those that stories name
            del records[len(names) or 1]
        return record

    def _new_name(self, kind: str) -> str:
        one, other = self.rng.choice(self.names(kind)), self.rng.choice(self.names(kind))
        if kind in ("product", "document"):
            return f"{one}, {self.rng.choice(('new edition', 'second part', 'large', 'spring'))}"
        return f"{one.partition(' ')[0]} {other.rpartition(' ')[2]}"

    def pick(self, kind: str) -> Record:
        """A record of this kind, mostly a recent one: people work on what is new."""
        records = self.records.get(kind) or self.records[self.company.kinds[0]]
        if self.names(kind):
            return self.rng.choice(records)
        return records[-1 - min(int(self.rng.expovariate(1 / 25)), len(records) - 1)]

    def pick_open(self, kind: str, at: int, *, status: str = "") -> Record:
        """A record that something can still happen to, in this status if one is named."""
        for _ in range(12):
            record = self.pick(kind)
            if not record.is_finished and (not status or record.values.get("status") == status):
                return record
        return self.new_record(kind, at)

    def edit(self, record: Record, only: tuple[str, ...], at: int) -> tuple[Change, ...]:
        """Change one to three fields of a record, and say how."""
        fields = [one for one in FIELDS[record.kind] if one.path in (only or record.values)]
        number = 1 if only else self.rng.choice((1, 1, 1, 2, 3))
        chosen = self.rng.choices(fields, [one.weight for one in fields], k=number)
        changes = []
        for one in dict.fromkeys(chosen):
            old = record.values[one.path]
            new = record.values[one.path] = one.make(self.rng, old, at)
            if new != old:
                changes.append(_change(one, old, new))
        return tuple(changes)

    def set_status(self, record: Record, status: str) -> tuple[Change, ...]:
        old = record.values["status"]
        record.values["status"] = status
        return (Change(path="status", old=old, new=status),)

    # -- people

    def session(self, person: Person, **given: Any) -> Session:
        """Of somebody of this company; `given` as `person_session` takes it."""
        return person_session(self.company, person, rng=self.rng, **given)

    def is_absent(self, person: Person, at: int) -> bool:
        return at >= self.absent.get(person.name, at + 1)

    # -- events

    def event(
        self,
        session: Session,
        at: int,
        action: str,
        *,
        call: str = "",
        status: int = 200,
        request_id: str = "",
        on: Sequence[Thing] = (),
        **rest: Any,  # the other keys of Event
    ) -> Event:
        """An event of this company's.

        Args:
            at: Microseconds since 1970.
            call: `METHOD /route/{id}` of the request it happened in, if any.
            request_id: Given when several events share the request.
            on: What it was done to; the first one's kind says which classes of data are touched.
        """
        targets = tuple(_target(thing) for thing in on)
        if targets:
            rest["targets"] = targets
            rest.setdefault("data_classes", DATA_CLASSES.get(targets[0].type, ()))
        if call:
            rest["request"] = self._request(session, call, status, request_id, targets)
            if self.rng.random() < 0.4:
                rest["trace"] = _trace(self.rng)
        return Event(
            id=_event_id(self.rng, at),
            occurred_at=Instant.from_micros(at),
            action=action,
            actor=session.actor,
            on_behalf_of=session.on_behalf_of,
            via=session.via,
            delegation=session.delegation,
            tenant=self.tenant,
            source=self._source(session, at),
            client=session.client,
            **rest,
        )

    def sign_in(self, session: Session, at: int, *, why_not: str = "", **rest: Any) -> Event:
        """A sign-in, failed when there is a reason why."""
        status = 200
        if why_not:
            rest |= {"outcome": "failure", "reason": Reason(code=why_not)}
            status = 401
        return self.event(session, at, "user.login", call="POST /session", status=status, **rest)

    def request_id(self) -> str:
        return f"req_{self.rng.getrandbits(40):010x}"

    def _request(
        self, session: Session, call: str, status: int, request_id: str, on: Sequence[Target]
    ) -> Request:
        method, _, route = call.partition(" ")
        path = route.replace("{id}", str(on[0].id)) if on else route
        return Request(
            id=request_id or self.request_id(),
            method=method,
            route=route,
            url=f"https://{session.app}.{self.company.id}.example{path}",
            status=status,
            duration_ms=round(self.rng.lognormvariate(3.8, 0.6), 1),
        )

    def _source(self, session: Session, at: int) -> Source:
        version = ".".join(map(str, self.versions.get(session.app, (1, 9, 0))))
        if session.app == "dispatch" and self.bad_release[0] <= at < self.bad_release[1]:
            version = "2.8.0"
        return _source(session.app, "web" if session.person else "worker", version)


@cache
def _source(app: str, component: str, version: str) -> Source:
    host = f"{component}-{len(app) % 3 + 1}"
    return Source(
        app=app, component=component, version=version, environment="production", host=host
    )


def _change(one: Field, old: Any, new: Any) -> Change:
    if not one.is_masked:
        return Change(path=one.path, old=old, new=new)
    if isinstance(new, str) and "•" in new:  # the application shows it with dots already
        return Change(path=one.path, old=old, new=new, redacted="masked")
    return Change(path=one.path, redacted="masked")


def _target(thing: Thing) -> Target:
    match thing:
        case Record():
            return Target(type=thing.kind, id=thing.id, name=thing.name)
        case Person():
            return Target(type="user", id=thing.id, name=thing.name)
        case _:
            return thing


def named_target(kind: str, name: str) -> Target:
    """Something that is not a record, with an id made of its name."""
    return Target(type=kind, id=ascii_of(name).replace(" ", "-"), name=name)


def attachment(rng: Random, name: str) -> Attachment:
    media_type = {"csv": "text/csv", "pdf": "application/pdf"}[name.rpartition(".")[2]]
    size, digest = rng.randrange(20_000, 900_000), f"{rng.getrandbits(256):064x}"
    return Attachment(name=name, media_type=media_type, size=size, sha256=digest)


def _trace(rng: Random) -> Trace:
    return Trace(
        trace_id=f"{rng.getrandbits(128) | 1:032x}", span_id=f"{rng.getrandbits(64) | 1:016x}"
    )


def _event_id(rng: Random, at: int) -> str:
    """In the form of a UUIDv7 (RFC 9562 §5.7), from the event's time and the seed's numbers."""
    text = f"{at // 1_000:012x}7{rng.getrandbits(12):03x}{8 + rng.getrandbits(2):x}"
    text += f"{rng.getrandbits(60):015x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
