"""Events and the transaction of the change that they tell of: both are committed, or neither.

An event that is made inside a transaction rides in the connection's list of what is to be done on
commit, as an entry that does nothing: Django takes entries of a savepoint out when that is rolled
back. Just before the real commit all that are left are written, in the same transaction, as one
batch. Outside of a transaction the caller opens one around the change (`together`).

In a `TestCase`, whose transaction never ends, events are written as soon as only the test's own
blocks are left. Where the log is not in the database of the change, events wait there, in the same
transaction, and are written right after the commit (`handoff`).

What could not be written is dealt with after the commit, never before: a rollback that comes later
must leave no trace. Failed attempts (`record_apart`) are written after the transaction has ended,
however it did.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

from django.db import DatabaseError, connections, transaction

from whodid import context
from whodid.capture.django import handoff
from whodid.capture.django.conf import get_audit, get_settings, holds_log
from whodid.capture.django.guard import claimed
from whodid.delivery import DRAIN_IN_CALL_S, Direct, words_of
from whodid.errors import AuditError
from whodid.event import Event

_logger = logging.getLogger("whodid")

AT_ONCE = 500
_LOOKED_AT = 100


class Entry:
    """Events that wait for a commit. In Django's list, where it is called and does nothing."""

    __slots__ = ("events", "key")

    def __init__(self, events: Sequence[Event], key: object = None) -> None:
        """Make one.

        Args:
            key: What it is about, so that a later change of the same replaces it.
        """
        self.events, self.key = list(events), key

    def __call__(self) -> None:
        """Nothing: the events were written before the commit."""


class _LaterEntry(Entry):
    """Events of a database that does not hold the log: kept there, and written after the commit."""

    __slots__ = ("using",)

    def __init__(self, events: Sequence[Event], using: str) -> None:
        super().__init__(events)
        self.using = using

    def __call__(self) -> None:
        try:
            with get_audit().guarded("events after a commit"):
                # Not with a transaction that is open on the log's database: that may be rolled
                # back.
                _deliver_apart(self.events)
        except AuditError as error:
            # The change is committed, and its events wait beside it. What is raised here would
            # keep the host's own callbacks from being called.
            _logger.error("events wait until the log takes them: %s", words_of(error))
        handoff.look_now_and_then(connections[self.using])


def record(event: Event, using: str | None = None) -> None:
    """Have one event written with the transaction that is open, or at once."""
    add([event], using or get_settings().database)


def add(events: Sequence[Event], using: str) -> None:
    """Have events written with the transaction that is open on a database, or at once.

    Raises:
        AuditError: They were to be written at once, could not be, and the log fails closed.
    """
    add_entry(Entry(events), using)


def add_entry(entry: Entry, using: str) -> None:
    """The same with an entry, which may be changed until it is written."""
    if not entry.events or not context.is_recording():
        return
    connection: Any = connections[using]  # with attributes of ours
    if not is_in_transaction(connection):
        get_audit().deliver(entry.events)
        return
    _hook(connection)
    _watch_blocks_of_tests(connection)
    is_held_here = holds_log(using)
    if _is_only_a_tests(connection):
        if is_held_here:
            _write(connection, entry.events)
        else:
            _deliver_apart(entry.events)
        return
    if not is_held_here:
        entry = _LaterEntry(entry.events, using)
    if not _is_joined(connection, entry):
        connection.run_on_commit.append((set(connection.savepoint_ids), entry, True))
    if is_held_here:
        connection._whodid_size += len(entry.events)
        _flush_early(connection)


def _is_joined(connection: Any, entry: Entry) -> bool:
    """Were the events put into the newest entry, because that waits for the same?"""
    if entry.key is not None or not connection.run_on_commit:
        return False
    sids, newest, *_ = connection.run_on_commit[-1]
    if type(newest) is not type(entry) or newest.key is not None:
        return False
    if sids != set(connection.savepoint_ids) or newest is _newest_mark(connection):
        return False
    newest.events += entry.events
    return True


