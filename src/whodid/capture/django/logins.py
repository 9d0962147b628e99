"""Signing in and out: who, from where, how, and why it failed.

Django's signals tell of most of it; the serializers of REST frameworks, which sign people in for a
token without them, are wrapped. The password is never looked at. Of a name that no account has,
only what can be no password is kept: people type those into the wrong field. What can be none is
asked of Django's own validators alone: those of others may ask a service in the network.

Somebody who begins to work in another's name with django-hijack or django-impersonate has not
signed in as that other, though django-hijack does it in that way: it is `user.impersonate`, and its
end is a `user.logout` from the other's account.

Not here: what happens to an account (`accounts`), who acts in a request (`middleware`).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model, password_validation
from django.contrib.auth.password_validation import get_default_password_validators
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.core.exceptions import ValidationError
from django.db.models import EmailField, Model
from msgspec import UNSET, UnsetType

from whodid.capture.django import unit
from whodid.capture.django.conf import get_audit
from whodid.capture.django.guard import is_ours, ours
from whodid.capture.django.middleware import IMPERSONATION, mark_refused, occasion_of
from whodid.capture.django.people import ANONYMOUS, account_of, actor_of, principal_of
from whodid.event import Auth, AuthMethod, Target
from whodid.redaction import MASK

_MAX_NAME = 200  # characters
_ADDRESS = re.compile(r"[^@\s]{1,64}@[^@\s]{1,128}\.[^@\s.]{2,}")
_METHODS: tuple[tuple[str, AuthMethod], ...] = (
    ("ldap", "ldap"),
    ("oidc", "oidc"),
    ("openid", "oidc"),
    ("saml", "saml"),
    ("modelbackend", "password"),
)
"""What a backend's name holds, and how somebody who came through it proved who they are."""


def install(settings: object) -> None:
    """Listen to Django's signals, wrap the serializers that sign in for a token. Idempotent."""
    user_logged_in.connect(_signed_in, dispatch_uid="whodid")
    user_logged_out.connect(_signed_out, dispatch_uid="whodid")
    user_login_failed.connect(_failed, dispatch_uid="whodid")
    _install_impersonation()
    if not apps.is_installed("rest_framework"):
        return
    if apps.is_installed("rest_framework.authtoken"):
        from rest_framework.authtoken import serializers  # type: ignore[import-untyped]

        _wrap(serializers.AuthTokenSerializer, lambda _, given: given.get("user"))
    if find_spec("rest_framework_simplejwt") is not None:
        from rest_framework_simplejwt import serializers as jwt

        _wrap(jwt.TokenObtainSerializer, lambda serializer, _: serializer.user)


def _install_impersonation() -> None:
    if apps.is_installed("hijack"):
        from hijack import signals as hijack  # type: ignore[import-untyped]  # has no types

        hijack.hijack_started.connect(_hijack_begun, dispatch_uid="whodid")
        hijack.hijack_ended.connect(_hijack_ended, dispatch_uid="whodid")
    if apps.is_installed("impersonate"):
        from impersonate import signals as impersonate  # type: ignore[import-untyped]

        impersonate.session_begin.connect(_impersonation_begun, dispatch_uid="whodid")
        impersonate.session_end.connect(_impersonation_ended, dispatch_uid="whodid")


def method_of(backend: object) -> AuthMethod | UnsetType:
    """How somebody proved who they are, by the path of the backend that let them in."""
    name = str(backend or "").lower()
    return next((method for part, method in _METHODS if part in name), UNSET)


def kept_username(name: str, *, is_address: bool = False) -> str:
    """A name that no account has, or a mask if it may be a password.

    Kept is what those of the project's validators that are Django's own would refuse as a password.

    Args:
        is_address: People sign in with their e-mail address here; then one is kept. Where they sign
            in with a name, what looks like an address may be a password.
    """
    if not name or (is_address and _ADDRESS.fullmatch(name)):
        return name
    return name if len(name) <= _MAX_NAME and _is_refused_as_password(name) else MASK


def _is_refused_as_password(name: str) -> bool:
    for validator in get_default_password_validators():
        if type(validator).__module__ != password_validation.__name__:
            continue
        try:
            validator.validate(name)
        except ValidationError:
            return True
    return False


def _is_address(key: str) -> bool:
    """Are credentials of this name e-mail addresses?"""
    model: Any = get_user_model()
    named = model._meta.get_field(model.USERNAME_FIELD)
    # Django's forms call what people sign in with `username`, whatever the model calls it.
    is_name = key in ("username", named.name)
    return key == "email" or (is_name and isinstance(named, EmailField))


