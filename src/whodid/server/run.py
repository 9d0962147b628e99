"""Serving the application with uvicorn, set up so that its comfort does not undo our rules.

uvicorn by default believes X-Forwarded-* from this machine and rewrites the peer's address; here
nothing is believed. Requests are not logged by it: their query strings hold what people look for.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import Callable

import uvicorn

from whodid.errors import ConfigError
from whodid.server.app import create_app
from whodid.server.connections import connection_class
from whodid.server.logs import FewWarnings
from whodid.server.settings import Settings
from whodid.stores.base import EventStore

_few_warnings = FewWarnings()


def run(
    store: EventStore, settings: Settings, *, on_ready: Callable[[str], None] | None = None
) -> None:
    """Serve until SIGINT or SIGTERM, then finish what runs and close the store.

    Args:
        store: Closed when it returns.
        on_ready: Called once with the server's URL, when it answers.

    Raises:
        ConfigError: The address can't be used, or would be open to others without a key.
    """
    try:
        app = create_app(store, settings)
        listening = _listen(settings)
        config = uvicorn.Config(
            app,
            access_log=False,
            http=connection_class(settings),
            lifespan="on",
            log_level="warning",
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=settings.shutdown_s,
            ws="none",
        )
        # It warns of each request that is no HTTP, so whoever sends nonsense would fill the disk.
        logging.getLogger("uvicorn.error").addFilter(_few_warnings)
        with listening:
            server = _Server(
                config, on_ready=on_ready, on_stop=app.state.tails.stop, url=_url(listening)
            )
            server.run(sockets=[listening])
    finally:
        store.close()


class _Server(uvicorn.Server):
    """uvicorn's server, which says when it answers and when it begins to stop."""

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        on_ready: Callable[[str], None] | None,
        on_stop: Callable[[], None],
        url: str,
    ) -> None:
        super().__init__(config)
        self._on_ready, self._on_stop, self._url = on_ready, on_stop, url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self._on_ready is not None:
            self._on_ready(self._url)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stop()  # uvicorn waits for what runs, and this would run for ever
        await super().shutdown(sockets)


def _listen(settings: Settings) -> socket.socket:
    # Bound here, not by uvicorn: it would print and exit where we can say what to do.
    try:
        return socket.create_server(
            (settings.host, settings.port), family=_family(settings.host), backlog=1024
        )
    except OSError as error:
        reason = (error.strerror or "no such address").lower()
        raise ConfigError(
            f"cannot listen on {settings.host} port {settings.port}: {reason}; "
            "stop what is there, or choose another --port or --host"
        ) from error


def _family(host: str) -> socket.AddressFamily:
    try:
        is_v6 = ipaddress.ip_address(host).version == 6
    except ValueError:
        is_v6 = False
    return socket.AF_INET6 if is_v6 else socket.AF_INET


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
