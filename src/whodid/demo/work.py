"""The pieces of work that people do: one function for each, named in the acts of `duties`.

`do` chooses among them; what goes wrong instead is in `mishaps`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from msgspec import UNSET

from whodid.demo.books import Books, Thing, attachment, named_target
from whodid.demo.calendar import MINUTE, SECOND
from whodid.demo.companies import Person
from whodid.demo.duties import DUTIES, Act
from whodid.demo.mishaps import break_down, refuse, reject
from whodid.demo.records import (
    FIELDS,
    STATUS_AFTER,
    STATUS_BEFORE,
    bank_account,
    order_reference,
)
from whodid.demo.sessions import Session, acting_as, ledgerbot, webhooks
from whodid.event import Change, Event, Reason, ScopeNode, Target

_Doing: TypeAlias = Callable[[Books, Session, int, Act], list[Event]]
_VERBS = {"read": "GET", "create": "POST", "update": "PATCH", "remove": "DELETE"}
_SCOPES = (
    (ScopeNode(type="region", id="north", name="North Sea"), ScopeNode(type="depot", id="bgo")),
    (ScopeNode(type="region", id="baltic", name="Baltic"), ScopeNode(type="depot", id="aar")),
)


def do(books: Books, session: Session, at: int) -> list[Event]:
    """One piece of work of somebody's, which mostly succeeds; the first event is at `at`."""
    if session.person is None:
        raise AssertionError("only people choose what to do")
    duty = DUTIES[session.person.duty]
    act = books.rng.choices(duty.acts, cum_weights=duty.weights)[0]
    luck = books.rng.random()
    if luck < 0.006:
        return break_down(books, session, at, act)
    if luck < 0.014 and not {"admin", "owner"} & set(duty.roles):
        return refuse(books, session, at)
    if luck > 0.992 and act.how == "update":
        return reject(books, session, at, act)
    return _DOINGS[act.how](books, session, at, act)


def _on_record(books: Books, session: Session, at: int, act: Act) -> list[Event]:
    """Read, create, update or remove one record of the action's kind."""
    kind, verb = act.kind, act.verb
    match act.how:
        case "create":
            record = books.new_record(kind, at)
        case "read":
            record = books.pick(kind)
        case _:
            record = books.pick_open(kind, at, status=STATUS_BEFORE.get(verb, ""))
    rest: dict[str, Any] = {"on": [record] if act.how == "read" else record.and_owner}
    if act.how == "create":
        rest["changes"] = tuple(
            Change(path=one.path, op="add", new=record.values[one.path])
            for one in FIELDS[kind]
            if not one.is_masked
        )
    elif verb in STATUS_AFTER and "status" in record.values:
        rest["changes"] = books.set_status(record, STATUS_AFTER[verb])
    elif act.how == "update":
        rest["changes"] = books.edit(record, act.only, at)
    if kind == "shipment" and books.rng.random() < 0.5:
        rest["scope"] = _SCOPES[books.rng.randrange(2)]
    route = f"/{kind}s" if act.how == "create" else f"/{kind}s/{{id}}"
    if verb not in ("read", "create", "update", "delete"):
        route += "/" + verb
    call = f"{_VERBS[act.how]} {route}"
    status = 201 if act.how == "create" else 200
    return [books.event(session, at, act.action, call=call, status=status, **rest)]


def _send_invoice(books: Books, session: Session, at: int, act: Act) -> list[Event]:
    """The invoice goes out, and a little later a webhook tells another system of it."""
    correlation = f"cor_{books.rng.getrandbits(32):08x}"
    invoice = books.pick_open("invoice", at, status="approved")
    sent = books.event(
        session,
        at,
        act.action,
        call="POST /invoices/{id}/send",
        status=202,
        on=invoice.and_owner,
        changes=books.set_status(invoice, "sent"),
        correlation_id=correlation,
    )
    receiver = Target(type="endpoint", id="ep_31", name="Dispatch")
    rest: dict[str, Any] = {"metadata": {"event": "invoice.sent", "attempt": 1}}
    if books.rng.random() < 0.05:
        rest["outcome"] = "error"
        rest["reason"] = Reason(code="timeout", message="no answer within 10 s")
    told = books.event(
        webhooks(books.company.apps[0]),
        at + 900_000,
        "webhook.deliver",
        on=[receiver],
        correlation_id=correlation,
        **rest,
    )
    return [sent, told]


