"""A real server over a real store, and a real browser that watches for what must not happen."""

from __future__ import annotations

import itertools
import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeAlias

import pytest
import uvicorn
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount

from tests.conftest import find_chromium
from whodid import demo
from whodid.access import Access
from whodid.recorder import prepare
from whodid.stores.sqlite import SqliteStore
from whodid.times import Instant
from whodid.viewer import Host, Viewer
from whodid.viewer.asgi import ViewerApp

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 15_000  # a busy machine is not a failure

# Told by the browser itself for every violation, also of what no console shows.
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective}: ${event.blockedURI}`));
"""


@dataclass(frozen=True)
class Site:
    """Where the pages are: over the demo at `url`, over nothing at `empty`, closed at `closed`.

    Below `/hosted` an application stands around those of the demo.
    """

    url: str
    store: SqliteStore

    @property
    def empty(self) -> str:
        return f"{self.url}/empty"

    @property
    def closed(self) -> str:
        return f"{self.url}/closed"


def everything(_request: Request) -> Access:
    return Access.everything()


def nothing(_request: Request) -> None:
    return None


def an_office(_request: Request) -> Host:
    """An application whose page of a record is another place of this server."""
    return Host(
        link_of=lambda target: f"/empty/?q={target.type}",
        home=("Back to the office", "/empty/"),
        signed_in="Ingrid Solheim",
    )


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("e2e")
    store, blank = SqliteStore(folder / "demo.db"), SqliteStore(folder / "empty.db")
    fill(store)
    app = Starlette(
        routes=[
            Mount("/empty", app=ViewerApp(Viewer(blank), everything)),
            Mount("/closed", app=ViewerApp(Viewer(store), nothing)),
            Mount("/hosted", app=ViewerApp(Viewer(store), everything, host_of=an_office)),
            Mount("/", app=ViewerApp(Viewer(store), everything)),
        ]
    )
    with listening(app) as port:
        yield Site(url=f"http://127.0.0.1:{port}", store=store)
    store.close()
    blank.close()


def fill(store: SqliteStore) -> None:
    """Thirty days of the sample companies, up to this minute."""
    events = demo.history(seed=7, now=Instant.now(), events=2_000)
    while batch := [prepare(event) for event in itertools.islice(events, 1_000)]:
        store.append(batch)


class listening:  # noqa: N801 - a context manager, used as a function
    """The port of a server that runs in a thread until the block is left."""

    def __init__(self, app: Starlette) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._server = uvicorn.Server(
            uvicorn.Config(app, log_level="error", ws="none", lifespan="off")
        )
        # Connections wait in the socket's queue until the server takes them: nobody has to.
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],))

    def __enter__(self) -> int:
        self._thread.start()
        port: int = self._socket.getsockname()[1]
        return port

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()


def executable(playwright: Playwright) -> str | None:
    """The browser to use; None lets Playwright take its own."""
    return os.environ.get("WHODID_CHROMIUM") or find_chromium() or None


# Not for the session: as long as Playwright runs, this thread counts as one with a running event
# loop, and other tests could not run one.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=executable(playwright), args=ARGUMENTS
        )
        yield launched
        launched.close()


OpenContext: TypeAlias = Callable[..., BrowserContext]


@dataclass
class Watch:
    """What the pages of a test did that they should not have."""

    foreign: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@pytest.fixture
def open_context(browser: Browser, site: Site) -> Iterator[OpenContext]:
    """Makes browser contexts; at the end of the test none of them may have misbehaved."""
    opened: list[BrowserContext] = []
    watch = Watch()

    def make(**options: Any) -> BrowserContext:
        context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}} | options)
        context.set_default_timeout(PATIENCE_MS)
        context.add_init_script(WATCH)
        context.on(
            "request",
            lambda request: (
                None if request.url.startswith(site.url) else watch.foreign.append(request.url)
            ),
        )
        context.on(
            "console",
            lambda message: (
                watch.complaints.append(message.text)
                if "Content Security Policy" in message.text or message.type == "error"
                else None
            ),
        )
        context.on("weberror", lambda error: watch.complaints.append(str(error.error)))
        opened.append(context)
        return context

    yield make
    for context in opened:
        for page in context.pages:
            if page.url != "about:blank":
                watch.complaints += page.evaluate("window.violations ?? []")
        context.close()
    assert watch.foreign == []
    # A browser reports each answer of 400 and above, which are what some tests ask for.
    expected = "Failed to load resource: the server responded with a status of 4"
    assert [text for text in watch.complaints if not text.startswith(expected)] == []


@pytest.fixture
def page(open_context: OpenContext, site: Site) -> Page:
    """The list as a person at a desk opens it."""
    opened = open_context(color_scheme="light").new_page()
    opened.goto(f"{site.url}/?range=30d")
    return opened


@pytest.fixture(params=["with scripts", "without scripts"])
def either(request: pytest.FixtureRequest, open_context: OpenContext, site: Site) -> Page:
    """The same, and once more in a browser that runs no script."""
    context = open_context(java_script_enabled=request.param == "with scripts")
    opened = context.new_page()
    opened.goto(f"{site.url}/?range=30d")
    return opened


def minutes_ago(number: float) -> Instant:
    return Instant.of(Instant.now() - timedelta(minutes=number))
