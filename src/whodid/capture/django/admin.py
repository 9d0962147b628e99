"""The admin's History button: what whodid knows of an object, deleted ones included.

Shown to who may view the object in the admin and may see the log; for everybody else, and with
`WHODID = {"admin_history": False}`, the page is Django's own. A `ModelAdmin` with a `history_view`
of its own keeps it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from functools import wraps
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.apps import apps
from django.conf import settings as project
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, reverse
from django.utils.text import capfirst
from msgspec import UNSET

from whodid.access import Access
from whodid.actions import Fragment, sentence
from whodid.capture.django import pages
from whodid.capture.django.conf import get_audit, get_settings
from whodid.capture.django.guard import is_ours, label_of, ours
from whodid.capture.django.links_back import target_type_of
from whodid.capture.django.rows import text_of_key
from whodid.delivery import words_of
from whodid.errors import CursorError
from whodid.event import Change, StoredEvent, Target
from whodid.query.parse import parse
from whodid.times import Instant
from whodid.viewer.moments import Moments, find_zone
from whodid.viewer.people import Person, actor_of, second_name
from whodid.viewer.rows import OUTCOMES, origin
from whodid.viewer.text import flat, told

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin

PER_PAGE = 50
_MAX_VALUE = 300  # characters of an old or new value; the event's own page has all of it
_logger = logging.getLogger("whodid")

View = Callable[..., HttpResponseBase]


def install(settings: object) -> None:
    """Put whodid's history where the admin's is. Idempotent."""
    if not apps.is_installed("django.contrib.admin"):
        return
    from django.contrib.admin import ModelAdmin

    if not is_ours(ModelAdmin.history_view):
        ModelAdmin.history_view = _in_place_of(ModelAdmin.history_view)  # type: ignore[method-assign,assignment]


def _in_place_of(djangos: View) -> View:
    @wraps(djangos)
    def history_view(
        self: ModelAdmin[Any], request: HttpRequest, object_id: str, extra_context: Any = None
    ) -> HttpResponseBase:
        access = pages.access_of(request) if get_settings().admin_history else None
        found = _find(self, request, object_id, access) if access else None
        if access is None or found is None:
            return djangos(self, request, object_id, extra_context)
        return _shown(self, request, found, access, extra_context)

    view: View = ours(pages.untouched_by_transactions(history_view))
    return view


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """The object whose history is asked for.

    Attributes:
        instance: None when it is gone.
    """

    instance: Any
    target: Target


def _find(
    admin: ModelAdmin[Any], request: HttpRequest, object_id: str, access: Access
) -> _Found | None:
    """The object, also one that was deleted; None when Django should say what there is not.

    Raises:
        PermissionDenied: The sender may not view it in the admin.
    """
    from django.contrib.admin.utils import unquote

    model, text = admin.model, unquote(object_id)
    instance = admin.get_object(request, text)
    if not admin.has_view_or_change_permission(request, instance):
        raise PermissionDenied
    if instance is not None:
        target = Target(type=target_type_of(model), id=text_of_key(instance.pk))
        return _Found(instance=instance, target=target)
    try:
        key: Any = model._meta.pk.to_python(text)
        if model._base_manager.filter(pk=key).exists():
            return None  # it is there, and none of those that this admin shows to the sender
    except (ValidationError, ValueError, TypeError, OverflowError):
        return None
    return _Found(instance=None, target=Target(type=target_type_of(model), id=text_of_key(key)))


# -- the page ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One change of an event; None for a side that there is not."""

    path: str
    old: str | None
    new: str | None
    is_redacted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One event of the history."""

    clock: str
    moment: str
    who: Person
    second: tuple[str, str] | None
    place: str
    did: tuple[Fragment, ...]
    changes: tuple[Value, ...]
    outcome: str
    outcome_word: str
    url: str | None


def _shown(
    admin: ModelAdmin[Any], request: HttpRequest, found: _Found, access: Access, extra: Any
) -> HttpResponseBase:
    text = get_audit().history_query(found.target)
    values: dict[str, Any] = {"entries": [], "is_unavailable": False}
    status = 200
    try:
        pages.note(request, access, query=text)
        values |= _read(request, text, found.target, access)
    except pages.FAULTS as error:
        _logger.warning("an object's history can't be shown: %s", words_of(error))
        values["is_unavailable"], status = True, 503
    name = label_of(found.instance) if found.instance is not None else ""
    # Marks of direction in a name would turn round what stands beside it.
    name = flat(name or values.get("last_name") or str(found.target.id))
    values |= {
        **admin.admin_site.each_context(request),
        "title": f"History: {name}",
        "subtitle": None,
        "name": name,
        "opts": admin.opts,
        "module_name": str(capfirst(admin.opts.verbose_name_plural)),
        "object": found.instance,
        "preserved_filters": admin.get_preserved_filters(request),
        "log_url": _log_url(text),
        **(extra or {}),
    }
    request.current_app = admin.admin_site.name
    response = TemplateResponse(request, "whodid/admin/history.html", values, status=status)
    response["cache-control"] = "no-store"  # it holds personal data
    return response


def _read(request: HttpRequest, text: str, about: Target, access: Access) -> dict[str, Any]:
    store, now = get_audit().store, Instant.now()
    token = request.GET.get("cursor")
    try:
        cursor = store.open_cursor(token, text=text) if token else None
    except CursorError:  # of another object, or of before an upgrade: begin at the newest
        cursor = None
    page = store.page(parse(text, now=now), access=access, limit=PER_PAGE, cursor=cursor)
    moments = _moments(now)
    named = (
        target.name
        for stored in page.events
        for target in stored.event.targets
        if target.name and (target.type, target.id) == (about.type, about.id)
    )
    return {
        "entries": [_entry(stored, moments) for stored in page.events],
        "older_url": _paged(page.older),
        "newer_url": _paged(page.newer),
        "zone": moments.city,
        "last_name": next(named, ""),
    }


def _moments(now: Instant) -> Moments:
    name = get_settings().zone or project.TIME_ZONE or "UTC"
    zone = find_zone(name)
    if zone is None:
        name, zone = "UTC", UTC
    return Moments(now=now, zone=zone, name=name)


def _paged(cursor: str | None) -> str | None:
    return f"?{urlencode({'cursor': cursor})}" if cursor else None


def _entry(stored: StoredEvent, moments: Moments) -> Entry:
    event, moment = stored.event, stored.occurred_at
    outcome = str(event.outcome or "success")
    return Entry(
        clock=moments.short(moment),
        moment=moments.full(moment),
        who=actor_of(stored),
        second=second_name(stored),
        place=" ".join(part for part in origin(stored) if part),
        did=tuple(each._replace(text=flat(each.text)) for each in sentence(stored)),
        changes=tuple(_value(each) for each in event.changes or ()),
        outcome=outcome,
        outcome_word=OUTCOMES[outcome][1],
        url=_event_url(str(event.id)),
    )


def _value(change: Change) -> Value:
    return Value(
        path=flat(change.path),
        old=_side(change.old),
        new=_side(change.new),
        is_redacted=bool(change.redacted),
    )


def _side(value: object) -> str | None:
    return None if value is UNSET else flat(told(value), limit=_MAX_VALUE)


def _event_url(event_id: str) -> str | None:
    return _reversed("page", path=f"events/{event_id}")


def _log_url(text: str) -> str | None:
    url = _reversed("events")
    return f"{url}?{urlencode({'q': text, 'range': 'all'})}" if url is not None else None


def _reversed(name: str, **parts: str) -> str | None:
    """The address of a page of the log, None where the project does not show one."""
    try:
        return reverse(f"whodid:{name}", kwargs=parts)
    except NoReverseMatch:
        return None
