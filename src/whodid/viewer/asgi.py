"""The viewer as an ASGI application, for Starlette, FastAPI, Litestar and every other host.

```python
app.mount("/audit", ViewerApp(Viewer(store), authorize=who_may_see_what))
```
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from functools import partial

import anyio.to_thread
from starlette.requests import Request as HttpRequest
from starlette.responses import Response as HttpResponse
from starlette.types import Receive, Scope, Send

from whodid.access import Access
from whodid.viewer.http import Host, Request, Response
from whodid.viewer.pages import Viewer

Authorize = Callable[[HttpRequest], "Access | Awaitable[Access | None] | None"]
HostOf = Callable[[HttpRequest], Host]


class ViewerApp:
    """Answers HTTP below wherever it is mounted; the prefix is found in the request."""

    def __init__(
        self, viewer: Viewer, authorize: Authorize, *, host_of: HostOf | None = None
    ) -> None:
        """Make the application.

        Args:
            viewer: The pages.
            authorize: Says what the caller of a request may see; None is nothing, answered with
                403. May be a coroutine function. It runs on the event loop, so it must not block.
            host_of: Says what the pages may tell the caller of the application around them: who is
                signed in, and where things are. Not asked for who may see nothing. It must not
                block either.
        """
        self._viewer, self._authorize, self._host_of = viewer, authorize, host_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise AssertionError(f"the viewer speaks HTTP only, got {scope['type']}")
        http = HttpRequest(scope, receive)
        answer = self._authorize(http)
        access = await answer if inspect.isawaitable(answer) else answer
        # A store blocks while it reads; the loop must go on meanwhile.
        response = await anyio.to_thread.run_sync(
            partial(self._viewer.handle, self._translated(http, access or Access()))
        )
        await _sent(response)(scope, receive, send)

    def _translated(self, http: HttpRequest, access: Access) -> Request:
        prefix = http.scope.get("root_path", "").rstrip("/")
        path = http.scope["path"]
        first: dict[str, str] = {}
        for key, value in http.query_params.multi_items():
            first.setdefault(key, value)
        return Request(
            method=http.method,
            path=path.removeprefix(prefix) or "/",
            prefix=prefix,
            query=first,
            access=access,
            if_none_match=http.headers.get("if-none-match"),
            host=self._host_of(http) if self._host_of and access.tenants != frozenset() else Host(),
        )


def _sent(response: Response) -> HttpResponse:
    sent = HttpResponse(content=response.body, status_code=response.status)
    # Set afterwards: Starlette would add a content-type and the length of a HEAD's empty body.
    sent.raw_headers = [
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in response.headers.items()
    ]
    return sent
