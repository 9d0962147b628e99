"""Database files of every schema so far: this version opens, migrates, reads and verifies them."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from whodid import canonical
from whodid.stores.migrate import migrations
from whodid.stores.sqlite import SqliteStore
from whodid.testing import EVERYTHING, a_query, an_event, prepared

FIXTURES = Path(__file__).parents[1] / "fixtures"
FILES = sorted(FIXTURES.glob("schema-*.db"))


def test_there_is_a_file_of_every_schema() -> None:
    assert [file.stem for file in FILES] == [
        f"schema-{migration.version}" for migration in migrations("sqlite")
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_log_of_an_earlier_version_is_read_and_goes_on(file: Path, tmp_path: Path) -> None:
    path = tmp_path / file.name
    shutil.copy(file, path)
    expected = file.with_suffix(".jsonl").read_bytes().splitlines()
    store = SqliteStore(path)

    before = store.verify(access=EVERYTHING)
    found = sorted(canonical.api_form(e) for e in store.scan(a_query(), access=EVERYTHING))
    hits = store.count(a_query('actor:zana "2026-1184"'), access=EVERYTHING)
    [receipt] = store.append(prepared(an_event(tenant="acme")))
    after = store.verify(access=EVERYTHING)
    store.close()

    assert before.is_sound, before.problems
    assert [msgspec.json.decode(each) for each in found] == list(map(msgspec.json.decode, expected))
    assert hits.count == 3
    assert receipt.index == next(tree.size for tree in before.trees if tree.tenant == "acme")
    assert after.is_sound, after.problems
