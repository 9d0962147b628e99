"""What `AuditLog.record` costs its caller, beside a line of JSON through the standard logging.

python benchmarks/bench_record.py [ROUNDS]

Rounds alternate between the ways, so that what else the machine does falls on all. *caller* is
processor time of the thread that records, *process* of all threads until everything is written.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from common import folder, save

from whodid import AuditLog

FIELDS: dict[str, Any] = {
    "actor": ("user", "7", "Ana"),
    "target": ("invoice", "42", "2026-42"),
    "changes": {"status": ("draft", "sent"), "total": (10, 12)},
    "metadata": {"channel": "web"},
}
Way = tuple[int, Callable[[], object], Callable[[], object]]
"""How many in a round, what records one, what waits until all are written."""


def ways(place: Path) -> dict[str, Way]:
    """The ways that are compared."""
    direct = AuditLog(place / "direct.db")
    buffered = AuditLog(place / "buffered.db", buffer=50_000)
    logger = logging.Logger("bench")
    logger.addHandler(logging.FileHandler(place / "events.jsonl"))
    return {
        "logging, a line of JSON": (
            5_000,
            lambda: logger.info(json.dumps({"action": "invoice.update", **FIELDS})),
            lambda: None,
        ),
        "record into a buffer": (
            5_000,
            lambda: buffered.record("invoice.update", **FIELDS),
            buffered.flush,
        ),
        "record, durable on return": (
            500,
            lambda: direct.record("invoice.update", **FIELDS),
            lambda: None,
        ),
    }


def measure(way: Way) -> tuple[float, float]:
    """Microseconds an event: of the caller, and of the process."""
    count, record, wait = way
    process, caller = time.process_time(), time.thread_time()
    for _ in range(count):
        record()
    caller = time.thread_time() - caller
    wait()
    return caller / count * 1e6, (time.process_time() - process) / count * 1e6


def main(rounds: int) -> None:
    samples: dict[str, list[tuple[float, float]]] = {}
    with folder() as place:
        compared = ways(place)
        for number in range(rounds + 1):
            for name, way in compared.items():
                taken = measure(way)
                if number:  # the first round is for warming up
                    samples.setdefault(name, []).append(taken)
    results = {
        name: {
            "caller_us": round(median(caller for caller, _ in taken), 1),
            "process_us": round(median(process for _, process in taken), 1),
        }
        for name, taken in samples.items()
    }
    save("record", {"rounds": rounds, **results})


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
