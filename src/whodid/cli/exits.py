"""What `whodid` tells the shell: one number per kind of end, the same for every command."""

from __future__ import annotations

from typing import Final

from whodid.errors import (
    AuditError,
    ConfigError,
    CursorError,
    InvalidError,
    LedgerError,
    QuerySyntaxError,
)

DONE: Final = 0
NOTHING_FOUND: Final = 1
USAGE: Final = 2  # options, settings, a search that can't be read, a package that is missing
INVALID: Final = 3  # an event, record or file was refused
UNAVAILABLE: Final = 4  # busy, full, read-only, gone: the same may work later
BROKEN: Final = 5  # the log is not what was written
INTERRUPTED: Final = 130
PIPE_CLOSED: Final = 141  # as for any program whose reader went away


def exit_code_of(error: AuditError) -> int:
    """What the caller can do about it, as a number."""
    match error:
        case QuerySyntaxError() | ConfigError() | CursorError():
            return USAGE
        case InvalidError():
            return INVALID
        case LedgerError():
            return BROKEN
        case _:
            return UNAVAILABLE
