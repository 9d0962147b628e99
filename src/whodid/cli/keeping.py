"""`verify`, `index` and `keys`: the log's own keeping."""

from __future__ import annotations

import getpass
import json
import sys
from datetime import timedelta

import click

from whodid import recorder
from whodid.access import Access
from whodid.cli import exits
from whodid.cli.shared import complain, db_option, opened, work_progress
from whodid.cli.text import counted, one_line
from whodid.event import Actor, Event, Source, Target, Tenant
from whodid.stores.base import ApiKey, VerifyReport
from whodid.times import Instant

MAX_SHOWN_PROBLEMS = 50
OWN_TENANT = "whodid"  # where the log's own acts go that concern no single tenant


@click.command()
@db_option
@click.pass_context
def verify(ctx: click.Context, db: str | None) -> None:
    """Check that no event was changed or lost.

    Recomputes every hash and every tree from the stored bytes and compares. Prints each log with
    its size and root; keep those elsewhere, and nobody can rewrite the log without it being seen.
    """
    with opened(db, create=False) as store, work_progress("verifying") as show:
        report = store.verify(access=Access.everything(), progress=show)
    _report(report)
    if not report.is_sound:
        ctx.exit(exits.BROKEN)


def _report(report: VerifyReport) -> None:
    for head in sorted(report.trees, key=lambda head: head.tenant):
        click.echo(f"{one_line(head.tenant)}\t{head.size}\t{head.root.hex()}")
    for problem in report.problems[:MAX_SHOWN_PROBLEMS]:
        where = "the database" if problem.tenant is None else f"log {problem.tenant}"
        index = "" if problem.index is None else f", event {problem.index}"
        complain(f"{where}{index}: {problem.what}")
    hidden = len(report.problems) - MAX_SHOWN_PROBLEMS
    if hidden > 0:
        complain(f"and {counted(hidden, 'more problem')}")
    events = f"{counted(report.events, 'event')} in {counted(len(report.trees), 'log')}"
    if report.is_sound:
        click.echo(f"sound: {events}", err=True)
    else:
        problems = counted(len(report.problems), "problem")
        complain(f"BROKEN: {problems} in {events}; keep the file and a copy")


@click.command(name="index")
@click.option("--rebuild", is_flag=True, help="Begin anew, as when verify says so.")
@db_option
def index_events(db: str | None, *, rebuild: bool) -> None:
    """Index what is not indexed yet, so that searches for words are fast.

    A server does so by itself, and whodid import at its end; searches find everything either way.
    """
    with opened(db, create=False) as store, work_progress("indexing") as show:
        store.index_now(rebuild=rebuild, progress=show)


@click.group()
def keys() -> None:
    """Keys that open the server: for programs its API, for people its pages."""


@keys.command(name="create")
@click.option("--name", required=True, help="What the key is for.")
@click.option("--tenant", required=True, metavar="ID", help="Whose log it opens; * for all.")
@click.option(
    "--scope",
    "scopes",
    required=True,
    multiple=True,
    type=click.Choice(("ingest", "read", "export", "manage")),
    help="What it may do; may be given several times.",
)
@click.option("--days", type=click.IntRange(1, 36_500), help="Days until it ends; default: never.")
@db_option
def create_key(
    name: str, tenant: str, scopes: tuple[str, ...], days: int | None, db: str | None
) -> None:
    """Make a key and print it. It is shown this once: the log keeps only a digest."""
    from whodid.server.auth import new_key

    now = Instant.now()
    expires_at = Instant.of(now + timedelta(days=days)) if days else None
    text, key = new_key(name=name, tenant=tenant, scopes=scopes, now=now, expires_at=expires_at)
    with opened(db, create=True) as store:
        # Recorded first: there is never a key that the log does not know of.
        store.append([recorder.prepare_activity(_creation(key, now=now))])
        store.add_key(key)
    click.echo(text)
    click.echo("keep it now, it is not shown again", err=True)


def _creation(key: ApiKey, *, now: Instant) -> Event:
    return Event(
        action="audit.key.create",
        actor=Actor(type="user", id=f"local:{_login_name()}"[:256], name=_login_name()[:256]),
        targets=(Target(type="api_key", id=key.id, name=key.name),),
        metadata={"scopes": sorted(key.scopes), "tenant": key.tenant},
        occurred_at=now,
        tenant=Tenant(id=OWN_TENANT if key.tenant == "*" else key.tenant),
        source=Source(app="whodid", component="cli"),
    )


def _login_name() -> str:
    try:
        return getpass.getuser() or "unknown"
    except (OSError, KeyError, ImportError):  # no such user in this container
        return "unknown"


@keys.command(name="list")
@db_option
@click.pass_context
def list_keys(ctx: click.Context, db: str | None) -> None:
    """Name the keys there are; their secrets are not kept."""
    with opened(db, create=False) as store:
        found = store.keys()
    if not found:
        complain("there are no keys")
        ctx.exit(exits.NOTHING_FOUND)
    for key in found:
        scopes = ",".join(sorted(key.scopes))
        expires = str(key.expires_at) if key.expires_at else "never"
        if sys.stdout.isatty():
            ends = f"until {expires}" if key.expires_at else "without end"
            click.echo(
                f"{key.id}  {one_line(key.name)}  {one_line(key.tenant)}  {scopes}  "
                f"made {key.created_at:%Y-%m-%d}, {ends}"
            )
        else:
            line = {
                "id": key.id,
                "name": key.name,
                "tenant": key.tenant,
                "scopes": sorted(key.scopes),
                "created_at": str(key.created_at),
                "expires_at": str(key.expires_at) if key.expires_at else None,
            }
            click.echo(json.dumps(line))
