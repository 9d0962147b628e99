"""A request of Django's as the occasion of its events: who acts, from where, in which view.

Who acts is asked when an event is made, since token authentication knows only in the view. What is
asked of Django leaves no trace: no session is flushed, no page begins to depend on cookies, and a
request without events costs no query; but one that an async view answers costs those for its user,
who can't be asked for in the event loop.

Not here: signing in (`logins`), the request's own description (`capture.web`).
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.contrib.auth import (
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    SESSION_KEY,
    get_user_model,
    load_backend,
)
from django.core.signals import got_request_exception
from django.http import HttpRequest
from django.utils.crypto import constant_time_compare
from django.utils.functional import LazyObject, empty
from msgspec import UNSET

from whodid import context, describe
from whodid.capture.django import checks, unit
from whodid.capture.django.conf import get_audit, get_settings
from whodid.capture.django.people import ANONYMOUS, actor_of, principal_of, username_of
from whodid.capture.web import Incoming, WebOccasion, WebOptions
from whodid.errors import AuditError
from whodid.event import Actor, Delegation, Principal, Tenant

_logger = logging.getLogger("whodid")

GetResponse = Callable[[HttpRequest], Any]
_ATTRIBUTE = "_whodid_occasion"
_HIJACKERS = "hijack_history"  # where django-hijack keeps who is really there
IMPERSONATION = Delegation(kind="impersonation")
_People = tuple[object, Actor | None, Principal | None]


class DjangoOccasion(WebOccasion):
    """One request.

    Attributes:
        http: The request, which is filled in while it is answered.
        is_open: Is it still being answered? Exceptions are told when it ends.
        caught: An exception that a middleware may make an answer of.
    """

    __slots__ = (
        "_asking", "_delegation", "_loaded", "_on_behalf_of", "_people", "_tenant", "caught",
        "http", "is_open",
    )  # fmt: skip

    # Set through their properties, by the initializer above this one.
    _delegation: Delegation | None
    _on_behalf_of: Principal | None
    _tenant: Tenant | None

    def __init__(self, http: HttpRequest, options: WebOptions) -> None:
        self.http = http
        self._people: _People | None = None
        self._asking: set[tuple[str, int]] = set()
        self._loaded: tuple[object, object] | None = None
        self.is_open = True
        self.caught: Exception | None = None
        super().__init__(
            options,
            given_id=http.META.get(_meta(options.request_id_header)),
            find_actor=self._find_actor,
        )

    def read(self) -> Incoming:
        meta = self.http.META
        forwarded = meta.get(_meta(self.options.forwarded_header))
        trace = meta.get("HTTP_TRACEPARENT")
        port = str(meta.get("REMOTE_PORT") or "")
        return Incoming(
            method=self.http.method or "",
            path=self.http.path,
            query=meta.get("QUERY_STRING", ""),
            peer=meta.get("REMOTE_ADDR"),
            port=int(port) if port.isdecimal() and 0 < int(port) <= 65_535 else None,
            forwarded=[forwarded] if forwarded else [],
            user_agent=meta.get("HTTP_USER_AGENT"),
            traceparent=[trace] if trace else [],
        )

    def route(self) -> str | None:
        match = self.http.resolver_match
        return "/" + match.route.lstrip("/") if match is not None and match.route else None

    def parameters(self) -> Mapping[str, object]:
        """The named parts of the address."""
        match = self.http.resolver_match
        return match.kwargs if match is not None else {}

    @property
    def on_behalf_of(self) -> Principal | None:
        """Whose account somebody else is using in this request."""
        return self._on_behalf_of or self._who()[1]

    @on_behalf_of.setter
    def on_behalf_of(self, given: Principal | None) -> None:
        self._on_behalf_of = given

    @property
    def delegation(self) -> Delegation | None:
        """By what right they do."""
        return self._delegation or (IMPERSONATION if self._who()[1] else None)

    @delegation.setter
    def delegation(self, given: Delegation | None) -> None:
        self._delegation = given

    @property
    def tenant(self) -> Tenant | None:
        """Whose data this is, once the project can tell."""
        if self._tenant is None and (find := get_settings().find_tenant) is not None:
            with self._once("tenant") as is_first, get_audit().guarded("the tenant of a request"):
                if is_first:
                    self._tenant = _tenant_of(find(self.http))
        return self._tenant

    @tenant.setter
    def tenant(self, given: Tenant | None) -> None:
        self._tenant = given

    # -- who acts

    def _find_actor(self) -> Actor | None:
        return self._asked()[0]

    def _who(self) -> tuple[Actor | None, Principal | None]:
        try:
            return self._asked()
        except Exception:  # noqa: BLE001 - a host's callback or query; `ask_actor` logs the same
            return None, None

    def _asked(self) -> tuple[Actor | None, Principal | None]:
        """Who acts, and for whom: asked each time, since views authenticate late."""
        with self._once("actor") as is_first:
            if not is_first:
                return self._people[1:] if self._people else (None, None)
            find = get_settings().find_actor
            found = find(self.http) if find is not None else None
            return self._by_user() if found is None else _given(found)

    @contextmanager
    def _once(self, what: str) -> Iterator[bool]:
        """Is this thread not yet asking the project the same?

        What is asked may make an event of its own, which would ask for itself. Views that work in
        several threads ask in each.
        """
        asking = (what, threading.get_ident())
        is_first = asking not in self._asking
        self._asking.add(asking)
        try:
            yield is_first
        finally:
            if is_first:
                self._asking.discard(asking)

    def _by_user(self) -> tuple[Actor | None, Principal | None]:
        user = self.load_user()
        # By identity: the same object is the same person, even when its row is gone and with it
        # its key, and it stays the person that it was when it was first seen.
        if self._people is None or self._people[0] is not user:
            self._people = (user, *self._people_of(user))
        return self._people[1:]

    def load_user(self) -> object:
        """The user as the view would see it, without a trace of having asked; None for nobody."""
        with _unnoticed(self.http):
            user = self.http.__dict__.get("user")
            if user is None:
                return None
            if not isinstance(user, LazyObject):
                return user
            if user._wrapped is not empty:
                return user._wrapped
            cached = self.http.__dict__.get("_cached_user")
            return cached if cached is not None else self._load_by_session()

    def _load_by_session(self) -> object:
        """As Django does it, but a session that does not fit is left as it is."""
        key = _session_value(self.http, SESSION_KEY)
        if key is None:
            return None
        if self._loaded is None or self._loaded[0] != key:
            self._loaded = (key, _load(self.http, key))
        return self._loaded[1]

    def _people_of(self, user: object) -> tuple[Actor | None, Principal | None]:
        actor = actor_of(user) if user is not None else ANONYMOUS
        if actor is None:
            return self._by_session(user), None
        if actor.type != "user" or (impersonator := self.impersonator()) is None:
            return actor, None
        return impersonator, principal_of(actor)

    def _by_session(self, user: object) -> Actor | None:
        """Somebody whose row was deleted before anything asked who they are."""
        key = _session_value(self.http, SESSION_KEY)
        name = username_of(user)
        return Actor(type="user", id=str(key), name=name or UNSET) if key else None

    def impersonator(self) -> Actor | None:
        """Who is really there, when django-hijack or django-impersonate is at work."""
        if (found := getattr(self.http, "impersonator", None)) is not None:
            return actor_of(found)
        history = _session_value(self.http, _HIJACKERS)
        if not history:
            return None
        model = get_user_model()
        user = model._default_manager.filter(pk=history[0]).first()
        return actor_of(user) if user is not None else Actor(type="user", id=str(history[0]))


class AuditMiddleware:
    """Makes each request the occasion of its events. One line of `MIDDLEWARE`, at any place."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        checks.check_app_is_installed("AuditMiddleware")
        self.get_response = get_response
        self._options = get_settings().web
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)
            # An async view asks for its user in the event loop, where nothing can be loaded.
            self.process_view = self._load_user
        got_request_exception.connect(_note_exception, dispatch_uid="whodid")

    def __call__(self, request: HttpRequest) -> Any:
        """The answer of the view, or what is awaited to have it."""
        if self._is_async:
            return self._answer_async(request)
        occasion = self._begun(request)
        if occasion is None:
            return self.get_response(request)
        with context.occasion(occasion):
            try:
                response = self.get_response(request)
            except Exception as error:
                self._broke(occasion, error)
                _tell(occasion)
                raise
            self._ended(occasion, response)
            _tell(occasion)
        return response

    async def _answer_async(self, request: HttpRequest) -> Any:
        occasion = self._begun(request)
        if occasion is None:
            return await self.get_response(request)
        with context.occasion(occasion):
            try:
                response = await self.get_response(request)
            except asyncio.CancelledError:
                await _tell_async(occasion)  # what had happened before the client went away
                raise
            except Exception as error:
                self._broke(occasion, error)
                await _tell_async(occasion)
                raise
            self._ended(occasion, response)
            await _tell_async(occasion)
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> None:
        """Remember what another middleware may make an answer of."""
        occasion = occasion_of(request)
        if occasion is not None:
            occasion.caught = exception

    async def _load_user(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any
    ) -> None:
        occasion = occasion_of(request)
        if occasion is None or not iscoroutinefunction(view):
            return
        if settings.SESSION_COOKIE_NAME in request.COOKIES:
            with get_audit().guarded("loading the user of an async view"):
                await sync_to_async(occasion.load_user, thread_sensitive=True)()

    def _begun(self, request: HttpRequest) -> DjangoOccasion | None:
        """The occasion of a request; None when it has one, or is to be left alone."""
        with get_audit().guarded("a request beginning"):
            if occasion_of(request) is None and not self._options.is_excluded(request.path):
                occasion = DjangoOccasion(request, self._options)
                setattr(request, _ATTRIBUTE, occasion)
                return occasion
        return None

    def _broke(self, occasion: DjangoOccasion, error: Exception) -> None:
        with get_audit().guarded("a request ending"):
            occasion.failed(error)

    def _ended(self, occasion: DjangoOccasion, response: Any) -> None:
        with get_audit().guarded("a request ending"):
            occasion.answered(response.status_code)
            if occasion.caught is not None and response.status_code >= 500:
                occasion.failed(occasion.caught)
            occasion.caught = None  # it holds all that the view had
            response[self._options.request_id_header] = occasion.request_id
            if getattr(response, "streaming", False):
                _put_within(response, occasion)


