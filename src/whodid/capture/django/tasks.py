"""Celery: a task's changes are the system's, on behalf of whoever asked for it.

Who that is goes along in a header of the message, with the tenant, the request's id and the trace.
Whoever can write to the broker can write that header, as they can write the task itself.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import msgspec
from msgspec import Struct

from whodid import context
from whodid.capture.django.conf import get_audit
from whodid.capture.django.failures import record_error
from whodid.capture.django.people import principal_of
from whodid.event import Actor, Delegation, Principal, Request, Tenant, Trace

HEADER = "whodid"
_NOBODY = frozenset({"system", "anonymous", "unknown", "scheduled_job"})
_AUTOMATION = Delegation(kind="automation")
_ATTRIBUTE = "_whodid_occasion"


class Carried(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What of the asker's context goes along with a task."""

    on_behalf_of: Principal | None = None
    tenant: Tenant | None = None
    request: Request | None = None
    trace: Trace | None = None
    correlation_id: str | None = None


def install(settings: object) -> None:
    """Listen to Celery's signals, if there is Celery. Idempotent."""
    if find_spec("celery") is None:
        return
    from celery import signals  # type: ignore[import-untyped]  # has no types

    for signal, receiver in (
        (signals.before_task_publish, _publish),
        (signals.task_prerun, _begin),
        (signals.task_failure, _break),
        (signals.task_postrun, _end),
    ):
        signal.connect(receiver, weak=False, dispatch_uid=f"whodid.{receiver.__name__}")


def carried_now() -> Carried:
    """What would go along with a task that is asked for now."""
    known = context.current()
    asker = known.on_behalf_of
    if asker is None and known.actor is not None and known.actor.type not in _NOBODY:
        asker = principal_of(known.actor)
    id_ = known.request.id if known.request else None
    return Carried(
        on_behalf_of=asker,
        tenant=known.tenant,
        request=Request(id=id_) if id_ else None,
        trace=known.trace,
        correlation_id=known.correlation_id,
    )


def occasion_of(task: str, task_id: str, carried: Carried) -> context.Occasion:
    """What is known of a task while it runs."""
    name = f"celery {task}"
    return context.Occasion(
        actor=Actor(type="system", id=name[:256], name=name[:256]),
        on_behalf_of=carried.on_behalf_of,
        delegation=_AUTOMATION if carried.on_behalf_of else None,
        tenant=carried.tenant,
        request=carried.request,
        trace=carried.trace,
        correlation_id=carried.correlation_id,
        metadata={"task": task, "task_id": task_id},
    )


def _publish(headers: dict[str, Any] | None = None, **_: object) -> None:
    with get_audit().guarded("a Celery task being published"):
        if headers is not None:
            headers[HEADER] = msgspec.to_builtins(carried_now())


def _begin(task_id: str, task: Any, **_: object) -> None:
    with get_audit().guarded("a Celery task beginning"):
        # Run at once in the process that asks, a task has no message, but the asker's context.
        is_eager = bool(getattr(task.request, "is_eager", False))
        carried = carried_now() if is_eager else _read(task.request)
        bound = context.occasion(occasion_of(task.name, task_id, carried))
        bound.__enter__()
        # With this run, not under its id: one task may run twice at once, redelivered or nested.
        setattr(task.request, _ATTRIBUTE, bound)


def _read(request: Any) -> Carried:
    """What came along; nothing, if somebody else wrote the header."""
    headers = getattr(request, "headers", None) or {}
    given = headers.get(HEADER) or getattr(request, HEADER, None)
    try:
        return msgspec.convert(given, Carried) if isinstance(given, dict) else Carried()
    except (msgspec.ValidationError, ValueError):
        return Carried()


def _break(exception: BaseException | None = None, **_: object) -> None:
    with get_audit().guarded("a Celery task breaking"):
        if exception is not None:
            record_error(exception)


def _end(task: Any, **_: object) -> None:
    with get_audit().guarded("a Celery task ending"):
        bound = task.request.__dict__.pop(_ATTRIBUTE, None)
        if bound is not None:
            bound.__exit__(None, None, None)
