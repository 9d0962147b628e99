"""The log breaks under a request, a command or a task: they go on, or fail as was chosen."""

# The test client's answers have no types.
# mypy: disable-error-code="attr-defined"

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.contrib import auth
from django.contrib.auth import authenticate
from django.contrib.auth.models import Group, User
from django.contrib.auth.tokens import default_token_generator
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import DatabaseError, transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import include, path
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from tests.capture.django import breaking
from tests.capture.django.seams import rows
from tests.capture.django.site import (
    AUDIT,
    MIDDLEWARE,
    PASSWORD,
    a_browser,
    a_user,
    actions,
    an_admin,
    an_async_browser,
    site,
)
from tests.capture.django.site_urls import urlpatterns as of_the_site
from whodid.capture.django import audit, get_audit
from whodid.errors import AuditError
from whodid.event import Event

Told = Callable[[], list[Event]]
HERE = __name__


@transaction.atomic
def make_and_try(request: HttpRequest) -> HttpResponse:
    """A view whose transaction is committed although somebody failed to sign in within it."""
    Group.objects.create(name="editors")
    transaction.on_commit(lambda: committed.append("called"))
    authenticate(request, username="ana", password="wrong")
    return HttpResponse()


committed: list[str] = []
urlpatterns = [
    path("audit/", include("whodid.capture.django.urls")),
    path("make-and-try/", make_and_try),
    *of_the_site,
]


@pytest.fixture(autouse=True)
def _site(tmp_path: Path) -> Iterator[None]:
    committed.clear()
    with site(ROOT_URLCONF=HERE, WHODID={"spool": str(tmp_path / "spool")}):
        yield


@pytest.fixture
def strict() -> Iterator[None]:
    """What can't be told is not to happen."""
    with override_settings(WHODID={"on_failure": "raise"}):
        yield


def come_back(told: Told) -> list[str]:
    """What is told once the spool was put back."""
    delivery: Any = get_audit().delivery
    delivery.recover(within_s=10)
    return actions(told())


# -- requests ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One request.

    Attributes:
        status: Of the answer when the log works, and when it is broken but spools.
        told: The actions of its events, in order.
    """

    name: str
    ask: Callable[[Client], Any]
    status: int
    told: tuple[str, ...]

    def __str__(self) -> str:
        return self.name


def _of_form(form: str, **given: str) -> Callable[[Client], Any]:
    return lambda browser: browser.post(form, given)


def _by_link(browser: Client) -> Any:
    ana = User.objects.get(username="ana")
    key = urlsafe_base64_encode(force_bytes(ana.pk))
    token = default_token_generator.make_token(ana)
    browser.get(f"/reset/{key}/{token}/")
    new = {"new_password1": "another-horse-9", "new_password2": "another-horse-9"}
    return browser.post(f"/reset/{key}/set-password/", new)


def _delete_in_admin(browser: Client) -> Any:
    group = Group.objects.get(name="there")
    return browser.post(f"/admin/auth/group/{group.pk}/delete/", {"post": "yes"})


VISITS = (
    Visit(
        name="a sign-in",
        ask=_of_form("/login/", username="ana", password=PASSWORD),
        status=302,
        told=("user.login",),
    ),
    Visit(
        name="a failed sign-in",
        ask=_of_form("/login/", username="ana", password="wrong"),
        status=200,
        told=("user.login",),
    ),
    Visit(
        name="a failed sign-in for a token",
        ask=_of_form("/jwt/", username="ana", password="wrong"),
        status=401,
        told=("user.login",),
    ),
    Visit(
        name="a sign-in for a token",
        ask=_of_form("/jwt/", username="ana", password=PASSWORD),
        status=200,
        told=("user.login",),
    ),
    Visit(name="a sign-out", ask=_of_form("/logout/"), status=302, told=("user.logout",)),
    Visit(
        name="a new password by link",
        ask=_by_link,
        status=302,
        told=("user.password.reset",),
    ),
    Visit(
        name="a change",
        ask=lambda browser: browser.get("/make/editors/"),
        status=200,
        told=("role.create",),
    ),
    Visit(
        name="a form of the admin",
        ask=_of_form("/admin/auth/group/add/", name="editors"),
        status=302,
        told=("role.create",),
    ),
    Visit(
        name="a deletion in the admin",
        ask=_delete_in_admin,
        status=302,
        told=("role.delete",),
    ),
    Visit(
        name="a refusal",
        ask=lambda browser: browser.get("/refuse/"),
        status=403,
        told=("access.check",),
    ),
    Visit(
        name="an answer that refuses",
        ask=lambda browser: browser.get("/answer/401/"),
        status=401,
        told=("access.check",),
    ),
    Visit(
        name="an error after a change",
        ask=lambda browser: browser.get("/make-then-break/editors/"),
        status=500,
        told=("role.create", "error.raise"),
    ),
)  # fmt: skip
by_visit = pytest.mark.parametrize("visit", VISITS, ids=str)
BREAKS = [breaking.without_table, breaking.refused]
by_break = pytest.mark.parametrize("broken", BREAKS)


@pytest.fixture
def browser(told: Told) -> Client:
    """Somebody who may do all of that."""
    a_user("ana")
    Group.objects.create(name="there")
    browser = a_browser(an_admin())
    told()
    return browser


@by_visit
def test_what_a_visit_tells_when_nothing_breaks(visit: Visit, browser: Client, told: Told) -> None:
    assert visit.ask(browser).status_code == visit.status

    assert tuple(actions(told())) == visit.told


@by_break
@by_visit
def test_a_visit_is_answered_as_ever_and_its_events_come_back(
    visit: Visit, broken: Any, browser: Client, told: Told, tmp_path: Path
) -> None:
    with broken():
        assert visit.ask(browser).status_code == visit.status

        assert breaking.spooled(tmp_path / "spool") == len(visit.told)
    assert sorted(come_back(told)) == sorted(visit.told)


@pytest.mark.parametrize("place", ["first", "last"])
@by_visit
def test_a_visit_of_a_site_that_fails_closed_fails_and_changes_nothing(
    visit: Visit, place: str, strict: None, browser: Client, told: Told
) -> None:
    before = rows()
    middleware = [AUDIT, *MIDDLEWARE] if place == "first" else [*MIDDLEWARE, AUDIT]

    with override_settings(MIDDLEWARE=middleware), breaking.refused():
        answer = visit.ask(browser)

    assert answer.status_code == 500
    assert answer.content
    assert _without_times(rows()) == _without_times(before)
    assert told() == []


def _without_times(found: dict[str, list[tuple[Any, ...]]]) -> Any:
    """Without when people signed in last: Django's own receiver runs before any other."""
    users = [row[:2] + row[3:] for row in found["auth_user"]]
    return found | {"auth_user": users}