def occasion_of(request: object) -> DjangoOccasion | None:
    """The occasion that the middleware has opened for a request; None without the middleware."""
    found = getattr(request, _ATTRIBUTE, None)
    return found if isinstance(found, DjangoOccasion) else None


def mark_refused() -> None:
    """Say that an event tells already why this request is refused."""
    occasion = context.current_occasion()
    if isinstance(occasion, WebOccasion):
        occasion.is_refusal_told = True


# -- telling -------------------------------------------------------------------------------------


def _tell(occasion: DjangoOccasion) -> None:
    """Write what the request has become. The view's transaction has ended."""
    occasion.is_open = False
    if not context.is_recording():
        return
    with get_audit().guarded("a request ending"):
        for fields in occasion.due():
            unit.record_apart(get_audit().draft(**fields))


async def _tell_async(occasion: DjangoOccasion) -> None:
    occasion.is_open = False
    if not occasion.is_due or not context.is_recording():
        return
    told = asyncio.ensure_future(sync_to_async(_tell, thread_sensitive=True)(occasion))
    try:
        await asyncio.shield(told)
    except asyncio.CancelledError:
        # The request is over: what it became is written all the same, in its own thread.
        await asyncio.wait([told])
        raise


def _note_exception(sender: object, request: HttpRequest | None = None, **_: object) -> None:
    """Hear of an exception that Django is about to answer with status 500."""
    error = sys.exc_info()[1]
    if not isinstance(request, HttpRequest) or not isinstance(error, Exception):
        return
    with get_audit().guarded("an exception"):
        options = get_settings().web
        occasion = occasion_of(request)
        if occasion is not None and occasion.is_open:
            occasion.failed(error)  # told when the request ends
            return
        if occasion is None:  # a middleware around ours broke before it
            if options.is_excluded(request.path):
                return
            occasion = DjangoOccasion(request, options)
            setattr(request, _ATTRIBUTE, occasion)
        occasion.failed(error)
        occasion.status = 500
        try:
            with context.occasion(occasion):
                _tell(occasion)
        except AuditError as trouble:
            # The request fails already, and what a receiver raises would pass by Django's answer.
            _logger.error("an exception could not be recorded: %s", trouble)


