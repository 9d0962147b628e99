"""Who is at work, from where and by what right: people, machines, support and the AI agent."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from random import Random
from typing import Any

from msgspec import UNSET, UnsetType

from whodid.demo.calendar import HOUR, MINUTE
from whodid.demo.companies import Company, Person
from whodid.demo.duties import DUTIES
from whodid.demo.places import client_at
from whodid.event import Actor, ActorType, Agent, Auth, Client, Delegation, Principal
from whodid.times import Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Somebody or something at work: what all its events share."""

    actor: Actor
    client: Client
    app: str
    person: Person | None = None
    on_behalf_of: Principal | UnsetType = UNSET
    via: tuple[Principal, ...] = ()
    delegation: Delegation | UnsetType = UNSET


def user_actor(person: Person, auth: Auth) -> Actor:
    roles = DUTIES[person.duty].roles
    return Actor(
        type="user", id=person.id, name=person.name, email=person.email, roles=roles, auth=auth
    )


def person_session(
    company: Company, person: Person, *, rng: Random, client: Client | None = None, **auth: Any
) -> Session:
    """A person is about to sign in, from `client` or from where they happen to be."""
    client = client or _whereabouts(person, rng)
    auth.setdefault("method", rng.choice(("password", "password", "passkey", "oidc")))
    auth.setdefault("mfa", auth["method"] == "password")
    auth.setdefault("session_id", f"ses_{rng.getrandbits(24):06x}")
    if auth["method"] == "oidc":
        auth["idp"] = "Company sign-in"
    app = DUTIES[person.duty].app or company.apps[0]
    return Session(actor=user_actor(person, Auth(**auth)), client=client, app=app, person=person)


def _whereabouts(person: Person, rng: Random) -> Client:
    """Mostly the office, now and then at home or on a journey."""
    device = f"dev_{person.id[-4:]}"
    luck = rng.random()
    if luck < 0.85:
        return client_at(person.ip, person.place, person.device, device)
    if luck < 0.98:
        home = f"2001:db8:{int(person.id[-4:]):x}::{rng.choice('1a7')}"
        return client_at(home, person.place, "phone", device + "_2")
    return client_at(f"203.0.113.{150 + len(person.name)}", "lisbon", "phone", device + "_2")


@cache
def machine(kind: ActorType, name: str, *, app: str, ip: str, program: str) -> Session:
    actor = Actor(type=kind, id=name, name=name, auth=Auth(method="api_key"))
    return Session(actor=actor, client=Client(ip=ip, user_agent=program), app=app)


def webhooks(app: str) -> Session:
    return machine("service_account", "webhooks", app=app, ip="10.4.0.7", program="webhooks/2")


def deployer(app: str) -> Session:
    return machine("service_account", "deploy-bot", app=app, ip="10.4.0.3", program="deploy/3")


BACKUP = machine(
    "scheduled_job", "nightly-backup", app="backup", ip="10.4.0.9", program="backup/1.9"
)
SYNC = machine(
    "api_key", "tms-sync", app="dispatch", ip="198.51.100.230", program="tms-connector/5.1"
)


def _principal(person: Person) -> Principal:
    return Principal(type="user", id=person.id, name=person.name, email=person.email)


def acting_as(session: Session, customer: Person, *, ticket: str, at: int) -> Session:
    """Support sees the portal as a customer sees it."""
    delegation = Delegation(
        kind="impersonation",
        reason="The customer asked to be shown how",
        ticket=ticket,
        expires_at=Instant.from_micros(at - at % MINUTE + 30 * MINUTE),
    )
    return replace(
        session, app="dispatch", on_behalf_of=_principal(customer), delegation=delegation
    )


def ledgerbot(person: Person, *, run: str, wish: str, at: int) -> Session:
    """The AI agent of Larkspur Freight, working for a person who approves each step."""
    agent = Agent(
        instance_id=run,
        model="clerk-2",
        version="2.3",
        protocol="mcp",
        tool="invoice.update",
        autonomy="approved",
    )
    delegation = Delegation(
        kind="agent",
        grant_id=f"grant_{person.id[-4:]}",
        reason=wish,
        approved_by=person.name,
        expires_at=Instant.from_micros(at - at % HOUR + 8 * HOUR),
    )
    auth = Auth(method="bearer", credential_id="key_2b90")
    return Session(
        actor=Actor(type="ai_agent", id="agt_ledgerbot", name="Ledgerbot", auth=auth, agent=agent),
        client=Client(ip="10.4.0.12", user_agent="ledgerbot/2.3"),
        app="billing",
        on_behalf_of=_principal(person),
        via=(Principal(type="service_account", id="invoice-mcp", name="invoice-mcp"),),
        delegation=delegation,
    )
