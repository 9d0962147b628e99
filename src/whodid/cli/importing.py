"""Files of other systems' logs into a store, in flat memory: read, map, redact, store, count.

Resumable by running it again: ids come from the records, so what is stored already is counted as
a duplicate and adds nothing. A batch is stored whole or not at all; when the import is stopped,
killed or the disk is full, what was stored before stays, durably, and nothing is half there.

Knows no terminal: who shows progress passes a function.
"""

from __future__ import annotations

import contextlib
import gzip
import importlib
import json
import os
import sys
import traceback
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from io import BufferedReader
from pathlib import Path
from typing import Any, Protocol

from msgspec import structs

from whodid import recorder
from whodid.canonical import Encoded
from whodid.errors import ConfigError, ConflictError, InvalidError, StoreUnavailableError
from whodid.event import Event, Tenant, checked, from_mapping
from whodid.ids import derived_id
from whodid.importers import (
    READERS,
    Context,
    DamagedError,
    Oversized,
    PassedOverError,
    Piece,
    RawRecord,
    Reader,
    UnmappableError,
    find_reader,
)
from whodid.importers.base import line_bytes, record_bytes
from whodid.recorder import MAX_BATCH_EVENTS
from whodid.redaction import redact_json, redact_text
from whodid.stores.base import EventStore
from whodid.times import Instant

CHUNK_BYTES = 256 * 1024
MAX_BATCH_BYTES = 5_000_000
MAX_REJECTED_TEXT = 10_000  # characters of a record that is no JSON, in the reject file
ASSUMED = "time_assumed"
"""Key of the metadata that is true where not the record but who imported it told the time."""


@dataclass(slots=True, kw_only=True)
class Counts:
    """What became of the records so far.

    Attributes:
        read: Records found in the files.
        stored: Events that are new in the store.
        duplicates: Events that were there before, or twice in the files.
        rejected: Records that are no events of ours, or contradict one that is stored.
        passed_over: Records that are none by their format's rules, such as an earlier stage.
        formats: Files by the name of the format that they were read as.
        read_bytes: Of the files as they are on disk.
        damages: What was wrong with files as a whole, each with the file's name.
    """

    read: int = 0
    stored: int = 0
    duplicates: int = 0
    rejected: int = 0
    passed_over: int = 0
    formats: dict[str, int] = field(default_factory=dict)
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
        reader: Reader | None,
        store: EventStore,
        *,
        rejects: RejectSink,
        tenant: str | None = None,
        context: Context | None = None,
        batch_events: int = MAX_BATCH_EVENTS,
        on_progress: Callable[[Counts], None] = lambda counts: None,
    ) -> None:
        """Prepare a run; nothing is read or written yet.

        Args:
            reader: Of the records; None to recognise each file's format by its first records.
            context: What lines of text don't say; until now and in UTC, when not given.
            tenant: Whose events these are, when the records don't say.
            batch_events: Events stored in one transaction, 1 to 1,000.
            on_progress: Called after each batch and each file.
        """
        if not 1 <= batch_events <= MAX_BATCH_EVENTS:
            raise ConfigError(f"batch: expected 1 to {MAX_BATCH_EVENTS:,}, got {batch_events:,}")
        self.counts = Counts()
        self._reader, self._store, self._rejects = reader, store, rejects
        self._tenant = Tenant(id=tenant) if tenant else None
        self._context = context or Context(until=Instant.now())
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
            ConfigError: The format is to be recognised, and can't be.
            StoreUnavailableError: The store can't take more now; `counts` says how far it came.
        """
        self._source = name
        before = self.counts.read_bytes
        try:
            reader, chunks = self._recognised(self._chunks(file, before), name)
            for piece in reader.split(chunks):
                self.counts.read += 1
                self._add(piece, reader)
        except DamagedError as error:
            self.counts.damages.append(f"{name}: {error}")
        self._flush()
        self._on_progress(self.counts)

    def _recognised(self, chunks: Iterator[bytes], name: str) -> tuple[Reader, Iterable[bytes]]:
        reader: Reader | None = self._reader
        whole: Iterable[bytes] = chunks
        if reader is None:
            reader, whole = recognised(chunks, name=name, context=self._context)
        if reader is None:
            return READERS["jsonl"], whole  # which has no records, and perhaps a damage
        self.counts.formats[reader.name] = self.counts.formats.get(reader.name, 0) + 1
        return reader, whole

    def _chunks(self, file: BufferedReader, before: int) -> Iterator[bytes]:
        offset = 0
        for chunk in unpacked(file):
            offset += len(chunk)
            self.counts.read_bytes = before + _position(file, offset)
            yield chunk

    def _add(self, piece: Piece, reader: Reader) -> None:
        if isinstance(piece, Oversized):
            size = piece.end - piece.start
            self._reject(piece, f"the record has {size:,} bytes, more than an import reads")
            return
        try:
            event = reader.read(reader.decode(piece, self._context))
            encoded = recorder.prepare(self._placed(self._dated(event, reader)))
        except PassedOverError:
            self.counts.passed_over += 1
            return
        except InvalidError as error:
            self._reject(piece, str(error))
            return
        self._batch.append(_Mapped(encoded, piece))
        self._batch_bytes += encoded.size_bytes
        if len(self._batch) >= self._batch_events or self._batch_bytes >= MAX_BATCH_BYTES:
            self._flush()

    def _dated(self, event: Event, reader: Reader) -> Event:
        """The event with a time, which is marked where it is only assumed."""
        assumed = self._context.undated_at
        if event.occurred_at:
            return event
        if assumed:
            marked = {**(event.metadata or {}), ASSUMED: True}
            return structs.replace(event, occurred_at=assumed, metadata=marked)
        if reader.is_dated:
            raise UnmappableError("it names no time; say with --undated-at which to assume")
        return event

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


def recognised(
    chunks: Iterable[bytes], *, name: str, context: Context
) -> tuple[Reader | None, Iterator[bytes]]:
    """The reader of a file by its first records, and the file again; see `find_reader`.

    Raises:
        ConfigError: It can't be told; with the file's name.
    """
    try:
        return find_reader(chunks, list(READERS.values()), context=context)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None


def check_recognised(path: Path, *, context: Context) -> None:
    """Return if the file's format can be told, or there is nothing in it.

    Raises:
        ConfigError: It can't be told, or the file can't be read.
    """
    with open_file(path) as file:
        recognised(unpacked(file), name=str(path), context=context)


# -- importers of one's own ----------------------------------------------------------------------


def load_reader(name: str) -> Reader:
    """The reader that `MODULE:NAME` means, from the current folder or what is installed.

    It may be a `Reader`, or a function from a decoded JSON record to an event, the values of one,
    or None for a record that is to be passed over. An event without an id gets one derived from
    the record.

    Raises:
        ConfigError: There is no such module or name, or it is neither.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute.isidentifier():
        raise ConfigError("format: expected MODULE:NAME, such as doors:read_record")
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"format: no module {error.name}; modules are looked for in the current folder and "
            "among what is installed"
        ) from None
    except Exception as error:
        # It is somebody else's program that is run here: it may raise whatever it likes.
        raise ConfigError(f"format: {module_name} can't be imported: {_raised(error)}") from error
    found = getattr(module, attribute, None)
    if isinstance(found, Reader):
        return replace(
            found,
            read=_OwnReader(name, found.read).read,
            decode=_guarded(found.decode),
        )
    if not callable(found):
        raise ConfigError(f"format: {module_name} has no function and no Reader {attribute}")
    return Reader(name=name, description=name, read=_OwnReader(name, found).read)