def _put_within(response: Any, occasion: DjangoOccasion) -> None:
    """Have the pieces of an answer made with the request as their occasion."""
    within = _WithinAsync if response.is_async else _Within
    # Where the server sends files by itself it takes this one, and nothing of ours is between.
    file = getattr(response, "file_to_stream", None)
    # Django closes what it was given first, and outside of the request's context.
    ends, response._resource_closers = response._resource_closers, []
    response.streaming_content = pieces = within(response.streaming_content, occasion)
    response._resource_closers += [pieces.in_context(end) for end in ends]
    if file is not None:
        response.file_to_stream = file


def _broke_within(occasion: DjangoOccasion, error: Exception) -> None:
    with get_audit().guarded("an answer breaking off"):
        occasion.failed(error)


class _Within:
    """The pieces of an answer, each made with the request as its occasion."""

    def __init__(self, pieces: Iterator[Any], occasion: DjangoOccasion) -> None:
        self._pieces, self._occasion = iter(pieces), occasion
        self._context = context.Pieces()

    def __iter__(self) -> _Within:
        return self

    def __next__(self) -> Any:
        with self._context:
            try:
                return next(self._pieces)
            except StopIteration:
                raise
            except Exception as error:
                _broke_within(self._occasion, error)
                _tell(self._occasion)
                raise

    def in_context(self, end: Callable[[], object]) -> Callable[[], None]:
        """What ends the pieces, in the context in which they were made."""
        return partial(_within, self._context, end)


