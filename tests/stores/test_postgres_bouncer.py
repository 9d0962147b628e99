"""The store behind pgbouncer in transaction mode, where every transaction may meet another session.

With two server connections for all: whoever leaves something in a session finds it gone, or finds
what others left.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from urllib.parse import quote, unquote, urlsplit

import psycopg
import pytest

from tests.postgres_server import PostgresServer, as_another_user
from whodid.stores.postgres import PostgresStore
from whodid.testing import EVERYTHING, MakeStore, StoreContract, an_event, prepared

NO_PGBOUNCER = "no pgbouncer on this machine; on Debian: apt-get install pgbouncer"


def _program() -> str:
    found = shutil.which(os.environ.get("WHODID_PGBOUNCER", "pgbouncer"))
    if found is None and os.environ.get("WHODID_REQUIRE_PGBOUNCER"):
        pytest.fail(f"WHODID_REQUIRE_PGBOUNCER is set, but there is {NO_PGBOUNCER}", pytrace=False)
    if found is None:
        pytest.skip(NO_PGBOUNCER)
    return found


@contextmanager
def _bouncer(server_url: str) -> Iterator[str]:
    """The URL of every database of the server, through pgbouncer."""
    program = _program()
    folder = Path(mkdtemp(prefix="whodid-pb-"))
    try:
        as_user = as_another_user(folder)
        host = unquote(urlsplit(server_url).netloc.rpartition("@")[2])
        (folder / "pgbouncer.ini").write_text(
            f"[databases]\n* = host={host} user=postgres\n"
            f"[pgbouncer]\nlisten_addr =\nunix_socket_dir = {folder}\nauth_type = any\n"
            "pool_mode = transaction\ndefault_pool_size = 2\nmax_client_conn = 100\n"
        )
        with (folder / "log").open("w+b") as log:
            process = subprocess.Popen(
                [program, str(folder / "pgbouncer.ini")],
                stderr=log, stdout=log, cwd=folder, **as_user,
            )  # fmt: skip
        try:
            yield f"postgresql://postgres@{quote(str(folder), safe='')}:6432"
        finally:
            process.terminate()
            process.wait()
    finally:
        shutil.rmtree(folder)


def _wait_for(url: str) -> None:
    end = time.monotonic() + 20
    while True:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            if time.monotonic() > end:
                raise
        else:
            return


@pytest.fixture(scope="module")
def bouncer(own_server: PostgresServer) -> Iterator[str]:
    with _bouncer(own_server.own.url) as url:
        yield url


@pytest.fixture
def url(own_server: PostgresServer, bouncer: str) -> Iterator[str]:
    with own_server.database() as direct:
        through = f"{bouncer}{urlsplit(direct).path}"
        _wait_for(through)
        yield through


class TestBehindPgbouncer(StoreContract):
    @pytest.fixture
    def make_store(self, url: str) -> MakeStore:
        return lambda: PostgresStore(url)


def test_many_writers_share_two_sessions(url: str) -> None:
    stores = [PostgresStore(url) for _ in range(4)]

    def work(store: PostgresStore) -> None:
        for number in range(10):
            store.append(prepared(*(an_event() for _ in range(1 + 40 * (number % 2)))))
            with psycopg.connect(url, prepare_threshold=None) as host:
                store.append(prepared(an_event()), connection=host)

    threads = [threading.Thread(target=work, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stores[0].seal()
    report = stores[0].verify(access=EVERYTHING)
    for store in stores:
        store.close()

    assert report.is_sound, report.problems
    assert report.events == 4 * (5 * 1 + 5 * 41 + 10)
