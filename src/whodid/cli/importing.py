"""Files of other systems' logs into a store, in flat memory: read, map, redact, store, count.

Resumable by running it again: ids come from the records, so what is stored already is counted as
a duplicate and adds nothing. A batch is stored whole or not at all; when the import is stopped,
killed or the disk is full, what was stored before stays, durably, and nothing is half there.

Knows no terminal: who shows progress passes a function.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any, Protocol

from msgspec import structs

from whodid import recorder
from whodid.canonical import Encoded
from whodid.errors import ConfigError, ConflictError, InvalidError, StoreUnavailableError
from whodid.event import Event, Tenant
from whodid.importers import DamagedError, Oversized, Piece, RawRecord, Reader, UnmappableError
from whodid.importers.base import decode_record
from whodid.recorder import MAX_BATCH_EVENTS
from whodid.redaction import redact_json, redact_text
from whodid.stores.base import EventStore

CHUNK_BYTES = 256 * 1024
MAX_BATCH_BYTES = 5_000_000
MAX_REJECTED_TEXT = 10_000  # characters of a record that is no JSON, in the reject file


@dataclass(slots=True, kw_only=True)
class Counts:
    """What became of the records so far.

    Attributes:
        read: Records found in the files.
        stored: Events that are new in the store.
        duplicates: Events that were there before, or twice in the files.
        rejected: Records that are no events of ours, or contradict one that is stored.
        read_bytes: Of the files as they are on disk.
        damages: What was wrong with files as a whole, each with the file's name.
    """

    read: int = 0
    stored: int = 0
    duplicates: int = 0
    rejected: int = 0
    read_bytes: int = 0
    damages: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Is everything that was in the files in the store?"""
        return not self.rejected and not self.damages


class RejectSink(Protocol):
    """Where records go that were not stored."""

    def write(self, *, source: str, piece: Piece, reason: str) -> None: ...


@dataclass(frozen=True, slots=True)
class _Mapped:
    encoded: Encoded
    piece: RawRecord


class Import:
    """One run over some files."""

    def __init__(
        self,
        reader: Reader,
        store: EventStore,
        *,
        rejects: RejectSink,
        tenant: str | None = None,
        batch_events: int = MAX_BATCH_EVENTS,
        on_progress: Callable[[Counts], None] = lambda counts: None,
    ) -> None:
        """Prepare a run; nothing is read or written yet.

        Args:
            tenant: Whose events these are, when the records don't say.
            batch_events: Events stored in one transaction, 1 to 1,000.
            on_progress: Called after each batch and each file.
        """
        if not 1 <= batch_events <= MAX_BATCH_EVENTS:
            raise ConfigError(f"batch: expected 1 to {MAX_BATCH_EVENTS:,}, got {batch_events:,}")
        self.counts = Counts()
        self._reader, self._store, self._rejects = reader, store, rejects
        self._tenant = Tenant(id=tenant) if tenant else None
        self._batch_events, self._on_progress = batch_events, on_progress
        self._batch: list[_Mapped] = []
        self._batch_bytes = 0
        self._source = ""

    def add_file(self, file: BufferedReader, *, name: str) -> None:
        """Store every record of a file, up to where it may be damaged.

        Durable when it returns, batch by batch. Idempotent. Crash inside: the batches before stay.

        Args:
            file: Opened for reading bytes; packed with gzip or not.
            name: What messages and the reject file call it.

        Raises:
            StoreUnavailableError: The store can't take more now; `counts` says how far it came.
        """
        self._source = name
        before = self.counts.read_bytes
        try:
            for piece in self._reader.split(self._chunks(file, before)):
                self.counts.read += 1
                self._add(piece)
        except DamagedError as error:
            self.counts.damages.append(f"{name}: {error}")
        self._flush()
        self._on_progress(self.counts)

    def _chunks(self, file: BufferedReader, before: int) -> Iterator[bytes]:
        offset = 0
        for chunk in unpacked(file):
            offset += len(chunk)
            self.counts.read_bytes = before + _position(file, offset)
            yield chunk

    def _add(self, piece: Piece) -> None:
        if isinstance(piece, Oversized):
            size = piece.end - piece.start
            self._reject(piece, f"the record has {size:,} bytes, more than an import reads")
            return
        try:
            event = self._reader.read(decode_record(piece.raw))
            encoded = recorder.prepare(self._placed(event))
        except InvalidError as error:
            self._reject(piece, str(error))
            return
        self._batch.append(_Mapped(encoded, piece))
        self._batch_bytes += encoded.size_bytes
        if len(self._batch) >= self._batch_events or self._batch_bytes >= MAX_BATCH_BYTES:
            self._flush()

    def _placed(self, event: Event) -> Event:
        if self._tenant is None:
            return event
        if event.tenant and event.tenant.id != self._tenant.id:
            raise UnmappableError("it belongs to another tenant than the one given")
        return event if event.tenant else structs.replace(event, tenant=self._tenant)

    def _flush(self) -> None:
        waiting, self._batch, self._batch_bytes = self._batch, [], 0
        while waiting:
            try:
                self._store_all(waiting)
                waiting = []
            except ConflictError as error:
                # All before it are without conflict, so each event is tried at most twice.
                self._store_all(waiting[: error.index])
                reason = f"the same id was stored before with another {error.path}"
                self._reject(waiting[error.index].piece, reason)
                waiting = waiting[error.index + 1 :]
        self._on_progress(self.counts)

    def _store_all(self, mapped: list[_Mapped]) -> None:
        if not mapped:
            return
        receipts = self._store.append([item.encoded for item in mapped])
        duplicates = sum(receipt.duplicate for receipt in receipts)
        self.counts.duplicates += duplicates
        self.counts.stored += len(receipts) - duplicates

    def _reject(self, piece: Piece, reason: str) -> None:
        self.counts.rejected += 1
        self._rejects.write(source=self._source, piece=piece, reason=reason)


