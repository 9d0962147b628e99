"""The small request and response that every adapter of the viewer speaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from whodid.access import Access
from whodid.event import Target

LinkOf: TypeAlias = Callable[[Target], "str | None"]
"""Says where the host application shows a target: a path such as `/orders/5/`, or None.

Asked once for each target of an opened event, so it should not read from a database. Anything else
than a path of the same site becomes no link.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The application around the viewer, as the caller of one request may know it.

    Attributes:
        link_of: Where a target is shown there.
        home: Words and address of a link back to it.
        signed_in: The name of who is signed in, empty when that is nobody or not known.
    """

    link_of: LinkOf | None = None
    home: tuple[str, str] | None = None
    signed_in: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a page needs to know of an HTTP request.

    Attributes:
        path: Below the mount point, beginning with `/`.
        prefix: The mount point without a slash at the end, e.g. `/audit` or empty.
        query: First value of each query parameter.
        access: What the caller may see.
        if_none_match: For static files.
        host: Where the pages stand.
    """

    method: str = "GET"
    path: str = "/"
    prefix: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    access: Access = field(default_factory=Access)
    if_none_match: str | None = None
    host: Host = field(default_factory=Host)


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What goes back; headers are complete, lower case."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
