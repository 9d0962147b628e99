"""The stylesheet, the script and the pictures: in the package, addressed by their content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from whodid.viewer.http import Request, Response

_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_FOREVER = "public, max-age=31536000, immutable"
_ASK_EACH_TIME = "no-cache"


@dataclass(frozen=True, slots=True)
class Asset:
    body: bytes
    content_type: str
    digest: str


@cache
def _assets() -> Mapping[str, Asset]:
    folder = files("whodid.viewer").joinpath("static")
    return {
        entry.name: _asset(entry.read_bytes(), entry.name.rpartition(".")[2])
        for entry in folder.iterdir()
        if entry.name.rpartition(".")[2] in _TYPES
    }


def _asset(body: bytes, suffix: str) -> Asset:
    return Asset(body, _TYPES[suffix], hashlib.sha256(body).hexdigest()[:16])


def asset_path(name: str) -> str:
    """Below the mount point; another path as soon as the content is another."""
    stem, _, suffix = name.rpartition(".")
    return f"/static/{stem}.{_assets()[name].digest}.{suffix}"


def serve_asset(request: Request, *, headers: Mapping[str, str]) -> Response | None:
    """A static file, or None when there is none at the path.

    A page from before an upgrade names an old digest: it gets today's file, but no cache may
    keep it under that name.
    """
    name, digest = _named(request.path.removeprefix("/static/"))
    asset = _assets().get(name)
    if asset is None:
        return None
    etag = f'"{asset.digest}"'
    sent = {
        **headers,
        "cache-control": _FOREVER if digest == asset.digest else _ASK_EACH_TIME,
        "etag": etag,
    }
    if request.if_none_match and etag in request.if_none_match:
        return Response(status=304, headers=sent)
    return Response(headers={**sent, "content-type": asset.content_type}, body=asset.body)


def _named(path: str) -> tuple[str, str]:
    parts = path.split(".")
    if len(parts) == 3:
        return f"{parts[0]}.{parts[2]}", parts[1]
    return path, ""
