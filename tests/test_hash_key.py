from __future__ import annotations

import multiprocessing
import os
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest

from whodid.errors import ConfigError
from whodid.hash_key import find_hash_key


@pytest.fixture(autouse=True)
def no_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WHODID_HASH_KEY", raising=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db-hash-key"


def test_the_environment_comes_first(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHODID_HASH_KEY", "k" * 32)

    assert find_hash_key(path) == b"k" * 32
    assert not path.exists()


def test_a_key_is_made_once_and_for_its_owner_alone(path: Path) -> None:
    first = find_hash_key(path)

    assert find_hash_key(path) == first
    assert len(first) == 64
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_two_logs_have_two_keys(tmp_path: Path) -> None:
    assert find_hash_key(tmp_path / "a") != find_hash_key(tmp_path / "b")


def find_apart(path: Path, barrier: Barrier, found: Any) -> None:
    barrier.wait()
    found.put(find_hash_key(path))


def test_processes_that_make_it_at_once_get_the_same(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, found = context.Barrier(3), context.Queue()
    others = [context.Process(target=find_apart, args=(path, barrier, found)) for _ in range(3)]
    for other in others:
        other.start()
    keys = {found.get() for _ in others}
    for other in others:
        other.join()

    assert keys == {find_hash_key(path)}
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("text", ["", "secret", "k" * 31])
def test_a_key_that_can_be_guessed_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("WHODID_HASH_KEY", text)
    with pytest.raises(ConfigError, match="at least 32"):
        find_hash_key(path)

    monkeypatch.delenv("WHODID_HASH_KEY")
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="at least 32"):
        find_hash_key(path)


def test_a_file_that_others_can_read_is_refused(path: Path) -> None:
    find_hash_key(path)
    path.chmod(0o640)

    with pytest.raises(ConfigError, match="chmod 600"):
        find_hash_key(path)


def test_a_file_that_is_no_text_is_refused(path: Path) -> None:
    path.write_bytes(b"\xff" * 40)
    path.chmod(0o600)

    with pytest.raises(ConfigError, match="it is no text"):
        find_hash_key(path)


def test_a_key_that_cannot_be_made_names_the_way_out(path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file or directory; set WHODID_HASH_KEY"):
        find_hash_key(path.parent / "none" / "key")

    assert os.listdir(path.parent) == []


def test_a_log_that_is_no_file_needs_the_variable() -> None:
    with pytest.raises(ConfigError, match="set WHODID_HASH_KEY"):
        find_hash_key(None)