def waiting(using: str, key: object) -> Entry | None:
    """The newest entry about this, if it waits for the same commit and no other savepoint.

    An older one must not be changed: the newest may yet be rolled back, or tells what came between.
    Looked for among the last ones only, so that many objects don't cost more each.
    """
    connection = connections[using]
    _hook(connection)
    waiting = connection.run_on_commit
    start = max(len(waiting) - _LOOKED_AT, _place_after(connection, _newest_mark(connection)))
    for sids, entry, *_ in reversed(waiting[start:]):
        if isinstance(entry, Entry) and entry.key == key:
            return entry if sids == set(connection.savepoint_ids) else None
    return None


def record_apart(event: Event) -> None:
    """Write an event about something that failed: after the transaction, whatever comes of it.

    Raises:
        AuditError: It could not be written, and the log fails closed.
    """
    if context.is_recording():
        _deliver_apart([event])


def _deliver_apart(events: Sequence[Event]) -> None:
    settings = get_settings()
    connection: Any = connections[settings.database]
    if settings.url is not None or not is_in_transaction(connection):
        get_audit().deliver(events)
        handoff.taken(events)
        return
    _hook(connection)
    if _is_only_a_tests(connection) and not connection.needs_rollback:
        _write(connection, list(events))
        return
    connection._whodid_apart += events


@contextmanager
def together(using: str) -> Iterator[None]:
    """A transaction for a change and its events, if the host has none open.

    Inside of one of the host's nothing is wrapped: a block of ours would turn an exception that
    the host catches into a broken transaction.
    """
    with atomic_if_needed(using):
        yield


def atomic_if_needed(using: str) -> Any:
    """The same as what is entered, for callers that count microseconds."""
    connection = connections[using]
    if is_in_transaction(connection):
        return nullcontext()
    if connection.vendor == "sqlite":
        return _Immediately(connection)
    return transaction.atomic(using=using, savepoint=False)


class _Immediately:
    """A transaction of SQLite's that may write from the start.

    We read before the host writes. A transaction that begins by reading can't wait for another
    writer: SQLite would refuse the host's statement at once, which alone would have waited.
    """

    __slots__ = ("_atomic", "_connection")

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._atomic = transaction.atomic(using=connection.alias, savepoint=False)

    def __enter__(self) -> None:
        connection = self._connection
        connection._start_transaction_under_autocommit = partial(_begin, connection)
        try:
            self._atomic.__enter__()
        finally:
            del connection._start_transaction_under_autocommit
        connection._whodid_may_write = True

    def __exit__(self, *error: Any) -> None:
        self._connection._whodid_may_write = False
        self._atomic.__exit__(*error)


def _begin(connection: Any) -> None:
    with connection.wrap_database_errors:
        connection.connection.execute("BEGIN IMMEDIATE")


def wait_to_write(connection: Any, table: str) -> None:
    """Take the lock that the host's statement is about to take, before we read.

    For SQLite alone, and for the same reason as `_Immediately`: inside of the host's transaction.

    Raises:
        OperationalError: The host's own statement could not have had the lock either.
    """
    if connection.vendor == "sqlite" and not getattr(connection, "_whodid_may_write", False):
        connection.ensure_connection()
        name = connection.ops.quote_name(table)
        with connection.wrap_database_errors:
            connection.connection.execute(f"DELETE FROM {name} WHERE 0")


def is_in_transaction(connection: Any) -> bool:
    return bool(connection.in_atomic_block or not connection.get_autocommit())


def _is_only_a_tests(connection: Any) -> bool:
    blocks = connection.atomic_blocks
    return bool(blocks) and all(block._from_testcase for block in blocks)


class _Blocks(list[Any]):
    """The blocks that are open in a test of the host's.

    One without a savepoint ends without a word; what waits need then wait no more.
    """

    def __init__(self, connection: Any) -> None:
        super().__init__(connection.atomic_blocks)
        self._connection = connection

    def pop(self, *place: Any) -> Any:
        block = super().pop(*place)
        sids = self._connection.savepoint_ids
        if sids and sids[-1] is None and not self._connection.needs_rollback:
            _tidy(self._connection)
        return block


def _watch_blocks_of_tests(connection: Any) -> None:
    blocks = connection.atomic_blocks
    if blocks and blocks[0]._from_testcase and not isinstance(blocks, _Blocks):
        connection.atomic_blocks = _Blocks(connection)


# -- hooks in Django's connection ----------------------------------------------------------------


