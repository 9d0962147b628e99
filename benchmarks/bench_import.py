"""Import rate: our own JSON lines and CloudTrail records, from a file to sealed events.

python benchmarks/bench_import.py [RECORDS]
"""

from __future__ import annotations

import gzip
import json
import resource
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
    start = time.perf_counter()
    done = subprocess.run(
        [*command, "--db", f"sqlite:///{where / (kind + '.db')}"],
        check=False,
        capture_output=True,
        text=True,
    )
    taken = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(done.stderr)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {"seconds": round(taken, 2), "peak MB of any run so far": round(peak / 1024)}


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
