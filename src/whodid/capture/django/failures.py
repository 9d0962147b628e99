"""An exception that ended a command or a task, as an event."""

from __future__ import annotations

from whodid import context
from whodid.capture import web
from whodid.capture.django import unit
from whodid.capture.django.conf import get_audit


def record_error(error: BaseException) -> None:
    """Record `error.raise`: type, message without secrets, fingerprint; never arguments or locals.

    Written after the rollback of what the exception ended. Durable on return, unless that fails,
    which is treated as any failure to write is.
    """
    if not context.is_recording():
        return
    with get_audit().guarded("an exception"):
        event = get_audit().draft(**web.fault(web.error_of(error)))
        unit.record_apart(event)
