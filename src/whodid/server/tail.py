"""Following over HTTP: GET /v1/tail, matching events as they are sealed, by Server-Sent Events.

A tail reads the store's sealed order from where it began, so it skips and repeats nothing. Every
event carries an opaque token; who comes back with the last one goes on exactly after it. One look
at the newest position serves all tails, and a tail reads on only when its client has taken what it
was sent: a slow client makes its own tail late, and fills no memory.

Not here: waking by the writer. Other processes write the same store, so it is asked (`Settings`
says how often), and a look that finds nothing costs one row.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial

import anyio
from anyio import CancelScope, create_task_group, move_on_after
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from whodid.access import Access
from whodid.canonical import api_form
from whodid.errors import CursorError, UnavailableError
from whodid.event import StoredEvent
from whodid.query.ast import Query
from whodid.query.evaluate import compile_matcher
from whodid.query.parse import parse
from whodid.server.auth import Caller, KeyRing, caller_of
from whodid.server.parameters import Parameters
from whodid.server.problems import RETRY_AFTER_S, ProblemError, refuse, with_members
from whodid.server.readings import Readings
from whodid.server.settings import Settings
from whodid.server.threads import Threads
from whodid.stores.base import Cursor, EventStore
from whodid.times import Instant

MEDIA_TYPE = "text/event-stream"
TOKEN_HEADER = "last-event-id"
BATCH_EVENTS = 50
"""Events in memory for one tail; of 64 kB each at most."""
PIECE_BYTES = 64_000
RETRY_MS = 2_000
"""What a browser waits before it comes back."""

_FAREWELL_S = 1.0
_log = logging.getLogger("whodid.server")


class Follower:
    """Where one client is in the sealed order. For one thread at a time."""

    def __init__(self, store: EventStore, *, query: Query, access: Access, after: int) -> None:
        self._store, self._query, self._access = store, query, access
        self._matches = compile_matcher(query.node)
        self.after = after

    def read_on(self, newest: int) -> list[bytes]:
        """The next events that match, as they are sent; moves `after` over what was read.

        Args:
            newest: The newest position, known before this call.
        """
        events = self._store.read_from(self.after + 1, access=self._access, limit=BATCH_EVENTS)
        last = events[-1].position if events else 0
        # Fewer than asked for means the end, unless a restriction took some out: then only so much
        # is known that as many positions were read as were asked for, since they are dense.
        is_end = len(events) < BATCH_EVENTS and self._access.restriction is None
        reached = newest if is_end else min(self.after + BATCH_EVENTS, newest)
        self.after = max(reached, last)
        return [self._frame(stored) for stored in events if self._matches(stored)]

    def token(self, position: int) -> str:
        """What a client sends to go on after this position."""
        cursor = Cursor(
            now=self._query.now, newest=0, occurred_at=0, position=position, direction="newer"
        )
        return self._store.seal_cursor(cursor, text=_TOKEN_OF)

    def mark(self) -> bytes:
        """A frame that is no event and moves the client's token to where the tail is."""
        return f"id: {self.token(self.after)}\n\n".encode()

    def _frame(self, stored: StoredEvent) -> bytes:
        # JSON has no raw line breaks, so an event is one line of data.
        return b"id: %s\ndata: %s\n\n" % (self.token(stored.position).encode(), api_form(stored))


_TOKEN_OF = "tail"  # keeps cursors of pages apart


