"""What every store does: the contract that `whodid.testing.StoreContract` checks.

A store keeps events and gives them back in order. It shares no code with other stores but the
walk over a search (`query.sql`), the migration runner and what is derived from an event (`rows`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from msgspec import Struct

from whodid.access import Access, Permission
from whodid.canonical import Encoded
from whodid.errors import ConflictError
from whodid.event import StoredEvent
from whodid.query.ast import Query
from whodid.times import Instant

FacetField: TypeAlias = Literal[
    "action", "actor", "app", "category", "country", "ip", "operation", "outcome", "severity",
    "tenant",
]  # fmt: skip
SplitBy: TypeAlias = Literal["outcome", "severity"]


class Receipt(Struct, frozen=True, kw_only=True):
    """The answer to an append.

    Attributes:
        id: The event's id, the client's or the store's.
        index: Leaf position in the tenant's tree, zero-based; None until sealed.
        duplicate: The same event was stored before; this is its first receipt.
    """

    id: str
    tenant: str
    index: int | None
    received_at: Instant
    duplicate: bool = False


def key_of_part(key: str, place: int) -> str:
    """The idempotency key of the event at this place of a batch under a key."""
    return f"{key}#{place}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Events that are stored together or not at all.

    Attributes:
        writer: Who appends, for the stamp, e.g. `key:k3f9a2c1`.
        now: The clock's reading for `received_at`, for all or one for each; the present when
            absent.
        key: The idempotency key of the whole batch, whose events have the keys that `key_of_part`
            gives: when some of those were stored before and others are new, or more were than it
            has, it is not the batch that came first, and conflicts.
    """

    events: Sequence[Encoded]
    writer: str | None = None
    now: Instant | Sequence[Instant] | None = None
    key: str | None = None

    def is_part(self, place: int) -> bool:
        """Has the event at this place the key that it gets from the batch's?"""
        given = self.events[place].event.idempotency_key
        return self.key is not None and given == key_of_part(self.key, place)

    def times(self) -> Sequence[Instant]:
        """`received_at` of each event."""
        if self.now is None or isinstance(self.now, Instant):
            return [self.now or Instant.now()] * len(self.events)
        return self.now


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """Where a page begins; made and read by the store, opaque outside.

    Attributes:
        now: The moment of the first page; relative times of later pages count from it.
        newest: Newest position at the first page: later pages show nothing that came after.
        occurred_at: Of the event the page begins after, microseconds.
        position: Of the same event.
        direction: `older` continues downwards, `newer` back up.
    """

    now: Instant
    newest: int
    occurred_at: int
    position: int
    direction: Literal["older", "newer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of events, newest first.

    Attributes:
        events: At most `limit`.
        older: Cursor of the next page down, None at the end.
        newer: Cursor of the page above, None at the first.
        arrived: Matching events stored since the first page was read, which pages leave out;
            counted up to 1,000.
    """

    events: Sequence[StoredEvent]
    older: str | None
    newer: str | None
    arrived: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """A number of events; `exact` is False when counting stopped at a cap ("at least")."""

    count: int
    exact: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class FacetValue:
    """One value of a facet.

    Attributes:
        field: The qualifier a search for it is written with: `actor.id` for actors with an id,
            `actor.type` for those without, else the facet's own field.
        value: What stands behind that qualifier.
        label: What a person reads; for most fields the value.
    """

    field: str
    value: str
    label: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Facet:
    """The commonest values of one field, most frequent first, then by value.

    Attributes:
        distinct: How many values there are in all.
    """

    field: FacetField
    values: Sequence[FacetValue]
    distinct: int
    exact: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """Events from `start` to the next bucket's start, split by outcome or severity."""

    start: Instant
    end: Instant
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    buckets: Sequence[Bucket]
    split_by: SplitBy
    exact: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that verification found.

    Attributes:
        tenant: Whose log, None when the whole database is meant.
        index: Which leaf, None when no single one.
        what: What does not hold, in English; no values of the event.
    """

    tenant: str | None
    index: int | None
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeHead:
    """Size and root of one tenant's tree as stored."""

    tenant: str
    log_id: str
    size: int
    root: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """The result of verifying a whole store."""

    events: int
    trees: Sequence[TreeHead]
    problems: Sequence[Problem]

    @property
    def is_sound(self) -> bool:
        return not self.problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """How much there is.

    Attributes:
        size_bytes: Of the whole database; None for a caller who doesn't see all tenants.
        oldest: When the first event occurred.
        newest: When the last one did.
    """

    events: int
    size_bytes: int | None
    oldest: Instant | None
    newest: Instant | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A credential of a machine; only the digest of its secret is stored.

    Attributes:
        id: Public part, e.g. `k3f9a2c1`.
        tenant: The one tenant it is bound to, or `*` for all.
        scopes: Of `ingest`, `read`, `export`, `manage`.
        digest: SHA-256 of the secret part.
    """

    id: str
    name: str
    tenant: str
    scopes: frozenset[str]
    digest: bytes
    created_at: Instant
    expires_at: Instant | None = None


class EventStore(Protocol):
    """Events in, events out. Safe for use from many threads.

    Every method may raise `StoreUnavailableError` (busy, full, gone: try again). Reads that get an
    `access` without the permission `read` raise `PermissionRefusedError`.
    """

    @property
    def url(self) -> str:
        """What `open_store` opens the same store with, from any folder."""
        ...

    def append(
        self,
        batch: Sequence[Encoded],
        *,
        writer: str | None = None,
        now: Instant | Sequence[Instant] | None = None,
        connection: object = None,
    ) -> list[Receipt]:
        """Store a batch: all of it or nothing.

        Durable when it returns. Idempotent by id and by idempotency key. Events get their index
        in the order of the batch. A crash inside leaves nothing.

        With a `connection` of the host's, in the transaction that is open there: durable when that
        commits, gone when it rolls back; a failure leaves the host's own work as it was.

        Args:
            writer: Who appends, for the stamp, e.g. `key:k3f9a2c1`.
            now: The clock's reading for `received_at`, for all or one for each; the present when
                absent.
            connection: The raw connection of the database driver, to the same database.

        Raises:
            ConflictError: One of them was stored before with another body.
        """
        ...

    def append_each(self, batches: Sequence[Batch]) -> list[list[Receipt] | ConflictError]:
        """Store several batches with one commit; each is all or nothing for itself.

        Durable when it returns. Idempotent as `append` is; of two batches with the same event the
        first one stores it. A crash inside leaves nothing of any.

        Returns:
            For each batch its receipts, or why it was not stored.
        """
        ...

    def find(
        self, event_id: str, *, access: Access, tenant: str | None = None
    ) -> StoredEvent | None:
        """The event with this id that the caller may see, or None. Never says which of the two."""
        ...

    def page(
        self, query: Query, *, access: Access, limit: int = 50, cursor: Cursor | None = None
    ) -> Page:
        """Matching events, newest first by (occurred_at, position)."""
        ...

    def open_cursor(self, token: str, *, text: str) -> Cursor:
        """Read a cursor that `page` made for the search `text`.

        Raises:
            CursorError: Damaged, or of another search or store.
        """
        ...

    def seal_cursor(self, cursor: Cursor, *, text: str) -> str:
        """Write a cursor that `open_cursor` reads, for the search `text`."""
        ...

    def scan(self, query: Query, *, access: Access) -> Iterator[StoredEvent]:
        """All matching events, newest first, in flat memory."""
        ...

    def count(self, query: Query, *, access: Access, cap: int | None = None) -> Counted:
        """How many match; stops at `cap`."""
        ...

    def facets(
        self, query: Query, *, access: Access, fields: Sequence[FacetField], limit: int = 10
    ) -> list[Facet]:
        """The commonest values of each field among the matching events."""
        ...

    def histogram(
        self,
        query: Query,
        *,
        access: Access,
        edges: Sequence[Instant],
        split_by: SplitBy = "outcome",
    ) -> Histogram:
        """Matching events per bucket; n+1 ascending edges make n buckets."""
        ...

    def tenants(self, *, access: Access) -> list[str]:
        """Ids of the tenants that have events and that the caller may see, sorted."""
        ...

    def read_from(self, position: int, *, access: Access, limit: int = 1000) -> list[StoredEvent]:
        """Events in sealed order, from `position` (inclusive) on: for followers."""
        ...

    def newest_position(self) -> int:
        """Where the sealed order ends now, 0 for an empty store: one cheap read for followers.

        Internal, as every position: it counts the events of all tenants.
        """
        ...

    def verify(
        self, *, access: Access, progress: Callable[[int, int], None] | None = None
    ) -> VerifyReport:
        """Recompute everything from the stored bytes and compare. Needs the permission `verify`."""
        ...

    def stats(self, *, access: Access) -> Stats:
        """Sizes and times of what the caller may see, cheap enough to ask often."""
        ...

    def start_indexing(self, *, alone: bool = False) -> None:
        """Begin to index what waits, in the background, where the store does that; for servers.

        Idempotent. Nothing depends on it but the speed of searches; the first append begins it too.

        Args:
            alone: This process does nothing else: take no breaks for the sake of its writers.
        """
        ...

    def index_now(
        self, *, rebuild: bool = False, progress: Callable[[int, int], None] | None = None
    ) -> None:
        """Index all that waits, in this thread, as after an import. Idempotent.

        Durable piece by piece; a crash leaves what was done.

        Args:
            rebuild: Forget the indexes of text first, and write them anew from the events.
            progress: Called now and then with how much is done, of how much.

        Raises:
            StoreUnavailableError: The store can't be written.
        """
        ...

    def check_health(self) -> None:
        """Return if events can be stored and read now.

        Raises:
            StoreUnavailableError: They can't; says why.
        """
        ...

    def add_key(self, key: ApiKey) -> None:
        """Store a credential."""
        ...

    def find_key(self, key_id: str) -> ApiKey | None:
        """The credential with this public part."""
        ...

    def keys(self) -> list[ApiKey]:
        """All credentials, oldest first."""
        ...

    def close(self) -> None:
        """Release files and connections. Idempotent."""
        ...


__all__ = [
    "Access", "ApiKey", "Batch", "Bucket", "Counted", "Cursor", "EventStore", "Facet", "FacetField",
    "FacetValue", "Histogram", "Page", "Permission", "Problem", "Receipt", "SplitBy", "Stats",
    "TreeHead", "VerifyReport", "key_of_part",
]  # fmt: skip
