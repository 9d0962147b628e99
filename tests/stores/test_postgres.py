"""The store in PostgreSQL, on a real server."""

from __future__ import annotations

import pytest

from whodid.stores.postgres import PostgresStore
from whodid.testing import MakeStore, StoreContract


class TestPostgresStore(StoreContract):
    @pytest.fixture
    def make_store(self, postgres_url: str) -> MakeStore:
        return lambda: PostgresStore(postgres_url)