@by_break
def test_nobody_is_signed_in_whose_sign_in_can_t_be_told(
    broken: Any, strict: None, told: Told
) -> None:
    a_user("ana")
    told()
    browser = a_browser()

    with broken():
        browser.post("/login/", {"username": "ana", "password": PASSWORD})

    assert not any("_auth_user_id" in each.get_decoded() for each in Session.objects.all())
    assert "sessionid" not in browser.cookies


@by_break
def test_a_failed_sign_in_inside_of_a_block_that_commits_spoils_nothing_of_the_host_s(
    broken: Any, told: Told
) -> None:
    a_user("ana")
    told()

    with broken():
        assert a_browser().get("/make-and-try/").status_code == 200

    assert committed == ["called"]
    assert Group.objects.filter(name="editors").exists()
    assert sorted(come_back(told)) == ["role.create", "user.login"]


def broken_middleware(get_response: Callable[[HttpRequest], HttpResponse]) -> Any:
    """It raises before anything of ours has seen the request."""

    def answer(request: HttpRequest) -> HttpResponse:
        raise LookupError("of a middleware")

    return answer


@by_break
@pytest.mark.parametrize("choice", ["spool", "raise"])
def test_an_exception_around_everything_of_ours_is_answered_by_django(
    choice: str, broken: Any, told: Told, tmp_path: Path
) -> None:
    ours = {"on_failure": choice, "spool": str(tmp_path / "spool")}
    middleware = [f"{HERE}.broken_middleware", AUDIT]

    with override_settings(MIDDLEWARE=middleware, WHODID=ours):
        with broken():
            answer = a_browser().get("/")
        returned = come_back(told) if choice == "spool" else actions(told())

    assert answer.status_code == 500
    assert answer.content
    assert returned == (["error.raise"] if choice == "spool" else [])


ASYNC = {
    "/make-async/editors/": (200, ["role.create", "role.update"]),
    "/break-async/": (500, ["error.raise"]),
    "/refuse/": (403, ["access.check"]),
}


@pytest.mark.parametrize("address", ASYNC)
def test_an_async_visit_is_answered_as_ever_and_its_events_come_back(
    address: str, told: Told, tmp_path: Path
) -> None:
    status, expected = ASYNC[address]

    with breaking.without_table():  # for all threads
        answer = asyncio.run(_visit(address))

        assert answer.status_code == status
        assert breaking.spooled(tmp_path / "spool") == len(expected)
    assert sorted(come_back(told)) == expected


@pytest.mark.parametrize("address", ASYNC)
def test_an_async_visit_of_a_site_that_fails_closed_fails(
    address: str, strict: None, told: Told
) -> None:
    with breaking.without_table():
        answer = asyncio.run(_visit(address))

    assert answer.status_code == 500
    assert not Group.objects.exists()
    assert told() == []


async def _visit(address: str) -> Any:
    return await an_async_browser().get(address)


@by_break
def test_a_stream_that_breaks_off_is_told_later(broken: Any, told: Told) -> None:
    answer = a_browser().get("/stream/broken/")

    with broken(), pytest.raises(ValueError, match="in the middle"):
        list(answer.streaming_content)

    assert sorted(come_back(told)) == ["error.raise", "role.create"]


