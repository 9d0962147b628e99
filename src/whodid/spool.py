"""Events that the store did not take, on the local disk until it does.

A folder of files with one event a line, as clients send them, redacted already. Each process
writes to a file of its own, which it holds a lock on; a file without one belongs to nobody, and
whoever puts events back takes it. A crash while putting back repeats at most one file: events have
their ids before they come here, so that the store knows them again. What can never be stored goes
to `rejected.jsonl`, with the reason. Other files and folders there are left alone.

Not here: when events go in and out (`delivery`).
"""

from __future__ import annotations

import os
import re
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from whodid import actions, event
from whodid.canonical import Encoded, encode
from whodid.errors import ConfigError, EventError, InvalidError, StoreUnavailableError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # asked for in the constructor

MAX_BYTES = 1 << 30
FILE_BYTES = 8 << 20  # a crash while draining repeats no more than one file
BATCH = 500
REJECTED = "rejected.jsonl"

Append = Callable[[Sequence[Encoded]], object]

_write_event = msgspec.json.Encoder(enc_hook=event.write_hook).encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """What became of waiting events, since that was said last.

    Attributes:
        put_back: The store has them.
        rejected: Can never be stored; they are in `rejected.jsonl`.
        is_done: False when time was up before all had their turn.
    """

    put_back: int = 0
    rejected: int = 0
    is_done: bool = True


