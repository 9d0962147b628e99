from __future__ import annotations

import json
import multiprocessing
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import events
from whodid import ids
from whodid.canonical import Encoded
from whodid.errors import ConfigError, StoreUnavailableError
from whodid.event import Event, StoredEvent
from whodid.recorder import prepare
from whodid.spool import BATCH, FILE_BYTES, REJECTED, Drained, Spool
from whodid.stores.sqlite import SqliteStore
from whodid.testing import EVERYTHING, an_event, prepared


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "log.db-spool"


@pytest.fixture
def waiting(folder: Path) -> Iterator[Spool]:
    waiting = Spool(folder)
    yield waiting
    waiting.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "log.db")
    yield store
    store.close()


def some(number: int, **only_what_matters: Any) -> list[Encoded]:
    """Prepared events with ids."""
    return prepared(*(an_event(id=ids.uuid7(), **only_what_matters) for _ in range(number)))


def ids_of(batch: Sequence[Encoded]) -> list[str]:
    return [str(each.event.id) for each in batch]


def stored_ids(store: SqliteStore) -> list[str]:
    """In the order in which they were appended."""
    found: list[StoredEvent] = []
    while page := store.read_from(found[-1].position + 1 if found else 0, access=EVERYTHING):
        found += page
    return [each.id for each in found]


def leave_behind(folder: Path, batch: Sequence[Encoded]) -> None:
    """Spool a batch as a process does that ends afterwards."""
    spool = Spool(folder)
    spool.add(batch)
    spool.close()


def rejected(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / REJECTED).read_text().splitlines() if line]


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name != REJECTED)


@contextmanager
def a_disk_with_room_for(pages: int, store: SqliteStore) -> Iterator[None]:
    used = store._writing.execute("PRAGMA page_count").fetchone()[0]
    store._writing.execute(f"PRAGMA max_page_count = {used + pages}")
    yield
    store._writing.execute("PRAGMA max_page_count = 1000000")


# Adding and putting back


def test_what_is_added_is_put_back_in_order(waiting: Spool, store: SqliteStore) -> None:
    batch = some(5)
    waiting.add(batch[:2])
    waiting.add(batch[2:])

    drained = waiting.drain(store.append)

    assert drained == Drained(put_back=5)
    assert stored_ids(store) == ids_of(batch)
    assert files(waiting.folder) == []


@given(events())
def test_every_event_comes_back_as_it_was_prepared(
    tmp_path_factory: pytest.TempPathFactory, event: Event
) -> None:
    waiting = Spool(tmp_path_factory.mktemp("any") / "spool")
    encoded = prepare(msgspec.structs.replace(event, id=event.id or ids.uuid7()))
    waiting.add([encoded])
    came_back: list[Encoded] = []

    waiting.drain(came_back.extend)

    [again] = came_back
    assert (again.core, again.units, again.event) == (encoded.core, encoded.units, encoded.event)


def test_an_event_without_an_id_is_not_spooled(waiting: Spool) -> None:
    with pytest.raises(AssertionError, match="id before it is spooled"):
        waiting.add(prepared(an_event()))


def test_an_empty_batch_makes_no_file(waiting: Spool) -> None:
    waiting.add([])

    assert not waiting.folder.exists()
    assert waiting.size_bytes() == 0


def test_folder_and_files_are_for_their_owner_alone(waiting: Spool, store: SqliteStore) -> None:
    batch = some(1)
    waiting.add(batch)
    waiting.reject(batch, "why not")

    assert waiting.folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in waiting.folder.iterdir()} == {0o600}


def test_events_go_on_waiting_after_a_restart(folder: Path, store: SqliteStore) -> None:
    batch = some(3)
    leave_behind(folder, batch)

    drained = Spool(folder).drain(store.append)

    assert drained.put_back == 3
    assert stored_ids(store) == ids_of(batch)


