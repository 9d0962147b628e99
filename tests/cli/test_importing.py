from __future__ import annotations

import gzip
import io
import json
import os
import re
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

from tests.cli.conftest import Run, a_trail, write_lines
from tests.importers.conftest import vendor_records
from tests.importers.samples import LINES, RECORDS
from whodid.access import Access
from whodid.cli.importing import Counts, Import, RejectFile, load_reader, open_file, unpacked
from whodid.errors import ConfigError, InvalidError, StoreUnavailableError
from whodid.importers import READERS, Context, DamagedError, PassedOverError, Piece
from whodid.stores.base import EventStore
from whodid.stores.sqlite import SqliteStore
from whodid.testing import NOON, a_query, minutes

ROOT = Path(__file__).parents[2]


class Kept:
    """Rejected records in a list."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def write(self, *, source: str, piece: Piece, reason: str) -> None:
        self.reasons.append(f"{source}:{piece.number}: {reason}")


def imported(
    store: EventStore, path: Path, *, form: str | None = "cloudtrail", **given: Any
) -> tuple[Counts, list[str]]:
    rejects = Kept()
    run = Import(READERS[form] if form else None, store, rejects=rejects, **given)
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
    context = Context(until=NOON, undated_at=NOON)
    imported(store, path, context=context)

    counts, _ = imported(store, path, context=context)

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


# -- the format


def a_file(folder: Path, form: str, *, packed: bool = False, name: str = "log") -> Path:
    """A file of samples, of which every one becomes an event or is passed over."""
    texts = LINES.get(form) or [json.dumps(record) for record in RECORDS[form]]
    data = "".join(text + "\n" for text in texts).encode()
    path = folder / name
    path.write_bytes(gzip.compress(data) if packed else data)
    return path


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("form", sorted(READERS))
def test_every_format_is_recognised_imported_and_imported_once(
    store: EventStore, folder: Path, form: str, packed: bool
) -> None:
    path = a_file(folder, form, packed=packed)

    counts, reasons = imported(store, path, form=None)
    again, _ = imported(store, path, form=None)

    assert reasons == []
    assert counts.is_clean
    assert counts.formats == {form: 1}
    assert counts.stored + counts.passed_over == counts.read > 0
    assert (again.stored, again.duplicates) == (0, counts.stored)


def test_files_of_several_formats_are_recognised_each(run: Run, folder: Path) -> None:
    for form in ("okta", "access-log", "github"):
        a_file(folder, form, name=form)

    result = run("import", "./okta", "access-log", "github")

    assert result.exit_code == 0
    assert "format: okta in 1 of the files, access-log in 1 of the files" in result.stdout
    assert run("count", "app:okta").stdout == f"{len(RECORDS['okta'])}\n"


def test_the_format_that_was_taken_is_told(run: Run, folder: Path) -> None:
    a_file(folder, "auth-log", packed=True)

    result = run("import", "log")

    assert result.exit_code == 0
    assert result.stdout.startswith("format: auth-log\nread 7 records in")


@pytest.mark.parametrize("arguments", [("--format", "okta", "log"), ("okta", "log")])
def test_the_format_may_be_given_in_two_ways(
    run: Run, folder: Path, arguments: tuple[str, ...]
) -> None:
    a_file(folder, "okta")

    result = run("import", *arguments)

    assert result.exit_code == 0
    assert result.stdout.startswith("read 3 records")


def test_stdin_is_recognised_too(store: EventStore, folder: Path) -> None:
    path = a_file(folder, "okta", packed=True)
    command = [sys.executable, "-W", "error", "-m", "whodid", "import", "-"]

    done = subprocess.run(command, input=path.read_bytes(), capture_output=True, check=False)

    assert done.returncode == 0
    assert done.stdout.startswith(b"format: okta\nread 3 records")


def test_nothing_of_a_pipe_is_lost_in_looking_at_it(store: EventStore, folder: Path) -> None:
    a_file(folder, "access-log")
    command = f"{sys.executable} -W error -m whodid import <(cat log) <(cat log)"

    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)

    assert done.returncode == 0
    assert "read 8 records" in done.stdout
    assert "4 stored, 4 already there" in done.stdout


def test_a_format_that_cannot_be_told_stores_nothing_of_any_file(run: Run, folder: Path) -> None:
    a_file(folder, "okta")
    (folder / "notes.txt").write_text("milk\nbread\n")

    result = run("import", "log", "notes.txt")

    assert result.exit_code == 2
    assert "notes.txt: the format can't be told" in result.stderr
    assert all(form in result.stderr for form in READERS)
    assert run("count").stdout in ("", "0\n")


def test_a_packed_file_that_is_cut_off_at_once_is_damaged(store: EventStore, folder: Path) -> None:
    path = a_file(folder, "okta", packed=True)
    path.write_bytes(path.read_bytes()[:15])

    counts, _ = imported(store, path, form=None)

    assert counts.read == 0
    assert "cut off" in counts.damages[0]


def test_an_empty_file_is_of_no_format_and_no_fault(store: EventStore, folder: Path) -> None:
    (folder / "empty").touch()

    counts, _ = imported(store, folder / "empty", form=None)

    assert counts.is_clean
    assert counts.formats == {}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--format", "syslog", "log"), "--format: expected auto, cloudtrail"),
        (("--until", "soon", "log"), "--until: expected a day"),
        (("--tz", "Mars/Olympus", "log"), "tz: expected the name of a zone"),
        (("--undated-at", "soon", "log"), "--undated-at: expected a time"),
        (("--undated-at", "", "log"), "--undated-at: expected a time"),
        (("--undated-at", "2026-02-30", "log"), "--undated-at: expected a time"),
        (("--undated-at", "2026-03-15T11:00:00", "log"), "--undated-at: expected a time"),
        (("--format", "okta"), "FILE"),
    ],
)
def test_options_that_cannot_be_read_say_what_was_expected(
    run: Run, folder: Path, arguments: tuple[str, ...], words: str
) -> None:
    a_file(folder, "okta")

    result = run("import", *arguments)

    assert result.exit_code == 2
    assert words in result.stderr


def test_a_log_without_years_ends_on_the_day_given(run: Run, folder: Path) -> None:
    (folder / "auth.log").write_text(
        "Dec 31 23:30:00 quay sshd[1]: Failed password for ana from 192.0.2.1 port 1 ssh2\n"
        "Jan  1 00:30:00 quay sshd[1]: Failed password for ana from 192.0.2.1 port 1 ssh2\n"
    )

    result = run("import", "auth.log", "--until", "2015-04-20", "--tz", "Europe/Oslo")

    assert result.exit_code == 0
    shown = run("search", "--format", "jsonl").stdout.splitlines()
    assert [json.loads(line)["occurred_at"][:16] for line in shown] == [
        "2014-12-31T23:30", "2014-12-31T22:30",
    ]  # fmt: skip


def test_the_same_log_with_another_year_is_a_contradiction(run: Run, folder: Path) -> None:
    a_file(folder, "auth-log")
    run("import", "log", "--until", "2015-04-20")

    again = run("import", "log", "--until", "2016-04-20")

    assert again.exit_code == 3
    assert "0 stored, 1 already there, 6 rejected" in again.stdout  # one line has a year
    assert "/occurred_at" in (folder / "whodid-rejected.jsonl").read_text()


# -- records that name no time

TIMES = (
    "eventTime", "@timestamp", "created_at", "published", "timestamp", "requestReceivedTimestamp",
    "stageTimestamp",
)  # fmt: skip


def an_undated_file(folder: Path, form: str) -> Path:
    """A sample of a format, from which the time was cut."""
    cut = {key: value for key, value in RECORDS[form][0].items() if key not in TIMES}
    return write_lines(folder / "undated.jsonl", [cut])


UNDATED = ("cloudtrail", "github", "okta", "kubernetes", "django-auditlog")


@pytest.mark.parametrize("form", UNDATED)
def test_a_record_without_a_time_is_rejected_and_told_the_remedy(
    store: EventStore, folder: Path, form: str
) -> None:
    counts, reasons = imported(store, an_undated_file(folder, form), form=form)

    assert numbers(counts) == (1, 0, 0, 1)
    assert "it names no time; say with --undated-at" in reasons[0]


@pytest.mark.parametrize("form", UNDATED)
def test_with_a_time_to_assume_it_is_stored_with_it_and_marked(
    store: EventStore, folder: Path, form: str
) -> None:
    path = an_undated_file(folder, form)
    context = Context(until=NOON, undated_at=NOON)

    first, _ = imported(store, path, form=form, context=context)
    again, _ = imported(store, path, form=form, context=context)

    assert (numbers(first), numbers(again)) == ((1, 1, 0, 0), (1, 0, 1, 0))
    query = a_query("meta.time_assumed:true")
    [stored] = store.scan(query, access=Access.everything())
    assert stored.event.occurred_at == NOON


@pytest.mark.parametrize("form", UNDATED)
def test_a_record_that_names_its_time_keeps_it_and_has_no_mark(
    store: EventStore, folder: Path, form: str
) -> None:
    path = write_lines(folder / "dated.jsonl", RECORDS[form])

    imported(store, path, form=form, context=Context(until=NOON, undated_at=NOON))

    found = [stored.event for stored in store.scan(a_query(), access=Access.everything())]
    assert found
    assert all(each.occurred_at != NOON for each in found)
    assert not any("time_assumed" in (each.metadata or {}) for each in found)


def test_the_id_of_a_record_does_not_depend_on_the_time_assumed(
    store: EventStore, folder: Path
) -> None:
    path = an_undated_file(folder, "github")
    imported(store, path, form="github", context=Context(until=NOON, undated_at=NOON))

    later = Context(until=NOON, undated_at=minutes(60))
    counts, reasons = imported(store, path, form="github", context=later)

    assert numbers(counts) == (1, 0, 0, 1)
    assert "the same id was stored before with another" in reasons[0]


def test_the_time_to_assume_may_be_a_day_in_the_zone(run: Run, folder: Path) -> None:
    an_undated_file(folder, "okta")

    result = run(
        "import", "okta", "undated.jsonl", "--undated-at", "2025-07-01", "--tz", "Europe/Oslo"
    )

    assert result.exit_code == 0
    shown = run("search", "--format", "jsonl", "meta.time_assumed:true").stdout.splitlines()
    assert [json.loads(line)["occurred_at"][:19] for line in shown] == ["2025-06-30T22:00:00"]


def test_events_of_ones_own_format_need_no_time(run: Run, folder: Path) -> None:
    own = a_module(folder, OWN, name="undated_doors")
    write_lines(folder / "badges.jsonl", [{"badge": "4711"}])

    result = run("import", "--format", f"{own}:read_record", "badges.jsonl")

    assert result.exit_code == 0
    (line,) = run("search", "--format", "jsonl").stdout.splitlines()
    assert "time_assumed" not in json.loads(line).get("metadata", {})


def test_the_time_to_assume_holds_for_ones_own_format_too(run: Run, folder: Path) -> None:
    own = a_module(folder, OWN, name="undated_gates")
    write_lines(folder / "badges.jsonl", [{"badge": "4711"}])

    run("import", "--format", f"{own}:read_record", "badges.jsonl", "--undated-at", "2025-07-01")

    (line,) = run("search", "--format", "jsonl").stdout.splitlines()
    assert json.loads(line)["occurred_at"] == "2025-07-01T00:00:00.000000Z"
    assert json.loads(line)["metadata"] == {"time_assumed": True}


# What a product's records call who did it.
VENDORS = {
    "GitHub.Audit": ("github", "actor"),
    "Okta.SystemLog": ("okta", "actor"),
    "Amazon.EKS.Audit": ("kubernetes", "user"),
}


@pytest.mark.parametrize("log_type", VENDORS)
def test_every_vendors_record_that_says_who_and_what_has_time_actor_and_action(
    store: EventStore, folder: Path, log_type: str
) -> None:
    form, who = VENDORS[log_type]
    whole = [each for each in vendor_records(log_type) if each.get(who)]
    path = write_lines(folder / "vendor.jsonl", whole)

    counts, reasons = imported(store, path, form=form, context=Context(until=NOON, undated_at=NOON))

    found = [stored.event for stored in store.scan(a_query(), access=Access.everything())]
    assert counts.read == len(whole)
    assert all(each.occurred_at and each.action for each in found)
    assert all(each.actor.type != "unknown" for each in found)
    # Some were written down twice, with one thing changed and the id left as it was.
    assert all("the same id was stored before" in reason for reason in reasons)
    assert len(found) == counts.stored == len(whole) - counts.duplicates - len(reasons)


def test_equal_lines_are_as_many_events_and_twice_the_file_adds_none(
    store: EventStore, folder: Path
) -> None:
    (folder / "log").write_text((LINES["access-log"][1] + "\n") * 3)

    first, _ = imported(store, folder / "log", form=None)
    again, _ = imported(store, folder / "log", form=None)

    assert (first.stored, again.stored, again.duplicates) == (3, 0, 3)


def test_a_log_that_has_grown_adds_what_is_new(store: EventStore, folder: Path) -> None:
    line = LINES["access-log"][1] + "\n"
    (folder / "log").write_text(line * 2)
    imported(store, folder / "log", form=None)
    (folder / "log").write_text(line * 3 + LINES["access-log"][0] + "\n")

    counts, _ = imported(store, folder / "log", form=None)

    assert (counts.stored, counts.duplicates) == (2, 2)


def test_what_was_passed_over_is_counted_and_no_fault(run: Run, folder: Path) -> None:
    a_file(folder, "kubernetes")

    result = run("import", "log")

    assert result.exit_code == 0
    assert "2 stored, 0 already there, 0 rejected, 1 passed over" in result.stdout
    assert not (folder / "whodid-rejected.jsonl").exists()


def test_broken_lines_are_in_the_reject_file_as_text(run: Run, folder: Path) -> None:
    (folder / "log").write_bytes(
        LINES["access-log"][0].encode() + b"\nnot \xff a token=hunter2x line\n"
    )

    result = run("import", "access-log", "log")

    (line,) = (folder / "whodid-rejected.jsonl").read_text().splitlines()
    assert result.exit_code == 3
    assert json.loads(line)["line"] == 2
    assert json.loads(line)["reason"] == ("no line of an access log in combined or common format")
    assert "hunter2x" not in line


# -- importers of one's own


def a_module(folder: Path, text: str, *, name: str) -> str:
    (folder / f"{name}.py").write_text(text)
    return name


OWN = """
def read_record(record):
    if record.get("skip"):
        return None
    return {"action": "door.open", "actor": {"type": "user", "id": record["badge"]}}
