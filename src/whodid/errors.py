"""Every exception whodid raises, in one tree; the families answer what the caller can do.

```
AuditError
├── InvalidError        fix the input
│   ├── EventError          an event breaks the schema; says where
│   ├── BatchError          some events of a batch do; names each
│   ├── QuerySyntaxError    a search breaks the grammar; says at which character
│   ├── CursorError         a page cursor is damaged or belongs to another search
│   ├── ConflictError       the same id or key was stored before with another body
│   ├── ConfigError         a setting, a file or a URL is wrong
│   └── ProofRangeError     a proof was asked for a leaf outside the tree
├── RefusedError        not allowed
│   └── PermissionRefusedError
├── UnavailableError    try again
│   └── StoreUnavailableError
└── LedgerError         the evidence is bad: stop and alert
    └── ProofError
```

Messages are lower case without a full stop, name what was expected, what came and the remedy,
and never hold values of an event: those may be personal data or secrets.
"""

from __future__ import annotations

from collections.abc import Sequence


class AuditError(Exception):
    """Root of every error that whodid raises on purpose."""


class InvalidError(AuditError):
    """The input is wrong. The same call fails again until it is changed."""


class EventError(InvalidError):
    """An event does not follow the schema.

    Attributes:
        path: Where, as a JSONPath such as `$.targets[0].type`.
        problem: What was expected there and what came.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path, self.problem = path, problem


class BatchError(InvalidError):
    """Some events of a batch do not follow the schema; nothing of the batch was stored.

    Attributes:
        errors: Pairs of the zero-based index in the batch and what is wrong with that event.
    """

    def __init__(self, errors: Sequence[tuple[int, InvalidError]]) -> None:
        first, problem = errors[0]
        more = f" and {len(errors) - 1} more" if len(errors) > 1 else ""
        super().__init__(f"event {first}: {problem}{more}; nothing of the batch was stored")
        self.errors = list(errors)


class QuerySyntaxError(InvalidError):
    """A search cannot be read. Never answered by guessing what was meant.

    Attributes:
        code: Short stable word, e.g. `unknown_field`.
        message: What is wrong.
        position: Zero-based character where the fault begins.
        length: Number of faulty characters, at least 1.
        suggestion: What to write instead, or None.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        position: int,
        length: int = 1,
        suggestion: str | None = None,
    ) -> None:
        hint = f"; {suggestion}" if suggestion else ""
        super().__init__(f"{message} at character {position + 1}{hint}")
        self.code, self.message = code, message
        self.position, self.length, self.suggestion = position, max(length, 1), suggestion


class CursorError(InvalidError):
    """A page cursor is damaged, or was made by another search. Start again without it."""


class ConflictError(InvalidError):
    """An event with this id or idempotency key was stored before, with another body.

    Attributes:
        path: The first path that differs, e.g. `/actor`.
        index: Position in the batch, zero-based.
    """

    def __init__(self, path: str, *, index: int, by: str) -> None:
        super().__init__(
            f"event {index}: the same {by} was stored before with another {path}; "
            "send the first body again, or a new id"
        )
        self.path, self.index = path, index


class ConfigError(InvalidError):
    """A setting, file or URL is wrong; the message names the remedy."""


class ProofRangeError(InvalidError):
    """A proof was asked for a leaf or size outside the tree. Retrying cannot help."""


class RefusedError(AuditError):
    """The caller may not do this."""


class PermissionRefusedError(RefusedError):
    """The caller's access lacks the permission or the tenant."""


class UnavailableError(AuditError):
    """It did not work now; the same call may work later."""


class StoreUnavailableError(UnavailableError):
    """The database or the server did not do its part: busy, full, read-only or gone.

    Nothing was half written.

    Attributes:
        retry_after_s: Seconds after which it may be asked again, if it said so.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class LedgerError(AuditError):
    """The evidence does not hold. Stop and alert; a retry hides it."""


class ProofError(LedgerError):
    """A proof does not lead to the root."""
