"""`search`, `count` and `show`: what is in the log."""

from __future__ import annotations

import sys
from datetime import tzinfo
from itertools import islice

import click

from whodid.access import Access
from whodid.canonical import api_form
from whodid.cli import exits
from whodid.cli.output import FORMATS, Format, write_events
from whodid.cli.rows import ICONS, STYLES, in_zone, row_of
from whodid.cli.shared import (
    SearchCommand,
    complain,
    db_option,
    opened,
    read_query,
    tz_option,
)
from whodid.cli.text import one_line, safe_json
from whodid.event import StoredEvent

_WORDS = click.argument("query", nargs=-1)


@click.command(cls=SearchCommand)
@_WORDS
@click.option(
    "--limit",
    default=50,
    show_default=True,
    type=click.IntRange(0, 1_000_000_000),
    help="Events at most; 0 for all.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="table",
    show_default=True,
    help="table is tab-separated where stdout is no terminal.",
)
@tz_option
@db_option
@click.pass_context
def search(
    ctx: click.Context,
    query: tuple[str, ...],
    limit: int,
    form: Format,
    tz: tzinfo,
    db: str | None,
) -> None:
    """Find events, newest first.

    Without QUERY all of them. Several words are one search; quote what the shell would take for
    itself:

    \b
      whodid search outcome:denied -actor:deploy-bot created:7d
      whodid search 'action:user.role.grant new.role:admin'
    """  # noqa: D301 - click's mark for lines that stay as they are
    parsed = read_query(ctx, query, tz)
    with opened(db, create=False) as store:
        events = store.scan(parsed, access=Access.everything())
        found = write_events(islice(events, limit or None), form=form, zone=tz)
        has_more = bool(limit) and found == limit and next(events, None) is not None
    if has_more and sys.stdout.isatty():
        click.echo(f"the newest {found:,}; --limit 0 shows all", err=True)
    if not found:
        if form == "json":
            click.echo("[]")
        complain("nothing found")
        ctx.exit(exits.NOTHING_FOUND)


@click.command(cls=SearchCommand)
@_WORDS
@tz_option
@db_option
@click.pass_context
def count(ctx: click.Context, query: tuple[str, ...], tz: tzinfo, db: str | None) -> None:
    """Say how many events a search finds."""
    parsed = read_query(ctx, query, tz)
    with opened(db, create=False) as store:
        counted = store.count(parsed, access=Access.everything())
    click.echo(f"{counted.count:,}" if sys.stdout.isatty() else counted.count)


@click.command()
@click.argument("event_id", metavar="ID")
@click.option("--tenant", metavar="ID", help="Whose event, should several have this id.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, which it is without a terminal.")
@tz_option
@db_option
@click.pass_context
def show(
    ctx: click.Context,
    event_id: str,
    tenant: str | None,
    as_json: bool,
    tz: tzinfo,
    db: str | None,
) -> None:
    """Show one event with all that is known of it."""
    with opened(db, create=False) as store:
        stored = store.find(event_id.lower(), access=Access.everything(), tenant=tenant)
    if stored is None:
        complain("there is no event with this id")
        ctx.exit(exits.NOTHING_FOUND)
    elif as_json or not sys.stdout.isatty():
        click.echo(safe_json(_indented(stored)))
    else:
        _show_fields(stored, zone=tz)


def _indented(stored: StoredEvent) -> bytes:
    import msgspec

    return msgspec.json.format(api_form(stored), indent=2)


def _show_fields(stored: StoredEvent, *, zone: tzinfo) -> None:
    """The sentence, then each field on a line."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, markup=False, emoji=False)
    row = row_of(stored, zone=zone)
    head = Text(row.who, "bold").append(" ").append(row.sentence, "not bold")
    head.append(f"\n{ICONS[row.outcome]} {row.outcome}", STYLES[row.outcome])
    head.append(f"  {row.time:%A %Y-%m-%d %H:%M:%S.%f} {zone}\n", "dim")
    console.print(head)
    fields = list(_leaves(stored, zone))
    columns = min(max(len(path) for path, _ in fields), 34)
    for path, value in fields:
        console.print(Text(f"{path:<{columns}}  ", "dim", end="").append(value, "not dim"))


def _leaves(stored: StoredEvent, zone: tzinfo) -> list[tuple[str, str]]:
    import msgspec

    fields: list[tuple[str, str]] = []

    def walk(value: object, path: str) -> None:
        if isinstance(value, dict) and value:
            for key, item in value.items():
                walk(item, f"{path}.{key}" if path else str(key))
        elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
            for number, item in enumerate(value):
                walk(item, f"{path}[{number}]")
        else:
            text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
            fields.append((one_line(path), one_line(text)))

    walk(msgspec.json.decode(api_form(stored)), "")
    times = {"occurred_at": stored.occurred_at, "received_at": stored.received_at}
    return [
        (path, in_zone(times[path], zone).isoformat(sep=" ") if path in times else text)
        for path, text in fields
    ]
