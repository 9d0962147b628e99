"""`record` and `import`: events into the log."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, tzinfo
from datetime import time as clock
from io import BufferedReader
from pathlib import Path
from typing import Any

import click

from whodid import recorder
from whodid.cli import exits
from whodid.cli.importing import (
    Counts,
    Import,
    RejectFile,
    check_recognised,
    load_reader,
    open_file,
)
from whodid.cli.shared import complain, db_option, find_zone, opened, work_progress
from whodid.cli.text import one_line
from whodid.errors import ConfigError, UnavailableError
from whodid.event import OUTCOMES, from_mapping
from whodid.importers import READERS, Context, Reader
from whodid.recorder import MAX_BATCH_EVENTS
from whodid.times import Instant

_STDIN = Path("-")
AUTO = "auto"


@click.command()
@click.argument("action")
@click.option(
    "--actor",
    required=True,
    metavar="TYPE:ID[:NAME]",
    help="Who did it, such as user:7:Ana; a colon inside is written \\:.",
)
@click.option("--target", "targets", multiple=True, metavar="TYPE:ID[:NAME]", help="On what.")
@click.option("--outcome", type=click.Choice(OUTCOMES), help="Default: success.")
@click.option("--ip", help="The actor's address.")
@click.option(
    "--meta",
    "metadata",
    multiple=True,
    metavar="KEY=VALUE",
    help="More to say; KEY:=JSON for what is no text, such as amount:=12.5.",
)
@click.option("--reason", metavar="CODE", help="Why it had this outcome, such as not_permitted.")
@click.option("--message", help="A sentence for people.")
@click.option("--tenant", metavar="ID", help="Whose log; default: default.")
@click.option(
    "--id", "event_id", metavar="UUID", help="Makes it safe to repeat: the same id is stored once."
)
@db_option
def record(db: str | None, **given: Any) -> None:
    """Write one event.

    \b
      whodid record invoice.delete --actor user:7:Ana --target invoice:42 --reason duplicate
    """  # noqa: D301 - click's mark for lines that stay as they are
    event = from_mapping(_values(given))
    prepared = recorder.prepare(event)
    with opened(db, create=True) as store:
        receipt = store.append([prepared])[0]
    if sys.stdout.isatty():
        before = "was recorded before" if receipt.duplicate else "recorded"
        where = f"as number {receipt.index} " if receipt.index is not None else ""
        click.echo(f"{before} {where}in the log of {one_line(receipt.tenant)}: {receipt.id}")
        return
    answer = {
        "id": receipt.id,
        "tenant": receipt.tenant,
        "index": receipt.index,
        "received_at": str(receipt.received_at),
        "duplicate": receipt.duplicate,
    }
    click.echo(json.dumps(answer))


def _values(given: dict[str, Any]) -> dict[str, Any]:
    """The event that the options describe, for `from_mapping`."""
    values = {
        "action": given["action"],
        "actor": _named(given["actor"], "actor"),
        "targets": [_named(target, "target") for target in given["targets"]],
        "id": given["event_id"] and given["event_id"].lower(),
        "outcome": given["outcome"],
        "message": given["message"],
        "reason": {"code": given["reason"]} if given["reason"] else None,
        "client": {"ip": given["ip"]} if given["ip"] else None,
        "tenant": {"id": given["tenant"]} if given["tenant"] else None,
        "metadata": _metadata(given["metadata"]),
    }
    return {key: value for key, value in values.items() if value}


def _named(text: str, option: str) -> dict[str, str]:
    """The parts of `TYPE:ID[:NAME]`."""
    kind, *rest = (
        re.sub(r"\\(.)", r"\1", part) for part in re.split(r"(?<!\\):", text, maxsplit=2)
    )
    if not kind or "" in rest:
        raise ConfigError(f"--{option}: expected TYPE:ID or TYPE:ID:NAME, such as user:7:Ana")
    return {"type": kind, **dict(zip(("id", "name"), rest, strict=False))}


def _metadata(pairs: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.rstrip(":"):
            raise ConfigError("--meta: expected KEY=VALUE, or KEY:=JSON")
        if not key.endswith(":"):
            values[key] = value
            continue
        try:
            values[key[:-1]] = json.loads(value)
        except ValueError:
            raise ConfigError("--meta: expected JSON after :=, such as amount:=12.5") from None
    return values


@click.command(name="import")
@click.argument("arguments", nargs=-1, required=True, metavar="FILE...", type=click.Path())
@click.option(
    "--format",
    "form",
    default=AUTO,
    show_default=True,
    metavar="FORMAT",
    help=f"{AUTO}: by the first records; else {', '.join(READERS)}, or MODULE:NAME of your own.",
)
@click.option("--tenant", metavar="ID", help="Whose events these are, when they don't say.")
@click.option(
    "--reject",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Where records go that were not stored, with the reason; must not be there yet. "
    "Default: whodid-rejected.jsonl, or -2, -3 …",
)
@click.option(
    "--until",
    metavar="DATE",
    help="For lines without a year: the log ends on this day; default: today.",
)
@click.option(
    "--tz",
    "zone",
    metavar="ZONE",
    default="UTC",
    show_default=True,
    help="Zone of times that name none, such as Europe/Oslo.",
)
@click.option(
    "--undated-at",
    metavar="TIME",
    help="When records happened that name no time, such as 2026-03-15 or 2026-03-15T11:00:00Z; "
    "without it they are rejected.",
)
@click.option(
    "--batch",
    default=MAX_BATCH_EVENTS,
    show_default=True,
    type=click.IntRange(1, MAX_BATCH_EVENTS),
    help="Events stored in one transaction.",
)
@db_option
@click.pass_context
def import_files(
    ctx: click.Context, /, form: str, arguments: tuple[str, ...], db: str | None, **given: Any
) -> None:
    """Store the records of other systems' logs.

    The format is told by the first records of each file, or given: with --format, or as the first
    argument. Files may be packed with gzip; - is stdin. Run it again after an interruption: what
    is there already is not stored twice.

    \b
      whodid import access.log.gz
      whodid import --format doors:read_record badges.jsonl
    """  # noqa: D301 - click's mark for lines that stay as they are
    form, files = _format_and_files(form, arguments)
    reader = _reader_of(form)
    context = _context(given["until"], given["zone"], given["undated_at"])
    total = _total_bytes(files)
    if reader is None:
        _check_formats(files, context)
    rejects = RejectFile(given["reject"] or _free_name(Path("whodid-rejected.jsonl")))
    rejects.check_free()
    started = time.monotonic()
    with opened(db, create=True) as store, _progress(total) as show:
        run = Import(
            reader,
            store,
            rejects=rejects,
            tenant=given["tenant"],
            context=context,
            batch_events=given["batch"],
            on_progress=show,
        )
        try:
            _add_files(files, run, rejects=rejects)
        except (KeyboardInterrupt, UnavailableError):
            show(run.counts)
            _summarize(run.counts, time.monotonic() - started, rejects, is_auto=reader is None)
            complain("stopped early; run the same command again to go on")
            raise
    with opened(db, create=False) as store, work_progress("indexing") as show_indexed:
        store.index_now(progress=show_indexed)
    _summarize(run.counts, time.monotonic() - started, rejects, is_auto=reader is None)
    if not run.counts.is_clean:
        ctx.exit(exits.INVALID)


def _add_files(files: Sequence[Path], run: Import, *, rejects: RejectFile) -> None:
    """Store the records of all files; the reject file is closed whatever happens."""
    try:
        for path in files:
            with _opened_file(path) as file:
                run.add_file(file, name=str(path))
    finally:
        rejects.close()


def _format_and_files(form: str, arguments: Sequence[str]) -> tuple[str, list[Path]]:
    """The format that is asked for, which may stand in front of the files, and the files.

    Raises:
        ConfigError: The first argument is neither a file nor a format.
    """
    first, files = arguments[0], [Path(argument) for argument in arguments]
    if form != AUTO:
        return form, files
    if first in READERS or first == AUTO:
        if len(files) == 1 and not files[0].exists():
            raise click.UsageError("Missing argument 'FILE...'.")
        # Not by whether there is a file of this name: `./okta` is one, `okta` the format.
        return (first, files[1:]) if len(files) > 1 else (form, files)
    if len(files) > 1 and re.fullmatch(r"\w[\w-]*", first) and not files[0].exists():
        raise ConfigError(
            f"{one_line(first)} is neither a file nor a format; formats are {', '.join(READERS)}"
        )
    return form, files


def _check_formats(files: Sequence[Path], context: Context) -> None:
    """Return if the format of each file can be told; looked at before anything is stored.

    Raises:
        ConfigError: Of one of them it can't.
    """
    for path in files:
        # What is read of stdin or of a pipe is gone; those are told when their turn comes.
        if path != _STDIN and path.is_file():
            check_recognised(path, context=context)


def _reader_of(form: str) -> Reader | None:
    """The reader of a format by its name; None when it is to be recognised.

    Raises:
        ConfigError: There is none of this name.
    """
    if form == AUTO:
        return None
    if ":" in form:
        return load_reader(form)
    if form not in READERS:
        raise ConfigError(
            f"--format: expected {AUTO}, {', '.join(READERS)}, or MODULE:NAME of your own"
        )
    return READERS[form]


def _context(until: str | None, zone: str, undated_at: str | None) -> Context:
    """What records don't say, by the options.

    Raises:
        ConfigError: One of them can't be read.
    """
    where = find_zone(zone)
    return Context(
        until=Instant.now() if until is None else _last_moment(until, where),
        zone=where,
        undated_at=None if undated_at is None else _moment(undated_at, where),
    )


def _last_moment(day: str, zone: tzinfo) -> Instant:
    try:
        return Instant.of(datetime.combine(date.fromisoformat(day), clock.max, tzinfo=zone))
    except (ValueError, OverflowError):
        raise ConfigError("--until: expected a day such as 2026-03-15") from None


def _moment(text: str, zone: tzinfo) -> Instant:
    """The moment of an RFC 3339 time, or the first one of a day in the zone."""
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
            return Instant.of(datetime.combine(date.fromisoformat(text), clock.min, tzinfo=zone))
        return Instant.parse(text)
    except (ValueError, OverflowError):
        raise ConfigError(
            "--undated-at: expected a time such as 2026-03-15T11:00:00Z, or a day such as "
            "2026-03-15"
        ) from None


def _free_name(path: Path) -> Path:
    """The path, or with a number behind its stem when something is there."""
    number, name = 1, path
    while name.exists() or name.is_symlink():
        number += 1
        name = path.with_stem(f"{path.stem}-{number}")
    return name


def _total_bytes(files: Sequence[Path]) -> int | None:
    """The size of all files, None with stdin among them; looked at before anything is stored.

    Raises:
        ConfigError: One of them can't be read.
    """
    total = 0
    for path in files:
        if path != _STDIN:
            with open_file(path):
                total += path.stat().st_size
    return None if _STDIN in files else total


@contextmanager
def _opened_file(path: Path) -> Iterator[BufferedReader]:
    if path == _STDIN:
        with open(sys.stdin.fileno(), "rb", closefd=False) as file:
            yield file
        return
    with open_file(path) as file:
        yield file


@contextmanager
def _progress(total: int | None) -> Iterator[Callable[[Counts], None]]:
    """A bar with rate and time left on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda counts: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[read]:,} records, {task.fields[rate]:,.0f}/s"),
        TimeRemainingColumn(),
    )
    started = time.monotonic()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total, read=0, rate=0.0)

        def show(counts: Counts) -> None:
            rate = counts.read / max(time.monotonic() - started, 1e-9)
            progress.update(task, completed=counts.read_bytes, read=counts.read, rate=rate)

        yield show


def _summarize(counts: Counts, seconds: float, rejects: RejectFile, *, is_auto: bool) -> None:
    rate = counts.read / max(seconds, 1e-9)
    if is_auto and counts.formats:
        formats = ", ".join(
            name if len(counts.formats) == 1 else f"{name} in {number:,} of the files"
            for name, number in counts.formats.items()
        )
        click.echo(f"format: {formats}")
    passed = f", {counts.passed_over:,} passed over" if counts.passed_over else ""
    click.echo(
        f"read {counts.read:,} records in {seconds:.1f} s ({rate:,.0f}/s): "
        f"{counts.stored:,} stored, {counts.duplicates:,} already there, "
        f"{counts.rejected:,} rejected{passed}"
    )
    if counts.rejected:
        click.echo(
            f"the rejected records are in {one_line(str(rejects.path))}, each with its reason"
        )
    for damage in counts.damages:
        complain(f"damaged: {damage}; what was before it is stored")
