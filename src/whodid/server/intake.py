"""Where the event loop hands over bodies and awaits answers: a writer here, or in processes.

`LocalIntake` has the writer's thread in this process. `WorkerIntake` sends bodies to processes of
its own (`worker`), so that this one only moves bytes and pages stay quick however much comes in.
The background indexer has a process of its own then, too.
What a worker had in hand when it died is answered 503: it was stored whole or not at all, and
sending it again under its ids or its idempotency key adds nothing that is there. The worker is
started anew.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
import struct
import sys
from typing import Literal, Protocol

import msgspec
from msgspec import Struct, structs

from whodid.errors import ConfigError, StoreUnavailableError
from whodid.server.bodies import Upload
from whodid.server.problems import RETRY_AFTER_S, ProblemError, refuse
from whodid.server.settings import Settings
from whodid.server.writing import Answer, Writer, answer_of
from whodid.stores.base import EventStore

LENGTH = struct.Struct(">I")
"""Before each message between the processes: its number of bytes."""
RESTART_DELAY_S = 0.5
MAX_RESTART_DELAY_S = 30.0
"""A process that ends again and again is started more and more rarely."""
LIVED_S = 10.0
STUCK_S = 60.0
"""A body that waits longer than this for its answer waits for a process that does nothing."""
STOP_S = 30.0
_log = logging.getLogger("whodid.server")
_encode = msgspec.msgpack.Encoder().encode
_answers = msgspec.msgpack.Decoder(dict[int, Answer])


class Beginning(Struct, frozen=True, kw_only=True):
    """The first message to a process: which database, and what to do there."""

    url: str
    settings: Settings
    role: Literal["store", "index"] = "store"


class Intake(Protocol):
    """Stores bodies, one answer each. Used on the event loop alone."""

    async def start(self) -> None:
        """Begin to take uploads."""
        ...

    async def store(self, upload: Upload) -> Answer:
        """Store one upload. The answer says whether that went well; it raises nothing."""
        ...

    def check(self) -> None:
        """Return if uploads can be stored now.

        Raises:
            StoreUnavailableError: Nothing is there to store them, or it does nothing.
        """
        ...

    async def close(self) -> None:
        """Store what was handed over, and stop."""
        ...


def open_intake(store: EventStore, *, settings: Settings) -> Intake:
    """The intake that the settings ask for.

    Raises:
        ConfigError: Workers are wanted, and the store or the system can't have them.
    """
    if not settings.ingest_workers:
        return LocalIntake(store, settings=settings)
    if sys.platform == "win32":
        raise ConfigError("ingest_workers: needs Unix sockets; leave it at 0 on Windows")
    return WorkerIntake(store.url, settings=settings)


class _Pending:
    """Requests that wait for an answer, by number."""

    def __init__(self) -> None:
        self._futures: dict[int, tuple[float, asyncio.Future[Answer]]] = {}

    def add(self, number: int) -> asyncio.Future[Answer]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._futures[number] = loop.time(), future
        return future

    def waited_s(self) -> float:
        """For how long the oldest of them has waited."""
        since = next(iter(self._futures.values()), None)  # in the order in which they came
        return asyncio.get_running_loop().time() - since[0] if since else 0.0

    def answer(self, answers: dict[int, Answer]) -> None:
        for number, answer in answers.items():
            _, future = self._futures.pop(number)
            if not future.done():  # else nobody waits any more
                future.set_result(answer)

    def answer_all(self, error: Exception) -> None:
        if self._futures:
            self.answer(dict.fromkeys(self._futures, answer_of(error)))


class LocalIntake:
    """A writer in a thread of this process."""

    def __init__(self, store: EventStore, *, settings: Settings) -> None:
        self._store, self._settings = store, settings
        self._pending = _Pending()
        self._numbers = itertools.count()

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._writer = Writer(
            self._store,
            settings=self._settings,
            deliver=lambda answers: _call_if_open(loop, self._pending, answers),
        )

    async def store(self, upload: Upload) -> Answer:
        number = next(self._numbers)
        future = self._pending.add(number)
        self._writer.put(number, upload)
        return await future

    def check(self) -> None:
        if self._pending.waited_s() > STUCK_S:
            raise StoreUnavailableError(_stuck(self._pending.waited_s()))

    async def close(self) -> None:
        await asyncio.to_thread(self._writer.close)


def _call_if_open(
    loop: asyncio.AbstractEventLoop, pending: _Pending, answers: dict[int, Answer]
) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(pending.answer, answers)


class WorkerIntake:
    """Processes that decode and store; each body goes to the one with the least in hand.

    One more process indexes: in a thread beside a writer it would take the interpreter from it.
    """

    def __init__(self, url: str, *, settings: Settings) -> None:
        beginning = Beginning(url=url, settings=settings)
        self._workers = [_Worker(beginning) for _ in range(settings.ingest_workers)]
        self._indexer = _Worker(structs.replace(beginning, role="index"))

    async def start(self) -> None:
        await asyncio.gather(*(each.start() for each in (*self._workers, self._indexer)))

    async def store(self, upload: Upload) -> Answer:
        ready = [worker for worker in self._workers if worker.is_running]
        if not ready:
            return answer_of(_being_started())
        return await min(ready, key=lambda worker: worker.held_bytes).store(upload)

    def check(self) -> None:
        if not any(worker.is_running for worker in self._workers):
            raise StoreUnavailableError("the processes that store are being started anew")
        waited_s = max(worker.waited_s() for worker in self._workers)
        if waited_s > STUCK_S:
            raise StoreUnavailableError(_stuck(waited_s))

    async def close(self) -> None:
        await asyncio.gather(*(each.close() for each in (*self._workers, self._indexer)))


def _stuck(waited_s: float) -> str:
    return f"an upload has waited for {waited_s:.0f} s to be stored; restart the server"


def _being_started() -> ProblemError:
    # Not logged for each request: that workers ended was.
    return refuse(
        503,
        "unavailable",
        "the processes that store are being started anew; nothing was stored; send it again later",
        headers={"retry-after": str(RETRY_AFTER_S)},
    )


class _Worker:
    """One process, its socket, and what it has in hand.

    Attributes:
        is_running: It takes uploads now.
        held_bytes: Of bodies that it has not answered yet.
    """

    def __init__(self, beginning: Beginning) -> None:
        self._beginning = beginning
        self._pending = _Pending()
        self._numbers = itertools.count()
        self._is_closing = False
        self._stopping = asyncio.Event()
        self._delay_s = RESTART_DELAY_S / 2  # doubled before it is waited
        self._started_at = 0.0
        self.is_running = False
        self.held_bytes = 0

    async def start(self) -> None:
        """Start the process.

        Raises:
            OSError: The system gives no more processes or files.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            # -P: a module that lies in the folder which the server was started in is none of ours.
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "whodid.server.worker", stdin=theirs.fileno()
            )
        reader, self._writer = await asyncio.open_unix_connection(sock=ours)
        self._send(_encode(self._beginning))
        self._reading = asyncio.create_task(self._read(reader))
        self._started_at = asyncio.get_running_loop().time()
        self.is_running = True

    def waited_s(self) -> float:
        """For how long the oldest upload has waited for its answer."""
        return self._pending.waited_s()

    async def store(self, upload: Upload) -> Answer:
        number = next(self._numbers)
        future = self._pending.add(number)
        self.held_bytes += len(upload.body)
        try:
            self._send(_encode((number, upload)))
            return await future
        finally:
            self.held_bytes -= len(upload.body)

    def _send(self, message: bytes) -> None:
        # Not awaited: what may wait is bounded before it is read (`max_waiting_bytes`).
        self._writer.write(LENGTH.pack(len(message)))
        self._writer.write(message)

    async def close(self) -> None:
        """Let the process finish what it has, and wait for its end; not for ever."""
        self._is_closing = True
        self._stopping.set()
        if self.is_running:
            self._writer.write_eof()
        try:
            async with asyncio.timeout(STOP_S):
                while not self._reading.done():  # which may start the process once more
                    await asyncio.wait([self._reading])
                await self._process.wait()
        except TimeoutError:
            _log.error("a process to %s does not stop and is killed", self._beginning.role)
            self._process.kill()
            await self._process.wait()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        """Hand out answers until the process is gone; start it anew if that was not asked for."""
        try:
            while True:
                [size] = LENGTH.unpack(await reader.readexactly(LENGTH.size))
                self._pending.answer(_answers.decode(await reader.readexactly(size)))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        self.is_running = False
        self._writer.close()
        self._pending.answer_all(StoreUnavailableError("the process that had it in hand stopped"))
        status = await self._process.wait()
        if not self._is_closing:
            await self._restart(status)

    async def _restart(self, status: int) -> None:
        lived_s = asyncio.get_running_loop().time() - self._started_at
        longer_s = min(self._delay_s * 2, MAX_RESTART_DELAY_S)
        self._delay_s = RESTART_DELAY_S if lived_s > LIVED_S else longer_s
        _log.error(
            "a process to %s ended with status %s and is started anew in %g s",
            self._beginning.role,
            status,
            self._delay_s,
        )
        while not await self._stops_within(self._delay_s):
            try:
                await self.start()
            except OSError as error:
                _log.error("a process to %s cannot be started: %s", self._beginning.role, error)
            else:
                break
        if self._is_closing and self.is_running:  # asked to go while it was started
            self._writer.write_eof()

    async def _stops_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return False
        return True
