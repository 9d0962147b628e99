from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import pytest

from whodid import AuditLog
from whodid.errors import StoreUnavailableError
from whodid.stores import late, open_store
from whodid.stores.late import LateStore


@pytest.fixture(autouse=True)
def tried_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late, "TRY_AGAIN_S", 0.0)


def test_a_log_that_opens_late_keeps_events_and_puts_them_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "mounted later"
    with (
        caplog.at_level(logging.ERROR, "whodid"),
        AuditLog(folder / "audit.db", spool=tmp_path / "spool", opens_late=True) as audit,
    ):
        first = audit.record("invoice.send", actor=("user", "7"))
        assert "can't be opened yet, events are kept" in caplog.text
        with pytest.raises(StoreUnavailableError, match="does not exist; create it"):
            audit.search("")
        folder.mkdir()
        second = audit.record("invoice.send", actor=("user", "8"))

        assert {each.id for each in audit.search("")} == {first, second}


def test_one_that_does_not_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="does not exist"):
        AuditLog(tmp_path / "nowhere" / "audit.db")


def test_it_is_not_tried_at_every_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late, "TRY_AGAIN_S", 60.0)
    url = f"sqlite:///{tmp_path / 'nowhere' / 'a.db'}"
    store = LateStore(partial(open_store, url), StoreUnavailableError("not yet"), path=None)
    (tmp_path / "nowhere").mkdir()

    with pytest.raises(StoreUnavailableError, match="not yet"):
        store.newest_position()
    assert not hasattr(store, "path")
    store.close()
