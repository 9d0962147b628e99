"""The one place where the server crosses from its event loop to threads.

Stores and viewer are plain functions that block; the loop must not. What clients send is stored by
a thread of its own (`writing`), so that slow searches never hold it up. A request whose client has
gone is finished, not abandoned: a reading that is noted half is none.
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

    def __init__(self, *, readers: int) -> None:
        self._readers = CapacityLimiter(readers)
        # Credentials and health are short; behind eight slow searches they would look like an
        # outage, and a load balancer would make it one.
        self._checkers = CapacityLimiter(4)

    async def read(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run work that searches."""
        return await to_thread.run_sync(partial(work, *args, **kwargs), limiter=self._readers)

    async def check(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run short work that a request waits for before its own: credentials, health."""
        return await to_thread.run_sync(partial(work, *args, **kwargs), limiter=self._checkers)