"""


def test_a_function_of_ones_own_is_an_importer(run: Run, folder: Path) -> None:
    name = a_module(folder, OWN, name="doors_a")
    write_lines(folder / "log", [{"badge": "7"}, {"skip": True}, {"nobody": 1}, {"badge": 7}])

    first = run("import", "--format", f"{name}:read_record", "log")
    again = run("import", "--format", f"{name}:read_record", "log")

    assert first.exit_code == 3
    assert "1 stored, 0 already there, 2 rejected, 1 passed over" in first.stdout
    assert "0 stored, 1 already there" in again.stdout
    reasons = [
        json.loads(line)["reason"]
        for line in (folder / "whodid-rejected.jsonl").read_text().splitlines()
    ]
    assert reasons == ["line 5 of doors_a.py raised KeyError", "$.actor.id: expected str, got int"]


@pytest.mark.parametrize(
    ("name", "body", "reason"),
    [
        ("own_1", "return 7", "returned int; expected an event, its values or None"),
        ("own_2", "raise ValueError(record['badge'])", "line 2 of .*py raised ValueError"),
        ("own_3", "return read_record(record)", "raised RecursionError"),
        (
            "own_4",
            "return {'action': 'audit.x', 'actor': {'type': 'system'}, 'more': record}",
            "more",
        ),
    ],
)
def test_a_function_that_fails_rejects_the_record_without_its_values(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, body: str, reason: str
) -> None:
    monkeypatch.syspath_prepend(str(folder))
    a_module(folder, f"def read_record(record):\n    {body}\n", name=name)
    reader = load_reader(f"{name}:read_record")

    with pytest.raises(InvalidError, match=reason) as raised:
        reader.read({"badge": "hunter2"})

    assert "hunter2" not in str(raised.value)


def test_a_function_that_returns_an_event_is_an_importer(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(folder))
    text = """
