"""Schemathesis against the server's own description of itself, over real sockets.

Each situation has a server and a store of its own: a person at this machine without keys, a key of
all tenants, a key of one. What the description cannot say (is it a search, is there such a day) may
be refused, but for a reason on our list alone: everything else that it allows must be taken, and
all that it forbids must be refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import settings
from schemathesis import Case, Response
from schemathesis.checks import CheckFunction
from schemathesis.config import SchemathesisConfig
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import positive_data_acceptance
from urllib3 import HTTPResponse

from tests.server.conftest import plain
from tests.server.serving import serving
from whodid.server import openapi
from whodid.server.auth import SCOPES, new_key
from whodid.stores.sqlite import SqliteStore
from whodid.times import Instant

PROFILE = settings.default or settings()
SHARE = 10  # of the profile's examples: there are ten operations and three situations
REFUSED = ["400", "401", "403", "404", "405", "409", "413", "415", "422"]
"""How a wrong request may be answered. A batch of too many events is too large: 413."""

# Of a search whether it can be read; of what has the right shape, whether there is such a one.
UNSAYABLE_OF_READING = frozenset({"query", "cursor", "parameter"})
UNSAYABLE_OF_EVENTS = (
    "no such day or second",
    "outside the years 0001 to 9999",
    "integer beyond",
    "expected int, got float",  # to JSON Schema 1.0 is an integer, to the event's reader it is none
)


@schemathesis.serializer("application/x-ndjson")
def as_lines(_context: object, value: object) -> bytes:
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "replace")


def described(*, needs_key: bool) -> BaseSchema:
    """The server's description of itself."""
    document = json.loads(openapi.document_bytes())
    # It tells of both; in one situation a key is either needed or of no use.
    document["security"] = [{"key": []}] if needs_key else []
    config = SchemathesisConfig(seed=1 if PROFILE.derandomize else None)
    project = config.projects.default
    project.generation.with_security_parameters = False  # the situation has the key, or none
    project.checks.negative_data_rejection.expected_statuses = REFUSED
    # Thousands of systematic cases, made when tests are collected: once is enough.
    project.phases.coverage.enabled = not needs_key
    return schemathesis.openapi.from_dict(document, config=config)


class Client(requests.Session):
    """One that goes away after the first words of a tail, which has no end."""

    # `Any`, since they are those of `requests`.
    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        response = super().request(*args, **kwargs)
        if response.headers.get("content-type") == "text/event-stream":
            words = response.raw.read1(65_536)
            headers = response.raw.headers
            response.raw.close()
            response.raw = HTTPResponse(BytesIO(words), headers, preload_content=False)
        return response


@dataclass(frozen=True, slots=True)
class Situation:
    """A running server and how to come in."""

    url: str
    headers: dict[str, str]
    session: requests.Session

    def check(self, case: Case[Any]) -> None:
        """Send a request, and hold the answer against the description."""
        how: dict[str, Any] = {"base_url": self.url, "session": self.session, "timeout": 30}
        response = case.call(headers=self.headers, **how)
        case.validate_response(
            response,
            headers=self.headers,
            excluded_checks=_excluded(case, response),
            transport_kwargs=how | {"headers": self.headers},
        )


@contextmanager
def situation(folder: Path, *, tenant: str | None) -> Iterator[Situation]:
    """A server with a few events, and after it a look at what it logged."""
    database = folder / "log.db"
    headers = {} if tenant is None else _key(database, tenant)
    with serving(database) as server, Client() as session:
        events = [plain(action=f"invoice.update{number}") for number in range(3)]
        assert server.request("POST", "/v1/events", {"events": events}, headers)[0] == 201
        yield Situation(server.url, headers, session)
        server.process.terminate()
        _, said = server.process.communicate(timeout=30)
    assert "Traceback" not in said
    assert "error" not in said.lower()


def _key(database: Path, tenant: str) -> dict[str, str]:
    text, key = new_key(name="all scopes", tenant=tenant, scopes=SCOPES, now=Instant.now())
    store = SqliteStore(database)
    store.add_key(key)
    store.close()
    return {"Authorization": f"Bearer {text}"}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Situation]:
    with situation(tmp_path_factory.mktemp("here"), tenant=None) as here:
        yield here


@pytest.fixture(scope="module")
def with_key_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Situation]:
    with situation(tmp_path_factory.mktemp("all"), tenant="*") as with_key_of_all:
        yield with_key_of_all


@pytest.fixture(scope="module")
def with_key_of_one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Situation]:
    with situation(tmp_path_factory.mktemp("one"), tenant="acme") as with_key_of_one:
        yield with_key_of_one


bounded = settings(max_examples=max(5, PROFILE.max_examples // SHARE))


@described(needs_key=False).parametrize()
@bounded
def test_without_a_key_the_server_does_what_it_says(case: Case[Any], here: Situation) -> None:
    here.check(case)


@described(needs_key=True).parametrize()
@bounded
def test_with_a_key_of_all_tenants_it_does_what_it_says(
    case: Case[Any], with_key_of_all: Situation
) -> None:
    with_key_of_all.check(case)


@described(needs_key=True).parametrize()
@bounded
def test_with_a_key_of_one_tenant_it_does_what_it_says(
    case: Case[Any], with_key_of_one: Situation
) -> None:
    with_key_of_one.check(case)


def _excluded(case: Case[Any], response: Response) -> list[CheckFunction]:
    return [positive_data_acceptance] if _is_unsayable(case, response) else []


def _is_unsayable(case: Case[Any], response: Response) -> bool:
    """Was it refused for a reason that no schema could have said?"""
    if response.status_code not in (400, 422):
        return False
    problem = response.json()
    kind = problem["type"].rpartition(":")[2]
    if case.method.upper() != "POST":
        return kind in UNSAYABLE_OF_READING
    if case.media_type != "application/json":
        return True  # a text, by the schema; that each line is an event is said in words
    return kind == "event" and all(
        any(reason in fault["problem"] for reason in UNSAYABLE_OF_EVENTS)
        for fault in problem["errors"]
    )
