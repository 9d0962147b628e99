"""The one place where the server crosses from its event loop to threads.

Stores, recorder and viewer are plain functions that block; the loop must not. Writing and reading
have threads of their own, so that slow searches never hold up ingest. A request whose client has
gone is finished, not abandoned: a half-run `append` would be durable without anybody knowing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Threads:
    """Runs blocking work, so many pieces of each kind at once; the others wait in order."""

    def __init__(self, *, writers: int, readers: int) -> None:
        self._writers = CapacityLimiter(writers)
        self._readers = CapacityLimiter(readers)
        # Credentials and health are short; behind eight slow searches they would look like an
        # outage, and a load balancer would make it one.
        self._checkers = CapacityLimiter(4)

    async def write(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run work that stores events."""
        return await to_thread.run_sync(partial(work, *args, **kwargs), limiter=self._writers)

    async def read(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run work that searches."""
        return await to_thread.run_sync(partial(work, *args, **kwargs), limiter=self._readers)

    async def check(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run short work that a request waits for before its own: credentials, health."""
        return await to_thread.run_sync(partial(work, *args, **kwargs), limiter=self._checkers)
