"""Requests of real ASGI applications, and what is recorded of them."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from fastapi import APIRouter, Depends, FastAPI
from msgspec import UNSET
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from whodid.capture import asgi
from whodid.capture.asgi import AuditMiddleware, route_of
from whodid.errors import StoreUnavailableError
from whodid.event import Actor, Event
from whodid.log import AuditLog
from whodid.stores.sqlite import SqliteStore

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SECRET = "sk_live_4eC39HqLyjWDarjtT1zdp7dc"


@pytest.fixture
def audit(tmp_path: Path) -> Iterator[AuditLog]:
    with AuditLog(tmp_path / "audit.db", app="shop") as log:
        yield log


def an_app(audit: AuditLog, *, routes: list[Any] | None = None, **options: Any) -> Starlette:
    async def invoice(request: Request) -> PlainTextResponse:
        audit.record("invoice.update", target=("invoice", request.path_params["id"]))
        return PlainTextResponse("ok")

    async def broken(request: Request) -> PlainTextResponse:
        raise RuntimeError(f"the printer is on fire, api_key={SECRET}")

    async def answers(request: Request) -> PlainTextResponse:
        raise HTTPException(request.path_params["status"])

    usual = [
        Route("/invoices/{id}", invoice, methods=["GET", "POST"]),
        Route("/broken", broken),
        Route("/status/{status:int}", answers),
    ]
    app = Starlette(routes=[*usual, *(routes or [])])
    app.add_middleware(AuditMiddleware, audit=audit, **options)
    return app


def a_client(app: Any, **options: Any) -> TestClient:
    return TestClient(app, raise_server_exceptions=False, client=("192.0.2.9", 5000), **options)


def the_event(audit: AuditLog, query: str) -> Event:
    (event,) = audit.search(query)
    return event


def test_an_event_of_a_view_has_the_request_the_client_and_the_trace(audit: AuditLog) -> None:
    client = a_client(an_app(audit))
    client.post(
        "/invoices/7?q=secret",
        headers={
            "x-request-id": "req-1",
            "user-agent": "curl/8",
            "traceparent": f"00-{TRACE}-{SPAN}-01",
        },
    )

    event = the_event(audit, "action:invoice.update")
    assert event.request
    assert event.client
    assert event.trace
    request = event.request
    assert (request.id, request.method, request.route) == ("req-1", "POST", "/invoices/{id}")
    assert request.url == "/invoices/7?q=[masked]"
    assert request.status is UNSET  # it had not begun to answer
    assert (event.client.ip, event.client.port) == ("192.0.2.9", 5000)
    assert event.client.user_agent == "curl/8"
    assert (event.trace.trace_id, event.trace.span_id) == (TRACE, SPAN)


def test_the_answer_carries_the_id_of_the_request(audit: AuditLog) -> None:
    client = a_client(an_app(audit))

    given = client.get("/invoices/7", headers={"x-request-id": "req-1"})
    made = client.get("/invoices/7", headers={"x-request-id": "not one"})

    assert given.headers.get_list("x-request-id") == ["req-1"]
    assert len(made.headers["x-request-id"]) == 36


def test_an_exception_that_nobody_caught_is_an_event_and_goes_on_as_it_was(audit: AuditLog) -> None:
    answer = a_client(an_app(audit)).get("/broken?token=hunter2")

    event = the_event(audit, "action:error.raise")
    assert answer.status_code == 500
    assert event.outcome == "error"
    assert event.reason
    assert event.reason.code == "exception"
    assert event.error
    assert event.error.type == "RuntimeError"
    assert event.error.message == "the printer is on fire, api_key=[masked]"
    assert event.error.fingerprint
    assert event.request
    assert event.request.status == 500
    assert event.request.url == "/broken?token=[masked]"
    with pytest.raises(RuntimeError, match="on fire"):
        TestClient(an_app(audit)).get("/broken")


def test_around_everything_even_the_page_for_an_exception_carries_the_id(audit: AuditLog) -> None:
    async def broken(request: Request) -> PlainTextResponse:
        raise RuntimeError("the printer is on fire")

    app = AuditMiddleware(Starlette(routes=[Route("/broken", broken)]), audit)
    answer = a_client(app).get("/broken", headers={"x-request-id": "req-1"})

    assert (answer.status_code, answer.headers["x-request-id"]) == (500, "req-1")
    assert the_event(audit, "").action == "error.raise"


def test_no_secret_of_a_request_reaches_the_disk(audit: AuditLog, tmp_path: Path) -> None:
    client = a_client(an_app(audit, record_requests=True))
    client.get(f"/broken?password=hunter2-{SECRET}", headers={"authorization": "Bearer hunter2"})
    client.post("/status/403", content="hunter2", headers={"cookie": "session=hunter2"})
    audit.close()

    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"error.raise" in written
    assert b"hunter2" not in written
    assert SECRET.encode() not in written


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_a_denied_access_check(audit: AuditLog, status: int) -> None:
    answer = a_client(an_app(audit)).get(f"/status/{status}")

    event = the_event(audit, "action:access.check")
    assert answer.status_code == status
    assert event.outcome == "denied"
    assert event.reason
    assert event.reason.code == "not_permitted"
    assert event.request
    assert event.request.status == status
    assert event.request.route == "/status/{status}"
    assert event.request.duration_ms is not UNSET
    assert [target.id for target in event.targets] == [f"/status/{status}"]


@pytest.mark.parametrize("status", [200, 204, 302, 400, 404, 422, 429, 500, 503])
def test_no_other_answer_makes_an_event(audit: AuditLog, status: int) -> None:
    a_client(an_app(audit)).get(f"/status/{status}")

    assert audit.search() == []


def test_every_request_is_an_event_when_that_is_asked_for(audit: AuditLog) -> None:
    client = a_client(an_app(audit, record_requests=True))
    client.get("/status/200")
    client.post("/status/404")
    client.delete("/status/403")

    found = {(event.action, event.outcome) for event in audit.search()}
    assert found == {
        ("http.read", "success"),
        ("http.create", "failure"),
        ("http.delete", "failure"),
    }


def test_an_excluded_path_is_left_alone(audit: AuditLog) -> None:
    answer = a_client(an_app(audit, exclude=["/status"])).get("/status/403")

    assert "x-request-id" not in answer.headers
    assert audit.search() == []


def test_a_spoofed_address_is_not_believed(audit: AuditLog) -> None:
    headers = {"x-forwarded-for": "203.0.113.66", "forwarded": "for=203.0.113.66"}
    a_client(an_app(audit)).get("/status/403", headers=headers)

    event = the_event(audit, "action:access.check")
    assert event.client
    assert (event.client.ip, event.client.forwarded_for) == ("192.0.2.9", ())


def test_behind_a_proxy_the_address_that_it_wrote_is_the_clients(audit: AuditLog) -> None:
    headers = {"x-forwarded-for": "203.0.113.66, 198.51.100.7"}
    a_client(an_app(audit, trusted_proxies=1)).get("/status/403", headers=headers)

    event = the_event(audit, "action:access.check")
    assert event.client
    assert event.client.ip == "198.51.100.7"
    assert event.client.forwarded_for == ("203.0.113.66", "198.51.100.7")


class _ByHeader(AuthenticationBackend):
    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser] | None:
        name = conn.headers.get("x-user")
        return (AuthCredentials(["authenticated"]), SimpleUser(name)) if name else None


def test_the_actor_is_whom_starlettes_authentication_found(audit: AuditLog) -> None:
    app = Starlette(
        routes=an_app(audit).routes,
        middleware=[
            Middleware(AuditMiddleware, audit=audit),
            Middleware(AuthenticationMiddleware, backend=_ByHeader()),
        ],
    )
    client = a_client(app)
    client.get("/invoices/1", headers={"x-user": "ana"})
    client.get("/status/403")

    assert the_event(audit, "action:invoice.update").actor == Actor(
        type="user", id="ana", name="ana"
    )
    assert the_event(audit, "action:access.check").actor == Actor(type="anonymous")


def test_a_find_actor_that_fails_leaves_the_event_without_one(
    audit: AuditLog, caplog: pytest.LogCaptureFixture
) -> None:
    def find(scope: Any) -> Any:
        raise RuntimeError("no session")

    answer = a_client(an_app(audit, find_actor=find)).get("/invoices/1")

    assert answer.status_code == 200
    assert the_event(audit, "").actor.type == "unknown"
    assert "could not be found" in caplog.text


def _fastapi_app(audit: AuditLog) -> FastAPI:
    app, router = FastAPI(), APIRouter(prefix="/teams/{team}")

    def known(request: Request) -> str:  # in a thread pool, as all that are not async
        name = request.headers.get("x-user", "")
        if not name:
            raise HTTPException(401)
        request.scope[asgi.SCOPE_KEY].actor = Actor(type="user", id=name)
        return name

    @router.get("/members/{member}")
    def member(team: str, member: int, user: str = Depends(known)) -> dict[str, str]:
        audit.record("member.view", target=("member", str(member)), metadata={"user": user})
        return {"team": team}

    @app.get("/late")
    async def late(user: str = Depends(known)) -> str:
        await asyncio.sleep(0)
        audit.record("member.list", metadata={"user": user})
        await asyncio.sleep(0)
        return user

    app.include_router(router)
    app.add_middleware(AuditMiddleware, audit=audit)
    return app


def test_fastapi_routes_with_routers_and_sync_dependencies_are_known(audit: AuditLog) -> None:
    a_client(_fastapi_app(audit)).get("/teams/red/members/7", headers={"x-user": "ana"})

    event = the_event(audit, "action:member.view")
    assert event.request
    assert event.request.route == "/teams/{team}/members/{member}"
    assert event.actor == Actor(type="user", id="ana")


def test_a_dependency_that_refuses_is_a_denied_access_check(audit: AuditLog) -> None:
    answer = a_client(_fastapi_app(audit)).get("/late")

    event = the_event(audit, "action:access.check")
    assert answer.status_code == 401
    assert event.request
    assert (event.request.route, event.request.status) == ("/late", 401)


def test_fifty_requests_at_once_do_not_mix_up_their_actors(audit: AuditLog) -> None:
    app = _fastapi_app(audit)

    async def ask_all() -> list[int]:
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            paths = ["/late" if each % 2 else f"/teams/t{each}/members/7" for each in range(50)]
            answers = await asyncio.gather(
                *(
                    client.get(path, headers={"x-user": f"user-{number}"})
                    for number, path in enumerate(paths)
                )
            )
        return [answer.status_code for answer in answers]

    assert asyncio.run(ask_all()) == [200] * 50
    events = audit.search(limit=100)
    assert len(events) == 50
    for event in events:
        assert event.metadata
        assert event.actor.id == event.metadata["user"]
    assert len({event.request.id for event in events if event.request}) == 50


def test_a_mounted_application_has_its_own_route_below_the_mounts(audit: AuditLog) -> None:
    inner = an_app(audit)  # with a middleware of its own, which must not record twice
    a_client(an_app(audit, routes=[Mount("/shops/{shop}", inner)])).get("/shops/42/status/403")

    event = the_event(audit, "")
    assert event.request
    assert event.request.route == "/shops/{shop}/status/{status}"


@pytest.mark.parametrize(
    ("scope", "route"),
    [
        ({"path": "/x"}, None),
        ({"path": "/x", "path_template": "/{x}"}, "/{x}"),  # as Litestar has it
        ({"path": "/a/7", "endpoint": 1, "path_params": {"id": 7}}, "/a/{id}"),
        ({"path": "/7/7", "endpoint": 1, "path_params": {"id": 7}}, None),
        ({"path": "/a", "endpoint": 1}, "/a"),
    ],
)
def test_the_template_is_known_or_put_together_or_none(
    scope: dict[str, Any], route: str | None
) -> None:
    assert route_of(scope) == route


def test_an_exception_in_a_background_task_is_an_event_with_the_request(audit: AuditLog) -> None:
    def work() -> None:
        audit.record("report.create")
        raise RuntimeError("the disk is full")

    async def view(request: Request) -> PlainTextResponse:
        return PlainTextResponse("accepted", 202, background=BackgroundTask(work))

    answer = a_client(an_app(audit, routes=[Route("/report", view)])).get("/report")

    assert answer.status_code == 202
    for action in ("report.create", "error.raise"):
        event = the_event(audit, f"action:{action}")
        assert event.request
        assert (event.request.route, event.request.status) == ("/report", 202)


def test_an_exception_in_a_stream_is_an_event_with_the_status_that_was_sent(
    audit: AuditLog,
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        raise RuntimeError("the source ended")

    async def view(request: Request) -> StreamingResponse:
        return StreamingResponse(pieces())

    client = a_client(an_app(audit, routes=[Route("/stream", view)]))
    with contextlib.suppress(RuntimeError):
        client.get("/stream")

    event = the_event(audit, "action:error.raise")
    assert event.request
    assert event.request.status == 200


@contextlib.contextmanager
def serving(app: Any) -> Iterator[tuple[str, int]]:
    """A real server in a thread; gives its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="critical", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
    thread.start()
    try:
        yield listener.getsockname()
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def test_a_stream_arrives_piece_by_piece_and_its_generator_has_the_context(
    audit: AuditLog,
) -> None:
    go_on = threading.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        await asyncio.to_thread(go_on.wait, 30)
        audit.record("stream.read")
        yield b"two"

    async def view(request: Request) -> StreamingResponse:
        return StreamingResponse(pieces())

    with serving(an_app(audit, routes=[Route("/stream", view)])) as address:
        connection = http.client.HTTPConnection(*address, timeout=30)
        connection.request("GET", "/stream", headers={"x-request-id": "req-9"})
        answer = connection.getresponse()
        first = answer.read(3)  # while the second is not made yet
        go_on.set()
        rest = answer.read()
        connection.close()

    assert (first, rest) == (b"one", b"two")
    event = the_event(audit, "action:stream.read")
    assert event.request
    assert (event.request.id, event.request.status) == ("req-9", 200)


