"""Page cursors: opaque, tied to one store and one search, and silent about positions.

A position counts events of all tenants, so a reader of one tenant must not see it: the payload is
hidden under a keyed stream and authenticated. Nothing is secret from the store itself, and a forged
cursor could only move within what the caller may see anyway, hence 8 bytes of tag.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import struct

from whodid.errors import CursorError
from whodid.stores.base import Cursor
from whodid.times import Instant

_PAYLOAD = struct.Struct(">qqqqB")
_NONCE_BYTES = 8
_TAG_BYTES = 8
_DIRECTIONS = ("older", "newer")


def seal_cursor(cursor: Cursor, *, key: bytes, text: str) -> str:
    """Write a cursor for the search `text` as URL-safe text."""
    payload = _PAYLOAD.pack(
        cursor.now.micros,
        cursor.newest,
        cursor.occurred_at,
        cursor.position,
        _DIRECTIONS.index(cursor.direction),
    )
    nonce = os.urandom(_NONCE_BYTES)
    hidden = _stream(payload, key=key, nonce=nonce)
    sealed = nonce + hidden + _tag(nonce + hidden, key=key, text=text)
    return base64.urlsafe_b64encode(sealed).decode().rstrip("=")


def open_cursor(token: str, *, key: bytes, text: str) -> Cursor:
    """Read what `seal_cursor` wrote.

    Raises:
        CursorError: Damaged, or made for another search or by another store.
    """
    try:
        sealed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise CursorError("the cursor is damaged; start again without it") from None
    if len(sealed) != _NONCE_BYTES + _PAYLOAD.size + _TAG_BYTES:
        raise CursorError("the cursor is damaged; start again without it")
    body, tag = sealed[:-_TAG_BYTES], sealed[-_TAG_BYTES:]
    if not hmac.compare_digest(tag, _tag(body, key=key, text=text)):
        raise CursorError("the cursor belongs to another search; start again without it")
    nonce, hidden = body[:_NONCE_BYTES], body[_NONCE_BYTES:]
    now, newest, occurred_at, position, direction = _PAYLOAD.unpack(
        _stream(hidden, key=key, nonce=nonce)
    )
    return Cursor(
        now=Instant.from_micros(now),
        newest=newest,
        occurred_at=occurred_at,
        position=position,
        direction="newer" if direction else "older",
    )


def _stream(data: bytes, *, key: bytes, nonce: bytes) -> bytes:
    mask = hashlib.blake2b(
        nonce, key=key, digest_size=len(data), person=b"whodid.cursor.s"
    ).digest()
    return bytes(a ^ b for a, b in zip(data, mask, strict=True))


def _tag(data: bytes, *, key: bytes, text: str) -> bytes:
    searched = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return hashlib.blake2b(
        searched + data, key=key, digest_size=_TAG_BYTES, person=b"whodid.cursor.t"
    ).digest()
