"""`tail`: events as they come, from a database or from a server.

Both ways show what was sealed after the moment at which they began, in that order, each event
once. From a server they come by `GET /v1/tail`; when it goes away its last token says where to go
on. Not here: what an event looks like (`output`, `rows`).
"""

from __future__ import annotations

import os
import random
import select
import signal
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import tzinfo
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from types import FrameType
from typing import Any
from urllib.parse import SplitResult, urlencode, urlsplit

import click
import msgspec

from whodid.access import Access
from whodid.cli.output import write_events
from whodid.cli.shared import (
    SearchCommand,
    complain,
    db_option,
    opened,
    read_query,
    tz_option,
)
from whodid.cli.text import safe_json
from whodid.errors import ConfigError, UnavailableError
from whodid.event import Event, StoredEvent, from_mapping
from whodid.query.ast import Query
from whodid.query.evaluate import compile_matcher
from whodid.stores import EventStore
from whodid.times import Instant

MAX_LAST = 1_000
LOOK_S = 0.3
"""Between two looks into a database."""
CONNECT_S = 10.0
SILENCE_S = 45.0
"""So long a server may say nothing, three of its signs of life, before it counts as gone."""
FIRST_WAIT_S, MAX_WAIT_S = 0.2, 10.0

_BATCH = 500


@click.command(cls=SearchCommand)
@click.argument("query", nargs=-1)
@click.option(
    "-n",
    "--last",
    default=10,
    show_default=True,
    type=click.IntRange(0, MAX_LAST),
    help="Events from before, shown first.",
)
@click.option("--json", "as_json", is_flag=True, help="One event per line, as JSON.")
@click.option(
    "--url", metavar="URL", help="A server in place of the database; default: WHODID_URL."
)
@click.option(
    "--key", metavar="KEY", help="Key for the server; default, and seen by fewer: WHODID_KEY."
)
@tz_option
@db_option
@click.pass_context
def tail(
    ctx: click.Context,
    query: tuple[str, ...],
    last: int,
    as_json: bool,
    url: str | None,
    key: str | None,
    tz: tzinfo,
    db: str | None,
) -> None:
    """Show events as they come, until Ctrl-C.

    Without QUERY all of them.

    \b
      whodid tail outcome:denied -actor:deploy-bot
      whodid tail --url https://audit.example.com action:user.role.grant
    """  # noqa: D301 - click's mark for lines that stay as they are
    parsed = read_query(ctx, query, tz)
    server = _server(url=url, key=key, db=db)
    with _ended_by_sigterm(), _ended_with_reader():
        if server is None:
            with opened(db, create=False) as store:
                events = follow(store, parsed, last=last)
                write_events(events, form="jsonl" if as_json else "table", zone=tz)
            return
        with ServerTail(server, text=parsed.text, zone=str(tz)) as followed:
            found = followed.follow(last=last)
            if as_json:
                for data in found:
                    click.echo(safe_json(data))
            else:
                write_events(map(event_of, found), form="table", zone=tz)


def follow(store: EventStore, query: Query, *, last: int) -> Iterator[StoredEvent]:
    """The newest events that match, oldest first, then each one that comes; without end."""
    everything = Access.everything()
    newest = store.newest_position()
    if last:
        page = store.page(query, access=everything, limit=last)
        # What came between the two reads is read again below.
        yield from (stored for stored in page.events[::-1] if stored.position <= newest)
    matches = compile_matcher(query.node)
    while True:
        events = store.read_from(newest + 1, access=everything, limit=_BATCH)
        yield from filter(matches, events)
        if events:
            newest = events[-1].position
        else:
            time.sleep(LOOK_S)


# -- a server ------------------------------------------------------------------------------------