from whodid.event import Actor, Event
def read_record(record):
    return Event(action="door.open", actor=Actor(type="system"))
"""
    reader = load_reader(a_module(folder, text, name="doors_b") + ":read_record")

    one, two, other = (reader.read({"badge": badge}) for badge in (7, 7, 8))

    assert one.id == two.id != other.id


def test_none_of_a_function_passes_the_record_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(folder))
    reader = load_reader(a_module(folder, OWN, name="doors_c") + ":read_record")

    with pytest.raises(PassedOverError):
        reader.read({"skip": 1})


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ("nowhere_at_all:read", "no module nowhere_at_all; modules are looked for in the current"),
        ("doors_d:missing", "doors_d has no function and no Reader missing"),
        ("doors_d:NUMBER", "doors_d has no function and no Reader NUMBER"),
        ("doors_d:", "expected MODULE:NAME"),
        (":read", "expected MODULE:NAME"),
        ("doors_e:read", "line 1 of doors_e.py raised SyntaxError"),
        ("doors_f:read", "line 1 of doors_f.py raised ZeroDivisionError"),
    ],
)
def test_an_importer_that_is_none_says_why(run: Run, folder: Path, form: str, words: str) -> None:
    a_module(folder, "NUMBER = 7\n", name="doors_d")
    a_module(folder, "def read(:\n", name="doors_e")
    a_module(folder, "1 / 0\n", name="doors_f")
    write_lines(folder / "log", [{}])

    result = run("import", "--format", form, "log")

    assert result.exit_code == 2
    assert words in result.stderr


def test_the_importers_of_the_howto_work_as_it_says(run: Run, folder: Path) -> None:
    text = (ROOT / "docs" / "howto" / "import.md").read_text()
    page = text[text.index("## An importer of your own") :]
    for name, code in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", page, re.DOTALL):
        (folder / name).write_text(code)
    (folder / "badges.jsonl").write_text(
        re.findall(r"```json\n(.*?)```", page, re.DOTALL)[0]
        + '{"type": "heartbeat"}\n{"type": 1}\n'
    )
    (folder / "gate.log").write_text("2026-03-15T07:58:11Z ana opened the gate\n")

    commands = re.findall(r"```sh\nwhodid (import .*?)\n```", page, re.DOTALL)
    results = [run(*command.split()) for command in commands]

    assert [result.exit_code for result in results] == [3, 0]
    assert "1 stored, 0 already there, 1 rejected, 1 passed over" in results[0].stdout
    assert "type: expected swipe or heartbeat" in (folder / "whodid-rejected.jsonl").read_text()
    assert run("count", "action:door.open", "outcome:denied", "app:doors").stdout == "1\n"
    assert run("count", "action:gate.open", "actor:ana").stdout == "1\n"


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
