from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from whodid.importers.splitting import (
    DamagedError,
    Oversized,
    Piece,
    RawRecord,
    split_json,
    split_lines,
)

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=12,
)
objects = st.dictionaries(st.text(max_size=6), values, max_size=4)
cuts = st.lists(st.integers(min_value=0, max_value=4_000), max_size=12)


def in_chunks(data: bytes, at: Iterable[int]) -> list[bytes]:
    """The data cut at these places."""
    places = [0, *sorted({place for place in at if place < len(data)}), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


def raws(pieces: Iterable[Piece]) -> list[bytes]:
    return [piece.raw for piece in pieces if isinstance(piece, RawRecord)]


def as_lines(records: Sequence[Any]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def as_list(records: Sequence[Any]) -> str:
    return json.dumps(records)


def as_pretty_list(records: Sequence[Any]) -> str:
    return json.dumps(records, indent=2)


def as_wrapper(records: Sequence[Any]) -> str:
    return json.dumps({"Records": records})


def as_pretty_wrapper(records: Sequence[Any]) -> str:
    return "\n" + json.dumps({"Records": records, "more": {"]": "}"}}, indent=1)


def as_wrappers(records: Sequence[Any]) -> str:
    half = len(records) // 2
    return json.dumps({"Records": records[:half]}) + json.dumps({"Records": records[half:]}) + "\n"


SHAPES = (as_lines, as_list, as_pretty_list, as_wrapper, as_pretty_wrapper, as_wrappers)


@pytest.mark.parametrize("shape", SHAPES)
@given(records=st.lists(objects, max_size=6), at=cuts, one_byte=st.booleans())
@example(records=[{'"': "\\", "\\": '"', "[": "]"}, {}], at=[], one_byte=True)
@example(records=[{"é": "𝄞\\u0000"}, {"a": [[[{}]]]}], at=[], one_byte=True)
def test_every_shape_gives_the_records_that_were_written_wherever_it_is_cut(
    shape: Callable[[Sequence[Any]], str],
    records: list[dict[str, Any]],
    at: list[int],
    one_byte: bool,
) -> None:
    data = shape(records).encode()
    chunks = [bytes([byte]) for byte in data] if one_byte else in_chunks(data, at)

    pieces = list(split_json(chunks))

    assert [json.loads(raw) for raw in raws(pieces)] == records
    assert [data[piece.start : piece.end] for piece in pieces] == raws(pieces)
    assert [piece.number for piece in pieces] == list(range(1, len(records) + 1))


@given(items=st.lists(values, max_size=6), at=cuts)
def test_a_list_may_hold_values_of_any_kind(items: list[Any], at: list[int]) -> None:
    data = json.dumps(items).encode()

    assert [json.loads(raw) for raw in raws(split_json(in_chunks(data, at)))] == items


@given(records=st.lists(objects, min_size=1, max_size=4))
def test_objects_printed_over_several_lines_are_read_one_after_another(
    records: list[dict[str, Any]],
) -> None:
    data = "\n".join(json.dumps(record, indent=2) for record in [{"a": 1}, *records]).encode()

    assert [json.loads(raw) for raw in raws(split_json([data]))] == [{"a": 1}, *records]


@given(data=st.binary(max_size=400), at=cuts)
def test_whatever_the_bytes_are_they_are_split_or_called_damaged(
    data: bytes, at: list[int]
) -> None:
    for beginning in (b"", b"{", b"[", b'{"Records":[', b'{"a":1}\n'):
        whole = beginning + data
        try:
            pieces = list(split_json(in_chunks(whole, at), max_record_bytes=50))
        except DamagedError:
            continue
        assert all(0 <= piece.start <= piece.end <= len(whole) for piece in pieces)


def test_lines_are_numbered_as_an_editor_numbers_them() -> None:
    data = b'\n\n{"a":1}\n\n  {"b":2}  \r\n{broken\n{"c":3}'

    pieces = list(split_json([data]))

    assert [(piece.number, piece.start) for piece in pieces] == [(3, 2), (5, 11), (6, 24), (7, 32)]
    assert raws(pieces) == [b'{"a":1}', b'{"b":2}', b"{broken", b'{"c":3}']


def test_a_broken_line_does_not_touch_the_next() -> None:
    data = b'{"a":"\n{"b":2}\n}}}]\n{"c":3}\n'

    assert raws(split_json([data]))[-1] == b'{"c":3}'
    assert raws(split_json([data]))[1] == b'{"b":2}'


def test_an_empty_file_has_no_records() -> None:
    assert list(split_json([])) == []
    assert list(split_json([b"", b" \n\t ", b""])) == []


def test_a_byte_order_mark_is_passed_over() -> None:
    assert raws(split_json([b"\xef", b"\xbb", b'\xbf[{"a":1}]'])) == [b'{"a":1}']


@pytest.mark.parametrize(
    ("data", "whole"),
    [
        (b'{"Records":[{"a":1},{"b":2}', 2),
        (b'{"Records":[{"a":1},{"b":', 1),
        (b'{"Records":[{"a":1}]', 1),
        (b'[{"a":1},{"b":"x', 1),
        (b'[{"a":1},{"b":"x\\', 1),
        (b"[", 0),
        (b'{"Records":[', 0),
        (b'{\n"a":1}\n{"b":', 1),
    ],
)
def test_what_came_before_the_damage_is_given_and_the_damage_told(data: bytes, whole: int) -> None:
    pieces = split_json([data])
    before = [next(pieces) for _ in range(whole)]

    with pytest.raises(DamagedError) as caught:
        next(pieces)

    assert len(raws(before)) == whole
    assert caught.value.offset <= len(data)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"PK\x03\x04rest", "zip"),
        (b"\x1f\x8brest", "gzip"),
        (b"\xff\xfe{\x00", "UTF-16"),
        (b"SQLite format 3\x00", "SQLite"),
        (b"\x7fELF\x00\x01", "no text"),
        (b"hello\x00world", "no text"),
    ],
)
def test_what_is_no_json_is_named_before_anything_is_read(data: bytes, word: str) -> None:
    with pytest.raises(DamagedError, match=word):
        list(split_json([data]))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [101, 1_000])