class ServerGoneError(UnavailableError):
    """The server does not answer, or can't now. Lives inside this command only.

    Attributes:
        wait_s: How long it asks to be left alone.
    """

    def __init__(self, message: str, *, wait_s: float = 0) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class Server:
    """Where a server is, and what opens it."""

    def __init__(self, url: str, key: str | None) -> None:
        """Take the address apart.

        Raises:
            ConfigError: It is none, or the key can't be one.
        """
        self.parts = _parts(url)
        if key is not None and not (key.isascii() and key.isprintable() and " " not in key):
            raise ConfigError("key: expected a key as `whodid keys create` prints it")
        self.name = f"{self.parts.scheme}://{self.parts.netloc}"
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def get(
        self, path: str, parameters: dict[str, str | int]
    ) -> tuple[HTTPConnection, HTTPResponse]:
        """Ask for something; the answer is 200, and whoever asked closes the connection.

        Raises:
            ConfigError: The server refuses; the same request will be refused again.
            ServerGoneError: It can't be reached, or not now.
        """
        kind = HTTPSConnection if self.parts.scheme == "https" else HTTPConnection
        connection = kind(self.parts.hostname or "", self.parts.port, timeout=CONNECT_S)
        try:
            connection.connect()
            connection.sock.settimeout(SILENCE_S)
            target = f"{self.parts.path.rstrip('/')}{path}?{urlencode(parameters)}"
            connection.request("GET", target, headers=self._headers)
            answer = connection.getresponse()
            if answer.status != 200:
                self._refuse(answer)
        except (OSError, HTTPException) as error:
            connection.close()
            raise ServerGoneError(f"cannot reach {self.name}: {_reason(error)}") from error
        except BaseException:
            connection.close()
            raise
        return connection, answer

    def _refuse(self, answer: HTTPResponse) -> None:
        told = answer.read(100_000)
        try:
            detail = msgspec.json.decode(told, type=dict[str, Any])["detail"]
        except (msgspec.MsgspecError, KeyError):
            detail = "that is no answer of whodid; check --url or WHODID_URL"
        message = f"{self.name} answered {answer.status}: {detail}"
        if answer.status in (408, 429) or answer.status >= 500:
            wait = answer.headers.get("Retry-After", "")
            raise ServerGoneError(message, wait_s=float(wait) if wait.isdigit() else 0)
        raise ConfigError(message)


class ServerTail:
    """A tail of a server that is opened again, where it was, whenever it breaks."""

    def __init__(self, server: Server, *, text: str, zone: str) -> None:
        self._server = server
        self._search: dict[str, str | int] = {"q": text, "tz": zone}
        self._token = ""
        self._connection: HTTPConnection | None = None
        self._frames: Iterator[tuple[str, bytes | None]] = iter(())

    def __enter__(self) -> ServerTail:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def follow(self, *, last: int) -> Iterator[bytes]:
        """The newest events that match, oldest first, then each one that comes, as JSON.

        Raises:
            ServerGoneError: It can't be reached at first; later it is waited for.
            ConfigError: It refuses.
        """
        # Opened before the older events are asked for, so that nothing is lost between the two;
        # what both have is shown once.
        self._open()
        before = self._last(last) if last else []
        yield from before
        shown = {_name(data) for data in before}
        while True:
            try:
                for token, data in self._frames:
                    self._token = token
                    if data is not None and not (shown and _name(data) in shown):
                        yield data
            except ServerGoneError as gone:
                complain(f"{gone}; trying again")
                self._open_again()
                complain(f"connected to {self._server.name} again")

    def _last(self, number: int) -> list[bytes]:
        connection, answer = self._server.get("/v1/events", self._search | {"limit": number})
        try:
            page = msgspec.json.decode(answer.read(), type=_Page)
        except (OSError, HTTPException) as error:
            raise ServerGoneError(f"cannot reach {self._server.name}: {_reason(error)}") from error
        finally:
            connection.close()
        return [bytes(event) for event in reversed(page.events)]

    def _open(self) -> None:
        """Open the stream and learn where it begins."""
        self._close()
        after: dict[str, str | int] = {"after": self._token} if self._token else {}
        self._connection, answer = self._server.get("/v1/tail", self._search | after)
        if answer.headers.get_content_type() != "text/event-stream":
            raise ConfigError(f"{self._server.name} sends no events; check --url or WHODID_URL")
        self._frames = self._read(answer)
        # The first frame is no event. Without its token a break before the first event would
        # lose what came in between.
        self._token, _ = next(self._frames)

    def _open_again(self) -> None:
        wait_s = FIRST_WAIT_S
        while True:
            # Not all at the same moment: a server that just started has enough to do.
            time.sleep(wait_s * random.uniform(0.5, 1))
            try:
                self._open()
                return
            except ServerGoneError as gone:
                wait_s = min(max(2 * wait_s, gone.wait_s), MAX_WAIT_S)

    def _read(self, answer: HTTPResponse) -> Iterator[tuple[str, bytes | None]]:
        """Token and event of each whole frame, None where a frame has no event."""
        token, data = "", None
        while True:
            line = self._line(answer)
            name, _, value = line.partition(b": ")
            if name == b"id":
                token = value.decode()
            elif name == b"data":
                data = value
            elif not line and token:
                yield token, data
                token, data = "", None

    def _line(self, answer: HTTPResponse) -> bytes:
        try:
            line = answer.readline()
        except (OSError, HTTPException, ValueError) as error:
            raise ServerGoneError(f"{self._server.name} is gone: {_reason(error)}") from error
        if not line.endswith(b"\n"):
            raise ServerGoneError(f"{self._server.name} has ended the connection")
        return line.rstrip(b"\r\n")

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()


