"""The viewer as the server mounts it: what a person opens is written down before it is shown.

The gate has let the person in already, with a key as soon as there are keys; the viewer draws, and
shows what that key may see. Between them stands this one duty.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from whodid.access import Access
from whodid.server.auth import STATIC, caller_of, route_path
from whodid.server.readings import Readings
from whodid.server.threads import Threads
from whodid.times import Instant

COMPLETE = "/complete"
_UNREAD = (STATIC, "/favicon.ico")  # these show nothing of the log
_EVENT = re.compile(
    r"/events/([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})(\.json)?", re.ASCII
)


class NotedPages:
    """Notes who opens which page, then hands the request on."""

    def __init__(self, app: ASGIApp, *, readings: Readings, threads: Threads) -> None:
        self._app, self._readings, self._threads = app, readings, threads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = route_path(scope)
        if scope["type"] == "http" and not path.startswith(_UNREAD):
            await self._threads.read(self._note, scope, path)
        await self._app(scope, receive, send)

    def _note(self, scope: Scope, path: str) -> None:
        caller, now = caller_of(scope), Instant.now()
        # What is offered while somebody types says what the log holds, not what they search for:
        # all of it is one look at the log, however many keys were struck.
        query = "" if path == COMPLETE else _first_query(scope["query_string"])
        event = _EVENT.fullmatch(path)
        if event:
            self._readings.note(caller, event_id=event[1], now=now)
        if not (event and event[2]):  # an event's page shows a list beside it
            self._readings.note(caller, query=query, now=now)


def _first_query(query_string: bytes) -> str:
    # Read as the viewer reads it: leniently, the first one counts.
    try:
        pairs = parse_qsl(query_string.decode("latin-1"), errors="replace", max_num_fields=1_000)
    except ValueError:
        return ""
    return next((value.strip() for name, value in pairs if name == "q"), "")


def access_of(request: HTTPConnection) -> Access | None:
    """What the person behind a page's request may see, for the viewer."""
    return caller_of(request.scope).access
