"""What a Django project's users and models are in an event: actors and targets, as of then.

A name and an e-mail address stand beside the id, so that an event still says who it was when the
account is gone. Nothing here queries: what is not loaded is left out, and a `__str__` that would
query gives a name made of the model and the key.

Not here: which user acts (`middleware`), what happened to an account (`accounts`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any

from django.apps import apps
from django.conf import settings as project
from django.db.models import Model
from django.db.models.query_utils import DeferredAttribute
from django.utils.functional import LazyObject, empty
from msgspec import UNSET, UnsetType

from whodid.capture.django.conf import get_settings
from whodid.capture.django.guard import label_of, without_queries
from whodid.describe import MAX_ID, kind_of
from whodid.event import Actor, Auth, Principal, Target
from whodid.jsonable import cut, guarded_text

ANONYMOUS = Actor(type="anonymous")
_MAX_NAME = 200  # characters
_MAX_URL = 2_048


def actor_of(user: object, *, auth: Auth | UnsetType = UNSET) -> Actor | None:
    """The actor that a user of Django's is, None for what is no user.

    Args:
        user: A user of any model, an anonymous one, or what stands for one such as the users of
            JSON Web Tokens. May be lazy.
        auth: How they proved who they are.
    """
    user = unwrapped(user)
    if getattr(user, "is_authenticated", None) is None:
        return None
    if not user.is_authenticated:  # type: ignore[attr-defined]  # asked for above
        return ANONYMOUS
    id_ = _id_of(user)
    if not id_:
        return None
    return Actor(
        type="user",
        id=id_,
        name=_name_of(user) or UNSET,
        email=_email_of(user) or UNSET,
        roles=tuple(role for role, flag in _FLAGS if loaded(user, flag) is True),
        auth=auth,
    )


_FLAGS = (("superuser", "is_superuser"), ("staff", "is_staff"))
FLAG_ROLES: Mapping[str, str] = {flag: role for role, flag in _FLAGS}
"""Which role a flag of a user's stands for."""


def account_of(user: object) -> Target | None:
    """The target that a user's account is, None for what is no user or has no key."""
    user = unwrapped(user)
    id_ = _id_of(user)
    if not id_:
        return None
    return Target(type="user", id=id_, name=username_of(user) or UNSET)


def principal_of(actor: Actor) -> Principal:
    """The same person as one on whose behalf somebody else acts."""
    return Principal(type=actor.type, id=actor.id, name=actor.name, email=actor.email)


def username_of(user: object) -> str:
    """What a user signs in with; empty if that can't be said."""
    return cut(_said(user, "get_username"), _MAX_NAME)


class DjangoDescriber:
    """Knows users and the instances of models, for `whodid.describe`."""

    def actor(self, value: object) -> Actor | None:
        """The actor that a user is."""
        return actor_of(value)

    def target(self, value: object) -> Target | None:
        """The target that an instance of a model is."""
        value = unwrapped(value)
        if not isinstance(value, Model):
            return None
        return Target(
            type=type_of(type(value)),
            id=_id_of(value) or UNSET,
            name=label_of(value) or UNSET,
            url=_url_of(value) or UNSET,
        )

    def snapshot(self, value: object) -> Mapping[str, Any] | None:
        """The loaded fields of an instance, foreign keys by id, files by name."""
        value = unwrapped(value)
        if not isinstance(value, Model):
            return None
        from whodid.capture.django.fields import snapshot_of

        return snapshot_of(value)


def type_of(model: type[Model]) -> str:
    """The type of a model's instances as targets; with the app's name if two models have one.

    Users, groups and settings have the same words as in the events about them, whatever their
    models are called, so that an object's history is all of it.
    """
    meta = (model._meta.concrete_model or model)._meta
    if own := _own_word(meta.label_lower):
        return own
    name = kind_of(str(meta.object_name))
    if _times_named().get(name, 0) <= 1:
        return name
    return kind_of(f"{meta.app_label}.{meta.object_name}")


def _own_word(label: str) -> str | None:
    is_settings = label in map(str.lower, get_settings().settings_models)
    return "settings" if is_settings else _account_word(label)


def _account_word(label: str) -> str | None:
    if label == project.AUTH_USER_MODEL.lower():
        return "user"
    return "role" if label == "auth.group" else None


@cache
def _times_named() -> Counter[str]:
    return Counter(
        _account_word(model._meta.label_lower) or kind_of(str(model._meta.object_name))
        for model in apps.get_models()
    )


def unwrapped(value: object) -> Any:
    """The object that a lazy one stands for, loaded if it was not; any other as it is."""
    if not isinstance(value, LazyObject):
        return value
    if value._wrapped is empty:
        value._setup()
    return value._wrapped


def loaded(value: object, name: str) -> Any:
    """An attribute of an object, None if it has none or would have to fetch it."""
    if name in getattr(value, "__dict__", ()):
        return value.__dict__[name]
    if isinstance(getattr(type(value), name, None), DeferredAttribute):
        return None
    try:
        with without_queries():
            return getattr(value, name, None)
    except Exception:  # noqa: BLE001 - a host's property: what can't be read is not known
        return None


def _id_of(value: object) -> str:
    key = loaded(value, "pk")
    if isinstance(key, tuple):  # composite: written as in the events of rows
        from whodid.capture.django.rows import text_of_key

        return "" if None in key else text_of_key(key)
    return "" if key is None else cut(guarded_text(key), MAX_ID)


def _name_of(user: object) -> str:
    """The full name if there is one, else what the user signs in with."""
    if isinstance(user, Model) and user.get_deferred_fields():
        name = loaded(user, getattr(user, "USERNAME_FIELD", "username"))
        return cut(guarded_text(name), _MAX_NAME) if name else ""
    return cut((_said(user, "get_full_name") or _said(user, "get_username")).strip(), _MAX_NAME)


def _email_of(user: object) -> str:
    email = loaded(user, _said(user, "get_email_field_name") or "email")
    return cut(email, MAX_ID) if isinstance(email, str) else ""


def _said(user: object, method: str) -> str:
    """What a method of a user's says, as long as it needs no query."""
    ask = getattr(user, method, None)
    if not callable(ask):
        return ""
    try:
        with without_queries():
            return str(ask() or "")
    except Exception:  # noqa: BLE001 - a host's method: an actor without this name is one, too
        return ""


def _url_of(value: Model) -> str:
    """Where the application shows an object, if it says so without a query."""
    url = _said(value, "get_absolute_url")
    return url if url.startswith(("/", "https://", "http://")) and len(url) <= _MAX_URL else ""
