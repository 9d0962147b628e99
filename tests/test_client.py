from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from tests.faulty_proxy import answering
from tests.server.serving import Serving, serving
from whodid import ids
from whodid.canonical import Encoded
from whodid.client import Client
from whodid.errors import (
    BatchError,
    ConfigError,
    ConflictError,
    InvalidError,
    RefusedError,
    StoreUnavailableError,
)
from whodid.event import Actor
from whodid.server.auth import new_key
from whodid.stores.sqlite import SqliteStore
from whodid.testing import EVERYTHING, an_event, prepared
from whodid.times import Instant


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def keys(folder: Path) -> dict[str, str]:
    """Keys by what they are for."""
    store = SqliteStore(folder / "log.db")
    found = {}
    for name, tenant, scopes in (
        ("all", "*", ("ingest", "read")),
        ("acme", "acme", ("ingest", "read")),
        ("sender", "acme", ("ingest",)),
    ):
        found[name], key = new_key(
            name=name, tenant=tenant, scopes=scopes, now=Instant.now(), expires_at=None
        )
        store.add_key(key)
    store.close()
    return found


@pytest.fixture(scope="module")
def server(folder: Path, keys: dict[str, str]) -> Iterator[Serving]:
    with serving(folder / "log.db") as running:
        yield running


MakeClient = Callable[..., Client]


@pytest.fixture
def make_client() -> Iterator[MakeClient]:
    with ExitStack() as made:
        yield lambda *given, **named: made.enter_context(closing(Client(*given, **named)))


@pytest.fixture
def client(server: Serving, keys: dict[str, str], make_client: MakeClient) -> Client:
    return make_client(server.url, key=keys["all"])


def some(count: int, **fields: Any) -> list[Encoded]:
    return prepared(*(an_event(id=ids.uuid7(), **fields) for _ in range(count)))


# -- sending


def test_a_batch_is_stored_and_each_event_has_its_receipt(client: Client) -> None:
    batch = some(3)

    receipts = client.append(batch)

    assert [each.id for each in receipts] == [each.event.id for each in batch]
    assert not any(each.duplicate for each in receipts)


def test_the_same_batch_again_adds_nothing(client: Client) -> None:
    batch = some(3)
    client.append(batch)

    assert all(each.duplicate for each in client.append(batch))


def test_a_large_batch_goes_packed(client: Client) -> None:
    assert len(client.append(some(400, message="the same words again " * 20))) == 400


def test_who_names_no_tenant_gets_the_one_of_the_key(
    server: Serving, keys: dict[str, str], make_client: MakeClient
) -> None:
    [receipt] = make_client(server.url, key=keys["acme"]).append(some(1, tenant="default"))

    assert receipt.tenant == "acme"


def test_another_tenants_event_can_never_be_stored_and_is_named(
    server: Serving, keys: dict[str, str], make_client: MakeClient
) -> None:
    batch = [*some(1), *some(1, tenant="globex")]

    with pytest.raises(BatchError, match="not the tenant of this key") as caught:
        make_client(server.url, key=keys["acme"]).append(batch)

    assert [index for index, _ in caught.value.errors] == [1]


def test_the_same_id_with_another_body_is_a_conflict(client: Client) -> None:
    [first] = some(1)
    client.append([first])
    second = prepared(an_event(id=first.event.id, action="invoice.delete"))

    with pytest.raises(ConflictError):
        client.append([*some(1), *second])


def test_a_wrong_key_is_refused_and_no_fault_of_the_events(
    server: Serving, make_client: MakeClient
) -> None:
    with pytest.raises(RefusedError, match="key"):
        make_client(server.url, key="whodid_wrong_key").append(some(1))


def test_a_server_that_is_not_there_is_unavailable(make_client: MakeClient) -> None:
    with pytest.raises(StoreUnavailableError, match="can't be reached: Connection refused"):
        make_client("http://127.0.0.1:9").append(some(1))


def test_a_name_that_is_nowhere_is_unavailable(make_client: MakeClient) -> None:
    with pytest.raises(StoreUnavailableError, match="can't be reached"):
        make_client("http://nowhere.invalid", timeout_s=5).append(some(1))


def test_a_connection_that_the_server_closed_meanwhile_is_made_anew(
    folder: Path, keys: dict[str, str], tmp_path: Path, make_client: MakeClient
) -> None:
    database = tmp_path / "log.db"
    with serving(database) as first:
        client = make_client(first.url)
        client.append(some(1))
        port = first.address[1]
    with serving(database, port=port):
        [receipt] = client.append(some(1))

    assert not receipt.duplicate


