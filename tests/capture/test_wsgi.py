"""Requests of real WSGI applications, and what is recorded of them."""

from __future__ import annotations

import contextlib
import gc
import http.client
import io
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import flask
import pytest
from msgspec import UNSET
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client, EnvironBuilder, run_wsgi_app

from whodid import context
from whodid.capture.wsgi import AuditMiddleware, note_error
from whodid.errors import StoreUnavailableError
from whodid.event import Actor, Event
from whodid.log import AuditLog
from whodid.stores.sqlite import SqliteStore

SECRET = "sk_live_4eC39HqLyjWDarjtT1zdp7dc"


@pytest.fixture
def audit(tmp_path: Path) -> Iterator[AuditLog]:
    with AuditLog(tmp_path / "audit.db", app="shop") as log:
        yield log


def a_flask_app(audit: AuditLog, **options: Any) -> flask.Flask:
    app = flask.Flask("shop")

    @app.get("/invoices/<int:number>")
    def invoice(number: int) -> str:
        audit.record("invoice.update", target=("invoice", number))
        return "ok"

    @app.get("/broken")
    def broken() -> str:
        raise RuntimeError(f"the printer is on fire, api_key={SECRET}")

    @app.route("/status/<int:status>", methods=["GET", "POST", "DELETE"])
    def answers(status: int) -> flask.Response:
        return flask.Response("so", status)

    @app.get("/stream")
    def stream() -> flask.Response:
        def pieces() -> Iterator[str]:
            yield "one"
            audit.record("stream.read", metadata={"path": flask.request.path})
            yield "two"

        return flask.Response(flask.stream_with_context(pieces()))

    app.wsgi_app = AuditMiddleware(app.wsgi_app, audit, **options)  # type: ignore[method-assign]  # as Flask says
    return app


class _Browser(Client):
    """Takes the whole answer and closes it, as servers do."""

    def open(self, *args: Any, **kwargs: Any) -> Any:
        return super().open(*args, buffered=True, **kwargs)


def a_client(app: Any, **environ: str) -> Client:
    environ = {"REMOTE_ADDR": "192.0.2.9", "REMOTE_PORT": "5000"} | environ

    def with_peer(given: dict[str, Any], start: Any) -> Iterable[bytes]:
        answered: Iterable[bytes] = app(given | environ, start)
        return answered

    return _Browser(with_peer)


def the_event(audit: AuditLog, query: str) -> Event:
    (event,) = audit.search(query)
    return event


def test_an_event_of_a_view_has_the_request_and_the_client(audit: AuditLog) -> None:
    client = a_client(a_flask_app(audit))
    client.get("/invoices/7?q=secret", headers={"x-request-id": "req-1", "user-agent": "curl/8"})

    event = the_event(audit, "action:invoice.update")
    assert event.request
    assert (event.request.id, event.request.method) == ("req-1", "GET")
    assert (event.request.route, event.request.url) == (
        "/invoices/{number}",
        "/invoices/7?q=[masked]",
    )
    assert event.request.status is UNSET
    assert event.client
    assert (event.client.ip, event.client.port) == ("192.0.2.9", 5000)
    assert event.client.user_agent == "curl/8"


def test_the_answer_carries_the_id_of_the_request(audit: AuditLog) -> None:
    client = a_client(a_flask_app(audit))

    given = client.get("/invoices/7", headers={"x-request-id": "req-1"})
    made = client.get("/broken", headers={"x-request-id": "not one"})

    assert given.headers.getlist("x-request-id") == ["req-1"]
    assert len(made.headers["x-request-id"]) == 36


def test_an_exception_that_flask_answers_by_itself_is_an_event(audit: AuditLog) -> None:
    answer = a_client(a_flask_app(audit)).get("/broken?token=hunter2")

    event = the_event(audit, "")
    assert answer.status_code == 500
    assert (event.action, event.outcome) == ("error.raise", "error")
    assert event.error
    assert event.error.type == "RuntimeError"
    assert event.error.message == "the printer is on fire, api_key=[masked]"
    assert event.request
    assert (event.request.status, event.request.route) == (500, "/broken")
    assert event.request.url == "/broken?token=[masked]"


