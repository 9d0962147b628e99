"""How long things take to start: an import, the command line, a server's first answer.

python benchmarks/bench_start.py
"""

from __future__ import annotations

import subprocess
import sys
import time

from bench_http import server
from common import folder, save

RUNS = 11


def process_ms(*arguments: str) -> float:
    """Median wall time of a fresh interpreter, in milliseconds."""
    samples = []
    for _ in range(RUNS):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        samples.append(time.perf_counter() - start)
    return round(sorted(samples)[RUNS // 2] * 1000, 1)


def main() -> None:
    bare = process_ms("-c", "pass")
    results: dict[str, object] = {"bare interpreter, ms": bare}
    for name in ("whodid", "whodid.event", "whodid.recorder", "whodid.stores.sqlite"):
        results[f"import {name}, ms over bare"] = round(
            process_ms("-c", f"import {name}") - bare, 1
        )
    results["whodid --version, ms"] = process_ms("-m", "whodid", "--version")
    with folder() as where:
        samples = []
        for _ in range(5):
            start = time.perf_counter()
            with server(where / "log.db", 0):
                samples.append(time.perf_counter() - start)
        results["server until healthy, ms"] = round(sorted(samples)[2] * 1000)
    save("start", results)


if __name__ == "__main__":
    main()
