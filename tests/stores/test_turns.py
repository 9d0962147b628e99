from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from whodid.stores import turns
from whodid.stores.turns import Turns

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no flock; SQLite waits alone")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


def test_one_has_the_turn_and_the_other_waits_for_it(database: Path) -> None:
    mine, theirs = Turns(database), Turns(database)
    order: list[str] = []

    def wait() -> None:
        with theirs.turn():
            order.append("theirs")

    with mine.turn():
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join(timeout=0.05)
        order.append("mine")
    thread.join()

    assert order == ["mine", "theirs"]


def test_whoever_holds_the_turn_for_too_long_is_passed_by(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "PATIENCE_S", 0.05)

    with Turns(database).turn(), Turns(database).turn():
        pass  # two at once: SQLite's own lock keeps them apart


def test_where_no_file_can_be_made_writers_go_on_without(tmp_path: Path) -> None:
    queue = Turns(tmp_path / "no" / "such" / "folder" / "log.db")

    with queue.turn():
        pass
    with queue.turn():
        pass


def test_the_queue_is_private(database: Path) -> None:
    with Turns(database).turn():
        mode = database.with_name("log.db-turn").stat().st_mode

    assert mode & 0o077 == 0


def _hold_turn(database: Path, held: multiprocessing.synchronize.Event) -> None:
    with Turns(database).turn():
        held.set()
        signal.pause()


def test_a_killed_holder_gives_the_turn_back(database: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    holder = context.Process(target=_hold_turn, args=(database, held))
    holder.start()
    assert held.wait(timeout=60)

    holder.kill()
    holder.join()
    started = time.monotonic()
    with Turns(database).turn():
        waited = time.monotonic() - started

    assert waited < turns.PATIENCE_S / 2
