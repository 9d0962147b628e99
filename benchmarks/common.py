"""What all benchmarks share: events, clocks, and a result file that says where it was measured."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from whodid import __version__, demo
from whodid.event import Event
from whodid.times import Instant

RESULTS = Path(__file__).parent / "results"
NOW = Instant.parse("2026-03-15T12:00:00Z")


def demo_events(count: int) -> list[Event]:
    """The same events at every run."""
    return list(demo.history(seed=1, now=NOW, events=count))[:count]


@contextmanager
def folder() -> Iterator[Path]:
    """A folder on a real disk that is gone afterwards; WHODID_BENCH_DIR chooses the disk."""
    with TemporaryDirectory(prefix="whodid-bench-", dir=os.environ.get("WHODID_BENCH_DIR")) as name:
        yield Path(name)


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def cpu_seconds(work: Callable[[], object]) -> float:
    """Processor time of one call: the robust figure on a busy machine."""
    start = time.process_time()
    work()
    return time.process_time() - start


def percentiles(samples: Sequence[float]) -> dict[str, float]:
    """p50, p95 and p99 of durations in seconds, in milliseconds."""
    cut = quantiles(samples, n=100, method="inclusive")
    return {f"p{p}_ms": round(cut[p - 1] * 1000, 2) for p in (50, 95, 99)}


def save(name: str, results: dict[str, Any]) -> None:
    """Print the results and keep them in `results/<name>.json`."""
    document = {
        "benchmark": name,
        "measured_at": str(Instant.now()),
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "system": platform.system(),
            "python": sys.version.split()[0],
            "sqlite": sqlite3.sqlite_version,
            "msgspec": msgspec.__version__,
            "whodid": __version__,
        },
        "results": results,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    print(f"\n{name}")
    for key, value in results.items():
        if isinstance(value, list):
            continue  # in the file
        shown = (
            "  ".join(f"{part} {figure}" for part, figure in value.items())
            if isinstance(value, dict)
            else value
        )
        print(f"  {key:<34} {shown}")


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
