"""The log of signing in on Linux (`auth.log`, `secure`) as events: sshd, sudo, su, PAM, useradd.

A password that was accepted or refused is `user.login`; that an account is created, changed or
deleted has whodid's own names; what else there is to say has names by program, such as
`ssh.connection.close`, and a line of no known form is `host.log`. Decisions:

- One sign-in is one `user.login`: what PAM says of the same one is `pam.authenticate`, that sshd
  knows no such user is `ssh.user.lookup`.
- Times without a year are in the newest year that does not put them after `until`, a day allowed
  for clocks; so a log over New Year rolls over by itself. They are in the zone that is given.
- Equal lines of one file are events of their own. Ids come from the line and which of its equals
  it is, not from the year: the same log read with another year contradicts itself and is refused.
- The names that somebody types at a prompt are what they are: also a password typed by mistake.
- "message repeated 5 times" is one event with `count` 5.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from typing import Any

from whodid.event import Event, from_mapping
from whodid.ids import derived_id
from whodid.importers.base import Reader, UnmappableError, decode_line, line_bytes
from whodid.importers.splitting import split_lines
from whodid.importers.values import (
    MAX_SHORT,
    MAX_TEXT,
    Values,
    a_target,
    cut,
    first_time,
    ip,
    newest_before,
    present,
    text,
    whole,
)
from whodid.times import Instant

_LINE = re.compile(
    r"(?:<\d{1,3}>)?(?:(?P<month>[A-Z][a-z]{2}) +(?P<day>\d{1,2}) (?P<clock>\d\d:\d\d:\d\d)"
    r"|(?P<stamp>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?)) "
    r"(?P<host>[^\s\[\]]{1,255}) (?P<program>[A-Za-z0-9_./()@-]{1,100})(?:\[\d{1,10}\])?: ?"
    r"(?P<message>.*)",
    re.ASCII | re.DOTALL,
)
_REPEATED = re.compile(r"message repeated (\d{1,9}) times: \[ ?(.*)\]", re.ASCII | re.DOTALL)
_MONTHS = {
    name: number
    for number, name in enumerate(
        "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), start=1
    )
}
_CLOCKS_MAY_DIFFER = timedelta(days=1)


def read(record: Mapping[str, Any]) -> Event:
    """The event of one line.

    Raises:
        UnmappableError: It is no line of syslog, or there is no such time.
        EventError: It holds what the schema does not allow.
    """
    found = _LINE.fullmatch(record["line"])
    if found is None:
        raise UnmappableError("no line of syslog: expected time, host, program and message")
    program, message = _program(found["program"]), found["message"].strip()
    repeated = _REPEATED.fullmatch(message)
    count = whole(repeated[1], at_least=1) if repeated else None
    facts = _facts(program, repeated[2] if repeated else message)
    values: Values = {
        "id": derived_id("auth-log", line_bytes(record)),
        "occurred_at": _occurred_at(found, record),
        "message": text(message, MAX_TEXT),
        "source": present(app="auth-log", component=program, host=found["host"]),
        "count": count or 1,
        **facts,
        "metadata": present(source_action=program, **facts.get("metadata", {})),
    }
    return from_mapping(present(**values))


def _program(name: str) -> str:
    """`sshd` of `sshd-session` and `/usr/sbin/sshd`."""
    word = name.rpartition("/")[2].strip("()") or name
    return "sshd" if word in ("sshd-session", "sshd-auth") else word


def _occurred_at(found: re.Match[str], record: Mapping[str, Any]) -> Instant | None:
    if found["stamp"]:
        return first_time({"time": found["stamp"]}, "time")
    hour, minute, second = map(int, found["clock"].split(":"))
    shown = (_MONTHS.get(found["month"], 0), int(found["day"]), hour, minute, second)
    until: Instant = record["until"]
    moment = newest_before(shown, until=_day_after(until), zone=record["zone"])
    if moment is None:
        raise UnmappableError("the time: there is no such day or second")
    return moment


@lru_cache(maxsize=16)
def _day_after(until: Instant) -> Instant:
    try:
        return Instant.of(until + _CLOCKS_MAY_DIFFER)
    except OverflowError:
        return until


# -- what the lines say --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """A form of message, and what it means.

    The groups of the pattern: `user` is the actor, `whom` the account acted on, `group` a group,
    `ip` and `port` the client's, `method` how somebody signed in, `as` whose rights were used,
    `command` what was run, `times` how often; others go to metadata.

    Attributes:
        machine: The actor where the pattern names none: its type, and its id.
    """

    pattern: re.Pattern[str]
    action: str
    outcome: str = "success"
    code: str | None = None
    machine: tuple[str, str | None] = ("anonymous", None)
    delegation: str | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict)


def _form(pattern: str, action: str, outcome: str = "success", **more: Any) -> _Form:
    compiled = re.compile(pattern, re.ASCII | re.DOTALL)
    return _Form(pattern=compiled, action=action, outcome=outcome, **more)


_SYSTEM = ("system", None)
# Names are what the other side sends, blanks and "from 192.0.2.1" included: hence greedy, with the
# end of the line behind, so that the address is sshd's own.
_FROM = r"from (?P<ip>\S+) port (?P<port>\d{1,5})"
_PEER = r"(?:(?:authenticating |invalid )?user (?P<user>.*) )?(?P<ip>\S+) port (?P<port>\d{1,5})"
_PREAUTH = r"(?: \[preauth\])?"

_SSHD = (
    _form(rf"Accepted (?P<method>\S+) for (?P<user>.*) {_FROM}(?: ssh2)?(?:: (?P<key>[^:]+:.*))?",
          "user.login"),
    _form(rf"Failed (?P<method>\S+) for invalid user (?P<user>.*) {_FROM}(?: ssh2)?(?:: .*)?",
          "user.login", "failure", code="unknown_user"),
    _form(rf"Failed (?P<method>password) for (?P<user>.*) {_FROM}(?: ssh2)?(?:: .*)?",
          "user.login", "failure", code="bad_password"),
    _form(rf"Failed (?P<method>\S+) for (?P<user>.*) {_FROM}(?: ssh2)?(?:: .*)?",
          "user.login", "failure", code="invalid"),
    _form(r"Invalid user (?P<user>.*) from (?P<ip>\S+)(?: port (?P<port>\d{1,5}))?",
          "ssh.user.lookup", "failure", code="unknown_user"),
    _form(rf"input_userauth_request: invalid user (?P<user>.*?){_PREAUTH}",
          "ssh.user.lookup", "failure", code="unknown_user"),
    _form(r"User (?P<user>.*) from (?P<ip>\S+) not allowed because .*",
          "ssh.user.lookup", "denied", code="not_permitted"),
    _form(rf"(?:error: )?maximum authentication attempts exceeded for (?:invalid user )?"
          rf"(?P<user>.*) {_FROM}(?: ssh2)?{_PREAUTH}",
          "ssh.connection.close", "denied", code="rate_limited"),
    _form(r"Disconnecting.*: Too many authentication failures.*",
          "ssh.connection.close", "denied", code="rate_limited"),
    _form(r"PAM service\(sshd\) ignoring max retries; .*",
          "ssh.connection.close", "denied", code="rate_limited"),
    _form(rf"(?:Connection (?:closed|reset) by|Disconnected from) {_PEER}{_PREAUTH}",
          "ssh.connection.close"),
    _form(r"(?:error: )?Received disconnect from (?P<ip>[^\s:]+|[0-9a-f:]+?)"
          r"(?: port (?P<port>\d{1,5}))?:.*", "ssh.connection.close"),
    _form(r"Connection from (?P<ip>\S+) port (?P<port>\d{1,5}) on .*", "ssh.connection.open"),
    _form(r"(?:Did not receive identification string|Bad protocol version identification .*)"
          r" from (?P<ip>\S+)(?: port (?P<port>\d{1,5}))?",
          "ssh.connection.open", "failure", code="invalid"),
    _form(r"(?:fatal: )?Unable to negotiate with (?P<ip>\S+)(?: port (?P<port>\d{1,5}))?: .*",
          "ssh.connection.open", "failure", code="invalid"),
    _form(rf"Starting session: .* for (?P<user>.*) {_FROM} id \d+", "ssh.session.open"),
    _form(rf"Close session: user (?P<user>.*) {_FROM} id \d+", "ssh.session.close"),
    _form(r"Server listening on .*", "ssh.server.start", machine=_SYSTEM),
    _form(r"Received signal \d+; terminating\.?", "ssh.server.stop", machine=_SYSTEM),
)  # fmt: skip

# The first "; USER=" is sudo's own; one in the command is whatever somebody typed.
_SUDO_REST = (
    r"TTY=(?P<tty>\S+) ; PWD=(?P<cwd>.*?) ; USER=(?P<as>\S+) ;"
    r"(?: (?!COMMAND=)[A-Z]+=[^;]*;)* COMMAND="
)
_SUDO = (
    _form(rf"(?P<user>\S+) : {_SUDO_REST}(?P<command>.*)", "sudo.run", delegation="sudo"),
    _form(rf"(?P<user>\S+) : (?:user NOT in sudoers|command not allowed) ; {_SUDO_REST}"
          r"(?P<command>.*)", "sudo.run", "denied", code="not_permitted", delegation="sudo"),
    _form(rf"(?P<user>\S+) : (?P<times>\d{{1,4}}) incorrect password attempts? ; {_SUDO_REST}"
          r"(?P<command>.*)", "sudo.run", "failure", code="bad_password", delegation="sudo"),
    _form(rf"(?P<user>\S+) : (?:a password is required|no tty present.*?) ; {_SUDO_REST}"
          r"(?P<command>.*)", "sudo.run", "failure", code="bad_password", delegation="sudo"),
)  # fmt: skip
_SU = (
    _form(r"Successful su for (?P<as>\S+) by (?P<user>\S+)", "user.impersonate", delegation="sudo"),
    _form(r"FAILED su for (?P<as>\S+) by (?P<user>\S+)",
          "user.impersonate", "failure", code="bad_password", delegation="sudo"),
    _form(r"\(to (?P<as>\S+)\) (?P<user>\S+) on (?P<tty>\S+)",
          "user.impersonate", delegation="sudo"),
    _form(r"FAILED SU \(to (?P<as>\S+)\) (?P<user>\S+) on (?P<tty>\S+)",
          "user.impersonate", "failure", code="bad_password", delegation="sudo"),
)  # fmt: skip

_ACCOUNTS = (
    _form(r"new user: name=(?P<whom>[^,]+), UID=(?P<uid>\d+).*", "user.create", machine=_SYSTEM),
    _form(r"failed adding user '?(?P<whom>[^',]+)'?,.*",
          "user.create", "failure", machine=_SYSTEM),
    _form(r"delete user '?(?P<whom>[^']+)'?", "user.delete", machine=_SYSTEM),
    _form(r"lock user '(?P<whom>[^']+)' password", "user.lock", machine=_SYSTEM),
    _form(r"unlock user '(?P<whom>[^']+)' password", "user.unlock", machine=_SYSTEM),
    _form(r"change user '(?P<whom>[^']+)' password", "user.password.change", machine=_SYSTEM),
    _form(r"change user '(?P<whom>[^']+)' .*", "user.update", machine=_SYSTEM),
    _form(r"add '(?P<whom>[^']+)' to (?:shadow )?group '(?P<group>[^']+)'",
          "group.member.add", machine=_SYSTEM),
    _form(r"delete '(?P<whom>[^']+)' from (?:shadow )?group '(?P<group>[^']+)'",
          "group.member.remove", machine=_SYSTEM),
    _form(r"user (?P<whom>\S+) added by (?P<user>\S+) to group (?P<group>\S+)", "group.member.add"),
    _form(r"user (?P<whom>\S+) removed by (?P<user>\S+) from group (?P<group>\S+)",
          "group.member.remove"),
    _form(r"new group: name=(?P<group>[^,]+), GID=(?P<gid>\d+).*", "group.create", machine=_SYSTEM),
    _form(r"(?:removed )?group '(?P<group>[^']+)'.*(?:removed|owned by).*",
          "group.delete", machine=_SYSTEM),
)  # fmt: skip
_LOGIND = (
    _form(r"New session (?P<session>\S+) of user (?P<user>.+?)\.?", "session.open"),
    _form(r"Removed session (?P<session>\S+?)\.", "session.close", machine=_SYSTEM),
    _form(r"Session (?P<session>\S+) logged out\..*", "session.close", machine=_SYSTEM),
    _form(r"System is (?:powering down|rebooting|halting).*", "system.shutdown", machine=_SYSTEM),
)
_CRON = ("scheduled_job", "cron")
_PAM = (
    _form(r"pam_unix\(cron:session\): session opened for user (?P<whom>[^\s(]+).*",
          "session.open", machine=_CRON),
    _form(r"pam_unix\(cron:session\): session closed for user (?P<whom>\S+)",
          "session.close", machine=_CRON),
    _form(r"pam_unix\((?:sudo|su)[\w-]*:session\): session opened for user (?P<as>[^\s(]+)"
          r"(?:\(uid=\d+\))? by (?P<user>[^\s(]+)\(uid=\d+\)", "session.open", delegation="sudo"),
    _form(r"pam_unix\((?:sudo|su)[\w-]*:session\): session closed for user (?P<whom>\S+)",
          "session.close", machine=_SYSTEM),
    _form(r"pam_\w+\([\w-]+:session\): session opened for user (?P<user>[^\s(]+).*",
          "session.open"),
    _form(r"pam_\w+\([\w-]+:session\): session closed for user (?P<user>\S+)", "session.close"),
    _form(r"pam_\w+\([\w-]+:auth\): authentication failure; .*rhost=(?P<ip>\S*) *"
          r"(?:user=(?P<user>.*))?", "pam.authenticate", "failure", code="bad_password"),
    _form(r"PAM (?P<times>\d{1,4}) more authentication failures?; .*rhost=(?P<ip>\S*) *"
          r"(?:user=(?P<user>.*))?", "pam.authenticate", "failure", code="bad_password"),
    _form(r"pam_\w+\([\w-]+:auth\): check pass; user unknown",
          "pam.authenticate", "failure", code="unknown_user"),
    _form(r"pam_\w+\([\w-]+:chauthtok\): password changed for (?P<whom>\S+)",
          "user.password.change", machine=_SYSTEM),
    _form(r'pam_\w+\([\w-]+:chauthtok\): user "(?P<whom>.*)" does not exist.*',
          "user.password.change", "failure", code="unknown_user", machine=_SYSTEM),
)  # fmt: skip

_FORMS: Mapping[str, tuple[_Form, ...]] = {
    "sshd": (*_SSHD, *_PAM),
    "sudo": (*_SUDO, *_PAM),
    "su": (*_SU, *_PAM),
    "systemd-logind": _LOGIND,
    **dict.fromkeys(("CRON", "cron", "crond", "systemd", "login", "passwd", "chpasswd"), _PAM),
    **dict.fromkeys(
        ("useradd", "userdel", "usermod", "groupadd", "groupdel", "groupmod", "gpasswd", "chage"),
        (*_ACCOUNTS, *_PAM),
    ),
}
_MAX_READ = 8_192  # characters of a message in which forms are looked for


def _facts(program: str, message: str) -> Values:
    """What of an event the message tells, for `from_mapping`."""
    for form in _FORMS.get(program, _PAM) if len(message) <= _MAX_READ else ():
        found = form.pattern.fullmatch(message)
        if found:
            return _told(form, found)
    return {"action": "host.log", "actor": {"type": "system"}}


def _told(form: _Form, found: re.Match[str]) -> Values:
    given = {key: value.strip() for key, value in found.groupdict().items() if value}
    acted_as = text(given.pop("as", None))
    command = given.pop("command", None)
    address = given.pop("ip", None)
    values: Values = {
        "action": form.action,
        "outcome": form.outcome,
        "reason": present(code=form.code),
        "actor": _actor(form, given),
        "targets": [*_targets(given), *_command(command)],
        "client": present(ip=ip(address), port=whole(given.pop("port", None), at_most=65_535)),
        "metadata": present(
            source_address=None if ip(address) else text(address),
            command=text(command, MAX_TEXT // 2),
        ),
    }
    if acted_as:
        values["on_behalf_of"] = {"type": "user", "id": acted_as}
        values["delegation"] = {"kind": form.delegation or "sudo"}
    times = whole(given.pop("times", None), at_least=1)
    values["metadata"] |= {key: cut(value, MAX_SHORT) for key, value in given.items()}
    return present(**values, **({"count": times} if times else {}))


_METHODS = {
    "password": "password", "publickey": "other", "hostbased": "other", "none": "none",
    "keyboard-interactive/pam": "otp", "keyboard-interactive": "otp", "gssapi-with-mic": "other",
}  # fmt: skip


def _actor(form: _Form, given: dict[str, str]) -> Values:
    """Who it was; takes what it uses out of `given`."""
    name = text(given.pop("user", None))
    method = given.pop("method", None)
    auth = present(
        method=_METHODS.get(method, "other") if method else None,
        credential_id=text(given.pop("key", None)),
    )
    if name:
        return present(type="user", id=name, auth=auth)
    kind, own_id = form.machine
    return present(type=kind, id=own_id, auth=auth)


def _targets(given: dict[str, str]) -> list[Values]:
    """The accounts that it was done to; takes what it uses out of `given`."""
    kinds = (("whom", "user"), ("group", "group"))
    return [a_target(kind, given.pop(key)) for key, kind in kinds if given.get(key)]


def _command(command: str | None) -> list[Values]:
    """The program, without its arguments."""
    return [a_target("command", command.split(maxsplit=1)[0])] if command else []


def recognises(record: Mapping[str, Any]) -> bool:
    """Is this a line of a program that writes here? Others write syslog as well."""
    line = record.get("line")
    found = _LINE.fullmatch(line) if isinstance(line, str) else None
    return found is not None and _program(found["program"]) in _FORMS


AUTH_LOG = Reader(
    name="auth-log",
    description="auth.log and secure of Linux: sshd, sudo, su, PAM, useradd and their kin",
    read=read,
    split=split_lines,
    decode=decode_line,
    recognises=recognises,
    is_dated=True,
)
