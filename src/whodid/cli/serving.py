"""`serve` and `demo`: the server in front of a log."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from pathlib import Path
from types import FrameType
from urllib.parse import quote

import click

from whodid import recorder
from whodid.access import Access
from whodid.cli.shared import complain, database_url, db_option
from whodid.errors import AuditError
from whodid.event import Event
from whodid.recorder import MAX_BATCH_EVENTS
from whodid.stores import EventStore, open_store
from whodid.times import Instant

DEMO_SEED = 7
DEMO_EVENTS = 20_000
DEMO_PER_SECOND = 0.2  # more would soon hide the thirty days behind the last bar of the chart
_STORIES_SHOWN = 3


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8787, show_default=True, type=click.IntRange(0, 65_535), help="0: a free one."
)
@click.option(
    "--ingest-workers",
    default=0,
    show_default=True,
    type=click.IntRange(0, 64),
    help="Processes that store events beside the server's own; use one for each spare core.",
)
@click.option(
    "--key-events-per-minute",
    default=0,
    type=click.IntRange(0),
    help="Events that one key may send in a minute.  [default: no limit]",
)
@click.option(
    "--key-bytes-per-minute", default=0, type=click.IntRange(0), help="Bytes, as they arrive."
)
@click.option(
    "--tenant-events-per-minute",
    default=0,
    type=click.IntRange(0),
    help="Events that are taken for one tenant in a minute.  [default: no limit]",
)
@click.option(
    "--tenant-bytes-per-minute", default=0, type=click.IntRange(0), help="Bytes, as stored."
)
@db_option
def serve(db: str | None, host: str, port: int, ingest_workers: int, **quotas: int) -> None:
    """Serve the log: pages and API.

    On 127.0.0.1 whoever is at this machine gets in until there is a key; from then on, and on any
    other address, a key is needed: see whodid keys create.
    """
    from whodid.server.run import run
    from whodid.server.settings import Settings

    settings = Settings(host=host, port=port, ingest_workers=ingest_workers, **quotas)
    store = open_store(database_url(db), indexes=not ingest_workers)
    if not ingest_workers:  # else a process of theirs does it
        store.start_indexing()
    with _until_stopped():
        run(store, settings, on_ready=lambda url: click.echo(f"whodid is at {url}", err=True))


@click.command()
@click.option(
    "--port", default=8787, show_default=True, type=click.IntRange(0, 65_535), help="0: a free one."
)
@click.option("--no-open", is_flag=True, help="Don't open a browser.")
@click.option("--db", metavar="URL", help="Where to; default: a file that goes with the demo.")
def demo(port: int, no_open: bool, db: str | None) -> None:
    """Show whodid with the log of four sample companies.

    Thirty days of events, and new ones as long as it runs.
    """
    from whodid.server.run import run
    from whodid.server.settings import Settings

    settings = Settings(port=port)
    with _until_stopped(), _demo_url(db) as url:
        store = open_store(url)
        try:
            _fill(store)
            store.start_indexing()
        except BaseException:
            store.close()
            raise
        with _living(url):
            run(
                store,
                settings,
                on_ready=lambda at: _welcome(at, db=url, opens=not no_open, is_kept=db is not None),
            )


@contextmanager
def _until_stopped() -> Iterator[None]:
    """Ctrl-C and SIGTERM are how a server ends, and no failure."""
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    except KeyboardInterrupt:
        complain("stopped")
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _demo_url(db: str | None) -> Iterator[str]:
    if db is not None:
        yield db
        return
    folder = Path(tempfile.mkdtemp(prefix="whodid-demo-"))
    try:
        yield f"sqlite:///{folder / 'demo.db'}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _fill(store: EventStore) -> None:
    """Thirty days of events; none if the database has some already."""
    from whodid.demo import history

    if store.stats(access=Access.everything()).events:
        return
    events = iter(history(seed=DEMO_SEED, now=Instant.now(), events=DEMO_EVENTS))
    with _filling() as advance:
        while batch := list(islice(events, MAX_BATCH_EVENTS)):
            store.append(recorder.prepare_batch(batch), now=list(map(_received_at, batch)))
            advance(len(batch))


def _received_at(event: Event) -> Instant:
    """A moment after it happened: these thirty days look as if whodid had been there."""
    happened = event.occurred_at or Instant.now()
    return Instant.of(happened + timedelta(milliseconds=120))


@contextmanager
def _filling() -> Iterator[Callable[[int], None]]:
    if not sys.stderr.isatty():
        complain("writing 30 days of sample events")
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("writing 30 days of sample events", total=DEMO_EVENTS)
        yield lambda count: progress.advance(task, count)


@contextmanager
def _living(url: str) -> Iterator[None]:
    """New events from now on, by a thread with a connection of its own, until the block ends."""
    stopping = threading.Event()
    store = open_store(url)
    thread = threading.Thread(target=_live, args=(store, stopping), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(timeout=10)
        store.close()


def _live(store: EventStore, stopping: threading.Event) -> None:
    from whodid.demo import live

    for event in live(seed=DEMO_SEED, now=Instant.now(), per_second=DEMO_PER_SECOND):
        if stopping.wait(_seconds_until(event)):
            return
        try:
            store.append([recorder.prepare(event)])
        except AuditError as error:
            complain(f"the demo's events stop here: {error}")
            return


def _seconds_until(event: Event) -> float:
    moment = event.occurred_at or Instant.now()
    return max((moment - Instant.now()).total_seconds(), 0)


def _program() -> str:
    """What to type for whodid in this shell."""
    called = Path(sys.argv[0])
    return called.name if shutil.which(called.name) else str(called)


def _welcome(url: str, *, db: str, opens: bool, is_kept: bool) -> None:
    from whodid.demo import STORIES

    lines = [f"whodid is at {url} with 30 days of sample events. Some questions to it:", ""]
    for story in STORIES[:_STORIES_SHOWN]:
        lines += [f"  {story.title}", f"    {url}/?q={quote(story.search)}", ""]
    lines += ["The same in another shell:", ""]
    lines += [f"  {_program()} search --db {db} '{STORIES[0].search}'", ""]
    lines.append("Ctrl-C ends it." if is_kept else "Ctrl-C ends it and removes the events.")
    click.echo("\n".join(lines))
    sys.stdout.flush()
    has_display = sys.platform != "linux" or os.environ.get(
        "DISPLAY", os.environ.get("WAYLAND_DISPLAY")
    )
    # A browser for the terminal would take it over.
    if opens and has_display and sys.stdout.isatty():
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
