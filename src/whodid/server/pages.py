"""The viewer as the server mounts it: what a person opens is written down before it is shown.

The gate has let the person in already, with a key as soon as there are keys; the viewer draws, and
shows what that key may see. Between them stands this one duty.
"""

from __future__ import annotations

from urllib.parse import parse_qsl

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from whodid.access import Access
from whodid.server.auth import caller_of, route_path
from whodid.server.readings import Readings
from whodid.server.threads import Threads
from whodid.times import Instant
from whodid.viewer.readings import readings_of, shows_events


class NotedPages:
    """Notes who opens which page, then hands the request on."""

    def __init__(self, app: ASGIApp, *, readings: Readings, threads: Threads) -> None:
        self._app, self._readings, self._threads = app, readings, threads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = route_path(scope)
        if scope["type"] == "http" and shows_events(path):
            await self._threads.read(self._note, scope, path)
        await self._app(scope, receive, send)

    def _note(self, scope: Scope, path: str) -> None:
        caller, now = caller_of(scope), Instant.now()
        for reading in readings_of(path, query=_first_query(scope["query_string"])):
            self._readings.note(caller, query=reading.query, event_id=reading.event_id, now=now)


def _first_query(query_string: bytes) -> str:
    # Read as the viewer reads it: leniently, the first one counts.
    try:
        pairs = parse_qsl(query_string.decode("latin-1"), errors="replace", max_num_fields=1_000)
    except ValueError:
        return ""
    return next((value for name, value in pairs if name == "q"), "")


def access_of(request: HTTPConnection) -> Access | None:
    """What the person behind a page's request may see, for the viewer."""
    return caller_of(request.scope).access
