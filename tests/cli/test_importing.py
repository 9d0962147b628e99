from __future__ import annotations

import gzip
import io
import json
import os
import signal
import stat
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.conftest import a_trail, write_lines
from whodid.access import Access
from whodid.cli.importing import Counts, Import, RejectFile, open_file, unpacked
from whodid.errors import ConfigError, StoreUnavailableError
from whodid.importers import READERS, DamagedError, Piece
from whodid.stores.base import EventStore
from whodid.stores.sqlite import SqliteStore
from whodid.testing import a_query

ROOT = Path(__file__).parents[2]


class Kept:
    """Rejected records in a list."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def write(self, *, source: str, piece: Piece, reason: str) -> None:
        self.reasons.append(f"{source}:{piece.number}: {reason}")


def imported(
    store: EventStore, path: Path, *, form: str = "cloudtrail", **given: Any
) -> tuple[Counts, list[str]]:
    rejects = Kept()
    run = Import(READERS[form], store, rejects=rejects, **given)
    with open_file(path) as file:
        run.add_file(file, name=path.name)
    return run.counts, rejects.reasons


def numbers(counts: Counts) -> tuple[int, int, int, int]:
    return counts.read, counts.stored, counts.duplicates, counts.rejected


def test_every_record_is_stored_in_batches(store: EventStore, folder: Path) -> None:
    path = write_lines(folder / "a.jsonl", [a_trail(number) for number in range(25)])
    seen: list[int] = []

    counts, _ = imported(
        store, path, batch_events=10, on_progress=lambda now: seen.append(now.stored)
    )

    assert numbers(counts) == (25, 25, 0, 0)
    assert seen == [10, 20, 25, 25]
    assert counts.read_bytes == path.stat().st_size
    assert store.stats(access=Access.everything()).events == 25


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("shape", ["lines", "list", "records"])
def test_every_shape_of_file_is_read_packed_or_not(
    store: EventStore, folder: Path, shape: str, packed: bool
) -> None:
    records = [a_trail(number) for number in range(5)]
    text = {
        "lines": "\n".join(map(json.dumps, records)),
        "list": json.dumps(records),
        "records": json.dumps({"Records": records}),
    }[shape]
    path = folder / "trail"
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())

    counts, _ = imported(store, path)

    assert numbers(counts) == (5, 5, 0, 0)


def test_importing_again_adds_nothing(store: EventStore, folder: Path) -> None:
    records: list[dict[str, Any]] = [
        a_trail(1),
        a_trail(2, eventID="1"),
        a_trail(3, eventTime=None),
    ]
    path = write_lines(folder / "a.jsonl", records)
    imported(store, path)

    counts, _ = imported(store, path)

    assert numbers(counts) == (3, 0, 3, 0)
    assert store.stats(access=Access.everything()).events == 3


def test_the_same_record_in_another_shape_adds_nothing(store: EventStore, folder: Path) -> None:
    records = [a_trail(1), a_trail(2, eventID="no uuid")]
    imported(store, write_lines(folder / "a.jsonl", records))
    (folder / "b.json").write_text(json.dumps({"Records": records}, indent=2, sort_keys=True))

    counts, _ = imported(store, folder / "b.json")

    assert numbers(counts) == (2, 0, 2, 0)


def test_what_cannot_be_mapped_is_kept_with_its_line_and_reason(
    store: EventStore, folder: Path
) -> None:
    path = folder / "a.jsonl"
    path.write_text(
        json.dumps(a_trail(1)) + '\n{"broken\n\n[1]\n{"a":1}\n' + json.dumps(a_trail(2)) + "\n"
    )

    counts, reasons = imported(store, path)

    assert numbers(counts) == (5, 2, 0, 3)
    assert [reason.split(": ")[0] for reason in reasons] == ["a.jsonl:2", "a.jsonl:4", "a.jsonl:5"]
    assert "no JSON" in reasons[0]
    assert not counts.is_clean


def test_records_that_contradict_what_is_stored_are_kept_apart_and_the_rest_stored(
    store: EventStore, folder: Path
) -> None:
    records = [a_trail(number) for number in range(10)]
    records += [a_trail(number, awsRegion="elsewhere") for number in (0, 3, 4, 9)]
    path = write_lines(folder / "a.jsonl", [*records, a_trail(11)])

    counts, reasons = imported(store, path)

    assert numbers(counts) == (15, 11, 0, 4)
    assert [reason.split(": ", 1)[0] for reason in reasons] == [
        f"a.jsonl:{line}" for line in (11, 12, 13, 14)
    ]
    assert all("stored before with another /metadata" in reason for reason in reasons)


def test_records_without_a_tenant_go_to_the_one_given(store: EventStore, folder: Path) -> None:
    imported(store, write_lines(folder / "a.jsonl", [a_trail(1)]), tenant="acme")

    assert store.tenants(access=Access.everything()) == ["acme"]


def test_an_event_of_another_tenant_than_the_one_given_is_rejected(
    store: EventStore, folder: Path
) -> None:
    events = [
        {"action": "a.b", "actor": {"type": "system"}, "tenant": {"id": tenant}}
        for tenant in ("acme", "beta")
    ]

    counts, reasons = imported(
        store, write_lines(folder / "a.jsonl", events), form="jsonl", tenant="acme"
    )

    assert numbers(counts) == (2, 1, 0, 1)
    assert "another tenant" in reasons[0]


def test_events_of_the_log_itself_cannot_be_imported(store: EventStore, folder: Path) -> None:
    events = [{"action": "audit.log.view", "actor": {"type": "system"}}]

    counts, reasons = imported(store, write_lines(folder / "a.jsonl", events), form="jsonl")

    assert numbers(counts) == (1, 0, 0, 1)
    assert "audit." in reasons[0]


def test_a_record_too_long_is_rejected_and_the_rest_stored(store: EventStore, folder: Path) -> None:
    long = a_trail(2, requestParameters={"x": "y" * 5_000_000})
    path = write_lines(folder / "a.jsonl", [a_trail(1), long, a_trail(3)])

    counts, reasons = imported(store, path)

    assert numbers(counts) == (3, 2, 0, 1)
    assert "bytes" in reasons[0]


def test_secrets_in_records_do_not_reach_the_log(store: EventStore, folder: Path) -> None:
    record = a_trail(
        1,
        userAgent="curl --header 'Authorization: Bearer q8Zr5tYw1nUv'",
        requestParameters={"masterUserPassword": "hunter2xyzzy", "note": "AKIAIOSFODNN7EXAMPLE"},
    )
    imported(store, write_lines(folder / "a.jsonl", [record]))

    (stored,) = store.page(a_query(), access=Access.everything()).events
    for secret in (b"q8Zr5tYw1nUv", b"hunter2xyzzy", b"IOSFODNN7"):
        assert secret not in stored.body


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.99])
def test_a_packed_file_that_is_cut_off_gives_what_came_before(
    store: EventStore, folder: Path, keep: float
) -> None:
    # Numbers that don't pack well, so that a cut takes records away.
    records = [a_trail(number, requestID=os.urandom(300).hex()) for number in range(400)]
    data = gzip.compress("".join(json.dumps(record) + "\n" for record in records).encode())
    path = folder / "a.jsonl.gz"
    path.write_bytes(data[: int(len(data) * keep)])

    counts, _ = imported(store, path)

    assert 0.8 * keep * 400 < counts.stored <= 400
    assert counts.stored == store.stats(access=Access.everything()).events
    assert "cut off" in counts.damages[0]
    assert "a.jsonl.gz" in counts.damages[0]


def test_a_packed_file_with_a_flipped_byte_is_damaged_and_no_more(
    store: EventStore, folder: Path
) -> None:
    records = [a_trail(number, requestID=os.urandom(300).hex()) for number in range(100)]
    data = bytearray(gzip.compress(json.dumps({"Records": records}).encode()))
    data[len(data) // 2] ^= 0xFF
    (folder / "a.gz").write_bytes(data)

    counts, _ = imported(store, folder / "a.gz")

    assert counts.damages
    assert counts.stored <= 100


def test_a_file_that_is_not_packed_may_be_called_so(store: EventStore, folder: Path) -> None:
    counts, _ = imported(store, write_lines(folder / "a.jsonl.gz", [a_trail(1)]))

    assert numbers(counts) == (1, 1, 0, 0)


@pytest.mark.parametrize(
    "data", [b"\x89PNG\r\n\x1a\n\x00\x00", b"\x1f\x8bnot gzip", os.urandom(500)]
)
def test_garbage_is_called_damaged(store: EventStore, folder: Path, data: bytes) -> None:
    (folder / "a.bin").write_bytes(b"\x00" + data if data[:1] in b"{[ \n" else data)

    counts, _ = imported(store, folder / "a.bin")

    assert counts.stored == 0
    assert not counts.is_clean


def test_an_empty_file_is_nothing_and_no_fault(store: EventStore, folder: Path) -> None:
    (folder / "empty").touch()

    counts, _ = imported(store, folder / "empty")

    assert numbers(counts) == (0, 0, 0, 0)
    assert counts.is_clean


def test_a_folder_and_a_missing_file_are_named(folder: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder"):
        open_file(folder)
    with pytest.raises(ConfigError, match="no such file"):
        open_file(folder / "missing")


def test_a_batch_of_another_size_than_the_store_takes_is_refused(store: EventStore) -> None:
    for size in (0, 1_001):
        with pytest.raises(ConfigError, match="batch"):
            Import(READERS["jsonl"], store, rejects=Kept(), batch_events=size)


@given(data=st.binary(max_size=300))
def test_unpacking_gives_bytes_or_says_that_they_are_damaged(data: bytes) -> None:
    for content in (data, b"\x1f\x8b" + data, gzip.compress(data)[: len(data)]):
        try:
            whole = b"".join(unpacked(io.BufferedReader(io.BytesIO(content))))
        except DamagedError:
            assert content[:2] == b"\x1f\x8b"
        else:
            assert whole in (content, data, b"") or zlib.decompress(content, 31) == whole


def test_memory_is_flat_in_the_number_of_records(store: EventStore, folder: Path) -> None:
    record = json.dumps({"nothing": "x" * 1_000}) + "\n"
    path = folder / "a.jsonl.gz"
    with gzip.open(path, "wt") as file:
        for _ in range(20_000):
            file.write(record)  # 20 MB

    tracemalloc.start()
    try:
        imported(store, path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 8_000_000


# -- the reject file


def rejected(folder: Path, raw: bytes) -> dict[str, Any]:
    (folder / "a.jsonl").write_bytes(raw)
    rejects = RejectFile(folder / "rejects")
    run = Import(READERS["cloudtrail"], SqliteStore(folder / "r.db"), rejects=rejects)
    with open_file(folder / "a.jsonl") as file:
        run.add_file(file, name="a.jsonl")
    rejects.close()
    rejects.close()
    (line,) = (folder / "rejects").read_text().splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def test_the_reject_file_says_where_why_and_what(folder: Path) -> None:
    assert rejected(folder, b'\n{"password":"hunter2","user":7}\n') == {
        "file": "a.jsonl",
        "line": 2,
        "bytes": [1, 32],
        "reason": "no eventName: is this a CloudTrail record?",
        "record": {"password": "[masked]", "user": 7},
    }


def test_the_reject_file_is_for_its_owner_alone(folder: Path) -> None:
    rejected(folder, b"{}")

    assert stat.S_IMODE((folder / "rejects").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("raw", "record"),
    [
        (b'{"a": "Bearer q8Zr5tYw1nUv"', '{"a": "Bearer [masked]"'),
        (b'{"token": "hunter2xyzzy", broken', '{"token": "[masked]", broken'),
        (b'{"a": NaN}', {"a": "NaN"}),
        (b'{"a": 1e999}', '{"a": 1e999}'),
        (b'{"a": "\\ud800"}', {"a": "\ud800"}),
        (b'"\xff"', '"\ufffd"'),
        (b'{"a":' * 2_000, '{"a":' * 2_000),
    ],
)
def test_records_in_the_reject_file_are_redacted_whatever_they_are(
    folder: Path, raw: bytes, record: Any
) -> None:
    assert rejected(folder, raw)["record"] == record


def test_nothing_is_overwritten_by_rejects(folder: Path) -> None:
    (folder / "rejects").write_text("the only copy")

    with pytest.raises(ConfigError, match="something is there already"):
        rejected(folder, b"{}")

    assert (folder / "rejects").read_text() == "the only copy"


def test_a_link_in_the_place_of_the_reject_file_is_not_followed(folder: Path) -> None:
    (folder / "precious").write_text("precious")
    (folder / "rejects").symlink_to(folder / "precious")

    with pytest.raises(ConfigError, match="cannot write the reject file"):
        rejected(folder, b"{}")

    assert (folder / "precious").read_text() == "precious"


def test_without_rejected_records_there_is_no_reject_file(folder: Path, store: EventStore) -> None:
    rejects = RejectFile(folder / "rejects")
    run = Import(READERS["cloudtrail"], store, rejects=rejects)
    with open_file(write_lines(folder / "a.jsonl", [a_trail(1)])) as file:
        run.add_file(file, name="a.jsonl")

    assert not (folder / "rejects").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_under_the_reject_file_stops_the_import(
    folder: Path, store: EventStore
) -> None:
    run = Import(READERS["cloudtrail"], store, rejects=RejectFile(Path("/dev/full")))
    with (
        open_file(write_lines(folder / "a.jsonl", [{}])) as file,
        pytest.raises(StoreUnavailableError, match="no space left"),
    ):
        run.add_file(file, name="a.jsonl")


# -- killed

KILLED = """
import os, signal, sys
from pathlib import Path
from whodid.cli.importing import Import, RejectFile, open_file
from whodid.importers import READERS
from whodid.stores.sqlite import SqliteStore

batches = 0
def count(counts):
    global batches
    batches += 1
    if batches == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)

run = Import(
    READERS["cloudtrail"], SqliteStore("whodid.db"), rejects=RejectFile(Path("rejects")),
    batch_events=20, on_progress=count,
)
with open_file(Path("a.jsonl")) as file:
    run.add_file(file, name="a.jsonl")
"""


@pytest.mark.parametrize("batches", [1, 2, 5])
def test_a_killed_import_is_finished_by_running_it_again(folder: Path, batches: int) -> None:
    path = write_lines(folder / "a.jsonl", [a_trail(number) for number in range(130)])
    killed = subprocess.run([sys.executable, "-c", KILLED, str(batches)], check=False)

    store = SqliteStore(folder / "whodid.db")
    before = store.stats(access=Access.everything()).events
    counts, _ = imported(store, path)
    report = store.verify(access=Access.everything())
    store.close()

    assert killed.returncode == -signal.SIGKILL
    assert before == 20 * batches
    assert numbers(counts) == (130, 130 - before, before, 0)
    assert (report.events, report.problems) == (130, [])