def _book_payment(books: Books, session: Session, at: int, act: Act) -> list[Event]:
    amount = f"NOK {books.rng.lognormvariate(8.6, 0.8):,.2f}"
    payment = Target(type="payment", id=f"pay_{books.rng.getrandbits(32):08x}")
    metadata = {"amount": amount, "reference": order_reference(books.rng, None, at)}
    on = (payment, books.pick("customer"))
    call = "POST /payments"
    return [books.event(session, at, act.action, call=call, status=201, on=on, metadata=metadata)]


def _change_payout(books: Books, session: Session, at: int, act: Act) -> list[Event]:
    old, new = bank_account(books.rng, None, at), bank_account(books.rng, None, at)
    changes = (Change(path="account", old=old, new=new, redacted="masked"),)
    on = [Target(type="payout", id="payout_main", name="Main payout")]
    call, tags = "PUT /payouts/account", ("four-eyes",)
    return [books.event(session, at, act.action, call=call, on=on, changes=changes, tags=tags)]


def _export(books: Books, session: Session, at: int, act: Act) -> list[Event]:
    """A list as CSV or one person's file as PDF, with the digest of what was handed out."""
    if act.kind == "patient":
        call, on, name = "GET /patients/{id}/export", [books.pick(act.kind)], "file.pdf"
        metadata: dict[str, Any] = {"format": "PDF", "recipient": "General hospital"}
    else:
        call, on, name = f"GET /{act.kind}s/export", [], "list.csv"
        metadata = {"records": books.rng.randrange(40, 900), "format": "CSV"}
    files = (attachment(books.rng, name),)
    return [
        books.event(session, at, act.action, call=call, on=on, metadata=metadata, attachments=files)
    ]


def _report(books: Books, session: Session, at: int, act: Act) -> list[Event]:
    name = books.rng.choice(DUTIES[session.person.duty].reports if session.person else ("All",))
    on = [named_target("report", name)]
    rest: dict[str, Any] = {}
    if act.action == "report.export":
        rest["metadata"] = {"format": books.rng.choice(("CSV", "XLSX"))}
    return [books.event(session, at, act.action, call="GET /reports/{id}", on=on, **rest)]


def _upload(books: Books, session: Session, at: int, act: Act) -> list[Event]:
    name = f"{books.rng.choice(('form', 'photo', 'scan', 'receipt'))}-{at // MINUTE % 9973}.pdf"
    on = [Target(type="file", id=f"f_{at // SECOND:x}", name=name)]
    files = (attachment(books.rng, name),)
    return [books.event(session, at, act.action, call="POST /files", on=on, attachments=files)]


def _on_person(books: Books, session: Session, at: int, act: Act) -> list[Event]:
    """What administrators and support do to accounts."""
    rng = books.rng
    person = colleague(books, session.person)
    on: list[Thing] = [person]
    rest: dict[str, Any] = {"data_classes": ("personal",)}
    match act.how:
        case "change_user":
            old, new = rng.sample(("Front desk", "Annex", "Second floor", "Remote"), 2)
            change = Change(path=rng.choice(("team", "location")), old=old, new=new)
            rest["changes"] = (rng.choice((change, Change(path="phone", redacted="masked"))),)
        case "add_to_group":
            group = rng.choice(("Month-end", "Safety", "On call", "Newsletter"))
            on.append(named_target("group", group))
        case "grant_right":
            right = rng.choice(("report.export", "shipment.export", "invoice.void"))
            rest["changes"] = (Change(path="permission", op="add", new=right),)
        case "reset_password":
            rest["metadata"] = {"ticket": f"HELP-{rng.randrange(1000, 9999)}"}
    route = "/users/{id}"
    is_read = act.how == "look_at_user"
    call = f"GET {route}" if is_read else f"POST {route}/{act.verb.replace('.', '/')}"
    return [books.event(session, at, act.action, call=call, on=on, **rest)]