def test_a_record_too_long_is_passed_over_and_the_rest_is_read(
    shape: Callable[[Sequence[Any]], str], size: int
) -> None:
    data = shape([{"a": 1}, {"b": '"[{\\' * size}, {"c": 3}]).encode()
    chunks = [data[start : start + 40] for start in range(0, len(data), 40)]

    pieces = list(split_json(chunks, max_record_bytes=100))

    assert [type(piece) for piece in pieces] == [RawRecord, Oversized, RawRecord]
    assert [piece.number for piece in pieces] == [1, 2, 3]
    assert pieces[1].end - pieces[1].start > 100


@pytest.mark.parametrize("beginning", [b'{"a":"', b"[[", b'[{"a":"', b"[1", b"["])
def test_a_record_without_end_is_never_held(beginning: bytes) -> None:
    def endless() -> Iterable[bytes]:
        yield beginning
        for _ in range(5_000):
            yield b"1" * 1_000

    tracemalloc.start()
    try:
        assert raws(split_until_damaged(endless())) == []
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 1_000_000


def split_until_damaged(chunks: Iterable[bytes]) -> Iterable[Piece]:
    try:
        yield from split_json(chunks, max_record_bytes=10_000)
    except DamagedError:
        return


# -- lines of text


def numbered(data: bytes, **given: int) -> list[tuple[int, bytes, int]]:
    return [
        (piece.number, piece.raw, piece.occurrence)
        for piece in split_lines([data], **given)
        if isinstance(piece, RawRecord)
    ]


def test_lines_are_records_and_blank_ones_are_none() -> None:
    assert numbered(b"\xef\xbb\xbf[a\n\n \r\n{b\r\n\xffc") == [
        (1, b"[a", 1), (4, b"{b", 1), (5, b"\xffc", 1),
    ]  # fmt: skip


def test_equal_lines_are_numbered() -> None:
    assert numbered(b"a\nb\na\na\nb\n") == [
        (1, b"a", 1), (2, b"b", 1), (3, b"a", 2), (4, b"a", 3), (5, b"b", 2),
    ]  # fmt: skip


@given(
    lines=st.lists(st.sampled_from([b"a", b"b", b"c"]), max_size=20),
    cuts=st.lists(st.integers(0, 40), max_size=5),
)
def test_numbers_do_not_hang_on_how_the_file_was_cut(lines: list[bytes], cuts: list[int]) -> None:
    data = b"\n".join(lines)
    edges = [0, *sorted(cuts), len(data)]
    chunks = [data[start:end] for start, end in pairwise(edges)]

    again = [
        (piece.number, piece.raw, piece.occurrence)
        for piece in split_lines(chunks)
        if isinstance(piece, RawRecord)
    ]

    assert again == numbered(data)


def test_equal_lines_far_apart_are_not_remembered() -> None:
    found = numbered(b"a\nb\nc\na\na\n", max_equal_lines=2)

    assert [occurrence for *_, occurrence in found] == [1, 1, 1, 1, 2]


def test_a_line_too_long_is_passed_over() -> None:
    pieces = list(split_lines([b"a\n", b"x" * 50, b"\nb\n"], max_record_bytes=20))

    assert [type(piece) for piece in pieces] == [RawRecord, Oversized, RawRecord]


def test_a_log_that_a_crash_left_nuls_in_is_text() -> None:
    assert [raw for _, raw, _ in numbered(b"\0" * 5_000 + b"a\nb\n")] == [
        b"\0" * 5_000 + b"a",
        b"b",
    ]


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n" + bytes(9), b"PK\x03\x04", bytes(range(32))])
def test_what_is_no_text_is_damaged(data: bytes) -> None:
    with pytest.raises(DamagedError, match=r"no text|zip"):
        list(split_lines([data]))