def _hook(connection: Any) -> None:
    """Be asked before this connection commits, and after its transactions. Idempotent."""
    if getattr(connection, "_whodid_apart", None) is not None:
        return
    connection._whodid_apart = []
    connection._whodid_wrote = False
    connection._whodid_size, connection._whodid_limit = 0, AT_ONCE
    connection._whodid_marks = {}
    connection.savepoint = partial(_savepoint, connection, connection.savepoint)
    connection._commit = partial(_commit, connection, connection._commit)
    connection._rollback = partial(_rollback, connection, connection._rollback)
    connection.commit = partial(_ended, connection, connection.commit)
    connection.rollback = partial(_ended, connection, connection.rollback)
    connection.set_autocommit = partial(_set_autocommit, connection, connection.set_autocommit)
    connection.savepoint_commit = partial(
        _savepoint_committed, connection, connection.savepoint_commit
    )
    connection.savepoint_rollback = partial(
        _savepoint_rolled_back, connection, connection.savepoint_rollback
    )


def _commit(connection: Any, commit: Callable[[], Any]) -> Any:
    events = _taken(connection)
    if events:
        _write(connection, events)
    later = [entry for _, entry, *_ in connection.run_on_commit if _is_for_later(entry)]
    if later:
        _keep(connection, [event for entry in later for event in entry.events])
    result = commit()
    connection._whodid_size, connection._whodid_limit = 0, AT_ONCE
    connection._whodid_marks.clear()
    return result


def _rollback(connection: Any, rollback: Callable[[], Any]) -> Any:
    result = rollback()
    connection._whodid_size, connection._whodid_limit = 0, AT_ONCE
    connection._whodid_marks.clear()
    return result


def _ended(connection: Any, end: Callable[[], Any]) -> Any:
    """Commit or roll back. What a log that fails closed raises finds Django's own books closed."""
    result = end()
    _tell_apart(connection)
    return result


def _tell_apart(connection: Any) -> None:
    """Write what was to be written after the transaction, however that ended."""
    if connection._whodid_apart:
        events, connection._whodid_apart = connection._whodid_apart, []
        with get_audit().guarded("a failed attempt"):
            get_audit().deliver(events)
            handoff.taken(events)


def _set_autocommit(
    connection: Any, set_autocommit: Callable[..., Any], autocommit: bool, *args: Any, **kwargs: Any
) -> Any:
    result = set_autocommit(autocommit, *args, **kwargs)
    if autocommit:
        _tell_apart(connection)  # of a transaction that ended with its connection
    if autocommit and connection._whodid_wrote:
        connection._whodid_wrote = False
        _put_back(get_audit().delivery)
    return result


_tries_again_at = 0.0


def _put_back(delivery: object) -> None:
    """Have what was spooled put back, now that writing works again; at most once a second."""
    global _tries_again_at
    if not isinstance(delivery, Direct) or delivery.tally.spooled <= delivery.tally.put_back:
        return
    if time.monotonic() >= _tries_again_at:
        _tries_again_at = time.monotonic() + 1.0
        delivery.recover(within_s=DRAIN_IN_CALL_S)


def _savepoint(connection: Any, begin: Callable[[], Any]) -> Any:
    """Remember which entry is the newest before a savepoint.

    Django knows by itself what waits inside of its blocks, but not inside of savepoints that the
    host makes by hand.
    """
    sid = begin()
    waiting = connection.run_on_commit
    connection._whodid_marks[sid] = waiting[-1][1] if waiting else None
    return sid


def _newest_mark(connection: Any) -> object:
    return next(reversed(connection._whodid_marks.values()), None)


def _place_after(connection: Any, mark: object) -> int:
    """Where in the list that begins which came after an entry; at 0 if that is written."""
    waiting = connection.run_on_commit
    for place in range(len(waiting) if mark is not None else 0, 0, -1):
        if waiting[place - 1][1] is mark:
            return place
    return 0


def _forget_marks(connection: Any, sid: str, *, keep: bool) -> None:
    """Forget the savepoints inside of one, and itself unless it is kept."""
    marks = connection._whodid_marks
    if sid in marks:
        names = list(marks)
        for name in names[names.index(sid) + keep :]:
            del marks[name]


def _savepoint_committed(connection: Any, commit: Callable[[str], Any], sid: str) -> Any:
    result = commit(sid)
    _forget_marks(connection, sid, keep=False)
    _tidy(connection)
    return result