@pytest.mark.parametrize(
    ("status", "headers", "body", "error", "words"),
    [
        (200, {}, b"<html>", StoreUnavailableError, "as no whodid does"),
        (201, {}, b'{"receipts": []}', StoreUnavailableError, "as no whodid does"),
        (204, {}, b"", StoreUnavailableError, "it answers 204"),
        (301, {"Location": "https://new.example"}, b"", StoreUnavailableError, "use that URL"),
        (400, {}, b"not json", StoreUnavailableError, "it answers 400"),
        (400, {}, b'{"type": "urn:whodid:problem:json", "detail": "d"}', InvalidError, "d"),
        (401, {}, b"", RefusedError, "it answers 401"),
        (403, {}, b"[]", RefusedError, "it answers 403"),
        (404, {}, b"", StoreUnavailableError, "it answers 404"),
        (408, {}, b"", StoreUnavailableError, "it answers 408"),
        (409, {}, b"{}", ConflictError, "stored before"),
        (413, {}, b"", InvalidError, "it answers 413"),
        (415, {}, b"", StoreUnavailableError, "it answers 415"),
        (422, {}, b'{"detail": "odd"}', InvalidError, "odd"),
        (422, {}, b'{"errors": [{"index": 0, "path": "$.a", "problem": "p"}]}', BatchError, "p"),
        (429, {"Retry-After": "7"}, b"", StoreUnavailableError, "it answers 429"),
        (500, {}, b"\xff\xfe", StoreUnavailableError, "it answers 500"),
        (503, {"Retry-After": "tomorrow"}, b"", StoreUnavailableError, "it answers 503"),
    ],
)
def test_every_answer_says_what_the_sender_can_do(
    status: int,
    headers: dict[str, str],
    body: bytes,
    error: type[Exception],
    words: str,
    make_client: MakeClient,
) -> None:
    with answering(lambda _: (status, headers, body)) as url:
        client = make_client(url)
        with pytest.raises(error, match=words) as caught:
            client.append(some(1))

    assert type(caught.value) is error
    if isinstance(caught.value, StoreUnavailableError):
        assert caught.value.retry_after_s == (7 if headers.get("Retry-After") == "7" else None)


def test_no_answer_ever_asks_to_wait_longer_than_an_hour(make_client: MakeClient) -> None:
    with answering(lambda _: (503, {"Retry-After": "99999999"}, b"")) as url:
        client = make_client(url)
        with pytest.raises(StoreUnavailableError) as caught:
            client.append(some(1))

    assert caught.value.retry_after_s == 3_600


# -- asking


def test_a_search_finds_what_was_sent_as_it_was_recorded(client: Client) -> None:
    [sent] = some(1, actor="finder", action="report.find")
    client.append([sent])

    [found] = client.search("actor:finder")

    assert (found.id, found.action, found.actor) == (
        sent.event.id, "report.find", Actor(type="user", id="finder"),
    )  # fmt: skip
    assert client.find(str(sent.event.id)) == found


def test_a_search_may_be_in_one_tenant(client: Client) -> None:
    for tenant in ("north", "south"):
        client.append(some(1, tenant=tenant, action="tenant.ask"))

    [found] = client.search("action:tenant.ask OR action:nothing.here", tenant="north")

    assert found.tenant
    assert found.tenant.id == "north"
    assert len(client.search("", tenant="south")) == 1


def test_an_event_without_a_time_has_that_of_its_receipt(client: Client) -> None:
    [sent] = some(1)
    client.append([sent])

    found = client.find(str(sent.event.id))

    assert found
    assert found.occurred_at


def test_an_id_that_is_not_there_is_none(client: Client) -> None:
    assert client.find(ids.uuid7()) is None


def test_a_search_that_cannot_be_read_says_where(client: Client) -> None:
    with pytest.raises(InvalidError, match="at character 1"):
        client.search(")")


def test_a_key_that_may_only_send_finds_nothing_out(
    server: Serving, keys: dict[str, str], make_client: MakeClient
) -> None:
    with pytest.raises(RefusedError, match="lacks the scope"):
        make_client(server.url, key=keys["sender"]).search("")


# -- making one


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "expected the URL"),
        ("audit.example.com", "expected the URL"),
        ("ftp://audit.example.com", "expected the URL"),
        ("https://", "expected the URL"),
        ("https://key@audit.example.com", "give the key as `key`"),
        ("https://audit.example.com/?a=1", "no user, query or fragment"),
        ("https://audit.example.com:port", "URL of a server"),
        ("https://audit.example.com:99999", "URL of a server"),
    ],
)
def test_what_is_no_url_of_a_server_is_refused(url: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Client(url)


@pytest.mark.parametrize("key", ["two words", "line\n", "schlüssel"])
def test_what_is_no_key_is_refused_without_being_repeated(key: str) -> None:
    with pytest.raises(ConfigError, match="one word") as caught:
        Client("https://audit.example.com", key=key)

    assert key not in str(caught.value)


def test_a_key_that_would_go_in_clear_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "whodid"):
        Client("http://127.0.0.1:8787", key="whodid_a_b")
        Client("https://audit.example.com", key="whodid_a_b")
        assert not caplog.records
        Client("http://audit.example.com", key="whodid_a_b")

    assert "plain http" in caplog.text


def test_a_path_before_the_api_is_kept(
    server: Serving, keys: dict[str, str], make_client: MakeClient
) -> None:
    with pytest.raises(StoreUnavailableError, match="audit: it answers 40"):
        make_client(f"{server.url}/audit/", key=keys["all"]).append(some(1))


def test_what_was_sent_is_in_the_servers_log(folder: Path, client: Client) -> None:
    [sent] = some(1)
    client.append([sent])

    store = SqliteStore(folder / "log.db", create=False)
    assert store.find(str(sent.event.id), access=EVERYTHING)
    store.close()
