r"""Access logs of Apache and nginx, in combined or common format, as events.

`GET` becomes `http.read`, `POST` `http.create`, `PUT` and `PATCH` `http.update`, `DELETE`
`http.delete`, what is none of the usual methods `http.request`. Decisions:

- Who signed in to the web server is the actor; everybody else is `anonymous`, with an address.
- Below 400 is a success; 401, 403 and 407 are denied; the rest from 400 on is a failure, and from
  500 on an error: the system broke.
- Values in query strings are secrets often enough: the path is kept, and the parameters' names.
- Equal lines of one file are events of their own: the clock shows seconds, and the same page
  twice in one is two requests. The id comes from the line and which of its equals it is.
- What stands behind the agent, and a host in front of the address, is allowed and read over.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from whodid.event import Event, from_mapping
from whodid.ids import derived_id
from whodid.importers.base import Reader, UnmappableError, decode_line, line_bytes
from whodid.importers.splitting import split_lines
from whodid.importers.values import (
    MAX_SHORT,
    MAX_USER_AGENT,
    Values,
    a_target,
    cut,
    ip,
    parameter_names,
    path_of,
    present,
    text,
    whole,
)
from whodid.times import Instant

# Every part is bounded by a mark that it can't hold, so that no line takes long.
_LINE = re.compile(
    r'"?(?P<before>[^\[\]"]{1,1024}) \[(?P<day>\d\d)/(?P<month>[A-Z][a-z]{2})/(?P<year>\d{4}):'
    r"(?P<clock>\d\d:\d\d:\d\d) (?P<zone>[+-]\d{4})\] "
    r'"(?P<request>(?:[^"\\]++|\\.)*+)" (?P<status>\d{3}|-) (?P<size>\d{1,15}|-)'
    r'(?: "(?P<referrer>(?:[^"\\]++|\\.)*+)" "(?P<agent>(?:[^"\\]++|\\.)*+)")?',
    re.ASCII | re.DOTALL,
)
_MONTHS = {
    name: f"{number:02}"
    for number, name in enumerate(
        "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), start=1
    )
}
_REQUEST = re.compile(
    r"(?P<method>[A-Za-z]{1,16}) (?P<url>\S.*?)(?: (?P<protocol>HTTP/\d(?:\.\d)?))?", re.DOTALL
)
_ACTIONS: Mapping[str, str] = {
    "GET": "http.read", "HEAD": "http.read", "OPTIONS": "http.read", "PROPFIND": "http.read",
    "POST": "http.create", "PUT": "http.update", "PATCH": "http.update",
    "DELETE": "http.delete",
}  # fmt: skip
_DENIED = (401, 403, 407)
_REASONS = {
    400: "invalid", 401: "not_permitted", 403: "not_permitted", 404: "not_found",
    407: "not_permitted", 408: "timeout", 409: "conflict", 410: "not_found", 422: "invalid",
    429: "rate_limited", 504: "timeout",
}  # fmt: skip


def read(record: Mapping[str, Any]) -> Event:
    """The event of one line.

    Raises:
        UnmappableError: It is no line of the format, or there is no such time.
        EventError: It holds what the schema does not allow.
    """
    line: str = record["line"]
    found = _LINE.match(line)
    if found is None:
        raise UnmappableError("no line of an access log in combined or common format")
    host, address, user = _before(found["before"])
    request = _REQUEST.fullmatch(found["request"])
    method = request["method"].upper() if request else None
    status = whole(found["status"], at_least=100, at_most=599)
    path = path_of(request["url"]) if request else None
    values: Values = {
        "id": derived_id("access-log", line_bytes(record)),
        "occurred_at": _occurred_at(found),
        "action": _ACTIONS.get(method or "", "http.request"),
        "outcome": _outcome(status),
        "reason": present(code=_REASONS.get(status or 0)),
        "actor": {"type": "user", "id": user} if user else {"type": "anonymous"},
        "targets": [a_target("path", path)] if path else None,
        "source": present(app="access-log", host=host),
        "client": present(ip=ip(address), user_agent=_unquoted(found["agent"])),
        "request": present(method=method, url=path, status=status),
        "metadata": _metadata(found, address, request),
    }
    return from_mapping(present(**values))


def _before(before: str) -> tuple[str | None, str, str | None]:
    """The virtual host if there is one, the client's address, and who signed in."""
    words = before.split(" ")
    host = None
    if len(words) > 3 and ip(words[0]) is None and ip(words[1]):
        host, words = cut(words[0], MAX_SHORT), words[1:]
    user = " ".join(words[2:]).strip().strip('"')
    return host, words[0], cut(user, MAX_SHORT) if user not in ("", "-") else None


def _occurred_at(found: re.Match[str]) -> Instant:
    month, zone = _MONTHS.get(found["month"], "00"), found["zone"]
    try:
        return Instant.parse(
            f"{found['year']}-{month}-{found['day']}T{found['clock']}{zone[:3]}:{zone[3:]}"
        )
    except ValueError:
        raise UnmappableError("the time: there is no such day or second") from None


def _outcome(status: int | None) -> str:
    if status is None:
        return "unknown"
    if status in _DENIED:
        return "denied"
    return "success" if status < 400 else "failure" if status < 500 else "error"


def _unquoted(quoted: str | None) -> str | None:
    """The text between quotes; `-` is none."""
    if not quoted or quoted == "-":
        return None
    return text(quoted.replace('\\"', '"'), MAX_USER_AGENT)


def _metadata(found: re.Match[str], address: str, request: re.Match[str] | None) -> Values:
    kept = present(
        source_action=request["method"] if request else None,
        protocol=request["protocol"] if request else None,
        bytes=whole(found["size"]),
        referrer=path_of(_unquoted(found["referrer"]), 1_024),
        parameters=parameter_names(request["url"]) if request else None,
        source_address=None if ip(address) else text(address),
    )
    if request is None and found["request"] not in ("", "-"):
        kept["request_bytes"] = len(found["request"])  # of another protocol, or an attack
    return kept


def recognises(record: Mapping[str, Any]) -> bool:
    """Is this a line of the format?"""
    line = record.get("line")
    return isinstance(line, str) and _LINE.match(line) is not None


ACCESS_LOG = Reader(
    name="access-log",
    description="Access logs of Apache and nginx, in combined or common format",
    read=read,
    split=split_lines,
    decode=decode_line,
    recognises=recognises,
    is_dated=True,
)