def test_a_client_that_goes_away_in_the_middle_is_no_error(audit: AuditLog) -> None:
    ended = threading.Event()

    async def pieces() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 65_536
                await asyncio.sleep(0)
        finally:
            ended.set()

    async def view(request: Request) -> StreamingResponse:
        return StreamingResponse(pieces())

    with serving(an_app(audit, routes=[Route("/stream", view)])) as address:
        connection = http.client.HTTPConnection(*address, timeout=30)
        connection.request("GET", "/stream")
        connection.getresponse().read(10)
        connection.close()
        assert ended.wait(30)

    assert audit.search() == []


def test_the_body_of_a_request_is_the_applications_alone(audit: AuditLog) -> None:
    async def echo(request: Request) -> PlainTextResponse:
        return PlainTextResponse(await request.body())

    client = a_client(an_app(audit, routes=[Route("/echo", echo, methods=["POST"])]))

    assert client.post("/echo", content=b"all of it" * 1_000).content == b"all of it" * 1_000


def _websockets(audit: AuditLog) -> Starlette:
    async def talk(websocket: WebSocket) -> None:
        await websocket.accept()
        audit.record("chat.open")
        await websocket.send_text(await websocket.receive_text())
        await websocket.close()

    async def refuse(websocket: WebSocket) -> None:
        await websocket.close(1008)

    async def deny(websocket: WebSocket) -> None:
        await websocket.send_denial_response(PlainTextResponse("no", 401))

    async def fail(websocket: WebSocket) -> None:
        await websocket.accept()
        raise RuntimeError("no such room")

    views = {"talk": talk, "refuse": refuse, "deny": deny, "fail": fail}
    return an_app(
        audit, routes=[WebSocketRoute(f"/ws/{name}", view) for name, view in views.items()]
    )