class Spool:
    """A folder of waiting events. Safe for use from many threads and processes, and after fork.

    Args:
        folder: Made at first need, for its owner alone.
        max_bytes: Of all files in it together; beyond, nothing is added.

    Raises:
        ConfigError: There is something else at this path, everybody may write there, or the
            system has no `flock`.
    """

    def __init__(self, folder: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES) -> None:
        self.folder, self._max_bytes = Path(folder), max_bytes
        if fcntl is None:
            raise ConfigError("the spool needs flock, which is not here; choose raise or drop")
        self._check_folder()
        self._own: _File | None = None
        self._claim: _Claim | None = None
        self._put_back_count = self._rejected_count = 0
        self._make_locks()
        _spools.add(self)

    def add(self, batch: Sequence[Encoded]) -> None:
        """Keep events, in order; each must have its id.

        Durable when it returns. All or nothing. A crash inside leaves nothing, or a torn line that
        is set apart later.

        Raises:
            StoreUnavailableError: The folder is full or can't be written.
        """
        if any(not each.event.id for each in batch):
            raise AssertionError("an event needs its id before it is spooled")
        if not batch:
            return
        lines = b"".join(_write_event(each.event) + b"\n" for each in batch)
        with self._adding, self._translated():
            self._check_room(len(lines))
            file = self._usable_file()
            try:
                file.write(lines)
            except OSError:
                self._close_own()  # what comes next may fit into another file
                raise

    def drain(self, append: Append, *, within_s: float | None = None) -> Drained:
        """Put waiting events back, the oldest file first; those of living processes wait.

        What was put back is not put back again, also if the process ends in the middle: the store
        knows ids.

        Args:
            append: Stores a batch, all or nothing.
            within_s: Stop after the batch during which so many seconds are over.

        Raises:
            StoreUnavailableError: The folder can't be read or written. What `append` raises comes
                through; what is left goes on waiting.
        """
        with self._draining:
            is_done = self._drain(append, within_s=within_s)
            put_back, rejected = self._put_back_count, self._rejected_count
            self._put_back_count = self._rejected_count = 0
            return Drained(put_back=put_back, rejected=rejected, is_done=is_done)

    def reject(self, batch: Sequence[Encoded], reason: str) -> None:
        """Set events apart that can never be stored.

        Raises:
            StoreUnavailableError: The folder can't be written.
        """
        for each in batch:
            self._reject(_write_event(each.event), reason)

    def size_bytes(self) -> int:
        """How much is in the folder."""
        return sum(size for _, size in self._files(with_rejected=True))

    def close(self) -> None:
        """Let go of the files; what waits goes on waiting. Idempotent."""
        with self._adding:
            self._close_own()
        with self._draining:
            self._release_claim()

    # -- adding

    def _usable_file(self) -> _File:
        """This process's file; another one when that is large or gone."""
        if self._own is not None and (self._own.is_gone() or self._own.size >= FILE_BYTES):
            self._close_own()
        if self._own is None:
            self._make_folder()
            self._own = _File.create(self.folder)
        return self._own

    def _close_own(self) -> None:
        # Forgotten first: a child that is forked in between must not close the number once more.
        own, self._own = self._own, None
        if own is not None:
            own.close()

    def _check_room(self, wanted: int) -> None:
        size = self.size_bytes()
        if size + wanted > self._max_bytes:
            raise StoreUnavailableError(
                f"the spool {self.folder} is full: {size:,} of {self._max_bytes:,} bytes; "
                "make the store work, or move the files away"
            )

    def _make_folder(self) -> None:
        if not self.folder.is_dir():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sync_folder(self.folder.parent)

    def _check_folder(self) -> None:
        try:
            mode = self.folder.stat().st_mode
        except OSError:
            return  # made, or complained about, at first need
        if not self.folder.is_dir():
            raise ConfigError(f"{self.folder} is no folder; name another place for the spool")
        if mode & 0o022:
            raise ConfigError(f"others may write to the spool {self.folder}; chmod 700 it")

    def _files(self, *, with_rejected: bool = False) -> Iterator[tuple[Path, int]]:
        """Path and size of each file of ours, oldest first."""
        try:
            names = sorted(os.listdir(self.folder))
        except OSError:
            return
        for name in names:
            if _NAME.fullmatch(name) or (with_rejected and name == REJECTED):
                try:
                    yield self.folder / name, (self.folder / name).stat().st_size
                except OSError:
                    continue  # somebody has just drained it

    # -- draining

    def _drain(self, append: Append, *, within_s: float | None) -> bool:
        """Put events back, and count them; False when time was up before all had their turn."""
        until = None if within_s is None else time.monotonic() + within_s
        while (claim := self._claim or self._next_claim()) is not None:
            self._claim = claim
            while lines := claim.read():
                batch, refused = self._read(lines)
                refused += self._put_back(batch, append)
                self._put_back_count += len(lines) - refused
                self._rejected_count += refused
                claim.advance(len(lines))
                if until is not None and time.monotonic() >= until:
                    self._leave(claim)
                    return False
            self._leave(claim)
        return True

    def _leave(self, claim: _Claim) -> None:
        """Delete a file that has nothing left."""
        if claim.is_empty:
            with self._translated():
                claim.delete()
            self._claim = None

    def _next_claim(self) -> _Claim | None:
        """The oldest file that belongs to nobody.

        Raises:
            StoreUnavailableError: There are only such as this process may not read.
        """
        with self._adding:
            self._close_own()  # the next event goes into another file
        trouble: OSError | None = None
        for path, _ in self._files():
            try:
                claim = _Claim.take(path)
            except OSError as error:  # e.g. of another account's: it must not hold up the others
                trouble = trouble or error
                continue
            if claim is not None:
                return claim
        if trouble is not None:
            with self._translated():
                raise trouble
        return None

    def _read(self, lines: Sequence[bytes]) -> tuple[list[Encoded], int]:
        """The events of these lines, and how many are none and were set apart."""
        batch, refused = [], 0
        for line in lines:
            try:
                batch.append(_as_appended(line))
            except EventError as error:
                self._reject(line, str(error))
                refused += 1
        return batch, refused

    def _put_back(self, batch: Sequence[Encoded], append: Append) -> int:
        """Store events; how many never can be and were set apart."""
        if not batch:
            return 0
        try:
            append(batch)
        except InvalidError as error:
            if len(batch) > 1:
                return sum(self._put_back([each], append) for each in batch)
            self.reject(batch, str(error))
            return 1
        return 0

    def _reject(self, line: bytes, reason: str) -> None:
        """Set a line apart; what is no JSON as text."""
        try:
            record: dict[str, object] = {"reason": reason, "event": msgspec.json.decode(line)}
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            record = {"reason": reason, "line": line.decode("utf-8", "replace")}
        with self._adding, self._translated():
            self._make_folder()
            _append_line(self.folder / REJECTED, msgspec.json.encode(record))

    # -- all

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise StoreUnavailableError(f"the spool {self.folder} can't be used: {why}") from error

    def _make_locks(self) -> None:
        self._adding = threading.RLock()
        self._draining = threading.RLock()

    def _release_claim(self) -> None:
        claim, self._claim = self._claim, None
        if claim is not None:
            claim.close()

    def _begin_anew(self) -> None:
        """In a child after fork: the files are the parent's, and stay locked as long as it lives.

        The lock belongs to what the two share; closing the child's copy does not end it.
        """
        self._close_own()
        self._release_claim()
        self._put_back_count = self._rejected_count = 0
        self._make_locks()


