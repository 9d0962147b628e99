"""The files that pages need."""

from __future__ import annotations

import gzip
from importlib.resources import files

import pytest

from tests.viewer.conftest import Get, View
from whodid.viewer import Request, Viewer

STATIC = files("whodid.viewer").joinpath("static")


def test_a_file_is_kept_for_a_year_under_the_name_of_its_content(view: View, get: Get) -> None:
    path = view().one("link", rel="stylesheet").href
    answer = get(path)

    assert answer.body == STATIC.joinpath("viewer.css").read_bytes()
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"


@pytest.mark.parametrize("path", ["/static/viewer.css", "/static/viewer.0123456789abcdef.css"])
def test_under_another_name_a_file_is_asked_for_each_time(path: str, get: Get) -> None:
    assert get(path).headers["cache-control"] == "no-cache"


def test_a_file_that_the_browser_has_is_not_sent_again(get: Get, viewer: Viewer) -> None:
    first = get("/static/viewer.js")
    again = viewer.handle(
        Request(path="/static/viewer.js", if_none_match=f'W/"x", {first.headers["etag"]}')
    )

    assert (again.status, again.body) == (304, b"")
    assert "content-length" not in again.headers


@pytest.mark.parametrize(
    "path",
    [
        "/static/",
        "/static/none.css",
        "/static/../pages.py",
        "/static/viewer.css/x",
        "/static/a.b.c.d",
    ],
)
def test_nothing_else_is_served(path: str, get: Get) -> None:
    assert get(path).status == 404


def test_files_are_served_without_access(viewer: Viewer) -> None:
    assert viewer.handle(Request(path="/static/viewer.css")).status == 200


def test_the_files_stay_small() -> None:
    script, style = (STATIC.joinpath(name).read_bytes() for name in ("viewer.js", "viewer.css"))

    assert len(script) < 4_000
    assert len(gzip.compress(style)) < 10_000


def test_the_script_uses_nothing_that_the_policy_forbids() -> None:
    script = STATIC.joinpath("viewer.js").read_text()

    for forbidden in (
        "eval",
        "Function(",
        "innerHTML",
        "outerHTML",
        "document.write",
        "fetch",
        ".style",
    ):
        assert forbidden not in script


def test_the_stylesheet_asks_no_other_host() -> None:
    style = STATIC.joinpath("viewer.css").read_text()

    assert "url(" not in style
    assert "@import" not in style
    assert style.count("{") == style.count("}")
