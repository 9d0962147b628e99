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
        max_batch_events: Events in one request, default 1,000. Bounds how long one request holds
            the store's write lock.
        max_errors: Faulty events that one answer names, default 100, so that a hostile batch
            can't make a larger answer than its request.
        body_timeout_s: Seconds that a body may take to arrive, default 30. Without it, clients
            that send one byte a minute would hold every request there is.
        max_requests: Connections and requests at once, default 512; more are answered 503 at
            once. An outage of the database then costs memory for 512 requests, not for all.
        write_threads: Threads that store events, default 4. SQLite has one writer anyway.
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
        shutdown_s: Seconds that running requests get when the server stops, default 10.
    """

    host: str = "127.0.0.1"
    port: int = 8787
    max_body_bytes: int = 5_000_000
    max_batch_events: int = MAX_BATCH_EVENTS
    max_errors: int = 100
    body_timeout_s: float = 30.0
    max_requests: int = 512
    write_threads: int = 4
    read_threads: int = 8
    key_memory_s: float = 1.0
    health_memory_s: float = 1.0
    reading_memory_s: float = 600.0
    max_readings: int = 10_000
    shutdown_s: int = 10

    def __post_init__(self) -> None:
        if not self.host:
            raise ConfigError("host: expected an address such as 127.0.0.1, got an empty one")
        if not 0 <= self.port <= 65_535:
            raise ConfigError(f"port: expected 0 to 65535, got {self.port}")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_memory_s"):
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