def test_a_websocket_works_and_is_the_context_of_what_is_recorded(audit: AuditLog) -> None:
    with a_client(_websockets(audit)).websocket_connect("/ws/talk") as socket_:
        socket_.send_text("hello")
        said = socket_.receive_text()

    event = the_event(audit, "")
    assert said == "hello"
    assert event.action == "chat.open"
    assert event.request
    assert (event.request.route, event.request.status) == ("/ws/talk", 101)


@pytest.mark.parametrize(("path", "status"), [("/ws/refuse", 403), ("/ws/deny", 401)])
def test_a_refused_handshake_is_a_denied_access_check(
    audit: AuditLog, path: str, status: int
) -> None:
    with pytest.raises(WebSocketDisconnect), a_client(_websockets(audit)).websocket_connect(path):
        pass

    event = the_event(audit, "action:access.check")
    assert event.request
    assert (event.request.status, event.request.route) == (status, path)


def test_a_websocket_that_does_not_exist_is_no_refusal(audit: AuditLog) -> None:
    with pytest.raises(WebSocketDisconnect), a_client(_websockets(audit)).websocket_connect("/no"):
        pass

    assert audit.search() == []


def test_an_exception_in_a_websocket_is_an_event(audit: AuditLog) -> None:
    with (
        pytest.raises(RuntimeError, match="no such room"),
        a_client(_websockets(audit)).websocket_connect("/ws/fail"),
    ):
        pass

    event = the_event(audit, "action:error.raise")
    assert event.request
    assert event.request.status == 101


