"""The events of a block, caught instead of stored, with assertions that say what was there instead.

They are caught where they would go to the store, as they would be stored: with their context,
redacted, filled, encoded. Buffered logs give theirs at once, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, overload

import msgspec
from msgspec import UNSET

from whodid.canonical import Encoded, tenant_of
from whodid.describe import Describer, actor_of, target_of
from whodid.errors import InvalidError
from whodid.event import Event, Principal, Target, Tenant
from whodid.jsonable import plain

ANYTHING = ...  # as a side of an expected change: whatever it was
_SHOWN = 20


class Audit(Protocol):
    """What is needed of an `AuditLog` to catch its events."""

    @property
    def describers(self) -> Sequence[Describer]:
        """Know the application's objects."""
        ...

    def prepare(self, event: Event) -> Encoded:
        """Redact, fill and encode an event by the log's rules."""
        ...

    # `Any`: a `Delivery`, which is defined by what delivers.
    def redirected(self, delivery: Any) -> AbstractContextManager[None]:
        """Give events to another delivery while a block runs."""
        ...


@contextmanager
def capture_events(audit: Audit) -> Iterator[Recorded]:
    """Catch what is recorded while the block runs, in all threads; nothing reaches the store.

    Raises:
        AssertionError: At the end of the block: an event was recorded that can't be stored.
    """
    delivery = _Capture(audit)
    with audit.redirected(delivery):
        yield delivery.recorded
    if delivery.faults:
        raise AssertionError(f"recorded what can't be stored: {'; '.join(delivery.faults)}")


class Recorded(Sequence[Event]):
    """The events that were recorded so far, oldest first.

    In all assertions, actors and targets are written as `"user:7"`, as a bare id or name, or as the
    application's own object; what is not said may be anything.
    """

    def __init__(
        self, events: Iterable[Event] = (), *, describers: Sequence[Describer] = ()
    ) -> None:
        self._events, self._describers = list(events), describers

    def add(self, event: Event) -> None:
        """Record one more."""
        self._events.append(event)

    @overload
    def __getitem__(self, index: int) -> Event: ...

    @overload
    def __getitem__(self, index: slice) -> list[Event]: ...

    def __getitem__(self, index: int | slice) -> Event | list[Event]:
        return self._events[index]

    def __len__(self) -> int:
        return len(self._events)

    def __repr__(self) -> str:
        return f"Recorded({len(self)}):\n{self._listed()}" if self._events else "Recorded()"

    @property
    def actions(self) -> list[str]:
        """The actions, oldest first."""
        return [each.action for each in self._events]

    def of(self, action: str) -> Recorded:
        """Those with this action."""
        return Recorded(
            (each for each in self._events if each.action == action), describers=self._describers
        )

    def one(self, action: str | None = None) -> Event:
        """The only event, or the only one with this action.

        Raises:
            AssertionError: There is none, or more than one.
        """
        __tracebackhide__ = True
        found = self._events if action is None else list(self.of(action))
        if len(found) != 1:
            what = "event" if action is None else f"event {action}"
            raise AssertionError(
                f"expected one {what}, but {len(found)} were recorded{self._instead()}"
            )
        return found[0]

    def assert_recorded(
        self,
        action: str,
        *,
        actor: object = None,
        target: object = None,
        outcome: str | None = None,
        reason: str | None = None,
        changes: Mapping[str, object] | None = None,
        metadata: Mapping[str, object] | None = None,
        tenant: str | None = None,
        on_behalf_of: object = None,
    ) -> Event:
        """The first event that fits.

        Args:
            action: `invoice.delete`.
            target: One of its targets.
            reason: The code.
            changes: `{"status": ("draft", "sent")}`, or only the new value; `...` for whatever. It
                may have changed more.
            metadata: What it holds among other things; `...` for whatever.

        Raises:
            AssertionError: None fits; says what was recorded, what was nearest, and why not.
        """
        __tracebackhide__ = True
        expected = _Expected(
            describers=self._describers, action=action, actor=actor, target=target,
            outcome=outcome, reason=reason, changes=changes, metadata=metadata, tenant=tenant,
            on_behalf_of=on_behalf_of,
        )  # fmt: skip
        misses = [(expected.misses(each), each) for each in self._events]
        for wrong, event in misses:
            if not wrong:
                return event
        raise AssertionError(f"no such event was recorded: {expected}{self._nearest(misses)}")

    def assert_not_recorded(self, action: str, **expected: Any) -> None:
        """No event fits; the arguments are those of `assert_recorded`.

        Raises:
            AssertionError: One does.
        """
        __tracebackhide__ = True
        wanted = _Expected(describers=self._describers, action=action, **expected)
        for number, event in enumerate(self._events, 1):
            if not wanted.misses(event):
                raise AssertionError(f"recorded, but should not be:\n{_line(number, event)}")

    def assert_nothing_recorded(self) -> None:
        """There is no event.

        Raises:
            AssertionError: There is; says which.
        """
        __tracebackhide__ = True
        self.assert_count(0)

    def assert_count(self, number: int, action: str | None = None) -> None:
        """There are so many events, or so many with this action.

        Raises:
            AssertionError: There are more or fewer; says which.
        """
        __tracebackhide__ = True
        found = len(self) if action is None else len(self.of(action))
        if found != number:
            what = "events" if action is None else f"events {action}"
            wanted = number or "no"
            raise AssertionError(
                f"expected {wanted} {what}, but {found} were recorded{self._instead()}"
            )

    def _listed(self) -> str:
        lines = [_line(number, each) for number, each in enumerate(self._events[:_SHOWN], 1)]
        if len(self) > _SHOWN:
            lines.append(f"  and {len(self) - _SHOWN} more")
        return "\n".join(lines)

    def _instead(self) -> str:
        return f":\n{self._listed()}" if self._events else ""

    def _nearest(self, misses: Sequence[tuple[Sequence[str], Event]]) -> str:
        if not misses:
            return "\nnothing was recorded at all"
        # An event of the same action is always nearer than one of another.
        wrong, nearest = min(
            misses, key=lambda each: (each[0][0].startswith("action"), len(each[0]))
        )
        number = next(n for n, each in enumerate(self._events, 1) if each is nearest)
        reasons = "".join(f"\n  {each}" for each in wrong)
        return f"\nnearest is event {number}:{reasons}\nrecorded were:\n{self._listed()}"