class _File:
    """A file that this process adds to, locked."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path, self._descriptor, self.size = path, descriptor, 0

    @classmethod
    def create(cls, folder: Path) -> _File:
        """A new file, its name durable."""
        name = f"{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(4)}.jsonl"
        path = folder / name
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        _lock(descriptor)
        _sync_folder(folder)
        return cls(path, descriptor)

    def write(self, lines: bytes) -> None:
        """Add lines, all or none of them; durable when it returns."""
        try:
            left = memoryview(lines)
            while left:
                left = left[os.write(self._descriptor, left) :]
            os.fsync(self._descriptor)
        except BaseException:
            os.ftruncate(self._descriptor, self.size)
            raise
        self.size += len(lines)

    def is_gone(self) -> bool:
        """Did somebody delete or replace it?"""
        return not _is_at(self._path, self._descriptor)

    def close(self) -> None:
        """Let go of it; it is nobody's then."""
        os.close(self._descriptor)


class _Claim:
    """A file that events are put back from, locked."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path, self._descriptor = path, descriptor
        self._lines: list[bytes] | None = None
        self._at = 0

    @classmethod
    def take(cls, path: Path) -> _Claim | None:
        """The file, if it belongs to nobody."""
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        if _lock(descriptor) and _is_at(path, descriptor):
            return cls(path, descriptor)
        os.close(descriptor)
        return None

    def read(self) -> list[bytes]:
        """The next lines, at most `BATCH`; one that was torn is no event."""
        return self._all()[self._at : self._at + BATCH]

    def _all(self) -> list[bytes]:
        if self._lines is None:
            data = b""
            while part := os.pread(self._descriptor, 1 << 20, len(data)):
                data += part
            *whole, last = data.split(b"\n")
            self._lines = [*whole, _TORN + last] if last else whole
        return self._lines

    @property
    def is_empty(self) -> bool:
        """Had all lines their turn?"""
        return self._at >= len(self._all())

    def advance(self, count: int) -> None:
        """So many lines more had their turn."""
        self._at += count

    def delete(self) -> None:
        """Remove the file, and then let go of it."""
        self._path.unlink(missing_ok=True)
        _sync_folder(self._path.parent)
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)


_NAME = re.compile(r"\d{20}-\d+-[0-9a-f]{8}\.jsonl")  # as `_File.create` gives
_TORN = b"\0"  # before the rest of a line whose writer was killed: no event begins so


def _as_appended(line: bytes) -> Encoded:
    """A line's event as it was prepared; it was redacted then."""
    if line.startswith(_TORN) and line != _TORN * len(line):
        raise EventError("$", "the line was torn: its process was killed while it wrote")
    found = event.decode(line)
    return encode(found, defaults=actions.defaults(found.action))


def _append_line(path: Path, line: bytes) -> None:
    """Add a line to a file, after whatever torn line may be at its end; durable."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        is_torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        left = memoryview(b"\n" * is_torn + line + b"\n")
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Lock a file for as long as it is open here; False when somebody else has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(path: Path, descriptor: int) -> bool:
    """Is the open file still the one at its path?"""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _sync_folder(folder: Path) -> None:
    """Make names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_spools: weakref.WeakSet[Spool] = weakref.WeakSet()


def _begin_anew() -> None:
    for spool in list(_spools):
        spool._begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
