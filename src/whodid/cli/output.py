"""Many events on stdout, one after another as they are read, in flat memory.

On a terminal `table` is columns that fit it, elsewhere tab-separated lines for `cut` and `awk`.
"""

from __future__ import annotations

import csv
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import tzinfo
from typing import Literal, TypeAlias

import click

from whodid.canonical import api_form
from whodid.cli.rows import ICONS, STYLES, Row, in_zone, name_of, row_of
from whodid.cli.text import csv_cell, safe_json
from whodid.event import StoredEvent

Format: TypeAlias = Literal["table", "json", "jsonl", "csv"]
FORMATS: tuple[Format, ...] = ("table", "json", "jsonl", "csv")


def write_events(events: Iterable[StoredEvent], *, form: Format, zone: tzinfo) -> int:
    """Write the events; gives back how many there were."""
    match form:
        case "json":
            return _write_lines(_as_list(events))
        case "jsonl":
            return _write_lines(safe_json(api_form(stored)) for stored in events)
        case "csv":
            return _write_csv(events, zone=zone)
        case "table":
            rows = (row_of(stored, zone=zone) for stored in events)
            if sys.stdout.isatty():
                return _write_table(rows, zone=zone)
            return _write_lines(_tab_separated(row) for row in rows)


def _write_lines(lines: Iterable[str]) -> int:
    count = 0
    for count, line in enumerate(lines, 1):  # noqa: B007 - the last one is the answer
        click.echo(line)
    return count


def _as_list(events: Iterable[StoredEvent]) -> Iterator[str]:
    """The lines of one JSON list: each but the last with its comma, brackets on the outer ones."""
    before = None
    for stored in events:
        if before is not None:
            yield before + ","
        before = ("[" if before is None else " ") + safe_json(api_form(stored))
    if before is not None:
        yield before + "]"


def _tab_separated(row: Row) -> str:
    return "\t".join(
        (
            row.time.isoformat(timespec="milliseconds"),
            row.tenant,
            row.who,
            row.sentence,
            row.outcome,
            row.origin or "-",
            row.event_id,
        )
    )


# -- CSV -----------------------------------------------------------------------------------------

_CSV_COLUMNS = (
    "occurred_at", "received_at", "tenant", "index", "id", "actor_type", "actor_id", "actor_name",
    "actor_email", "on_behalf_of", "action", "outcome", "severity", "sentence", "target_type",
    "target_id", "target_name", "ip", "country", "message",
)  # fmt: skip


def _write_csv(events: Iterable[StoredEvent], *, zone: tzinfo) -> int:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(_CSV_COLUMNS)
    count = 0
    for count, stored in enumerate(events, 1):  # noqa: B007 - the last one is the answer
        writer.writerow([csv_cell(value) for value in _csv_values(stored, zone)])
    return count


def _csv_values(stored: StoredEvent, zone: tzinfo) -> Sequence[object]:
    event = stored.event
    target = event.targets[0] if event.targets else None
    client = event.client or None
    return (
        in_zone(stored.occurred_at, zone).isoformat(timespec="microseconds"),
        in_zone(stored.received_at, zone).isoformat(timespec="microseconds"),
        stored.tenant_id,
        stored.index,
        stored.id,
        event.actor.type,
        event.actor.id or None,
        event.actor.name or None,
        event.actor.email or None,
        name_of(event.on_behalf_of),
        event.action,
        stored.outcome,
        stored.severity,
        row_of(stored, zone=zone).sentence,
        target.type if target else None,
        (target.id or None) if target else None,
        (target.name or None) if target else None,
        (client.ip or None) if client else None,
        (client.geo.country or None) if client and client.geo else None,
        event.message or None,
    )


# -- a table on a terminal -----------------------------------------------------------------------

_TIME, _OUTCOME = 19, 9
_MIN_DID = 10


def _write_table(rows: Iterable[Row], *, zone: tzinfo) -> int:
    """One line per event in columns that fit the terminal; long values end in an ellipsis."""
    from rich.console import Console
    from rich.text import Text

    # Not rich's own measure: a terminal that can't colour may still be wider than 80.
    width, height = shutil.get_terminal_size()
    console = Console(highlight=False, markup=False, emoji=False, width=width, height=height)
    who, origin = _columns(width)
    did = max(width - _TIME - who - _OUTCOME - origin - 8, _MIN_DID)

    def write(time: Text, *parts: tuple[Text, int]) -> None:
        line = Text().append_text(time)
        for part, columns in parts:
            if columns:
                part.truncate(columns, overflow="ellipsis", pad=True)
                line.append("  ").append_text(part)
        line.rstrip()
        console.print(line, no_wrap=True, overflow="crop")

    count = 0
    for count, row in enumerate(rows, 1):
        if count == 1:
            write(
                Text(f"time {zone}"[:_TIME].ljust(_TIME), "dim"),
                (Text("who", "dim"), who),
                (Text("did what", "dim"), did),
                (Text("outcome", "dim"), _OUTCOME),
                (Text("from", "dim"), origin),
            )
        sentence = Text()
        for text, strong in row.did:
            sentence.append(text, "bold" if strong else "")
        write(
            Text(f"{row.time:%Y-%m-%d %H:%M:%S}", "dim"),
            (Text(row.who), who),
            (sentence, did),
            (Text(f"{ICONS[row.outcome]} {row.outcome}", STYLES[row.outcome]), _OUTCOME),
            (Text(row.origin), origin),
        )
    return count


def _columns(width: int) -> tuple[int, int]:
    """Columns for who and from: less on a narrow terminal, where the sentence needs them."""
    if width < 80:
        return 14, 0
    return (18, 15) if width < 120 else (26, 24)
