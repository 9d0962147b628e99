"""The small request and response that every adapter of the viewer speaks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from whodid.access import Access


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a page needs to know of an HTTP request.

    Attributes:
        path: Below the mount point, beginning with `/`.
        prefix: The mount point without a slash at the end, e.g. `/audit` or empty.
        query: First value of each query parameter.
        access: What the caller may see.
        if_none_match: For static files.
    """

    method: str = "GET"
    path: str = "/"
    prefix: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    access: Access = field(default_factory=Access)
    if_none_match: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What goes back; headers are complete, lower case."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
