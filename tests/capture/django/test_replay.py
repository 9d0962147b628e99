"""The first law of capture: the events, replayed over empty tables, give the tables."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import pytest
from django.db import OperationalError, connections

from tests.capture.django import replay
from tests.capture.django.replay import Program, Tables
from whodid.event import Event

Told = Callable[[], list[Event]]
PROGRAMS = int(os.environ.get("WHODID_REPLAY_PROGRAMS", "20"))


@pytest.mark.parametrize("seed", range(8))
def test_the_events_of_random_programs_replayed_give_the_tables(seed: int, told: Told) -> None:
    tables = Tables()
    for number in range(PROGRAMS):
        Program(seed * 1_000 + number).run()

        tables.apply(told())
        assert replay.told(tables) == replay.real(), f"after program {seed * 1_000 + number}"


def test_the_events_of_three_writers_at_once_replayed_give_the_tables(told: Told) -> None:
    faults: list[BaseException] = []

    def write(name: str) -> None:
        try:
            for number in range(PROGRAMS):
                program = Program(number, name=name)
                while True:
                    try:
                        program.run()
                        break
                    # A block that reads first can't wait for another writer: SQLite refuses it,
                    # with us and without. It was rolled back, and nothing may be told of it.
                    except OperationalError as error:
                        if "locked" not in str(error):
                            raise
        except BaseException as error:  # noqa: BLE001 - told by the test's own thread
            faults.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=write, args=(name,)) for name in ("a", "b", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert faults == []
    tables = Tables()
    tables.apply(told())
    assert replay.told(tables) == replay.real()