def _savepoint_rolled_back(connection: Any, rollback: Callable[[str], Any], sid: str) -> Any:
    result = rollback(sid)
    place = _place_after(connection, connection._whodid_marks.get(sid))
    kept = [item for item in connection.run_on_commit[place:] if not isinstance(item[1], Entry)]
    connection.run_on_commit[place:] = kept
    _forget_marks(connection, sid, keep=True)
    _tidy(connection)
    return result


def _tidy(connection: Any) -> None:
    """After a savepoint: write what need not wait any more."""
    if _is_only_a_tests(connection):
        events = [*_taken(connection), *connection._whodid_apart]
        connection._whodid_apart = []
        if events:
            _write(connection, events)
        if later := _taken(connection, _is_for_later):
            _deliver_apart(later)
    else:
        _flush_early(connection)


def _taken(connection: Any, is_meant: Callable[[object], bool] | None = None) -> list[Event]:
    """Take the events that wait for this commit, or are meant, out of the connection's list."""
    events: list[Event] = []
    kept = []
    for item in connection.run_on_commit:
        entry = item[1]
        if (is_meant or _is_ours)(entry):
            events += entry.events
        else:
            kept.append(item)
    connection.run_on_commit = kept
    return events


def _is_ours(entry: object) -> bool:
    return isinstance(entry, Entry) and not isinstance(entry, _LaterEntry)


def _is_for_later(entry: object) -> bool:
    return isinstance(entry, _LaterEntry)


def _flush_early(connection: Any) -> None:
    """Write what waits before there is too much of it.

    Not inside of a block while events of the one around it wait: written in the inner one's
    savepoint they would be lost with it, and left behind they would be told too late.
    """
    if connection._whodid_size < connection._whodid_limit:
        return  # counting anew each time would cost more with every entry
    waiting = [entry for _, entry, *_ in connection.run_on_commit if _is_ours(entry)]
    outer = connection.run_on_commit[: _place_after(connection, _newest_mark(connection))]
    size = sum(len(entry.events) for entry in waiting)
    if size >= AT_ONCE and not any(_is_ours(entry) for _, entry, *_ in outer):
        _write(connection, _taken(connection))
        size = 0
    connection._whodid_size, connection._whodid_limit = size, size + AT_ONCE


def _write(connection: Any, events: list[Event]) -> None:
    """Write events in the open transaction; what can't be is dealt with after the commit."""
    audit = get_audit()
    for start in range(0, len(events), AT_ONCE):
        part = events[start : start + AT_ONCE]
        try:
            connection.ensure_connection()
            audit.write(part, connection=connection.connection)
            connection._whodid_wrote = True
        except Exception as error:
            if audit.on_failure == "raise" or _is_rolled_back(connection):
                # A kind that Django rolls back for.
                raise DatabaseError(f"the audit log could not be written: {error}") from error
            _deal_later(connection, part, error)


def _keep(connection: Any, events: list[Event]) -> None:
    """Keep events in the open transaction until the log has them.

    Not with a buffer: then a crash loses what is in it, which is what a buffer is.
    """
    audit = get_audit()
    if audit.is_buffered:
        return
    try:
        handoff.keep(connection, events)
    except Exception as error:
        if audit.on_failure == "raise" or _is_rolled_back(connection):
            raise DatabaseError(f"the events could not be kept: {error}") from error
        with audit.guarded(
            f"keeping events in the database {connection.alias!r} until the log has them "
            f"(`manage.py migrate --database {connection.alias}` makes the table)"
        ):
            raise


def _is_rolled_back(connection: Any) -> bool:
    """Did SQLite end the host's transaction by itself, as it may on a full disk?

    Then nothing of it is left, and the host must not take it for committed.
    """
    return bool(
        connection.vendor == "sqlite"
        and connection.connection is not None
        and not connection.connection.in_transaction
    )


def _deal_later(connection: Any, events: Sequence[Event], error: Exception) -> None:
    def deal() -> None:
        with get_audit().guarded("events that could not be written"), claimed():
            get_audit().failed(events, error)

    # First: what the host has there may raise, and then nothing behind it is done.
    connection.run_on_commit.insert(0, (set(connection.savepoint_ids), deal, True))
