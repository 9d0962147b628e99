"""What a request is in its events, and which events it becomes itself."""

# The test client's streams have no types.
# mypy: disable-error-code="attr-defined"

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from io import BytesIO
from typing import BinaryIO
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.util import FileWrapper

import pytest
import uvicorn
from django.contrib.auth.models import Group
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.db import connections
from django.http import FileResponse, HttpRequest, HttpResponse
from django.test import RequestFactory, override_settings
from django.urls import path
from msgspec import UNSET

from tests.capture.django.site import (
    AUDIT,
    MIDDLEWARE,
    a_browser,
    a_user,
    actions,
    an_async_browser,
    one,
    site,
)
from whodid import context
from whodid.capture.django import audit
from whodid.capture.django.middleware import DjangoOccasion, occasion_of
from whodid.capture.web import WebOptions
from whodid.event import Actor, Event

Told = Callable[[], list[Event]]
HERE = __name__


@pytest.fixture(autouse=True)
def _site() -> Iterator[None]:
    with site():
        yield


# -- the request ---------------------------------------------------------------------------------


def test_an_event_says_in_which_request_it_happened(told: Told) -> None:
    answer = a_browser().get("/make/editors/?page=2&code=4711")

    request = one(told(), "role.create").request
    assert request
    assert (request.method, request.route) == ("GET", "/make/<str:name>/")
    assert request.url == "/make/editors/?page=[masked]&code=[masked]"
    assert request.id == answer["X-Request-ID"]


def test_a_request_id_that_came_along_is_kept(told: Told) -> None:
    answer = a_browser().get("/make/editors/", headers={"x-request-id": "req-7"})

    request = one(told(), "role.create").request
    assert request
    assert request.id == "req-7"
    assert answer["X-Request-ID"] == "req-7"


def test_the_trace_that_a_request_belongs_to_is_kept(told: Told) -> None:
    traceparent = f"00-{'a' * 32}-{'b' * 16}-01"

    a_browser().get("/make/editors/", headers={"traceparent": traceparent})

    trace = one(told(), "role.create").trace
    assert trace
    assert (trace.trace_id, trace.span_id) == ("a" * 32, "b" * 16)


def test_an_address_that_a_client_claims_is_not_believed(told: Told) -> None:
    a_browser().get("/make/editors/", headers={"x-forwarded-for": "203.0.113.9"})

    client = one(told(), "role.create").client
    assert client
    assert client.ip == "127.0.0.1"


def test_the_address_that_a_trusted_proxy_saw_is_believed_and_none_before_it(told: Told) -> None:
    with override_settings(WHODID={"trusted_proxies": 1}):
        a_browser().get("/make/editors/", headers={"x-forwarded-for": "203.0.113.9, 198.51.100.4"})

    client = one(told(), "role.create").client
    assert client
    assert client.ip == "198.51.100.4"


def find_tenant(request: HttpRequest) -> str:
    return request.headers["x-tenant"]


def test_the_tenant_is_the_one_that_the_project_names(told: Told) -> None:
    with override_settings(WHODID={"tenant": f"{HERE}.find_tenant"}):
        a_browser().get("/make/editors/", headers={"x-tenant": "acme"})

    tenant = one(told(), "role.create").tenant
    assert tenant
    assert tenant.id == "acme"


def find_and_note_tenant(request: HttpRequest) -> str:
    Group.objects.create(name="of the tenant")
    return "acme"


def test_finding_the_tenant_may_make_events_of_its_own(told: Told) -> None:
    with override_settings(WHODID={"tenant": f"{HERE}.find_and_note_tenant"}):
        a_browser().get("/make/editors/")

    tenants = {event.targets[0].name: event.tenant for event in told()}
    assert {name: tenant and tenant.id for name, tenant in tenants.items()} == {
        "of the tenant": "default",
        "editors": "acme",
    }


TOGETHER = threading.Barrier(2)


def find_together(request: HttpRequest) -> Actor:
    TOGETHER.wait(20)
    context.current()  # as what it asks for may make an event of its own
    return Actor(type="user", id="7")


