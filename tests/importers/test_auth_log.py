from __future__ import annotations

import json
from collections import Counter
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.importers.conftest import CONTEXT, data_file, event_of_line, vendor_lines
from tests.importers.samples import AUTH_LOG
from whodid.event import Event
from whodid.importers import Context, UnmappableError
from whodid.times import Instant

PEER = "198.51.100.4 port 40022"


def of(line: str, *, context: Context = CONTEXT, occurrence: int = 1) -> Event:
    return event_of_line("auth-log", line, context=context, occurrence=occurrence)


def said(message: str, program: str = "sshd[1]") -> Event:
    return of(f"Jan 21 17:39:10 quay {program}: {message}")


def test_a_line_becomes_an_event_with_all_its_parts() -> None:
    event = of(AUTH_LOG[0])

    assert (event.action, event.outcome) == ("user.login", "success")
    assert str(event.occurred_at) == "2025-01-21T17:39:10.000000Z"
    assert (event.actor.type, event.actor.id) == ("user", "ana")
    assert event.actor.auth
    assert event.actor.auth.method == "other"
    assert str(event.actor.auth.credential_id).startswith("ED25519 SHA256:Kl8k")
    assert event.client
    assert (event.client.ip, event.client.port) == ("203.0.113.9", 54259)
    assert event.source
    assert (event.source.app, event.source.component, event.source.host) == (
        "auth-log", "sshd", "quay",
    )  # fmt: skip
    assert str(event.message).startswith("Accepted publickey for ana")
    assert event.metadata == {"source_action": "sshd"}


@pytest.mark.parametrize(
    ("message", "action", "outcome", "code", "actor"),
    [
        (f"Accepted password for ana from {PEER} ssh2", "user.login", "success", None, "ana"),
        (
            f"Failed password for ana from {PEER} ssh2",
            "user.login",
            "failure",
            "bad_password",
            "ana",
        ),
        (
            f"Failed password for invalid user a b from {PEER} ssh2",
            "user.login",
            "failure",
            "unknown_user",
            "a b",
        ),
        (
            f"Failed none for invalid user  from {PEER} ssh2",
            "user.login",
            "failure",
            "unknown_user",
            None,
        ),
        (
            f"Failed publickey for ana from {PEER} ssh2: RSA SHA256:x",
            "user.login",
            "failure",
            "invalid",
            "ana",
        ),
        (
            "Invalid user oracle from 198.51.100.4",
            "ssh.user.lookup",
            "failure",
            "unknown_user",
            "oracle",
        ),
        ("Invalid user  from 198.51.100.4", "ssh.user.lookup", "failure", "unknown_user", None),
        (
            "User root from 198.51.100.4 not allowed because not listed in AllowUsers",
            "ssh.user.lookup",
            "denied",
            "not_permitted",
            "root",
        ),
        (
            f"Connection closed by authenticating user root {PEER} [preauth]",
            "ssh.connection.close",
            "success",
            None,
            "root",
        ),
        (f"Disconnected from user ana {PEER}", "ssh.connection.close", "success", None, "ana"),
        (f"Received disconnect from {PEER}:11: bye", "ssh.connection.close", "success", None, None),
        (
            f"error: maximum authentication attempts exceeded for root from {PEER} ssh2 [preauth]",
            "ssh.connection.close",
            "denied",
            "rate_limited",
            "root",
        ),
        (
            f"Connection from {PEER} on 10.0.0.1 port 22",
            "ssh.connection.open",
            "success",
            None,
            None,
        ),
        (
            "Did not receive identification string from 198.51.100.4",
            "ssh.connection.open",
            "failure",
            "invalid",
            None,
        ),
        ("Server listening on 0.0.0.0 port 22.", "ssh.server.start", "success", None, None),
        (
            "pam_unix(sshd:auth): authentication failure; logname= uid=0 tty=ssh "
            "rhost=198.51.100.4  user=root",
            "pam.authenticate",
            "failure",
            "bad_password",
            "root",
        ),
        (
            "pam_unix(sshd:auth): check pass; user unknown",
            "pam.authenticate",
            "failure",
            "unknown_user",
            None,
        ),
        (
            "pam_unix(sshd:session): session opened for user ana(uid=1000) by (uid=0)",
            "session.open",
            "success",
            None,
            "ana",
        ),
    ],
)
def test_what_sshd_says_is_understood(
    message: str, action: str, outcome: str, code: str | None, actor: str | None
) -> None:
    event = said(message)

    assert (event.action, event.outcome) == (action, outcome)
    assert (event.reason.code if event.reason else None) == code
    assert (event.actor.id or None) == actor


