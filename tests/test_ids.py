"""Event ids: ordered by time when new, the same each time when derived."""

from __future__ import annotations

import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.schema_documents import SCHEMA
from whodid.ids import derived_id, uuid7, uuid_bytes

PATTERN = SCHEMA["$defs"]["uuid"]["pattern"]


def test_a_new_id_is_a_uuid_of_version_7_that_the_schema_takes() -> None:
    for _ in range(200):
        made = uuid7()
        assert re.fullmatch(PATTERN, made)
        assert (UUID(made).version, UUID(made).variant) == (7, RFC_4122)


def test_a_new_id_begins_with_the_milliseconds_of_its_making() -> None:
    before = time.time_ns() // 1_000_000
    made = uuid7()
    after = time.time_ns() // 1_000_000

    assert before <= int(made.replace("-", "")[:12], 16) <= after


def test_new_ids_differ_also_within_a_millisecond() -> None:
    assert len({uuid7() for _ in range(20_000)}) == 20_000


def test_new_ids_of_several_threads_differ() -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: [uuid7() for _ in range(2_000)], range(8)))

    assert len({each for listed in made for each in listed}) == 16_000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_makes_no_id_with_the_random_bits_of_its_parent() -> None:
    uuid7()  # so that bits are left
    into, out = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(out, "".join(uuid7() for _ in range(64)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(into, 64 * 36).decode()
    ours = {uuid7()[-12:] for _ in range(200)}

    assert len(theirs) == 64 * 36
    assert not {theirs[start + 24 : start + 36] for start in range(0, len(theirs), 36)} & ours


@given(st.binary())
def test_the_same_record_gives_the_same_id(record: bytes) -> None:
    made = derived_id("cloudtrail", record)

    assert made == derived_id("cloudtrail", bytes(record))
    assert re.fullmatch(PATTERN, made)
    assert (UUID(made).version, UUID(made).variant) == (8, RFC_4122)


@given(st.lists(st.binary(), unique=True, min_size=2, max_size=20))
def test_different_records_give_different_ids(records: list[bytes]) -> None:
    assert len({derived_id("cloudtrail", record) for record in records}) == len(records)


def test_equal_bytes_from_two_sources_are_two_events() -> None:
    assert derived_id("cloudtrail", b"{}") != derived_id("jsonl", b"{}")


def test_derived_ids_never_change() -> None:
    # Imported files are recognised by these: another value here would import them a second time.
    assert derived_id("cloudtrail", b'{"eventID":"1"}') == "d032f5f3-c67c-8181-b192-2745de34afd2"


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("00000000-0000-0000-0000-000000000000", bytes(16)),
        ("0199d3a0-7b00-7000-8000-000000000001", bytes.fromhex("0199d3a07b0070008000000000000001")),
    ],
)
def test_a_uuid_is_kept_as_16_bytes(text: str, data: bytes) -> None:
    assert uuid_bytes(text) == data


@pytest.mark.parametrize(
    "text",
    [
        "", "not-a-uuid", "0199d3a07b0070008000000000000001",
        "{0199d3a0-7b00-7000-8000-000000000001}",
        "urn:uuid:0199d3a0-7b00-7000-8000-000000000001",
        "0199d3a0-7b00-7000-8000-000000000001\n", "0199d3a0-7b00-7000-8000-00000000000١",
    ],
)  # fmt: skip
def test_text_that_is_no_uuid_has_no_bytes(text: str) -> None:
    with pytest.raises(ValueError, match="expected a UUID such as"):
        uuid_bytes(text)
