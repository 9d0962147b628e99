"""How events get from the application to the writer, and what happens when that fails.

`Direct` has every event in the store when `deliver` returns. `Buffered` puts it into a queue in
memory, in about two microseconds, and one thread redacts, encodes and writes: what a crash of the
process loses is what is in the queue. Both do what was agreed on when the writer fails:

- `spool`: keep the events on the local disk (`spool`), go on, put them back later;
- `raise`: let the caller fail, too (fail closed);
- `drop`: go on without them.

Whatever is lost is counted, said in the log of the application at most once a minute, and recorded
as `audit.logging.drop` as soon as the writer works again: the log says of itself what it lacks.

Not here: how an event is made (`recorder`), who chooses all this (`log`).
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import msgspec
from msgspec import UNSET, Struct, UnsetType, structs

from whodid import event as events_module
from whodid import ids, recorder
from whodid.canonical import Encoded, tenant_of
from whodid.errors import AuditError, ConfigError, EventError, InvalidError, StoreUnavailableError
from whodid.event import DEFAULT_TENANT, Actor, Event, Reason, Tenant, Window
from whodid.jsonable import guarded_text
from whodid.redaction import redact_text
from whodid.spool import BATCH, REJECTED, Drained, Spool
from whodid.times import Instant

OnFailure: TypeAlias = Literal["spool", "raise", "drop"]
WhenFull: TypeAlias = Literal["block", "drop"]

CAPACITY = 10_000
PATIENCE_S = 5.0
LINGER_S = 0.02  # how long the thread waits for company: a commit for each event costs more
EXIT_TIMEOUT_S = 10.0
DRAIN_APART_S = 1.0  # at the start and in the thread
DRAIN_IN_CALL_S = 0.05
TRY_AGAIN_S = 1.0  # after a failure to put events back
LOOK_AGAIN_S = 60.0  # for files of processes that have died meanwhile
RETRY_FIRST_S, RETRY_LAST_S = 0.1, 5.0

_logger = logging.getLogger("whodid")
_freeze = msgspec.json.Encoder(enc_hook=events_module.write_hook).encode


class EventWriter(Protocol):
    """What events are delivered to; every store is one."""

    def append(
        self,
        batch: Sequence[Encoded],
        *,
        writer: str | None = None,
        now: Instant | Sequence[Instant] | None = None,
    ) -> object:
        """Store a batch, all or nothing; durable when it returns, idempotent by id.

        Raises:
            InvalidError: One of them can never be stored.
            StoreUnavailableError: Not now.
        """
        ...


class Delivery(Protocol):
    """What an `AuditLog` gives its events to."""

    def deliver(self, events: Sequence[Event]) -> None:
        """Have events written, now or soon."""
        ...

    def failed(self, events: Sequence[Event], error: Exception) -> None:
        """Deal with events that somebody else could not write."""
        ...

    def flush(self, timeout_s: float | None = None) -> bool:
        """Wait until everything that was delivered is written; False when time was up before."""
        ...

    def close(self) -> None:
        """Flush and let go. Idempotent."""
        ...


@dataclass(slots=True, kw_only=True)
class Tally:
    """How many events had which fate, since the process began.

    Attributes:
        written: The writer has them.
        spooled: Went to the local disk.
        put_back: Came back from there.
        rejected: Can never be stored: they break the schema, or contradict what is stored.
        lost: Were given up: the queue or the spool was full, or that was the choice.
    """

    written: int = 0
    spooled: int = 0
    put_back: int = 0
    rejected: int = 0
    lost: int = 0


class Notices:
    """Lines in the application's log, of each kind at most one a minute. For use by all threads.

    What is kept back is counted, and said with the next line of its kind or at the end.
    """

    def __init__(self, *, every_s: float = 60.0) -> None:
        self._every_s = every_s
        self._said_at: dict[str, float] = {}
        self._kept_back: dict[str, tuple[int, int, str]] = {}
        self.begin_anew()
        _notices.add(self)

    def begin_anew(self) -> None:
        """In a child after fork, too, where nobody lets go of a lock that another thread had."""
        self._lock = threading.RLock()

    def say(
        self,
        kind: str,
        text: str,
        *,
        count: int = 1,
        level: int = logging.WARNING,
        now: float | None = None,
    ) -> None:
        """Say what happened, `count` times.

        Args:
            kind: Of the line; of each kind there is one a minute.
            text: `{count}` stands for how often it happened since the last line of the kind,
                `{events}` for so many events.
        """
        now = time.monotonic() if now is None else now
        with self._lock:
            kept, _, _ = self._kept_back.pop(kind, (0, 0, ""))
            said_at = self._said_at.get(kind)
            if said_at is not None and now - said_at < self._every_s:
                self._kept_back[kind] = (kept + count, level, text)
                return
            self._said_at[kind] = now
        _say(level, text, kept + count)

    def say_rest(self) -> None:
        """Say what was kept back."""
        with self._lock:
            rest, self._kept_back = self._kept_back, {}
        for count, level, text in rest.values():
            _say(level, text, count)


def _say(level: int, text: str, count: int) -> None:
    events = f"{count:,} event{'s' * (count != 1)}"
    said = text.replace("{count}", f"{count:,}").replace("{events}", events)
    _logger.log(level, "%s", said)


@dataclass(slots=True)
class _Loss:
    """Events of one tenant that were lost for one reason."""

    count: int
    first: Instant
    last: Instant


class _Desk:
    """Writes batches, and does what was agreed on when that fails. For use by all threads."""

    def __init__(
        self,
        writer: EventWriter,
        *,
        prepare: Callable[[Event], Encoded],
        on_failure: OnFailure,
        spool: Spool | None,
        is_lasting: Callable[[], bool],
        is_strict: bool,
    ) -> None:
        """Take the choices of `Direct` or `Buffered`.

        Args:
            is_strict: Raise what can never be stored, instead of rejecting it.
        """
        if on_failure == "spool" and spool is None:
            raise AssertionError("on_failure is spool, but there is no spool")
        self._writer, self._prepare = writer, prepare
        self.on_failure, self.spool = on_failure, spool
        self._is_lasting, self._is_strict = is_lasting, is_strict
        self.begin_anew()

    def begin_anew(self) -> None:
        """At the start, and in a child after fork: what was lost is the parent's to tell."""
        self.tally, self.notices = Tally(), Notices()
        self._lock = threading.RLock()
        self._losses: dict[tuple[str, str], _Loss] = {}
        self._look_at = 0.0

    def prepared(self, events: Iterable[Event]) -> list[Encoded]:
        """The events as they are stored, without those that can't be.

        Raises:
            AuditError: One of them can't, and the desk is strict.
        """
        batch: list[Encoded] = []
        for each in events:
            try:
                batch.append(self._prepare(_identified(each)))
            except Exception as error:
                if self._is_strict:
                    # What fails closed must not take a fault of ours for something to pass over.
                    raise error if isinstance(error, AuditError) else _unmade(error) from error
                self.refuse(error)  # a fault of ours, too, costs the host one event and no request
        return batch

    def append(self, batch: Sequence[Encoded]) -> tuple[Sequence[Encoded], Exception | None]:
        """Write a batch.

        Returns:
            What could not be written now, and why.

        Raises:
            InvalidError: One of them never can be, and the desk is strict.
        """
        if not batch:
            return (), None
        try:
            self._writer.append(batch)
        except InvalidError as error:
            if self._is_strict:
                raise
            if len(batch) > 1:
                return self._append_each(batch)
            self._set_apart(batch, error)
            return (), None
        except Exception as error:  # noqa: BLE001 - the host must not fail because its log does
            return batch, error
        except BaseException:
            # The thread is told to end. If they were written after all, their ids say so.
            if self.on_failure == "spool":
                self._keep(batch)
            raise
        self._count(written=len(batch))
        return (), None

    def _append_each(self, batch: Sequence[Encoded]) -> tuple[Sequence[Encoded], Exception | None]:
        for number, each in enumerate(batch):
            _, error = self.append([each])
            if error is not None:
                return batch[number:], error
        return (), None

    def refuse(self, error: Exception) -> None:
        """Count an event that can never be stored, and was not redacted, so is kept nowhere."""
        self._count(rejected=1)
        text = f"{{events}} can't be stored, the last one because of: {words_of(error)}"
        self.notices.say("rejected", text, level=logging.ERROR)

    def _set_apart(self, batch: Sequence[Encoded], error: Exception) -> None:
        """Give up events that the writer will never take; in the spool, where there is one."""
        self.refuse(error)
        if self.spool is not None:
            try:
                self.spool.reject(batch, str(error))
            except AuditError as trouble:
                self._say_lost(trouble, count=len(batch))

    def fail(self, batch: Sequence[Encoded], error: Exception) -> None:
        """Do what was agreed on with events that could not be written.

        Raises:
            AuditError: The choice is to raise.
        """
        if self.on_failure == "raise":
            if isinstance(error, AuditError):
                raise error
            text = f"the events were not stored: {type(error).__name__}"
            raise StoreUnavailableError(text) from error
        self.give_up(batch, error)

    def give_up(self, batch: Sequence[Encoded], error: Exception) -> None:
        """Keep events in the spool, unless the choice is to drop or there is none."""
        if not batch:
            return
        if self.spool is not None and self.on_failure != "drop":
            self._keep(batch, error)
        else:
            self.lose(map(_tenant_of, batch), "store_unavailable", error)

    def _keep(self, batch: Sequence[Encoded], error: BaseException | None = None) -> None:
        if self.spool is None:
            raise AssertionError("events are to be spooled, but there is no spool")
        try:
            self.spool.add(batch)
        except AuditError as trouble:
            self.lose(map(_tenant_of, batch), "spool_unavailable", trouble)
            return
        self._count(spooled=len(batch))
        self._look_at = 0.0
        why = words_of(error) if error is not None else "the thread was told to end"
        text = f"{{events}} not stored but spooled in {self.spool.folder}: {why}"
        self.notices.say("spooled", text, count=len(batch))

    def lose(self, tenants: Iterable[str], reason: str, error: BaseException) -> None:
        """Count events as lost, each by its tenant."""
        now = Instant.now()
        counts = Counter(tenants)
        with self._lock:
            for tenant, count in counts.items():
                loss = self._losses.setdefault((tenant, reason), _Loss(0, now, now))
                loss.count, loss.last = loss.count + count, now
        self._count(lost=counts.total())
        self._say_lost(error, count=counts.total())

    def follow_up(self, *, within_s: float) -> None:
        """After a success: record what was lost, and put back some of what was spooled."""
        if self._losses or time.monotonic() >= self._look_at:
            self.recover(within_s=within_s)

    def recover(self, *, within_s: float | None) -> None:
        """The same, without asking whether it is time."""
        if not self._is_lasting():
            return
        self._record_losses()
        if self.spool is None:
            self._look_at = float("inf")
            return
        self._look_at = time.monotonic() + LOOK_AGAIN_S
        try:
            drained = self.spool.drain(self._writer.append, within_s=within_s)
        except Exception as error:  # noqa: BLE001 - as above; what is spooled stays there
            self._look_at = time.monotonic() + TRY_AGAIN_S
            text = f"spooled events can't be put back now: {words_of(error)}"
            self.notices.say("not put back", text)
        else:
            self._tell_of(drained)

    def finish(self) -> None:
        """At the end: record what was lost, if that is possible now, and say what was not said."""
        if self._losses and self._is_lasting():
            self._record_losses()
        self.notices.say_rest()

    def _tell_of(self, drained: Drained) -> None:
        self._count(put_back=drained.put_back, rejected=drained.rejected)
        if drained.put_back:
            text = "{events} put back from the spool"
            self.notices.say("put back", text, count=drained.put_back, level=logging.INFO)
        if drained.rejected:
            where = self.spool.folder / REJECTED if self.spool else REJECTED
            text = f"{{events}} of the spool can't be stored, and set apart in {where}"
            self.notices.say("set apart", text, count=drained.rejected, level=logging.ERROR)
        if not drained.is_done:
            self._look_at = 0.0

    def _record_losses(self) -> None:
        """Write down what was lost; what can't be written is tried again after the next success."""
        with self._lock:
            losses, self._losses = self._losses, {}
        for (tenant, reason), loss in losses.items():
            event = _drop_event(tenant, reason, loss)
            try:
                self._writer.append([recorder.prepare_activity(event)])
            except Exception as error:  # noqa: BLE001 - as above
                with self._lock:
                    known = self._losses.setdefault(
                        (tenant, reason), _Loss(0, loss.first, loss.last)
                    )
                    known.count += loss.count
                    known.first = min(known.first, loss.first)
                self.notices.say("unrecorded", f"losses can't be recorded now: {words_of(error)}")

    def _count(self, **by: int) -> None:
        with self._lock:
            for name, number in by.items():
                setattr(self.tally, name, getattr(self.tally, name) + number)

    def _say_lost(self, error: BaseException, *, count: int) -> None:
        text = f"{{events}} lost: {words_of(error)}"
        self.notices.say("lost", text, count=count, level=logging.ERROR)


