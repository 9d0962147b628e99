"""What an administrator sets is told: in models that hold settings, and in django-constance."""

# django-constance has no types.
# mypy: disable-error-code="import-untyped"

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
from constance import config
from constance.models import Constance

from tests.capture.django.shop.models import Code
from tests.capture.django.site import a_browser, actions, an_admin, one, sides, site
from whodid.capture.django import rows, settings
from whodid.errors import ConfigError
from whodid.event import Event
from whodid.redaction import MASK

Told = Callable[[], list[Event]]


@pytest.fixture(autouse=True)
def _site() -> Iterator[None]:
    with site():
        yield


# -- models --------------------------------------------------------------------------------------


def test_a_model_that_there_is_not_is_refused_with_the_remedy() -> None:
    with pytest.raises(ConfigError, match="expected names such as"):
        settings.install(SimpleNamespace(settings_models=["shop.Nothing"]))


def test_a_model_of_settings_is_told_as_settings(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "_translators", dict(rows._translators))
    settings.install(SimpleNamespace(settings_models=["shop.Code"]))

    mail = Code.objects.create(code="mail_from", meaning="a@example.com")
    mail.meaning = "b@example.com"
    mail.save()
    Code.objects.update(meaning="c@example.com")
    mail.delete()

    events = told()
    assert actions(events) == ["settings.update"] * 4
    assert {(event.targets[0].type, event.targets[0].id) for event in events} == {
        ("settings", "mail_from")
    }
    assert sides(events[1]) == {"meaning": ("a@example.com", "b@example.com")}
    assert sides(events[2]) == {"meaning": ("b@example.com", "c@example.com")}


# -- django-constance ----------------------------------------------------------------------------


def test_a_setting_of_constance_is_told_by_name_with_old_and_new(told: Told) -> None:
    config.THEME = "dark"

    event = one(told(), "settings.update")
    assert sides(event) == {"THEME": ("light", "dark")}


def test_a_second_change_starts_from_the_first(told: Told) -> None:
    config.THEME = "dark"
    told()

    config.THEME = "blue"

    assert sides(one(told(), "settings.update")) == {"THEME": ("dark", "blue")}


def test_reading_a_setting_changes_nothing(told: Told) -> None:
    assert config.THEME == "light"

    assert told() == []
    assert config.THEME == "light"


def test_setting_what_is_set_changes_nothing(told: Told) -> None:
    config.THEME = "dark"
    told()

    config.THEME = "dark"

    assert told() == []


def test_a_secret_setting_is_masked(told: Told) -> None:
    config.MAIL_PASSWORD = "correct-horse-9"

    change = one(told(), "settings.update").changes[0]
    assert (change.path, change.new, change.redacted) == ("MAIL_PASSWORD", MASK, "masked")


def test_settings_that_a_bulk_statement_removes_are_back_at_their_default(told: Told) -> None:
    config.THEME = "dark"
    told()

    Constance.objects.all().delete()

    assert sides(one(told(), "settings.update")) == {"THEME": ("dark", "light")}


def test_a_form_of_the_admin_tells_each_setting_that_it_changed(told: Told) -> None:
    browser = a_browser(an_admin())
    page = browser.get("/admin/constance/config/")
    version = page.context["form"].initial["version"]
    told()

    answer = browser.post(
        "/admin/constance/config/", {"version": version, "THEME": "dark", "MAIL_PASSWORD": ""}
    )

    assert answer.status_code == 302
    event = one(told(), "settings.update")
    assert event.actor.name == "root"
    assert sides(event) == {"THEME": ("light", "dark")}
