"""Files of JSON or of lines, cut into the bytes of their records as they stream by.

Three shapes of JSON are told apart by how a file begins: JSON lines; a list; and CloudTrail's
`{"Records": […]}`, of which several may follow one another (`zcat *.json.gz`). Objects that are
printed over several lines, one after another, are read as well.

Memory is bounded by the longest record, and that by `MAX_RECORD_BYTES`: a longer one is passed
over, counted and named, never held. Linear: no byte is looked at twice but where a chunk ends.

Not here: opening and unpacking files, what the records mean.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

from whodid.errors import InvalidError

MAX_RECORD_BYTES = 5_000_000
MAX_EQUAL_LINES = 10_000
_PEEK_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRecord:
    """The bytes of one record.

    Attributes:
        number: One-based: the line in JSON lines, otherwise the how-manieth record of the file.
        start: Offset of its first byte in the unpacked file.
        end: Offset after its last byte.
        occurrence: One-based: which of several equal lines of the file it is; 1 in JSON.
    """

    number: int
    start: int
    end: int
    raw: bytes
    occurrence: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Oversized:
    """A record that was too long to be held; the fields are those of `RawRecord`."""

    number: int
    start: int
    end: int


Piece: TypeAlias = RawRecord | Oversized


class DamagedError(InvalidError):
    """The file breaks off, or is none of the shapes. What was read before is whole.

    Attributes:
        offset: Where, in bytes of the unpacked file.
    """

    def __init__(self, problem: str, *, offset: int) -> None:
        super().__init__(f"{problem}, at byte {offset:,}")
        self.offset = offset


def split_json(
    chunks: Iterable[bytes], *, max_record_bytes: int = MAX_RECORD_BYTES
) -> Iterator[Piece]:
    """The records of a file, in order.

    Args:
        chunks: The unpacked file, cut anywhere.

    Raises:
        DamagedError: After the last whole record, when the file breaks off inside the next; or
            at once, when this is no JSON.
    """
    return _Splitter(chunks, max_record_bytes).records()


def split_lines(
    chunks: Iterable[bytes],
    *,
    max_record_bytes: int = MAX_RECORD_BYTES,
    max_equal_lines: int = MAX_EQUAL_LINES,
) -> Iterator[Piece]:
    """The lines of a file of text, in order, blank ones left out.

    Equal lines are numbered: in a log whose clock shows seconds, the same line twice is the same
    thing twice. The numbers are the same at every run over the same file. Lines are compared with
    the `max_equal_lines` different ones before them, so that memory stays flat.

    Raises:
        DamagedError: At once, when this is no text.
    """
    seen: OrderedDict[bytes, int] = OrderedDict()
    for piece in _Splitter(chunks, max_record_bytes).lines():
        if isinstance(piece, Oversized):
            yield piece
            continue
        digest = hashlib.sha256(piece.raw).digest()[:16]
        occurrence = seen.pop(digest, 0) + 1
        seen[digest] = occurrence
        if len(seen) > max_equal_lines:
            seen.popitem(last=False)
        yield piece if occurrence == 1 else replace(piece, occurrence=occurrence)


_BOM = b"\xef\xbb\xbf"
_RECORDS = re.compile(rb'\{\s*"Records"\s*:\s*\[')
_BRACE_ALONE = re.compile(rb"\{[ \t\r]*\n")
_BLANK = re.compile(rb"\s*+")
_BETWEEN = re.compile(rb"[\s,]*+")
_SCALAR = re.compile(rb'[^\s,\[\]{}"]*+')
# Everything that changes no depth: other bytes, and whole strings.
_FLAT = re.compile(rb'(?:[^"{}\[\]]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
_STRING_REST = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_MAGIC = {
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "packed with gzip twice",
    b"BZh": "packed with bzip2",
    b"\xfd7zXZ": "packed with xz",
    b"\x28\xb5\x2f\xfd": "packed with zstd",
    b"PAR1": "a Parquet file",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"SQLite format 3\x00": "a SQLite database",
}


class _Splitter:
    """A window over the file that moves forward, and where in it we are."""

    def __init__(self, chunks: Iterable[bytes], limit: int) -> None:
        self._chunks = iter(chunks)
        self._limit = limit
        self._window = b""
        self._offset = 0  # of the window's first byte in the file
        self._position = 0  # in the window
        self._number = 0

    def records(self) -> Iterator[Piece]:
        """The records of all documents in the file."""
        self._peek()
        self._position = len(_BOM) if self._window.startswith(_BOM) else 0
        start = self._position
        if self._skip(_BLANK) is None:
            return
        self._peek()
        self._check_text()
        if self._is_lines():
            # Blank lines before the first record count as lines.
            self._number = self._window.count(b"\n", start, self._position)
            yield from self._lines()
            return
        while (byte := self._skip(_BETWEEN)) is not None:
            self._peek()
            wrapper = _RECORDS.match(self._window, self._position)
            if wrapper or byte == b"[":
                self._position = wrapper.end() if wrapper else self._position + 1
                yield from self._list()
                if wrapper:
                    self._close_wrapper()
            else:
                yield self._piece()

    def lines(self) -> Iterator[Piece]:
        """The lines of a file of text."""
        self._peek()
        self._position = len(_BOM) if self._window.startswith(_BOM) else 0
        self._check_packing()
        # A few binary bytes are single lines' fault. NULs are what a crash leaves at the end of a
        # log, and so at the beginning of what is written after it.
        begin = self._window[self._position : self._position + _PEEK_BYTES].lstrip(b"\0")
        if 10 * len(_BINARY.findall(begin)) > len(begin):
            raise DamagedError("this is no text; expected lines of text", offset=self._here)
        yield from self._lines()

    def _is_lines(self) -> bool:
        window, position = self._window, self._position
        is_list = window.startswith(b"[", position) or _RECORDS.match(window, position)
        return not is_list and not _BRACE_ALONE.match(window, position)

    def _check_packing(self) -> None:
        """Refuse what is no text at all, before it makes a million rejected lines.

        Raises:
            DamagedError: Names what it looks like and what to do.
        """
        for magic, kind in _MAGIC.items():
            if self._window.startswith(magic):
                raise DamagedError(f"this is {kind}; unpack or convert it first", offset=0)

    def _check_text(self) -> None:
        self._check_packing()
        begin = self._window[self._position : self._position + _PEEK_BYTES]
        if begin[:1] not in (b"{", b"[") and _BINARY.search(begin):
            raise DamagedError(
                'this is no text; expected JSON lines, a JSON list or {"Records": […]}',
                offset=self._here,
            )

    # -- JSON lines

    def _lines(self) -> Iterator[Piece]:
        while self._position < len(self._window) or self._more():
            start = self._here
            line = self._line()
            self._number += 1
            if line is None:
                yield Oversized(number=self._number, start=start, end=self._here)
            elif raw := line.strip():
                yield RawRecord(number=self._number, start=start, end=start + len(line), raw=raw)

    def _line(self) -> bytes | None:
        """The bytes up to the end of the line; None if they were too many to be held."""
        is_whole, searched = True, self._position
        while (end := self._window.find(b"\n", searched)) < 0:
            if len(self._window) - self._position > self._limit:
                is_whole, self._position = False, len(self._window)
            held = len(self._window) - self._position
            if not self._more():
                end = len(self._window)
                break
            searched = held
        line = self._window[self._position : end]
        self._position = min(end + 1, len(self._window))
        return line if is_whole and len(line) <= self._limit else None

    # -- lists, and values one after another

    def _list(self) -> Iterator[Piece]:
        """The values up to the closing bracket."""
        while (byte := self._skip(_BETWEEN)) is not None:
            if byte == b"]":
                self._position += 1
                return
            yield self._piece()
        raise DamagedError("the file ends inside its list of records", offset=self._here)

    def _close_wrapper(self) -> None:
        """Pass over what follows the list in `{"Records": […], …}`, to the closing brace."""
        depth, in_string, is_done = self._scan(1, False)
        while not is_done:
            if not self._more():
                raise DamagedError("the file ends before its closing brace", offset=self._here)
            depth, in_string, is_done = self._scan(depth, in_string)

    def _piece(self) -> Piece:
        """The value that begins here."""
        self._number += 1
        start = self._here
        begin = self._window[self._position : self._position + 1]
        raw = self._nested() if begin in (b"{", b"[", b'"') else self._scalar()
        if raw is None:
            return Oversized(number=self._number, start=start, end=self._here)
        return RawRecord(number=self._number, start=start, end=self._here, raw=raw)

    def _nested(self) -> bytes | None:
        """The bytes of an object, list or string; None if they were too many to be held."""
        held, is_whole = self._position, True
        depth, in_string, is_done = self._scan(0, False)
        while not is_done:
            if self._position - held > self._limit:
                is_whole = False
            if not self._more(keep=held if is_whole else self._position):
                raise DamagedError("the file ends inside a record", offset=self._here)
            held = 0
            depth, in_string, is_done = self._scan(depth, in_string)
        raw = self._window[held : self._position]
        return raw if is_whole and len(raw) <= self._limit else None

    def _scan(self, depth: int, in_string: bool) -> tuple[int, bool, bool]:
        """Go on to the end of the value, or of the window.

        Returns:
            How deep we are then, whether inside a string, and whether the value has ended.
        """
        window, size = self._window, len(self._window)
        while self._position < size:
            if in_string:
                end = _end(_STRING_REST, window, self._position)
                if end == size or window[end] != _QUOTE:
                    self._position = end  # of the window, or before the backslash that ends it
                    return depth, True, False
                self._position, in_string = end + 1, False
                if depth == 0:
                    return 0, False, True
                continue
            if depth:
                self._position = _end(_FLAT, window, self._position)
                if self._position == size:
                    break
            byte = window[self._position]
            self._position += 1
            if byte == _QUOTE:
                in_string = True
            elif byte in b"{[":
                depth += 1
            else:
                depth -= 1
                if depth == 0:
                    return 0, False, True
        return depth, in_string, False

    def _scalar(self) -> bytes | None:
        """The bytes of a number or word, or of a stray bracket; None if they were too many."""
        held, is_whole = self._position, True
        while (end := _end(_SCALAR, self._window, self._position)) == len(self._window):
            is_whole = is_whole and end - held <= self._limit
            self._position = end
            if not self._more(keep=held if is_whole else end):
                break
            held = 0
        self._position = end if end > held else end + 1
        raw = self._window[held : self._position]
        return raw if is_whole and len(raw) <= self._limit else None

    # -- the window

    @property
    def _here(self) -> int:
        return self._offset + self._position

    def _more(self, *, keep: int | None = None) -> bool:
        """Read on; the window then begins at `keep`, which is where we are if not said."""
        keep = self._position if keep is None else keep
        for chunk in self._chunks:
            if chunk:
                self._window = self._window[keep:] + chunk
                self._offset += keep
                self._position -= keep
                return True
        return False

    def _peek(self) -> None:
        """Have enough in the window to tell the shapes apart, if the file has as much."""
        while len(self._window) - self._position < _PEEK_BYTES and self._more():
            pass

    def _skip(self, between: re.Pattern[bytes]) -> bytes | None:
        """The next byte that is not between values, or None at the end of the file."""
        while True:
            self._position = _end(between, self._window, self._position)
            if self._position < len(self._window):
                return self._window[self._position : self._position + 1]
            if not self._more():
                return None


_QUOTE = 0x22


def _end(pattern: re.Pattern[bytes], window: bytes, position: int) -> int:
    """Where the pattern, which also matches nothing, ends."""
    found = pattern.match(window, position)
    return found.end() if found else position
