"""What `manage.py check` says when one of the three lines is missing, and what then still works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks
from django.http import HttpRequest, HttpResponse
from django.urls import include, path

from tests.capture.django.site import AUDIT, MIDDLEWARE, site
from tests.capture.django.test_manage import SETTINGS, manage
from whodid.access import Access
from whodid.capture.django.middleware import AuditMiddleware

HERE = __name__
SESSIONS, CSRF, _, MESSAGES = MIDDLEWARE
WITHOUT_USERS = [SESSIONS, CSRF, MESSAGES, AUDIT]

urlpatterns = [
    path(
        "inner/",
        include(([path("audit/", include("whodid.capture.django.urls"))], "inner")),
    ),
]


class Ours(AuditMiddleware):
    """A project's own, made of it."""


def plain(get_response: Any) -> Any:
    """A middleware that is a function."""

    def answer(request: HttpRequest) -> HttpResponse:
        found: HttpResponse = get_response(request)
        return found

    return answer


def authorize(request: HttpRequest) -> Access | None:
    return None


def found(**settings: Any) -> list[str]:
    """Ids of what whodid's checks say."""
    with site(**settings):
        told = [str(message.id) for message in run_checks()]
    return sorted(each for each in told if each.startswith("whodid."))


# -- checks --------------------------------------------------------------------------------------


def test_nothing_is_said_where_all_three_lines_are() -> None:
    assert found(ROOT_URLCONF=HERE) == []


def test_a_missing_middleware_is_a_warning_with_the_line_to_add() -> None:
    with site(MIDDLEWARE=list(MIDDLEWARE)):
        [message] = [each for each in run_checks() if each.id == "whodid.W001"]

    assert AUDIT in str(message.hint)


@pytest.mark.parametrize("name", [AUDIT, f"{AuditMiddleware.__module__}.AuditMiddleware"])
def test_the_middleware_is_known_by_all_its_names(name: str) -> None:
    assert found(MIDDLEWARE=[*MIDDLEWARE, name]) == []


def test_a_middleware_of_the_projects_that_is_made_of_it_will_do() -> None:
    assert found(MIDDLEWARE=[*MIDDLEWARE, f"{HERE}.plain", f"{HERE}.Ours"]) == []


@pytest.mark.parametrize("place", range(len(MIDDLEWARE) + 1))
def test_the_middleware_may_stand_at_any_place(place: int) -> None:
    listed = [*MIDDLEWARE[:place], AUDIT, *MIDDLEWARE[place:]]

    assert found(MIDDLEWARE=listed, ROOT_URLCONF=HERE) == []


def test_pages_to_which_nobody_can_come_are_a_warning() -> None:
    assert found(MIDDLEWARE=WITHOUT_USERS, ROOT_URLCONF=HERE) == ["whodid.W002"]


def test_pages_of_which_the_project_says_who_may_see_them_need_no_users() -> None:
    choice = {"authorize": authorize}

    assert found(MIDDLEWARE=WITHOUT_USERS, ROOT_URLCONF=HERE, WHODID=choice) == []


def test_a_project_without_the_pages_needs_no_users() -> None:
    assert found(MIDDLEWARE=WITHOUT_USERS) == []


def test_a_wrong_setting_is_an_error_and_no_other_message() -> None:
    assert found(WHODID={"trusted_proxys": 1}, ROOT_URLCONF=HERE) == ["whodid.E001"]


# -- without the app -----------------------------------------------------------------------------

URLS = 'from django.urls import include, path\nurlpatterns = [path("audit/", include({!r}))]\n'


@pytest.fixture
def without_app(tmp_path: Path) -> Path:
    """A project with everything but the app."""
    settings = SETTINGS.format(name=str(tmp_path / "office.db"))
    settings = settings.replace(', "whodid.capture.django"', "")
    assert "whodid" not in settings
    settings += 'ROOT_URLCONF = "addresses"\nALLOWED_HOSTS = ["*"]\n'
    (tmp_path / "office.py").write_text(settings)
    (tmp_path / "addresses.py").write_text("urlpatterns = []\n")
    return tmp_path


def test_pages_without_the_app_are_refused_with_the_line_to_add(without_app: Path) -> None:
    (without_app / "addresses.py").write_text(URLS.format("whodid.capture.django.urls"))

    result = manage(without_app, "check")

    assert result.returncode != 0
    assert 'add "whodid.capture.django" to INSTALLED_APPS' in result.stderr


def test_the_middleware_without_the_app_is_refused_with_the_line_to_add(without_app: Path) -> None:
    with (without_app / "office.py").open("a") as settings:
        settings.write(f"MIDDLEWARE = [{AUDIT!r}]\n")
    serve = "from django.test import Client; Client().get('/')"

    result = manage(without_app, "shell", "-c", serve)

    assert result.returncode != 0
    assert 'add "whodid.capture.django" to INSTALLED_APPS' in result.stderr


def test_a_project_that_names_the_apps_class_has_the_app(without_app: Path) -> None:
    (without_app / "addresses.py").write_text(URLS.format("whodid.capture.django.urls"))
    with (without_app / "office.py").open("a") as settings:
        settings.write('INSTALLED_APPS += ["whodid.capture.django.apps.WhodidConfig"]\n')
        settings.write(f"MIDDLEWARE = [{AUDIT!r}]\n")
        settings.write('WHODID = {"authorize": lambda request: None}\n')

    result = manage(without_app, "check")

    assert (result.returncode, result.stderr) == (0, "")


def test_checks_go_on_where_the_urls_or_a_middleware_are_of_no_use() -> None:
    assert found(MIDDLEWARE=[AUDIT, "nowhere.Middleware"], ROOT_URLCONF=None) == []