class _Delivering:
    """What `Direct` and `Buffered` have in common: all but when it is written."""

    def __init__(self, desk: _Desk) -> None:
        self._desk = desk
        _open.add(self)
        desk.recover(within_s=DRAIN_APART_S)

    @property
    def tally(self) -> Tally:
        """What became of the events so far."""
        return self._desk.tally

    def prepared(self, events: Sequence[Event]) -> list[Encoded]:
        """The events as they are stored, for an integration that appends them itself.

        Those that never can be are left out, and counted.

        Raises:
            AuditError: One of them can't, and this delivery is a `Direct` one that raises.
        """
        return self._desk.prepared(events)

    def failed(self, events: Sequence[Event], error: Exception) -> None:
        """Do what was agreed on with events that somebody else could not write, at once.

        Raises:
            AuditError: The choice is to raise.
        """
        self._desk.fail(self._desk.prepared(events), error)

    def recover(self, *, within_s: float | None = None) -> None:
        """Put back what was spooled, now. What goes wrong is logged."""
        self._desk.recover(within_s=within_s)

    def close(self) -> None:
        """Record what was lost, if that is possible now, and say what was not yet said."""
        self._desk.finish()
        _open.discard(self)

    def begin_anew(self) -> None:
        """In a child after fork."""
        self._desk.begin_anew()


