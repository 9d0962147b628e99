"""What is remembered of readings, whatever becomes of the thread or the transaction that writes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from whodid.canonical import Encoded
from whodid.errors import StoreUnavailableError
from whodid.event import Actor
from whodid.stores.sqlite import SqliteStore
from whodid.testing import EVERYTHING, NOON
from whodid.viewer.readings import Reader, Reading, Readings

SOMEBODY = Reader(principal="somebody", actor=Actor(type="user", id="7"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "audit.db")
    yield store
    store.close()


class Interrupting(SqliteStore):
    """A store whose first writer is told to end while it writes."""

    def __init__(self, path: Path, *, when: Callable[[], object]) -> None:
        super().__init__(path)
        self.when: Callable[[], object] | None = when
        self.is_written_to = threading.Event()

    def append(self, batch: Sequence[Encoded], **rest: Any) -> Any:
        """Store, or end."""
        when, self.when = self.when, None
        if when is None:
            return super().append(batch, **rest)
        self.is_written_to.set()
        when()
        raise SystemExit


def test_who_waits_for_a_thread_that_is_told_to_end_is_not(tmp_path: Path) -> None:
    def until_somebody_waits() -> None:
        (_, written), *_ = readings._known.values()
        while not written._condition._waiters:  # type: ignore[attr-defined]  # no other way to know
            pass

    store = Interrupting(tmp_path / "audit.db", when=until_somebody_waits)
    readings = Readings(store)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(readings.note, SOMEBODY, Reading(), now=NOON)
        store.is_written_to.wait()
        second = pool.submit(readings.note, SOMEBODY, Reading(), now=NOON)

        assert isinstance(first.exception(timeout=60), SystemExit)
        assert isinstance(second.exception(timeout=60), StoreUnavailableError)
    readings.note(SOMEBODY, Reading(), now=NOON)
    assert store.newest_position() >= 0
    store.close()


def test_what_may_be_rolled_back_is_not_remembered(store: SqliteStore) -> None:
    lasting = False
    readings = Readings(store, is_lasting=lambda: lasting)
    readings.note(SOMEBODY, Reading(), now=NOON)
    lasting = True
    for _ in range(2):
        readings.note(SOMEBODY, Reading(), now=NOON)

    assert len(store.read_from(0, access=EVERYTHING)) == 2
