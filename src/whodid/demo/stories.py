"""The things worth finding: `STORIES` says what there is to see, one function each makes it so.

The functions are numbered in the order of `STORIES`; the first story has three scenes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any

from whodid.demo.books import Books, attachment, named_target
from whodid.demo.calendar import MINUTE, SECOND, Calendar, when
from whodid.demo.companies import COMPANIES
from whodid.demo.places import client_at
from whodid.demo.records import NAMES
from whodid.demo.sessions import Session, acting_as, deployer, ledgerbot, machine
from whodid.demo.work import granted
from whodid.event import Actor, Auth, Change, ErrorDetail, Event, Reason, Target, Window
from whodid.times import Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Something worth finding.

    Attributes:
        title: What somebody would like to know.
        tenant: In whose log it is.
        search: The search that finds it.
        answer: What there is to see, in a sentence or two.
    """

    title: str
    tenant: str
    search: str
    answer: str


STORIES: tuple[Story, ...] = (
    Story(
        title="Whose account was taken over?",
        tenant="larkspur",
        search="actor:reyes country:SG",
        answer="At 02:47 somebody in Singapore enters Tomás Reyes's account with a recovery code, "
        "gives it the role admin, exports 12,480 customers, creates the API key sync-2 and fails "
        "to switch off the audit stream. At 07:18 Ingrid Solheim suspends the account.",
    ),
    Story(
        title="Who made Alice an admin?",
        tenant="alderquay",
        search="action:user.role.grant new.role:admin target:alice",
        answer="Victor Lang, on his last afternoon, took Alice Moreau for Alice Morin. The head "
        "noticed the next morning, took the role back and gave it to the right Alice.",
    ),
    Story(
        title="What happened to invoice 42?",
        tenant="larkspur",
        search="target.type:invoice target.id:42",
        answer="Nine events by four people and the agent Ledgerbot. Jonas Berg typed 14,800 for "
        "18,400 and could not approve it himself; the terms and the due date moved, and only "
        "after five steps Astrid Lunde put the amount right.",
    ),
    Story(
        title="Where did the products go?",
        tenant="pepperpine",
        search="action:product.delete actor:cleanup-script",
        answer="A cleanup script with last year's list deleted 132 products in four minutes, at "
        "half past three in the morning. The owner revoked its key and imported the backup.",
    ),
    Story(
        title="Who is trying passwords?",
        tenant="fernmere",
        search="action:user.login ip:192.0.2.66",
        answer="One address tries two passwords on each of 23 accounts, one a minute. Then Ravi "
        "Castell's works, since the second factor had just been made optional, and nine "
        "patients' files are opened.",
    ),
    Story(
        title="What broke after the release?",
        tenant="larkspur",
        search="action:error.raise error:tariff",
        answer="Dispatch 2.8.0 went out at 14:05; sixty errors about a missing tariff followed "
        "until deploy-bot rolled it back at 14:32.",
    ),
    Story(
        title="Who switched off mandatory MFA?",
        tenant="fernmere",
        search="action:settings.security.update changed:mfa_policy",
        answer="The practice manager, late in the afternoon, because a new tablet could not do it. "
        "The same night the passwords were tried; on the next working day it was put back.",
    ),
    Story(
        title="Which account woke up?",
        tenant="pepperpine",
        search="tag:dormant",
        answer="Owen Tranter, who kept the books until spring, signs in after 214 days and "
        "downloads the customers.",
    ),
)


@dataclass(slots=True)
class _Scene:
    """Where a story is told: wall clock times in, events collected."""

    books: Books
    days_ago: int = 0
    events: list[Event] = field(default_factory=list)

    def at(self, clock: str | int, *, days_ago: int | None = None) -> int:
        """Microseconds of a wall clock time; of such a number itself, that number."""
        if isinstance(clock, int):
            return clock
        ago = self.days_ago if days_ago is None else days_ago
        return self.books.day.at(clock, zone=self.books.company.zone, days_ago=ago)

    def tell(self, session: Session, clock: str | int, action: str, **rest: Any) -> None:
        self.events.append(self.books.event(session, self.at(clock), action, **rest))

    def sign_in(self, session: Session, clock: str | int, **rest: Any) -> None:
        self.events.append(self.books.sign_in(session, self.at(clock), **rest))

    def export_customers(
        self, session: Session, clock: str, *, call: str, records: int, **rest: Any
    ) -> None:
        self.tell(
            session,
            clock,
            "customer.export",
            call=call,
            metadata={"records": records, "format": "CSV"},
            data_classes=("personal",),
            attachments=(attachment(self.books.rng, "customers.csv"),),
            **rest,
        )

    def person(self, name: str, **given: Any) -> Session:
        return self.books.session(self.books.company.find(name), **given)


