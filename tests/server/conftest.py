"""A real application over a real store, and ways to talk to it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from whodid.server.app import create_app
from whodid.server.auth import new_key
from whodid.server.settings import Settings
from whodid.stores.sqlite import SqliteStore
from whodid.times import Instant

LOCAL_URL = "http://127.0.0.1:8787"
LOCAL_PEER = ("127.0.0.1", 50_000)
FAR_PEER = ("203.0.113.9", 50_000)

MakeClient = Callable[..., TestClient]
MakeKey = Callable[..., dict[str, str]]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "log.db")
    yield store
    store.close()


@pytest.fixture
def make_client(store: SqliteStore) -> Iterator[MakeClient]:
    """Makes a running application over `store` and a client of it, here or elsewhere."""
    with ExitStack() as running:

        def make(
            settings: Settings | None = None,
            *,
            peer: tuple[str, int] = LOCAL_PEER,
            url: str = LOCAL_URL,
        ) -> TestClient:
            app = create_app(store, settings or Settings())
            return running.enter_context(TestClient(app, base_url=url, client=peer))

        yield make


@pytest.fixture
def client(make_client: MakeClient) -> TestClient:
    """A person at this machine, without a key."""
    return make_client()


@pytest.fixture
def make_key(store: SqliteStore) -> MakeKey:
    """Makes a key in `store` and gives the header that carries it."""

    def make(
        tenant: str = "*",
        *,
        scopes: Collection[str] = ("ingest", "read"),
        expires_at: Instant | None = None,
        now: Instant | None = None,
    ) -> dict[str, str]:
        text, key = new_key(
            name=f"key of {tenant}",
            tenant=tenant,
            scopes=scopes,
            now=now or Instant.now(),
            expires_at=expires_at,
        )
        store.add_key(key)
        return {"Authorization": f"Bearer {text}"}

    return make


def plain(**only_what_matters: Any) -> dict[str, Any]:
    """An event as a client writes it."""
    return {
        "action": "invoice.update",
        "actor": {"type": "user", "id": "alice"},
    } | only_what_matters
