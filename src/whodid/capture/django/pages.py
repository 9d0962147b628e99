"""The viewer inside a Django project, at whatever address its `urls` are included.

Nobody sees anything unless `authorize` says so. What is opened is written down before it is shown,
on the project's own connection; when that fails the page says so and the rest of the project goes
on. The views run outside of `ATOMIC_REQUESTS`, whose rollback would take the reading with it.

Not here: what a page looks like (`whodid.viewer`), the history in the admin (`admin`).
"""

from __future__ import annotations

import inspect
import logging
import sqlite3
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from asgiref.sync import async_to_sync
from django.apps import apps
from django.conf import settings as project
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db import Error, connections, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import resolve_url
from django.urls import NoReverseMatch, Resolver404, resolve, reverse
from msgspec import UNSET, structs

from whodid import context
from whodid.access import Access
from whodid.capture.django.conf import get_audit, get_settings
from whodid.capture.django.links_back import host_of
from whodid.capture.django.middleware import mark_refused
from whodid.capture.django.people import ANONYMOUS, actor_of
from whodid.delivery import words_of
from whodid.errors import AuditError, ConfigError
from whodid.event import Source
from whodid.log import AuditLog
from whodid.times import Instant
from whodid.viewer import faults
from whodid.viewer.http import Host, Request, Response
from whodid.viewer.pages import Viewer
from whodid.viewer.readings import Reader, Reading, Readings, readings_of, shows_events

_logger = logging.getLogger("whodid")
_FLUSH_S = 1.0  # for which a page waits for events that are still in a buffer
_PERMISSION = "whodid.view_event"
_BY_SCRIPT = "/complete"
"""What the search box asks for at every keystroke, also in a tab that is still open after somebody
has signed out in another. That is no attempt to get in: as a page that sends them to sign in is no
event, this is none."""

FAULTS = (AuditError, Error, sqlite3.Error)
"""What a database that does not answer raises, through us or through Django."""


@dataclass(frozen=True, slots=True)
class _Desk:
    """What the pages of one log need, made once for it."""

    audit: AuditLog
    viewer: Viewer
    readings: Readings


_desk: _Desk | None = None


def page(request: HttpRequest, path: str = "", **_: object) -> HttpResponseBase:
    """Answer a request below the place where the viewer is included.

    Args:
        path: What follows after that place, without a slash at the beginning.
        _: Parts of the place itself, if the project's route has any.
    """
    asked = _translated(request, path)
    if not shows_events(asked.path):
        return _sent(_desk_of_now().viewer.handle(asked))
    access = access_of(request)
    if access is None and (url := _where_to_sign_in(request, asked)) is not None:
        return redirect_to_login(request.get_full_path(), url)
    if access is None and asked.path == _BY_SCRIPT and not _is_signed_in(request):
        mark_refused()
    asked = _translated(request, path, access=access or Access())
    try:
        desk = _desk_of_now()
        if access is not None and asked.method in ("GET", "HEAD"):
            for reading in readings_of(asked.path, query=asked.query.get("q", "")):
                _note(desk, request, access, reading)
        return _sent(desk.viewer.handle(asked))
    except FAULTS as error:
        _logger.warning("a page of the audit log can't be shown: %s", words_of(error))
        return _sent(faults.message(asked, "unavailable"))


def untouched_by_transactions(view: Any) -> Any:
    """The view outside of `ATOMIC_REQUESTS`, in every database."""
    for alias in connections:
        view = transaction.non_atomic_requests(using=alias)(view)
    return view


# -- who may see what ----------------------------------------------------------------------------


def access_of(request: HttpRequest) -> Access | None:
    """What the sender of a request may see of the log; None is nothing.

    Raises:
        ConfigError: The project's own `authorize` answered with something else.
    """
    authorize = get_settings().authorize or _default_access
    try:
        answer = authorize(request)
        if inspect.isawaitable(answer):
            answer = async_to_sync(_awaited)(answer)
    except PermissionDenied:
        return None
    if answer is not None and not isinstance(answer, Access):
        raise ConfigError(
            f"WHODID['authorize']: expected an Access or None, got {type(answer).__name__}; "
            "e.g. whodid.access.Access.reader({'default'})"
        )
    return None if answer is None or answer.tenants == frozenset() else answer


