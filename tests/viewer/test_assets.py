"""The files that pages need."""

from __future__ import annotations

import gzip
from importlib.resources import files
from importlib.resources.abc import Traversable

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


SCRIPTS = sorted(
    (entry for entry in STATIC.iterdir() if entry.name.endswith(".js")), key=lambda it: it.name
)


def test_the_files_stay_small() -> None:
    style = STATIC.joinpath("viewer.css").read_bytes()

    assert sum(len(gzip.compress(script.read_bytes())) for script in SCRIPTS) < 8_000
    assert len(gzip.compress(style)) < 12_000


def test_a_page_loads_every_script_and_no_other(view: View) -> None:
    loaded = [script.attributes["src"].split("/")[-1] for script in view().all("script")]

    assert sorted(name.split(".")[0] + ".js" for name in loaded) == [it.name for it in SCRIPTS]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_the_scripts_use_nothing_that_the_policy_forbids(script: Traversable) -> None:
    for forbidden in (
        "eval",
        "Function(",
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "XMLHttpRequest",
        "import(",
        ".style",
        "http:",
        "https:",
    ):
        assert forbidden not in script.read_text()


def test_the_stylesheet_asks_no_other_host() -> None:
    style = STATIC.joinpath("viewer.css").read_text()

    assert "url(" not in style
    assert "@import" not in style
    assert style.count("{") == style.count("}")