def story_events(*, seed: int, now: Instant) -> list[Event]:
    """The events of all stories, ascending."""
    calendar = Calendar.of(now)
    larkspur, fernmere, alderquay, pepperpine = (
        Books(company, rng=Random(f"{seed}/{company.id}/stories"), day=calendar)
        for company in COMPANIES
    )
    scenes = [
        _takeover_evening(larkspur),
        _takeover_night(larkspur),
        _takeover_morning(larkspur),
        _wrong_alice(alderquay),
        _invoice_42(larkspur),
        _mass_delete(pepperpine),
        _optional_mfa(fernmere),
        _spraying(fernmere),
        _error_burst(larkspur),
        _dormant(pepperpine),
    ]
    events = (event for scene in scenes for event in scene.events)
    return sorted((event for event in events if when(event) <= now), key=when)


_SINGAPORE = client_at("203.0.113.77", "singapore", "linux")
_SYNC_2 = Target(type="api_key", id="key_7e55", name="sync-2")


def _takeover_evening(books: Books) -> _Scene:
    """Story 1, the evening: Tomás Reyes signs out, somebody in Singapore tries his password."""
    scene = _Scene(books)
    evening = scene.person("Tomás Reyes", method="passkey", session_id="ses_71c0aa")
    scene.tell(evening, scene.at("23:31:02", days_ago=1), "user.logout", call="DELETE /session")
    knocking = scene.person("Tomás Reyes", client=_SINGAPORE, method="password")
    scene.sign_in(knocking, "02:12:04", why_not="bad_password")
    scene.sign_in(knocking, "02:12:31", why_not="bad_password")
    window = Window(
        start=Instant.from_micros(scene.at("02:30:51")),
        end=Instant.from_micros(scene.at("02:46:51")),
    )
    many: dict[str, Any] = {"count": 14, "window": window, "severity": "medium"}
    scene.sign_in(knocking, "02:46:51", why_not="bad_password", **many)
    return scene


def _takeover_night(books: Books) -> _Scene:
    """Story 1, the night: a role, an export, a key, and one step too far."""
    scene = _Scene(books)
    thief = scene.person(
        "Tomás Reyes",
        client=_SINGAPORE,
        method="recovery_code",
        mfa=False,
        session_id="ses_9f2c41",
    )
    scene.sign_in(thief, "02:47:09", severity="high", tags=("new-country",))
    _self_grant(scene, thief, "02:51:47.218")
    for number, customer in enumerate(books.records["customer"][:10]):
        clock = f"02:52:{20 + 4 * number}"
        scene.tell(thief, clock, "customer.read", call="GET /customers/{id}", on=[customer])
    call = "POST /customers/export"
    scene.export_customers(thief, "02:54:20", call=call, records=12_480, severity="high")
    scopes = Change(path="scopes", op="add", new=["customers:read", "invoices:read"])
    scene.tell(
        thief, "02:58:02", "api_key.create", call="POST /api-keys", on=[_SYNC_2], changes=(scopes,)
    )
    scene.tell(
        thief,
        "03:01:15",
        "settings.audit_stream.disable",
        call="POST /settings/audit/streams/{id}/disable",
        status=403,
        outcome="denied",
        reason=Reason(code="not_permitted", policy="stream.manage"),
        on=[named_target("stream", "siem-main")],
        severity="critical",
    )
    _use_stolen_key(scene)
    return scene


