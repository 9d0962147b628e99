"""The application's settings: models that hold them, and django-constance where it is installed.

`WHODID = {"settings_models": ["site.Preferences"]}` names models each row of which is a setting or
a set of settings; what changes in them is `settings.update` with the names of the fields. For
django-constance nothing needs to be named. Settings that live elsewhere are told by
`audit.settings_changed(name, old, new)`.

Not here: `settings.py` of the project, which changes with a deployment and not with a click.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.apps import apps
from django.db.models import Model
from django.utils.module_loading import import_string

from whodid.capture.django import unit
from whodid.capture.django.conf import get_audit
from whodid.capture.django.rows import (
    LinkChange,
    RowChange,
    default_translation,
    register_translator,
)
from whodid.changes import change as change_of
from whodid.errors import ConfigError
from whodid.event import Change, Target
from whodid.redaction import MASK, is_secret_name

Fields = Mapping[str, Any]
_ACTION = "settings.update"


def install(settings: Any) -> None:
    """Translate the rows of settings, listen to django-constance. Idempotent.

    Raises:
        ConfigError: `settings_models` names a model that there is not.
    """
    for name in settings.settings_models:
        register_translator(_model_of(name), _translated)
    if apps.is_installed("constance"):
        _install_constance()


def _model_of(name: str) -> type[Model]:
    try:
        return apps.get_model(name)
    except (LookupError, ValueError) as error:
        raise ConfigError(
            f"WHODID['settings_models']: expected names such as site.Preferences, got {name!r}; "
            "write the app's label and the model's name"
        ) from error


def _translated(change: RowChange | LinkChange) -> Iterable[Fields]:
    """A row of settings that was made, changed or removed: the settings were changed."""
    kind = change.model._meta
    target = Target(type="settings", id=str(change.pk), name=change.label or str(kind.verbose_name))
    return [
        {**fields, "action": _ACTION, "target": target} for fields in default_translation(change)
    ]


# -- django-constance ----------------------------------------------------------------------------


def _install_constance() -> None:
    """Listen where its values are: to the rows of its table, else to its signal.

    The rows say more than the signal does: bulk statements, and only what was committed.
    """
    from constance import settings as constance  # type: ignore[import-untyped]  # has no types
    from constance.signals import config_updated  # type: ignore[import-untyped]

    backend = import_string(constance.BACKEND)
    if any(kind.__module__ == "constance.backends.database" for kind in backend.__mro__):
        from constance.models import Constance  # type: ignore[import-untyped]

        register_translator(Constance, _translated_constance)
    else:
        config_updated.connect(_record_constance, dispatch_uid="whodid")


def _translated_constance(change: RowChange | LinkChange) -> Iterable[Fields]:
    from constance import settings as constance

    if isinstance(change, LinkChange):
        return default_translation(change)
    key = change.label.removeprefix(constance.DATABASE_PREFIX)
    if change.operation == "update" and "value" not in change.new:
        return []
    return _constance_changed(
        key, old=_read(change.old.get("value")), new=_read(change.new.get("value"))
    )


def _read(text: object) -> object:
    """A value as django-constance writes it; the text itself when it was cut."""
    from constance.codecs import loads  # type: ignore[import-untyped]

    try:
        return loads(text) if isinstance(text, str) else None
    except (ValueError, KeyError, TypeError):
        return text


def _record_constance(
    sender: object, key: str, old_value: object, new_value: object, **_: object
) -> None:
    with get_audit().guarded("a setting of django-constance"):
        for fields in _constance_changed(key, old=old_value, new=new_value):
            unit.record(get_audit().draft(**fields))


def _constance_changed(key: str, *, old: object, new: object) -> list[Fields]:
    """The event of a setting's change; none when its default is only written down.

    Reading a setting for the first time stores its default: nobody changed anything.
    """
    from constance import settings as constance

    default = constance.CONFIG.get(key, (None,))[0]
    old = default if old is None else old
    new = default if new is None else new
    if old == new:
        return []
    target = Target(type="setting", id=key, name=key)
    return [{"action": _ACTION, "target": target, "changes": [_change(key, old, new)]}]


def _change(key: str, old: object, new: object) -> Change:
    if is_secret_name(key, names=get_audit().rules.names):
        return Change(path=key, old=old and MASK, new=new and MASK, redacted="masked")
    return change_of(key, old=old, new=new)