def test_threads_of_one_request_ask_each_for_itself_who_acts() -> None:
    occasion = DjangoOccasion(RequestFactory().get("/"), WebOptions())

    def ask() -> object:
        with context.occasion(occasion):
            return occasion.ask_actor()

    with (
        override_settings(WHODID={"actor": f"{HERE}.find_together"}),
        ThreadPoolExecutor(2) as pool,
    ):
        asked = [pool.submit(ask) for _ in range(2)]

        assert [each.result(30) for each in asked] == [Actor(type="user", id="7")] * 2


def test_a_secret_in_a_path_is_masked_by_the_name_that_the_route_gives_it(told: Told) -> None:
    a_browser().get("/invite/f3a9c2d1e8/")

    event = one(told(), "access.check")
    assert event.request
    assert event.request.url == "/invite/masked/"
    assert event.targets[0].id == "/invite/masked/"


# -- what becomes an event -----------------------------------------------------------------------


def test_a_request_that_went_well_is_no_event(told: Told) -> None:
    a_browser().get("/")

    assert told() == []


def test_an_exception_that_nobody_caught_is_an_event(told: Told) -> None:
    a_browser(a_user()).get("/make-then-break/editors/?key=1")

    event = one(told(), "error.raise")
    assert event.outcome == "error"
    assert event.actor.name == "ana"
    assert event.error
    assert event.error.type == "ValueError"
    assert event.error.message == "editors can't be made, password=[masked]"
    assert event.request
    assert (event.request.route, event.request.status) == ("/make-then-break/<str:name>/", 500)
    assert event.request.duration_ms


def test_the_same_error_has_the_same_fingerprint_whatever_its_message(told: Told) -> None:
    browser = a_browser()
    browser.get("/make-then-break/editors/")
    browser.get("/make-then-break/authors/")
    browser.get("/break-async/")

    prints = [event.error.fingerprint for event in told() if event.error]
    assert prints[0] == prints[1] != prints[2]


def test_an_exception_is_told_once_by_an_async_view(told: Told) -> None:
    async def visit() -> None:
        await an_async_browser().get("/break-async/")

    asyncio.run(visit())

    event = one(told(), "error.raise")
    assert event.error
    assert event.error.type == "KeyError"
    assert event.request
    assert event.request.status == 500


def test_an_exception_in_the_middle_of_a_stream_is_an_event(told: Told) -> None:
    answer = a_browser(a_user()).get("/stream/broken/")

    with pytest.raises(ValueError, match="in the middle"):
        b"".join(answer.streaming_content)

    event = one(told(), "error.raise")
    assert event.error
    assert event.error.message == "in the middle of the answer"
    assert event.actor.name == "ana"


def test_an_exception_in_the_middle_of_an_async_stream_is_an_event(told: Told) -> None:
    async def visit() -> None:
        answer = await an_async_browser().get("/stream-async/broken/")
        with pytest.raises(ValueError, match="in the middle"):
            _ = [piece async for piece in answer.streaming_content]

    asyncio.run(visit())

    assert actions(told()) == ["role.create", "error.raise"]


def test_what_a_stream_binds_is_inside_of_the_request_and_gone_after_it(told: Told) -> None:
    before = context._newest.get()
    answer = a_browser(a_user()).get("/stream-as/robot/")

    pieces = iter(answer.streaming_content)
    for _ in range(3):
        next(pieces)
        assert context.current() == context.Context()
    assert list(pieces) == []

    made = [event for event in told() if event.action == "role.create"]
    assert [event.actor.id for event in made] == ["robot", "robot"]
    assert context._newest.get() is before  # nothing is kept of a stream that has ended


def test_what_an_async_stream_binds_is_inside_of_the_request(told: Told) -> None:
    async def visit() -> None:
        answer = await an_async_browser().get("/stream-async-as/robot/")
        async for _ in answer.streaming_content:
            assert context.current() == context.Context()

    asyncio.run(visit())

    made = [event for event in told() if event.action == "role.create"]
    assert [event.actor.id for event in made] == ["robot", "robot"]


def test_the_end_of_a_stream_that_nobody_wants_any_more_is_a_part_of_the_request(
    told: Told,
) -> None:
    answer = a_browser(a_user()).get("/stream-as/robot/")

    next(iter(answer.streaming_content))
    answer.close()

    (event,) = (event for event in told() if event.targets[0].name == "at the end")
    assert event.actor.name == "ana"
    assert event.request


