"""A store, and the pages over it as seen at noon."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.viewer.html import Element, query_of, read
from whodid.access import Access
from whodid.event import Event
from whodid.stores.sqlite import SqliteStore
from whodid.testing import EVERYTHING, NOON, prepared
from whodid.times import Instant
from whodid.viewer import Request, Response, Viewer


class View(Protocol):
    """Asks the viewer for a page."""

    def __call__(
        self,
        url: str = "/",
        *,
        access: Access = ...,
        now: Instant = ...,
        status: int = ...,
        prefix: str = ...,
        **query: str,
    ) -> Element: ...


class Get(Protocol):
    """Asks the viewer for a raw answer."""

    def __call__(self, url: str = "/", *, method: str = ..., **query: str) -> Response: ...


class Keep(Protocol):
    """Stores events as they occurred, received at once, and gives their ids."""

    def __call__(self, *events: Event) -> list[str]: ...


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = SqliteStore(tmp_path / "whodid.db")
    yield opened
    opened.close()


@pytest.fixture
def keep(store: SqliteStore) -> Keep:
    def append(*events: Event) -> list[str]:
        return [
            store.append(prepared(event), now=event.occurred_at or NOON)[0].id for event in events
        ]

    return append


@pytest.fixture
def viewer(store: SqliteStore) -> Viewer:
    return Viewer(store)


@pytest.fixture
def counting(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the store's reading methods in the order they are called from now on."""
    calls: list[str] = []

    def counted(name: str) -> None:
        method = getattr(store, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            return method(*args, **kwargs)

        monkeypatch.setattr(store, name, call)

    for name in ("find", "page", "scan", "count", "facets", "histogram", "read_from"):
        counted(name)
    return calls


@pytest.fixture
def view(viewer: Viewer) -> View:
    def ask(
        url: str = "/",
        *,
        access: Access | None = None,
        now: Instant = NOON,
        status: int = 200,
        prefix: str = "",
        **query: str,
    ) -> Element:
        asked = _request(url, query, prefix=prefix, access=access or EVERYTHING)
        response = viewer.handle(asked, now=now)
        assert response.status == status, response.body.decode()
        return read(response.body)

    return ask


@pytest.fixture
def get(viewer: Viewer) -> Get:
    """The raw answer, for headers and data."""

    def ask(url: str = "/", *, method: str = "GET", **query: str) -> Response:
        return viewer.handle(_request(url, query, method=method), now=NOON)

    return ask


def _request(
    url: str,
    query: Mapping[str, str],
    *,
    method: str = "GET",
    prefix: str = "",
    access: Access = EVERYTHING,
) -> Request:
    """A request for an address, with more parameters; `from` is written `from_`."""
    params = {name.rstrip("_"): value for name, value in query.items()}
    return Request(
        method=method,
        path=url.partition("#")[0].partition("?")[0],
        prefix=prefix,
        query=query_of(url) | params,
        access=access,
    )
