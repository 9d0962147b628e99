"""What comes over the wire, byte by byte: no client gets more than its share, or breaks it."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.server.serving import ROOT, Serving, serving
from whodid.server.connections import MAX_HEAD_BYTES, SPARE_FILES, max_connections
from whodid.server.settings import Settings

EVENT = b'{"action":"a.b","actor":{"type":"system"}}'
HOST = b"Host: 127.0.0.1\r\n"
CLOSE = b"Connection: close\r\n"
JSON = b"Content-Type: application/json\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(EVENT)
POST = b"POST /v1/events HTTP/1.1\r\n" + HOST + CLOSE
COUNT = b"GET /v1/count HTTP/1.1\r\n" + HOST + CLOSE
ROUTES = [
    "/v1/events", "/v1/events/x", "/v1/facets", "/v1/histogram", "/v1/count", "/v1/tail",
    "/metrics", "/openapi.json", "/healthz", "/", "/events.json", "/events/x", "/static/viewer.css",
]  # fmt: skip


def get(target: bytes) -> bytes:
    return b"GET " + target + b" HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n"


def post(headers: bytes, body: bytes = EVENT) -> bytes:
    return POST + headers + b"\r\n" + body


def chunked(body: bytes) -> bytes:
    return post(JSON + b"Transfer-Encoding: chunked\r\n", body)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """One server for all: whatever came before, it answers, and logs no error in the end."""
    database = tmp_path_factory.mktemp("wire") / "log.db"
    with serving(database, body_timeout_s=0.5, head_timeout_s=0.5) as server:
        yield server
        assert_answers(server)
        server.process.terminate()
        _, said = server.process.communicate(timeout=30)
    assert "Traceback" not in said
    assert "ERROR" not in said
    assert len(said) < 3_000


def assert_answers(server: Serving) -> None:
    assert server.request("GET", "/healthz") == (200, {"status": "ok"})


def talk(server: Serving, sent: bytes) -> bytes:
    """All that comes back until the server closes."""
    with socket.create_connection(server.address, timeout=30) as connection:
        with contextlib.suppress(ConnectionError):  # it may close before it has read everything
            connection.sendall(sent)
        return heard(connection)


def heard(connection: socket.socket) -> bytes:
    answer = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65_536):
            answer += piece
    return answer


def statuses(answer: bytes) -> list[int]:
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


NO_HTTP = {
    "two lengths": post(JSON + LENGTH + LENGTH),
    "two lengths that differ": post(JSON + LENGTH + b"Content-Length: 3\r\n"),
    "a list of lengths": post(JSON + b"Content-Length: 42, 42\r\n"),
    "a length and chunks": post(
        JSON + LENGTH + b"Transfer-Encoding: chunked\r\n", b"2a\r\n" + EVENT + b"\r\n0\r\n\r\n"
    ),
    "chunks and a length": post(
        JSON + b"Transfer-Encoding: chunked\r\n" + LENGTH, b"2a\r\n" + EVENT + b"\r\n0\r\n\r\n"
    ),
    "another transfer coding": post(JSON + b"Transfer-Encoding: gzip\r\n"),
    "a misspelt transfer coding": post(JSON + b"Transfer-Encoding: xchunked\r\n"),
    "a length below nothing": post(JSON + b"Content-Length: -1\r\n"),
    "a length of thirty digits": post(JSON + b"Content-Length: " + b"9" * 30 + b"\r\n"),
    "a length with a sign": post(JSON + b"Content-Length: +42\r\n"),
    "a length in other digits": post(JSON + b"Content-Length: \xd9\xa4\r\n"),
    "a chunk below nothing": chunked(b"-1\r\n" + EVENT + b"\r\n0\r\n\r\n"),
    "a chunk of seventeen digits": chunked(b"f" * 17 + b"\r\n" + EVENT),
    "a chunk with a prefix": chunked(b"0x2a\r\n" + EVENT + b"\r\n0\r\n\r\n"),
    "a chunk longer than it says": chunked(b"5\r\n" + EVENT + b"\r\n0\r\n\r\n"),
    "latin-1 in the path": get(b"/v1/events/\xff\xfe"),
    "latin-1 in the query": get(b"/v1/count?q=\xff"),
    "nul in the path": get(b"/v1/events/\0"),
    "nul in a header": COUNT + b"X: a\0b\r\n\r\n",
    "nul in the key": COUNT + b"Authorization: Bearer \0\r\n\r\n",
    "a folded header": COUNT + b"X: a\r\n b\r\n\r\n",
    "a blank before the colon": COUNT + b"X : a\r\n\r\n",
    "a header without colon": COUNT + b"Xa\r\n\r\n",
    "line feeds alone": b"GET /v1/count HTTP/1.1\nHost: 127.0.0.1\n\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/1.2": b"GET /v1/count HTTP/1.2\r\n" + HOST + b"\r\n",
    "a method in lower case": b"get /v1/count HTTP/1.1\r\n" + HOST + b"\r\n",
    "a method that is none": b"WHISPER /v1/count HTTP/1.1\r\n" + HOST + b"\r\n",
    "a path without slash": get(b"v1/count"),
    "a query without path": get(b"?q=x"),
    "a port that is none": get(b"http://127.0.0.1:99999999/v1/count"),
    "a host to connect to": b"CONNECT 127.0.0.1:80 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a path of 64 kB": get(b"/v1/events/" + b"a" * 65_536),
    "a query of 64 kB": get(b"/v1/count?q=" + b"a" * 65_536),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.parametrize("name", NO_HTTP)
def test_what_is_no_http_is_a_problem_like_any_other(server: Serving, name: str) -> None:
    answer = talk(server, NO_HTTP[name])

    assert statuses(answer) == [400]
    assert b"content-type: application/problem+json\r\n" in answer
    assert b'"type":"urn:whodid:problem:http"' in answer
    assert_answers(server)


REFUSED = {
    "two types": (post(JSON + JSON + LENGTH), 415, "type"),
    "two types that differ": (post(JSON + b"Content-Type: text/plain\r\n" + LENGTH), 415, "type"),
    "two codings": (
        post(JSON + b"Content-Encoding: identity\r\nContent-Encoding: gzip\r\n" + LENGTH),
        415,
        "type",
    ),
    "latin-1 as type": (post(b"Content-Type: \xff\r\n" + LENGTH), 415, "type"),
    "latin-1 as coding": (post(JSON + b"Content-Encoding: \xff\r\n" + LENGTH), 415, "type"),
    "no host": (b"GET /v1/count HTTP/1.1\r\n" + CLOSE + b"\r\n", 403, "not-local"),
    "an empty host": (b"GET /v1/count HTTP/1.1\r\nHost: \r\n" + CLOSE + b"\r\n", 403, "not-local"),
    "two hosts": (COUNT + HOST + b"\r\n", 403, "not-local"),
    "two keys": (COUNT + b"Authorization: Bearer a\r\n" * 2 + b"\r\n", 401, "key"),
    "latin-1 as key": (COUNT + b"Authorization: Bearer \xff\xfe\r\n\r\n", 401, "key"),
    "a key of 60 kB": (COUNT + b"Authorization: Bearer " + b"a" * 60_000 + b"\r\n\r\n", 401, "key"),
    "an escape that is no UTF-8": (get(b"/v1/count?q=%ff"), 400, "parameter"),
    "an escaped surrogate": (get(b"/v1/count?q=%ed%a0%80"), 400, "parameter"),
    "an escaped surrogate as name": (get(b"/v1/count?%ed%a0%80=x"), 400, "parameter"),
    "five thousand parameters": (get(b"/v1/count?" + b"a=1&" * 5_000), 400, "parameter"),
    "five thousand ampersands": (get(b"/v1/count?" + b"&" * 5_000), 400, "parameter"),
    "a search of 60 kB": (get(b"/v1/count?q=" + b"a" * 60_000), 400, "query"),
    "an id that is no UTF-8": (get(b"/v1/events/%ff%fe"), 404, "event"),
    "an id with a surrogate": (get(b"/v1/events/%ed%a0%80"), 404, "event"),
    "an id with nul": (get(b"/v1/events/%00"), 404, "event"),
    "an id of broken escapes": (get(b"/v1/events/%zz%%%1"), 404, "event"),
    "a tenant with nul": (
        get(b"/v1/events/0199d3a0-7b00-7000-8000-000000000001?tenant=%00"), 404, "event",
    ),
    "everything as path": (get(b"*"), 404, "path"),
    "latin-1 as token": (
        b"GET /v1/tail HTTP/1.1\r\n" + HOST + CLOSE + b"Last-Event-ID: \xff\r\n\r\n", 400, "cursor",
    ),
    "a token of 60 kB": (
        b"GET /v1/tail HTTP/1.1\r\n" + HOST + CLOSE + b"Last-Event-ID: " + b"A" * 60_000
        + b"\r\n\r\n", 400, "cursor",
    ),
    "two tokens": (
        b"GET /v1/tail HTTP/1.1\r\n" + HOST + CLOSE + b"Last-Event-ID: a\r\n" * 2 + b"\r\n",
        400, "cursor",
    ),
    "an empty idempotency key": (
        post(JSON + LENGTH + b"Idempotency-Key: \r\n"), 400, "idempotency-key",
    ),
    "an idempotency key of quotes": (
        post(JSON + LENGTH + b'Idempotency-Key: ""\r\n'), 400, "idempotency-key",
    ),
    "an idempotency key in latin-1": (
        post(JSON + LENGTH + b"Idempotency-Key: \xe9\r\n"), 400, "idempotency-key",
    ),
    "an idempotency key with a tab": (
        post(JSON + LENGTH + b"Idempotency-Key: a\tb\r\n"), 400, "idempotency-key",
    ),
    "an idempotency key too long": (
        post(JSON + LENGTH + b"Idempotency-Key: " + b"a" * 101 + b"\r\n"), 400, "idempotency-key",
    ),
    "two idempotency keys": (
        post(JSON + LENGTH + b"Idempotency-Key: a\r\n" * 2), 400, "idempotency-key",
    ),
    "a chunk that never comes": (chunked(b"f" * 16 + b"\r\n" + EVENT), 408, "slow"),
    "a body that never comes": (post(JSON + LENGTH, b"{"), 408, "slow"),
    "a body packed twice": (chunked(b"2\r\n{}\r\n0\r\n\r\n"), 422, "event"),
    "a length that is too much": (post(JSON + b"Content-Length: 9999999\r\n"), 413, "size"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_odd_requests_are_refused_with_the_reason(server: Serving, name: str) -> None:
    sent, status, kind = REFUSED[name]

    answer = talk(server, sent)

    assert statuses(answer) == [status]
    assert f'"type":"urn:whodid:problem:{kind}"'.encode() in answer
    assert_answers(server)


TAKEN = {
    "chunks of one byte": chunked(b"".join(b"1\r\n%c\r\n" % c for c in EVENT) + b"0\r\n\r\n"),
    "a chunk with many zeros": chunked(b"0" * 24 + b"2a\r\n" + EVENT + b"\r\n0\r\n\r\n"),
    "a chunk with extension and trailer": chunked(
        b"2a;x=y\r\n" + EVENT + b"\r\n0\r\nDigest: x\r\n\r\n"
    ),
    "HTTP/1.0": b"POST /v1/events HTTP/1.0\r\n" + HOST + JSON + LENGTH + b"\r\n" + EVENT,
    "the whole address": (
        b"POST http://127.0.0.1/v1/events HTTP/1.1\r\n" + HOST + CLOSE + JSON + LENGTH + b"\r\n"
        + EVENT
    ),
    "an expectation we do not know": post(JSON + LENGTH + b"Expect: 200-ok\r\n"),
    "empty lines before": b"\r\n\r\n" + post(JSON + LENGTH),
    "a wish for HTTP/2": post(JSON + LENGTH + b"Connection: Upgrade, close\r\n"),
}  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
def test_odd_requests_that_are_right_are_answered(server: Serving, name: str) -> None:
    assert statuses(talk(server, TAKEN[name])) == [201]


@pytest.mark.parametrize("path", ROUTES)
def test_a_head_is_the_answer_without_its_body(server: Serving, path: str) -> None:
    answer = talk(server, b"HEAD " + path.encode() + b" HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n")

    assert statuses(answer) == [404 if path.endswith("/x") else 200]
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "CONNECT", "PUT", "PATCH", "DELETE"])
def test_another_method_is_refused_on_every_route(server: Serving, path: str, method: str) -> None:
    answer = talk(server, f"{method} {path} HTTP/1.1\r\n".encode() + HOST + CLOSE + b"\r\n")

    assert statuses(answer) == [405]
    assert b"\r\nallow: GET" in answer


def test_requests_sent_together_are_answered_in_their_order(server: Serving) -> None:
    ask = b"GET /v1/events/%d HTTP/1.1\r\n" + HOST + b"\r\n"
    wrong = b"POST /v1/events HTTP/1.1\r\n" + HOST + JSON + b"Content-Length: 1\r\n\r\n{"

    answer = talk(server, ask % 1 + wrong + get(b"/healthz"))

    assert statuses(answer) == [404, 400, 200]


def test_nonsense_after_a_request_breaks_into_no_answer(server: Serving) -> None:
    answer = talk(server, b"GET /v1/count HTTP/1.1\r\n" + HOST + b"\r\n" + b"nonsense\r\n\r\n")

    assert answer == b"" or statuses(answer)[0] in (200, 400)
    assert_answers(server)


def test_who_waits_to_be_asked_for_its_body_is_asked_only_when_it_will_be_read(
    server: Serving,
) -> None:
    with socket.create_connection(server.address, timeout=30) as connection:
        connection.sendall(post(JSON + b"Content-Length: 9999999\r\nExpect: 100-continue\r\n", b""))
        refused = heard(connection)

    assert statuses(refused) == [413]


@pytest.mark.parametrize("begun", [b"", b"\r\n", b"POST /v1/ev", COUNT, COUNT + b"X: "])
def test_a_head_that_does_not_end_is_given_up(server: Serving, begun: bytes) -> None:
    with socket.create_connection(server.address, timeout=30) as connection:
        connection.sendall(begun)
        answer = heard(connection)  # ends only because the server closes

    assert statuses(answer) == ([408] if begun.strip() else [])


def test_a_head_that_trickles_is_given_up(server: Serving) -> None:
    with socket.create_connection(server.address, timeout=0.05) as connection:
        connection.sendall(COUNT)
        ended = False
        for _ in range(200):  # ten seconds, of which the server gives half a one
            with contextlib.suppress(ConnectionError):
                connection.sendall(b"X: y\r\n")
            try:
                ended = not connection.recv(1_000)
            except TimeoutError:
                continue
            except ConnectionError:
                ended = True
            if ended:
                break

    assert ended


def test_a_second_head_that_trickles_is_given_up_too(server: Serving) -> None:
    with socket.create_connection(server.address, timeout=30) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\nGET /heal")
        answer = heard(connection)

    assert statuses(answer) == [200, 408]


@pytest.mark.parametrize("name", [b"X: ", b"GET /"])
def test_a_head_without_end_is_refused_before_it_fills_the_memory(
    server: Serving, name: bytes
) -> None:
    sent = 0
    with socket.create_connection(server.address, timeout=30) as connection:
        connection.sendall(name if name.startswith(b"GET") else COUNT + name)
        with contextlib.suppress(ConnectionError):
            for _ in range(1_000):
                connection.sendall(b"a" * MAX_HEAD_BYTES)
                sent += MAX_HEAD_BYTES

    # What fits into the buffers of the kernel, on both sides, besides what was read.
    assert sent < 20_000_000
    assert_answers(server)


def test_a_large_head_says_why(server: Serving) -> None:
    answer = b""
    with socket.create_connection(server.address, timeout=0.02) as connection:
        connection.sendall(COUNT)
        while not answer:
            with contextlib.suppress(TimeoutError):
                connection.sendall(b"X: " + b"a" * 20_000 + b"\r\n")
                answer = connection.recv(65_536)

    assert statuses(answer) == [431]
    assert b'"type":"urn:whodid:problem:head"' in answer


@contextmanager
def crowd(server: Serving, *, size: int, sent: bytes) -> Iterator[list[socket.socket]]:
    """Many connections on which the same was sent."""
    with ExitStack() as open_ones:
        connections = []
        for _ in range(size):
            connection = socket.create_connection(server.address, timeout=30)
            connections.append(open_ones.enter_context(connection))
            with contextlib.suppress(ConnectionError):
                connection.sendall(sent)
        yield connections


def open_files(server: Serving) -> int:
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def test_unfinished_heads_do_not_use_up_the_server(tmp_path: Path) -> None:
    with serving(tmp_path / "log.db", max_requests=100, head_timeout_s=1.0) as server:
        with crowd(server, size=600, sent=COUNT) as connections:
            meanwhile = open_files(server)
            answers = [heard(connection) for connection in connections]
            assert_answers(server)
        after = open_files(server)

    # 264 are let in, the others are closed unheard; who comes when some were given up is let in.
    heard_of = Counter(tuple(statuses(answer)) for answer in answers)
    assert set(heard_of) == {(), (408,)}
    assert heard_of[408,] >= 264
    assert meanwhile < 264 + 100
    assert after < 100


def test_of_600_requests_at_once_the_surplus_is_told_to_come_back(tmp_path: Path) -> None:
    asking = post(JSON + LENGTH + b"Expect: 100-continue\r\n", b"")
    with serving(tmp_path / "log.db") as server, crowd(server, size=600, sent=asking) as all_600:
        first = [connection.recv(4_096) for connection in all_600]
        admitted = [
            each for each, said in zip(all_600, first, strict=True) if b" 100 " in said[:16]
        ]
        for connection in admitted:
            connection.sendall(EVENT)
        stored = Counter(statuses(heard(connection))[0] for connection in admitted)
        assert_answers(server)
        after, _ = server.request("GET", "/v1/count")

    assert Counter(statuses(said)[0] for said in first) == {100: 512, 503: 88}
    assert stored == {201: 512}
    assert after == 200


@pytest.mark.parametrize(
    ("sent", "is_awaited"),
    [
        (post(JSON + b"Content-Length: 1000\r\n", b"{"), False),
        (chunked(b"1000\r\n{"), False),
        (get(b"/v1/tail"), True),
        (get(b"/v1/tail"), False),
        (get(b"/v1/facets"), True),
        (get(b"/"), True),
        (get(b"/"), False),
        (COUNT, False),
    ],
)
def test_a_client_that_hangs_up_hard_is_no_error(
    server: Serving, sent: bytes, is_awaited: bool
) -> None:
    for _ in range(20):
        with socket.create_connection(server.address, timeout=30) as connection:
            reset = struct.pack("ii", 1, 0)  # close with a reset, not in order
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            connection.sendall(sent)
            if is_awaited:
                connection.recv(1)

    assert_answers(server)


def test_the_limit_of_open_files_is_raised_as_far_as_needed() -> None:
    program = (
        "import resource; from whodid.server.connections import max_connections;"
        "from whodid.server.settings import Settings;"
        "print(max_connections(Settings()), resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )

    def answer(soft: int, hard: int) -> list[int]:
        ran = subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard)),
        )  # fmt: skip
        return [int(number) for number in ran.stdout.split()]

    wanted = 2 * Settings().max_requests + 64
    assert answer(512, 4_096) == [wanted, wanted + SPARE_FILES]
    assert answer(512, 512) == [512 - SPARE_FILES, 512]
    assert answer(4_096, 4_096) == [wanted, 4_096]
    assert max_connections(Settings(max_requests=1)) == 66
