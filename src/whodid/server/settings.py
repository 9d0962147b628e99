"""What an operator may set, each with its unit, its default and what it protects.

Values only: nothing here reads an environment or a file, so that the command line, a test and an
embedding program all say what they mean. Not here: the database's URL (a store is passed in) and
the keys (they live in the store).
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, fields

from whodid.errors import ConfigError
from whodid.recorder import MAX_BATCH_EVENTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the server listens and where it stops.

    Attributes:
        host: Address to listen on, default `127.0.0.1`. On a loopback address a person at this
            machine needs no key as long as none exists; on any other address everybody needs
            one, and the server does not start without. `0.0.0.0` gives an attacker in the
            network the login to try.
        port: TCP port, 0 to 65535, default 8787; 0 takes a free one.
        max_body_bytes: Largest request body, default 5,000,000. Read only after the key was
            found good, and never beyond this; what a holder of an ingest key can make the server
            hold in memory is this times the requests it opens at once (`max_requests`).
        max_body_ratio: How many times its own size a packed body may have unpacked, default 200;
            counts from 1 MB on. JSON of real events packs 5 to 30 times; a bomb, 1,000 times.
        max_waiting_bytes: Bodies held in memory at once, in bytes, default 64,000,000: those that
            arrive and those that wait for the writer. More are answered 503 with Retry-After
            before they are read.
        max_batch_events: Events in one request, default 1,000. Bounds how long one request holds
            the store's write lock.
        max_errors: Faulty events that one answer names, default 100, so that a hostile batch
            can't make a larger answer than its request.
        head_timeout_s: Seconds until a request's head is there, default 10, counted from the
            beginning of the connection or the last answer on it. Without it, clients that send
            one byte a minute would use up all connections, with no key.
        body_timeout_s: Seconds that a body may take to arrive, default 30. Without it, clients
            that send one byte a minute would hold every request there is.
        max_requests: Connections and requests at once, default 512; more are answered 503 at
            once. An outage of the database then costs memory for 512 requests, not for all.
        ingest_workers: Processes that decode and store events beside this one, default 0: a
            thread here does it. More make use of more cores, and keep pages quick under load.
        key_events_per_minute: Events that one key may send in a minute, default 0 for no limit.
            Up to a minute's worth may come at once.
        key_bytes_per_minute: The same in bytes of bodies as they arrive.
        tenant_events_per_minute: Events that are taken for one tenant in a minute, from all keys.
        tenant_bytes_per_minute: The same in bytes as stored. Without quotas whoever holds an
            ingest key can fill the disk.
        read_threads: Threads that search, default 8. They are apart from the writing ones: slow
            searches, by mistake or on purpose, never hold up ingest.
        key_memory_s: Seconds that a key found in the store is believed, default 1. For so long a
            key goes on working after it was taken away.
        health_memory_s: Seconds that an answer of /healthz is repeated, default 1. It is the
            only door without a key; this is how often a stranger can make the store work.
        reading_memory_s: Period in which one principal's reading of one query is one event,
            default 600. Shorter gives a finer trace and more events.
        max_readings: Readings remembered, default 10,000. A holder of a read key who sends more
            different queries than this makes one event for each, nothing worse.
        max_tails: Tails at once, default 100; more are answered 503. Each holds a connection and at
            most 50 events in memory; a holder of a read key can keep all of them from others.
        tail_poll_s: Seconds between two looks for new events, default 0.4: one look for all tails,
            and so late an event may be on a tail.
        tail_heartbeat_s: Seconds between two signs of life on a tail, default 15. So long a tail
            goes on after its key was taken away or has expired.
        shutdown_s: Seconds that running requests get when the server stops, default 10.
    """

    host: str = "127.0.0.1"
    port: int = 8787
    max_body_bytes: int = 5_000_000
    max_body_ratio: int = 200
    max_waiting_bytes: int = 64_000_000
    max_batch_events: int = MAX_BATCH_EVENTS
    max_errors: int = 100
    head_timeout_s: float = 10.0
    body_timeout_s: float = 30.0
    max_requests: int = 512
    ingest_workers: int = 0
    key_events_per_minute: int = 0
    key_bytes_per_minute: int = 0
    tenant_events_per_minute: int = 0
    tenant_bytes_per_minute: int = 0
    read_threads: int = 8
    key_memory_s: float = 1.0
    health_memory_s: float = 1.0
    reading_memory_s: float = 600.0
    max_readings: int = 10_000
    max_tails: int = 100
    tail_poll_s: float = 0.4
    tail_heartbeat_s: float = 15.0
    shutdown_s: int = 10

    def __post_init__(self) -> None:
        if not self.host:
            raise ConfigError("host: expected an address such as 127.0.0.1, got an empty one")
        if not 0 <= self.port <= 65_535:
            raise ConfigError(f"port: expected 0 to 65535, got {self.port}")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith(("_memory_s", "_per_minute", "_workers")):
                if value < 0:
                    raise ConfigError(f"{field.name}: expected 0 or more, got {value}")
            elif field.name not in ("host", "port") and value <= 0:
                raise ConfigError(f"{field.name}: expected more than 0, got {value}")

    @property
    def is_loopback(self) -> bool:
        """Can only this machine connect?"""
        return self.host == "localhost" or is_loopback_address(self.host)

    def check(self, *, has_key: bool) -> None:
        """Let the server start if nobody could come in unasked.

        Raises:
            ConfigError: It would listen to other machines and there is no key yet.
        """
        if not self.is_loopback and not has_key:
            raise ConfigError(
                f"host {self.host} can be reached by other machines and there is no key yet; "
                "make one with `whodid keys create --help`, or listen on 127.0.0.1"
            )


def is_loopback_address(text: str) -> bool:
    """Is this an address of this machine alone? A name is none: it may lead anywhere."""
    try:
        address = ipaddress.ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
