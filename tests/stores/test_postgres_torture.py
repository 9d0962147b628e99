"""The sealer under everything at once: nothing lost or twice, the index dense, the tree right.

`WHODID_TORTURE_S=60` for as long as it should run before a release.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psycopg

from tests.postgres_server import PostgresServer
from tests.stores.torture import APP
from whodid.stores.postgres import PostgresStore
from whodid.testing import EVERYTHING

SECONDS = float(os.environ.get("WHODID_TORTURE_S", "6"))
ROLES = ["host"] * 6 + ["ingest"] * 2 + ["sealer"] * 2
ROOT = Path(__file__).parents[2]


class _Crowd:
    """Processes of which one or the other is killed now and then."""

    def __init__(self, url: str, *, folder: Path, seed: int) -> None:
        self._url, self._folder = url, folder
        self.chance = random.Random(seed)
        self._started = 0
        self._running = [(role, self._start(role)) for role in ROLES]

    def _start(self, role: str) -> subprocess.Popen[bytes]:
        self._started += 1
        file = self._folder / f"{self._started}.acknowledged"
        with (self._folder / f"{self._started}.stderr").open("wb") as stderr:
            return subprocess.Popen(
                [
                    sys.executable, "-m", "tests.stores.torture", role, self._url,
                    str(self.chance.random()), str(file),
                ],
                cwd=ROOT,
                stderr=stderr,
            )  # fmt: skip

    def kill_one(self) -> None:
        place = self.chance.randrange(len(self._running))
        role, process = self._running[place]
        process.kill()
        process.wait()
        self._running[place] = (role, self._start(role))

    def wait(self, seconds: float) -> None:
        """Let them work; none of them ends by itself."""
        _, process = self._running[0]
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            return
        raise AssertionError("a process ended by itself")

    def stop(self) -> str:
        """Kill all; what they complained about."""
        for _, process in self._running:
            process.kill()
            process.wait()
        return "".join(path.read_text() for path in sorted(self._folder.glob("*.stderr")))

    def acknowledged(self) -> list[tuple[str, str, str]]:
        lines = [
            line
            for path in self._folder.glob("*.acknowledged")
            for line in path.read_text().splitlines()
        ]
        return [(tenant, event_id, index) for tenant, event_id, index in map(str.split, lines)]


def test_whatever_is_killed_every_committed_event_is_sealed_once(
    own_server: PostgresServer, own_url: str, tmp_path: Path
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # shown when it fails
    PostgresStore(own_url).close()
    with psycopg.connect(own_url, autocommit=True) as connection:
        connection.execute(APP)
    crowd = _Crowd(own_url, folder=tmp_path, seed=seed)
    try:
        end, stop_at = time.monotonic() + SECONDS, time.monotonic() + SECONDS / 2
        while time.monotonic() < end:
            crowd.wait(crowd.chance.uniform(0.05, 0.5))
            crowd.kill_one()
            if time.monotonic() > stop_at:
                own_server.own.stop()
                own_server.own.start()
                stop_at = float("inf")
    finally:
        complaints = crowd.stop()

    assert complaints == ""
    _check(own_url, crowd)


def _check(url: str, crowd: _Crowd) -> None:
    store = PostgresStore(url)
    store.seal()
    report = store.verify(access=EVERYTHING)
    found = []
    position = 1
    while events := store.read_from(position, access=EVERYTHING, limit=5_000):
        found += [(each.tenant_id, each.id, each.index, each.position) for each in events]
        position = events[-1].position + 1
    store.close()
    with psycopg.connect(url) as connection:
        told = [str(row[0]) for row in connection.execute("SELECT id FROM app ORDER BY id")]
    acknowledged = crowd.acknowledged()

    assert report.is_sound, report.problems
    ids = Counter(event_id for _, event_id, _, _ in found)
    assert set(ids.values()) == {1}, "an event was sealed twice"
    assert len(told) == len(set(told))
    assert set(told) <= ids.keys(), "a host's event was lost"
    indexes = {(tenant, event_id): str(index) for tenant, event_id, index, _ in found}
    assert all(
        indexes.get((tenant, event_id)) == index for tenant, event_id, index in acknowledged
    ), "an acknowledged event was lost or has another index"
    assert [position for *_, position in found] == list(range(1, len(found) + 1))
    for tenant in {each[0] for each in found}:
        assert [each[2] for each in found if each[0] == tenant] == list(
            range(sum(each[0] == tenant for each in found))
        )
    hosts = ids.keys() - set(told)
    with psycopg.connect(url) as connection:
        own = {str(row[0]) for row in connection.execute("SELECT id FROM whodid_event_key")}
    assert ids.keys() == own
    assert len(told) > 100
    assert len(acknowledged) > 100
    print(f"{len(told)} of hosts, {len(hosts)} ingested, {len(acknowledged)} acknowledged")