def test_an_exception_that_flask_passes_on_is_one_event_and_stays_as_it_was(
    audit: AuditLog,
) -> None:
    app = a_flask_app(audit)
    app.testing = True

    with pytest.raises(RuntimeError, match="on fire"):
        a_client(app).get("/broken")

    assert the_event(audit, "").action == "error.raise"


def test_no_secret_of_a_request_reaches_the_disk(audit: AuditLog, tmp_path: Path) -> None:
    client = a_client(a_flask_app(audit, record_requests=True))
    client.get(f"/broken?password=hunter2-{SECRET}", headers={"authorization": "Bearer hunter2"})
    client.post("/status/403", data="hunter2", headers={"cookie": "session=hunter2"})
    audit.close()

    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"error.raise" in written
    assert b"hunter2" not in written
    assert SECRET.encode() not in written


def test_a_secret_in_a_path_is_masked_by_the_name_that_the_route_gives_it(audit: AuditLog) -> None:
    app = a_flask_app(audit)
    app.add_url_rule("/reset/<token>", "reset", lambda token: ("no", 403))

    a_client(app).get("/reset/hunter2")

    event = the_event(audit, "")
    assert event.request
    assert (event.request.url, event.targets[0].id) == ("/reset/masked", "/reset/masked")
    assert event.request.route == "/reset/{token}"


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_a_denied_access_check(audit: AuditLog, status: int) -> None:
    a_client(a_flask_app(audit)).get(f"/status/{status}")

    event = the_event(audit, "action:access.check")
    assert event.outcome == "denied"
    assert event.request
    assert (event.request.status, event.request.route) == (status, "/status/{status}")
    assert event.request.duration_ms is not UNSET


@pytest.mark.parametrize("status", [200, 204, 302, 400, 404, 429, 500, 503])
def test_no_other_answer_makes_an_event(audit: AuditLog, status: int) -> None:
    a_client(a_flask_app(audit)).get(f"/status/{status}")

    assert audit.search() == []


def test_every_request_is_an_event_when_that_is_asked_for(audit: AuditLog) -> None:
    client = a_client(a_flask_app(audit, record_requests=True))
    client.get("/status/200")
    client.post("/status/404")

    found = {(event.action, event.outcome) for event in audit.search()}
    assert found == {("http.read", "success"), ("http.create", "failure")}


def test_an_excluded_path_is_left_alone(audit: AuditLog) -> None:
    answer = a_client(a_flask_app(audit, exclude=["/status"])).get("/status/403")

    assert "x-request-id" not in answer.headers
    assert audit.search() == []


@pytest.mark.parametrize(
    ("proxies", "ip"), [(0, "192.0.2.9"), (1, "198.51.100.7"), (3, "192.0.2.9")]
)
def test_only_what_trusted_proxies_wrote_is_believed(
    audit: AuditLog, proxies: int, ip: str
) -> None:
    client = a_client(a_flask_app(audit, trusted_proxies=proxies))
    client.get("/status/403", headers={"x-forwarded-for": "203.0.113.66, 198.51.100.7"})

    event = the_event(audit, "")
    assert event.client
    assert event.client.ip == ip


def test_the_actor_is_whom_the_host_says_or_the_server_signed_in(audit: AuditLog) -> None:
    a_client(a_flask_app(audit), REMOTE_USER="ana").get("/status/401")
    a_client(a_flask_app(audit, find_actor=lambda environ: None)).get("/status/403")

    signed_in, nobody = the_event(audit, "status:401"), the_event(audit, "status:403")
    assert signed_in.actor == Actor(type="user", id="ana", name="ana")
    assert nobody.actor == Actor(type="anonymous")


