"""Who acts in a request is right, whatever authenticates it, in both kinds of views."""

# Django REST framework has no types, the test client's streams neither.
# mypy: disable-error-code="import-untyped, attr-defined"

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser, Group, User
from django.http import HttpRequest
from django.test import AsyncClient, override_settings
from msgspec import UNSET
from rest_framework.authtoken.models import Token
from rest_framework_simplejwt.tokens import AccessToken

from tests.capture.django.site import (
    AUDIT,
    MIDDLEWARE,
    PASSWORD,
    a_browser,
    a_user,
    an_async_browser,
    one,
    site,
)
from whodid.capture.django.people import DjangoDescriber, actor_of
from whodid.event import Event

Told = Callable[[], list[Event]]


@pytest.fixture(autouse=True)
def _site() -> Iterator[None]:
    with site():
        yield


# -- ways to sign in -----------------------------------------------------------------------------


def test_a_session_s_user_acts(told: Told) -> None:
    ana = a_user(first_name="Ana", last_name="Lima")
    browser = a_browser(ana)
    told()

    browser.get("/make/editors/")

    actor = one(told(), "role.create").actor
    assert (actor.type, actor.id, actor.name) == ("user", str(ana.pk), "Ana Lima")
    assert actor.email == "ana@example.com"


def test_nobody_signed_in_is_anonymous(told: Told) -> None:
    a_browser().get("/make/editors/")

    assert one(told(), "role.create").actor.type == "anonymous"


@pytest.mark.parametrize("scheme", ["Token", "Bearer", "Basic", "session"])
def test_rest_framework_s_user_acts_though_only_the_view_knows_it(scheme: str, told: Told) -> None:
    ana = a_user()
    browser = a_browser(ana if scheme == "session" else None)
    headers = {} if scheme == "session" else {"authorization": _credentials(scheme, ana)}
    told()

    answer = browser.post("/api/editors/", headers=headers)

    assert answer.status_code == 200
    assert one(told(), "role.create").actor.id == str(ana.pk)


def test_a_token_s_user_acts_though_it_is_no_row(told: Told) -> None:
    ana = a_user()
    token = str(AccessToken.for_user(ana))
    told()

    a_browser().post("/stateless-api/editors/", headers={"authorization": f"Bearer {token}"})

    actor = one(told(), "role.create").actor
    assert (actor.type, actor.id) == ("user", str(ana.pk))


def _credentials(scheme: str, user: User) -> str:
    if scheme == "Token":
        return f"Token {Token.objects.create(user=user).key}"
    if scheme == "Bearer":
        return f"Bearer {AccessToken.for_user(user)}"
    from base64 import b64encode

    return "Basic " + b64encode(f"{user.username}:{PASSWORD}".encode()).decode()


# -- many at once, threads, streams --------------------------------------------------------------


def test_of_50_interleaved_async_requests_each_has_its_own_actor(told: Told) -> None:
    async def visit_all() -> None:
        browsers = await sync_to_async(_fifty)()
        await sync_to_async(told)()
        await asyncio.gather(*[browser.get(f"/make-async/{pk}/") for pk, browser in browsers])

    asyncio.run(visit_all())

    by_actor = [(event.actor.id, str(event.targets[0].name).partition(",")[0]) for event in told()]
    assert len(by_actor) == 100
    assert [pair for pair in by_actor if pair[0] != pair[1]] == []


def _fifty() -> list[tuple[int, AsyncClient]]:
    users = [User.objects.create(username=f"user{number}") for number in range(50)]
    return [(user.pk, an_async_browser(user)) for user in users]


def test_an_async_view_s_user_is_known_in_the_event_loop(told: Told) -> None:
    async def visit() -> None:
        browser = await sync_to_async(lambda: an_async_browser(a_user()))()
        await sync_to_async(told)()
        await browser.get("/break-async/")

    asyncio.run(visit())

    assert one(told(), "error.raise").actor.name == "ana"


def test_a_thread_that_carries_the_context_knows_who_acts() -> None:
    ana = a_user()

    answer = a_browser(ana).get("/make-in-thread/editors/")

    assert answer.content == str(ana.pk).encode()


def test_a_stream_that_writes_has_the_actor_of_its_request(told: Told) -> None:
    answer = a_browser(a_user()).get("/stream/editors/")
    told()

    body = b"".join(answer.streaming_content)

    assert body == b"begun, done"
    assert one(told(), "role.create").actor.name == "ana"


def test_an_async_stream_that_writes_has_the_actor_of_its_request(told: Told) -> None:
    async def visit() -> bytes:
        browser = await sync_to_async(lambda: an_async_browser(a_user()))()
        answer = await browser.get("/stream-async/editors/")
        await sync_to_async(told)()
        return b"".join([piece async for piece in answer.streaming_content])

    body = asyncio.run(visit())

    assert body == b"begun, done"
    assert one(told(), "role.create").actor.name == "ana"


# -- people who come and go in the middle --------------------------------------------------------


def test_who_deletes_their_own_account_stays_the_actor_of_the_rest(told: Told) -> None:
    ana = a_user()
    key = str(ana.pk)
    browser = a_browser(ana)
    told()

    browser.get("/delete-me/")

    events = told()
    assert one(events, "user.delete").actor.id == key
    assert one(events, "role.create").actor.id == key
    assert one(events, "role.create").actor.name == "ana"


