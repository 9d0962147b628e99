"""The one writer: takes all bodies that wait, stores them with one commit, answers each.

Waiting costs nothing and a commit does, so what arrives while a group is written is the next
group: one fsync for as many requests as there are. One thread does all of it, decoding as well:
SQLite lets go of the interpreter for every row, and a second busy thread would take it for
milliseconds each time. The event loop only moves bytes; more cores are used by more processes
(`workers`), each with a writer of its own.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from msgspec import Struct

from whodid.canonical import Encoded, tenant_of
from whodid.errors import ConflictError, StoreUnavailableError
from whodid.server import wire
from whodid.server.bodies import Upload, read_upload
from whodid.server.problems import MEDIA_TYPE, error_answer
from whodid.server.settings import Settings
from whodid.stores.base import Batch, EventStore, Receipt

MAX_GROUP_EVENTS = 2_000
"""More would hold the store's write lock too long for others, and saves nothing more."""


class Answer(Struct, frozen=True, kw_only=True):
    """What a request is told.

    Attributes:
        stored: For each tenant the number and the bytes of the events that are new.
    """

    status: int
    body: bytes
    media_type: str = "application/json"
    headers: dict[str, str] = {}
    stored: dict[str, tuple[int, int]] = {}


def answer_of(error: Exception) -> Answer:
    """The answer that an error ends a request with."""
    problem = error_answer(error)
    return Answer(
        status=problem.problem.status,
        body=wire.write(problem.problem),
        media_type=MEDIA_TYPE,
        headers=problem.headers,
    )


@dataclass(slots=True)
class Group:
    """Bodies that are stored with one commit, by number, and their answers as they get known."""

    store: EventStore
    settings: Settings
    answers: dict[int, Answer] = field(default_factory=dict)
    batches: list[tuple[int, Batch]] = field(default_factory=list)
    events: int = 0

    def add(self, number: int, upload: Upload) -> None:
        """Take up one more body, or know why it can't be stored."""
        try:
            encoded = read_upload(upload, settings=self.settings)
        except Exception as error:  # noqa: BLE001 - the host seam: one body must not end the rest
            self.answers[number] = answer_of(error)
            return
        self.events += len(encoded)
        batch = Batch(events=encoded, writer=upload.writer, key=upload.key)
        self.batches.append((number, batch))

    @property
    def is_full(self) -> bool:
        return self.events >= MAX_GROUP_EVENTS

    def store_all(self) -> dict[int, Answer]:
        """Store what was taken up: the answer to every body. Durable when it returns."""
        try:
            self._store(self.batches)
        except StoreUnavailableError as error:
            self._answer(self.batches, error)
        except Exception as error:  # noqa: BLE001 - a host seam: answered, and logged there
            if len(self.batches) == 1:
                self._answer(self.batches, error)
            else:
                self._store_one_by_one()
        return self.answers

    def _store_one_by_one(self) -> None:
        """Store each batch alone: what one of them breaks must not be told to the others.

        Nothing of them is stored: a store raises before it commits, or not at all.
        """
        for numbered in self.batches:
            try:
                self._store([numbered])
            except Exception as error:  # noqa: BLE001 - told to the one that caused it
                self._answer([numbered], error)

    def _store(self, numbered: Sequence[tuple[int, Batch]]) -> None:
        if not numbered:
            return
        outcomes = self.store.append_each([batch for _, batch in numbered])
        for (number, batch), outcome in zip(numbered, outcomes, strict=True):
            self.answers[number] = (
                answer_of(outcome)
                if isinstance(outcome, ConflictError)
                else _receipts(outcome, batch.events)
            )

    def _answer(self, numbered: Sequence[tuple[int, Batch]], error: Exception) -> None:
        for number, _ in numbered:
            self.answers[number] = answer_of(error)


def _receipts(receipts: Sequence[Receipt], events: Sequence[Encoded]) -> Answer:
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for receipt, encoded in zip(receipts, events, strict=True):
        if not receipt.duplicate:
            tenant = tenant_of(encoded.event)
            counts[tenant] += 1
            sizes[tenant] += encoded.size_bytes
    return Answer(
        status=201 if counts else 200,
        body=wire.write(wire.Receipts(receipts=_shown(receipts))),
        stored={tenant: (count, sizes[tenant]) for tenant, count in counts.items()},
    )


def _shown(receipts: Sequence[Receipt]) -> list[wire.Receipt]:
    times = {receipt.received_at: str(receipt.received_at) for receipt in receipts}
    return [
        wire.Receipt(
            id=receipt.id,
            tenant=receipt.tenant,
            index=receipt.index,
            received_at=times[receipt.received_at],
            duplicate=receipt.duplicate,
        )
        for receipt in receipts
    ]


Deliver: TypeAlias = Callable[[dict[int, Answer]], None]
"""Takes answers by the number of their upload; called by the writer's thread."""


class Writer:
    """A thread that stores uploads in groups, in the order in which they came."""

    def __init__(self, store: EventStore, *, settings: Settings, deliver: Deliver) -> None:
        self._store, self._settings, self._deliver = store, settings, deliver
        self._waiting: deque[tuple[int, Upload]] = deque()
        self._changed = threading.Condition()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="whodid-writer", daemon=True)
        self._thread.start()

    def put(self, number: int, upload: Upload) -> None:
        """Hand over an upload; its answer comes through `deliver`. Never blocks."""
        with self._changed:
            self._waiting.append((number, upload))
            self._changed.notify()

    def close(self) -> None:
        """Store what waits, answer it, and stop."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_closing)
                if not self._waiting:
                    return
            group = Group(self._store, self._settings)
            while self._waiting and not group.is_full:
                group.add(*self._waiting.popleft())  # this thread alone takes
            self._deliver(group.store_all())
