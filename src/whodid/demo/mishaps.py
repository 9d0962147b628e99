"""What goes wrong on any day: faults, refusals, rejected input, strangers at the door."""

from __future__ import annotations

from typing import Any

from whodid.demo.books import Books, named_target
from whodid.demo.calendar import SECOND
from whodid.demo.duties import Act
from whodid.demo.places import ELSEWHERE, client_at
from whodid.demo.sessions import Session
from whodid.event import Actor, ErrorDetail, Event, Reason, Target, Window
from whodid.times import Instant

_FAULTS = (
    ("TimeoutError", "the rate service did not answer within 10 s", "a91f03"),
    ("IntegrityError", "a record with this number exists", "77c2e4"),
    ("KeyError", "'postal_code'", "0d5b19"),
    ("ConnectionResetError", "the print server closed the connection", "e3380a"),
)
_FORBIDDEN = (
    ("report", "Salaries", "payroll.read"),
    ("settings_page", "Security", "settings.manage"),
    ("report", "Margins", "margin.read"),
    ("user_list", "All accounts", "member.manage"),
)


def break_down(books: Books, session: Session, at: int, act: Act) -> list[Event]:
    """The application breaks: what was tried has the outcome error, and the error is told too."""
    kind, message, fingerprint = books.rng.choice(_FAULTS)
    record = books.pick(act.kind)
    error = ErrorDetail(type=kind, message=message, fingerprint=fingerprint)
    shared: dict[str, Any] = {
        "call": f"PATCH /{record.kind}s/{{id}}",
        "status": 500,
        "request_id": books.request_id(),
        "outcome": "error",
        "error": error,
        "on": [record],
    }
    reason = Reason(code="exception", message=message)
    return [
        books.event(session, at, f"{record.kind}.update", reason=reason, **shared),
        books.event(session, at + 4_000, "error.raise", **shared),
    ]


def refuse(books: Books, session: Session, at: int) -> list[Event]:
    """Somebody opens what he may not see."""
    kind, name, right = books.rng.choice(_FORBIDDEN)
    rest: dict[str, Any] = {"metadata": {"permission": right}}
    rest |= {"outcome": "denied", "reason": Reason(code="not_permitted", policy=right)}
    call, on = f"GET /{kind}s/{{id}}", [named_target(kind, name)]
    return [books.event(session, at, "access.check", call=call, status=403, on=on, **rest)]


def reject(books: Books, session: Session, at: int, act: Act) -> list[Event]:
    """Invalid input, or somebody else was faster: nothing has changed."""
    record = books.pick(act.kind)
    code, status = books.rng.choice((("invalid", 422), ("conflict", 409)))
    rest: dict[str, Any] = {"outcome": "failure", "reason": Reason(code=code)}
    call = f"PATCH /{record.kind}s/{{id}}"
    return [books.event(session, at, act.action, call=call, status=status, on=[record], **rest)]


def several(at: int, count: int, *, apart: int = 25 * SECOND) -> dict[str, Any]:
    """`count` and `window` of an event that stands for several up to `at`."""
    if count == 1:
        return {}
    start = Instant.from_micros(at - count * apart)
    return {"count": count, "window": Window(start=start, end=Instant.from_micros(at))}


def stranger(books: Books, actor: Actor) -> Session:
    """Somebody far away in a hosting network."""
    rng = books.rng
    ip, place = f"192.0.2.{rng.randrange(100, 250)}", rng.choice(ELSEWHERE)
    client = client_at(ip, place, rng.choice(("linux", "chrome")))
    return Session(actor=actor, client=client, app=books.company.apps[0])


def noise(books: Books, at: int) -> list[Event]:
    """Strangers try names that every mail server has heard of."""
    name = books.rng.choice(("admin", "info", "test", "office", "root"))
    on = [Target(type="user", name=f"{name}@{books.company.id}.example")]
    count = books.rng.choice((1, 1, 1, 3, 6))
    session = stranger(books, Actor(type="anonymous"))
    return [books.sign_in(session, at, why_not="unknown_user", on=on, **several(at, count))]