def test_the_lifespan_runs_as_without_it(audit: AuditLog) -> None:
    seen = []

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        seen.append("up")
        yield
        seen.append("down")

    app = Starlette(lifespan=lifespan)
    with TestClient(AuditMiddleware(app, audit)):
        assert seen == ["up"]
    assert seen == ["up", "down"]


def test_a_cancelled_request_is_no_error(audit: AuditLog) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    async def cancel() -> None:
        scope = {"type": "http", "path": "/", "headers": [], "method": "GET"}
        middle = AuditMiddleware(app, audit)
        task = asyncio.create_task(middle(scope, _nothing, _nothing))  # type: ignore[arg-type]  # never called
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancel())
    assert audit.search() == []


def test_what_a_request_became_is_told_though_its_client_has_gone(audit: AuditLog) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 403, "headers": []})
        await asyncio.Event().wait()

    async def sent(_message: Any) -> None:
        begun.set()

    async def cancel() -> None:
        scope = {"type": "http", "path": "/", "headers": [], "method": "GET"}
        middle = AuditMiddleware(app, audit)
        task = asyncio.create_task(middle(scope, _nothing, sent))  # type: ignore[arg-type]  # never called
        await begun.wait()
        task.cancel()
        await task

    begun = asyncio.Event()
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancel())
    assert the_event(audit, "").action == "access.check"