class _Capture:
    """A delivery that keeps what it gets."""

    def __init__(self, audit: Audit) -> None:
        self._prepare: Callable[[Event], Encoded] = audit.prepare
        self.recorded = Recorded(describers=audit.describers)
        self.faults: list[str] = []

    def deliver(self, events: Sequence[Event]) -> None:
        for each in events:
            try:
                self.recorded.add(_as_stored(self._prepare(each)))
            except InvalidError as error:
                self.faults.append(f"{each.action} ({error})")

    def failed(self, events: Sequence[Event], error: Exception) -> None:
        self.deliver(events)

    def flush(self, timeout_s: float | None = None) -> bool:
        return True

    def close(self) -> None:
        """Nothing to let go."""


def _as_stored(encoded: Encoded) -> Event:
    given = encoded.event.tenant
    return msgspec.structs.replace(
        encoded.event,
        **msgspec.structs.asdict(encoded.labels),
        tenant=Tenant(id=tenant_of(encoded.event), name=given.name if given else UNSET),
    )


class _Expected:
    """What an event should be."""

    def __init__(
        self,
        *,
        describers: Sequence[Describer],
        action: str,
        changes: Mapping[str, object] | None = None,
        metadata: Mapping[str, object] | None = None,
        **parts: object,
    ) -> None:
        unknown = parts.keys() - _READERS.keys()
        if unknown:
            raise TypeError(f"nothing of an event is called {', '.join(sorted(unknown))}")
        self._action, self._describers = action, describers
        self._changes, self._metadata = changes or {}, metadata or {}
        self._parts = {name: given for name, given in parts.items() if given is not None}

    def __str__(self) -> str:
        said = [f"{name} {_name_of(given)}" for name, given in self._parts.items()]
        said += [f"{path}: {_arrow(given)}" for path, given in self._changes.items()]
        said += [f"{key}={given!r}" for key, given in self._metadata.items()]
        return ", ".join([self._action, *said])

    def misses(self, event: Event) -> list[str]:
        """What is not as expected; the action comes first."""
        found = []
        if event.action != self._action:
            found.append(f"action: expected {self._action}, got {event.action}")
        for name, given in self._parts.items():
            if not self._fits(name, given, event):
                found.append(f"{name}: expected {_name_of(given)}, got {_READERS[name](event)}")
        return [*found, *self._missed_changes(event), *self._missed_metadata(event)]

    def _fits(self, name: str, given: object, event: Event) -> bool:
        if name == "target":
            return any(self._is_same(each, given) for each in event.targets)
        if name in ("actor", "on_behalf_of"):
            return self._is_same(getattr(event, name) or None, given)
        return bool(_READERS[name](event) == given)

    def _is_same(self, part: Principal | Target | None, given: object) -> bool:
        if part is None:
            return False
        if isinstance(given, str) and given in (part.id, part.name, _label(part)):
            return True
        if isinstance(given, str) and ":" not in given:
            return False
        describe = target_of if isinstance(part, Target) else actor_of
        wanted: Any = describe(given, self._describers)  # `Any`: an Actor or a Target
        return (part.type, part.id) == (wanted.type, wanted.id)

    def _missed_changes(self, event: Event) -> Iterator[str]:
        changed = {each.path: each for each in event.changes}
        for path, given in self._changes.items():
            old, new = given if isinstance(given, tuple) and len(given) == 2 else (ANYTHING, given)
            change = changed.get(path)
            if change is None:
                others = ", ".join(changed) or "nothing"
                yield f"changes: expected one of {path}, got {others}"
            elif not (_is_value(change.old, old) and _is_value(change.new, new)):
                got = _arrow((change.old, change.new))
                yield f"changes: expected {path} {_arrow(given)}, got {got}"

    def _missed_metadata(self, event: Event) -> Iterator[str]:
        metadata = event.metadata or {}
        for key, given in self._metadata.items():
            if key not in metadata:
                yield f"metadata: expected {key}, got {', '.join(metadata) or 'nothing'}"
            elif not _is_value(metadata[key], given):
                yield f"metadata: expected {key}={given!r}, got {metadata[key]!r}"


