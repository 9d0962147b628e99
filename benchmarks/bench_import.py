"""Import rate: our own JSON lines and CloudTrail records, from a file to sealed events.

python benchmarks/bench_import.py [RECORDS]
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import time
from pathlib import Path

import msgspec
from common import demo_events, folder, save

from whodid import event, ids


def cloudtrail(count: int) -> bytes:
    """A `Records` file as CloudTrail delivers it, of made-up calls."""
    records = [
        {
            "eventVersion": "1.09",
            "eventID": ids.derived_id("bench", str(number).encode()),
            "eventTime": f"2026-03-{number % 28 + 1:02}T{number % 24:02}:{number % 60:02}:00Z",
            "eventSource": "s3.amazonaws.com",
            "eventName": ("GetObject", "PutObject", "DeleteObject")[number % 3],
            "awsRegion": "eu-north-1",
            "sourceIPAddress": f"203.0.113.{number % 250}",
            "userAgent": "aws-cli/2.15",
            "userIdentity": {
                "type": "IAMUser",
                "arn": f"arn:aws:iam::111122223333:user/user{number % 50}",
                "accountId": "111122223333",
                "userName": f"user{number % 50}",
            },
            "requestParameters": {"bucketName": "invoices", "key": f"2026/{number}.pdf"},
            "recipientAccountId": "111122223333",
        }
        for number in range(count)
    ]
    return json.dumps({"Records": records}).encode()


def run(where: Path, kind: str, file: Path) -> dict[str, object]:
    command = [sys.executable, "-m", "whodid", "import", kind, str(file)]
    command += ["--db", f"sqlite:///{where / (kind + '.db')}"]
    start, peak_kb = time.perf_counter(), 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak_kb = max(peak_kb, resident_kb(process.pid))
            time.sleep(0.05)
    taken = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"the import ended with exit code {process.returncode}")
    return {"seconds": round(taken, 2), "peak MB": round(peak_kb / 1024)}


def resident_kb(pid: int) -> int:
    """The most memory the process has had so far, where the system tells; else 0."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def main(count: int) -> None:
    results: dict[str, object] = {"records": count}
    with folder() as where:
        lines = where / "events.jsonl"
        written = [
            msgspec.json.encode(each, enc_hook=event.write_hook) for each in demo_events(count)
        ]
        lines.write_bytes(b"\n".join(written))
        packed = where / "cloudtrail.json.gz"
        packed.write_bytes(gzip.compress(cloudtrail(count), 1))
        for kind, file in (("jsonl", lines), ("cloudtrail", packed)):
            taken = run(where, kind, file)
            rate = round(count / float(str(taken["seconds"])))
            results[kind] = {"records/s": rate} | taken
    save("import", results)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50_000)