def test_a_secret_in_a_path_is_masked_by_the_name_that_the_route_gives_it(audit: AuditLog) -> None:
    async def reset(request: Request) -> PlainTextResponse:
        return PlainTextResponse("no", 403)

    a_client(an_app(audit, routes=[Route("/reset/{token}", reset)])).get("/reset/hunter2")

    event = the_event(audit, "")
    assert event.request
    assert (event.request.url, event.targets[0].id) == ("/reset/masked", "/reset/masked")


async def _nothing(*_: Any) -> None:
    raise AssertionError("not to be called")


def test_an_event_is_written_outside_the_event_loop(audit: AuditLog) -> None:
    threads = []

    def find(scope: Any) -> None:
        threads.append(threading.current_thread())

    a_client(an_app(audit, find_actor=find)).get("/status/403")

    (thread,) = set(threads)
    assert "AnyIO worker" in thread.name


def test_nothing_is_recorded_while_recording_is_off(audit: AuditLog) -> None:
    client = a_client(an_app(audit))
    with audit.disable():
        client.get("/status/403")

    # TestClient runs the application in a thread that takes the context along.
    assert audit.search() == []


@contextlib.contextmanager
def a_broken_log(tmp_path: Path, on_failure: Any) -> Iterator[AuditLog]:
    """A log whose database can't be written any more, though it could a moment ago."""
    spool = tmp_path / "spool" if on_failure == "spool" else None
    store = SqliteStore(tmp_path / "log.db")
    with contextlib.closing(store), AuditLog(store, on_failure=on_failure, spool=spool) as audit:
        audit.record("log.open")
        store._writing.execute("PRAGMA query_only = ON")
        yield audit
        store._writing.execute("PRAGMA query_only = OFF")


