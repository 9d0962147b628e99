"""`settings.WHODID` is read once, and what can't be meant is refused with the key's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.capture.django.shop.models import Tag
from tests.capture.django.site import a_browser, site
from whodid.capture.django import conf
from whodid.errors import ConfigError, StoreUnavailableError
from whodid.redaction import SECRET_NAMES
from whodid.stores import late
from whodid.stores.sqlite_hosted import HostedSqliteStore


def test_every_key_may_be_left_out() -> None:
    assert conf.read_settings({}) == conf.Settings()


def test_what_is_listed_is_read(tmp_path: Path) -> None:
    settings = conf.read_settings(
        {
            "url": f"sqlite:///{tmp_path / 'audit.db'}",
            "spool": tmp_path / "spool",
            "exclude_models": ["shop.Basket"],
            "include_models": ["sessions"],
            "settings_models": ["shop.Code"],
            "redact_names": {"loyalty_number"},
            "redact_fields": {"salary": "drop"},
            "trusted_proxies": 2,
            "tenant": "acme",
        }
    )

    assert settings.spool == str(tmp_path / "spool")
    assert settings.excluded == (conf.Settings().excluded | {"shop.basket"}) - {"sessions"}
    assert settings.settings_models == ("shop.Code",)
    assert {"loyalty_number", *SECRET_NAMES} <= settings.redaction.names
    assert settings.redaction.fields == {"salary": "drop"}
    assert (settings.web.trusted_proxies, settings.tenant) == (2, "acme")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ([], "expected a dict, got list"),
        ({"ap": "shop"}, "there is no ap; known are"),
        ({"app": 1}, "'app'"),
        ({"buffer": True}, "'buffer'.*expected int, got bool"),
        ({"bulk_limit": 0}, "above 0"),
        ({"on_failure": "ignore"}, "spool, raise or drop"),
        ({"trusted_proxies": -1}, "trusted_proxies"),
        ({"authorize": "shop.audit.nothing"}, "'authorize'"),
        ({"authorize": "os.sep"}, "is no function"),
        ({"exclude_models": "shop.Basket"}, "'exclude_models'.*a list of names"),
        ({"settings_models": "shop.Code"}, "'settings_models'.*a list of names"),
        ({"redact_names": "loyalty_number"}, "'redact_names'.*a list of names"),
        ({"redact_names": None}, "'redact_names'.*a list of names"),
        ({"redact_fields": ["salary"]}, "'redact_fields'.*a dict"),
        ({"redact_fields": {"salary": "hide"}}, "drop, mask or hash"),
    ],
)
def test_what_can_not_be_meant_is_refused(given: Any, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        conf.read_settings(given)


def test_two_logs_in_memory_never_share_a_spool() -> None:
    # Nor can anybody know the folder before it is made, in a place where all may write.
    folders = {conf._spool_of(HostedSqliteStore(lambda: None)) for _ in range(2)}  # type: ignore[arg-type, return-value]  # never connected

    assert len(folders) == 2


def test_a_log_that_cannot_be_opened_fails_no_request_and_gets_its_events_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late, "TRY_AGAIN_S", 0.0)
    url = f"sqlite:///{tmp_path / 'mounted' / 'audit.db'}"
    with site(WHODID={"url": url, "spool": str(tmp_path / "spool")}):
        assert a_browser().get("/refuse/").status_code == 403
        Tag.objects.create(name="kept")
        (tmp_path / "mounted").mkdir()
        Tag.objects.create(name="written")

        audit = conf.get_audit()
        kept = audit.search("")
        audit.close()

    assert {event.action for event in kept} == {"access.check", "tag.create"}
    assert len(kept) == 3


def test_a_log_that_fails_closed_is_refused_when_it_cannot_be_opened(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'nowhere' / 'audit.db'}"
    with (
        site(WHODID={"url": url, "on_failure": "raise"}),
        pytest.raises(StoreUnavailableError, match="create it"),
    ):
        conf.get_audit()
