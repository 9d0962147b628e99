"""One piece of work as one event: what it changed, how long it took, how it ended.

```python
with audit.scope("invoice.approve", target=invoice) as scope:
    invoice.approve()
    scope.metadata["rule"] = "four eyes"

@audit.scope("report.run")
def run_report(): ...
```

The target is looked at before and after, and what differs is the event's changes. An exception
makes the outcome: denied when it says that something is forbidden, else error, with its type and
message; it goes on as if the scope were not there. A generator that is given up before its end has
neither succeeded nor failed, and makes no event.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing
from types import TracebackType
from typing import Any, Protocol, Self, TypeAlias, TypeVar

from msgspec import UNSET

from whodid.changes import diff
from whodid.describe import Describer, message_of, snapshot_of
from whodid.event import ErrorDetail, Reason
from whodid.jsonable import cut

_F = TypeVar("_F", bound=Callable[..., Any])
_MAX_MESSAGE, _MAX_TYPE = 4_096, 256
_FORBIDDEN_STATUS = (401, 403)
# Of frameworks that this module must not import.
_FORBIDDEN_NAMES = frozenset(
    {"PermissionDenied", "NotAuthenticated", "NotAuthorized", "Forbidden", "Unauthorized",
     "AuthenticationFailed", "PermissionDeniedError", "NotAuthorizedException"}
)  # fmt: skip


def is_denial(error: BaseException) -> bool:
    """Does this exception say that the actor may not do this?"""
    if isinstance(error, PermissionError):
        return True
    if any(kind.__name__ in _FORBIDDEN_NAMES for kind in type(error).__mro__):
        return True
    status = getattr(error, "status_code", getattr(error, "code", None))
    return status in _FORBIDDEN_STATUS and isinstance(status, int)


class Audit(Protocol):
    """What a scope needs of an `AuditLog`."""

    @property
    def describers(self) -> Sequence[Describer]: ...

    # `Any`: the arguments of `Recorder.draft`.
    def record(self, action: str, **fields: Any) -> str | None: ...

    def check(self, action: str, *, outcome: str | None = None) -> None: ...

    def guarded(self, where: str) -> AbstractContextManager[None, bool]: ...


class Scope:
    """One run of a piece of work. Enter it once; as a decorator it is made anew for each call.

    Attributes:
        outcome: Set it to say something else than what the block's end says.
        reason: A code, or a Reason.
        metadata: Is added to the event's.
        is_cancelled: Set by `cancel`: no event is made.
        event_id: Of the event, after the block.
    """

    def __init__(self, audit: Audit, action: str, arguments: Mapping[str, Any]) -> None:
        self._audit, self._action, self._arguments = audit, action, arguments
        self.outcome: str | None = arguments.get("outcome")
        self.reason: Reason | Mapping[str, str] | str | None = arguments.get("reason")
        self.metadata: dict[str, Any] = dict(arguments.get("metadata") or {})
        self.is_cancelled = False
        self.event_id: str | None = None
        self._before: Mapping[str, Any] | None = None
        self._started = 0.0
        audit.check(action, outcome=self.outcome)

    def cancel(self) -> None:
        """Make no event of this."""
        self.is_cancelled = True

    def __enter__(self) -> Self:
        self._before = self._snapshot()
        self._started = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.is_cancelled or isinstance(error, GeneratorExit):
            return
        milliseconds = (time.perf_counter() - self._started) * 1_000
        if error is None:
            fields = self._fields(None, milliseconds)
            self.event_id = self._audit.record(self._action, **fields)
            return
        # The host's exception is the one that counts, whatever becomes of the event.
        with self._audit.guarded("scope"):
            fields = self._fields(error, milliseconds)
            self.event_id = self._audit.record(self._action, **fields)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, trace)

    def __call__(self, function: _F) -> _F:
        """The function, each of its calls in a scope of its own.

        Coroutine functions and generators of both kinds may be decorated, too; a generator's scope
        lasts from its first piece to its end.
        """
        anew = functools.partial(Scope, self._audit, self._action, self._arguments)
        if inspect.iscoroutinefunction(function):
            wrapped = _awaited(function, anew)
        elif inspect.isasyncgenfunction(function):
            wrapped = _iterated_async(function, anew)
        elif inspect.isgeneratorfunction(function):
            wrapped = _iterated(function, anew)
        else:
            wrapped = _called(function, anew)
        return functools.wraps(function)(wrapped)  # type: ignore[return-value]  # used as it is

    def _snapshot(self) -> Mapping[str, Any] | None:
        target = self._arguments.get("target")
        if target is None or self._arguments.get("changes") is not None:
            return None
        with self._audit.guarded("scope"):
            return snapshot_of(target, self._audit.describers)
        return None

    def _fields(self, error: BaseException | None, milliseconds: float) -> dict[str, Any]:
        fields = dict(self._arguments)
        fields["metadata"] = {"duration_ms": round(milliseconds, 3), **self.metadata}
        if fields.get("changes") is None and self._before is not None and error is None:
            fields["changes"] = diff(self._before, self._snapshot() or {})
        fields["outcome"], fields["reason"] = self.outcome, self.reason
        if error is None:
            return fields
        fields["outcome"] = self.outcome or ("denied" if is_denial(error) else "error")
        fields["reason"] = self.reason or ("not_permitted" if is_denial(error) else "exception")
        if fields["outcome"] == "error":
            fields["error"] = ErrorDetail(
                type=cut(type(error).__qualname__, _MAX_TYPE),
                message=message_of(error, limit=_MAX_MESSAGE) or UNSET,
            )
        return fields


_Wrapped: TypeAlias = Callable[..., Any]
_Anew: TypeAlias = Callable[[], Scope]


def _called(function: _Wrapped, anew: _Anew) -> _Wrapped:
    def called(*args: Any, **kwargs: Any) -> Any:
        with anew():
            return function(*args, **kwargs)

    return called


def _awaited(function: _Wrapped, anew: _Anew) -> _Wrapped:
    async def awaited(*args: Any, **kwargs: Any) -> Any:
        with anew():
            return await function(*args, **kwargs)

    return awaited


def _iterated(function: _Wrapped, anew: _Anew) -> _Wrapped:
    def iterated(*args: Any, **kwargs: Any) -> Any:
        with anew():
            return (yield from function(*args, **kwargs))

    return iterated


def _iterated_async(function: _Wrapped, anew: _Anew) -> _Wrapped:
    # What `yield from` is to other generators there is not for async ones (PEP 380, 525).
    async def iterated(*args: Any, **kwargs: Any) -> Any:
        with anew():
            async with aclosing(function(*args, **kwargs)) as pieces:
                step = anext(pieces)
                while True:
                    try:
                        piece = await step
                    except StopAsyncIteration:
                        return
                    try:
                        step = pieces.asend((yield piece))
                    except GeneratorExit:
                        raise
                    except BaseException as error:  # noqa: BLE001 - thrown in for the pieces
                        step = pieces.athrow(error)

    return iterated
