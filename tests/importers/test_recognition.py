from __future__ import annotations

import json
import os
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.importers.conftest import CONTEXT, vendor_lines, vendor_records, vendor_types
from tests.importers.samples import LINES, RECORDS
from whodid.errors import ConfigError
from whodid.importers import READERS, DamagedError, Reader, find_reader

ALL = list(READERS.values())


def lines_of(form: str) -> bytes:
    texts = LINES.get(form) or [json.dumps(record) for record in RECORDS[form]]
    return "".join(text + "\n" for text in texts).encode()


def found(*chunks: bytes) -> Reader | None:
    return find_reader(chunks, ALL, context=CONTEXT)[0]


@pytest.mark.parametrize("form", sorted(READERS))
def test_a_format_is_recognised_by_its_records(form: str) -> None:
    reader = found(lines_of(form))

    assert reader
    assert reader.name == form


@pytest.mark.parametrize("form", sorted(RECORDS))
def test_the_shape_of_the_file_does_not_matter(form: str) -> None:
    for data in (
        json.dumps(RECORDS[form]),
        json.dumps({"Records": RECORDS[form]}),
        "\ufeff\n\n" + json.dumps(RECORDS[form], indent=2),
    ):
        reader = found(data.encode())

        assert reader
        assert reader.name == form


@pytest.mark.parametrize("form", sorted(READERS))
def test_no_record_is_recognised_by_two(form: str) -> None:
    samples = [{"line": line} for line in LINES.get(form, ())] or RECORDS[form]

    names = [[reader.name for reader in ALL if reader.recognises(record)] for record in samples]

    # A line of polkitd is in many logs, so it speaks for none.
    assert all(own == [form] or own == [] and form == "auth-log" for own in names)
    assert names.count([]) <= 1


@pytest.mark.parametrize(
    ("log_type", "form"),
    [
        ("AWS.CloudTrail", "cloudtrail"),
        ("GitHub.Audit", "github"),
        ("Okta.SystemLog", "okta"),
        ("Amazon.EKS.Audit", "kubernetes"),
    ],
)
def test_vendor_records_are_recognised(log_type: str, form: str) -> None:
    reader = found("".join(json.dumps(each) + "\n" for each in vendor_records(log_type)).encode())

    assert reader
    assert reader.name == form


@pytest.mark.parametrize(
    ("parts", "form"),
    [
        (("apache-access-elastic", "access.log.gz"), "access-log"),
        (("auth-log-elastic", "auth.log.gz"), "auth-log"),
    ],
)
def test_others_logs_are_recognised(parts: tuple[str, str], form: str) -> None:
    reader = found("\n".join(vendor_lines(*parts)).encode())

    assert reader
    assert reader.name == form


def test_records_of_other_systems_are_taken_for_none() -> None:
    ours = {"AWS.CloudTrail", "GitHub.Audit", "Okta.SystemLog", "Amazon.EKS.Audit"}
    foreign = {kind: records for kind, records in vendor_types().items() if kind not in ours}

    taken = [
        (kind, reader.name)
        for kind, records in foreign.items()
        for record in records
        for reader in ALL
        if reader.recognises(record)
    ]

    assert (len(foreign), taken) == (77, [])


@pytest.mark.parametrize(
    "data",
    [
        b"hello\nworld\n",
        b'{"some": "object"}\n',
        b"[1, 2, 3]",
        b"name,age\nana,7\n",
        b"Jan 21 17:39:10 quay kernel: [0.0] Linux version\n" * 20,
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(100),
        b'{"kind": "Event", "apiVersion": "v1", "involvedObject": {}, "reason": "Pulled"}\n',
    ],
)
def test_what_is_of_no_format_names_the_formats(data: bytes) -> None:
    with pytest.raises(ConfigError) as raised:
        found(data)

    assert all(form in str(raised.value) for form in READERS)


def test_records_of_several_formats_are_of_none() -> None:
    with pytest.raises(ConfigError, match="records of github and okta"):
        found(lines_of("github") * 3 + lines_of("okta"))


def test_more_than_half_of_the_records_must_be_sound() -> None:
    broken = b'{"broken\n'

    assert found(lines_of("okta") + broken * 2) is READERS["okta"]
    with pytest.raises(ConfigError, match="can't be told"):
        found(lines_of("okta") + broken * 3)


def test_a_file_without_records_is_of_no_format_and_no_fault() -> None:
    assert found() is None
    assert found(b"\xef\xbb\xbf\n \n") is None


def test_a_packed_file_is_left_to_a_reader_that_says_so() -> None:
    reader = found(b"PK\x03\x04" + os.urandom(100))

    assert reader
    with pytest.raises(DamagedError, match="zip archive"):
        list(reader.split([b"PK\x03\x04"]))


def test_a_first_record_longer_than_the_beginning_is_read_whole() -> None:
    long = RECORDS["kubernetes"][0] | {"requestObject": {"data": "x" * 600_000}}
    data = json.dumps(long).encode()
    chunks = (data[start : start + 65_536] for start in range(0, len(data), 65_536))

    reader, _ = find_reader(chunks, ALL, context=CONTEXT)

    assert reader is READERS["kubernetes"]


def test_a_long_file_is_recognised_by_its_beginning() -> None:
    taken = 0

    def chunks() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield lines_of("access-log") * 100

    assert find_reader(chunks(), ALL, context=CONTEXT)[0] is READERS["access-log"]
    assert taken < 20


@given(data=st.binary(max_size=200), cuts=st.lists(st.integers(0, 200), max_size=5))
def test_the_whole_file_comes_again(data: bytes, cuts: list[int]) -> None:
    whole = lines_of("okta") + data
    edges = [0, *sorted(cuts), len(whole)]
    chunks = [whole[start:end] for start, end in pairwise(edges)]

    try:
        _, again = find_reader(chunks, ALL, context=CONTEXT)
    except ConfigError:
        return

    assert b"".join(again) == whole


def test_what_reading_the_file_raised_is_raised_behind_what_was_read() -> None:
    def chunks() -> Iterator[bytes]:
        yield lines_of("github")
        raise DamagedError("the packed file is cut off", offset=9)

    reader, again = find_reader(chunks(), ALL, context=CONTEXT)

    assert reader is READERS["github"]
    assert next(again) == lines_of("github")
    with pytest.raises(DamagedError, match="cut off"):
        next(again)