def _wrap(serializer: Any, find_user: Callable[[Any, Any], object]) -> None:
    validate = serializer.validate
    if is_ours(validate):
        return

    @ours
    @functools.wraps(validate)
    def told(self: Any, attrs: Any) -> Any:
        given = validate(self, attrs)
        with get_audit().guarded("a sign-in"):
            _record_sign_in(find_user(self, given))
        return given

    serializer.validate = told


def _signed_in(sender: object, user: object, request: Any = None, **_: object) -> None:
    with get_audit().guarded("a sign-in"):
        if not _is_hijacking(request):
            _record_sign_in(user)


def _record_sign_in(user: object) -> None:
    # Set by `authenticate` alone: a user that the application vouches for has proved nothing to us.
    method = method_of(getattr(user, "backend", None))
    auth = Auth(method=method) if method is not UNSET else UNSET
    actor = actor_of(user, auth=auth)
    event = get_audit().draft("user.login", actor=actor, target=account_of(user))
    unit.record(event)


# -- in another's name ---------------------------------------------------------------------------

_HIJACKING = frozenset({"AcquireUserView", "ReleaseUserView"})


def _is_hijacking(request: Any) -> bool:
    """Is it django-hijack that signs somebody in? It tells by itself what that means."""
    match = getattr(request, "resolver_match", None)
    view = getattr(match and match.func, "view_class", None)
    return any(
        kind.__module__ == "hijack.views" and kind.__name__ in _HIJACKING
        for kind in getattr(view, "__mro__", ())
    )


def _hijack_begun(sender: object, *, hijacker: object, hijacked: object, **known: Any) -> None:
    _record_impersonation("user.impersonate", hijacker, hijacked, request=known.get("request"))


def _hijack_ended(sender: object, *, hijacker: object, hijacked: object, **known: Any) -> None:
    _record_impersonation("user.logout", hijacker, hijacked, request=known.get("request"))


def _impersonation_begun(
    sender: object, *, impersonator: object, impersonating: object, **_: Any
) -> None:
    _record_impersonation("user.impersonate", impersonator, impersonating)


def _impersonation_ended(
    sender: object, *, impersonator: object, impersonating: object, **_: Any
) -> None:
    _record_impersonation("user.logout", impersonator, impersonating)


def _record_impersonation(action: str, who: object, whose: object, *, request: Any = None) -> None:
    with get_audit().guarded("somebody working in another's name"):
        other = actor_of(whose)
        occasion = occasion_of(request)
        # Who was somebody else already is still the one who is really there.
        real = occasion.impersonator() if occasion is not None else None
        event = get_audit().draft(
            action,
            actor=real or actor_of(who),
            target=account_of(whose),
            on_behalf_of=principal_of(other) if other is not None else None,
            delegation=IMPERSONATION,
        )
        unit.record(event)


# -- signing out, and failing to sign in ---------------------------------------------------------


def _signed_out(sender: object, user: object = None, **_: object) -> None:
    if user is None:
        return
    with get_audit().guarded("a sign-out"):
        event = get_audit().draft("user.logout", actor=actor_of(user), target=account_of(user))
        unit.record(event)


def _failed(sender: object, credentials: Mapping[str, Any], **_: object) -> None:
    with get_audit().guarded("a failed sign-in"):
        key, name = _tried(credentials)
        user = _find_user(name) if name else None
        event = get_audit().draft(
            "user.login",
            actor=(actor_of(user) if user is not None else None) or ANONYMOUS,
            target=_target(user, name, is_address=_is_address(key)),
            outcome="failure",
            reason=_reason(user, name),
        )
        unit.record_apart(event)
        mark_refused()


def _tried(credentials: Mapping[str, Any]) -> tuple[str, str | None]:
    """Under which key the credentials hold a name, and the name; None when they hold none."""
    for key in (str(get_user_model().USERNAME_FIELD), "username", "email"):
        if isinstance(name := credentials.get(key), str):
            return key, name
    return "", None


def _find_user(name: str) -> Model | None:
    model = get_user_model()
    try:
        found: Model = model._default_manager.get_by_natural_key(name)  # type: ignore[attr-defined]  # of Django's own managers, else it is not asked
    except (model.DoesNotExist, model.MultipleObjectsReturned):
        return None
    except Exception:  # noqa: BLE001 - of a manager or a database that can't look for such a name
        return None  # the failure is told all the same
    return found


def _target(user: Model | None, name: str | None, *, is_address: bool) -> Target | None:
    if user is not None:
        return account_of(user)
    if name is None:
        return None
    return Target(type="user", name=kept_username(name, is_address=is_address) or UNSET)


def _reason(user: Model | None, name: str | None) -> str | None:
    if name is None:
        return None
    if user is None:
        return "unknown_user"
    return "bad_password" if getattr(user, "is_active", True) else "disabled"