def unpacked(file: BufferedReader) -> Iterator[bytes]:
    """The bytes of a file in chunks, unpacked when they are packed with gzip.

    What they are decides, not the name.

    Raises:
        DamagedError: The packed data breaks off or is no such data; after all that was whole.
        StoreUnavailableError: The disk does not give it.
    """
    is_packed = file.peek(2)[:2] == b"\x1f\x8b"
    stream = gzip.GzipFile(fileobj=file) if is_packed else file
    offset = 0
    while True:
        try:
            # Not `read`: when the data breaks off, it would keep back what came before.
            chunk = stream.read1(CHUNK_BYTES)
        except EOFError:
            raise DamagedError("the packed file is cut off", offset=offset) from None
        except (gzip.BadGzipFile, zlib.error):
            raise DamagedError("the packed data is damaged", offset=offset) from None
        except OSError as error:
            raise StoreUnavailableError(f"reading failed: {_reason(error)}") from error
        if not chunk:
            return
        offset += len(chunk)
        yield chunk


def _position(file: BufferedReader, unpacked_bytes: int) -> int:
    try:
        return file.tell()
    except OSError:  # a pipe has no position
        return unpacked_bytes


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()


def open_file(path: Path) -> BufferedReader:
    """Open a file to import.

    Raises:
        ConfigError: There is none, it is a folder, or it can't be read.
    """
    try:
        if path.is_dir():
            raise ConfigError(f"{path} is a folder; name the files in it, such as {path}/*.json.gz")
        return path.open("rb")
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {_reason(error)}") from error


class RejectFile:
    """A JSON line for each record that was not stored; made when there is the first.

    A line is `{"file": …, "line": …, "bytes": [from, to], "reason": …, "record": …}`. Records in it
    are redacted as events are, strings in them cut at 64 kB; only its owner may read the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def write(self, *, source: str, piece: Piece, reason: str) -> None:
        """Add a line.

        Raises:
            ConfigError: The file can't be made.
            StoreUnavailableError: It can't be written, e.g. the disk is full.
        """
        if self._file is None:
            self._file = self._open()
        line = {
            "file": source,
            "line": piece.number,
            "bytes": [piece.start, piece.end],
            "reason": reason,
            "record": None if isinstance(piece, Oversized) else _redacted(piece.raw),
        }
        try:
            _write_all(self._file, json.dumps(line).encode() + b"\n")
        except OSError as error:
            raise StoreUnavailableError(f"cannot write {self.path}: {_reason(error)}") from error

    def check_free(self) -> None:
        """Return if nothing would be overwritten: a device or a pipe may be there, no file.

        Raises:
            ConfigError: There is a file: perhaps the import itself, the log, or earlier rejects.
        """
        if self.path.is_file() or self.path.is_symlink():
            raise ConfigError(
                f"cannot write the reject file {self.path}: something is there already; move it "
                "away, or choose another with --reject"
            )

    def _open(self) -> int:
        self.check_free()
        try:
            if self.path.exists():
                return os.open(self.path, os.O_WRONLY)
            # O_EXCL: a link laid here in this very moment must not lead our records elsewhere.
            return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise ConfigError(
                f"cannot write the reject file {self.path}: {_reason(error)}; "
                "choose another with --reject"
            ) from error

    def close(self) -> None:
        """Release the file. Idempotent."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.close(self._file)
            self._file = None


def _write_all(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


def _redacted(raw: bytes) -> Any:  # JSON of any kind
    """The record without its secrets; as text when it is no JSON, or none that can be written."""
    try:
        record = redact_json(json.loads(raw, parse_constant=str))
        json.dumps(record, allow_nan=False)
    except (ValueError, RecursionError):
        text = raw[: 4 * MAX_REJECTED_TEXT].decode("utf-8", "replace")
        return redact_text(text)[:MAX_REJECTED_TEXT]
    return record