@pytest.mark.parametrize("on_failure", ["spool", "drop"])
def test_a_store_that_fails_changes_no_answer(
    audit: AuditLog, tmp_path: Path, on_failure: str
) -> None:
    paths = ["/invoices/7", "/status/401", "/status/403", "/status/404", "/broken"]
    headers = {"x-request-id": "req-1"}
    whole = [a_client(an_app(audit)).get(path, headers=headers) for path in paths]
    with a_broken_log(tmp_path, on_failure) as log:
        client = a_client(an_app(log))
        answers = [client.get(path, headers=headers) for path in paths]

        assert len(audit.search()) == 4  # the whole log took them
        assert [event.action for event in log.search()] == ["log.open"]

    for answer, expected in zip(answers, whole, strict=True):
        assert (answer.status_code, answer.content, answer.headers) == (
            expected.status_code, expected.content, expected.headers,
        )  # fmt: skip


def test_a_log_that_fails_closed_lets_no_refusal_out_unrecorded(tmp_path: Path) -> None:
    with a_broken_log(tmp_path, "raise") as log:
        app = an_app(log)

        assert a_client(app).get("/status/403").status_code == 500
        assert a_client(app).get("/status/404").status_code == 404
        with pytest.raises(StoreUnavailableError):
            TestClient(app).get("/status/403")


def test_a_log_that_fails_closed_raises_from_the_exception_of_the_request(tmp_path: Path) -> None:
    with a_broken_log(tmp_path, "raise") as log:
        with pytest.raises(StoreUnavailableError) as raised:
            TestClient(an_app(log)).get("/broken")

        assert isinstance(raised.value.__cause__, RuntimeError)


def test_with_a_buffer_events_arrive_as_well(tmp_path: Path) -> None:
    with AuditLog(tmp_path / "audit.db", buffer=100) as log:
        a_client(an_app(log)).get("/status/403")
        assert log.flush(30)

        assert the_event(log, "").action == "access.check"


@pytest.mark.parametrize("on_failure", ["spool", "drop", "raise"])
def test_a_database_that_is_deleted_meanwhile_fails_requests_only_if_that_was_chosen(
    tmp_path: Path, on_failure: Any
) -> None:
    path = tmp_path / "log.db"
    with AuditLog(path, on_failure=on_failure) as log:
        log.record("log.open")
        path.unlink()
        client = TestClient(an_app(log))

        if on_failure == "raise":
            with pytest.raises(StoreUnavailableError, match="deleted"):
                client.get("/status/403")
        else:
            assert client.get("/status/403").status_code == 403
            assert client.get("/invoices/7").text == "ok"

    spooled = [
        line for file in tmp_path.rglob("*.jsonl") for line in file.read_bytes().splitlines()
    ]
    assert len(spooled) == (2 if on_failure == "spool" else 0)


def test_a_client_that_is_gone_when_the_answer_is_sent_is_no_error(audit: AuditLog) -> None:
    async def gone(message: Any) -> None:
        raise BrokenPipeError

    scope = {
        "type": "http", "path": "/invoices/7", "headers": [], "method": "GET", "query_string": b"",
    }  # fmt: skip
    with pytest.raises(BrokenPipeError):
        asyncio.run(AuditMiddleware(an_app_alone(), audit)(scope, _nothing, gone))  # type: ignore[arg-type]  # never called

    assert audit.search() == []


def an_app_alone() -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    return app
