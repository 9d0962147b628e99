"""What the middleware adds to a request: Starlette, Flask and Django, without a network.

python benchmarks/bench_middleware.py [ROUNDS] [starlette] [flask] [django]

Each application answers with and without the middleware, in the same process, in rounds that
alternate, so that what else the machine does falls on all. The requests carry the headers that a
browser and two proxies send. A quiet request makes no event; a refused one (403) makes one, which
is in the database when the request ends. Figures are processor time, all threads of the process.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

import flask
from common import cpu_seconds, folder, save
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from werkzeug.test import EnvironBuilder

from whodid import AuditLog
from whodid.capture import asgi, wsgi

HOSTS = ("starlette", "flask", "django")
REQUESTS = 200  # of one measurement
OPTIONS: dict[str, Any] = {"trusted_proxies": 2}
PATHS = {"quiet": "/invoices/42", "refused": "/refused/42"}
HEADERS = {
    "host": "shop.example",
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "accept": "text/html,application/xhtml+xml",
    "accept-language": "en-GB,en;q=0.7",
    "accept-encoding": "gzip, deflate, br, zstd",
    "cookie": "sessionid=0123456789abcdef0123456789abcdef",
    "traceparent": f"00-{'a' * 32}-{'b' * 16}-01",
    "x-forwarded-for": "203.0.113.7, 192.0.2.2",
}

Work: TypeAlias = Callable[[], object]
Prepare: TypeAlias = Callable[[str], Work]
"""Of a path: the requests are made before, and answered by the work."""


# -- Starlette -----------------------------------------------------------------------------------


async def invoice(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.path_params["number"])


async def refused(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("no", status_code=403)


def starlette_app() -> Starlette:
    return Starlette(
        routes=[Route("/invoices/{number}", invoice), Route("/refused/{number}", refused)]
    )


def asgi_requests(app: asgi.App, loop: asyncio.AbstractEventLoop) -> Prepare:
    headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]

    def a_scope(path: str) -> dict[str, Any]:
        return {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
            "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"page=2",
            "root_path": "", "headers": headers, "client": ("198.51.100.1", 4711),
            "server": ("127.0.0.1", 80),
        }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_message: object) -> None:
        pass

    async def answer(scopes: Iterable[dict[str, Any]]) -> None:
        for scope in scopes:
            await app(scope, receive, send)

    def prepare(path: str) -> Work:
        scopes = [a_scope(path) for _ in range(REQUESTS)]
        return lambda: loop.run_until_complete(answer(scopes))

    return prepare


# -- WSGI: Flask and Django ----------------------------------------------------------------------


def flask_app() -> flask.Flask:
    app = flask.Flask("shop")
    app.add_url_rule("/invoices/<number>", "invoice", lambda number: number)
    app.add_url_rule("/refused/<number>", "refused", lambda number: (number, 403))
    return app


def wsgi_requests(app: wsgi.App) -> Prepare:
    def start(
        _status: str, _headers: object, _exc_info: object = None
    ) -> Callable[[bytes], object]:
        return lambda _data: None

    def answer(environs: Iterable[dict[str, Any]]) -> None:
        for environ in environs:
            body = app(environ, start)
            for _ in body:
                pass
            if hasattr(body, "close"):
                body.close()

    def prepare(path: str) -> Work:
        builder = EnvironBuilder(path=path, query_string="page=2", headers=[*HEADERS.items()])
        environs = [builder.get_environ() for _ in range(REQUESTS)]
        return lambda: answer(environs)

    return prepare


def django_apps(where: Path) -> dict[str, wsgi.App]:
    """The same site with the middleware and without; a project's other middleware is in neither."""
    import django
    from django.conf import settings
    from django.core.handlers.wsgi import WSGIHandler
    from django.core.management import call_command
    from django.http import HttpRequest, HttpResponse
    from django.test import override_settings
    from django.urls import path

    def view(_request: HttpRequest, number: str) -> HttpResponse:
        return HttpResponse(number)

    def refuse(_request: HttpRequest, number: str) -> HttpResponse:
        return HttpResponse(number, status=403)

    settings.configure(
        SECRET_KEY="benchmark",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=(path("invoices/<str:number>", view), path("refused/<str:number>", refuse)),
        INSTALLED_APPS=[
            "django.contrib.auth", "django.contrib.contenttypes", "whodid.capture.django",
        ],
        # A connection that is kept, else Django opening one is taken for the middleware's cost.
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": where / "site.db",
                "CONN_MAX_AGE": None,
            }
        },
        LOGGING_CONFIG=None,
        WHODID={"trusted_proxies": 2},
    )  # fmt: skip
    django.setup()
    logging.getLogger("django.request").disabled = True  # a line for each refusal
    call_command("migrate", verbosity=0)
    apps: dict[str, wsgi.App] = {}
    for name, chain in (("bare", []), ("whodid", ["whodid.capture.django.AuditMiddleware"])):
        with override_settings(MIDDLEWARE=chain):
            apps[name] = WSGIHandler()
    return apps


# -- measuring -----------------------------------------------------------------------------------


def hosts(
    names: Iterable[str], audit: AuditLog, where: Path, loop: asyncio.AbstractEventLoop
) -> dict[tuple[str, str], Prepare]:
    """By host and variant: what prepares its requests."""
    found: dict[tuple[str, str], Prepare] = {}
    if "starlette" in names:
        bare, whole = starlette_app(), asgi.AuditMiddleware(starlette_app(), audit, **OPTIONS)
        found["starlette", "bare"] = asgi_requests(bare, loop)
        found["starlette", "whodid"] = asgi_requests(whole, loop)
    if "flask" in names:
        inner = flask_app().wsgi_app
        found["flask", "bare"] = wsgi_requests(flask_app().wsgi_app)
        found["flask", "whodid"] = wsgi_requests(wsgi.AuditMiddleware(inner, audit, **OPTIONS))
    if "django" in names:
        for variant, app in django_apps(where).items():
            found["django", variant] = wsgi_requests(app)
    return found


def main(rounds: int, names: Sequence[str]) -> None:
    samples: dict[tuple[str, str, str], list[float]] = {}
    loop = asyncio.new_event_loop()
    with folder() as where, AuditLog(where / "log.db", app="shop") as audit:
        measured = hosts(names, audit, where, loop)
        for number in range(rounds + 1):
            for kind, path in PATHS.items():
                for (host, variant), prepare in measured.items():
                    took = cpu_seconds(prepare(path)) / REQUESTS * 1e6
                    if number:  # the first round is for warming up
                        samples.setdefault((host, kind, variant), []).append(took)
        recorded = len(audit.search("action:access.check", limit=1_000_000))
    loop.close()
    # Django's are in its own database.
    expected = REQUESTS * (rounds + 1) * len({*names} & {"starlette", "flask"})
    if recorded != expected:
        raise AssertionError(f"expected {expected} refusals on record, got {recorded}")
    save("middleware", {"rounds": rounds, "requests a round": REQUESTS, **_results(samples)})


def _results(samples: dict[tuple[str, str, str], list[float]]) -> dict[str, dict[str, int]]:
    """Microseconds a request: the application alone, and what the middleware adds."""
    results: dict[str, dict[str, int]] = {}
    for host, kind, variant in samples:
        if variant == "bare":
            bare = median(samples[host, kind, "bare"])
            added = median(samples[host, kind, "whodid"]) - bare
            results[f"{host}, {kind}"] = {"bare_us": round(bare), "added_us": round(added)}
    return results


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20, sys.argv[2:] or HOSTS)
