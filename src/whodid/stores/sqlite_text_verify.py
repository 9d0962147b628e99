"""Verification of the text index: does it hold the tokens of all events it says it covers?

A posting (this token is in that event) that was taken out hides an event from searches. Asking the
index for each would take longer than everything else, so both sides are summed up: every posting
gets a number by a hash that is drawn anew for each verification, once as recomputed from the
bodies, once as the index has them. The sums differ if one posting does. Memory is flat.

What this does not find is what is not stored: an indexer that stood still is no fault, since what
it has not covered is scanned.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter

from whodid.stores.dictionary import MANY_VALUED
from whodid.stores.sqlite_indexer import watermark
from whodid.stores.sqlite_text import (
    BLOCK_BITS,
    TextStep,
    ValueStep,
    event_tokens,
    value_tokens,
)

_PRIME = 2**31 - 1
_MASK = 2**64 - 1


class Postings:
    """A sum over postings in any order, by a hash that nobody could foresee."""

    def __init__(self) -> None:
        self._salt = os.urandom(16).hex()
        self._factor = int.from_bytes(os.urandom(8)) % _PRIME
        self._sum = 0

    def add(self, number: int, tokens: str) -> None:
        """Count the postings of one event or value in."""
        weight = number * self._factor % _PRIME
        salt = self._salt
        self._sum += weight * sum([hash(salt + token) for token in tokens.split()])
        self._sum &= _MASK

    def are_those_of(self, connection: sqlite3.Connection, table: str) -> bool:
        """Does an index hold these and no others?"""
        total = 0
        for token, weight in self._weights(connection, table):
            total += hash(self._salt + token) * weight
            total &= _MASK
        return total == self._sum

    def _weights(self, connection: sqlite3.Connection, table: str) -> Iterator[tuple[str, int]]:
        """Every token of an index, and the sum of the weights of where it is."""
        vocabulary = f"whodid_vocabulary_of_{table}"
        connection.execute(
            f"CREATE VIRTUAL TABLE temp.{vocabulary} USING fts5vocab(main, {table}, instance)"
        )
        try:
            rows: Iterable[tuple[str, int]] = connection.execute(
                # In the index's own order: sorting it would need as much room again.
                f"SELECT term, doc % {_PRIME} * {self._factor} % {_PRIME} FROM temp.{vocabulary}"
            )
            for token, postings in groupby(rows, key=itemgetter(0)):
                yield token, sum([weight for _, weight in postings])
        finally:
            connection.execute(f"DROP TABLE temp.{vocabulary}")


class TextCheck:
    """The text index compared with the events, which are given to it one by one."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._covered = watermark(connection, TextStep().name)
        self._postings = Postings()
        self._blocks: dict[int, tuple[int, int]] = {}

    def add(self, *, position: int, tenant: int, occurred_at: int, body: bytes) -> None:
        """Take an event into account."""
        if position > self._covered:
            return
        self._postings.add(position, event_tokens(body, tenant=tenant))
        block = position >> BLOCK_BITS
        oldest, newest = self._blocks.get(block, (occurred_at, occurred_at))
        self._blocks[block] = (min(oldest, occurred_at), max(newest, occurred_at))

    def faults(self, *, last: int, values: dict[int, tuple[int, int, str]]) -> Iterator[str]:
        """What is wrong with the index, after all events.

        Args:
            last: The position of the last event.
            values: The dictionary: tenant, kind and text by number.
        """
        if self._covered > last:
            yield "the text index says that it covers events which there are not"
        if not self._postings.are_those_of(self._connection, "whodid_text"):
            yield "the text index differs from the events, so searches may miss some"
        if not self._spans_cover():
            yield "the times noted for the text index differ from the events'"
        if not self._values_agree(values):
            yield "the index of dictionary values differs from them, so searches may miss events"

    def _spans_cover(self) -> bool:
        spans = {
            block: (oldest, newest)
            for block, oldest, newest in self._connection.execute(
                "SELECT block, oldest, newest FROM whodid_span ORDER BY block"
            )
        }
        return all(
            block in spans and spans[block][0] <= oldest and spans[block][1] >= newest
            for block, (oldest, newest) in self._blocks.items()
        )

    def _values_agree(self, values: dict[int, tuple[int, int, str]]) -> bool:
        covered = watermark(self._connection, ValueStep().name)
        postings = Postings()
        for ref, (tenant, kind, text) in values.items():
            if ref <= covered and kind in MANY_VALUED:
                postings.add(ref, value_tokens(kind, text, tenant=tenant))
        return covered <= max(values, default=0) and postings.are_those_of(
            self._connection, "whodid_value_text"
        )
