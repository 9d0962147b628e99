"""Event ids: time-ordered ones for new events, derived ones for imported records."""

from __future__ import annotations

import hashlib
import os
import re
import time

_USUAL = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)


# Random bits for new ids. One call of the system's gives those of many: each lets another thread
# run in between, which made an id cost 15 us instead of 1 while events were being written.
_random_bits: list[bytes] = []
_IDS_AT_ONCE = 64
_RANDOM_BYTES = 10


def uuid7() -> str:
    """A new UUIDv7 (RFC 9562 §5.7): milliseconds, then 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    while True:
        try:
            random = int.from_bytes(_random_bits.pop(), "big")
            break
        except IndexError:  # also when other threads took all of them
            _make_random_bits()
    return _with_version((milliseconds & (1 << 48) - 1) << 80 | random, 7)


def _make_random_bits() -> None:
    data = os.urandom(_RANDOM_BYTES * _IDS_AT_ONCE)
    starts = range(0, len(data), _RANDOM_BYTES)
    _random_bits.extend(data[start : start + _RANDOM_BYTES] for start in starts)


if hasattr(os, "register_at_fork"):  # else the child would make its parent's ids
    os.register_at_fork(after_in_child=_random_bits.clear)


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
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
