"""The audit log of a Django project, in three lines.

```python
INSTALLED_APPS += ["whodid.capture.django"]
MIDDLEWARE += ["whodid.capture.django.AuditMiddleware"]
urlpatterns += [path("audit/", include("whodid.capture.django.urls"))]
```

Sign-ins, changes of every model, users, roles, rights, settings and errors are recorded without
further code. For what only the project knows there is `audit`:

```python
from whodid.capture.django import audit

audit.record("invoice.send", target=invoice)
```
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whodid.capture.django.conf import get_audit
    from whodid.capture.django.middleware import AuditMiddleware
    from whodid.log import AuditLog

    audit: AuditLog

# Django imports this module before its settings and models are ready.
_HOMES = {"AuditMiddleware": "middleware", "get_audit": "conf"}

__all__ = ["AuditMiddleware", "audit", "get_audit"]


class _ProjectLog:
    """The project's log whenever it is asked for something, so that importing needs no settings."""

    def __getattr__(self, name: str) -> Any:
        from whodid.capture.django.conf import get_audit

        return getattr(get_audit(), name)


def __getattr__(name: str) -> Any:  # `Any`: a class, a function and an object
    if name == "audit":
        return _project_log
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


_project_log = _ProjectLog()