@by_break
def test_a_stream_of_a_site_that_fails_closed_breaks_off_where_it_changes_something(
    broken: Any, strict: None, told: Told
) -> None:
    answer = a_browser().get("/stream/unbroken/")
    pieces = iter(answer.streaming_content)
    assert next(pieces) == b"begun, "

    with broken(), pytest.raises(AuditError) as caught:
        next(pieces)

    assert isinstance(caught.value.__context__, DatabaseError)
    assert not Group.objects.exists()


# -- pages of the log ----------------------------------------------------------------------------


@by_break
@pytest.mark.parametrize("address", ["/audit/", "/admin/auth/group/{}/history/"])
@pytest.mark.parametrize("choice", ["spool", "raise", "drop"])
def test_the_log_is_not_shown_to_whoever_can_t_be_written_down(
    choice: str, address: str, broken: Any, told: Told
) -> None:
    group = Group.objects.create(name="as it was called")
    group.name = "there"
    group.save()
    browser = a_browser(an_admin())

    with override_settings(WHODID={"on_failure": choice}), broken():
        answer = browser.get(address.format(group.pk))
        assert answer.status_code == 503
        assert b"as it was called" not in answer.content
        assert browser.get("/").status_code == 200

    assert browser.get("/audit/").status_code == 200


# -- commands ------------------------------------------------------------------------------------


class Make(BaseCommand):
    def handle(self, *args: object, **options: object) -> None:
        Group.objects.create(name="editors")


class MakeAndBreak(BaseCommand):
    def handle(self, *args: object, **options: object) -> None:
        with transaction.atomic():
            Group.objects.create(name="authors")
            raise LookupError("nothing to do")


@by_break
def test_a_command_goes_on_and_its_events_come_back(broken: Any, told: Told) -> None:
    with broken():
        call_command(Make())
        with pytest.raises(LookupError, match="nothing to do"):
            call_command(MakeAndBreak())

    assert Group.objects.count() == 1
    assert sorted(come_back(told)) == ["error.raise", "role.create"]


@by_break
@pytest.mark.parametrize(("command", "why"), [(Make, DatabaseError), (MakeAndBreak, LookupError)])
def test_a_command_fails_where_the_log_fails_closed(
    command: type[BaseCommand], why: type[Exception], broken: Any, strict: None, told: Told
) -> None:
    with broken(), pytest.raises(AuditError) as caught:
        call_command(command())

    assert why in [type(each) for each in _contexts(caught.value)]
    assert not Group.objects.exists()
    assert told() == []


def _contexts(error: BaseException) -> Iterator[BaseException]:
    """What was being handled when it was raised."""
    while error.__context__ is not None:
        error = error.__context__
        yield error


# -- what the project records itself -------------------------------------------------------------


@by_break
def test_what_the_project_records_is_spooled_or_refused(broken: Any, told: Told) -> None:
    with broken():
        audit.record("invoice.send", target="invoice:1")
        with override_settings(WHODID={"on_failure": "raise"}), pytest.raises(AuditError):
            audit.record("invoice.send", target="invoice:2")

    assert come_back(told) == ["invoice.send"]


def test_signing_in_by_hand_fails_where_the_log_fails_closed(strict: None, told: Told) -> None:
    a_user("ana")
    told()

    with breaking.without_table(), pytest.raises(AuditError):
        authenticate(username="ana", password="wrong")

    assert told() == []


@pytest.mark.skipif(not hasattr(auth, "aauthenticate"), reason="Django 5.0 and newer have it")
def test_signing_in_in_the_event_loop_fails_where_the_log_fails_closed(
    strict: None, told: Told
) -> None:
    a_user("ana")
    told()

    with breaking.without_table(), pytest.raises(AuditError):
        asyncio.run(auth.aauthenticate(username="ana", password="wrong"))

    assert told() == []


# -- tasks ---------------------------------------------------------------------------------------


def _a_task(work: Callable[[], object]) -> Any:
    celery = pytest.importorskip("celery")
    app = celery.Celery(
        "broken", broker="memory://", backend="cache+memory://", set_as_current=False
    )
    return app.task(name=f"broken.{work.__name__}", shared=False)(work)


def _make() -> None:
    Group.objects.create(name="editors")


@transaction.atomic
def _make_and_break() -> None:
    Group.objects.create(name="authors")
    raise LookupError("nothing to do")


@by_break
def test_a_task_goes_on_and_its_events_come_back(broken: Any, told: Told) -> None:
    with broken():
        assert _a_task(_make).apply().successful()
        assert isinstance(_a_task(_make_and_break).apply().result, LookupError)

    assert Group.objects.count() == 1
    assert sorted(come_back(told)) == ["error.raise", "role.create"]


@by_break
def test_a_task_fails_where_the_log_fails_closed(broken: Any, strict: None, told: Told) -> None:
    with broken():
        assert isinstance(_a_task(_make).apply().result, DatabaseError)
        assert isinstance(_a_task(_make_and_break).apply().result, LookupError)

    assert not Group.objects.exists()
    assert told() == []
