from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.server.conftest import plain
from whodid.access import Access
from whodid.errors import ConflictError
from whodid.server.bodies import Upload
from whodid.server.settings import Settings
from whodid.server.writing import MAX_GROUP_EVENTS, Answer, Group, Writer
from whodid.stores.base import Batch, Receipt
from whodid.stores.sqlite import SqliteStore

ID = "01890a5d-ac96-774b-bcce-b302099a8057"


def upload(*events: object, **said: str) -> Upload:
    return Upload(body=json.dumps({"events": events or [plain()]}).encode(), **said)  # type: ignore[arg-type]  # only text is given here


def stored_events(store: SqliteStore) -> int:
    return store.stats(access=Access.everything()).events


class CountingStore(SqliteStore):
    """A real store that counts its commits, and can be told to refuse."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.commits: list[int] = []
        self.refuses: set[str] = set()

    def append_each(self, batches: Sequence[Batch]) -> list[list[Receipt] | ConflictError]:
        self.commits.append(len(batches))
        if any(each.event.action in self.refuses for batch in batches for each in batch.events):
            raise RuntimeError("not foreseen")
        return super().append_each(batches)


@pytest.fixture
def counting(tmp_path: Path) -> CountingStore:
    return CountingStore(tmp_path / "counting.db")


def answers_of(store: SqliteStore, *uploads: Upload) -> list[Answer]:
    group = Group(store, Settings())
    for number, each in enumerate(uploads):
        group.add(number, each)
    return [answer for _, answer in sorted(group.store_all().items())]


def test_what_waits_is_stored_with_one_commit(counting: CountingStore) -> None:
    answers = answers_of(counting, *[upload() for _ in range(30)])

    assert [answer.status for answer in answers] == [201] * 30
    assert counting.commits == [30]


def test_a_faulty_body_is_refused_alone(store: SqliteStore) -> None:
    answers = answers_of(
        store, upload(), Upload(body=b"{"), upload(plain(surprise=1)), upload(plain(action="a"))
    )

    assert [answer.status for answer in answers] == [201, 400, 422, 422]
    assert stored_events(store) == 1


def test_a_conflict_is_refused_alone(store: SqliteStore) -> None:
    answers = answers_of(
        store,
        upload(plain(id=ID)),
        upload(plain(), plain(id=ID, message="another")),
        upload(plain(id=ID)),
        upload(),
    )

    assert [answer.status for answer in answers] == [201, 409, 200, 201]
    assert json.loads(answers[1].body)["index"] == 1
    assert stored_events(store) == 2


def test_what_breaks_the_store_is_told_to_its_sender_alone(
    counting: CountingStore, caplog: pytest.LogCaptureFixture
) -> None:
    counting.refuses = {"invoice.break"}

    answers = answers_of(counting, upload(), upload(plain(action="invoice.break")), upload())

    assert [answer.status for answer in answers] == [201, 500, 201]
    assert json.loads(answers[1].body)["error_id"] in caplog.text
    assert stored_events(counting) == 2


def test_when_nothing_can_be_stored_everybody_is_told_so(store: SqliteStore) -> None:
    store.close()

    answers = answers_of(store, upload(), upload(), Upload(body=b""))

    assert [answer.status for answer in answers] == [503, 503, 400]
    assert answers[0].headers["retry-after"]


def test_an_answer_tells_what_is_new_of_each_tenant(store: SqliteStore) -> None:
    events = [
        plain(tenant={"id": name}, idempotency_key=f"{number}") for number, name in enumerate("aab")
    ]

    [first, again] = answers_of(store, upload(*events), upload(*events))

    assert {tenant: count for tenant, (count, _) in first.stored.items()} == {"a": 2, "b": 1}
    assert all(size > 50 for _, size in first.stored.values())
    assert again.stored == {}


def test_a_group_is_full_before_it_holds_the_lock_for_long(store: SqliteStore) -> None:
    group = Group(store, Settings())
    batches = 0
    while not group.is_full:
        group.add(batches, upload(*[plain()] * 500))
        batches += 1

    assert batches * 500 == MAX_GROUP_EVENTS


def test_the_writer_answers_all_that_was_handed_over_before_it_stops(store: SqliteStore) -> None:
    answered: dict[int, Answer] = {}
    writer = Writer(store, settings=Settings(), deliver=answered.update)

    def put_fifty(first: int) -> None:
        for number in range(first, first + 50):
            writer.put(number, upload())

    threads = [threading.Thread(target=put_fifty, args=(first,)) for first in (0, 50, 100, 150)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()

    assert sorted(answered) == list(range(200))
    assert {answer.status for answer in answered.values()} == {201}
    assert stored_events(store) == 200
