"""Four processes that write one event a commit into one file, with the queue and without.

python benchmarks/bench_turns.py [SECONDS]
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from contextlib import nullcontext
from pathlib import Path

from common import folder, percentiles, save
from workload import lines

from whodid import recorder
from whodid.event import decode
from whodid.stores.sqlite import SqliteStore

PROCESSES = 4


def work(
    path: Path,
    seconds: float,
    start: int,
    has_turns: bool,
    samples: multiprocessing.Queue[list[float]],
) -> None:
    store = SqliteStore(path, indexes=False)
    if not has_turns:
        store._turns.turn = nullcontext  # type: ignore[method-assign]  # the queue is what is compared
    encoded = [recorder.prepare(decode(line)) for line in lines(start + 5_000, start=start)]
    taken: list[float] = []
    until = time.perf_counter() + seconds
    for event in encoded:
        if time.perf_counter() > until:
            break
        begun = time.perf_counter()
        store.append([event])
        taken.append(time.perf_counter() - begun)
    store.close()
    samples.put(taken)


def main(seconds: float) -> None:
    results: dict[str, object] = {}
    for name, has_turns in (("taking turns", True), ("SQLite's own waiting", False)):
        with folder() as where:
            path = where / "log.db"
            SqliteStore(path).close()
            samples: multiprocessing.Queue[list[float]] = multiprocessing.Queue()
            workers = [
                multiprocessing.Process(
                    target=work, args=(path, seconds, number * 5_000, has_turns, samples)
                )
                for number in range(PROCESSES)
            ]
            for worker in workers:
                worker.start()
            taken = [samples.get() for _ in workers]
            for worker in workers:
                worker.join()
        together = [each for one in taken for each in one]
        results[name] = {
            "events/s": round(len(together) / seconds),
            "fewest and most of a process": [min(map(len, taken)), max(map(len, taken))],
            **percentiles(together),
            "max_ms": round(max(together) * 1000, 1),
        }
    save("turns", results)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 6)
