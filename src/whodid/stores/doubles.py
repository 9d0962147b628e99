"""Which events of a batch are new, which were stored before, and which conflict. Pure.

A store looks up what lies under the ids and keys that `Doubles.wanted` names, and puts what it
finds into `by_id` and `by_key`; then `take` decides batch by batch. What an event is stored as is
made here as well, without the database, so that no lock is held meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

from msgspec import Struct

from whodid import canonical
from whodid.canonical import SEED_BYTES, Encoded
from whodid.errors import ConflictError
from whodid.event import Event
from whodid.ids import derived_id, uuid7, uuid_bytes
from whodid.ledger.merkle import leaf_hash
from whodid.stores.base import Batch, Receipt, key_of_part
from whodid.stores.rows import Columns, derive, reference_hash
from whodid.times import Instant

EventId: TypeAlias = tuple[str, bytes]  # tenant, id
EventKey: TypeAlias = tuple[str, str, str]  # tenant, application, idempotency key


class Stamped(Struct):
    """An event as its row in the database: what was claimed, and what the store added."""

    encoded: Encoded
    id: str
    packed_id: bytes
    tenant: str
    received_at: Instant
    body: bytes
    seed: bytes

    @property
    def gone(self) -> None:
        """Nothing of a new event was erased."""

    @property
    def name(self) -> EventId:
        return self.tenant, self.packed_id

    @property
    def key(self) -> EventKey | None:
        """Under what it is idempotent, if the sender gave a key."""
        event = self.encoded.event
        if not event.idempotency_key:
            return None
        return self.tenant, self.app, str(event.idempotency_key)

    @property
    def app(self) -> str:
        source = self.encoded.event.source
        return (source.app or "") if source else ""


class Ready(Stamped):
    """An event with everything that is made of it without the database.

    Attributes:
        hashes: Pairs of kind and hash, for the references.
        index: Its leaf, once it has one.
    """

    entry: bytes
    leaf: bytes
    columns: Columns
    hashes: list[tuple[int, int]]
    index: int = -1

    def receipt(self, *, duplicate: bool) -> Receipt:
        return Receipt(
            id=self.id,
            tenant=self.tenant,
            index=self.index,
            received_at=self.received_at,
            duplicate=duplicate,
        )


class Stored(Struct):
    """What is in the database already under an id.

    Attributes:
        index: None while it is not sealed.
    """

    id: str
    tenant: str
    index: int | None
    received_at: int
    body: bytes
    gone: bytes | None

    def receipt(self, *, duplicate: bool) -> Receipt:
        return Receipt(
            id=self.id,
            tenant=self.tenant,
            index=self.index,
            received_at=Instant.from_micros(self.received_at),
            duplicate=duplicate,
        )


def stamp(batch: Batch) -> list[Stamped]:
    """The events of a batch as they are stored; each has an id from now on.

    An event with an idempotency key and without an id has one that follows from the key, so that a
    double is known by its id to somebody who may not read what was stored.
    """
    seeds = os.urandom(SEED_BYTES * len(batch.events))
    stamped = []
    for place, (encoded, now) in enumerate(zip(batch.events, batch.times(), strict=True)):
        tenant = canonical.tenant_of(encoded.event)
        event_id = encoded.event.id or _id_of_key(encoded.event, tenant=tenant) or uuid7()
        added = canonical.stamp_bytes(
            event_id=event_id, received_at=now, tenant=tenant, writer=batch.writer
        )
        body = canonical.body_bytes(encoded.core, added, encoded.units)
        seed = seeds[place * SEED_BYTES : (place + 1) * SEED_BYTES]
        stamped.append(Stamped(encoded, event_id, uuid_bytes(event_id), tenant, now, body, seed))
    return stamped


def _id_of_key(event: Event, *, tenant: str) -> str | None:
    if not event.idempotency_key:
        return None
    app = event.source.app if event.source else None
    parts = (tenant, app or "", event.idempotency_key)
    return derived_id("whodid.idempotency", b"\0".join(part.encode() for part in parts))


def make_ready(batch: Batch, *, key: bytes) -> list[Ready]:
    """Everything of a batch that needs no database.

    Args:
        key: The store's own, for the hashes of ids.
    """
    seeds = os.urandom(SEED_BYTES * len(batch.events))
    times = batch.times()
    return [
        _ready_event(
            encoded,
            writer=batch.writer,
            now=now,
            seed=seeds[place * SEED_BYTES : (place + 1) * SEED_BYTES],
            key=key,
        )
        for place, (encoded, now) in enumerate(zip(batch.events, times, strict=True))
    ]


def _ready_event(
    encoded: Encoded, *, writer: str | None, now: Instant, seed: bytes, key: bytes
) -> Ready:
    event = encoded.event
    tenant = canonical.tenant_of(event)
    event_id = event.id or uuid7()
    stamp = canonical.stamp_bytes(event_id=event_id, received_at=now, tenant=tenant, writer=writer)
    columns = derive(event, labels=encoded.labels, received_at=now)
    entry = canonical.commit(encoded.core, stamp, encoded.units, seed=seed)
    return Ready(
        encoded,
        event_id,
        uuid_bytes(event_id),
        tenant,
        now,
        canonical.body_bytes(encoded.core, stamp, encoded.units),
        seed,
        entry,
        leaf_hash(entry),
        columns,
        hashes_of(columns, tenant=tenant, key=key),
    )


def hashes_of(columns: Columns, *, tenant: str, key: bytes) -> list[tuple[int, int]]:
    """Kind and hash of everything that an event refers to."""
    return [
        (int(kind), reference_hash(key, tenant=tenant, name=name)) for kind, name in columns.refs
    ]


def uuid_text(packed: bytes) -> str:
    """An id as it is written."""
    digits = packed.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


_New = TypeVar("_New", bound=Stamped)


@dataclass(slots=True)
class Doubles(Generic[_New]):
    """What is known under ids and keys: of the database, and of batches taken before.

    Attributes:
        by_id: Events under a tenant and an id.
        by_key: Ids under a tenant, an application and an idempotency key.
    """

    by_id: dict[EventId, _New | Stored] = field(default_factory=dict)
    by_key: dict[EventKey, bytes] = field(default_factory=dict)

    def take(self, events: Sequence[_New], *, batch: Batch) -> list[_New | Stored] | ConflictError:
        """What answers each event of a batch: itself when it is new, else what was stored before.

        A batch that conflicts is answered with why, and leaves no trace.
        """
        fresh: dict[EventId, _New] = {}
        keys: dict[EventKey, bytes] = {}
        answers: list[_New | Stored] = []
        try:
            for place, event in enumerate(events):
                double = self._find(event, place=place, fresh=fresh, keys=keys)
                answers.append(event if double is None else double)
                if double is None:
                    fresh[event.name] = event
                    if (key := event.key) is not None:
                        keys[key] = event.packed_id
            self._check_parts(events, answers, batch=batch)
        except ConflictError as error:
            return error
        self.by_id |= fresh
        self.by_key |= keys
        return answers

    def _check_parts(
        self, events: Sequence[_New], answers: Sequence[_New | Stored], *, batch: Batch
    ) -> None:
        """Refuse a batch under a key that another batch was stored under."""
        if batch.key is None:
            return
        parts = [place for place in range(len(events)) if batch.is_part(place)]
        new = [place for place in parts if answers[place] is events[place]]
        if new and any(events[place].key in self.by_key for place in parts):
            raise ConflictError("/events", index=new[0], by="idempotency key")
        if any(key in self.by_key for key in _keys_beyond(events, batch=batch)):
            raise ConflictError("/events", index=len(events), by="idempotency key")

    def _find(
        self,
        event: _New,
        *,
        place: int,
        fresh: Mapping[EventId, _New],
        keys: Mapping[EventKey, bytes],
    ) -> _New | Stored | None:
        """What was stored before under the event's id or key, here or in the same batch.

        Raises:
            ConflictError: It has another body.
        """
        by_id = event.name if event.encoded.event.id else None
        by_key = None
        if (name := event.key) is not None:
            packed = keys.get(name) or self.by_key.get(name)
            by_key = (event.tenant, packed) if packed else None
        for by, known in (("id", by_id), ("idempotency key", by_key)):
            stored = known and (fresh.get(known) or self.by_id.get(known))
            if stored:
                path = canonical.first_difference(event.encoded, body=stored.body, gone=stored.gone)
                if path is not None:
                    raise ConflictError(path, index=place, by=by)
                return stored
        return None


def wanted(
    batches: Sequence[Batch], events: Sequence[Sequence[Stamped]]
) -> tuple[set[EventId], set[EventKey]]:
    """Under which ids and keys, that the senders gave, something may be stored already."""
    ids: set[EventId] = set()
    keys: set[EventKey] = set()
    for batch, each in zip(batches, events, strict=True):
        ids |= {event.name for event in each if event.encoded.event.id}
        keys |= {key for event in each if (key := event.key) is not None}
        keys |= _keys_beyond(each, batch=batch)
    return ids, keys


def _keys_beyond(events: Iterable[Stamped], *, batch: Batch) -> set[EventKey]:
    """Under what the next event of a batch would be stored, if it had had one more."""
    if batch.key is None:
        return set()
    key = key_of_part(batch.key, len(batch.events))
    return {(event.tenant, event.app, key) for event in events}
