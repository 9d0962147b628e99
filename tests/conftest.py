"""What all tests share: how hypothesis searches, what happens where there is no browser, and the
PostgreSQL server.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.postgres_server import PostgresServer, running_server

# No deadline: a busy machine is not a failure. At a desk each run looks elsewhere and prints what
# reproduces a failure; in CI all look at the same place, so that a red run is the change's doing.
settings.register_profile(
    "whodid", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("ci", parent=settings.get_profile("whodid"), derandomize=True)
settings.register_profile("thorough", parent=settings.get_profile("whodid"), max_examples=5_000)
_usual = "ci" if "CI" in os.environ else "whodid"
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", _usual))

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
NO_BROWSER = "no Chromium on this machine; on Debian: apt-get install chromium"


def find_chromium() -> str | None:
    """The path of a Chromium to test with, if there is one."""
    names = (os.environ.get("WHODID_CHROMIUM", ""), *BROWSERS)
    return next((found for name in names if name and (found := shutil.which(name))), None)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A real server, started at the first test that needs one."""
    with running_server(os.environ.get("WHODID_TEST_POSTGRES")) as server:
        yield server


@pytest.fixture(scope="session")
def own_server(postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    """A server that tests may stop and change, whatever server the others use."""
    if postgres_server.is_own:
        yield postgres_server
        return
    with running_server() as server:
        yield server


@pytest.fixture
def own_url(own_server: PostgresServer) -> Iterator[str]:
    """An empty database there."""
    with own_server.database() as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """An empty database of this test's own."""
    with postgres_server.database() as url:
        yield url


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("browser") and find_chromium() is None:
        if os.environ.get("WHODID_REQUIRE_BROWSER"):
            pytest.fail(f"WHODID_REQUIRE_BROWSER is set, but there is {NO_BROWSER}", pytrace=False)
        pytest.skip(NO_BROWSER)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly how much was not tested for want of a browser."""
    missed = sum(
        NO_BROWSER in str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])
    )
    if missed:
        terminalreporter.section("NOT TESTED", sep="!", red=True, bold=True)
        terminalreporter.line(f"{missed} tests of the viewer did not run: {NO_BROWSER}")
