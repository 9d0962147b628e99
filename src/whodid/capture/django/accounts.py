"""Accounts, roles and rights: rows of users, groups and permissions, in their own words.

A row of the user model that changes may mean several things at once: a password that is new, an
account that is suspended, a role that is given. Each becomes an event of its own, all with one
`correlation_id`. Since they are made of rows, it does not matter who changes them: the admin, a
form, a bulk statement or a management command.

- `is_staff` and `is_superuser` are the roles `staff` and `superuser`; a group is the role of its
  name; a permission is `app_label.codename`.
- A password is *changed* by the person it belongs to and *reset* by anybody else, by a command, and
  by the link that Django mails. What a hasher rewrites when somebody signs in is neither.
- `last_login` is no change: the sign-in is on record.
- A token of Django REST framework's is a key of the application's; the token itself is its primary
  key and its text, so neither is kept.

Not here: signing in (`logins`), what a row's change is (`rows`).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from asgiref.sync import iscoroutinefunction
from django.apps import apps
from django.contrib.auth import base_user, get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.db.models import Model
from django.db.models.signals import post_migrate
from msgspec import UNSET

from whodid import context
from whodid.capture.django.guard import is_ours, ours
from whodid.capture.django.middleware import DjangoOccasion
from whodid.capture.django.people import FLAG_ROLES, username_of
from whodid.capture.django.rows import (
    LinkChange,
    RowChange,
    changes_of_row,
    default_translation,
    register_translator,
)
from whodid.event import Change, Target
from whodid.ids import uuid7
from whodid.jsonable import cut
from whodid.redaction import MASK

Fields = dict[str, Any]
_PASSWORD = "password"
_ACTIVE = "is_active"
_MAX_NAME = 200
_UNTOLD = frozenset({"last_login"})


def install(settings: object) -> None:
    """Translate the rows of users, groups, permissions and tokens. Idempotent."""
    if apps.is_installed("django.contrib.auth"):
        from django.contrib.auth.models import Group, Permission

        register_translator(Group, _translated_group)
        register_translator(Permission, _translated_permission)
        _mark_migrations()
    if apps.is_installed("rest_framework.authtoken"):
        register_translator(apps.get_model("authtoken", "Token"), _translated_token)
    try:
        register_translator(get_user_model(), _translated_user)
    except ImproperlyConfigured:
        return  # a project without accounts
    for name in ("check_password", "acheck_password"):
        _mark_rehashing(name)


# -- users ---------------------------------------------------------------------------------------


def _translated_user(change: RowChange | LinkChange) -> Iterable[Fields]:
    if isinstance(change, LinkChange):
        return _together(_links(change))
    if change.operation == "update":
        return _together(_updates(change))
    events = [_renamed(change, "user", _account(change))]
    if change.operation == "create":
        events += [
            _role(_account(change), role, flag=flag, is_given=True)
            for flag, role in FLAG_ROLES.items()
            if change.new.get(flag) is True
        ]
    return _together(events)


def _account(change: RowChange) -> Target:
    name = username_of(change.instance) if change.instance is not None else ""
    name = name or _named(change, str(get_user_model().USERNAME_FIELD))
    return Target(type="user", id=str(change.pk), name=name or UNSET)


def _named(change: RowChange, field: str) -> str:
    """What a row is called by one of its fields: a migration's models have no text of their own."""
    known = getattr(change.instance, "__dict__", {})
    name = known.get(field) or change.new.get(field) or change.old.get(field)
    return cut(str(name), _MAX_NAME) if name else change.label


def _renamed(change: RowChange, kind: str, target: Target) -> Fields:
    """A row's event under the name that its kind has in the registry."""
    names = [name for name in dict.fromkeys([*change.new, *change.old]) if name not in _UNTOLD]
    return {
        "action": f"{kind}.{change.operation}",
        "target": target,
        "changes": changes_of_row(change, names),
    }


