"""Who acts, for whom, and in which request: what every event of a piece of work has in common.

One `ContextVar` holds a chain of bindings, newest first. A binding is either made by `bind`, with
values that hold while a block runs, or by `occasion`, with an `Occasion`: the one request, job or
command that the host is busy with. An occasion is filled in as the host finds out, since a
framework knows the user only inside the view, and a `ContextVar` that is set in a thread pool or a
dependency is lost outside it. So the actor is found when an event is drafted, not before.

A generator that is left in the middle of a `with` block runs in its caller's context; its
bindings count only while it is running itself, so that what an async generator starts elsewhere (a
thread, a task) does not see them while it waits: bind there. Threads begin without a context:
`carry` takes the present one along.

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
from types import FrameType, TracebackType
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
        """Pairs of a name and a value, for all that is known, but not what must be asked for."""
        for name in _OCCASION_FIELDS:
            value = getattr(self, name)
            if value:
                yield name, value

    def ask_actor(self) -> Actor | None:
        """Who acts, if the host can say so now."""
        if self.find_actor is None:
            return None
        try:
            return self.find_actor()
        except Exception:
            _logger.warning("the actor of a request could not be found", exc_info=True)
            return None


_OCCASION_FIELDS = tuple(name for name in Occasion.__slots__ if name != "find_actor")


class _Binding:
    """One link of the chain.

    Attributes:
        frame: The generator that made the binding, which counts only while that runs.
    """

    __slots__ = ("frame", "occasion", "parent", "values")

    def __init__(
        self,
        parent: _Binding | None,
        values: Mapping[str, Any],
        occasion: Occasion | None,
        frame: FrameType | None,
    ) -> None:
        self.parent, self.values, self.occasion, self.frame = parent, values, occasion, frame

    def counts(self) -> bool:
        # A generator's frame hangs below another one only while it is running.
        return self.frame is None or self.frame.f_back is not None

    def without(self, gone: _Binding) -> _Binding | None:
        """The chain without one link, which need not be the newest: generators end in any order."""
        if self is gone:
            return self.parent
        if self.parent is None:
            return self
        parent = self.parent.without(gone)
        if parent is self.parent:
            return self
        return _Binding(parent, self.values, self.occasion, self.frame)


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
    if not found.get("actor", True):
        del found["actor"]
    return Context(**found)


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
        self._binding: _Binding | None = None

    def __enter__(self) -> None:
        frame = _calling_frame()
        is_generator = frame is not None and frame.f_code.co_flags & _GENERATORS
        self._binding = _Binding(
            _newest.get(), self._values, self._occasion, frame if is_generator else None
        )
        _newest.set(self._binding)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        binding, self._binding = self._binding, None
        newest = _newest.get()
        # Not `reset(token)`: a generator may be closed in another context than it began in.
        if binding is not None and newest is not None:
            _newest.set(newest.without(binding))


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
