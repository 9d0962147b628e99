"""The real server over real sockets: what only uvicorn and TCP can show."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.server.conftest import plain
from tests.server.serving import Serving, serving, start
from whodid.errors import ConfigError, StoreUnavailableError
from whodid.server.auth import new_key
from whodid.server.run import run
from whodid.server.settings import Settings
from whodid.stores.sqlite import SqliteStore
from whodid.testing import EVERYTHING
from whodid.times import Instant

HEAD = "POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("run") / "log.db", body_timeout_s=1.0) as server:
        yield server


def talk(server: Serving, *pieces: str) -> bytes:
    """What comes back on a connection on which this is sent, piece by piece."""
    with socket.create_connection(server.address, timeout=30) as connection:
        for piece in pieces:
            connection.sendall(piece.encode())
        return connection.recv(65_536)


def test_chunked_bodies_are_read(server: Serving) -> None:
    body = json.dumps(plain())
    chunks = "".join(f"{len(piece):x}\r\n{piece}\r\n" for piece in (body[:7], body[7:]))

    answer = talk(server, HEAD, "Transfer-Encoding: chunked\r\n\r\n", chunks, "0\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 201 ")
    assert b"server: uvicorn" not in answer.lower()


def test_a_body_too_large_is_refused_before_it_is_sent(server: Serving) -> None:
    answer = talk(server, HEAD, "Content-Length: 2000000000\r\n\r\n", "[")

    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_chunked_body_without_end_is_refused_at_the_limit(server: Serving) -> None:
    chunk = f"{50_000:x}\r\n{' ' * 50_000}\r\n"

    answer = talk(server, HEAD, "Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 101)

    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_connection_goes_on_after_a_refused_body(server: Serving) -> None:
    with closing(server.connect()) as connection:
        connection.request(
            "POST",
            "/v1/events",
            body=b" " * 6_000_000,
            headers={"Content-Type": "application/json"},
        )
        refused = connection.getresponse()
        refused.read()
        connection.request("GET", "/healthz")
        health = connection.getresponse().status

    assert (refused.status, health) == (413, 200)


def test_a_body_that_does_not_arrive_is_given_up(server: Serving) -> None:
    answer = talk(server, HEAD, "Content-Length: 100\r\n\r\n", "{")

    assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_client_that_leaves_in_the_middle_harms_nobody(server: Serving) -> None:
    before = server.request("GET", "/v1/count?q=action:half.sent")
    with socket.create_connection(server.address) as connection:
        connection.sendall((HEAD + 'Content-Length: 100\r\n\r\n{"action": "half.sent"').encode())

    assert server.request("GET", "/v1/count?q=action:half.sent") == before


@pytest.mark.parametrize(
    "request_line",
    [
        "GET /v1/events HTTP/1.0\r\n\r\n",
        "GET http://127.0.0.1/v1/events HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        "GET /v1/events HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        "GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    ],
)
def test_a_request_that_is_not_local_is_refused(server: Serving, request_line: str) -> None:
    assert talk(server, request_line).split(b" ")[1] == b"403"


@pytest.mark.parametrize(
    "sent", ["nonsense\r\n\r\n", "GET /\x00 HTTP/1.1\r\n\r\n", "\x16\x03\x01\r\n\r\n"]
)
def test_what_is_no_http_is_refused(server: Serving, sent: str) -> None:
    assert talk(server, sent).split(b" ")[1] == b"400"


def test_an_upgrade_to_a_websocket_is_not_made(server: Serving) -> None:
    answer = talk(
        server,
        "GET /v1/count HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )

    assert not answer.startswith(b"HTTP/1.1 101")


def test_more_requests_than_allowed_are_told_to_come_back(tmp_path: Path) -> None:
    with serving(tmp_path / "log.db", max_requests=1) as server:
        with socket.create_connection(server.address, timeout=30) as waiting:
            waiting.sendall((HEAD + "Content-Length: 2\r\nExpect: 100-continue\r\n\r\n").encode())
            assert waiting.recv(1_000).startswith(b"HTTP/1.1 100 ")  # its body is being awaited
            busy, problem = server.request("GET", "/v1/count")
            health, _ = server.request("GET", "/healthz")
            waiting.sendall(b"{}")
            answered = waiting.recv(1_000)
        free, _ = server.request("GET", "/v1/count")

    assert (busy, health, free) == (503, 200, 200)
    assert problem["type"] == "urn:whodid:problem:busy"
    assert answered.startswith(b"HTTP/1.1 422 ")


def test_a_server_asked_to_stop_finishes_and_says_nothing(tmp_path: Path) -> None:
    server = start(tmp_path / "log.db")
    status, _ = server.request("POST", "/v1/events", plain())

    server.process.send_signal(signal.SIGTERM)
    said, complained = server.process.communicate(timeout=30)

    store = SqliteStore(tmp_path / "log.db")
    assert status == 201
    assert store.stats(access=EVERYTHING).events == 1
    assert (said, complained) == ("", "")
    store.close()


def test_a_port_that_is_taken_is_a_clear_message(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        store = SqliteStore(tmp_path / "log.db")

        with pytest.raises(ConfigError, match="--port"):
            run(store, Settings(port=taken.getsockname()[1]))

    with pytest.raises(StoreUnavailableError):
        store.check_health()  # closed, whatever happens


def test_an_address_that_is_not_here_is_a_clear_message(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "log.db")
    store.add_key(new_key(name="web", tenant="*", scopes={"read"}, now=Instant.now())[1])

    with pytest.raises(ConfigError, match=r"cannot listen on 203\.0\.113\.1"):
        run(store, Settings(host="203.0.113.1", port=0))


def test_a_public_address_without_a_key_is_not_even_listened_on(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="whodid keys create"):
        run(SqliteStore(tmp_path / "log.db"), Settings(host="0.0.0.0", port=0))


def test_many_connections_at_once_lose_nothing(server: Serving) -> None:
    connections = [server.connect() for _ in range(30)]
    for number, connection in enumerate(connections):
        connection.request(
            "POST",
            "/v1/events",
            body=json.dumps(plain(tenant={"id": "many"}, message=str(number))),
            headers={"Content-Type": "application/json"},
        )
    answers = [json.loads(connection.getresponse().read()) for connection in connections]
    for connection in connections:
        connection.close()

    indices = sorted(answer["receipts"][0]["index"] for answer in answers)
    assert indices == list(range(30))


def test_a_store_that_another_process_serves_can_be_verified_meanwhile(tmp_path: Path) -> None:
    with serving(tmp_path / "log.db") as server:
        server.request("POST", "/v1/events", {"events": [plain()] * 50})
        store = SqliteStore(tmp_path / "log.db")
        report = store.verify(access=EVERYTHING)
        store.close()

    assert report.is_sound, report.problems