def _updates(change: RowChange) -> Iterator[Fields]:
    """What an update of an account's row means, the plain changes first."""
    told = {_PASSWORD, _ACTIVE, *FLAG_ROLES, *_UNTOLD}
    account = _account(change)
    if rest := [name for name in change.new if name not in told]:
        yield {"action": "user.update", "target": account, "changes": changes_of_row(change, rest)}
    if _PASSWORD in change.new and not _is_rehashing.get():
        yield _new_password(change, account)
    if _ACTIVE in change.new:
        verb = "enable" if change.new[_ACTIVE] else "disable"
        changes = changes_of_row(change, [_ACTIVE])
        yield {"action": f"user.{verb}", "target": account, "changes": changes}
    for flag, role in FLAG_ROLES.items():
        if flag in change.new:
            yield _role(account, role, flag=flag, is_given=bool(change.new[flag]))


def _new_password(change: RowChange, account: Target) -> Fields:
    actor = context.current().actor
    is_own = actor is not None and actor.type == "user" and actor.id == account.id
    verb = "change" if is_own and not _came_by_link() else "reset"
    fields: Fields = {
        "action": f"user.password.{verb}",
        "target": account,
        "changes": [Change(path=_PASSWORD, old=MASK, new=MASK, redacted="masked")],
    }
    is_usable = getattr(change.instance, "has_usable_password", None)
    if is_usable is not None and not is_usable():
        fields["metadata"] = {"usable": False}  # nobody can sign in with one any more
    return fields


# Views that prove by a mailed link who somebody is, by their class's name: Django's own, that of
# dj-rest-auth, that of allauth.
_LINK_VIEWS = frozenset({"PasswordResetConfirmView", "PasswordResetFromKeyView"})


def _came_by_link() -> bool:
    occasion = context.current_occasion()
    match = occasion.http.resolver_match if isinstance(occasion, DjangoOccasion) else None
    view = getattr(match and match.func, "view_class", None) or getattr(
        match and match.func, "cls", None
    )
    return any(kind.__name__ in _LINK_VIEWS for kind in getattr(view, "__mro__", ()))


_is_rehashing: ContextVar[bool] = ContextVar("whodid_rehashing", default=False)


def _mark_rehashing(name: str) -> None:
    """Let a password that is being checked be told from one that is being set.

    When a hasher's settings have changed, Django saves the new hash of the same password while it
    checks it. Nothing in the row says so.
    """
    check = getattr(base_user, name, None)
    if check is None or is_ours(check):
        return

    @ours
    @functools.wraps(check)
    def check_marked(*args: Any, **kwargs: Any) -> Any:
        with _rehashing():
            return check(*args, **kwargs)

    @ours
    @functools.wraps(check)
    async def check_marked_async(*args: Any, **kwargs: Any) -> Any:
        with _rehashing():
            return await check(*args, **kwargs)

    setattr(base_user, name, check_marked_async if iscoroutinefunction(check) else check_marked)


@contextmanager
def _rehashing() -> Iterator[None]:
    token = _is_rehashing.set(True)
    try:
        yield
    finally:
        _is_rehashing.reset(token)


# -- groups, permissions, tokens -----------------------------------------------------------------


def _translated_group(change: RowChange | LinkChange) -> Iterable[Fields]:
    if isinstance(change, LinkChange):
        return _together(_links(change))
    target = Target(type="role", id=str(change.pk), name=_named(change, "name") or UNSET)
    return [_renamed(change, "role", target)]


def _translated_permission(change: RowChange | LinkChange) -> Iterable[Fields]:
    if isinstance(change, LinkChange):
        return _together(_links(change))
    if _is_after_migrations.get():
        return []  # Django makes one per model and verb: a part of the schema, no one's decision
    return default_translation(change)


_is_after_migrations: ContextVar[bool] = ContextVar("whodid_after_migrations", default=False)