def test_a_file_does_not_grow_without_end(folder: Path) -> None:
    waiting = Spool(folder)
    batch = some(BATCH, message="x" * 4000)
    for _ in range(6):
        waiting.add(batch)

    sizes = [path.stat().st_size for path in files(folder)]
    waiting.close()

    assert len(sizes) > 1
    assert max(sizes) < FILE_BYTES + 4_500 * BATCH


def test_a_file_that_somebody_deleted_is_not_written_to(waiting: Spool, store: SqliteStore) -> None:
    waiting.add(some(1))
    [path] = files(waiting.folder)
    path.unlink()
    batch = some(1)
    waiting.add(batch)

    waiting.drain(store.append)

    assert stored_ids(store) == ids_of(batch)


def test_a_closed_spool_can_be_used_again(waiting: Spool, store: SqliteStore) -> None:
    batch = some(2)
    waiting.add(batch[:1])
    waiting.close()
    waiting.close()
    waiting.add(batch[1:])

    assert waiting.drain(store.append).put_back == 2
    assert stored_ids(store) == ids_of(batch)


# Bad places


def test_a_file_in_place_of_the_folder_is_refused(folder: Path) -> None:
    folder.write_text("mine")

    with pytest.raises(ConfigError, match="is no folder"):
        Spool(folder)


def test_a_folder_that_everybody_can_write_to_is_refused(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)

    with pytest.raises(ConfigError, match="chmod 700"):
        Spool(folder)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    waiting = Spool(tmp_path / "file" / "spool")

    with pytest.raises(StoreUnavailableError, match="can't be used"):
        waiting.add(some(1))


def test_beyond_its_limit_nothing_is_added_and_what_is_there_stays(
    folder: Path, store: SqliteStore
) -> None:
    waiting = Spool(folder, max_bytes=2_000)
    batch = some(3)
    waiting.add(batch)

    with pytest.raises(StoreUnavailableError, match=r"is full.*2,000.*make the store work"):
        waiting.add(some(20))

    assert waiting.drain(store.append).put_back == 3
    assert stored_ids(store) == ids_of(batch)
    waiting.close()


def test_a_full_disk_keeps_all_or_nothing_of_a_batch(folder: Path, store: SqliteStore) -> None:
    # No file of this process may grow beyond 20,000 bytes: a write stops in the middle of a line.
    code = (
        "import resource, sys\n"
        "from tests.test_spool import *\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))\n"
        "waiting = Spool(Path(sys.argv[1]))\n"
        "for _ in range(10):\n"
        "    batch = some(5, message='x' * 700)\n"
        "    try:\n"
        "        waiting.add(batch)\n"
        "    except StoreUnavailableError as error:\n"
        "        print('failed', error, file=sys.stderr)\n"
        "    else:\n"
        "        print(*ids_of(batch))\n"
    )
    done = run(code, folder)
    added = done.stdout.split()

    drained = Spool(folder).drain(store.append)

    assert "File too large" in done.stderr
    assert drained == Drained(put_back=len(added))
    assert len(added) == 40  # two of ten batches fail, and the next ones go into another file
    assert stored_ids(store) == added


def run(code: str, *args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, args)], check=False, capture_output=True, text=True
    )


# Poison and damage


def test_a_conflict_is_set_apart_with_its_reason_and_blocks_nothing(
    waiting: Spool, store: SqliteStore
) -> None:
    batch = some(3)
    poison = msgspec.structs.replace(batch[1].event, actor=an_event(actor="mallory").actor)
    store.append(prepared(poison))
    waiting.add(batch)

    drained = waiting.drain(store.append)

    [record] = rejected(waiting.folder)
    assert drained == Drained(put_back=2, rejected=1)
    assert record["event"]["id"] == batch[1].event.id
    assert "/actor" in record["reason"]
    assert set(stored_ids(store)) == set(ids_of(batch))
    assert waiting.drain(store.append) == Drained()


@pytest.mark.parametrize("line", [b'{"action": "x"}', b"{", b"\xff\xfe", b"\0" * 100, b""])
def test_a_line_that_is_no_event_is_set_apart(
    folder: Path, store: SqliteStore, line: bytes
) -> None:
    batch = some(2)
    leave_behind(folder, batch)
    [path] = files(folder)
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + line + b"\n" + second)

    drained = Spool(folder).drain(store.append)

    assert drained == Drained(put_back=2, rejected=1)
    assert stored_ids(store) == ids_of(batch)
    assert len(rejected(folder)) == 1