def _default_access(request: HttpRequest) -> Access | None:
    user = getattr(request, "user", None)
    may = getattr(user, "has_perm", None)  # a user model of the project's need not have it
    if user is None or may is None or not user.is_active or not may(_PERMISSION):
        return None
    return Access(tenants=None, permissions=frozenset({"read"}))


async def _awaited(answer: Any) -> Any:
    return await answer


def _where_to_sign_in(request: HttpRequest, asked: Request) -> str | None:
    """The address for a person who might be let in then; None for others and for programs."""
    if _is_signed_in(request):
        return None
    is_data = asked.path.endswith(".json") or asked.path == _BY_SCRIPT
    return None if is_data or asked.method not in ("GET", "HEAD") else login_url()


def _is_signed_in(request: HttpRequest) -> bool:
    return bool(getattr(getattr(request, "user", None), "is_authenticated", False))


def login_url() -> str | None:
    """Where one signs in: `LOGIN_URL`, else the admin's page if that one leads nowhere."""
    url = resolve_url(project.LOGIN_URL)
    if not url.startswith("/") or url.startswith("//") or _leads_somewhere(url):
        return url
    if apps.is_installed("django.contrib.admin"):
        try:
            return reverse("admin:login")
        except NoReverseMatch:
            return None
    return None


def _leads_somewhere(url: str) -> bool:
    script = (project.FORCE_SCRIPT_NAME or "").rstrip("/")
    try:
        resolve(url.partition("?")[0].removeprefix(script))
    except Resolver404:
        return False
    return True


# -- reading is an event -------------------------------------------------------------------------


def note(request: HttpRequest, access: Access, *, query: str) -> None:
    """Write down that somebody searched the log, if that is not written yet.

    Raises:
        AuditError: It can't be written, so nothing may be shown; or one of `FAULTS`.
    """
    _note(_desk_of_now(), request, access, Reading(query=query))


def _note(desk: _Desk, request: HttpRequest, access: Access, reading: Reading) -> None:
    desk.readings.note(_reader_of(request, access, desk.audit), reading, now=Instant.now())


def _reader_of(request: HttpRequest, access: Access, audit: AuditLog) -> Reader:
    actor = actor_of(getattr(request, "user", None)) or ANONYMOUS
    session = getattr(getattr(request, "session", None), "session_key", None) or ""
    source = audit.draft("log.view").source  # as the project has it in its own events
    client = context.current().client
    only = next(iter(access.tenants)) if access.tenants and len(access.tenants) == 1 else None
    return Reader(
        principal=f"{actor.type} {actor.id or ''} {session}",
        actor=actor,
        tenant=only or audit.tenant,
        address=(client.ip if client else UNSET) or request.META.get("REMOTE_ADDR") or "",
        source=structs.replace(source or Source(), component="viewer"),
    )


def _desk_of_now() -> _Desk:
    """The pages over the project's log, which is another one while tests run."""
    global _desk
    audit = get_audit()
    if audit.is_buffered:
        audit.flush(_FLUSH_S)
    known = _desk
    if known is None or known.audit is not audit:
        settings = get_settings()
        known = _desk = _Desk(
            audit,
            Viewer(
                audit.store,
                zone=settings.zone or project.TIME_ZONE or "UTC",
                command="python manage.py whodid",
            ),
            Readings(audit.store, is_lasting=_is_lasting),
        )
    return known


def _is_lasting() -> bool:
    """Does what was just written stay, whatever becomes of the project's transaction?"""
    settings = get_settings()
    return settings.url is not None or not connections[settings.database].in_atomic_block


# -- Django's requests and answers ---------------------------------------------------------------


def _translated(request: HttpRequest, path: str, *, access: Access | None = None) -> Request:
    prefix = request.path.removesuffix(path).rstrip("/")
    return Request(
        method=request.method or "GET",
        path=f"/{path}",
        prefix=quote(prefix, safe="/~:@!$&'()*+,;="),
        query={name: values[0] for name, values in request.GET.lists() if values},
        access=access or Access(),
        if_none_match=request.headers.get("if-none-match"),
        host=host_of(request) if shows_events(f"/{path}") else Host(),
    )


def _sent(response: Response) -> HttpResponse:
    sent = HttpResponse(response.body, status=response.status)
    del sent["content-type"]  # Django's own guess, wrong for what has no content
    for name, value in response.headers.items():
        sent[name] = value
    return sent