def test_the_template_of_a_mounted_application_begins_with_where_it_is(audit: AuditLog) -> None:
    mounts: Any = {"/shop": a_flask_app(audit)}
    app = DispatcherMiddleware(flask.Flask("outer"), mounts)
    a_client(AuditMiddleware(app, audit)).get("/shop/status/403")

    event = the_event(audit, "")  # once, though there are two middlewares
    assert event.request
    assert (event.request.route, event.request.url) == ("/shop/status/{status}", "/shop/status/403")


def test_a_stream_comes_piece_by_piece_with_the_context_of_its_request(audit: AuditLog) -> None:
    environ = EnvironBuilder("/stream", headers=[("x-request-id", "req-9")]).get_environ()
    pieces, status, _ = run_wsgi_app(a_flask_app(audit), environ)

    iterator = iter(pieces)
    assert status.startswith("200")
    assert next(iterator) == b"one"
    assert audit.search() == []
    assert list(iterator) == [b"two"]
    event = the_event(audit, "action:stream.read")
    assert event.request
    assert (event.request.id, event.request.status) == ("req-9", 200)


def test_a_stream_that_a_test_client_forgets_ends_without_noise(audit: AuditLog) -> None:
    with warnings.catch_warnings(record=True) as said:
        answer = Client(a_flask_app(audit)).get("/stream")
        del answer
        gc.collect()

    assert said == []
    assert context.current_occasion() is None


# -- applications without a framework

App = Callable[[dict[str, Any], Any], Iterable[bytes]]


def through(audit: AuditLog, app: App, *, method: str = "GET") -> tuple[list[str], bytes]:
    """One request as the standard library's server makes it, checked against PEP 3333."""
    lines: list[str] = []
    wrapped = validator(AuditMiddleware(validator(app), audit))
    with serving(wrapped) as address:
        connection = http.client.HTTPConnection(*address, timeout=30)
        connection.request(method, "/x")
        answer = connection.getresponse()
        lines = [str(answer.status), *(f"{k.lower()}: {v}" for k, v in answer.getheaders())]
        body = answer.read()
        connection.close()
    return lines, body