class _Page(msgspec.Struct):
    events: list[msgspec.Raw]


class _Tenant(msgspec.Struct):
    id: str


class _Named(msgspec.Struct):
    id: str
    tenant: _Tenant


def _name(data: bytes) -> tuple[str, str]:
    """What an event is known by: two tenants may use the same id."""
    named = msgspec.json.decode(data, type=_Named)
    return named.tenant.id, named.id


def event_of(data: bytes) -> StoredEvent:
    """An event as the API writes it, for showing; what was erased is as a store shows it.

    Raises:
        EventError: It breaks the schema: the server knows more than this program.
    """
    given = msgspec.json.decode(data, type=dict[str, Any])
    values = {key: value for key, value in given.items() if key in Event.__struct_fields__}
    if "erased" in values.get("actor", {}):
        values["actor"] = {"type": "unknown"}
    for key, stand_in in (("targets", [{"type": "erased"}]), ("changes", [])):
        if key in values:
            values[key] = [
                shown
                for item in values[key]
                for shown in (stand_in if "erased" in item else [item])
            ]
    return StoredEvent(
        event=from_mapping(values),
        received_at=Instant.parse(given["received_at"]),
        index=given["index"],
        position=0,
    )


def _server(*, url: str | None, key: str | None, db: str | None) -> Server | None:
    """The server that is meant, None for a database. What was typed beats the environment."""
    given_db = db or click.get_current_context().find_root().params.get("db")
    if url and given_db:
        raise ConfigError("expected --url for a server or --db for a database, got both")
    where = url or (None if given_db else os.environ.get("WHODID_URL"))
    return Server(where, key or os.environ.get("WHODID_KEY")) if where else None


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        is_usable = parts.port != 0  # raises for a port that is none
    except ValueError:
        is_usable = False
    else:
        is_usable = is_usable and parts.scheme in ("http", "https") and bool(parts.hostname)
        is_usable = is_usable and not (parts.query or parts.fragment or "@" in parts.netloc)
    if not is_usable:
        raise ConfigError("url: expected the address of a server, such as http://127.0.0.1:8787")
    return parts


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    text = error.strerror if isinstance(error, OSError) else None
    return (text or "the connection broke").lower()


# -- how it ends ---------------------------------------------------------------------------------


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end it as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _ended_with_reader() -> Iterator[None]:
    """End when whoever reads the output has gone, even while there is nothing to write."""
    pipe = _output_pipe()
    if pipe is None:
        yield
        return
    before = signal.signal(signal.SIGPIPE, _break_pipe)
    threading.Thread(target=_wait_for_end, args=(pipe,), daemon=True).start()
    try:
        yield
    except _ReaderGone:
        raise BrokenPipeError from None
    finally:
        signal.signal(signal.SIGPIPE, before)


def _output_pipe() -> int | None:
    """The descriptor of stdout if it leads to a program and can be watched."""
    if sys.platform == "win32":
        return None
    try:
        pipe = sys.stdout.fileno()
    except (OSError, ValueError):
        return None
    mode = os.fstat(pipe).st_mode
    return pipe if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) else None


def _wait_for_end(pipe: int) -> None:
    poll = select.poll()
    poll.register(pipe, 0)  # its end is told unasked
    poll.poll()
    # To the main thread, which may be waiting for a server.
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGPIPE)


def _break_pipe(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # once is enough
    raise _ReaderGone


class _ReaderGone(BaseException):
    """Nobody reads the output any more. No `OSError`: a server did not go away."""
