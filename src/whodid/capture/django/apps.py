"""Where a Django project is put together with whodid: at the start, once."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, register

_INSTALLED = ("guard", "orm", "queries", "links", "logins", "accounts", "settings", "commands",
              "tasks", "admin")  # fmt: skip


class WhodidConfig(AppConfig):
    """The app. Its label is `whodid`, as in `whodid.view_event`."""

    name = "whodid.capture.django"
    label = "whodid"
    verbose_name = "Audit log"
    default = True
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Begin to capture. What is wrong with the settings is told by `manage.py check`."""
        from whodid.capture.django.conf import get_settings
        from whodid.errors import ConfigError

        register(check_settings)
        try:
            settings = get_settings()
        except ConfigError:
            return
        for name in _INSTALLED:
            if find_spec(f"{self.name}.{name}") is not None:
                import_module(f"{self.name}.{name}").install(settings)


def check_settings(**_: object) -> list[CheckMessage]:
    """What `manage.py check` says about `settings.WHODID`."""
    from whodid.capture.django.conf import get_audit, get_settings
    from whodid.errors import AuditError

    try:
        get_settings()
        get_audit()
    except AuditError as error:
        return [Error(str(error), id="whodid.E001")]
    return []