def _self_grant(scene: _Scene, session: Session, clock: str) -> None:
    """Four events of one request: the role, and what else was changed to keep it quiet."""
    if session.person is None:
        raise AssertionError("a person gives the role")
    at, him = scene.at(clock), [session.person]
    changes = (
        Change(path="role", old="ops_lead", new="admin"),
        Change(path="export_limit", op="remove", old=500),
        Change(path="notice.role_change", old="all administrators", new="nobody"),
        Change(path="recovery_email", redacted="masked"),
    )
    call = {"call": "POST /members/{id}/roles", "request_id": "req_7d41e0"}
    held_back: dict[str, Any] = {
        "outcome": "failure",
        "reason": Reason(message="notices for role changes were switched off"),
        "on": [Target(type="group", id="admins", name="all administrators")],
    }
    right = {"permission": "member.manage"}
    scene.tell(session, at, "access.check", on=him, metadata=right, **call)
    rest: dict[str, Any] = {"changes": changes, "severity": "high"}
    scene.tell(session, at + 12_000, "user.role.grant", on=him, **rest, **call)
    scene.tell(session, at + 31_000, "session.refresh", **call)
    scene.tell(session, at + 48_000, "notification.send", **held_back, **call)


def _use_stolen_key(scene: _Scene) -> None:
    """The new key is used at once, and once more after it was revoked."""
    auth = Auth(method="api_key", credential_id="key_7e55")
    actor = Actor(type="api_key", id="key_7e55", name="sync-2", auth=auth)
    key = Session(actor=actor, client=_SINGAPORE, app="billing")
    call = "GET /api/customers"
    for minute in range(3, 8):
        for second in (11, 42):
            clock, metadata = f"03:0{minute}:{second}", {"records": 500}
            scene.tell(key, clock, "http.read", call=call, metadata=metadata)
    refused: dict[str, Any] = {"outcome": "denied", "reason": Reason(code="revoked")}
    scene.tell(key, "07:20:02", "http.read", call=call, status=401, severity="medium", **refused)


def _takeover_morning(books: Books) -> _Scene:
    """Story 1, the morning: Ingrid Solheim ends it in one request."""
    scene = _Scene(books)
    office = client_at("198.51.100.24", "bergen", "mac", "dev_0412")
    ingrid = scene.person("Ingrid Solheim", client=office, method="passkey")
    tomas = books.company.find("Tomás Reyes")
    sessions = [Target(type="session", id=name) for name in ("ses_9f2c41", "ses_71c0aa")]
    suspended = Change(path="status", old="active", new="suspended")
    call = {"call": "POST /members/{id}/suspend", "request_id": "req_a4c611"}
    case = {"case": "INC-2061"}
    scene.sign_in(ingrid, "07:11:40")
    scene.tell(ingrid, "07:12:26", "user.read", call="GET /members/{id}", on=[tomas])
    rest: dict[str, Any] = {"changes": (suspended,), "metadata": case}
    scene.tell(ingrid, "07:18:05", "user.disable", on=[tomas], **rest, **call)
    rest = {"metadata": case | {"user": tomas.name}}
    scene.tell(ingrid, "07:18:05.090", "session.revoke", on=sessions, **rest, **call)
    scene.tell(ingrid, "07:18:05.140", "api_key.revoke", on=[_SYNC_2], metadata=case, **call)
    rest = {"changes": (Change(path="role", old="admin", new="ops_lead"),), "metadata": case}
    scene.tell(
        ingrid,
        "07:19:30",
        "user.role.revoke",
        call="DELETE /members/{id}/roles",
        on=[tomas],
        **rest,
    )
    return scene


def _wrong_alice(books: Books) -> _Scene:
    """Story 2: the wrong Alice becomes an admin, by somebody on his last day."""
    scene = _Scene(books, days_ago=books.day.workdays_ago(2))
    find = books.company.find
    moreau, morin = find("Alice Moreau"), find("Alice Morin")
    victor, ruth = scene.person("Victor Lang"), scene.person("Ruth Adebayo")
    scene.sign_in(victor, "15:48:12")
    scene.events.append(granted(books, victor, scene.at("15:52:37"), moreau))
    left: dict[str, Any] = {"changes": (Change(path="status", old="active", new="left"),)}
    scene.tell(
        ruth,
        "16:45",
        "user.disable",
        call="POST /users/{id}/disable",
        on=[find("Victor Lang")],
        **left,
    )
    scene.days_ago = books.day.workdays_ago(1)
    look: dict[str, Any] = {"call": "GET /users/{id}", "on": [find("Desmond Yeo")]}
    scene.tell(scene.person("Alice Moreau"), "07:31:05", "user.read", **look)
    back: dict[str, Any] = {
        "call": "DELETE /users/{id}/roles",
        "on": [moreau],
        "changes": (Change(path="role", old="admin", new="teacher"),),
        "metadata": {"note": "meant for Alice Morin"},
    }
    scene.tell(ruth, "08:20:44", "user.role.revoke", **back)
    scene.events.append(granted(books, ruth, scene.at("08:21:30"), morin))
    return scene


