"""Event ids: time-ordered ones for new events, derived ones for imported records."""

from __future__ import annotations

import hashlib
import os
import re
import time
from uuid import UUID

_USUAL = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)


def uuid7() -> str:
    """A new UUIDv7 (RFC 9562 §5.7): milliseconds, then 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds & (1 << 48) - 1) << 80 | random
    return _with_version(value, 7)


def derived_id(namespace: str, record: bytes) -> str:
    """A UUIDv8 (RFC 9562 §5.8) from SHA-256: the same record gives the same id, always.

    Args:
        namespace: What kind of record, e.g. the importer's name; keeps equal bytes apart.
        record: The record's bytes as read.
    """
    digest = hashlib.sha256(namespace.encode() + b"\n" + record).digest()
    return _with_version(int.from_bytes(digest[:16], "big"), 8)


def uuid_bytes(text: str) -> bytes:
    """The 16 bytes of a UUID written in the usual way.

    Raises:
        ValueError: It is none.
    """
    if not _USUAL.fullmatch(text):
        raise ValueError("expected a UUID such as 0199d3a0-7b00-7000-8000-000000000001")
    return bytes.fromhex(text.replace("-", ""))


def _with_version(value: int, version: int) -> str:
    value = value & ~(0xF << 76) | version << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(UUID(int=value))