def test_a_name_that_pretends_to_be_an_address_is_a_name() -> None:
    name = "root from 192.0.2.1 port 22 ssh2"
    event = said(f"Failed password for invalid user {name} from {PEER} ssh2")

    assert event.actor.id == name
    assert event.client
    assert event.client.ip == "198.51.100.4"


@pytest.mark.parametrize(
    ("message", "program", "expected"),
    [
        (
            "ana : TTY=pts/0 ; PWD=/home/ana ; USER=root ; COMMAND=/bin/cat /etc/shadow",
            "sudo",
            ("sudo.run", "success", "ana", "root", [("command", "/bin/cat")]),
        ),
        (
            "ana : user NOT in sudoers ; TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/sh",
            "sudo",
            ("sudo.run", "denied", "ana", "root", [("command", "/bin/sh")]),
        ),
        (
            "ana : 3 incorrect password attempts ; TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/sh",
            "sudo",
            ("sudo.run", "failure", "ana", "root", [("command", "/bin/sh")]),
        ),
        (
            "Successful su for root by ana",
            "su[7]",
            ("user.impersonate", "success", "ana", "root", []),
        ),
        ("FAILED su for root by ana", "su[7]", ("user.impersonate", "failure", "ana", "root", [])),
        (
            "pam_unix(sudo:session): session opened for user root by ana(uid=1000)",
            "sudo",
            ("session.open", "success", "ana", "root", []),
        ),
    ],
)
def test_who_acts_with_the_rights_of_another_is_the_actor(
    message: str, program: str, expected: tuple[Any, ...]
) -> None:
    event = said(message, program)

    assert event.on_behalf_of
    assert event.delegation
    assert event.delegation.kind == "sudo"
    assert expected == (
        event.action, event.outcome, event.actor.id, event.on_behalf_of.id,
        [(target.type, target.id) for target in event.targets],
    )  # fmt: skip


def test_a_command_that_pretends_to_have_other_rights_is_a_command() -> None:
    command = "/bin/echo ; USER=nobody ; COMMAND=/bin/true"
    event = said(f"ana : TTY=pts/0 ; PWD=/ ; USER=root ; ENV=A=1 ; COMMAND={command}", "sudo")

    assert event.on_behalf_of
    assert event.on_behalf_of.id == "root"
    assert (event.metadata or {})["command"] == command


@pytest.mark.parametrize(
    ("message", "program", "action", "targets"),
    [
        (
            "new user: name=bo, UID=1002, GID=1002, home=/h",
            "useradd[7]",
            "user.create",
            [("user", "bo")],
        ),
        ("new group: name=crane, GID=1003", "groupadd[7]", "group.create", [("group", "crane")]),
        ("delete user 'bo'", "userdel[7]", "user.delete", [("user", "bo")]),
        (
            "add 'bo' to group 'sudo'",
            "usermod[7]",
            "group.member.add",
            [("user", "bo"), ("group", "sudo")],
        ),
        ("lock user 'bo' password", "usermod[7]", "user.lock", [("user", "bo")]),
        ("change user 'bo' shell from '/a' to '/b'", "usermod[7]", "user.update", [("user", "bo")]),
        (
            "pam_unix(passwd:chauthtok): password changed for bo",
            "passwd[7]",
            "user.password.change",
            [("user", "bo")],
        ),
        (
            "user bo added by root to group sudo",
            "gpasswd[7]",
            "group.member.add",
            [("user", "bo"), ("group", "sudo")],
        ),
    ],
)
def test_what_is_done_to_accounts_has_our_names(
    message: str, program: str, action: str, targets: list[tuple[str, str]]
) -> None:
    event = said(message, program)

    assert event.action == action
    assert [(target.type, target.id) for target in event.targets] == targets


def test_a_scheduled_job_is_the_actor_of_its_session() -> None:
    event = of(AUTH_LOG[5])

    assert (event.action, event.actor.type, event.actor.id) == (
        "session.open", "scheduled_job", "cron",
    )  # fmt: skip
    assert [(target.type, target.id) for target in event.targets] == [("user", "root")]


@pytest.mark.parametrize(
    ("program", "action"),
    [("polkitd[801]", "host.log"), ("audit[3]", "host.log"), ("gdm-password]", None)],
)
def test_a_line_of_no_known_form_is_kept_as_it_is(program: str, action: str | None) -> None:
    if action is None:
        with pytest.raises(UnmappableError, match="no line of syslog"):
            said("anything", program)
        return

    event = said("anything", program)

    assert (event.action, event.message, event.actor.type) == (action, "anything", "system")


def test_a_repeated_message_is_one_event_that_counts() -> None:
    event = of(AUTH_LOG[3])

    assert (event.action, event.outcome, event.count) == ("user.login", "failure", 5)
    assert event.source
    assert event.source.component == "sshd"
    assert str(event.occurred_at) == "2025-01-21T16:39:13.250000Z"


