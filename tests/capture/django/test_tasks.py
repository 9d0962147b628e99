"""A task's changes are the system's, on behalf of whoever asked for it, in each kind of worker."""

# Celery has no types.
# mypy: disable-error-code="import-untyped, untyped-decorator"

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from celery import Celery, shared_task, signals
from celery.contrib.testing.worker import start_worker
from django.contrib.auth.models import Group
from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import path

from tests.capture.django.site import a_browser, a_user, actions, one, site
from whodid import context
from whodid.capture.django.tasks import HEADER, Carried, carried_now
from whodid.event import Actor, Event, Principal, Tenant

Told = Callable[[], list[Event]]

app = Celery("tests", broker="memory://", backend="cache+memory://", set_as_current=False)
app.conf.update(
    broker_connection_retry_on_startup=False,
    broker_transport_options={"polling_interval": 0.01},
    task_store_eager_result=True,
)


@signals.setup_logging.connect(weak=False)
def _leave_logging(**_: object) -> None:
    """As it is: else a worker sets the level of all loggers, and other tests hear nothing."""


def _make(name: str) -> None:
    """The worker's threads go on; their connections must not."""
    try:
        Group.objects.create(name=name)
    finally:
        connections.close_all()


@app.task(name="shop.make_group")
def make_group(name: str) -> None:
    _make(name)


@app.task(name="shop.pass_on")
def pass_on(name: str) -> None:
    make_group.delay(name).get(timeout=20, interval=0.01, disable_sync_subtasks=False)


@app.task(name="shop.break")
def break_down() -> None:
    raise ValueError("no invoice today, token=abcdef123456")


@app.task(name="shop.try_twice", bind=True, max_retries=1)
def try_twice(self: Any, name: str) -> None:
    if self.request.retries == 0:
        raise self.retry(countdown=0)
    _make(name)


@app.task(name="shop.repeat", bind=True)
def repeat(self: Any, times: int) -> None:
    if times > 1:
        repeat.apply(args=[times - 1], task_id=self.request.id)


TASKS: dict[str, Callable[[], Any]] = {
    "make": lambda: make_group.delay("editors"),
    "pass": lambda: pass_on.delay("editors"),
    "break": break_down.delay,
    "retry": lambda: try_twice.delay("editors"),
}


def ask(request: HttpRequest, task: str) -> HttpResponse:
    TASKS[task]().get(timeout=20, interval=0.01, propagate=False)
    return HttpResponse()


urlpatterns = [path("ask/<str:task>/", ask)]


@pytest.fixture(autouse=True)
def _site() -> Iterator[None]:
    with site(ROOT_URLCONF=__name__):
        yield


@pytest.fixture(scope="module")
def worker() -> Iterator[None]:
    """A real worker with two threads, over a broker in memory."""
    with start_worker(app, perform_ping_check=False, pool="threads", concurrency=2):
        yield


@pytest.fixture
def eager() -> Iterator[None]:
    app.conf.task_always_eager = True
    yield
    app.conf.task_always_eager = False


@contextmanager
def ended(task: str) -> Iterator[None]:
    """Wait until a task that the block asks for is over: its result is there a moment before."""
    over = threading.Event()

    def note(task_id: str, sender: Any = None, **_: object) -> None:
        if sender.name == task:
            over.set()

    signals.task_postrun.connect(note, weak=False)
    try:
        yield
        assert over.wait(20)
    finally:
        signals.task_postrun.disconnect(note)


TRACE = f"00-{'a' * 32}-{'b' * 16}-01"