@given(st.data())
def test_a_file_torn_anywhere_gives_its_whole_lines_back(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("torn") / "spool"
    batch = some(3, message="ž")
    leave_behind(folder, batch)
    [path] = files(folder)
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    came_back: list[Encoded] = []

    drained = Spool(folder).drain(came_back.extend)

    lines = whole[:cut].count(b"\n")
    is_torn = cut > 0 and not whole[:cut].endswith(b"\n")
    assert ids_of(came_back) == ids_of(batch[:lines])
    assert drained == Drained(put_back=lines, rejected=int(is_torn))
    assert (folder / REJECTED).exists() == is_torn


def test_what_others_have_put_into_the_folder_is_left_alone(
    folder: Path, store: SqliteStore
) -> None:
    leave_behind(folder, some(1))
    (folder / "0-moved-away").mkdir()
    for name in ("0.txt", "rejected-2026.jsonl", "0.jsonl.swp"):
        (folder / name).write_text('{"event": 1}\n')

    assert Spool(folder).drain(store.append) == Drained(put_back=1)
    assert len(files(folder)) == 4
    assert not (folder / REJECTED).exists()


def test_a_file_that_can_not_be_opened_holds_up_no_other(
    folder: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_behind(folder, some(2))
    monkeypatch.chdir(folder)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as unreadable:
        unreadable.bind(f"{0:020d}-1-00000000.jsonl")

        with pytest.raises(StoreUnavailableError, match="can't be used: No such device"):
            Spool(folder).drain(store.append)
    assert len(stored_ids(store)) == 2


def test_a_torn_line_among_the_rejected_spoils_no_other(waiting: Spool) -> None:
    batch = some(2)
    waiting.reject(batch[:1], "first")
    path = waiting.folder / REJECTED
    path.write_bytes(path.read_bytes()[:-20])
    waiting.reject(batch[1:], "second")

    last = json.loads(path.read_text().splitlines()[-1])
    assert (last["reason"], last["event"]["id"]) == ("second", batch[1].event.id)


# Stores that fail


def test_what_a_failing_store_does_not_take_waits_for_the_next_time(
    waiting: Spool, store: SqliteStore
) -> None:
    batch = some(3 * BATCH, message="x" * 300)
    waiting.add(batch)
    with (
        a_disk_with_room_for(200, store),
        pytest.raises(StoreUnavailableError, match="the disk is full"),
    ):
        waiting.drain(store.append)
    before = len(stored_ids(store))

    drained = waiting.drain(store.append)

    assert before == BATCH
    assert drained == Drained(put_back=3 * BATCH)  # those of the attempt that failed, too
    assert stored_ids(store) == ids_of(batch)


def test_draining_stops_when_its_time_is_up_and_goes_on_there(
    waiting: Spool, store: SqliteStore
) -> None:
    batch = some(2 * BATCH + 1)
    waiting.add(batch)

    calls = [waiting.drain(store.append, within_s=0) for _ in range(4)]

    assert [each.put_back for each in calls] == [BATCH, BATCH, 1, 0]
    assert [each.is_done for each in calls] == [False, False, False, True]
    assert stored_ids(store) == ids_of(batch)


def test_events_added_while_it_is_drained_come_later(waiting: Spool, store: SqliteStore) -> None:
    first, second = some(1), some(1)
    waiting.add(first)

    def append(batch: Sequence[Encoded]) -> None:
        if not stored_ids(store):
            waiting.add(second)
        store.append(batch)

    drained = waiting.drain(append)

    assert drained.put_back == 2
    assert stored_ids(store) == ids_of(first + second)


# Several processes, and kills


def test_the_file_of_a_living_process_is_left_alone(folder: Path, store: SqliteStore) -> None:
    code = (
        "import sys\n"
        "from tests.test_spool import *\n"
        "waiting = Spool(Path(sys.argv[1]))\n"
        "waiting.add(some(1))\n"
        "print('added', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        while_alive = Spool(folder).drain(store.append)
        other.kill()
        other.wait()
        assert other.stdin is not None
        other.stdin.close()

    assert while_alive == Drained()
    assert Spool(folder).drain(store.append).put_back == 1


def test_a_process_killed_while_it_spools_loses_nothing_that_it_was_told_is_kept(
    folder: Path, store: SqliteStore
) -> None:
    code = (
        "import sys\n"
        "from tests.test_spool import *\n"
        "waiting = Spool(Path(sys.argv[1]))\n"
        "while True:\n"
        "    batch = some(3)\n"
        "    waiting.add(batch)\n"
        "    print(*ids_of(batch), flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        added = [line for line, _ in zip(other.stdout, range(40), strict=False)]
        other.kill()
        added += [line for line in other.stdout if line.endswith("\n")]
    expected = " ".join(added).split()

    drained = Spool(folder).drain(store.append)
    found = stored_ids(store)

    assert len(expected) >= 120
    assert found[: len(expected)] == expected
    assert len(found) == len(set(found)) == drained.put_back


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_process_killed_while_it_drains_leaves_every_event_stored_once(
    folder: Path, store: SqliteStore, moment: str, number: int
) -> None:
    batch = some(BATCH * 2 + 7)
    leave_behind(folder, batch)
    # Killed before or after the store has taken the n-th batch.
    code = (
        "import itertools, os, signal, sys\n"
        "from tests.test_spool import *\n"
        "folder, log, moment, number = sys.argv[1:]\n"
        "store, count = SqliteStore(Path(log)), itertools.count(1)\n"
        "def append(batch):\n"
        "    is_last = next(count) == int(number)\n"
        "    if not is_last or moment == 'after':\n"
        "        store.append(batch)\n"
        "    if is_last:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "Spool(Path(folder)).drain(append)\n"
    )
    done = run(code, folder, folder.parent / "log.db", moment, number)

    Spool(folder).drain(store.append)

    assert done.returncode == -signal.SIGKILL
    assert stored_ids(store) == ids_of(batch)
    assert files(folder) == []


def drain_apart(folder: Path, log: Path, barrier: Barrier, counts: Any) -> None:
    store = SqliteStore(log)
    barrier.wait()
    counts.put(Spool(folder).drain(store.append).put_back)
    store.close()


def test_two_processes_that_drain_at_once_share_the_files(folder: Path, store: SqliteStore) -> None:
    batch = some(400)
    for start in range(0, len(batch), 20):
        leave_behind(folder, batch[start : start + 20])
    context = multiprocessing.get_context("spawn")
    barrier, counts = context.Barrier(2), context.Queue()
    others = [
        context.Process(
            target=drain_apart, args=(folder, folder.parent / "log.db", barrier, counts)
        )
        for _ in range(2)
    ]
    for other in others:
        other.start()
    total = sum(counts.get() for _ in others)
    for other in others:
        other.join()

    found = stored_ids(store)
    assert total == len(found) == 400
    assert set(found) == set(ids_of(batch))
    assert files(folder) == []


def test_a_child_after_fork_neither_holds_nor_uses_its_parents_file(
    folder: Path, store: SqliteStore
) -> None:
    code = (
        "import os, signal, sys\n"
        "from tests.test_spool import *\n"
        "waiting = Spool(Path(sys.argv[1]))\n"
        "waiting.add(some(1))\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    waiting.add(some(1))\n"
        "    print('child', flush=True)\n"
        "    sys.stdin.read()\n"
        "    os._exit(0)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdin is not None
        parent.stdout.readline()
        parent.wait()
        number_of_files = len(files(folder))
        of_the_parent = Spool(folder).drain(store.append)
        parent.stdin.close()
        parent.stdout.read()  # until the child has ended

    assert number_of_files == 2
    assert of_the_parent.put_back == 1
    assert Spool(folder).drain(store.append).put_back == 1