class Broken(BytesIO):
    """A file of a disk that fails."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell():
            raise OSError("the disk is gone")
        return super().read(4)


def break_off(request: HttpRequest) -> FileResponse:
    return FileResponse(Broken(b"12345678"), filename="broken.txt")


def test_a_file_that_can_not_be_read_to_its_end_is_an_event(told: Told) -> None:
    with override_settings(ROOT_URLCONF=(path("file/", break_off),)):
        answer = a_browser().get("/file/")
        with pytest.raises(OSError, match="the disk is gone"):
            b"".join(answer.streaming_content)

    event = one(told(), "error.raise")
    assert event.error
    assert (event.error.type, event.error.message) == ("OSError", "the disk is gone")
    assert event.request
    assert event.request.status == 200


async def record_async(request: HttpRequest) -> HttpResponse:
    for number in (1, 2):
        audit.record("invoice.send", target=("invoice", number))
    return HttpResponse()


def test_an_async_view_may_record_by_itself(told: Told) -> None:
    browser = an_async_browser(a_user())
    told()

    async def visit() -> None:
        await browser.get("/record/")

    def serve() -> None:
        """As a server does, in a thread where nothing has asked the database yet."""
        asyncio.run(visit())
        connections.close_all()

    urls = (path("record/", record_async),)
    with override_settings(ROOT_URLCONF=urls), ThreadPoolExecutor(1) as thread:
        thread.submit(serve).result()

    events = told()
    assert [event.targets[0].id for event in events] == ["1", "2"]
    assert {event.actor.name for event in events} == {"ana"}


async def hang(request: HttpRequest) -> HttpResponse:
    """Note an exception, and wait for a client that is gone."""
    occasion = occasion_of(request)
    assert occasion is not None
    occasion.failed(ValueError("noted"))
    _cancel()
    await asyncio.Event().wait()
    return HttpResponse()


async def refuse_async(request: HttpRequest) -> HttpResponse:
    _cancel()  # which comes true at the next wait, that is while it is told
    return HttpResponse(status=403)


def _cancel() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


@pytest.mark.parametrize(("address", "action"), [("hang", "error.raise"), ("no", "access.check")])
def test_what_a_request_became_is_told_though_its_client_has_gone(
    address: str, action: str, told: Told
) -> None:
    async def visit() -> None:
        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(an_async_browser().get(f"/{address}/"))

    urls = (path("hang/", hang), path("no/", refuse_async))
    with override_settings(ROOT_URLCONF=urls, MIDDLEWARE=[AUDIT]):
        asyncio.run(visit())

    assert actions(told()) == [action]


@pytest.mark.parametrize("status", [401, 403])
def test_an_answer_that_refuses_is_an_event(status: int, told: Told) -> None:
    a_browser(a_user()).get(f"/answer/{status}/")

    event = one(told(), "access.check")
    assert (event.outcome, event.actor.name) == ("denied", "ana")
    assert event.reason
    assert event.reason.code == "not_permitted"
    assert (event.targets[0].type, event.targets[0].id) == ("path", f"/answer/{status}/")
    assert event.request
    assert event.request.status == status


@pytest.mark.parametrize("status", [200, 302, 400, 404, 405, 500])
def test_no_other_answer_is_an_event(status: int, told: Told) -> None:
    a_browser().get(f"/answer/{status}/")

    assert told() == []


def test_a_denied_permission_is_one_event(told: Told) -> None:
    a_browser().get("/refuse/")

    assert actions(told()) == ["access.check"]


def test_a_forged_request_is_an_event(told: Told) -> None:
    from django.test import Client

    Client(enforce_csrf_checks=True).post("/login/", {"username": "ana"})

    assert actions(told()) == ["access.check"]


def test_rest_framework_s_refusals_are_events(told: Told) -> None:
    a_browser().post("/api/editors/", headers={"authorization": "Bearer nonsense"})

    event = one(told(), "access.check")
    assert event.request
    assert event.request.status == 401


# -- other middlewares ---------------------------------------------------------------------------


def broken_around(get_response: Callable[[HttpRequest], HttpResponse]) -> object:
    """A middleware that breaks before or after everything inside it."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if "before" in request.GET:
            raise RuntimeError("before")
        response = get_response(request)
        if "after" in request.GET:
            raise RuntimeError("after")
        return response

    return middleware


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_exception_of_a_middleware_around_it_is_told_once(when: str, told: Told) -> None:
    with override_settings(MIDDLEWARE=[f"{HERE}.broken_around", *MIDDLEWARE, AUDIT]):
        a_browser().get(f"/?{when}=1")

    event = one(told(), "error.raise")
    assert event.error
    assert event.error.message == when
    assert event.request
    assert event.request.status == 500