@pytest.mark.parametrize(
    ("shown", "until", "meant"),
    [
        ("Jan 21 17:39:10", "2025-06-01T12:00:00Z", "2025-01-21T17:39:10.000000Z"),
        ("Dec 31 23:59:59", "2025-06-01T12:00:00Z", "2024-12-31T23:59:59.000000Z"),
        ("Jun  2 11:00:00", "2025-06-01T12:00:00Z", "2025-06-02T11:00:00.000000Z"),
        ("Jun  2 13:00:00", "2025-06-01T12:00:00Z", "2024-06-02T13:00:00.000000Z"),
        ("Jan  1 00:10:00", "2024-12-31T23:50:00Z", "2025-01-01T00:10:00.000000Z"),
        ("Feb 29 00:00:00", "2027-06-01T12:00:00Z", "2024-02-29T00:00:00.000000Z"),
        ("Feb 29 00:00:00", "2103-06-01T12:00:00Z", "2096-02-29T00:00:00.000000Z"),
    ],
)
def test_the_year_is_the_newest_that_is_not_in_the_future(
    shown: str, until: str, meant: str
) -> None:
    context = Context(until=Instant.parse(until))

    assert str(of(f"{shown} quay sshd[1]: hello", context=context).occurred_at) == meant


def test_a_log_over_new_year_rolls_over() -> None:
    context = Context(until=Instant.parse("2015-02-01T00:00:00Z"))
    days = ("Nov 30", "Dec 31", "Jan  1", "Jan 31")

    years = [
        str(of(f"{day} 12:00:00 quay sshd[1]: hello", context=context).occurred_at)[:4]
        for day in days
    ]

    assert years == ["2014", "2014", "2015", "2015"]


def test_a_time_without_a_zone_is_in_the_one_given() -> None:
    context = Context(until=CONTEXT.until, zone=ZoneInfo("Europe/Oslo"))

    winter, summer = (
        str(of(f"{day} 12:00:00 quay sshd[1]: hello", context=context).occurred_at)
        for day in ("Jan 21", "May 21")
    )

    assert (winter[11:16], summer[11:16]) == ("11:00", "10:00")


@pytest.mark.parametrize(
    "shown", ["Feb 30 12:00:00", "Foo 12 12:00:00", "Jan 21 24:00:00", "Jan 0 12:00:00"]
)
def test_a_time_that_is_none_is_not_guessed(shown: str) -> None:
    with pytest.raises(UnmappableError, match="the time"):
        of(f"{shown} quay sshd[1]: hello")


def test_equal_lines_of_one_file_are_events_of_their_own() -> None:
    ids = [of(AUTH_LOG[1], occurrence=number).id for number in (1, 2, 1)]

    assert ids[0] == ids[2] != ids[1]


def test_the_id_does_not_hang_on_the_year_that_was_found() -> None:
    later = Context(until=Instant.parse("2031-06-01T12:00:00Z"))

    assert of(AUTH_LOG[0]).id == of(AUTH_LOG[0], context=later).id


def test_every_line_of_a_host_on_the_internet_has_time_actor_and_action() -> None:
    lines = vendor_lines("auth-log-elastic", "auth.log.gz")
    labels = json.loads(data_file("auth-log-elastic", "labels.json").read_text())
    context = Context(until=Instant.parse(f"{labels['year']}-12-31T00:00:00Z"))

    events = [of(line, context=context) for line in lines]

    assert len(events) == 7_121
    assert all(event.occurred_at for event in events)
    assert "unknown" not in {event.actor.type for event in events}
    assert sum(event.action == "host.log" for event in events) < 0.01 * len(events)
    logins = Counter(event.outcome for event in events if event.action == "user.login")
    assert logins == {"success": 226, "failure": 717}


def test_the_brute_force_in_the_log_is_found_again() -> None:
    lines = vendor_lines("auth-log-elastic", "auth.log.gz")
    labels = json.loads(data_file("auth-log-elastic", "labels.json").read_text())
    attack = labels["brute_force"]
    context = Context(until=Instant.parse(f"{labels['year']}-12-31T00:00:00Z"))

    logins = [
        event
        for event in (of(line, context=context) for line in lines)
        if event.action == "user.login" and event.client and event.client.ip == attack["ip"]
    ]

    failures = [event for event in logins if event.outcome == "failure"]
    on_account = [event for event in logins if event.actor.id == attack["account"]]
    assert min(str(event.occurred_at) for event in failures)[:19] == attack["from"][:19]
    assert sum(event.outcome == "failure" for event in on_account) == attack["failures"]
    assert any(event.outcome == "success" for event in on_account) is attack["followed_by_success"]
