"""`record` and `import`: events into the log."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

import click

from whodid import recorder
from whodid.cli import exits
from whodid.cli.importing import Counts, Import, RejectFile, open_file
from whodid.cli.shared import complain, db_option, opened
from whodid.cli.text import one_line
from whodid.errors import ConfigError, UnavailableError
from whodid.event import OUTCOMES, from_mapping
from whodid.importers import READERS
from whodid.recorder import MAX_BATCH_EVENTS

_STDIN = Path("-")


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
@click.argument("form", metavar="FORMAT", type=click.Choice(sorted(READERS)))
@click.argument(
    "files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path)
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
    "--batch",
    default=MAX_BATCH_EVENTS,
    show_default=True,
    type=click.IntRange(1, MAX_BATCH_EVENTS),
    help="Events stored in one transaction.",
)
@db_option
@click.pass_context
def import_files(
    ctx: click.Context,
    form: str,
    files: tuple[Path, ...],
    tenant: str | None,
    reject: Path | None,
    batch: int,
    db: str | None,
) -> None:
    """Store the records of other systems' logs.

    FORMAT is cloudtrail, or jsonl for whodid's own events. Files may be packed with gzip; - is
    stdin. Run it again after an interruption: what is there already is not stored twice.
    """
    total = _total_bytes(files)
    rejects = RejectFile(reject or _free_name(Path("whodid-rejected.jsonl")))
    rejects.check_free()
    with opened(db, create=True) as store, _progress(total) as show:
        run = Import(
            READERS[form],
            store,
            rejects=rejects,
            tenant=tenant,
            batch_events=batch,
            on_progress=show,
        )
        started = time.monotonic()
        try:
            for path in files:
                with _opened_file(path) as file:
                    run.add_file(file, name=str(path))
        except (KeyboardInterrupt, UnavailableError):
            show(run.counts)
            _summarize(run.counts, time.monotonic() - started, rejects)
            complain("stopped early; run the same command again to go on")
            raise
        finally:
            rejects.close()
    _summarize(run.counts, time.monotonic() - started, rejects)
    if not run.counts.is_clean:
        ctx.exit(exits.INVALID)


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


def _summarize(counts: Counts, seconds: float, rejects: RejectFile) -> None:
    rate = counts.read / max(seconds, 1e-9)
    click.echo(
        f"read {counts.read:,} records in {seconds:.1f} s ({rate:,.0f}/s): "
        f"{counts.stored:,} stored, {counts.duplicates:,} already there, "
        f"{counts.rejected:,} rejected"
    )
    if counts.rejected:
        click.echo(
            f"the rejected records are in {one_line(str(rejects.path))}, each with its reason"
        )
    for damage in counts.damages:
        complain(f"damaged: {damage}; what was before it is stored")