def colleague(books: Books, person: Person | None) -> Person:
    return books.rng.choice([other for other in books.company.people if other is not person])


_SETTINGS: Mapping[str, tuple[tuple[str, Any, Any], ...]] = {
    "settings.update": (
        ("default_page_size", 25, 50),
        ("date_format", "DD.MM.YYYY", "YYYY-MM-DD"),
        ("first_weekday", "Monday", "Sunday"),
    ),
    "settings.notification.update": (
        ("digest", "daily", "weekly"),
        ("export_notice", False, True),
    ),
    "settings.billing.update": (
        ("reminder_after_days", 10, 14),
        ("invoice_footer", "Thank you for sailing with us.", "Thank you for shipping with us."),
    ),
}


def _change_setting(books: Books, session: Session, at: int, act: Act) -> list[Event]:
    path, old, new = books.rng.choice(_SETTINGS[act.action])
    if books.rng.random() < 0.5:
        old, new = new, old
    changes = (Change(path=path, old=old, new=new),)
    return [books.event(session, at, act.action, call="PATCH /settings", changes=changes)]


def _flip_flag(books: Books, session: Session, at: int, act: Act) -> list[Event]:
    flag = books.rng.choice(("new-quote-page", "route-preview", "bulk-labels"))
    is_on = books.rng.random() < 0.6
    on = [named_target("feature_flag", flag)]
    changes = (Change(path="enabled", old=not is_on, new=is_on),)
    return [books.event(session, at, act.action, call="PUT /flags/{id}", on=on, changes=changes)]


def create_key(books: Books, session: Session, at: int, act: Act) -> list[Event]:
    name = f"{books.rng.choice(('scanner', 'report', 'partner'))}-{books.rng.randrange(2, 40)}"
    on = [Target(type="api_key", id=f"key_{books.rng.getrandbits(16):04x}", name=name)]
    changes = (Change(path="scopes", op="add", new=["shipments:read"]),)
    return [books.event(session, at, act.action, call="POST /api-keys", on=on, changes=changes)]


_THEIR_COMPANY = {"Hannah Vogt": 0, "Marta Kowal": 1, "Oskar Lind": 2}


def _impersonate(books: Books, session: Session, at: int, act: Act) -> list[Event]:
    """Support signs in as a customer, looks at a shipment and sometimes corrects an address."""
    customer = books.company.find(books.rng.choice(tuple(_THEIR_COMPANY)))
    ticket = f"SUP-{books.rng.randrange(2000, 2990)}"
    inside = acting_as(session, customer, ticket=ticket, at=at)
    call = "POST /support/impersonate"
    events = [books.event(inside, at, act.action, call=call, on=[customer])]
    later = at + books.rng.randrange(15 * SECOND, 50 * SECOND)
    events += _on_record(books, inside, later, Act(1, "shipment.read", "read"))
    if books.rng.random() < 0.4:
        address = Act(1, "customer.update", "own_address")
        events += _own_address(books, inside, later + 20 * SECOND, address)
    return events


def _own_address(books: Books, session: Session, at: int, act: Act) -> list[Event]:
    """A customer, or support as that customer, changes what is kept of his own company."""
    person = session.on_behalf_of or session.actor
    customer = books.records["customer"][_THEIR_COMPANY.get(person.name or "", 0)]
    changes = books.edit(customer, ("contact", "phone", "billing_address"), at)
    call = "PATCH /customers/{id}"
    return [books.event(session, at, act.action, call=call, on=[customer], changes=changes)]


_WISHES = (
    ("Give them until the end of the month", "due_date"),
    ("Put the new reference on these", "reference"),
    ("Move these to the other cost centre", "cost_centre"),
)


def run_agent(books: Books, session: Session, at: int, act: Act) -> list[Event]:
    """An AI agent edits some invoices in one run, by the authority of the person who asked it."""
    if session.person is None:
        raise AssertionError("an agent works for a person")
    wish, path = books.rng.choice(_WISHES)
    run = f"run_{books.rng.getrandbits(16):04x}"
    agent = ledgerbot(session.person, run=run, wish=wish, at=at)
    call = f"POST /mcp/tools/{act.action}"
    return edit_several(
        books, agent, at, act.action, call=call, path=path, at_most=5, apart=180_000
    )


