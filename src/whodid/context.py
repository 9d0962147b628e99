"""Who acts, for whom, and in which request: what every event of a piece of work has in common.

One `ContextVar` holds a chain of bindings, newest first. A binding is either made by `bind`, with
values that hold while a block runs, or by `occasion`, with an `Occasion`: the one request, job or
command that the host is busy with. An occasion is filled in as the host finds out, since a
framework knows the user only inside the view, and a `ContextVar` that is set in a thread pool or a
dependency is lost outside it. So the actor is found when an event is drafted, not before.

A generator that is left in the middle of a `with` block runs in its caller's context; its
bindings count only while it is running itself, or awaits something: a thread that an async
generator waits for sees them, whoever is given a piece of it does not. A task that outlives the
wait does not see them either: bind there. Threads begin without a context: `carry` takes the
present one along. Work that is done piece by piece for somebody else, as the answer to a request
is read, has a chain of its own: `Pieces`.

Not here: what becomes of it (`recorder`), where it comes from (`capture`).
"""

from __future__ import annotations

import contextvars
import functools
import inspect
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, fields
from opcode import opmap
from types import FrameType
from typing import Any, ParamSpec, TypeVar

from whodid.event import Actor, Client, Delegation, Json, Principal, Request, Source, Tenant, Trace

