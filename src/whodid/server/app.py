"""The ASGI application: which path leads where, and in what order its layers stand.

From the outside in: `Answers` (every error becomes problem+json), `Gate` (who may come in), the
routes. Whatever is not the API is the viewer's. The application owns the store from now on and
closes it when it stops.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import anyio
from msgspec import Struct
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import Receive, Scope, Send

from whodid.server import openapi, wire
from whodid.server.auth import Gate, KeyRing, caller_of
from whodid.server.ingest import Ingest
from whodid.server.intake import Intake, open_intake
from whodid.server.metrics import Metrics
from whodid.server.pages import NotedPages, access_of
from whodid.server.problems import Answers, http_exception, json_response, refuse
from whodid.server.quotas import Quotas
from whodid.server.readings import Readings
from whodid.server.search import Search
from whodid.server.settings import Settings
from whodid.server.tail import Tails
from whodid.server.threads import Threads
from whodid.stores.base import EventStore
from whodid.viewer import Viewer
from whodid.viewer.asgi import ViewerApp

_Endpoint = Callable[[Request], Awaitable[Response]]


def create_app(store: EventStore, settings: Settings) -> Starlette:
    """The server as an ASGI application.

    Args:
        store: Where events are kept; closed when the application stops.
        settings: Limits, and the address it will listen on: who may come in depends on that.

    Raises:
        ConfigError: Other machines could reach it and there is no key yet.
    """
    keys = KeyRing(store, memory_s=settings.key_memory_s)
    settings.check(has_key=keys.has_any())
    threads = Threads(readers=settings.read_threads)
    intake = open_intake(store, settings=settings)
    quotas = Quotas(settings)
    readings = Readings(store, period_s=settings.reading_memory_s, capacity=settings.max_readings)
    viewer = NotedPages(ViewerApp(Viewer(store), access_of), readings=readings, threads=threads)
    ingest = Ingest(intake, settings=settings, quotas=quotas)
    api = Api(store, ingest=ingest, settings=settings, threads=threads, readings=readings)
    metrics = Route("/metrics", _Methods(get=Metrics(quotas=quotas, ingest=ingest).answer))
    tails = Tails(store, keys=keys, settings=settings, threads=threads, readings=readings)
    tail = Route("/v1/tail", _Methods(get=tails.answer))
    app = Starlette(
        routes=[tail, metrics, *api.routes, Mount("/", app=viewer)],
        middleware=[
            Middleware(Answers),
            Middleware(Gate, keys=keys, settings=settings, threads=threads),
        ],
        exception_handlers={HTTPException: http_exception},
        lifespan=_running(store, threads, intake),
    )
    app.state.tails = tails  # they have no end of their own: who serves the application stops them
    app.router.redirect_slashes = False  # a redirect would be built from the Host that was sent
    return app


def _running(
    store: EventStore, threads: Threads, intake: Intake
) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await intake.start()
        try:
            yield
        finally:
            await intake.close()  # stores what was handed over, so the store is closed after it
            await threads.check(store.close)

    return lifespan


class Api:
    """The endpoints of the API: each checks the scope, crosses to a thread, answers."""

    def __init__(
        self,
        store: EventStore,
        *,
        ingest: Ingest,
        settings: Settings,
        threads: Threads,
        readings: Readings,
    ) -> None:
        self._ingest, self._threads = ingest, threads
        self._search = Search(store=store, readings=readings)
        self._health = Health(
            store, ingest=ingest, threads=threads, memory_s=settings.health_memory_s
        )

    @property
    def routes(self) -> list[BaseRoute]:
        """All paths of the API; what is below /v1 and not listed is not found."""
        search = self._search
        return [
            Route("/healthz", _Methods(get=self._health.answer)),
            Route("/openapi.json", _Methods(get=self.document)),
            Route(
                "/v1/events",
                _Methods(get=partial(self.read, search.events), post=self._ingest.answer),
            ),
            Route("/v1/events/{event_id}", _Methods(get=self.event)),
            Route("/v1/facets", _Methods(get=partial(self.read, search.facets))),
            Route("/v1/histogram", _Methods(get=partial(self.read, search.histogram))),
            Route("/v1/count", _Methods(get=partial(self.read, search.count))),
            Route("/v1", _NotFound()),
            Route("/v1/{rest:path}", _NotFound()),
        ]

    async def read(self, work: Callable[..., Struct], request: Request) -> Response:
        caller = caller_of(request.scope)
        caller.check_scope("read")
        return json_response(
            await self._threads.read(work, request.scope["query_string"], caller=caller)
        )

    async def event(self, request: Request) -> Response:
        caller = caller_of(request.scope)
        caller.check_scope("read")
        body = await self._threads.read(
            self._search.event,
            request.path_params["event_id"],
            request.scope["query_string"],
            caller=caller,
        )
        return Response(body, media_type="application/json")

    async def document(self, _request: Request) -> Response:
        return Response(openapi.document_bytes(), media_type="application/json")


class Health:
    """GET /healthz: does the store store? The one door without a key, so it says no more."""

    def __init__(
        self, store: EventStore, *, ingest: Ingest, threads: Threads, memory_s: float
    ) -> None:
        self._store, self._ingest = store, ingest
        self._threads, self._memory_s = threads, memory_s
        self._lock = anyio.Lock()
        self._checked_at = float("-inf")
        self._error: Exception | None = None

    async def answer(self, _request: Request) -> Response:
        # One check at a time, and its result for a moment: a check may be a durable write.
        async with self._lock:
            if time.monotonic() - self._checked_at >= self._memory_s:
                self._error = await self._check()
                self._checked_at = time.monotonic()
        if self._error is not None:
            raise self._error
        return json_response(wire.Health())

    async def _check(self) -> Exception | None:
        try:
            self._ingest.check()
            await self._threads.check(self._store.check_health)
        except Exception as error:  # noqa: BLE001 - kept, and raised for all who ask in this moment
            return error
        return None


class _Methods:
    """One path's methods. Starlette's own routes would hand another method on to the viewer."""

    def __init__(self, *, get: _Endpoint | None = None, post: _Endpoint | None = None) -> None:
        self.endpoints = {"GET": get, "HEAD": get, "POST": post}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self.endpoints.get(scope["method"])
        if endpoint is None:
            allowed = ", ".join(name for name, known in self.endpoints.items() if known)
            raise refuse(
                405, "method", f"expected one of the methods {allowed}", headers={"allow": allowed}
            )
        response = await endpoint(Request(scope, receive))
        await response(scope, receive, send)


class _NotFound:
    """What is below /v1 and no endpoint, whatever the method."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise refuse(404, "path", "there is no such path; /openapi.json lists them all")