def test_a_session_that_ends_in_mid_request_keeps_the_actor_and_django_s_answer(told: Told) -> None:
    browser = a_browser(a_user())
    told()

    answer = browser.get("/lose-session/")

    assert answer.status_code == 400  # SessionInterrupted, as without us
    assert one(told(), "role.create").actor.name == "ana"


def test_what_is_done_after_signing_out_is_nobody_s(told: Told) -> None:
    browser = a_browser(a_user())
    told()

    browser.get("/leave-then-make/")

    events = told()
    assert one(events, "user.logout").actor.name == "ana"
    assert one(events, "role.create").actor.type == "anonymous"


def test_an_event_does_not_make_a_page_depend_on_the_session(told: Told) -> None:
    browser = a_browser(a_user())

    answer = browser.get("/make/editors/")

    assert not answer.has_header("Vary")
    assert one(told(), "role.create").actor.name == "ana"


def test_a_request_without_events_asks_the_database_nothing() -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    browser = a_browser(a_user())

    with CaptureQueriesContext(connection) as queries:
        browser.get("/")

    assert queries.captured_queries == []


# -- on behalf of somebody else ------------------------------------------------------------------


def test_who_hijacks_an_account_is_the_actor_on_behalf_of_its_owner(told: Told) -> None:
    support, ana = a_user("support"), a_user()
    browser = a_browser(ana)
    session = browser.session
    session["hijack_history"] = [str(support.pk)]
    session.save()
    told()

    browser.get("/make/editors/")

    event = one(told(), "role.create")
    assert event.actor.id == str(support.pk)
    assert event.on_behalf_of
    assert event.on_behalf_of.id == str(ana.pk)
    assert event.delegation
    assert event.delegation.kind == "impersonation"


def find_by_header(request: HttpRequest) -> object:
    """What `WHODID["actor"]` names in the tests below."""
    key = request.headers.get("x-robot")
    if key is None:
        return None
    return {"type": "service_account", "id": key}, User.objects.get(username="ana")


def test_the_project_may_say_who_acts_and_for_whom(told: Told) -> None:
    a_user()
    told()

    with override_settings(WHODID={"actor": f"{__name__}.find_by_header"}):
        a_browser().get("/make/editors/", headers={"x-robot": "r2"})

    event = one(told(), "role.create")
    assert (event.actor.type, event.actor.id) == ("service_account", "r2")
    assert event.on_behalf_of
    assert event.on_behalf_of.name == "ana"


def test_where_the_project_says_nothing_the_user_acts(told: Told) -> None:
    with override_settings(WHODID={"actor": f"{__name__}.find_by_header"}):
        a_browser(a_user()).get("/make/editors/")

    assert one(told(), "role.create").actor.name == "ana"


def find_badly(request: HttpRequest) -> object:
    raise LookupError("no such thing")


def test_a_project_s_callable_that_raises_costs_the_actor_and_no_more(told: Told) -> None:
    with override_settings(WHODID={"actor": f"{__name__}.find_badly"}):
        answer = a_browser(a_user()).get("/make/editors/")

    assert answer.status_code == 200
    assert one(told(), "role.create").actor.type == "unknown"


@pytest.mark.parametrize("order", ["first", "last"])
def test_the_middleware_s_place_makes_no_difference(order: str, told: Told) -> None:
    middleware = [AUDIT, *MIDDLEWARE] if order == "first" else [*MIDDLEWARE, AUDIT]
    with override_settings(MIDDLEWARE=middleware):
        browser = a_browser(a_user())
        told()

        browser.get("/make/editors/")

    assert one(told(), "role.create").actor.name == "ana"


# -- describing ----------------------------------------------------------------------------------


def test_a_user_without_a_full_name_is_called_as_they_sign_in() -> None:
    assert actor_of(User(pk=7, username="ana")) == actor_of(User(pk=7, username="ana", email=""))
    assert actor_of(User(pk=7, username="ana")).name == "ana"  # type: ignore[union-attr]  # it is one


def test_a_superuser_s_roles_are_said() -> None:
    actor = actor_of(User(pk=7, username="ana", is_staff=True, is_superuser=True))

    assert actor is not None
    assert actor.roles == ("superuser", "staff")


def test_what_is_no_user_is_no_actor() -> None:
    assert actor_of(Group(pk=1, name="editors")) is None
    assert actor_of("ana") is None
    assert actor_of(None) is None


def test_an_anonymous_user_is_an_anonymous_actor() -> None:
    actor = actor_of(AnonymousUser())

    assert actor is not None
    assert (actor.type, actor.id) == ("anonymous", UNSET)


def test_a_deferred_name_is_not_fetched() -> None:
    a_user(first_name="Ana")
    ana = User.objects.only("username").get()

    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as queries:
        actor = actor_of(ana)

    assert actor is not None
    assert (actor.name, actor.email) == ("ana", UNSET)
    assert queries.captured_queries == []


def test_an_instance_of_a_model_is_a_target() -> None:
    target = DjangoDescriber().target(Group(pk=3, name="editors"))

    assert target is not None
    assert (target.type, target.id, target.name) == ("role", "3", "editors")


def test_a_snapshot_masks_nothing_away_that_is_needed_to_see_a_change() -> None:
    snapshot = DjangoDescriber().snapshot(Group(pk=3, name="editors"))

    assert snapshot == {"id": 3, "name": "editors"}
