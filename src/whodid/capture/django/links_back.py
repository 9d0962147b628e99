"""The way back from a page of the log: to the record that an event was about, to the site.

A record is shown where the admin shows it, to those who may look at it there. Nothing is read from
the database for it: a record that is gone meanwhile has a link as well, and the admin says so.

Not here: where events come from the project's models (`people`, `rows`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings as project
from django.db.models import Model
from django.http import HttpRequest
from django.urls import NoReverseMatch, Resolver404, get_script_prefix, resolve, reverse

from whodid.capture.django.conf import get_settings
from whodid.capture.django.people import actor_of, type_of
from whodid.event import Target
from whodid.viewer.http import Host, LinkOf

if TYPE_CHECKING:
    from django.contrib.admin import AdminSite, ModelAdmin

_logger = logging.getLogger("whodid")


def host_of(request: HttpRequest) -> Host:
    """What the pages of the log may say of the project to the sender of a request."""
    if getattr(request, "user", None) is None:  # without Django's users there is no admin either
        return Host()
    return Host(link_of=link_of(request), home=home_of(request), signed_in=signed_in_as(request))


def target_type_of(model: type[Model]) -> str:
    """What the model's objects are called in events: `accounts` and `settings` have own words."""
    concrete: Any = model._meta.concrete_model
    label = concrete._meta.label_lower
    if label in {name.lower() for name in get_settings().settings_models}:
        return "settings"
    own = {project.AUTH_USER_MODEL.lower(): "user", "auth.group": "role"}
    return own.get(label) or type_of(model)


def link_of(request: HttpRequest) -> LinkOf:
    """Says where the sender of a request finds a target in the admin; None where they don't."""
    sites = [site for site in _sites() if _allows(site.has_permission, request)]

    def link(target: Target) -> str | None:
        admins = [
            (site, admin)
            for site in sites
            for model, admin in site._registry.items()
            if target_type_of(model) == target.type
        ]
        # Several models may be settings; which one it was, the event does not say.
        models = {admin.model._meta.concrete_model for _, admin in admins}
        if not target.id or len(models) != 1:
            return None
        found = (_change_page(site, admin, request, target.id) for site, admin in admins)
        return next((url for url in found if url is not None), None)

    return link


def _sites() -> Iterator[AdminSite]:
    """The project's admins, its default one first."""
    if not apps.is_installed("django.contrib.admin"):
        return
    from django.contrib.admin import site as default
    from django.contrib.admin.sites import all_sites

    yield default
    yield from sorted((site for site in all_sites if site.name != default.name), key=_name_of)


def _name_of(site: AdminSite) -> str:
    return site.name


def _change_page(
    site: AdminSite, admin: ModelAdmin[Any], request: HttpRequest, key: str
) -> str | None:
    from django.contrib.admin.utils import quote

    if not _allows(admin.has_view_or_change_permission, request):
        return None
    meta = admin.opts
    return _reversed(f"{site.name}:{meta.app_label}_{meta.model_name}_change", quote(key))


def _allows(ask: Callable[[HttpRequest], bool], request: HttpRequest) -> bool:
    try:
        return ask(request)
    except Exception as error:  # noqa: BLE001 - of a project's own admin: the log is open all the same
        _logger.warning("an admin can't say who may open it: %s", type(error).__name__)
        return False


def home_of(request: HttpRequest) -> tuple[str, str] | None:
    """Words and address of the link back: to the admin for those who may open it, else the site."""
    for site in _sites():
        if _allows(site.has_permission, request) and (url := _reversed(f"{site.name}:index")):
            return "Admin", url
    try:
        resolve("/")
    except Resolver404:  # a project without a page at its root has no place to go back to
        return None
    return "Site", get_script_prefix()


def signed_in_as(request: HttpRequest) -> str:
    """The name of who sent a request, empty for somebody who has not signed in."""
    actor = actor_of(getattr(request, "user", None))
    return (actor.name or actor.email or actor.id or "") if actor and actor.id else ""


def _reversed(name: str, *parts: str) -> str | None:
    try:
        return reverse(name, args=parts)
    except NoReverseMatch:  # this admin is at no address, or the model's pages are elsewhere
        return None
