"""Other systems' logs as events: one module per system, pure, no files and no network.

`READERS[name]` knows how to cut a file into records (`split`) and how one record becomes one
event (`read`). Who opens the files, stores the events and counts is `cli.importing`. Ids come
from the record: the same file again makes the same events.
"""

from __future__ import annotations

from collections.abc import Mapping

from whodid.importers.base import Reader, UnmappableError, decode_record
from whodid.importers.cloudtrail import CLOUDTRAIL
from whodid.importers.jsonl import JSONL
from whodid.importers.splitting import (
    MAX_RECORD_BYTES,
    DamagedError,
    Oversized,
    Piece,
    RawRecord,
)

READERS: Mapping[str, Reader] = {reader.name: reader for reader in (CLOUDTRAIL, JSONL)}

__all__ = [
    "MAX_RECORD_BYTES", "READERS", "DamagedError", "Oversized", "Piece", "RawRecord", "Reader",
    "UnmappableError", "decode_record",
]  # fmt: skip
