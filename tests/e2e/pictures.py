"""Takes the pictures of the README: `python -m tests.e2e.pictures`.

The sample company on the morning after the break-in, always at the same minute, so that a picture
changes only when the product does.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.e2e.conftest import ARGUMENTS, everything, executable, listening
from tests.e2e.png import with_palette
from whodid import demo
from whodid.recorder import prepare
from whodid.stores.sqlite import SqliteStore
from whodid.times import Instant
from whodid.viewer import Request, Response, Viewer
from whodid.viewer.asgi import ViewerApp

NOW = Instant.parse("2026-11-19T06:27:30Z")
FOLDER = Path(__file__).parents[2] / "docs" / "images"
SIZES = {1440: 900, 390: 844}
HERE = "tz=Europe/Oslo&q=tenant:larkspur"


@dataclass(frozen=True)
class Picture:
    """A file's name, and what to look at: an address, and a row to open."""

    name: str
    url: str
    row: str = ""


PICTURES: Sequence[Picture] = (
    Picture("list", f"/?{HERE}"),
    Picture("event", f"/?{HERE}+actor:reyes+severity:>=low", row="gave themselves the role admin"),
)


class MorningViewer(Viewer):
    """The viewer as it is at one minute."""

    def handle(self, request: Request, *, now: Instant | None = None) -> Response:
        return super().handle(request, now=NOW)


def take_pictures() -> None:
    """Write all pictures, light and dark, wide and narrow."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        store = SqliteStore(Path(folder) / "demo.db")
        for event in demo.history(seed=7, now=NOW):
            # Received as live events are: at once.
            received = Instant.of((event.occurred_at or NOW) + timedelta(milliseconds=80))
            store.append([prepare(event)], now=received)
        app = Starlette(routes=[Mount("/", app=ViewerApp(MorningViewer(store), everything))])
        with listening(app) as port:
            browser = playwright.chromium.launch(
                executable_path=executable(playwright), args=ARGUMENTS
            )
            for picture in PICTURES:
                for width, height in SIZES.items():
                    take(browser, picture, f"http://127.0.0.1:{port}", width=width, height=height)
            browser.close()
        store.close()


def take(browser: Browser, picture: Picture, host: str, *, width: int, height: int) -> None:
    for scheme in ("light", "dark"):
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="light" if scheme == "light" else "dark",
            reduced_motion="reduce",
        )
        page = context.new_page()
        page.goto(host + picture.url)
        page.reload()  # with everything warm, as a reader finds it
        if picture.row:
            page.locator("a.go", has_text=picture.row).first.click()
            page.wait_for_selector("#event")
            page.reload()
        path = FOLDER / f"{picture.name}-{width}-{scheme}.png"
        path.write_bytes(with_palette(page.screenshot()))
        context.close()


if __name__ == "__main__":
    take_pictures()
