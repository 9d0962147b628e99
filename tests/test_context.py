"""What is known of a piece of work is known in it, and nowhere else."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from whodid import context
from whodid.context import Occasion
from whodid.event import Actor, Tenant


def a_person(name: str) -> Actor:
    return Actor(type="user", id=name)


def who() -> str | None:
    actor = context.current().actor
    return str(actor.id) if actor else None


def steps(name: str = "inside") -> Generator[str | None, None, None]:
    with context.bind(actor=a_person(name)):
        yield who()
        yield who()


def test_nothing_is_known_outside() -> None:
    assert context.current() == context.Context()
    assert context.current_occasion() is None


def test_inner_blocks_add_to_outer_ones_and_win() -> None:
    with context.bind(actor=a_person("ana"), tenant=Tenant(id="acme"), metadata={"a": 1, "b": 1}):
        with context.bind(actor=a_person("bob"), metadata={"b": 2}):
            known = context.current()

            assert (known.actor, known.tenant) == (a_person("bob"), Tenant(id="acme"))
            assert known.metadata == {"a": 1, "b": 2}
        assert who() == "ana"
    assert who() is None


def test_none_hides_what_an_outer_block_says() -> None:
    with context.bind(actor=a_person("ana")), context.bind(actor=None):
        assert who() is None


def test_a_value_that_there_is_not_is_refused() -> None:
    with pytest.raises(TypeError, match="got actr"):
        context.bind(actr=1)


def test_a_block_that_raises_is_left() -> None:
    with pytest.raises(ZeroDivisionError), context.bind(actor=a_person("ana")):
        raise ZeroDivisionError

    assert who() is None


def test_tasks_do_not_mix() -> None:
    async def task(name: str) -> list[str | None]:
        seen = []
        with context.bind(actor=a_person(name)):
            for _ in range(10):
                await asyncio.sleep(0)
                seen.append(who())
        return [*seen, who()]

    async def main() -> list[list[str | None]]:
        return await asyncio.gather(*(task(f"p{number}") for number in range(50)))

    for number, seen in enumerate(asyncio.run(main())):
        assert seen == [f"p{number}"] * 10 + [None]


def test_a_generator_that_is_left_half_way_does_not_leak() -> None:
    with context.bind(actor=a_person("outside")):
        running = steps()

        assert [next(running), who(), next(running), who()] == [
            "inside", "outside", "inside", "outside",
        ]  # fmt: skip
        running.close()
        assert who() == "outside"
    assert who() is None


def test_generators_that_end_in_any_order_leave_the_others_their_own() -> None:
    first, second = steps("first"), steps("second")

    assert [next(first), next(second)] == ["first", "second"]
    first.close()
    assert next(second) == "second"
    second.close()
    assert who() is None


def test_a_generator_may_be_closed_in_another_context() -> None:
    running = steps()
    next(running)
    contextvars.copy_context().run(running.close)

    assert who() is None
    with context.bind(actor=a_person("ana")):
        chain = context._newest.get()
        assert chain is not None
        assert chain.parent is None  # nothing adds up


def test_an_async_generator_does_not_leak() -> None:
    async def asteps() -> AsyncIterator[str | None]:
        with context.bind(actor=a_person("inside")):
            yield who()
            await asyncio.sleep(0)
            yield who()

    async def main() -> list[str | None]:
        seen = []
        async for each in asteps():
            seen += [each, who()]
        return seen

    assert asyncio.run(main()) == ["inside", None, "inside", None]


def test_a_context_manager_of_the_hosts_binds_for_the_block_that_uses_it() -> None:
    @contextmanager
    def as_person(name: str) -> Iterator[None]:
        with context.bind(actor=a_person(name)):
            yield

    @contextmanager
    def as_admin() -> Iterator[None]:
        with as_person("admin"):
            yield

    with as_admin():
        assert who() == "admin"
    assert who() is None


def test_so_does_an_async_one() -> None:
    @asynccontextmanager
    async def as_person(name: str) -> AsyncIterator[None]:
        with context.bind(actor=a_person(name)):
            yield

    async def main() -> tuple[str | None, str | None]:
        async with as_person("ana"):
            await asyncio.sleep(0)
            inside = who()
        return inside, who()

    assert asyncio.run(main()) == ("ana", None)


def test_a_thread_begins_without_and_may_carry_it_along() -> None:
    seen: list[str | None] = []
    with context.bind(actor=a_person("ana")):
        carried = context.carry(lambda: seen.append(who()))
        for target in (lambda: seen.append(who()), carried):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()

    assert seen == [None, "ana"]


def test_what_is_carried_may_run_in_several_threads_at_once() -> None:
    barrier = threading.Barrier(4)

    def work() -> str | None:
        barrier.wait(10)
        return who()

    with context.bind(actor=a_person("ana")), ThreadPoolExecutor(4) as pool:
        carried = context.carry(work)
        assert [each.result() for each in [pool.submit(carried) for _ in range(4)]] == ["ana"] * 4


def test_the_actor_of_an_occasion_is_found_late() -> None:
    occasion = Occasion()
    with context.occasion(occasion):
        assert who() is None
        occasion.find_actor = lambda: a_person("ana")
        assert who() == "ana"
        occasion.actor = a_person("bob")
        assert who() == "bob"


def test_an_occasion_is_seen_from_a_thread_that_was_given_the_context() -> None:
    occasion = Occasion()
    with context.occasion(occasion):
        carried = context.carry(who)
        occasion.actor = a_person("late")
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(carried).result() == "late"


def test_a_block_wins_over_its_occasion_whose_actor_is_then_not_asked_for() -> None:
    def fail() -> Actor:
        raise AssertionError("asked for")

    with context.occasion(Occasion(find_actor=fail)), context.bind(actor=a_person("ana")):
        assert who() == "ana"


def test_an_actor_that_can_not_be_found_is_not_known(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> Actor:
        raise RuntimeError("no session")

    with context.occasion(Occasion(find_actor=fail, tenant=Tenant(id="acme"))):
        known = context.current()

    assert (known.actor, known.tenant) == (None, Tenant(id="acme"))
    assert "could not be found" in caplog.text


def test_the_innermost_occasion_is_the_current_one() -> None:
    outer, inner = Occasion(correlation_id="outer"), Occasion(actor=a_person("job"))
    with context.occasion(outer):
        with context.occasion(inner):
            assert context.current_occasion() is inner
            assert context.current().correlation_id == "outer"
        assert context.current_occasion() is outer


def test_recording_is_off_in_a_block_and_on_again_after_it() -> None:
    assert context.is_recording()
    with context.disabled():
        assert not context.is_recording()
        assert not context.current().is_recording
        with context.bind(actor=a_person("ana")):
            assert not context.is_recording()
    assert context.is_recording()


def test_blocks_that_end_in_any_order_leave_nothing_behind() -> None:
    first, second, third = (context.bind(actor=a_person(name)) for name in ("a", "b", "c"))
    for block in (first, second, third):
        block.__enter__()

    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    assert who() == "c"
    third.__exit__(None, None, None)
    assert who() is None


@pytest.mark.parametrize("name", sorted(context.FIELDS - {"is_recording"}))
def test_none_hides_whatever_an_outer_block_says(name: str) -> None:
    said: dict[str, Any] = {"metadata": {"a": 1}, "tags": ("a",)}
    with context.bind(**{name: said.get(name, a_person("ana"))}), context.bind(**{name: None}):
        assert context.current() == context.Context()


def test_what_an_async_generator_waits_for_in_a_thread_has_its_context() -> None:
    async def pieces() -> AsyncIterator[str | None]:
        with context.bind(actor=a_person("inside")):
            yield await asyncio.to_thread(who)
            yield await asyncio.to_thread(who)

    async def main() -> list[str | None]:
        seen = []
        async for each in pieces():
            seen += [each, await asyncio.to_thread(who)]
        return seen

    assert asyncio.run(main()) == ["inside", None, "inside", None]


def test_a_task_that_outlives_an_async_generator_has_nothing_of_it() -> None:
    async def main() -> str | None:
        ended = asyncio.Event()

        async def later() -> str | None:
            await ended.wait()
            return who()

        async def pieces() -> AsyncIterator[asyncio.Task[str | None]]:
            with context.bind(actor=a_person("inside")):
                yield asyncio.create_task(later())

        (task,) = [each async for each in pieces()]
        ended.set()
        return await task

    assert asyncio.run(main()) is None


def test_what_is_done_in_pieces_keeps_its_blocks_inside_and_leaves_nothing_outside() -> None:
    with context.occasion(Occasion(actor=a_person("request"))):
        work = context.Pieces()
    seen, running = [], steps("inside")
    for _ in range(2):
        with work:
            seen.append(next(running))
        seen.append(who())
    with work:
        running.close()
        seen.append(who())

    assert seen == ["inside", None, "inside", None, "request"]
    assert context.current_occasion() is None


def test_pieces_may_be_done_in_any_thread() -> None:
    def piece() -> str | None:
        with work:
            return who()

    with context.bind(actor=a_person("ana")):
        work = context.Pieces()
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(piece).result() == piece() == "ana"


def test_what_a_request_can_not_be_made_to_say_is_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Odd(Occasion):
        @property
        def request(self) -> Any:
            raise RuntimeError("no token sk_live_4eC39HqLyjWDarjtT1zdp7dc")

        @request.setter
        def request(self, given: object) -> None:
            """Whatever it is."""

    with context.occasion(Odd(tenant=Tenant(id="acme"))):
        known = context.current()

    assert (known.request, known.tenant) == (None, Tenant(id="acme"))
    assert "the request of a request could not be found: RuntimeError" in caplog.text
    assert "sk_live" not in caplog.text
