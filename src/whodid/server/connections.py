"""One client's connection: how long and how large a request's head may be, and how many there are.

uvicorn waits for ever for a head that does not end, and keeps all of it: without these bounds
whoever reaches the port, with no key, could fill the memory or use up all files there are. Bodies
and answers are not its business; `ingest` bounds the bodies, behind the gate.
"""

from __future__ import annotations

import asyncio
import contextlib

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from whodid.server import wire
from whodid.server.problems import MEDIA_TYPE, SECURITY_HEADERS, ProblemError, refuse
from whodid.server.settings import Settings

MAX_HEAD_BYTES = 65_536
"""Larger than any browser's; checked after each piece of at most 256 kB that is read."""
SPARE_FILES = 128
"""Files that are kept for the store, the threads and the workers."""
_LEAST_CONNECTIONS = 16


def max_connections(settings: Settings) -> int:
    """How many connections may be open: enough for all requests, or for the files there are.

    Raises this process's soft limit of open files as far as that needs and the system allows.
    """
    wanted = 2 * settings.max_requests + 64
    try:
        import resource
    except ImportError:  # Windows, whose sockets are no files
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted + SPARE_FILES:
        most = wanted + SPARE_FILES if hard == resource.RLIM_INFINITY else hard
        soft = min(most, wanted + SPARE_FILES)
        with contextlib.suppress(ValueError, OSError):  # then the limit is what it was
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    return max(min(wanted, soft - SPARE_FILES), _LEAST_CONNECTIONS)


def connection_class(settings: Settings) -> type[Connection]:
    """The connections of a server with these settings, as uvicorn takes them."""
    limits = {
        "head_timeout_s": settings.head_timeout_s,
        "max_connections": max_connections(settings),
    }
    return type("Connection", (Connection,), limits)


class Connection(HttpToolsProtocol):
    """uvicorn's connection with bounds; lives on the event loop.

    Attributes:
        head_timeout_s: From the beginning, and from each answer, until the next head is there.
        max_connections: One more is closed before it can say anything.
    """

    head_timeout_s: float
    max_connections: int

    _deadline: asyncio.TimerHandle | None = None
    _has_begun = False
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            transport.abort()
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return  # what it was refused for may have been followed by more
        # Of the piece that a head begins in it is not known how much is head: not counted.
        self._head_bytes += len(data)
        super().data_received(data)
        if self._has_begun and self._head_bytes > MAX_HEAD_BYTES:
            self._end(refuse(431, "head", f"the head has more than {MAX_HEAD_BYTES:,} bytes"))

    def on_message_begin(self) -> None:
        self._has_begun, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._has_begun = False
        self._stop_waiting()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete and not self.transport.is_closing():
            self._await_head()

    def send_400_response(self, msg: str) -> None:
        self._end(
            refuse(400, "http", "what came is no request of HTTP/1.1, or its target is too long")
        )

    def _await_head(self) -> None:
        self._stop_waiting()
        self._deadline = self.loop.call_later(self.head_timeout_s, self._give_up)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        if self._has_begun:
            within = f"within {self.head_timeout_s:g} seconds"
            self._end(refuse(408, "slow", f"the head did not arrive {within}"))
        else:
            self.transport.close()

    def _end(self, error: ProblemError) -> None:
        """Say why, unless that would break into another answer, and close."""
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if not self.pipeline and (
            cycle is None or cycle.response_complete or not cycle.response_started
        ):
            self.transport.write(_written(error))
        self.transport.close()


def _written(error: ProblemError) -> bytes:
    body = wire.write(error.problem)
    headers = {
        "content-type": MEDIA_TYPE,
        "content-length": str(len(body)),
        "connection": "close",
        **SECURITY_HEADERS,
    }
    lines = [f"{name}: {value}\r\n".encode() for name, value in headers.items()]
    return b"".join([STATUS_LINE[error.problem.status], *lines, b"\r\n", body])
