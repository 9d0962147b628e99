"""Where a Django project is put together with whodid: at the start, once."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig

_INSTALLED = ("guard", "orm", "queries", "links", "logins", "accounts", "settings", "commands",
              "tasks", "admin", "handoff")  # fmt: skip


class WhodidConfig(AppConfig):
    """The app. Its label is `whodid`, as in `whodid.view_event`."""

    name = "whodid.capture.django"
    label = "whodid"
    verbose_name = "Audit log"
    default = True
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Begin to capture. What is wrong with the settings is told by `manage.py check`.

        Raises:
            ConfigError: `settings_models` names a model that there is not.
        """
        from whodid.capture.django.checks import register_checks
        from whodid.capture.django.conf import get_settings
        from whodid.errors import ConfigError

        register_checks()
        try:
            settings = get_settings()
        except ConfigError:
            return
        for name in _INSTALLED:
            import_module(f"{self.name}.{name}").install(settings)