def _is_value(found: object, expected: object) -> bool:
    """Is this what is stored for an expected value? A Decimal, say, is stored as text."""
    if expected is ANYTHING:
        return True
    if found is UNSET or expected is UNSET:
        return found is expected or expected is None
    return bool(found == plain(expected))


def _label(part: Principal | Target | None) -> str:
    if part is None:
        return "nobody"
    return f"{part.type}:{part.id}" if part.id else part.type


def _name_of(given: object) -> str:
    return _label(given) if isinstance(given, Principal | Target) else str(given)


def _arrow(given: object) -> str:
    old, new = given if isinstance(given, tuple) and len(given) == 2 else (ANYTHING, given)
    return f"{_side(old)} → {_side(new)}"


def _side(value: object) -> str:
    return "…" if value is ANYTHING else "nothing" if value is UNSET else repr(value)


_READERS: Mapping[str, Callable[[Event], object]] = {
    "actor": lambda event: _label(event.actor),
    "target": lambda event: ", ".join(map(_label, event.targets)) or "none",
    "on_behalf_of": lambda event: _label(event.on_behalf_of or None),
    "outcome": lambda event: event.outcome or "success",
    "reason": lambda event: (event.reason and event.reason.code) or None,
    "tenant": tenant_of,
}


def _line(number: int, event: Event) -> str:
    """One event on one line, changes below it."""
    parts = [event.action, f"by {_label(event.actor)}"]
    if event.targets:
        parts.append("on " + ", ".join(map(_label, event.targets)))
    parts.append(str(_READERS["outcome"](event)))
    if reason := _READERS["reason"](event):
        parts.append(f"({reason})")
    changes = [f"{each.path}: {_arrow((each.old, each.new))}" for each in event.changes[:_SHOWN]]
    return "\n".join([f"  {number}. {' '.join(parts)}", *(f"       {each}" for each in changes)])