class _Quiet(WSGIRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass

    def get_stderr(self) -> Any:
        return io.StringIO()


@contextlib.contextmanager
def serving(app: Any) -> Iterator[tuple[str, int]]:
    """A real server in a thread; gives its address."""
    server: WSGIServer = make_server("127.0.0.1", 0, app, handler_class=_Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield "127.0.0.1", server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


PLAIN = [("Content-Type", "text/plain")]


def test_a_list_is_answered_with_its_length(audit: AuditLog) -> None:
    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        start("403 Forbidden", PLAIN)
        return [b"no entry"]

    environ = EnvironBuilder("/x").get_environ()
    body = AuditMiddleware(app, audit)(environ, lambda *_: print)

    assert len(body) == 1  # type: ignore[arg-type]  # what is tested
    lines, content = through(audit, app)
    assert content == b"no entry"
    assert lines[0] == "403"


def test_the_pieces_of_write_and_of_a_generator_and_a_late_start_arrive(audit: AuditLog) -> None:
    def app(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
        write = start("401 Unauthorized", PLAIN)
        write(b"one ")
        yield b"two"

    lines, content = through(audit, app)

    assert (lines[0], content) == ("401", b"one two")
    assert the_event(audit, "").action == "access.check"


def test_a_head_is_answered_without_a_body(audit: AuditLog) -> None:
    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        start("403 Forbidden", PLAIN)
        return []

    lines, content = through(audit, app, method="HEAD")

    assert (lines[0], content) == ("403", b"")
    event = the_event(audit, "")
    assert event.request
    assert event.request.method == "HEAD"


def test_an_exception_in_the_middle_of_the_answer_is_an_event(audit: AuditLog) -> None:
    closed = []

    class Pieces:
        def __iter__(self) -> Iterator[bytes]:
            yield b"one"
            raise RuntimeError("the source ended")

        def close(self) -> None:
            closed.append(True)

    def app(environ: dict[str, Any], start: Any) -> Pieces:
        start("200 OK", PLAIN)
        return Pieces()

    body = AuditMiddleware(app, audit)(EnvironBuilder("/x").get_environ(), lambda *_: print)
    with pytest.raises(RuntimeError, match="ended"):
        list(body)
    body.close()  # type: ignore[attr-defined]  # as servers do

    event = the_event(audit, "action:error.raise")
    assert closed == [True]
    assert event.request
    assert event.request.status == 200


def test_an_exception_that_the_application_answers_with_exc_info_is_an_event(
    audit: AuditLog,
) -> None:
    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        try:
            raise RuntimeError("the printer is on fire")
        except RuntimeError:
            start("500 Oops", PLAIN, sys.exc_info())
        return [b"sorry"]

    lines, content = through(audit, app)

    assert (lines[0], content) == ("500", b"sorry")
    assert the_event(audit, "").action == "error.raise"


def test_a_file_reaches_the_server_as_the_file_that_it_is(audit: AuditLog) -> None:
    def app(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        start("403 Forbidden", PLAIN)
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](io.BytesIO(b"content"))
        return wrapped

    environ = EnvironBuilder("/x").get_environ() | {"wsgi.file_wrapper": FileWrapper}
    body = AuditMiddleware(app, audit)(environ, lambda *_: print)

    assert isinstance(body, FileWrapper)
    assert the_event(audit, "").action == "access.check"


def test_a_client_that_has_gone_is_no_error(audit: AuditLog) -> None:
    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        start("200 OK", PLAIN)(b"too late")
        return []

    def gone(data: bytes) -> None:
        raise BrokenPipeError("gone")

    with pytest.raises(BrokenPipeError):
        AuditMiddleware(app, audit)(EnvironBuilder("/x").get_environ(), lambda *_: gone)

    assert audit.search() == []


def test_nothing_of_a_request_is_left_in_its_thread(audit: AuditLog) -> None:
    def app(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
        with audit.context(actor="user:ana"):
            start("200 OK", PLAIN)
            yield b"one"
            yield b"two"

    body = iter(AuditMiddleware(app, audit)(EnvironBuilder("/x").get_environ(), lambda *_: print))
    next(body)  # and never read to its end

    assert context.current() == context.Context()
    assert context.current_occasion() is None


def test_what_a_generator_binds_is_inside_the_request(audit: AuditLog) -> None:
    def app(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
        start("200 OK", PLAIN)
        with audit.context(actor="user:ana"):
            yield b"one"
            audit.record("report.read")
            yield b"two"

    middle = AuditMiddleware(app, audit, find_actor=lambda environ: Actor(type="user", id="bob"))
    list(middle(EnvironBuilder("/x").get_environ(), lambda *_: print))

    event = the_event(audit, "")
    assert event.actor.id == "ana"
    assert event.request
    assert event.request.url == "/x"


def test_requests_in_eight_threads_do_not_mix_up_their_actors(audit: AuditLog) -> None:
    app = flask.Flask("shop")
    together = threading.Barrier(8)

    @app.get("/<name>")
    def view(name: str) -> str:
        together.wait(30)
        audit.record("page.view", metadata={"user": name})
        return name

    middle = AuditMiddleware(
        app, audit, find_actor=lambda environ: Actor(type="user", id=environ["PATH_INFO"][1:])
    )
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: _Browser(middle).get(f"/user-{number}"), range(48)))

    events = audit.search(limit=100)
    assert len(events) == 48
    for event in events:
        assert event.metadata
        assert event.actor.id == event.metadata["user"]


# -- the store fails


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
    paths = ["/invoices/7", "/status/401", "/status/403", "/status/404", "/broken", "/stream"]
    headers = {"x-request-id": "req-1"}
    whole = [a_client(a_flask_app(audit)).get(path, headers=headers) for path in paths]
    with a_broken_log(tmp_path, on_failure) as log:
        client = a_client(a_flask_app(log))
        answers = [client.get(path, headers=headers) for path in paths]

        assert len(audit.search()) == 5  # the whole log took them
        assert [event.action for event in log.search()] == ["log.open"]

    for answer, expected in zip(answers, whole, strict=True):
        assert (answer.status, answer.data, answer.headers) == (
            expected.status, expected.data, expected.headers,
        )  # fmt: skip


def test_a_log_that_fails_closed_lets_no_refusal_out_unrecorded(tmp_path: Path) -> None:
    with a_broken_log(tmp_path, "raise") as log:
        client = a_client(a_flask_app(log))

        assert client.get("/status/404").status_code == 404
        with pytest.raises(StoreUnavailableError):
            client.get("/status/403")


def test_a_log_that_fails_closed_raises_from_the_exception_of_the_request(tmp_path: Path) -> None:
    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        raise RuntimeError("the printer is on fire")

    with a_broken_log(tmp_path, "raise") as log:
        with pytest.raises(StoreUnavailableError) as raised:
            AuditMiddleware(app, log)(EnvironBuilder("/x").get_environ(), lambda *_: print)

        assert isinstance(raised.value.__cause__, RuntimeError)


@pytest.mark.parametrize("on_failure", ["spool", "drop", "raise"])
def test_a_database_that_is_deleted_meanwhile_fails_requests_only_if_that_was_chosen(
    tmp_path: Path, on_failure: Any
) -> None:
    path = tmp_path / "log.db"
    with AuditLog(path, on_failure=on_failure) as log:
        log.record("log.open")
        path.unlink()
        client = a_client(a_flask_app(log))

        if on_failure == "raise":
            with pytest.raises(StoreUnavailableError, match="deleted"):
                client.get("/status/403")
        else:
            assert client.get("/status/403").status_code == 403
            assert client.get("/invoices/7").data == b"ok"

    spooled = [
        line for file in tmp_path.rglob("*.jsonl") for line in file.read_bytes().splitlines()
    ]
    assert len(spooled) == (2 if on_failure == "spool" else 0)


# -- bodies, and frameworks that answer by themselves


class CountingBody(io.BytesIO):
    """A request's body that knows how often it was read."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        return super().read(size)


@pytest.mark.parametrize("path", ["/status/403", "/broken", "/invoices/7"])
def test_the_body_of_a_request_is_the_applications_alone(audit: AuditLog, path: str) -> None:
    body = CountingBody(b"hunter2")
    environ = EnvironBuilder(path=path, method="POST").get_environ()
    environ |= {"wsgi.input": body, "CONTENT_LENGTH": "7"}

    run_wsgi_app(a_flask_app(audit, record_requests=True), environ, buffered=True)

    assert audit.search()
    assert body.reads == 0


def test_an_exception_that_a_handler_answers_can_be_noted(audit: AuditLog) -> None:
    app = a_flask_app(audit)

    @app.errorhandler(RuntimeError)
    def sorry(error: RuntimeError) -> tuple[str, int]:
        note_error(error)
        return "sorry", 503

    assert a_client(app).get("/broken").status_code == 503
    event = the_event(audit, "action:error.raise")
    assert event.request
    assert event.request.status == 503
    note_error(RuntimeError("outside of a request"))
    assert the_event(audit, "action:error.raise") == event


def test_fifty_requests_that_are_all_inside_at_once_keep_their_actors(audit: AuditLog) -> None:
    everybody_is_here = threading.Barrier(50)

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        everybody_is_here.wait(timeout=20)
        audit.record("person.meet", target=("person", environ["PATH_INFO"][1:]))
        start("200 OK", [])
        return []

    middle = AuditMiddleware(app, audit, find_actor=lambda e: f"user:{e['PATH_INFO'][1:]}")
    with ThreadPoolExecutor(50) as threads:
        list(threads.map(lambda number: a_client(middle).get(f"/p{number}"), range(50)))

    met = audit.search("action:person.meet", limit=100)
    assert len(met) == 50
    assert all(event.actor.id == event.targets[0].id for event in met)
