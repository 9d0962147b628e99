from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET, structs

from whodid import AuditLog
from whodid.event import Actor, Event
from whodid.redaction import MASK
from whodid.testing import Recorded, an_event, capture_events

LOGIN = an_event(action="user.login", actor={"type": "user", "id": "7", "name": "Ana"})
DELETE = an_event(
    action="invoice.delete",
    actor={"type": "user", "id": "7", "name": "Ana"},
    on_behalf_of={"type": "user", "id": "9"},
    targets=[
        {"type": "invoice", "id": "42", "name": "Invoice 42"},
        {"type": "customer", "id": "5"},
    ],
    outcome="denied",
    reason={"code": "not_permitted"},
    changes=[
        {"path": "status", "old": "draft", "new": "sent"},
        {"path": "total", "old": None, "new": "10.50"},
        {"path": "note", "new": "n"},
    ],
    metadata={"batch": "b-7", "size": 3},
    tenant="acme",
)


@dataclass
class Invoice:
    id: int


@pytest.fixture
def events() -> Recorded:
    return Recorded([LOGIN, DELETE])


def message_of(events: Recorded, action: str, **expected: Any) -> str:
    """What `assert_recorded` says when it fails."""
    with pytest.raises(AssertionError) as caught:
        events.assert_recorded(action, **expected)
    return str(caught.value)


def test_events_are_a_list_in_order(events: Recorded) -> None:
    assert list(events) == [LOGIN, DELETE]
    assert (len(events), events[1], events[:1]) == (2, DELETE, [LOGIN])
    assert events.actions == ["user.login", "invoice.delete"]
    assert LOGIN in events
    assert list(events.of("user.login")) == [LOGIN]


@pytest.mark.parametrize(
    "expected",
    [
        {},
        {"actor": "user:7"},
        {"actor": "7"},
        {"actor": "Ana"},
        {"actor": DELETE.actor},
        {"target": "invoice:42"},
        {"target": "customer:5"},
        {"target": Invoice(42)},
        {"target": ("invoice", 42)},
        {"on_behalf_of": "user:9"},
        {"outcome": "denied", "reason": "not_permitted", "tenant": "acme"},
        {"changes": {"status": ("draft", "sent")}},
        {"changes": {"status": "sent", "total": (None, Decimal("10.50"))}},
        {"changes": {"status": (..., "sent"), "note": (None, "n"), "total": ...}},
        {"changes": {"note": (UNSET, "n")}},
        {"metadata": {"batch": "b-7"}},
        {"metadata": {"batch": ..., "size": 3}},
    ],
)
def test_an_event_that_fits_is_found(events: Recorded, expected: dict[str, Any]) -> None:
    assert events.assert_recorded("invoice.delete", **expected) is DELETE


@pytest.mark.parametrize(
    ("expected", "why"),
    [
        ({"actor": "user:8"}, "actor: expected user:8, got user:7"),
        ({"actor": "service_account:7"}, "actor: expected service_account:7, got user:7"),
        ({"actor": "Bob"}, "actor: expected Bob, got user:7"),
        ({"target": "invoice:43"}, "target: expected invoice:43, got invoice:42, customer:5"),
        ({"target": Invoice(43)}, "target: expected Invoice(id=43), got invoice:42, customer:5"),
        ({"on_behalf_of": "user:7"}, "on_behalf_of: expected user:7, got user:9"),
        ({"outcome": "success"}, "outcome: expected success, got denied"),
        ({"reason": "expired"}, "reason: expected expired, got not_permitted"),
        ({"tenant": "beta"}, "tenant: expected beta, got acme"),
        (
            {"changes": {"status": ("draft", "void")}},
            "changes: expected status 'draft' → 'void', got 'draft' → 'sent'",
        ),
        ({"changes": {"total": 11}}, "changes: expected total … → 11, got None → '10.50'"),
        ({"changes": {"note": ("m", "n")}}, "changes: expected note 'm' → 'n', got nothing → 'n'"),
        ({"changes": {"due": 1}}, "changes: expected one of due, got status, total, note"),
        ({"metadata": {"size": 4}}, "metadata: expected size=4, got 3"),
        ({"metadata": {"color": ...}}, "metadata: expected color, got batch, size"),
    ],
)
def test_a_miss_says_what_the_nearest_event_has_instead(
    events: Recorded, expected: dict[str, Any], why: str
) -> None:
    message = message_of(events, "invoice.delete", **expected)

    assert f"nearest is event 2:\n  {why}\n" in message


def test_a_miss_shows_what_was_expected_and_all_that_was_recorded(events: Recorded) -> None:
    message = message_of(
        events, "invoice.delete", actor="user:7", outcome="error", changes={"status": "sent"}
    )

    assert message == (
        "no such event was recorded: invoice.delete, actor user:7, outcome error, "
        "status: … → 'sent'\n"
        "nearest is event 2:\n"
        "  outcome: expected error, got denied\n"
        "recorded were:\n"
        "  1. user.login by user:7 success\n"
        "  2. invoice.delete by user:7 on invoice:42, customer:5 denied (not_permitted)\n"
        "       status: 'draft' → 'sent'\n"
        "       total: None → '10.50'\n"
        "       note: nothing → 'n'"
    )


def test_an_event_of_the_same_action_is_nearer_than_any_other(events: Recorded) -> None:
    message = message_of(events, "invoice.delete", outcome="success", tenant="default")

    assert "nearest is event 2:" in message