_INVOICE_42 = Target(type="invoice", id="42", name="2026-0042")
_VOGT = Target(type="customer", id="cus_10301", name="Vogt & Sønner", role="parent")
_FIRST_TERMS, _LAST_TERMS = (
    f"Payable within {days} days. Two per cent discount within 8 days. "
    f"Late payments bear {kind} interest."
    for days, kind in ((14, "agreed"), (30, "statutory"))
)


def _invoice_42(books: Books) -> _Scene:
    """Story 3: who changed invoice 42, and what."""
    scene, ago = _Scene(books), books.day.workdays_ago
    created = books.day.day - timedelta(days=ago(4))
    due, later = ((created + timedelta(days=days)).isoformat() for days in (14, 30))
    mira, jonas, astrid = map(scene.person, ("Mira Okafor", "Jonas Berg", "Astrid Lunde"))
    hannah = acting_as(
        scene.person("Priya Raman"),
        books.company.find("Hannah Vogt"),
        ticket="SUP-2417",
        at=scene.at("13:40", days_ago=ago(2)),
    )
    agent = ledgerbot(
        books.company.find("Mira Okafor"),
        run="run_51c0",
        wish="Give Vogt & Sønner until the end of the month",
        at=scene.at("10:02", days_ago=ago(2)),
    )

    def told(who: Session, clock: str, verb: str, *changes: Change, **rest: Any) -> None:
        call = f"POST /invoices/{{id}}/{verb}"
        on = (_INVOICE_42, _VOGT)
        scene.tell(who, clock, f"invoice.{verb}", call=call, on=on, changes=changes, **rest)

    scene.days_ago = ago(4)
    first = {"amount": 18_400.0, "due_date": due, "terms": _FIRST_TERMS, "status": "draft"}
    added = (Change(path=path, op="add", new=value) for path, value in first.items())
    told(mira, "09:14:52", "create", *added)
    told(jonas, "11:30:20", "update", Change(path="amount", old=18_400.0, new=14_800.0))
    scene.days_ago = ago(3)
    terms = Change(path="terms", old=_FIRST_TERMS, new=_LAST_TERMS)
    told(astrid, "08:47:03", "update", terms, Change(path="reference", op="add", new="PO-4471"))
    refused = Reason(code="not_permitted", policy="invoice.approve")
    told(jonas, "09:05:41", "approve", outcome="denied", reason=refused)
    told(mira, "09:31:10", "approve", Change(path="status", old="draft", new="approved"))
    scene.days_ago = ago(2)
    told(agent, "10:02:11", "update", Change(path="due_date", old=due, new=later))
    told(hannah, "13:41:26", "read")
    scene.days_ago = ago(1)
    told(astrid, "10:20:00", "update", Change(path="amount", old=14_800.0, new=18_400.0))
    told(mira, "10:24:33", "send", Change(path="status", old="approved", new="sent"))
    return scene


def _mass_delete(books: Books) -> _Scene:
    """Story 4: a script deletes products that are still sold."""
    scene = _Scene(books, days_ago=3)
    script = machine(
        "api_key", "cleanup-script", app="storefront", ip="198.51.100.203", program="cleanup.py"
    )
    at = scene.at("03:30")
    for number in range(132):
        at += books.rng.randrange(SECOND, 3 * SECOND)
        name = f"{books.rng.choice(NAMES['product'])}, {number + 101}"
        on = [Target(type="product", id=f"prd_{number + 20_101}", name=name)]
        call = "DELETE /api/products/{id}"
        scene.tell(script, at, "product.delete", call=call, status=204, on=on, tags=("cleanup",))
    josie = scene.person("Josie Trent")
    key = named_target("api_key", "cleanup-script")
    snapshot = Target(type="snapshot", id="snap_products", name="the backup of that night")
    scene.sign_in(josie, "07:52:10")
    scene.tell(josie, "08:01:44", "api_key.revoke", call="DELETE /api-keys/{id}", on=[key])
    restored = {"records": 132}
    scene.tell(
        josie, "08:15:20", "data.import", call="POST /import", on=[snapshot], metadata=restored
    )
    return scene