class Direct(_Delivering):
    """Everything is in the store, or was dealt with as agreed, when `deliver` returns.

    Args:
        writer: Where events go.
        prepare: Redacts, fills and encodes one event.
        on_failure: What becomes of events that the writer does not take.
        spool: Where they are kept, for `spool`. Whoever gives it closes it.
        is_lasting: Does what is appended now last, whatever the host does next? While it does not
            (the host's own transaction is open on the writer's connection), nothing is put back
            from the spool, since a rollback would undo that.
    """

    def __init__(
        self,
        writer: EventWriter,
        *,
        prepare: Callable[[Event], Encoded],
        on_failure: OnFailure = "spool",
        spool: Spool | None = None,
        is_lasting: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__(
            _Desk(
                writer,
                prepare=prepare,
                on_failure=on_failure,
                spool=spool,
                is_lasting=is_lasting,
                is_strict=on_failure == "raise",
            )
        )

    def deliver(self, events: Sequence[Event]) -> None:
        """Write events, all or none of them, but those that can never be stored.

        Durable when it returns, unless the tally's `lost` or `rejected` says otherwise. Ordered. A
        crash inside keeps all or none.

        Raises:
            AuditError: Nothing was written, and the choice is to raise. Anything else is logged.
        """
        batch = self._desk.prepared(events)
        left, error = self._desk.append(batch)
        if error is not None:
            self._desk.fail(left, error)
        elif batch:
            self._desk.follow_up(within_s=DRAIN_IN_CALL_S)

    def flush(self, timeout_s: float | None = None) -> bool:
        """True: nothing waits here."""
        return True


class Buffered(_Delivering):
    """Events go into a queue in memory, and one thread writes them, in batches of up to 500.

    A crash of the process (kill -9, `os._exit`, a signal that nothing in it handles) loses what is
    in the queue: at most `capacity` and one batch, as a rule what was recorded in the last 20 ms. A
    usual end of the interpreter, or of a child of `multiprocessing`, writes it; what is not written
    within 10 seconds is spooled.

    After fork the child begins with an empty queue and a thread of its own; the parent keeps what
    is in its queue.

    With `on_failure="raise"` the thread tries a batch that fails again and again, so that the queue
    fills and `deliver` raises: soon nothing goes on unrecorded. What can never be stored is found
    out in the thread, and only counted and logged.
    """

    def __init__(
        self,
        writer: EventWriter,
        *,
        prepare: Callable[[Event], Encoded],
        on_failure: OnFailure = "spool",
        spool: Spool | None = None,
        is_lasting: Callable[[], bool] = lambda: True,
        capacity: int = CAPACITY,
        when_full: WhenFull = "block",
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Make one; the thread starts with the first event.

        Args:
            writer: As of `Direct`, as the next four; called in the thread.
            prepare: The same.
            on_failure: The same.
            spool: The same.
            is_lasting: The same.
            capacity: Of the queue, in events.
            when_full: `block` the caller, or `drop` the event.
            patience_s: How long a caller is blocked; then it is treated as a failure.

        Raises:
            ConfigError: There would be room for no event.
        """
        if capacity < 1:
            raise ConfigError(f"a buffer holds at least 1 event, got {capacity}")
        self._capacity, self._when_full, self._patience_s = capacity, when_full, patience_s
        self._make_queue()
        super().__init__(
            _Desk(
                writer,
                prepare=prepare,
                on_failure=on_failure,
                spool=spool,
                is_lasting=is_lasting,
                is_strict=False,
            )
        )

    def _make_queue(self) -> None:
        # Bytes, not events: they are a copy that nobody can change, and no work for the collector.
        self._queue: deque[bytes] = deque()
        self._writing: Sequence[bytes] = ()
        self._put = self._done = 0
        # Its lock is re-entrant: a signal handler may record an event while its thread puts one.
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._wakes_at = 0  # so many events in the queue make the thread go on, 0 while it is busy
        self._is_hurried = self._is_closed = False
        self._trouble: Exception | None = None

    @property
    def waiting(self) -> int:
        """How many events are in the queue or being written."""
        return self._put - self._done

    def deliver(self, events: Sequence[Event]) -> None:
        """Queue events as they are now; later changes of what they were made of don't matter.

        Not durable when it returns. Ordered. Blocks for at most `patience_s`.

        Raises:
            AuditError: The queue stayed full, or an event can't be encoded, and the choice is to
                raise. Anything else is logged.
        """
        frozen = self._frozen(events)
        with self._changed:
            taken = self._put_all(frozen)
        if taken < len(frozen):
            self._deal_with(frozen[taken:])

    def flush(self, timeout_s: float | None = None) -> bool:
        """Wait until all that was delivered before is written, or was dealt with as agreed.

        Returns:
            False when `timeout_s` seconds passed before that.
        """
        with self._changed:
            until, self._is_hurried = self._put, True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._done >= until, timeout_s)

    def close(self) -> None:
        """Write what is queued and end the thread. Idempotent; later events are written directly.

        What is not written after 10 seconds is dealt with as a failure.
        """
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(EXIT_TIMEOUT_S)
        with self._changed:
            # Whether the thread, if it is stuck, will write its batch nobody knows; ids tell.
            left = [*self._writing, *self._queue]
            self._queue.clear()
            self._finish(len(left))
        if left:
            late = StoreUnavailableError(f"the store took more than {EXIT_TIMEOUT_S:g} s")
            self._desk.give_up(self._prepared(left), late)
        super().close()

    def begin_anew(self) -> None:
        """In a child after fork."""
        super().begin_anew()
        self._make_queue()

    # -- in the callers' threads

    def _frozen(self, events: Sequence[Event]) -> list[bytes]:
        frozen = []
        for each in events:
            try:
                frozen.append(_freeze(_identified(each)))
            except (UnicodeEncodeError, TypeError) as error:
                problem = EventError("$", f"it can't be encoded: {type(error).__name__}")
                if self._desk.on_failure == "raise":
                    raise problem from error
                self._desk.refuse(problem)
        return frozen

    def _put_all(self, frozen: Sequence[bytes]) -> int:
        """Queue events, the lock being held. Returns how many there was room for."""
        until = 0.0
        for number, each in enumerate(frozen):
            if len(self._queue) >= self._capacity:
                until = until or time.monotonic() + self._patience_s
                self._wait_for_room(until)
            if self._is_closed or len(self._queue) >= self._capacity or not self._has_thread():
                return number
            self._queue.append(each)
            self._put += 1
            if 0 < self._wakes_at <= len(self._queue):
                self._changed.notify_all()
        return len(frozen)

    def _wait_for_room(self, until: float) -> None:
        # The thread must not wait for itself: a store may log, and what is logged be recorded.
        if self._when_full == "block" and threading.current_thread() is not self._thread:
            self._changed.wait_for(
                lambda: self._is_closed or len(self._queue) < self._capacity,
                until - time.monotonic(),
            )

    def _deal_with(self, frozen: Sequence[bytes]) -> None:
        """Do what was agreed on with events that the queue did not take."""
        if self._is_closed:
            left, error = self._desk.append(self._prepared(frozen))
            if error is not None:
                self._desk.fail(left, error)
            return
        full = StoreUnavailableError(
            f"the queue of {self._capacity:,} events is full: the store does not keep up"
        )
        if self._when_full == "drop":
            self._desk.lose(map(_frozen_tenant, frozen), "queue_full", full)
        else:
            full.__cause__ = self._trouble
            self._desk.fail(self._prepared(frozen), full)

    def _has_thread(self) -> bool:
        """Start the thread if there is none; False when that is no longer possible."""
        if self._thread is not None:
            return True
        thread = threading.Thread(target=self._run, name="whodid", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the interpreter is about to end
            self._is_closed = True
            return False
        self._thread = thread
        _close_with_process(self)
        return True

    # -- in the thread

    def _run(self) -> None:
        try:
            while batch := self._take():
                try:
                    self._write(batch)
                except Exception as error:  # the thread must live on
                    _logger.debug("a fault of whodid", exc_info=error)
                    self._desk.lose(map(_frozen_tenant, batch), "fault", error)
                except BaseException as error:
                    if self._desk.on_failure != "spool":
                        self._desk.lose(map(_frozen_tenant, batch), "ended", error)
                    raise
                finally:  # also if the thread is told to end: who flushes must not wait for ever
                    with self._changed:
                        self._finish(len(batch))
        finally:
            with self._changed:
                self._thread = None

    def _take(self) -> Sequence[bytes]:
        """Wait for events, and a moment longer for more; none at the end."""
        with self._changed:
            self._wakes_at = 1
            self._changed.wait_for(lambda: self._queue or self._is_closed)
            self._wakes_at = BATCH
            self._changed.wait_for(
                lambda: len(self._queue) >= BATCH or self._is_hurried or self._is_closed, LINGER_S
            )
            self._wakes_at = 0
            size = min(BATCH, len(self._queue))
            self._writing = [self._queue.popleft() for _ in range(size)]
            self._is_hurried = self._is_hurried and bool(self._queue)
            self._changed.notify_all()  # there is room now
            return self._writing

    def _write(self, batch: Sequence[bytes]) -> None:
        left, error = self._desk.append(self._prepared(batch))
        pause_s = RETRY_FIRST_S
        while error is not None and self._desk.on_failure == "raise":
            self._trouble = error
            self._desk.notices.say("retried", f"the store fails, trying again: {words_of(error)}")
            with self._changed:
                if self._changed.wait_for(lambda: self._is_closed, pause_s):
                    break
            pause_s = min(2 * pause_s, RETRY_LAST_S)
            left, error = self._desk.append(left)
        self._trouble = error
        if error is not None:
            self._desk.give_up(left, error)
        else:
            self._desk.follow_up(within_s=DRAIN_APART_S)

    def _prepared(self, frozen: Sequence[bytes]) -> list[Encoded]:
        thawed = []
        for each in frozen:
            try:
                thawed.append(events_module.decode(each))
            except EventError as error:  # made by the constructor, which checks little
                self._desk.refuse(error)
        return self._desk.prepared(thawed)

    def _finish(self, count: int) -> None:
        self._writing = ()
        self._done += count
        self._changed.notify_all()


class _Head(Struct):
    """As much of an event as tells whose it is."""

    tenant: Tenant | UnsetType = UNSET


_read_head = msgspec.json.Decoder(_Head).decode


def _frozen_tenant(frozen: bytes) -> str:
    tenant = _read_head(frozen).tenant
    return tenant.id if tenant else DEFAULT_TENANT


def _tenant_of(encoded: Encoded) -> str:
    return tenant_of(encoded.event)


def _identified(event: Event) -> Event:
    """The event with an id and a time, so that it is the same one however often it is sent."""
    given: dict[str, str | Instant] = {}
    if event.id is UNSET:
        given["id"] = ids.uuid7()
    if event.occurred_at is UNSET:
        given["occurred_at"] = Instant.now()
    return structs.replace(event, **given) if given else event


def _drop_event(tenant: str, reason: str, loss: _Loss) -> Event:
    return Event(
        id=ids.uuid7(),
        occurred_at=loss.last,
        action="audit.logging.drop",
        actor=Actor(type="system", id="whodid", name="whodid"),
        tenant=Tenant(id=tenant),
        reason=Reason(code=reason),
        metadata={"records": loss.count},
        window=Window(start=loss.first, end=loss.last),
    )


def _unmade(error: Exception) -> EventError:
    return EventError("$", f"it can't be made ready to be stored: {type(error).__name__}")


def words_of(error: BaseException) -> str:
    """What an error says in one line, without what a driver may have put into its message."""
    if isinstance(error, AuditError):
        return str(error)
    lines = redact_text(guarded_text(error)).strip().splitlines() or [""]
    said = lines[0][:300]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


# -- the end of the process, and fork ------------------------------------------------------------

_open: weakref.WeakSet[_Delivering] = weakref.WeakSet()
_notices: weakref.WeakSet[Notices] = weakref.WeakSet()


def _close_all() -> None:
    for each in list(_open):
        each.close()


def _close_with_process(buffered: Buffered) -> None:
    """In a child of `multiprocessing`, which ends without calling what `atexit` was told."""
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        from multiprocessing.util import Finalize  # loaded there already, and nowhere else needed

        Finalize(None, buffered.close, exitpriority=10)


def _begin_anew() -> None:
    for notices in list(_notices):
        notices.begin_anew()
    for each in list(_open):
        each.begin_anew()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
