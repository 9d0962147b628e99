"""The generated workload: many tenants, actors and targets, in the form clients send it.

About 900 bytes of JSON an event; 200 tenants and 50,000 actors, both in a zipf distribution, two
million targets, every action of the registry that an application may write. The same events for
the same count, whatever the process; `lines(count, start=n)` begins in the middle without making
what is before.

    python benchmarks/workload.py 1000000 > events.jsonl
"""

from __future__ import annotations

import random
import sys
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from whodid import actions
from whodid.times import Instant

TENANTS = 200
ACTORS = 50_000
TARGETS = 2_000_000
DAYS = 90
BEGINS = Instant.parse("2026-01-01T00:00:00Z")
CHUNK = 1_000  # events that share one random generator, so that any chunk can be made alone

FIRST_NAMES = ("Ana", "Bogdan", "Chiara", "Daan", "Elif", "Farid", "Goran", "Hana", "Ivo", "Jana")
LAST_NAMES = (
    "Okafor",
    "Lindqvist",
    "Petrov",
    "Marin",
    "Costa",
    "Haddad",
    "Novak",
    "Tanaka",
    "Weiss",
)
_AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/{0}.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/{0}.1 Safari/605.1.15",
    "python-requests/2.{0}.0",
)
_COUNTRIES = ("NO", "DE", "FR", "ES", "MK", "US", "JP", "BR")
FIELDS = ("status", "email", "role", "amount", "due_date", "title", "owner", "priority")
WORDS = (
    "annual budget draft final north south harbour release customer ledger meeting notes summer "
    "winter policy review contract renewal migration report storage invoice shipment quality"
).split()
_NOUNS = ("document", "project", "ticket", "order", "report", "page", "shipment", "contract")
_APPS = ("billing", "crm", "intranet", "shop", "helpdesk")


def _zipf(size: int, exponent: float) -> Sequence[float]:
    return list(accumulate(1 / rank**exponent for rank in range(1, size + 1)))


def _tenants() -> Sequence[int]:
    """The tenant of each actor."""
    pick, weights = random.Random(TENANTS), _zipf(TENANTS, 1.0)
    return [bisect_left(weights, pick.random() * weights[-1]) for _ in range(ACTORS)]


def lines(count: int, *, start: int = 0, total: int | None = None) -> Iterator[bytes]:
    """Events `start` to `count` of a workload of `total`, as JSON, oldest first.

    Args:
        count: Where to stop; `start` and `count` are multiples of `CHUNK`, or the ends.
        total: How many events the `DAYS` are filled with; `count` when absent.
    """
    actors, tenants = _zipf(ACTORS, 0.9), _tenants()
    names = [each.name for each in actions.all_actions() if not each.name.startswith("audit.")]
    named = _zipf(len(names), 0.8)
    step = DAYS * 86_400_000_000 // (total or count)
    for first in range(start, count, CHUNK):
        pick = random.Random(first)
        for number in range(first, min(first + CHUNK, count)):
            actor = bisect_left(actors, pick.random() * actors[-1])
            late = pick.random() < 0.01
            moment = BEGINS.micros + number * step - (pick.randrange(600_000_000) if late else 0)
            yield _event(
                pick,
                number=number,
                moment=Instant.from_micros(moment),
                tenant=tenants[actor],
                actor=actor,
                action=names[bisect_left(named, pick.random() * named[-1])],
            )


def _event(
    pick: random.Random, *, number: int, moment: Instant, tenant: int, actor: int, action: str
) -> bytes:
    first, last = FIRST_NAMES[actor % 10], LAST_NAMES[actor % 9]
    target, field = pick.randrange(TARGETS), FIELDS[number % 8]
    word, other, third = (WORDS[pick.randrange(len(WORDS))] for _ in range(3))
    failed = pick.random() < 0.06
    outcome = (
        '"outcome":"failure","reason":{"code":"not_permitted"}' if failed else '"outcome":"success"'
    )
    host = actor * 2_654_435_761 % 2**24
    ip = f"10.{host >> 16}.{host >> 8 & 255}.{(host + pick.randrange(3)) & 255}"
    agent = _AGENTS[actor % 3].format(100 + actor % 40)
    middle = pick.getrandbits(64)
    return (
        f'{{"id":"{_uuid(moment.micros // 1000, middle)}","occurred_at":"{moment}",'
        f'"action":"{action}",{outcome},'
        f'"actor":{{"type":"user","id":"u{actor}","name":"{first} {last} {actor}",'
        f'"email":"{first.lower()}.{last.lower()}{actor}@example.com",'
        f'"auth":{{"method":"password","session_id":"s{actor}-{number // 50_000}"}}}},'
        f'"tenant":{{"id":"t{tenant}"}},'
        f'"targets":[{{"type":"{_NOUNS[target % 8]}","id":"{target}",'
        f'"name":"{word} {other} {target % 9973}"}}],'
        f'"changes":[{{"path":"{field}","old":"{other}","new":"{third} {number % 997}"}}],'
        f'"client":{{"ip":"{ip}","user_agent":"{agent}",'
        f'"geo":{{"country":"{_COUNTRIES[actor % 8]}"}}}},'
        f'"request":{{"id":"r{middle:016x}","method":"POST",'
        f'"route":"/{_NOUNS[target % 8]}s/{{id}}",'
        f'"status":{403 if failed else 200},"duration_ms":{pick.randrange(900)}}},'
        f'"trace":{{"trace_id":"{middle:016x}{~middle & 2**64 - 1:016x}"}},'
        f'"source":{{"app":"{_APPS[tenant % 5]}","environment":"production"}},'
        f'"metadata":{{"batch":"b{number // 1000}","note":"{third} {word}"}}}}'
    ).encode()


def _uuid(millis: int, middle: int) -> str:
    digits = f"{millis:012x}7{middle >> 52 & 0xFFF:03x}{0x8000 | middle >> 36 & 0x3FFF:04x}"
    digits += f"{middle & 0xFFFFFFFFF:09x}{middle >> 40 & 0xFFF:03x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


if __name__ == "__main__":
    for line in lines(int(sys.argv[1])):
        sys.stdout.buffer.write(line + b"\n")
