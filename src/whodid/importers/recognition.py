"""Which format a file has, by the records that it begins with; never by its name.

A guess must not be wrong silently. So a format is taken only when more than half of the first
records are its own and none is another's; otherwise nothing is read, and the formats are named.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from whodid.errors import ConfigError
from whodid.importers.base import Context, Reader, UnmappableError
from whodid.importers.splitting import MAX_RECORD_BYTES, DamagedError, Piece, RawRecord

MAX_LOOKED_AT = 20  # records
_BEGIN_BYTES = 256 * 1024  # enough for the first records of nearly all logs
_LONG_BYTES = MAX_RECORD_BYTES + _BEGIN_BYTES  # enough for the longest record that is read at all


def find_reader(
    chunks: Iterable[bytes], readers: Sequence[Reader], *, context: Context
) -> tuple[Reader | None, Iterator[bytes]]:
    """The reader of a file's records.

    Args:
        chunks: The unpacked file, cut anywhere; read as far as needed.
        readers: The formats that may be meant.

    Returns:
        The reader, None when there are no records at all; and the chunks of the whole file again,
        which raise what reading the file has raised.

    Raises:
        ConfigError: The records are of no format, or of several.
    """
    begin = _Beginning(chunks)
    for size in (_BEGIN_BYTES, _LONG_BYTES):
        begin.read(size)
        if not begin.data.strip(b"\xef\xbb\xbf \t\r\n\0") and begin.is_whole:
            return None, begin.again()
        found = _recognise(begin, readers, context)
        if found or begin.is_whole:
            break
    return found or _undecided(begin, readers), begin.again()


class _Beginning:
    """The first bytes of a file, and the rest that is still to be read."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._rest = iter(chunks)
        self._fault: DamagedError | None = None
        self.data = b""
        self.is_whole = False

    def read(self, size: int) -> None:
        """Have `size` bytes, if the file has as many."""
        held, have = [self.data], len(self.data)
        try:
            while have < size and not self.is_whole:
                chunk = next(self._rest, None)
                self.is_whole = chunk is None
                held.append(chunk or b"")
                have += len(chunk or b"")
        except DamagedError as error:
            self._fault, self.is_whole = error, True
        self.data = b"".join(held)

    def again(self) -> Iterator[bytes]:
        """The file from its first byte on."""
        yield self.data
        if self._fault:
            raise self._fault
        yield from self._rest


def _recognise(begin: _Beginning, readers: Sequence[Reader], context: Context) -> Reader | None:
    """The reader that most records are for; None when the beginning does not tell yet.

    Raises:
        ConfigError: There are records of several formats.
    """
    votes = {}
    most = None
    for reader in readers:
        records = first_records(begin.data, reader, context=context, is_whole=begin.is_whole)
        count = sum(record is not None and reader.recognises(record) for record in records)
        if count:
            votes[reader.name] = count
        if 2 * count > len(records):
            most = reader
    if len(votes) > 1:
        names = " and ".join(sorted(votes))
        raise ConfigError(f"the format can't be told: it has records of {names}; give --format")
    return most


def first_records(
    data: bytes, reader: Reader, *, context: Context, is_whole: bool = True
) -> list[Mapping[str, Any] | None]:
    """The first records of a file, as one reader would read them.

    Returns:
        At most `MAX_LOOKED_AT`; None in the place of what is no record.
    """
    pieces: list[Piece] = []
    try:
        pieces.extend(islice(reader.split([data]), MAX_LOOKED_AT + 1))
    except DamagedError:
        pass
    if not is_whole and len(pieces) <= MAX_LOOKED_AT:
        pieces = pieces[:-1]  # may be cut off where the beginning ends
    records: list[Mapping[str, Any] | None] = []
    for piece in pieces[:MAX_LOOKED_AT]:
        try:
            decoded = reader.decode(piece, context) if isinstance(piece, RawRecord) else None
        except UnmappableError:
            decoded = None
        records.append(decoded)
    return records


def _undecided(begin: _Beginning, readers: Sequence[Reader]) -> Reader:
    """A reader that says what is wrong with the file as a whole, such as that it is packed.

    Raises:
        ConfigError: There is none.
    """
    faults = [_fault_of(reader, begin.data) for reader in readers]
    if readers and faults[0] and all(fault == faults[0] for fault in faults):
        return readers[0]
    names = ", ".join(reader.name for reader in readers)
    raise ConfigError(
        f"the format can't be told by the first records; give --format, one of {names}, "
        "or MODULE:NAME of your own"
    )


def _fault_of(reader: Reader, data: bytes) -> str | None:
    try:
        next(iter(reader.split([data])), None)
    except DamagedError as error:
        return str(error)
    return None