def edit_several(
    books: Books,
    session: Session,
    at: int,
    action: str,
    *,
    call: str,
    path: str,
    at_most: int,
    apart: int,
) -> list[Event]:
    """One field of 1 to `at_most` open records, edited `apart` microseconds in one request."""
    request_id, kind = books.request_id(), action.partition(".")[0]
    events = []
    for number in range(books.rng.randrange(1, at_most + 1)):
        record, later = books.pick_open(kind, at), at + number * apart
        rest: dict[str, Any] = {
            "request_id": request_id,
            "changes": books.edit(record, (path,), later),
        }
        events.append(books.event(session, later, action, call=call, on=[record], **rest))
    return events


def _prescribe(books: Books, session: Session, at: int, act: Act) -> list[Event]:
    prescription = books.new_record("prescription", at)
    drug = books.rng.choice(("amoxicillin 500 mg", "salbutamol", "ibuprofen 400 mg"))
    metadata = {"drug": drug, "days": books.rng.choice((5, 7, 28))}
    call, on = "POST /prescriptions", prescription.and_owner
    return [books.event(session, at, act.action, call=call, on=on, metadata=metadata)]


def _record_attendance(books: Books, session: Session, at: int, act: Act) -> list[Event]:
    room = books.rng.choice(("7A", "7B", "8A", "8B", "9A"))
    on = [Target(type="group", id=room, name=f"homeroom {room}")]
    metadata = {"present": books.rng.randrange(17, 26), "away": books.rng.randrange(0, 4)}
    call = "PUT /attendance/{id}"
    return [books.event(session, at, act.action, call=call, on=on, metadata=metadata)]


_SUBJECTS = ("mathematics", "French", "science", "history", "music")


def _grade(books: Books, session: Session, at: int, act: Act) -> list[Event]:
    """A new grade, or another one in place of one given before."""
    is_new = act.how == "grade"
    record = books.new_record("grade", at) if is_new else books.pick("grade")
    change = Change(path="grade", op="add", new=record.values["grade"])
    changes = (change,) if is_new else books.edit(record, (), at)
    call = "POST /grades" if is_new else "PATCH /grades/{id}"
    on: list[Thing] = [Target(type="grade", id=record.id), *record.and_owner[1:]]
    metadata = {"subject": _SUBJECTS[int(record.name) % len(_SUBJECTS)]}
    return [
        books.event(session, at, act.action, call=call, on=on, changes=changes, metadata=metadata)
    ]


def _share_document(books: Books, session: Session, at: int, act: Act) -> list[Event]:
    on = (books.pick("document"), colleague(books, session.person))
    return [books.event(session, at, act.action, call="POST /documents/{id}/share", on=on)]


def granted(
    books: Books, session: Session, at: int, person: Person, *, new: str = "admin"
) -> Event:
    change = Change(path="role", old=DUTIES[person.duty].roles[0], new=new)
    rest: dict[str, Any] = {"changes": (change,), "severity": "high" if new == "admin" else UNSET}
    call = "POST /users/{id}/roles"
    return books.event(session, at, "user.role.grant", call=call, on=[person], **rest)


_DOINGS: Mapping[str, _Doing] = {
    "read": _on_record,
    "create": _on_record,
    "update": _on_record,
    "remove": _on_record,
    "send_invoice": _send_invoice,
    "book_payment": _book_payment,
    "change_payout": _change_payout,
    "export": _export,
    "report": _report,
    "upload": _upload,
    "look_at_user": _on_person,
    "change_user": _on_person,
    "reset_password": _on_person,
    "unlock_user": _on_person,
    "add_to_group": _on_person,
    "grant_right": _on_person,
    "change_setting": _change_setting,
    "flip_flag": _flip_flag,
    "create_key": create_key,
    "impersonate": _impersonate,
    "own_address": _own_address,
    "run_agent": run_agent,
    "prescribe": _prescribe,
    "record_attendance": _record_attendance,
    "grade": _grade,
    "regrade": _grade,
    "share_document": _share_document,
}
