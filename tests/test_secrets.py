"""Secrets are seeded through every way into the log, and looked for in every file it leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from whodid import AuditLog
from whodid.event import Actor, Client, Delegation, ErrorDetail, Principal, Reason, Request, Target
from whodid.redaction import Rules
from whodid.stores.sqlite import SqliteStore

# The text as a host may have it, and the part that must be in no file.
SEEDS: dict[str, tuple[str, str]] = {
    "password": ("login with password=hunter2xyzzy91 failed", "hunter2xyzzy91"),
    "jwt": (
        "got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N again",
        "dozjgNryP4J3jVmNHl0w5N",
    ),
    "aws": ("with AKIAQYLPMN5HHHFPZAM2 as the key", "QYLPMN5HHHFPZAM2"),
    "pem": (
        "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0\n-----END PRIVATE KEY-----",
        "MIIEvQIBADANBgkqhkiG9w0",
    ),
    "card": ("paid with 4556 7375 8689 9855 today", "7375 8689"),
    "card in one": ("paid with 4556737586899855", "4556737586899855"),
    "url": ("connect to postgres://app:s3cr3tQ7w8@db.internal/app", "s3cr3tQ7w8"),
    "bearer": ("sent Bearer q8Zr5tYw1nUvB2k9 along", "q8Zr5tYw1nUvB2k9"),
}
KEPT = "kept-for-certain"  # beside each seed, so that a way that leads nowhere is noticed
PASSWORD = "Tr0ub4dor-horse"


@dataclass
class Account:
    """An object of the host's."""

    id: int
    plan: str
    note: str = ""
    password: str = PASSWORD


def through_texts(audit: AuditLog, text: str) -> None:
    audit.record(
        "a.texts",
        actor=Actor(type="user", id="7", name=text[:200], email=text[:200]),
        on_behalf_of=Principal(type="user", id="8", name=text[:200]),
        delegation=Delegation(kind="sudo", reason=text, ticket=text[:200]),
        target=Target(type="invoice", id="42", name=text[:200]),
        reason=Reason(code="invalid", message=text),
        message=f"{KEPT} {text}",
        error=ErrorDetail(type="ValueError", message=text),
        correlation_id=text[:200],
    )


def through_changes(audit: AuditLog, text: str) -> None:
    audit.record(
        "a.changes",
        target="invoice:42",
        message=KEPT,
        changes={
            "status": (text, "sent"),
            "note": ("draft", text),
            "deep": ({"list": [text]}, {"list": [{"text": text}]}),
            "password": (PASSWORD, PASSWORD + "2"),
            "settings": ({"api_key": PASSWORD}, {"nested": {"clientSecret": [PASSWORD]}}),
        },
    )


def through_metadata(audit: AuditLog, text: str) -> None:
    audit.record(
        "a.metadata",
        message=KEPT,
        metadata={
            "note": text,
            "deep": {"list": [text], text[:40]: 1},
            "password": PASSWORD,
            "X-Api-Key": PASSWORD,
            "form": {"userToken": PASSWORD, "card_number": 4556737586899855},
        },
    )


def through_attributes(audit: AuditLog, text: str) -> None:
    attributes = {"note": text, "secret": PASSWORD, "list": [{"pin": PASSWORD, "text": text}]}
    audit.record(
        "a.attributes",
        message=KEPT,
        actor=Actor(type="user", id="7", attributes=attributes),
        target=Target(type="invoice", id="42", attributes=attributes, url=f"https://x/?q={text}"),
    )


def through_the_request(audit: AuditLog, text: str) -> None:
    request = Request(
        id=text[:200], method="GET", url=f"https://x.example/a?token={PASSWORD}&q={text}#{text}"
    )
    client = Client(ip="203.0.113.7", user_agent=text, forwarded_for=(text[:200],))
    with audit.context(request=request, client=client, metadata={"note": text, "otp": PASSWORD}):
        audit.record("a.request", message=KEPT)


def through_an_exception(audit: AuditLog, text: str) -> None:
    with pytest.raises(ValueError), audit.scope("a.exception", message=KEPT):  # noqa: PT011 - ours
        raise ValueError(text)


def through_a_snapshot(audit: AuditLog, text: str) -> None:
    account = Account(id=1, plan="basic")
    with audit.scope("a.snapshot", target=account, message=KEPT):
        account.plan, account.note, account.password = "pro", text, PASSWORD + "2"


