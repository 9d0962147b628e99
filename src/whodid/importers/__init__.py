"""Other systems' logs as events: one module per system, pure, no files and no network.

`READERS[name]` knows how to cut a file into records (`split`), what a record's bytes say
(`decode`) and how one record becomes one event (`read`); `recognise` finds the reader by the first
records. Who opens the files, stores the events and counts is `cli.importing`. Ids come from the
record: the same file again makes the same events.

An importer of one's own is a function from a record to the values of an event, or a `Reader`.
"""

from __future__ import annotations

from collections.abc import Mapping

from whodid.importers.access_log import ACCESS_LOG
from whodid.importers.auth_log import AUTH_LOG
from whodid.importers.base import (
    Context,
    PassedOverError,
    Reader,
    UnmappableError,
    decode_json,
    decode_line,
    decode_record,
)
from whodid.importers.cloudtrail import CLOUDTRAIL
from whodid.importers.django_auditlog import DJANGO_AUDITLOG
from whodid.importers.github import GITHUB
from whodid.importers.jsonl import JSONL
from whodid.importers.kubernetes import KUBERNETES
from whodid.importers.okta import OKTA
from whodid.importers.recognition import find_reader, first_records
from whodid.importers.splitting import (
    MAX_RECORD_BYTES,
    DamagedError,
    Oversized,
    Piece,
    RawRecord,
    split_json,
    split_lines,
)

READERS: Mapping[str, Reader] = {
    reader.name: reader
    for reader in (
        CLOUDTRAIL, GITHUB, OKTA, KUBERNETES, ACCESS_LOG, AUTH_LOG, DJANGO_AUDITLOG, JSONL
    )
}  # fmt: skip

__all__ = [
    "MAX_RECORD_BYTES", "READERS", "Context", "DamagedError", "Oversized", "PassedOverError",
    "Piece", "RawRecord", "Reader", "UnmappableError", "decode_json", "decode_line",
    "decode_record", "find_reader", "first_records", "split_json", "split_lines",
]  # fmt: skip
