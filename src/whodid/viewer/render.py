"""From a template and values to a response, with the headers that every answer has."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from whodid.viewer.assets import asset_path
from whodid.viewer.http import Request, Response
from whodid.viewer.rows import OUTCOMES
from whodid.viewer.text import brief, flat, initials, number, shown, soft, visible

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Mapping[str, str] = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Searches may hold names: no address of ours goes to another site.
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("whodid.viewer"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters.update(
        brief=brief,
        flat=flat,
        initials=initials,
        number=number,
        shown=shown,
        soft=soft,
        visible=visible,
    )
    environment.globals["outcomes"] = OUTCOMES
    return environment


def html(
    template: str,
    request: Request,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **values: Any,  # Any: whatever the template shows
) -> Response:
    """A page. Never cached: it holds personal data."""

    def asset(name: str) -> str:
        return request.prefix + asset_path(name)

    text = (
        _environment()
        .get_template(template)
        .render(asset=asset, home=request.prefix + "/", host=request.host, **values)
    )
    return _response(
        text.encode("utf-8", "replace"), "text/html; charset=utf-8", status=status, headers=headers
    )


def json(body: bytes, *, status: int = 200) -> Response:
    """Data; problems as RFC 9457 has them."""
    kind = "application/json" if status < 400 else "application/problem+json"
    return _response(body, kind, status=status, headers=None)


def plain_text(text: str, *, status: int, headers: Mapping[str, str] | None = None) -> Response:
    """A line for programs."""
    return _response(
        f"{text}\n".encode(), "text/plain; charset=utf-8", status=status, headers=headers
    )


def _response(
    body: bytes, content_type: str, *, status: int, headers: Mapping[str, str] | None
) -> Response:
    return Response(
        status=status,
        headers={
            **HEADERS,
            "cache-control": "no-store",
            "content-type": content_type,
            **(headers or {}),
        },
        body=body,
    )