def through_settings(audit: AuditLog, text: str) -> None:
    audit.settings_changed("smtp.url", KEPT, text)
    audit.settings_changed("smtp.password", PASSWORD, PASSWORD + "2")


WAYS: list[Callable[[AuditLog, str], None]] = [
    through_texts, through_changes, through_metadata, through_attributes, through_the_request,
    through_an_exception, through_a_snapshot, through_settings,
]  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    """All that lies in the folder: the database, its WAL and shared memory, the spool."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def hits(files: dict[str, bytes], needle: str) -> list[str]:
    """Where a secret is, as it is or with its letters in another case, as indexes have them."""
    wanted = needle.encode().lower()
    return [name for name, content in files.items() if wanted in content.lower()]


@contextmanager
def a_log(folder: Path, *, mode: str) -> Iterator[AuditLog]:
    store = SqliteStore(folder / "log.db")
    audit = AuditLog(store, buffer=1_000 if mode == "buffered" else 0)
    if mode == "spooled":
        store._writing.execute("PRAGMA query_only = ON")
    yield audit
    audit.close()
    store.close()


@pytest.mark.parametrize("mode", ["direct", "buffered", "spooled"])
@pytest.mark.parametrize("seed", SEEDS)
def test_no_secret_is_in_any_file(tmp_path: Path, mode: str, seed: str) -> None:
    text, needle = SEEDS[seed]
    with a_log(tmp_path, mode=mode) as audit:
        for way in WAYS:
            way(audit, text)
        audit.flush()
        while_open = contents(tmp_path)
    files = {f"open {name}": content for name, content in while_open.items()} | contents(tmp_path)

    assert hits(files, needle) == []
    assert hits(files, PASSWORD) == []


@pytest.mark.parametrize("mode", ["direct", "buffered", "spooled"])
@pytest.mark.parametrize("way", WAYS)
def test_what_is_no_secret_is_there_so_that_every_way_leads_into_the_files(
    tmp_path: Path, mode: str, way: Callable[[AuditLog, str], None]
) -> None:
    with a_log(tmp_path, mode=mode) as audit:
        way(audit, "no-secret-at-all")
        audit.flush()
        files = contents(tmp_path)

    found = hits(files, KEPT)
    assert any(("spool" in name) == (mode == "spooled") for name in found), found
    assert hits(files, PASSWORD) == []


def test_what_was_spooled_stays_without_secrets_when_it_is_put_back(tmp_path: Path) -> None:
    text, needle = SEEDS["password"]
    with a_log(tmp_path, mode="spooled") as audit:
        through_texts(audit, text)
    with a_log(tmp_path, mode="direct") as audit:
        [event] = audit.search("action:a.texts")
        files = contents(tmp_path)

    assert event.message
    assert KEPT in event.message
    assert hits(files, needle) == []


def test_an_event_that_is_refused_leaves_no_secret(tmp_path: Path) -> None:
    # Of the contradiction only the second one is kept apart, redacted as all others.
    text, needle = SEEDS["jwt"]
    with a_log(tmp_path, mode="direct") as audit:
        event_id = audit.record("a.first", message=KEPT)
        audit.record("a.second", message=text, id=event_id, metadata={"password": PASSWORD})
        files = contents(tmp_path)

    assert any("rejected" in name for name in files)
    assert hits(files, needle) == []
    assert hits(files, PASSWORD) == []


def test_a_line_in_the_hosts_log_holds_no_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text, needle = SEEDS["url"]
    with a_log(tmp_path, mode="direct") as audit:
        audit.failed([audit.draft("a.b")], RuntimeError(text))

    assert "spooled" in caplog.text
    assert needle not in caplog.text


# `Any`: the rules of one field each.
@pytest.mark.parametrize("treatment", ["drop", "mask", "hash"])
def test_a_field_of_the_applications_own_is_in_no_file(tmp_path: Path, treatment: Any) -> None:
    salary = "salary-is-81234"
    with AuditLog(tmp_path / "log.db", redaction=Rules(fields={"salary": treatment})) as audit:
        audit.record("a.b", metadata={"salary": salary}, changes={"salary": (salary, "7")})
        [event] = audit.search()
        files = contents(tmp_path)

    marks = {"drop": "omitted", "mask": "masked", "hash": "hashed"}
    assert event.changes[0].redacted == marks[treatment]
    assert hits(files, salary) == []
    assert ("log.db-hash-key" in files) == (treatment == "hash")
