"""An application records and reads through one object, on a real store."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET

import whodid
from whodid import Access, Actor, AuditLog, Event, Rules, Tenant
from whodid.errors import (
    AuditError,
    ConfigError,
    EventError,
    QuerySyntaxError,
    StoreUnavailableError,
)
from whodid.event import Target
from whodid.testing import capture_events


class Invoice:
    def __init__(self, number: int) -> None:
        self.id, self.status, self.password = number, "draft", "hunter2"

    def __str__(self) -> str:
        return f"Invoice {self.id}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.db"


@pytest.fixture
def audit(path: Path) -> Iterator[AuditLog]:
    with AuditLog(path, app="billing") as log:
        yield log


def test_what_was_recorded_is_found(audit: AuditLog) -> None:
    event_id = audit.record(
        "invoice.approve",
        actor={"type": "user", "id": 7, "name": "Ana"},
        target=Invoice(42),
        changes={"status": ("draft", "sent")},
        metadata={"rule": "four eyes"},
        reason="conflict",
        outcome="failure",
    )

    [found] = audit.search("actor:ana action:invoice outcome:failure")
    assert found.id == event_id
    assert found.targets == (Target(type="invoice", id="42", name="Invoice 42"),)
    assert found.source.app == "billing" if found.source else False
    assert found.occurred_at
    assert audit.get(str(event_id)) == found
    assert audit.history(Invoice(42)) == [found]
    assert audit.history(Invoice(43)) == []


def test_it_is_durable_when_record_returns(audit: AuditLog, path: Path) -> None:
    audit.record("invoice.approve", actor="user:7")

    connection = sqlite3.connect(path)
    [count] = connection.execute("SELECT count(*) FROM whodid_event").fetchone()
    connection.close()
    assert count == 1
    assert audit.store.verify(access=Access.everything()).is_sound


def test_an_id_makes_it_happen_once(audit: AuditLog) -> None:
    given = "0199d3a0-7b00-7000-8000-000000000001"
    for _ in range(2):
        audit.record("invoice.approve", actor="user:7", id=given)

    assert len(audit.search()) == 1


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"action": "Invoice"}, "$.action"),
        ({"action": "invoice"}, "$.action"),
        ({"action": "audit.log.view"}, "$.action"),
        ({"action": "invoice.read", "outcome": "fine"}, "$.outcome"),
        ({"action": "invoice.read", "severity": "bad"}, "$.severity"),
        ({"action": "invoice.read", "category": "x"}, "$.category"),
    ],
)
def test_what_only_a_programmer_decides_is_refused(
    audit: AuditLog, fields: dict[str, Any], where: str
) -> None:
    with pytest.raises(EventError) as caught:
        audit.record(**fields)

    assert caught.value.path == where
    assert audit.search() == []


def test_what_comes_from_data_is_made_to_fit(audit: AuditLog) -> None:
    audit.record(
        "invoice.read",
        actor=Actor(type="user", id="7", name="n" * 1_000, email=""),
        targets=[("invoice", number) for number in range(80)],
        message="m" * 10_000,
        metadata={"odd key!": object, "": 1, "n": float("nan"), **{f"k{i}": i for i in range(200)}},
        changes={f"f{number}": ("a" * 5_000, "b" * 5_000) for number in range(600)},
        tags=["Ünsafe Tag", "ok", "ok"],
        tenant="t" * 300,
        correlation_id="c" * 300,
        reason={"code": "invalid", "message": "r" * 9_000},
    )

    [event] = audit.search(access=Access.everything())
    assert len(event.targets) == 50
    assert event.metadata
    assert event.metadata["targets_left_out"] == 30
    assert event.metadata["shrunk"] is True
    assert event.metadata["changes_left_out"] > 0
    assert event.changes[0].redacted == "truncated"


def test_the_context_says_what_a_call_leaves_out(audit: AuditLog) -> None:
    with audit.context(actor="user:7", tenant="acme", on_behalf_of={"type": "user", "id": 8}):
        audit.record("invoice.read", target="invoice:1")

        [event] = audit.search()
    assert (event.actor.id, event.on_behalf_of.id if event.on_behalf_of else None) == ("7", "8")
    assert audit.search() == []  # outside, the log's own tenant is asked
    assert len(audit.search(tenant="acme")) == 1


def test_without_an_actor_it_is_unknown(audit: AuditLog) -> None:
    audit.record("invoice.read")

    assert audit.search()[0].actor == Actor(type="unknown")


def test_nothing_is_recorded_while_it_is_switched_off(audit: AuditLog) -> None:
    with audit.disable():
        assert audit.record("invoice.read") is None
    audit.record("invoice.list")

    assert [event.action for event in audit.search()] == ["invoice.list"]


def test_another_tenant_is_not_read_by_chance(audit: AuditLog) -> None:
    event_id = audit.record("invoice.read", tenant="acme")

    assert audit.search() == []
    assert audit.get(str(event_id)) is None
    assert audit.get(str(event_id), tenant="acme")
    assert audit.search(access=Access.everything())


def test_a_search_that_can_not_be_read_says_where(audit: AuditLog) -> None:
    with pytest.raises(QuerySyntaxError) as caught:
        audit.search("actr:ana")

    assert caught.value.position == 0


def test_a_setting_that_changed_is_told(audit: AuditLog) -> None:
    audit.settings_changed("session_minutes", 30, 60, actor="user:7")

    [event] = audit.search("action:settings.update")
    assert (event.changes[0].old, event.changes[0].new) == (30, 60)


# -- scopes --------------------------------------------------------------------------------------


def test_a_scope_tells_what_changed_and_how_long_it_took(audit: AuditLog) -> None:
    invoice = Invoice(1)
    with audit.scope("invoice.send", target=invoice, actor="user:7") as scope:
        invoice.status = "sent"
        scope.metadata["by"] = "post"

    [event] = audit.search()
    assert event.id == scope.event_id
    assert [(c.path, c.old, c.new) for c in event.changes] == [("status", "draft", "sent")]
    assert event.metadata
    assert event.metadata["by"] == "post"
    assert event.metadata["duration_ms"] >= 0
    assert event.outcome == "success"


def test_an_exception_is_told_and_goes_on(audit: AuditLog) -> None:
    with pytest.raises(ZeroDivisionError), audit.scope("invoice.send", target=Invoice(1)):
        raise ZeroDivisionError("password=hunter22")

    [event] = audit.search()
    assert (event.outcome, event.reason.code if event.reason else None) == ("error", "exception")
    assert event.error
    assert event.error.type == "ZeroDivisionError"
    assert "hunter22" not in str(event.error.message)
    assert event.changes == ()


class ForbiddenError(Exception):
    pass


ForbiddenError.__name__ = "Forbidden"  # as frameworks call theirs


class HttpError(Exception):
    status_code = 403


@pytest.mark.parametrize("error", [PermissionError("no"), ForbiddenError(), HttpError()])
def test_a_refusal_is_a_denial(audit: AuditLog, error: Exception) -> None:
    with pytest.raises(type(error)), audit.scope("invoice.send"):
        raise error

    [event] = audit.search()
    assert (event.outcome, event.reason.code if event.reason else None) == (
        "denied", "not_permitted",
    )  # fmt: skip


def test_a_scope_may_be_cancelled(audit: AuditLog) -> None:
    with audit.scope("invoice.send") as scope:
        scope.cancel()

    assert audit.search() == []


def test_functions_coroutines_and_generators_may_be_scopes(audit: AuditLog) -> None:
    @audit.scope("job.run", actor="system")
    def plainly(number: int) -> int:
        return number + 1

    @audit.scope("job.run")
    async def awaited() -> str:
        await asyncio.sleep(0)
        return "done"

    @audit.scope("job.run")
    def generated() -> Iterator[int]:
        yield 1
        yield 2

    assert plainly(1) == 2
    assert plainly(2) == 3
    assert asyncio.run(awaited()) == "done"
    assert list(generated()) == [1, 2]
    assert plainly.__name__ == "plainly"
    assert len(audit.search()) == 4


def test_a_scope_of_no_action_is_refused_before_the_work_is_done(audit: AuditLog) -> None:
    with pytest.raises(EventError):
        audit.scope("Invoice")


# -- when the store fails ------------------------------------------------------------------------


def _break(path: Path) -> None:
    os.rename(path, path.with_suffix(".gone"))


def _mend(path: Path) -> None:
    os.rename(path.with_suffix(".gone"), path)


def test_the_host_goes_on_and_the_event_comes_back(path: Path, caplog: Any) -> None:
    with AuditLog(path) as audit:
        audit.record("invoice.read", target="invoice:1")
        _break(path)
        with caplog.at_level(logging.WARNING, logger="whodid"):
            event_id = audit.record("invoice.read", target="invoice:2")
        _mend(path)

        assert event_id
        assert caplog.text
        audit.record("invoice.read", target="invoice:3")

        found = {event.targets[0].id for event in audit.search()}
    assert found == {"1", "2", "3"}


def test_a_log_that_fails_closed_fails_the_caller(path: Path) -> None:
    with AuditLog(path, on_failure="raise") as audit:
        _break(path)
        with pytest.raises(StoreUnavailableError):
            audit.record("invoice.read")
        _mend(path)


def test_a_scope_does_not_hide_the_hosts_exception_behind_its_own(path: Path) -> None:
    with AuditLog(path) as audit:
        _break(path)
        with pytest.raises(ZeroDivisionError), audit.scope("invoice.read"):
            raise ZeroDivisionError
        _mend(path)


def test_a_guarded_block_ends_and_the_host_goes_on(audit: AuditLog, caplog: Any) -> None:
    with caplog.at_level(logging.WARNING, logger="whodid"), audit.guarded("a test"):
        raise RuntimeError("ours")

    assert "a test: an event may be missing" in caplog.text


def test_an_option_that_can_not_be_meant_is_refused(path: Path) -> None:
    with pytest.raises(ConfigError, match="on_failure"):
        AuditLog(path, on_failure="ignore")  # type: ignore[arg-type]  # what is tested
    with pytest.raises(ConfigError, match="URL"):
        AuditLog("mysql://host/db")


# -- redaction, buffers, tests of hosts ----------------------------------------------------------


def test_secrets_are_masked_and_fields_treated_as_the_application_says(path: Path) -> None:
    rules = Rules(
        names=Rules().names | {"loyalty_code"}, fields={"salary": "hash", "notes": "drop"}
    )
    with AuditLog(path, redaction=rules) as audit:
        audit.record(
            "user.update",
            changes={"password": ("a", "b"), "loyalty_code": (None, "x-9"), "salary": (1, 2)},
            metadata={"notes": "private", "token": "abc"},
        )
        [event] = audit.search()

    marks = {change.path: change.redacted for change in event.changes}
    assert marks == {"password": "masked", "loyalty_code": "masked", "salary": "hashed"}
    assert event.metadata == {"token": "[masked]"}
    assert (path.with_name("audit.db-hash-key").stat().st_mode & 0o777) == 0o600


def test_a_buffered_log_writes_soon_and_at_the_end(path: Path) -> None:
    with AuditLog(path, buffer=100) as audit:
        details = {"a": 1}
        audit.record("invoice.read", metadata=details)
        details["a"] = 2
        assert audit.flush(10)
        [event] = audit.search()
        assert event.metadata == {"a": 1}
        audit.record("invoice.list")
    with AuditLog(path) as audit:
        assert [event.action for event in audit.search()] == ["invoice.list", "invoice.read"]


def test_a_host_can_test_what_it_records(audit: AuditLog) -> None:
    with capture_events(audit) as events:
        audit.record("invoice.read", actor="user:7", target="invoice:1")
        with audit.context(tenant=Tenant(id="acme")):
            audit.write([audit.draft("invoice.list")])

    events.assert_recorded("invoice.read", actor="user:7", target="invoice:1")
    assert len(events) == 2
    assert audit.search() == []


def test_the_public_names_are_few_and_there() -> None:
    assert len(whodid.__all__) <= 15
    for name in whodid.__all__:
        assert getattr(whodid, name) is not UNSET
    with pytest.raises(AttributeError):
        _ = whodid.nothing


def test_every_error_is_one_of_ours() -> None:
    assert issubclass(EventError, AuditError)
    assert whodid.Event is Event


# -- secrets -------------------------------------------------------------------------------------

SEEDS = (
    "hunter2-swordfish", "AKIAIOSFODNN7EXAMPLE", "4111 1111 1111 1111",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    "Tr0ubador&3zebra", "-----BEGIN PRIVATE KEY-----MIIEvQIBADANBg-----END PRIVATE KEY-----",
)  # fmt: skip


def _seed(audit: AuditLog) -> None:
    """Record each secret by every way in."""
    password, key, card, jwt, url_password, pem = SEEDS
    for secret in (key, card, jwt, pem):
        audit.record(
            "invoice.read",
            message=f"said {secret} aloud",
            reason={"code": "invalid", "message": secret},
            changes={"note": (secret, f"x {secret}")},
            metadata={"note": secret, "deep": {"list": [secret]}},
            target=Target(type="invoice", id="1", attributes={"note": secret}),
            actor=Actor(type="user", id="7", attributes={"note": secret}),
        )
        with pytest.raises(ValueError, match="secret"), audit.scope("job.run"):
            raise ValueError(f"secret {secret}")
    audit.record(
        "user.update",
        changes={"password": (password, password), "api_token": (None, password)},
        metadata={"client_secret": password, "url": f"https://ana:{url_password}@example.com/"},
        message=f"password={password}",
    )


@pytest.mark.parametrize("way", ["direct", "buffered", "spooled"])
def test_no_secret_reaches_the_disk(path: Path, way: str) -> None:
    with AuditLog(path, buffer=1_000 if way == "buffered" else 0) as audit:
        if way == "spooled":
            _break(path)
        _seed(audit)
        audit.flush(10)
        written = b"".join(each.read_bytes() for each in path.parent.rglob("*") if each.is_file())
        if way == "spooled":
            _mend(path)

    assert b"invoice.read" in written
    assert b"said [masked] aloud" in written
    for seed in SEEDS:
        assert seed.encode() not in written