_logger = logging.getLogger("whodid")
_P = ParamSpec("_P")
_R = TypeVar("_R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What is known at one moment; None where nothing is.

    Attributes:
        metadata: Is added to the metadata of every event; the event's own keys win.
        tags: Are added to the tags of every event.
        is_recording: False inside `disable`.
    """

    actor: Actor | None = None
    tenant: Tenant | None = None
    on_behalf_of: Principal | None = None
    via: tuple[Principal, ...] = ()
    delegation: Delegation | None = None
    request: Request | None = None
    client: Client | None = None
    trace: Trace | None = None
    correlation_id: str | None = None
    source: Source | None = None
    metadata: Mapping[str, Json] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    is_recording: bool = True


FIELDS: frozenset[str] = frozenset(each.name for each in fields(Context))
_EMPTY = Context()


class Occasion:
    """One request, job or command, filled in while it runs. Safe for use from several threads.

    Attributes: as those of `Context`, and

    - `find_actor`: asked for the actor each time an event is drafted, unless `actor` is set. What
      it raises is logged and taken for "not known": an event without an actor beats none.
    """

    __slots__ = (
        "actor", "client", "correlation_id", "delegation", "find_actor", "metadata",
        "on_behalf_of", "request", "source", "tags", "tenant", "trace", "via",
    )  # fmt: skip

    def __init__(
        self,
        *,
        actor: Actor | None = None,
        find_actor: Callable[[], Actor | None] | None = None,
        tenant: Tenant | None = None,
        on_behalf_of: Principal | None = None,
        via: tuple[Principal, ...] = (),
        delegation: Delegation | None = None,
        request: Request | None = None,
        client: Client | None = None,
        trace: Trace | None = None,
        correlation_id: str | None = None,
        source: Source | None = None,
        metadata: Mapping[str, Json] | None = None,
        tags: tuple[str, ...] = (),
    ) -> None:
        self.actor, self.find_actor = actor, find_actor
        self.tenant, self.on_behalf_of, self.via = tenant, on_behalf_of, via
        self.delegation, self.request, self.client = delegation, request, client
        self.trace, self.correlation_id, self.source = trace, correlation_id, source
        self.metadata: Mapping[str, Json] = dict(metadata or {})
        self.tags = tags

    def known(self) -> Iterator[tuple[str, Any]]:
        """Pairs of a name and a value, for all that is known, but not what must be asked for.

        What a host's request can't be made to say is logged and left out, as its actor is.
        """
        for name in _OCCASION_FIELDS:
            try:
                value = getattr(self, name)
            except Exception as error:  # noqa: BLE001 - of the host; an event without it beats none
                _say_unknown(name, error)
                continue
            if value:
                yield name, value

    def ask_actor(self) -> Actor | None:
        """Who acts, if the host can say so now."""
        if self.find_actor is None:
            return None
        try:
            return self.find_actor()
        except Exception as error:  # noqa: BLE001 - of the host; an event without it beats none
            _say_unknown("actor", error)
            return None


def _say_unknown(name: str, error: Exception) -> None:
    # Without the exception's text, which may quote the token that was not accepted.
    _logger.warning("the %s of a request could not be found: %s", name, type(error).__name__)
    _logger.debug("why it could not be found", exc_info=error)


_OCCASION_FIELDS = tuple(name for name in Occasion.__slots__ if name != "find_actor")


class _Binding:
    """One link of the chain.

    Attributes:
        mark: The same for a link and for what becomes of it when one below is taken out.
        frame: The generator that made the binding, which counts only while that runs.
    """

    __slots__ = ("frame", "mark", "occasion", "parent", "values")

    def __init__(
        self,
        parent: _Binding | None,
        *,
        mark: _Bound,
        values: Mapping[str, Any],
        occasion: Occasion | None,
        frame: FrameType | None = None,
    ) -> None:
        self.parent, self.mark, self.values = parent, mark, values
        self.occasion, self.frame = occasion, frame

    def counts(self) -> bool:
        return self.frame is None or _is_at_work(self.frame)

    def without(self, mark: _Bound) -> _Binding | None:
        """The chain without one link, which need not be the newest: blocks end in any order."""
        if self.mark is mark:
            return self.parent
        if self.parent is None:
            return self
        parent = self.parent.without(mark)
        if parent is self.parent:
            return self
        return _Binding(
            parent, mark=self.mark, values=self.values, occasion=self.occasion, frame=self.frame
        )


def _is_at_work(frame: FrameType) -> bool:
    """Is a generator running, or waiting for what it awaits, rather than left at a `yield`?"""
    # A generator's frame hangs below another one only while it is running. One that is waiting
    # goes on at a RESUME of the kind 3, "after an await"; after a `yield` that is of another kind.
    if frame.f_back is not None:
        return True
    if not frame.f_code.co_flags & inspect.CO_ASYNC_GENERATOR:
        return False
    code, place = frame.f_code.co_code, frame.f_lasti + 2
    return code[place : place + 1] == _RESUME and code[place + 1] & 3 == _AFTER_AWAIT


# Where there is no such instruction nothing waits, as far as can be told.
_RESUME, _AFTER_AWAIT = bytes([opmap["RESUME"]]) if "RESUME" in opmap else None, 3


_newest: contextvars.ContextVar[_Binding | None] = contextvars.ContextVar("whodid", default=None)


def current() -> Context:
    """All that is known now: inner bindings before outer ones, the actor asked for last."""
    binding = _newest.get()
    if binding is None:
        return _EMPTY
    found: dict[str, Any] = {}
    while binding is not None:
        if binding.counts():
            _take(found, binding)
        binding = binding.parent
    return Context(**{name: value for name, value in found.items() if value is not None})


def _take(found: dict[str, Any], binding: _Binding) -> None:
    """Add what a binding knows and no inner one does."""
    for name, value in binding.values.items():
        _add(found, name, value)
    if binding.occasion is not None:
        for name, value in binding.occasion.known():
            _add(found, name, value)
        if "actor" not in found:
            actor = binding.occasion.ask_actor()
            if actor is not None:
                found["actor"] = actor


def _add(found: dict[str, Any], name: str, value: Any) -> None:
    if name not in found:
        found[name] = value
    elif found[name] is None or value is None:
        return  # hidden, or nothing to add
    elif name == "metadata":
        found[name] = {**value, **found[name]}
    elif name == "tags":
        found[name] = tuple(dict.fromkeys((*value, *found[name])))


def current_occasion() -> Occasion | None:
    """The innermost request, job or command, or None outside of one."""
    binding = _newest.get()
    while binding is not None:
        if binding.occasion is not None and binding.counts():
            return binding.occasion
        binding = binding.parent
    return None


def is_recording() -> bool:
    """Is recording switched on here? Cheaper than `current`."""
    binding = _newest.get()
    while binding is not None:
        if "is_recording" in binding.values and binding.counts():
            return bool(binding.values["is_recording"])
        binding = binding.parent
    return True


class _Bound(AbstractContextManager[None]):
    """Binds while a block runs. May be entered once at a time."""

    def __init__(self, values: Mapping[str, Any], occasion: Occasion | None) -> None:
        self._values, self._occasion = values, occasion
        self.is_over = False

    def __enter__(self) -> None:
        self.is_over = False
        frame = _calling_frame()
        is_generator = frame is not None and frame.f_code.co_flags & _GENERATORS
        newest = _newest.get()
        # What a generator left here that was closed in another context: else it would add up.
        while newest is not None and newest.frame is not None and newest.mark.is_over:
            newest = newest.parent
        binding = _Binding(
            newest,
            mark=self,
            values=self._values,
            occasion=self._occasion,
            frame=frame if is_generator else None,
        )
        _newest.set(binding)

    def __exit__(self, *error: object) -> None:
        self.is_over = True
        newest = _newest.get()
        # Not `reset(token)`: a generator may be closed in another context than it began in.
        if newest is not None:
            _newest.set(newest.without(self))


class Pieces(AbstractContextManager[None]):
    """Work that began now and is done piece by piece, each in a `with` block of this.

    A piece begins with what the last one left bound, and leaves nothing of it outside: so what a
    generator binds is inside of what was bound around it, whoever asks for its pieces, and where.
    One piece at a time.
    """

    def __init__(self) -> None:
        self._inside = _newest.get()
        self._outside: _Binding | None = None

    def __enter__(self) -> None:
        self._outside = _newest.get()
        _newest.set(self._inside)

    def __exit__(self, *error: object) -> None:
        self._inside = _newest.get()
        _newest.set(self._outside)


_GENERATORS = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


def _calling_frame() -> FrameType | None:
    """The frame whose block this is.

    A generator that is a context manager or a fixture stands for the block that uses it: it is
    suspended by design while that runs.
    """
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        runner = frame.f_back
        is_passed_over = _module(frame) in _PASSED_OVER or (
            frame.f_code.co_flags & _GENERATORS and runner is not None and _is_runner(runner)
        )
        if not is_passed_over:
            return frame
        frame = runner
    return None


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _is_runner(frame: FrameType) -> bool:
    return _module(frame) == "contextlib" or _module(frame).startswith("_pytest.")


_PASSED_OVER = frozenset({__name__, "contextlib", "whodid.log"})


def bind(**values: Any) -> AbstractContextManager[None]:
    """Values of `Context` for everything that is recorded while a block runs.

    Nested blocks add to one another, the inner one wins. `None` hides what an outer block says.

    Raises:
        TypeError: There is no such value.
    """
    unknown = values.keys() - FIELDS
    if unknown:
        raise TypeError(
            f"expected some of {', '.join(sorted(FIELDS))}, got {', '.join(sorted(unknown))}"
        )
    return _Bound(values, None)


def occasion(given: Occasion) -> AbstractContextManager[None]:
    """The request, job or command that runs inside a block."""
    return _Bound({}, given)


@contextmanager
def disabled() -> Iterator[None]:
    """Nothing is recorded while a block runs, in this thread or task."""
    with bind(is_recording=False):
        yield


def carry(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """The function, running in the context of now in whatever thread it is called."""
    context = contextvars.copy_context()

    @functools.wraps(function)
    def carried(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        # A copy for each call: one context can't be entered twice at once.
        return context.copy().run(function, *args, **kwargs)

    return carried
