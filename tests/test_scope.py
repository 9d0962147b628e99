"""A piece of work is one event, whatever kind of function does it and however it ends."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from whodid import AuditLog


@pytest.fixture
def audit(tmp_path: Path) -> Iterator[AuditLog]:
    with AuditLog(tmp_path / "audit.db") as log:
        yield log


def outcomes(audit: AuditLog) -> list[Any]:
    return [event.outcome for event in audit.search()]


def test_an_async_generator_is_one_event_when_it_has_ended(audit: AuditLog) -> None:
    @audit.scope("report.run")
    async def report() -> AsyncIterator[int]:
        yield 1
        await asyncio.sleep(0)
        yield 2

    async def main() -> list[Any]:
        return [(each, outcomes(audit)) async for each in report()]

    assert asyncio.run(main()) == [(1, []), (2, [])]
    assert outcomes(audit) == ["success"]
    assert inspect.isasyncgenfunction(report)


def test_an_exception_in_an_async_generator_is_told_and_goes_on(audit: AuditLog) -> None:
    @audit.scope("report.run")
    async def report() -> AsyncIterator[int]:
        yield 1
        raise PermissionError("not yours")

    async def main() -> None:
        async for _ in report():
            pass

    with pytest.raises(PermissionError, match="not yours"):
        asyncio.run(main())
    assert outcomes(audit) == ["denied"]


def test_an_async_generator_hears_what_is_sent_and_thrown_into_it(audit: AuditLog) -> None:
    heard: list[object] = []

    @audit.scope("report.run")
    async def report() -> AsyncGenerator[str, str]:
        heard.append((yield "first"))
        try:
            yield "second"
        except ValueError as error:
            heard.append(str(error))
            yield "third"

    async def main() -> list[str]:
        pieces = report()
        given = [await anext(pieces), await pieces.asend("hello")]
        given.append(await pieces.athrow(ValueError("oh")))
        return [*given, *[each async for each in pieces]]

    assert asyncio.run(main()) == ["first", "second", "third"]
    assert heard == ["hello", "oh"]
    assert outcomes(audit) == ["success"]


def test_an_async_context_manager_may_be_a_scope(audit: AuditLog) -> None:
    @asynccontextmanager
    @audit.scope("report.run")
    async def running() -> AsyncIterator[None]:
        yield

    async def main() -> None:
        async with running():
            assert outcomes(audit) == []
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(main())
    assert outcomes(audit) == ["error"]


def test_a_generator_that_is_given_up_is_closed_and_makes_no_event(audit: AuditLog) -> None:
    closed: list[str] = []

    @audit.scope("report.run")
    async def report() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            closed.append("async")

    @audit.scope("report.run")
    def plainly() -> Iterator[int]:
        try:
            yield 1
        finally:
            closed.append("plain")

    async def main() -> None:
        async with aclosing(report()) as pieces:
            await anext(pieces)

    asyncio.run(main())
    for _ in plainly():
        break

    assert closed == ["async", "plain"]
    assert outcomes(audit) == []


def test_whatever_an_exception_is_like_it_goes_on_as_it_was(audit: AuditLog) -> None:
    class OddError(Exception):
        @property
        def status_code(self) -> int:
            raise RuntimeError("it has none")

    with pytest.raises(OddError), audit.scope("report.run"):
        raise OddError


def test_a_secret_is_masked_before_a_message_is_cut(audit: AuditLog) -> None:
    with pytest.raises(RuntimeError), audit.scope("report.run"):
        raise RuntimeError("x" * 4_070 + " ghp_" + "a1" * 20)

    [event] = audit.search()
    assert event.error
    assert "ghp_" not in str(event.error.message)


def test_the_input_that_was_not_valid_is_in_no_message(audit: AuditLog) -> None:
    from pydantic import BaseModel

    class Card(BaseModel):
        number: int

    with pytest.raises(ValueError, match="hunter2"), audit.scope("card.add"):
        Card.model_validate({"number": "hunter2"})

    [event] = audit.search()
    assert event.error
    assert event.error.message == "1 invalid: number: int_parsing"