class AnswersForExceptions:
    """A middleware that makes an answer of what a view raised."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse:
        return HttpResponse("sorry", status=int(request.GET["status"]))


@pytest.mark.parametrize(("status", "expected"), [(503, ["error.raise"]), (400, [])])
def test_an_exception_that_a_middleware_answers_counts_if_the_server_is_to_blame(
    status: int, expected: list[str], told: Told
) -> None:
    with override_settings(MIDDLEWARE=[*MIDDLEWARE, f"{HERE}.AnswersForExceptions", AUDIT]):
        a_browser().get(f"/make-then-break/editors/?status={status}")

    assert [action for action in actions(told()) if action != "role.create"] == expected


def test_an_exception_that_django_passes_on_is_told_and_passed_on(told: Told) -> None:
    with (
        override_settings(DEBUG_PROPAGATE_EXCEPTIONS=True),
        pytest.raises(ValueError, match="can't be made"),
    ):
        a_browser().get("/make-then-break/editors/")

    assert one(told(), "error.raise").outcome == "error"


def test_the_middleware_twice_tells_once(told: Told) -> None:
    with override_settings(MIDDLEWARE=[AUDIT, *MIDDLEWARE, AUDIT]):
        a_browser().get("/refuse/")

    assert actions(told()) == ["access.check"]


def test_without_sessions_and_users_it_works_all_the_same(told: Told) -> None:
    with override_settings(MIDDLEWARE=[AUDIT]):
        a_browser().get("/make/editors/")

    assert one(told(), "role.create").actor.type == "anonymous"


# -- servers -------------------------------------------------------------------------------------


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its base says so
        """Not into the tests' output."""


def _get(port: int, address: str) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", address, headers={"User-Agent": "curl/8"})
    answer = connection.getresponse()
    try:
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.fixture
def wsgi_port() -> Iterator[int]:
    server = make_server("127.0.0.1", 0, get_wsgi_application(), handler_class=_Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def asgi_port() -> Iterator[int]:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()  # so that a client may come before the server is up
    config = uvicorn.Config(get_asgi_application(), lifespan="off", log_level="critical")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield listening.getsockname()[1]
    server.should_exit = True
    thread.join()
    listening.close()


@pytest.mark.parametrize("server", ["wsgi_port", "asgi_port"])
def test_a_real_server_s_requests_are_told(
    server: str, told: Told, request: pytest.FixtureRequest
) -> None:
    port: int = request.getfixturevalue(server)

    statuses = [
        _get(port, each)[0] for each in ("/refuse/", "/make-async/editors/", "/answer/200/")
    ]

    assert statuses == [403, 200, 200]
    refused, *made = told()
    assert actions(made) == ["role.create", "role.update"]
    assert refused.client
    assert (refused.client.ip, refused.client.user_agent) == ("127.0.0.1", "curl/8")
    assert refused.client.port is not UNSET or server == "wsgi_port"


def test_a_file_is_left_to_the_server_to_send() -> None:
    sent: list[object] = []

    def send_file(file: BinaryIO, size: int) -> FileWrapper:
        sent.append(file)
        return FileWrapper(file, size)

    environ = RequestFactory().get("/download/").environ | {"wsgi.file_wrapper": send_file}
    answer = get_wsgi_application()(environ, lambda *_: sent.append)
    body = b"".join(answer)
    answer.close()

    assert body.startswith(b'"""The pages of the site')
    assert len(sent) == 1  # what would write another way is never called


@pytest.mark.parametrize("server", ["wsgi_port", "asgi_port"])
def test_a_real_server_s_streams_pass(
    server: str, told: Told, request: pytest.FixtureRequest
) -> None:
    port: int = request.getfixturevalue(server)
    address = "/stream/editors/" if server == "wsgi_port" else "/stream-async/editors/"

    assert _get(port, address) == (200, b"begun, done")
    assert Group.objects.filter(name="editors").exists()
    assert actions(told()) == ["role.create"]
