"""The viewer mounted into an ASGI application."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount

from tests.viewer.conftest import Keep
from tests.viewer.html import read
from whodid.access import Access
from whodid.testing import an_event
from whodid.times import Instant
from whodid.viewer import Host, Viewer
from whodid.viewer.asgi import ViewerApp

Ask = Callable[..., httpx2.Response]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def ask(app: Any, path: str, *, method: str = "GET", **headers: str) -> httpx2.Response:
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.request(method, path, headers=headers)


def mounted(viewer: Viewer, authorize: Any) -> Starlette:
    return Starlette(routes=[Mount("/audit", app=ViewerApp(viewer, authorize))])


def everything(_request: Request) -> Access:
    return Access.everything()


@pytest.mark.anyio
async def test_addresses_are_below_the_mount_point(viewer: Viewer, keep: Keep) -> None:
    keep(an_event(occurred_at=Instant.now()))
    app = mounted(viewer, everything)
    page = read((await ask(app, "/audit/")).content)
    event = page.one("a", class_="go").href

    assert event.startswith("/audit/events/")
    assert (await ask(app, event)).status_code == 200
    assert (await ask(app, page.one("link", rel="stylesheet").href)).status_code == 200


@pytest.mark.anyio
async def test_the_application_says_where_the_pages_stand(viewer: Viewer, keep: Keep) -> None:
    keep(an_event(occurred_at=Instant.now()))
    asked: list[str] = []

    def host_of(request: Request) -> Host:
        asked.append(request.url.path)
        return Host(home=("Office", "/office/"), signed_in="Ida")

    def app(authorize: Any) -> ViewerApp:
        return ViewerApp(viewer, authorize, host_of=host_of)

    assert read((await ask(app(everything), "/")).content).link("Office") == "/office/"
    assert asked == ["/"]
    # Whoever may see nothing learns nothing of the application either.
    assert "Ida" not in (await ask(app(lambda _request: None), "/")).text
    assert asked == ["/"]


@pytest.mark.anyio
async def test_who_is_not_known_sees_nothing(viewer: Viewer, keep: Keep) -> None:
    keep(an_event(action="secret.thing"))
    answer = await ask(mounted(viewer, lambda _request: None), "/audit/?range=all")

    assert answer.status_code == 403
    assert "secret" not in answer.text


@pytest.mark.anyio
async def test_authorize_may_be_a_coroutine_and_sees_the_request(
    viewer: Viewer, keep: Keep
) -> None:
    keep(an_event(tenant="acme"), an_event(tenant="bolt"))

    async def by_header(request: Request) -> Access | None:
        return Access.reader([request.headers["x-tenant"]])

    answer = await ask(mounted(viewer, by_header), "/audit/?range=all", **{"x-tenant": "bolt"})

    assert "bolt" in answer.text
    assert "acme" not in answer.text


@pytest.mark.anyio
async def test_the_first_value_of_a_parameter_counts(viewer: Viewer, keep: Keep) -> None:
    keep(an_event(occurred_at=Instant.now()))
    page = read((await ask(mounted(viewer, everything), "/audit/?q=alice&q=bob")).content)

    assert page.one("input", id="q").attributes["value"] == "alice"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "path", ["/audit/?q=%FF%FE", "/audit/?q=%ED%A0%80", "/audit/%FF", "/audit/?%00=%00"]
)
async def test_bytes_that_are_no_text_are_answered(path: str, viewer: Viewer) -> None:
    assert (await ask(mounted(viewer, everything), path)).status_code in (200, 400, 404)


@pytest.mark.anyio
async def test_head_and_caching_work_through_the_adapter(viewer: Viewer) -> None:
    app = mounted(viewer, everything)
    head = await ask(app, "/audit/static/viewer.css", method="HEAD")
    again = await ask(app, "/audit/static/viewer.css", **{"if-none-match": head.headers["etag"]})

    assert head.status_code == 200
    assert head.content == b""
    assert int(head.headers["content-length"]) > 1_000
    assert again.status_code == 304
    assert (await ask(app, "/audit/", method="POST")).status_code == 405