class _WithinAsync:
    """The same for an async answer. No generator: its context would not reach what it awaits."""

    def __init__(self, pieces: AsyncIterator[Any], occasion: DjangoOccasion) -> None:
        self._pieces, self._occasion = pieces.__aiter__(), occasion
        self._context = context.Pieces()

    def __aiter__(self) -> _WithinAsync:
        return self

    async def __anext__(self) -> Any:
        with self._context:
            try:
                return await self._pieces.__anext__()
            except StopAsyncIteration:
                raise
            except Exception as error:
                _broke_within(self._occasion, error)
                await _tell_async(self._occasion)
                raise

    def in_context(self, end: Callable[[], object]) -> Callable[[], None]:
        """What ends the pieces, in the context in which they were made."""
        return partial(_within, self._context, end)

    async def aclose(self) -> None:
        """As the pieces are closed."""
        close: Callable[[], Awaitable[None]] | None = getattr(self._pieces, "aclose", None)
        if close is not None:
            with self._context:
                await close()


def _within(pieces: context.Pieces, end: Callable[[], object]) -> None:
    with pieces:
        end()


# -- asking Django without a trace ---------------------------------------------------------------


def _meta(header: str) -> str:
    return "HTTP_" + header.upper().replace("-", "_")


@contextmanager
def _unnoticed(http: HttpRequest) -> Iterator[None]:
    """Looking at the session here does not make the answer depend on the cookie."""
    session = http.__dict__.get("session")
    accessed = getattr(session, "accessed", None)
    try:
        yield
    finally:
        if session is not None and accessed is not None:
            session.accessed = accessed


def _session_value(http: HttpRequest, name: str) -> Any:
    session = http.__dict__.get("session")
    if session is None:
        return None
    with _unnoticed(http):
        return session.get(name)


def _load(http: HttpRequest, key: Any) -> object:
    """The user of a session, if its hash fits; None for nobody."""
    path = _session_value(http, BACKEND_SESSION_KEY)
    if path not in settings.AUTHENTICATION_BACKENDS:
        return None
    pk = get_user_model()._meta.pk.to_python(key)
    user: Any = load_backend(path).get_user(pk)
    if user is None or not hasattr(user, "get_session_auth_hash"):
        return user
    given = _session_value(http, HASH_SESSION_KEY)
    hashes = [
        user.get_session_auth_hash(),
        *getattr(user, "get_session_auth_fallback_hash", list)(),
    ]
    return user if given and any(constant_time_compare(given, each) for each in hashes) else None


def _tenant_of(found: object) -> Tenant | None:
    if found is None or isinstance(found, Tenant):
        return found
    if isinstance(found, Mapping):
        return Tenant(**found)
    return Tenant(id=str(found)[:256])


def _given(found: object) -> tuple[Actor | None, Principal | None]:
    """What the project says: an actor, or a pair of an actor and for whom; in any form."""
    describers = get_audit().describers
    actor, behalf = found if isinstance(found, tuple) and len(found) == 2 else (found, None)
    known = describe.actor_of(actor, describers)
    return known, principal_of(describe.actor_of(behalf, describers)) if behalf else None