class Tails:
    """All tails of one server: how many there are, what wakes them, and how they end."""

    def __init__(
        self,
        store: EventStore,
        *,
        keys: KeyRing,
        settings: Settings,
        threads: Threads,
        readings: Readings,
    ) -> None:
        self._store, self._keys = store, keys
        self._settings, self._threads, self._readings = settings, threads, readings
        self._news = _News(store, threads=threads, period_s=settings.tail_poll_s)
        self._open: set[CancelScope] = set()  # the event loop alone changes it, so no lock
        self._is_stopping = False

    async def answer(self, request: Request) -> Response:
        """The endpoint."""
        caller = caller_of(request.scope)
        caller.check_scope("read")
        return _Streamed(partial(self._serve, caller))

    def stop(self) -> None:
        """End all tails, for a server that stops; their clients find another, or this one again."""
        self._is_stopping = True
        for scope in self._open:
            scope.cancel()

    async def _serve(self, caller: Caller, scope: Scope, receive: Receive, send: Send) -> None:
        self._check_room()
        ending = CancelScope()
        self._open.add(ending)
        try:
            follower = await self._threads.read(self._begin, Request(scope), caller=caller)
            await send(_head())
            if scope["method"] != "HEAD":
                await self._stream(follower, caller, ending=ending, receive=receive, send=send)
            with move_on_after(_FAREWELL_S):  # a client that takes nothing gets no farewell
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._open.discard(ending)

    def _check_room(self) -> None:
        if self._is_stopping or len(self._open) >= self._settings.max_tails:
            raise refuse(
                503,
                "busy",
                f"{len(self._open)} tails are open, no more are taken; come back later",
                headers={"retry-after": str(RETRY_AFTER_S)},
            )

    def _begin(self, request: Request, *, caller: Caller) -> Follower:
        """Read what is asked for, write down that somebody looks, and find where to begin."""
        given = Parameters(request.scope["query_string"], allowed=frozenset({"q", "tz", "after"}))
        # A browser that comes back sends both: what its page was told, and what it saw last.
        token = request.headers.get(TOKEN_HEADER) or given.values.get("after")
        cursor = self._cursor(token) if token is not None else None
        # Relative times count from the first moment: a tail that comes back is the same search.
        now = cursor.now if cursor else Instant.now()
        query = parse(given.text("q"), now=now, zone=given.zone)
        self._readings.note(caller, query=given.text("q"), now=Instant.now())
        # Asked after the note, so that a tail does not begin with its own opening.
        newest = self._store.newest_position()
        if cursor and cursor.position > newest:
            raise _wrong_token("the token is ahead of the log, which was set back meanwhile")
        after = cursor.position if cursor else newest
        return Follower(self._store, query=query, access=caller.access, after=after)

    def _cursor(self, token: str) -> Cursor:
        try:
            return self._store.open_cursor(token, text=_TOKEN_OF)
        except CursorError:
            raise _wrong_token("this is no token of this log's tails") from None

    async def _stream(
        self,
        follower: Follower,
        caller: Caller,
        *,
        ending: CancelScope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Send until the client has gone, its key is not valid any more, or the server stops."""
        with ending:
            async with create_task_group() as group:
                group.start_soon(_cancel_when_gone, receive, ending)
                try:
                    await self._follow(follower, caller, send)
                except UnavailableError as error:
                    # The stream ends; who comes back gets the 503 that can't be sent here.
                    _log.warning("a tail was ended: %s", error)
                ending.cancel()

    async def _follow(self, follower: Follower, caller: Caller, send: Send) -> None:
        await _send_all([b"retry: %d\n" % RETRY_MS + follower.mark()], send)
        beat_at = time.monotonic() + self._settings.tail_heartbeat_s
        while True:
            newest = None
            with move_on_after(max(beat_at - time.monotonic(), 0)):
                newest = await self._news.after(follower.after)
            if newest is not None:
                await _send_all(await self._threads.read(follower.read_on, newest), send)
            if time.monotonic() >= beat_at:
                if not await self._threads.check(self._is_admitted, caller):
                    return
                await _send_all([b":\n" + follower.mark()], send)
                beat_at = time.monotonic() + self._settings.tail_heartbeat_s

    def _is_admitted(self, caller: Caller) -> bool:
        """Would the gate let the caller in again? A tail may outlive its key."""
        if caller.key is None:
            return not self._keys.has_any()
        key = self._keys.find(caller.key.id)
        return key == caller.key and not (key.expires_at and key.expires_at <= Instant.now())


class _News:
    """The newest position, asked of the store for all tails at once."""

    def __init__(self, store: EventStore, *, threads: Threads, period_s: float) -> None:
        self._store, self._threads, self._period_s = store, threads, period_s
        self._lock = anyio.Lock()
        self._newest = 0
        self._asked_at = float("-inf")

    async def after(self, position: int) -> int:
        """The newest position, as soon as it is greater than this."""
        while self._newest <= position:
            # One tail at a time holds the lock and asks; the others find its answer.
            async with self._lock:
                if self._newest <= position:
                    due_in_s = self._asked_at + self._period_s - time.monotonic()
                    await anyio.sleep(max(due_in_s, 0))
                    self._newest = await self._threads.check(self._store.newest_position)
                    self._asked_at = time.monotonic()
        return self._newest


class _Streamed(Response):
    """An answer that is sent while it is made."""

    def __init__(self, serve: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        super().__init__()
        self._serve = serve

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._serve(scope, receive, send)


def _head() -> Message:
    # Proxies that hold an answer back until it is long enough would hold events back.
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"x-accel-buffering", b"no")]
    return {"type": "http.response.start", "status": 200, "headers": headers}


async def _send_all(frames: Iterable[bytes], send: Send) -> None:
    """Send frames; waits as long as the client has not taken what was sent before."""
    for piece in _pieces(frames):
        await send({"type": "http.response.body", "body": piece, "more_body": True})


def _pieces(frames: Iterable[bytes]) -> Iterator[bytes]:
    """Many small frames as one, large ones as they are."""
    waiting = b""
    for frame in frames:
        if waiting and len(waiting) + len(frame) > PIECE_BYTES:
            yield waiting
            waiting = b""
        waiting += frame
    if waiting:
        yield waiting


async def _cancel_when_gone(receive: Receive, ending: CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    ending.cancel()


def _wrong_token(what: str) -> ProblemError:
    refused = refuse(400, "cursor", f"after: {what}; start again without it")
    return with_members(refused, parameters=["after"])
