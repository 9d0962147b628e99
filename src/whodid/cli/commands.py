"""`whodid` and its commands, put together."""

from __future__ import annotations

import click

from whodid import __version__
from whodid.cli import keeping, recording, searching, serving, tailing
from whodid.cli.shared import DB_HELP, Commands


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, message="whodid %(version)s")
@click.option("--db", metavar="URL", help=DB_HELP)
def whodid(db: str | None) -> None:
    """Who did what, when, from where, with what result.

    Exit codes: 0 done, 1 nothing found, 2 wrong usage or search, 3 input refused, 4 not possible
    now, 5 the log was changed, 130 interrupted.
    """


for command in (
    serving.demo,
    serving.serve,
    recording.import_files,
    recording.record,
    searching.search,
    searching.count,
    searching.show,
    tailing.tail,
    keeping.verify,
    keeping.index_events,
    keeping.keys,
):
    whodid.add_command(command)
