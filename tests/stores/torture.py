"""The processes of the torture test: writers that misbehave, and sealers that compete.

    python -m tests.stores.torture host|ingest|sealer URL SEED FILE

A host writes an event and a row of its own table `app` in one transaction, so what is true is in
the database itself, wherever the process is killed. An ingesting process writes down what was
acknowledged. All go on until they are killed; a server that is away is tried again.
"""

from __future__ import annotations

import logging
import os
import random
import sys
from collections.abc import Callable

import psycopg

from whodid.errors import StoreUnavailableError
from whodid.ids import uuid7
from whodid.stores.base import Batch
from whodid.stores.postgres import PostgresStore
from whodid.stores.postgres_write import append_within
from whodid.testing import an_event, prepared

APP = "CREATE TABLE app (id uuid NOT NULL, part integer NOT NULL)"
TENANTS = ("acme", "beta", "gamma")

Host = psycopg.Connection[tuple[object, ...]]


def _write(connection: Host, chance: random.Random) -> str:
    """Some events and as many rows of the application's, in the transaction that is open."""
    ids = [uuid7() for _ in range(chance.randint(1, 4))]
    events = [
        an_event(
            id=event_id,
            tenant=chance.choice(TENANTS),
            actor=f"user{chance.randrange(40)}",
            source={"app": f"app{chance.randrange(5)}"},
        )
        for event_id in ids
    ]
    append_within(connection, Batch(events=prepared(*events)))
    for event_id in ids:
        connection.execute("INSERT INTO app (id, part) VALUES (%s, %s)", (event_id, os.getpid()))
    return ids[0]


def _transaction(connection: Host, chance: random.Random) -> None:
    _write(connection, chance)
    kind = chance.random()
    if kind < 0.15:
        connection.rollback()
        return
    if kind < 0.4:
        connection.execute("SAVEPOINT host")
        _write(connection, chance)
        connection.execute(
            "ROLLBACK TO SAVEPOINT host" if chance.random() < 0.5 else "RELEASE SAVEPOINT host"
        )
        _write(connection, chance)
    elif kind < 0.45:
        connection.execute("SELECT pg_sleep(0.5)")
        _write(connection, chance)
    connection.commit()


def host(url: str, chance: random.Random, file: str) -> None:
    with psycopg.connect(url) as connection:
        while True:
            _transaction(connection, chance)


def ingest(url: str, chance: random.Random, file: str) -> None:
    store = PostgresStore(url)
    with open(file, "ab", buffering=0) as acknowledged:
        while True:
            ids = [uuid7() for _ in range(chance.randint(1, 30))]
            events = prepared(*(an_event(id=each, tenant=chance.choice(TENANTS)) for each in ids))
            receipts = store.append(events)
            again = store.append(events[:2]) if chance.random() < 0.2 else []
            lines = [f"{each.tenant} {each.id} {each.index}\n" for each in [*receipts, *again]]
            acknowledged.write("".join(lines).encode())


def sealer(url: str, chance: random.Random, file: str) -> None:
    store = PostgresStore(url)
    while True:
        store.seal(everything=chance.random() < 0.02)


ROLES: dict[str, Callable[[str, random.Random, str], None]] = {
    "host": host,
    "ingest": ingest,
    "sealer": sealer,
}

if __name__ == "__main__":
    # What is said of a server that went away is no complaint here.
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)
    logging.getLogger("whodid").setLevel(logging.ERROR)
    role, where, seed, path = sys.argv[1:]
    dice = random.Random(seed)
    while True:
        try:
            ROLES[role](where, dice, path)
        except (psycopg.OperationalError, StoreUnavailableError):
            continue