def test_an_event_of_another_action_is_nearest_where_there_is_no_other(events: Recorded) -> None:
    message = message_of(events, "invoice.create", target="invoice:42")

    assert "nearest is event 2:\n  action: expected invoice.create, got invoice.delete\n" in message


def test_a_miss_says_when_nothing_was_recorded() -> None:
    assert message_of(Recorded(), "a.b").endswith("nothing was recorded at all")


def test_many_events_are_not_all_shown() -> None:
    message = message_of(Recorded([LOGIN] * 50), "a.b")

    assert message.count("user.login") < 25
    assert "and 30 more" in message


def test_a_misspelled_argument_is_no_miss(events: Recorded) -> None:
    with pytest.raises(TypeError):
        events.assert_recorded("user.login", outcom="success")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="nothing of an event is called outcom"):
        events.assert_not_recorded("user.login", outcom="success")


def test_what_should_not_be_recorded_is_shown_when_it_is(events: Recorded) -> None:
    events.assert_not_recorded("user.logout")
    events.assert_not_recorded("user.login", actor="user:8")

    with pytest.raises(AssertionError, match=r"should not be:\n  1\. user\.login by user:7"):
        events.assert_not_recorded("user.login", actor="user:7")


def test_events_are_counted(events: Recorded) -> None:
    events.assert_count(2)
    events.assert_count(1, "user.login")
    events.assert_count(0, "user.logout")
    Recorded().assert_nothing_recorded()

    with pytest.raises(AssertionError, match=r"expected 3 events, but 2 were recorded:\n  1\. use"):
        events.assert_count(3)
    with pytest.raises(AssertionError, match="expected no events, but 2 were recorded"):
        events.assert_nothing_recorded()
    with pytest.raises(AssertionError, match=r"expected no events user\.login, but 1"):
        events.assert_count(0, "user.login")


def test_the_only_event_is_given(events: Recorded) -> None:
    assert events.one("user.login") is LOGIN
    assert Recorded([LOGIN]).one() is LOGIN

    with pytest.raises(AssertionError, match="expected one event, but 2 were recorded"):
        events.one()
    with pytest.raises(AssertionError, match=r"expected one event user\.logout, but 0"):
        events.one("user.logout")


def test_recorded_events_show_themselves(events: Recorded) -> None:
    assert repr(events).startswith("Recorded(2):\n  1. user.login by user:7 success\n")
    assert repr(Recorded()) == "Recorded()"


def test_no_pytest_is_needed() -> None:
    code = (
        "import sys\n"
        "sys.modules['pytest'] = None\n"
        "from whodid.testing import capture_events, an_event, Recorded\n"
        "Recorded([an_event()]).assert_recorded('invoice.update', actor='alice')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr


# With a log


@pytest.fixture(params=[0, 100], ids=["direct", "buffered"])
def audit(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[AuditLog]:
    with AuditLog(tmp_path / "log.db", tenant="acme", buffer=request.param) as audit:
        yield audit


def test_a_block_catches_what_is_recorded_at_once_and_stores_nothing(audit: AuditLog) -> None:
    with capture_events(audit) as events, audit.context(actor="user:7"):
        audit.record("invoice.delete", target=Invoice(42), outcome="denied")

        events.assert_recorded(
            "invoice.delete", target="invoice:42", actor="user:7", outcome="denied"
        )
    audit.flush()

    assert audit.search() == []


def test_events_are_caught_as_they_would_be_stored(audit: AuditLog) -> None:
    fields: dict[str, Any] = {"metadata": {"password": "hunter2", "n": 1}, "target": "invoice:42"}
    with capture_events(audit) as events:
        audit.record("invoice.update", **fields)
    audit.record("invoice.update", **fields)
    audit.flush()

    [stored] = audit.search()
    caught = events.one()
    assert structs.replace(caught, id=stored.id, occurred_at=stored.occurred_at) == stored
    assert caught.metadata == {"password": MASK, "n": 1}


def test_events_of_other_threads_and_of_integrations_are_caught(audit: AuditLog) -> None:
    with capture_events(audit) as events:
        thread = threading.Thread(target=audit.record, args=("a.thread",))
        thread.start()
        thread.join()
        audit.write([audit.draft("a.write")])
        audit.failed([audit.draft("a.failed")], RuntimeError())

    assert events.actions == ["a.thread", "a.write", "a.failed"]


def test_after_the_block_events_go_where_they_went_before(audit: AuditLog) -> None:
    with pytest.raises(ValueError, match="the test failed"), capture_events(audit) as events:
        raise ValueError("the test failed")
    audit.record("a.after")
    audit.flush()

    events.assert_nothing_recorded()
    assert [each.action for each in audit.search()] == ["a.after"]


def test_an_event_that_cannot_be_stored_fails_the_block(audit: AuditLog) -> None:
    bad = Event(action="audit.logging.stop", actor=Actor(type="system"))
    with (
        pytest.raises(AssertionError, match=r"recorded what can't be stored: audit\.logging\.stop"),
        capture_events(audit),
    ):
        audit.deliver([bad])


def test_what_is_switched_off_is_not_caught(audit: AuditLog) -> None:
    with capture_events(audit) as events, audit.disable():
        audit.record("a.b")

    events.assert_nothing_recorded()