def _mark_migrations() -> None:
    """Let permissions that follow from the models be told from those that somebody makes.

    Django makes them when it tells that migrations are done, whoever asked for these: `migrate`,
    `flush`, a command that calls them, the tests' runner. Not by receivers of ours before and after
    those of others: one that raises between them would leave the mark.
    """
    send = post_migrate.send
    if is_ours(send):
        return

    @ours
    @functools.wraps(send)
    def send_marked(*args: Any, **kwargs: Any) -> Any:
        token = _is_after_migrations.set(True)
        try:
            return send(*args, **kwargs)
        finally:
            _is_after_migrations.reset(token)

    post_migrate.send = send_marked  # type: ignore[method-assign]  # the signal's own, one object


_TOKEN_VERBS = {"create": "create", "delete": "revoke"}


def _translated_token(change: RowChange | LinkChange) -> Iterable[Fields]:
    """A token that was given out or taken back, by whose it is."""
    if isinstance(change, LinkChange) or change.operation not in _TOKEN_VERBS:
        return []
    owner = change.new.get("user") or change.old.get("user")
    return [
        {
            "action": f"api_key.{_TOKEN_VERBS[change.operation]}",
            "target": Target(type="api_key"),
            "targets": [Target(type="user", id=str(owner), role="affected")] if owner else [],
        }
    ]


# -- links ---------------------------------------------------------------------------------------


def _links(change: LinkChange) -> Iterable[Fields]:
    """Roles of users, rights of users and of roles, from whichever side they were changed."""
    kinds = {_kind(change.model), _kind(change.related)}
    if len(kinds) < 2 or None in kinds:
        yield from default_translation(change)
        return
    near = _Side(change.model, change.pk, change.label)
    for is_given, links in ((True, change.added), (False, change.removed)):
        for pk, label in links:
            holder, held = sorted((near, _Side(change.related, pk, label)), key=_Side.rank)
            target = Target(
                type=str(_kind(holder.model)), id=str(holder.pk), name=holder.label or UNSET
            )
            if _kind(held.model) == "permission":
                yield _right(target, held.label, is_given=is_given)
            else:
                yield _role(target, held.label, is_given=is_given)


class _Side(NamedTuple):
    """One end of a link."""

    model: type[Model]
    pk: object
    label: str

    def rank(self) -> int:
        """Whoever holds comes before what is held."""
        return _KINDS.index(_kind(self.model))


_KINDS: tuple[str | None, ...] = ("user", "role", "permission")


def _kind(model: type[Model]) -> str | None:
    """The type of target that a model of accounts is; None for any other model.

    By its name: the models of a migration are classes of their own.
    """
    label = model._meta.label_lower
    if label == get_user_model()._meta.label_lower or issubclass(model, get_user_model()):
        return "user"
    return {"auth.group": "role", "auth.permission": "permission"}.get(label)


def _role(target: Target, role: str, *, is_given: bool, flag: str | None = None) -> Fields:
    changes = [_held("role", role, is_given=is_given)]
    if flag is not None:
        changes.append(Change(path=flag, old=not is_given, new=is_given))
    verb = "grant" if is_given else "revoke"
    return {"action": f"user.role.{verb}", "target": target, "changes": changes}


def _right(target: Target, right: str, *, is_given: bool) -> Fields:
    verb = "grant" if is_given else "revoke"
    changes = [_held("permission", right, is_given=is_given)]
    return {"action": f"permission.{verb}", "target": target, "changes": changes}


def _held(path: str, name: str, *, is_given: bool) -> Change:
    if is_given:
        return Change(path=path, op="add", new=name)
    return Change(path=path, op="remove", old=name)


def _together(events: Iterable[Fields]) -> list[Fields]:
    """The same events; several of one change share a `correlation_id`."""
    listed = list(events)
    if len(listed) > 1 and not context.current().correlation_id:
        correlation_id = uuid7()
        listed = [{"correlation_id": correlation_id, **fields} for fields in listed]
    return listed