@dataclass(frozen=True, slots=True)
class _OwnReader:
    """Somebody's function, held to what `ReadRecord` promises."""

    name: str
    function: Callable[[Mapping[str, Any]], Any]  # it may return anything

    def read(self, record: Mapping[str, Any]) -> Event:
        made = _guarded(self.function)(record)
        if made is None:
            raise PassedOverError("the importer passed it over")
        if isinstance(made, Mapping):
            event = from_mapping(made)
        elif isinstance(made, Event):
            event = checked(made)
        else:
            raise UnmappableError(
                f"{self.name} returned {type(made).__name__}; expected an event, its values or None"
            )
        if event.id or event.idempotency_key:
            return event
        return structs.replace(event, id=derived_id(self.name, _written(record)))


def _written(record: Mapping[str, Any]) -> bytes:
    """What an id is derived from: the record, or a line and which of its equals it is."""
    if "line" in record and "until" in record:
        return line_bytes(record)
    return record_bytes(record)


def _guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except InvalidError:
            raise
        except Exception as error:
            # It is somebody else's program, and a record that it fails on must not end the run.
            # Told is where and what kind: the message may hold values of the record.
            raise UnmappableError(_raised(error)) from error

    return call


def _raised(error: Exception) -> str:
    """`line 12 of doors.py raised KeyError`."""
    kind = type(error).__name__
    if isinstance(error, SyntaxError):
        return f"line {error.lineno} of {Path(error.filename or '').name} raised {kind}"
    frames = traceback.extract_tb(error.__traceback__)
    where = frames[-1] if frames else None
    return f"line {where.lineno} of {Path(where.filename).name} raised {kind}" if where else kind


# -- files ---------------------------------------------------------------------------------------


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
