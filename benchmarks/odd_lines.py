"""Odd lines by the million through `whodid import`: how many go in, how fast, and no traceback.

python benchmarks/odd_lines.py [LINES]

Records of every format, most of them damaged in some way (`tests/importers/odd.py`), are written
to files in chunks, imported into a database that is thrown away, with a reject file, and counted.
Ends with exit code 1 if the program ever ended otherwise than "all stored" or "some rejected",
wrote a traceback, or lost count of a line.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

from common import folder, save

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.importers.odd import odd_line
from whodid.importers import READERS

CHUNK_LINES = 50_000
_SUMMARY = re.compile(
    r"read ([\d,]+) records in ([\d.]+) s .*: ([\d,]+) stored, ([\d,]+) already there, "
    r"([\d,]+) rejected(?:, ([\d,]+) passed over)?"
)


class Broken(Exception):
    """The program did something that it must not, whatever it is given."""


def write_chunk(path: Path, form: str, *, lines: int, seed: str) -> int:
    """Odd lines in a file; how many of them are not blank, which is how many must be counted."""
    rng, written = Random(seed), 0
    with path.open("wb") as file:
        for _ in range(lines):
            line = odd_line(rng, form)
            written += bool(line.strip())
            file.write(line + b"\n")
    return written


def run(where: Path, form: str, chunk: Path) -> dict[str, float]:
    """Import a chunk; what the program says became of it."""
    rejects = where / "rejects"
    rejects.unlink(missing_ok=True)
    command = [sys.executable, "-W", "error", "-m", "whodid", "import", "--format", form]
    command += ["--db", f"sqlite:///{where / 'odd.db'}", "--reject", str(rejects), str(chunk)]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    found = _SUMMARY.search(done.stdout)
    if done.returncode not in (0, 3) or "Traceback" in done.stderr or found is None:
        raise Broken(f"{form}: exit code {done.returncode}\n{done.stdout}\n{done.stderr[-4000:]}")
    read, _, stored, known, rejected, passed = (
        float((part or "0").replace(",", "")) for part in found.groups()
    )
    kept = sum(1 for _ in rejects.open("rb")) if rejects.exists() else 0
    if read != stored + known + rejected + passed or kept != rejected:
        raise Broken(f"{form}: {read:.0f} read, but {done.stdout}, and {kept} in the reject file")
    return {
        "read": read, "accepted": stored, "equal": known, "rejected": rejected,
        "passed over": passed, "seconds": seconds,
    }  # fmt: skip


def run_format(where: Path, form: str, lines: int) -> dict[str, object]:
    total: Counter[str] = Counter()
    seconds, chunk = 0.0, where / "chunk"
    for begin in range(0, lines, CHUNK_LINES):
        size = min(CHUNK_LINES, lines - begin)
        expected = write_chunk(chunk, form, lines=size, seed=f"{form} {begin}")
        counts = run(where, form, chunk)
        if counts["read"] != expected:
            raise Broken(f"{form}: {expected} lines written, {counts['read']:.0f} read")
        seconds += counts.pop("seconds")
        total.update({key: round(value) for key, value in counts.items()})
    rate = round(total["read"] / seconds)
    return {"lines": total.pop("read"), "records/s": rate, **total, "tracebacks": 0}


def main(count: int) -> int:
    each = -(-count // len(READERS))
    results: dict[str, object] = {"lines": each * len(READERS)}
    start = time.perf_counter()
    with folder() as where:
        try:
            for form in READERS:
                results[form] = run_format(where, form, each)
                print(form, results[form], flush=True)
        except Broken as error:
            print(error, file=sys.stderr)
            return 1
    results["minutes"] = round((time.perf_counter() - start) / 60, 1)
    save("odd_lines", results)
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000))
