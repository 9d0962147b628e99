"""Hits of the text index come in order of time, however the clocks of a log have run."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whodid.stores import sqlite_spans, sqlite_text
from whodid.stores.sqlite import SqliteStore
from whodid.stores.sqlite_indexer import advance
from whodid.stores.sqlite_spans import Span, Walk, hits
from whodid.stores.sqlite_text import TextStep
from whodid.testing import EVERYTHING, a_query, an_event, minutes, prepared

MESSAGES = ("harbour ledger", "ledger of the harbour", "harbour", "ledger")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of two positions, so that a few events make many."""
    monkeypatch.setattr(sqlite_text, "BLOCK_BITS", 1)
    monkeypatch.setattr(sqlite_spans, "BLOCK_BITS", 1)
    monkeypatch.setattr(sqlite_spans, "_STEP", 3)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    logged=st.lists(st.tuples(st.integers(0, 30), st.sampled_from(MESSAGES)), max_size=60),
    few=st.sampled_from((1, 1_000)),
    many=st.sampled_from((2, 5, 20_000)),
    ahead=st.sampled_from((0, 1, 4, 500)),
    enough=st.sampled_from((1, 100)),
    covered=st.one_of(st.just(60), st.integers(0, 60)),
    limit=st.integers(1, 9),
)
def test_pages_of_words_go_down_and_up_in_time_whatever_the_clocks(
    tmp_path_factory: pytest.TempPathFactory,
    small: None,
    logged: list[tuple[int, str]],
    few: int,
    many: int,
    ahead: int,
    enough: int,
    covered: int,
    limit: int,
) -> None:
    path = tmp_path_factory.mktemp("spans") / "log.db"
    store = SqliteStore(path, indexes=False)
    store.append(
        prepared(*(an_event(message=words, occurred_at=str(minutes(at))) for at, words in logged))
    )
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        while advance(connection, TextStep(), to=min(covered, len(logged))):
            pass
    places = [
        (at, position)
        for position, (at, words) in enumerate(logged, start=1)
        if "harbour" in words and "ledger" in words
    ]
    query = a_query("harbour ledger")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite_spans, "_FEW_HITS", few)
        patch.setattr(sqlite_spans, "_MANY_HITS", many)
        patch.setattr(sqlite_spans, "_AHEAD_HITS", ahead)
        patch.setattr(sqlite_spans, "_ENOUGH_HITS", enough)
        down = [store.page(query, access=EVERYTHING, limit=limit)]
        while token := down[-1].older:
            cursor = store.open_cursor(token, text=query.text)
            down.append(store.page(query, access=EVERYTHING, limit=limit, cursor=cursor))
        up = [down[-1]]
        while token := up[-1].newer:
            cursor = store.open_cursor(token, text=query.text)
            up.append(store.page(query, access=EVERYTHING, limit=limit, cursor=cursor))
    store.close()

    found = [[event.position for event in page.events] for page in down]
    assert [each for page in found for each in page] == [
        position for _, position in sorted(places, reverse=True)
    ]
    assert [[event.position for event in page.events] for page in reversed(up)] == found


@pytest.fixture
def indexed(tmp_path: Path, small: None) -> Iterator[tuple[sqlite3.Connection, list[str]]]:
    """A connection to a log of 40 events with a word, and the look-ups that it makes."""
    store = SqliteStore(tmp_path / "log.db", indexes=False)
    store.append(prepared(*(an_event(message="harbour") for _ in range(40))))
    store.close()
    looked_up: list[str] = []

    def note(statement: str) -> None:
        if "MATCH" in statement:
            looked_up.append(statement)

    with closing(sqlite3.connect(tmp_path / "log.db", isolation_level=None)) as connection:
        while advance(connection, TextStep(), to=40):
            pass
        connection.set_trace_callback(note)
        yield connection, looked_up


SCATTERED = [Span(block, block, block) for block in range(0, 20, 2)]
ALL = Walk(low=None, high=None, newest=40, upwards=False)


def test_scattered_blocks_are_looked_up_at_once(
    indexed: tuple[sqlite3.Connection, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_spans, "_AHEAD_HITS", 0)
    connection, looked_up = indexed

    found = [sorted(part) for part, _ in hits(connection, '"harbour"', spans=SCATTERED, walk=ALL)]

    # One block, three, and the six that are left: positions 2n and 2n + 1 of the even blocks.
    assert found == [[36, 37], [24, 25, 28, 29, 32, 33], [1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21]]
    assert len(looked_up) == 4  # and one that has seen that there are many


@pytest.mark.parametrize("upwards", [False, True])
def test_few_hits_are_looked_up_once_and_given_in_order_of_time(
    indexed: tuple[sqlite3.Connection, list[str]],
    monkeypatch: pytest.MonkeyPatch,
    upwards: bool,
) -> None:
    monkeypatch.setattr(sqlite_spans, "_ENOUGH_HITS", 5)
    connection, looked_up = indexed
    walk = Walk(low=None, high=None, newest=40, upwards=upwards)

    parts = list(hits(connection, '"harbour"', spans=SCATTERED, walk=walk))

    found = [sorted(part) for part, _ in parts]
    expected = [[28, 29, 32, 33, 36, 37], [16, 17, 20, 21, 24, 25], [4, 5, 8, 9, 12, 13], [1]]
    if upwards:
        expected = [[1, 4, 5, 8, 9], [12, 13, 16, 17, 20, 21], [24, 25, 28, 29, 32, 33], [36, 37]]
    assert found == expected
    assert [edge for _, edge in parts] == ([6, 12, 18, None] if upwards else [12, 6, 0, None])
    assert len(looked_up) == 1


def test_a_word_that_is_nowhere_is_looked_up_once(
    indexed: tuple[sqlite3.Connection, list[str]],
) -> None:
    connection, looked_up = indexed

    assert list(hits(connection, '"zebra"', spans=SCATTERED, walk=ALL)) == [([], None)]
    assert len(looked_up) == 1
