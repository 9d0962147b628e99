"""What the commands share: the database, the zone, how errors end, how searches are typed."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, tzinfo
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import click

from whodid.cli import exits
from whodid.cli.main import missing_package
from whodid.cli.text import one_line, pointed_at
from whodid.errors import AuditError, ConfigError, QuerySyntaxError
from whodid.query.ast import Query
from whodid.query.parse import parse
from whodid.stores import EventStore, open_store
from whodid.times import Instant

DEFAULT_DB = "sqlite:///whodid.db"
DB_HELP = f"The database; default: WHODID_DB, else {DEFAULT_DB}."

_Command = TypeVar("_Command", bound=Callable[..., Any])  # a function with click's decorators


class Commands(click.Group):
    """A group whose errors are one line on stderr and an exit code, never a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the order in which one meets them

    def invoke(self, ctx: click.Context) -> Any:  # as click has it
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except QuerySyntaxError as error:
            complain(error.message)
            click.echo(pointed_at(ctx.meta.get("whodid.query", ""), error), err=True)
            ctx.exit(exits.USAGE)
        except AuditError as error:
            complain(str(error))
            ctx.exit(exits.exit_code_of(error))
        except ModuleNotFoundError as error:
            remedy = missing_package(error)
            if remedy is None:
                raise
            complain(remedy)
            ctx.exit(exits.USAGE)
        except KeyboardInterrupt:
            complain("interrupted")
            ctx.exit(exits.INTERRUPTED)
        except BrokenPipeError:
            # Whoever read us has enough. Else Python would complain once more when it flushes.
            with open(os.devnull, "w", encoding="utf-8") as nowhere:
                os.dup2(nowhere.fileno(), sys.stdout.fileno())
            ctx.exit(exits.PIPE_CLOSED)
        except OSError as error:
            complain(f"cannot write the output: {(error.strerror or 'unknown reason').lower()}")
            ctx.exit(exits.UNAVAILABLE)


def complain(problem: str) -> None:
    """Say on stderr, on one line, what went wrong."""
    click.echo(f"whodid: {one_line(problem)}", err=True)


class SearchCommand(click.Command):
    """A command whose arguments are a search: `-actor:x` is a term of it and no option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        shielded = [
            _SHIELD + argument if _NEGATIVE.match(argument) else argument for argument in args[:end]
        ]
        return super().parse_args(ctx, [*shielded, *args[end:]])


_SHIELD = "\0"  # no argument of a program can hold one
_NEGATIVE = re.compile(r"-(?:[A-Za-z_][\w.]*:|[(\"])")


def read_query(ctx: click.Context, words: tuple[str, ...], zone: tzinfo) -> Query:
    """The search that the arguments make, joined by blanks.

    Raises:
        QuerySyntaxError: It can't be read.
    """
    text = " ".join(word.removeprefix(_SHIELD) for word in words)
    ctx.meta["whodid.query"] = text  # for the caret under its fault
    query = parse(text, now=Instant.now(), zone=zone)
    for warning in query.warnings:
        complain(f"note: {warning}")
    return query


def db_option(command: _Command) -> _Command:
    """`--db`, which may also stand before the command's name."""
    return click.option("--db", metavar="URL", help=DB_HELP)(command)


def database_url(db: str | None) -> str:
    """Where the events are: the command's option, the program's, the environment, the default."""
    context = click.get_current_context().find_root()
    return db or context.params.get("db") or os.environ.get("WHODID_DB") or DEFAULT_DB


@contextmanager
def opened(db: str | None, *, create: bool) -> Iterator[EventStore]:
    """The store, closed again at the end."""
    store = open_store(database_url(db), create=create)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def work_progress(label: str) -> Iterator[Callable[[int, int], None] | None]:
    """What to call with how much is done, of how much: a bar on a terminal, None elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def tz_option(command: _Command) -> _Command:
    """`--tz`, in which times are read and shown."""
    return click.option(
        "--tz",
        metavar="ZONE",
        callback=lambda ctx, parameter, value: find_zone(value) if value else local_zone(),
        help="Zone of the times, such as Europe/Oslo; default: the machine's.",
    )(command)


def find_zone(name: str) -> tzinfo:
    """The zone of this IANA name.

    Raises:
        ConfigError: There is none.
    """
    if name.upper() == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        raise ConfigError("tz: expected the name of a zone, such as Europe/Oslo or UTC") from None


def local_zone() -> tzinfo:
    """The machine's zone, by `TZ`, else by where /etc/localtime leads; UTC if neither says."""
    link = os.path.realpath("/etc/localtime")
    for name in (os.environ.get("TZ", "").removeprefix(":"), link.partition("zoneinfo/")[2]):
        if name:
            try:
                return find_zone(name)
            except ConfigError:
                continue
    return UTC
