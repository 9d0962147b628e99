"""How much a key may send and a tenant may take in a minute, and how much they did.

Each quota is a bucket that fills evenly and holds a minute's worth. What a body holds is known
only when it has been taken apart, so a request is let in while there is anything left, and its
events are taken out when they are stored: a bucket may go below nothing by what was under way, and
the debt is paid before the next request. The counters live as long as the process.

Used on the event loop alone, so there are no locks. Knows no HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from whodid.server.settings import Settings

Owner: TypeAlias = Literal["key", "tenant"]
_MAX_BUCKETS = 100_000


@dataclass(slots=True)
class _Bucket:
    """What is left of a quota, in events or bytes.

    Attributes:
        at: When `left` was right, in seconds of a monotonic clock.
    """

    per_minute: int
    left: float
    at: float

    def wait_s(self, now: float) -> float:
        """Seconds until there is one left; 0 when there is."""
        self._fill(now)
        return max(0.0, (1 - self.left) * 60 / self.per_minute)

    def take(self, amount: int, now: float) -> None:
        self._fill(now)
        self.left -= amount

    def is_full(self, now: float) -> bool:
        self._fill(now)
        return self.left >= self.per_minute

    def _fill(self, now: float) -> None:
        passed, self.at = max(0.0, now - self.at), now
        self.left = min(float(self.per_minute), self.left + passed * self.per_minute / 60)


@dataclass(slots=True)
class Usage:
    """What one key or tenant sent since the process began."""

    events: int = 0
    bytes: int = 0
    refused: int = 0


@dataclass(slots=True)
class Quotas:
    """The quotas of all keys and tenants, and what they used."""

    settings: Settings
    usage: dict[tuple[Owner, str], Usage] = field(default_factory=dict)
    _buckets: dict[tuple[Owner, str, str], _Bucket] = field(default_factory=dict)
    _spent_tenants: set[str] = field(default_factory=set)

    def wait_s(self, owner: Owner, name: str, *, now: float) -> float:
        """Seconds until this key or tenant may send again; 0 when it may."""
        return max((bucket.wait_s(now) for bucket, _ in self._of(owner, name, now)), default=0.0)

    def spent_tenants(self, *, now: float) -> dict[str, float]:
        """Seconds to wait for every tenant that has used up its quota."""
        waits = {name: self.wait_s("tenant", name, now=now) for name in self._spent_tenants}
        spent = {name: wait for name, wait in waits.items() if wait > 0}
        self._spent_tenants = set(spent)
        return spent

    def take(self, owner: Owner, name: str, *, events: int, size: int, now: float) -> None:
        """Count events that were stored, and their bytes."""
        used = self._usage(owner, name)
        used.events += events
        used.bytes += size
        for bucket, unit in self._of(owner, name, now):
            bucket.take(events if unit == "events" else size, now)
            if owner == "tenant" and bucket.left < 1:
                self._spent_tenants.add(name)

    def refuse(self, owner: Owner, name: str) -> None:
        """Count a request that was sent away."""
        self._usage(owner, name).refused += 1

    def _usage(self, owner: Owner, name: str) -> Usage:
        used = self.usage.get((owner, name))
        if used is None:
            if len(self.usage) >= _MAX_BUCKETS:
                name = "others"  # whoever makes up tenants must not fill the memory
            used = self.usage.setdefault((owner, name), Usage())
        return used

    def _of(self, owner: Owner, name: str, now: float) -> Iterator[tuple[_Bucket, str]]:
        for unit in ("events", "bytes"):
            limit: int = getattr(self.settings, f"{owner}_{unit}_per_minute")
            if limit:
                yield self._bucket(owner, name, unit, limit=limit, now=now), unit

    def _bucket(self, owner: Owner, name: str, unit: str, *, limit: int, now: float) -> _Bucket:
        known = self._buckets.get((owner, name, unit))
        if known is None:
            if len(self._buckets) >= _MAX_BUCKETS:
                # A full bucket says nothing that a new one would not.
                self._buckets = {
                    key: bucket for key, bucket in self._buckets.items() if not bucket.is_full(now)
                }
            known = self._buckets[owner, name, unit] = _Bucket(limit, float(limit), now)
        return known