@pytest.mark.usefixtures("worker")
def test_a_task_acts_on_behalf_of_who_asked_for_it(told: Told) -> None:
    ana = a_user()
    browser = a_browser(ana)
    told()

    answer = browser.get("/ask/make/", headers={"traceparent": TRACE})

    event = one(told(), "role.create")
    assert (event.actor.type, event.actor.name) == ("system", "celery shop.make_group")
    assert event.on_behalf_of
    assert (event.on_behalf_of.id, event.on_behalf_of.name) == (str(ana.pk), "ana")
    assert event.delegation
    assert event.delegation.kind == "automation"
    assert event.trace
    assert event.trace.trace_id == "a" * 32
    assert event.request
    assert event.request.id == answer["X-Request-ID"]
    assert event.metadata
    assert event.metadata["task"] == "shop.make_group"


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("task", ["pass", "retry"])
def test_a_task_of_a_task_and_a_second_try_stay_with_the_same_person(task: str, told: Told) -> None:
    browser = a_browser(a_user())
    told()

    browser.get(f"/ask/{task}/")

    event = one(told(), "role.create")
    assert event.actor.type == "system"
    assert event.on_behalf_of
    assert event.on_behalf_of.name == "ana"


@pytest.mark.usefixtures("worker")
def test_a_task_that_nobody_asked_for_is_the_system_s_alone(told: Told) -> None:
    make_group.delay("editors").get(timeout=20, interval=0.01)

    event = one(told(), "role.create")
    assert event.actor.name == "celery shop.make_group"
    assert not event.on_behalf_of
    assert not event.delegation


@pytest.mark.usefixtures("worker")
def test_a_task_that_breaks_is_an_event(told: Told) -> None:
    browser = a_browser(a_user())
    told()

    with ended("shop.break"):
        browser.get("/ask/break/")

    event = one(told(), "error.raise")
    assert event.actor.name == "celery shop.break"
    assert event.on_behalf_of
    assert event.on_behalf_of.name == "ana"
    assert event.error
    assert event.error.message == "no invoice today, token=[masked]"


@pytest.mark.usefixtures("worker")
def test_the_next_task_of_a_thread_knows_nothing_of_the_last_one(told: Told) -> None:
    browser = a_browser(a_user())
    for _ in range(4):  # more than there are threads
        browser.get("/ask/make/")
        Group.objects.all().delete()
    told()

    for number in range(4):
        make_group.delay(f"group {number}").get(timeout=20, interval=0.01)

    assert {bool(event.on_behalf_of) for event in told()} == {False}


@pytest.mark.usefixtures("eager")
def test_a_task_run_at_once_acts_on_behalf_of_who_asks_and_gives_the_request_back(
    told: Told,
) -> None:
    with override_settings(ROOT_URLCONF=__name__):
        browser = a_browser(a_user())
        told()
        browser.get("/ask/make/")

    event = one(told(), "role.create")
    assert event.actor.type == "system"
    assert event.on_behalf_of
    assert event.on_behalf_of.name == "ana"
    assert context.current_occasion() is None


@pytest.mark.usefixtures("eager")
def test_a_task_that_runs_again_within_itself_gives_its_caller_back() -> None:
    repeat.delay(2).get()

    assert context.current_occasion() is None


def test_the_tenant_and_the_correlation_go_along() -> None:
    ana = Actor(type="user", id="7", name="ana")
    with context.bind(actor=ana, tenant=Tenant(id="acme"), correlation_id="import-7"):
        carried = carried_now()

    read = msgspec.convert(msgspec.to_builtins(carried), Carried)
    assert read == carried
    assert read.tenant == Tenant(id="acme")
    assert read.correlation_id == "import-7"
    assert read.on_behalf_of == Principal(type="user", id="7", name="ana")


def test_the_system_is_nobody_to_act_for() -> None:
    with context.bind(actor=Actor(type="system", name="manage.py nightly")):
        assert carried_now().on_behalf_of is None


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("header", ["ana", {"on_behalf_of": 7}, ["x"], {"tenant": {"id": ""}}])
def test_a_header_that_somebody_else_wrote_is_left_aside(header: object, told: Told) -> None:
    make_group.apply_async(("editors",), headers={HEADER: header}).get(timeout=20, interval=0.01)

    event = one(told(), "role.create")
    assert event.actor.name == "celery shop.make_group"
    assert not event.on_behalf_of


def test_a_shared_task_called_like_a_function_is_part_of_what_calls_it(told: Told) -> None:
    @shared_task(name="shop.shared")
    def shared() -> None:
        Group.objects.create(name="editors")

    with context.bind(actor=Actor(type="user", id="7", name="ana")):
        shared()

    assert actions(told()) == ["role.create"]
