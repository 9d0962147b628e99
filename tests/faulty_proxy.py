"""A proxy before a real server that does what networks do, by a plan. For tests of senders.

Each request of a sender takes the next fault of the plan; when that is over, requests go through.
"""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FAULTS = (
    "through",  # no fault
    "lost_answer",  # the server has it, the sender hears nothing
    "lost_request",  # the connection breaks before anything arrives
    "twice",  # delivered twice, the second answer comes back
    "half_answer",  # breaks in the middle of the answer
    "error_500",
    "error_502_page",
    "busy_503",
    "quota_429",
    "no_http",  # something else answers at that port
    "wrong_json",  # 201 with a page: a captive portal
)


class Proxy(ThreadingHTTPServer):
    """Listens on a free port of this machine.

    Attributes:
        target: Host and port of the server; may be changed while it runs.
        seen: The fault that each request met.
    """

    daemon_threads = True

    def __init__(self, target: tuple[str, int], plan: Sequence[str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target, self._plan, self.seen = target, iter(plan), list[str]()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def next_fault(self) -> str:
        with self._lock:
            fault = next(self._plan, "through")
            self.seen.append(fault)
            return fault

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: senders that are gone are what is tested."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        getattr(self, f"_{self.server.next_fault()}")(body)

    def do_GET(self) -> None:
        self._answer(*self._forward(None))

    def log_message(self, *args: object) -> None:
        """Nothing."""

    def _through(self, body: bytes) -> None:
        self._answer(*self._forward(body))

    def _lost_answer(self, body: bytes) -> None:
        self._forward(body)
        self._cut()

    def _lost_request(self, body: bytes) -> None:
        self._cut()

    def _twice(self, body: bytes) -> None:
        self._forward(body)
        self._answer(*self._forward(body))

    def _half_answer(self, body: bytes) -> None:
        status, headers, answer = self._forward(body)
        self._head(status, headers, len(answer))
        self.wfile.write(answer[: len(answer) // 2])
        self._cut()

    def _error_500(self, body: bytes) -> None:
        self._answer(500, {}, b"{}")

    def _error_502_page(self, body: bytes) -> None:
        self._answer(502, {"Content-Type": "text/html"}, b"<html>bad gateway</html>")

    def _busy_503(self, body: bytes) -> None:
        self._answer(503, {"Retry-After": "0"}, b'{"detail": "busy"}')

    def _quota_429(self, body: bytes) -> None:
        self._answer(429, {"Retry-After": "0"}, b'{"detail": "quota"}')

    def _no_http(self, body: bytes) -> None:
        self.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        self._cut()

    def _wrong_json(self, body: bytes) -> None:
        self._answer(201, {}, b"<html>please sign in to this network</html>")

    def _forward(self, body: bytes | None) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(*self.server.target, timeout=30)
        passed = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")}
        connection.request(self.command, self.path, body=body, headers=passed)
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        return response.status, {"Content-Type": response.getheader("Content-Type", "")}, answer

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self._head(status, headers, len(body))
        self.wfile.write(body)

    def _head(self, status: int, headers: dict[str, str], size: int) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(size)}.items():
            self.send_header(name, value)
        self.end_headers()

    def _cut(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def faulty_proxy(target: tuple[str, int], plan: Sequence[str] = ()) -> Iterator[Proxy]:
    """A proxy that runs as long as the block."""
    proxy = Proxy(target, plan)
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()


Answerer = Callable[[bytes], tuple[int, dict[str, str], bytes]]


@contextmanager
def answering(answer: Answerer) -> Iterator[str]:
    """The URL of something that answers every request so: what is no whodid at all."""

    class Handler(_Handler):
        def do_POST(self) -> None:
            self._answer(*answer(self.rfile.read(int(self.headers["Content-Length"]))))

        def do_GET(self) -> None:
            self._answer(*answer(b""))

    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
