"""whodid: the audit log for web applications.

```python
import whodid

audit = whodid.AuditLog("sqlite:///audit.db", app="billing")
audit.record("invoice.approve", actor="user:7", target="invoice:42")
```
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from whodid.access import Access
    from whodid.errors import AuditError
    from whodid.event import Actor, Change, Event, Principal, Reason, Target, Tenant
    from whodid.log import AuditLog
    from whodid.redaction import Rules
    from whodid.scope import Scope

# Imported when they are asked for: `import whodid` alone costs an application nothing.
_HOMES = {
    "Access": "access",
    "Actor": "event",
    "AuditError": "errors",
    "AuditLog": "log",
    "Change": "event",
    "Event": "event",
    "Principal": "event",
    "Reason": "event",
    "Rules": "redaction",
    "Scope": "scope",
    "Target": "event",
    "Tenant": "event",
}

__all__ = [
    "Access", "Actor", "AuditError", "AuditLog", "Change", "Event", "Principal", "Reason", "Rules",
    "Scope", "Target", "Tenant", "__version__",
]  # fmt: skip


def __getattr__(name: str) -> Any:  # `Any`: classes of many kinds
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"whodid.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
