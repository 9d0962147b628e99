from __future__ import annotations

import threading

import anyio

from whodid.server.threads import Threads


def test_searches_that_hang_do_not_hold_up_credentials() -> None:
    threads = Threads(readers=2)
    released = threading.Event()
    done: list[str] = []

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(threads.read, released.wait)
            done.append(await threads.check(lambda: "checked"))
            released.set()

    anyio.run(main)

    assert done == ["checked"]


def test_no_more_work_of_a_kind_runs_than_there_are_threads() -> None:
    threads = Threads(readers=2)
    running: set[int] = set()
    most: list[int] = []
    lock = threading.Lock()

    def work() -> None:
        with lock:
            running.add(threading.get_ident())
            most.append(len(running))
        with lock:
            running.discard(threading.get_ident())

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(threads.read, work)

    anyio.run(main)

    assert len(most) == 50
    assert max(most) <= 2


def test_work_whose_client_has_gone_is_finished() -> None:
    threads = Threads(readers=2)
    started, released = threading.Event(), threading.Event()
    finished: list[bool] = []

    def work() -> None:
        started.set()
        released.wait()
        finished.append(True)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(threads.read, work)
            await threads.read(started.wait)
            group.cancel_scope.cancel()
            released.set()

    anyio.run(main)

    assert finished == [True]