def _optional_mfa(books: Books) -> _Scene:
    """Story 7: the second factor becomes optional for a night."""
    scene = _Scene(books, days_ago=books.day.workdays_ago(4))
    gwen = scene.person("Gwen Hartley")
    setting, call = "settings.security.update", "PATCH /settings/security"
    off = Change(path="mfa_policy", old="required", new="optional")
    on = Change(path="mfa_policy", old="optional", new="required")
    note = {"note": "the new tablet cannot show the codes"}
    scene.tell(gwen, "17:42:18", setting, call=call, changes=(off,), metadata=note)
    scene.days_ago = books.day.workdays_ago(3)
    scene.tell(gwen, "09:05:12", setting, call=call, changes=(on,))
    ravi = [books.company.find("Ravi Castell")]
    scene.tell(gwen, "09:07:40", "user.password.reset", call="POST /users/{id}/password", on=ravi)
    return scene


_GUESSED = (
    "a.bell c.ford e.north j.pike k.stone l.wells m.hart n.cole "
    "o.marsh p.lane r.finch s.gale t.brook v.hale w.moor y.dean"
).split()


def _spraying(books: Books) -> _Scene:
    """Story 5: two passwords for each account, one a minute: too slow for any lock."""
    scene = _Scene(books, days_ago=books.day.workdays_ago(4) - 1)
    client = client_at("192.0.2.66", "amsterdam", "linux")
    at = scene.at("02:10")
    people = [person.name for person in books.company.people if person.name != "Ravi Castell"]
    for name in [*people, *_GUESSED] * 2:
        at += books.rng.randrange(50 * SECOND, 70 * SECOND)
        if name in people:
            session = scene.person(name, client=client, method="password", mfa=False)
            scene.sign_in(session, at, why_not="bad_password")
        else:
            session = Session(actor=Actor(type="anonymous"), client=client, app="charts")
            on = [Target(type="user", name=f"{name}@fernmere.example")]
            scene.sign_in(session, at, why_not="unknown_user", on=on)
    ravi = scene.person("Ravi Castell", client=client, method="password", mfa=False)
    at += 70 * SECOND
    scene.sign_in(ravi, at, severity="medium", tags=("new-country",))
    for patient in books.records["patient"][:9]:
        at += books.rng.randrange(20 * SECOND, 60 * SECOND)
        scene.tell(ravi, at, "patient.read", call="GET /patients/{id}", on=[patient])
    return scene


def _error_burst(books: Books) -> _Scene:
    """Story 6: a release that knows no tariff for islands."""
    scene, (start, end) = _Scene(books), books.bad_release
    new, old = named_target("release", "2.8.0"), named_target("release", "2.7.3")
    bot, app = deployer("dispatch"), {"app": "dispatch"}
    message = "no tariff for zone 'islands'"
    rest: dict[str, Any] = {
        "call": "POST /shipments/quote",
        "status": 500,
        "outcome": "error",
        "error": ErrorDetail(type="LookupError", message=message, fingerprint="5c2f70"),
        "tags": ("release:2.8.0",),
    }
    people = [one.name for one in books.company.people if one.duty == "dispatch"]
    sessions = [scene.person(name) for name in people if name != "Tomás Reyes"]
    scene.tell(bot, start, "release.publish", on=[new], metadata=app, tags=("deploy",))
    for number in range(60):
        at = start + MINUTE + number * (end - start - 2 * MINUTE) // 60
        at += books.rng.randrange(8 * SECOND)
        scene.tell(books.rng.choice(sessions), at, "error.raise", **rest)
    scene.tell(bot, end, "release.rollback", on=[old], metadata=app, tags=("deploy",))
    return scene


def _dormant(books: Books) -> _Scene:
    """Story 8: an account that nobody closed is used again."""
    scene = _Scene(books, days_ago=2)
    owen = Actor(
        type="user",
        id="usr_0397",
        name="Owen Tranter",
        email="owen.tranter@pepperpine.example",
        roles=("bookkeeper",),
        auth=Auth(method="password", mfa=False, session_id="ses_c4410d"),
    )
    client = client_at("203.0.113.140", "lisbon", "linux")
    session = Session(actor=owen, client=client, app="storefront")
    shared: dict[str, Any] = {"severity": "medium", "tags": ("dormant",)}
    scene.sign_in(session, "21:16:05", metadata={"days_since_last_login": 214}, **shared)
    call = "GET /customers/export"
    scene.export_customers(session, "21:19:47", call=call, records=1_862, **shared)
    return scene
