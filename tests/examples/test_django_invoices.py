"""The office of examples/django-invoices in a browser, and a fresh project with the three lines."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.e2e.conftest import ARGUMENTS, PATIENCE_MS, executable

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "django-invoices"
TUTORIAL = ROOT / "docs" / "tutorial" / "django.md"
PASSWORD = "lemon-grove-7"
SETTINGS, URLS = FOLDER / "office" / "settings.py", FOLDER / "office" / "urls.py"


def manage(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `manage.py` to its end, which must be a good one."""
    result = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=folder,
        env=clean() | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result


def clean() -> dict[str, str]:
    ours = ("WHODID", "DJANGO_", "INVOICES_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {"PYTHONDONTWRITEBYTECODE": "1"}


@contextmanager
def running(folder: Path, log: Path, command: Sequence[str], **environment: str) -> Iterator[str]:
    """The address of a project's own server while a block runs.

    Args:
        log: Where its output goes.
        command: Of `manage.py`; the address is added.
    """
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with log.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, "manage.py", *command, f"127.0.0.1:{port}"],
            cwd=folder,
            env=clean() | environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_for(server, port, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(timeout=30)


def wait_for(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = monotonic() + 60
    while monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            try:
                server.wait(timeout=0.1)
            except subprocess.TimeoutExpired:
                continue
            break
        return
    raise AssertionError(f"the server did not start:\n{log.read_text()}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=executable(playwright), args=ARGUMENTS
        )
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("office")
    with running(
        FOLDER, folder / "server.log", ["demo"], INVOICES_DB=str(folder / "invoices.db")
    ) as url:
        yield url


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    yield context.new_page()
    context.close()


@pytest.fixture
def ana(page: Page, office: str) -> Page:
    """Ana, who runs the office, at her desk."""
    page.goto(f"{office}/")
    sign_in(page, "ana", PASSWORD)
    expect(page.get_by_role("heading", name="Invoices")).to_be_visible()
    return page


def sign_in(page: Page, name: str, password: str) -> None:
    page.locator("[name=username]").fill(name)
    page.locator("[name=password]").fill(password)
    page.locator("form").get_by_role("button", name="Sign in").or_(
        page.locator("input[type=submit]")
    ).click()


def save(page: Page) -> None:
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_be_visible()


def found(page: Page, url: str, query: str) -> str:
    """The words of the newest event that a search in the log finds, opened."""
    page.goto(f"{url}/audit/?range=all&q={quote(query)}")
    page.locator("[id^=e-] a").first.click()
    expect(page.locator("main")).to_contain_text(re.compile(r"\S"))
    return page.locator("main").inner_text()


# -- the five kinds --------------------------------------------------------------------------------


def test_signing_in_is_on_record_with_a_good_and_a_bad_password(page: Page, office: str) -> None:
    page.goto(f"{office}/")
    sign_in(page, "bo", "not-the-password")
    expect(page.get_by_role("alert")).to_be_visible()
    sign_in(page, "bo", PASSWORD)
    page.get_by_role("button", name="Sign out").click()
    sign_in(page, "cleo", PASSWORD)
    expect(page.get_by_role("heading", name="Invoices")).to_be_visible()

    page.goto(f"{office}/audit/?range=all&q={quote('action:user.login')}")

    main = page.locator("main")
    expect(main).to_contain_text("Bo Tanaka")
    expect(main).to_contain_text("Cleo Mbeki")
    expect(main).to_contain_text("Success")
    expect(main).to_contain_text("Failure")
    assert "not-the-password" not in page.content()


def test_a_change_is_on_record_with_old_and_new(ana: Page, office: str) -> None:
    ana.get_by_role("link", name="2026-003").click()
    ana.locator("[name=amount]").fill("9990.00")
    save(ana)

    words = found(ana, office, "action:invoice.update target:2026-003")

    assert "Ana Lindqvist" in words
    assert "9900" in words
    assert "9990" in words


def test_a_role_that_is_given_is_on_record(ana: Page, office: str) -> None:
    ana.get_by_role("link", name="People").click()
    ana.get_by_role("link", name="Bo Tanaka").click()
    ana.get_by_label("Auditors").check()
    save(ana)

    words = found(ana, office, "action:user.role.grant actor:Ana")

    assert "Auditors" in words
    assert "bo" in words


def test_a_setting_that_changes_is_on_record(ana: Page, office: str) -> None:
    ana.get_by_role("link", name="Settings").click()
    ana.get_by_label("Days to pay").fill("30")
    save(ana)

    words = found(ana, office, "action:settings.update actor:Ana")

    assert "14" in words
    assert "30" in words


def test_an_error_is_on_record(ana: Page, office: str) -> None:
    ana.get_by_role("link", name="Customers").click()
    ana.get_by_role("row", name="Studio Nord").get_by_role("link", name="Statement").click()

    words = found(ana, office, "action:error.raise")

    assert "Ana Lindqvist" in words
    assert "division" in words.lower()
    assert "/customers/" in words


def test_the_statements_of_those_who_have_paid_are_shown(ana: Page, office: str) -> None:
    for customer, average in (("Harbour Bakery", "€ 1,250.00"), ("Pine & Sons", "€ 2,400.00")):
        ana.get_by_role("link", name="Customers").click()
        ana.get_by_role("row", name=customer).get_by_role("link", name="Statement").click()

        expect(ana.locator("main")).to_contain_text(average)


# -- the rest --------------------------------------------------------------------------------------


def test_an_invoice_that_was_deleted_has_its_history_in_the_admin(ana: Page, office: str) -> None:
    ana.get_by_role("link", name="2026-002").click()
    number = ana.url.rstrip("/").rpartition("/")[2]
    ana.get_by_role("button", name="Delete").click()
    expect(ana.get_by_role("status")).to_be_visible()

    ana.goto(f"{office}/admin/invoices/invoice/{number}/history/")

    expect(ana.locator("#content")).to_contain_text("This invoice is gone.")
    expect(ana.locator("#content")).to_contain_text("deleted invoice 2026-002")
    expect(ana.locator("#content")).to_contain_text("480.50")


def test_who_may_not_see_the_log_is_told_so(page: Page, office: str) -> None:
    page.goto(f"{office}/audit/")
    assert "/sign-in/" in page.url
    page.goto(f"{office}/sign-in/")
    sign_in(page, "nobody", PASSWORD)
    expect(page.get_by_role("alert")).to_be_visible()

    answer = page.request.get(f"{office}/audit/events.json", max_redirects=0)

    assert answer.status == 403


@pytest.mark.parametrize("width", [390, 1440])
def test_no_page_is_wider_than_the_screen(width: int, ana: Page, office: str) -> None:
    ana.set_viewport_size({"width": width, "height": 844})
    for place in ("", "customers/", "people/", "settings/", "audit/",
                  "admin/invoices/invoice/1/history/"):  # fmt: skip
        ana.goto(f"{office}/{place}")
        wide = ana.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, place


# -- a project of one's own ------------------------------------------------------------------------


def test_the_tutorial_is_the_code_of_the_example() -> None:
    ours = SETTINGS.read_text() + URLS.read_text()
    fences = re.findall(r"```python\n(.*?)```", TUTORIAL.read_text(), re.DOTALL)
    shown = [
        line for block in fences for line in block.splitlines() if re.search(r"# [123]$", line)
    ]

    assert len(shown) == 3
    assert [line for line in shown if line not in ours.splitlines()] == []
    settings = next(block for block in fences if block.startswith("WHODID"))
    assert settings in ours


def test_a_fresh_project_with_the_three_lines_has_all_five_kinds_on_record(
    tmp_path: Path, page: Page
) -> None:
    subprocess.run(
        [sys.executable, "-m", "django", "startproject", "fresh", str(tmp_path)],
        env=clean(), check=True, timeout=120,
    )  # fmt: skip
    with (tmp_path / "fresh" / "settings.py").open("a") as settings:
        settings.write('\nINSTALLED_APPS += ["whodid.capture.django"]\n')
        settings.write('MIDDLEWARE += ["whodid.capture.django.AuditMiddleware"]\n')
    with (tmp_path / "fresh" / "urls.py").open("a") as urls:
        urls.write("\nfrom django.urls import include\n")
        urls.write('urlpatterns += [path("audit/", include("whodid.capture.django.urls"))]\n')
        urls.write('urlpatterns += [path("broken/", lambda request: 1 / 0)]\n')
        urls.write("from django.http import HttpResponse\n")
        urls.write("from whodid.capture.django import audit\n")
        urls.write("def change(request):\n")
        urls.write("    audit.settings_changed('payment_days', 14, 30)\n")
        urls.write("    return HttpResponse('changed')\n")
        urls.write("urlpatterns += [path('change/', change)]\n")
    manage(tmp_path, "migrate")
    manage(
        tmp_path, "createsuperuser", "--noinput", "--username=root", "--email=r@example.com",
        DJANGO_SUPERUSER_PASSWORD=PASSWORD,
    )  # fmt: skip

    with running(tmp_path, tmp_path / "server.log", ["runserver", "--noreload"]) as url:
        page.goto(f"{url}/audit/")
        sign_in(page, "root", "wrong")
        expect(page.locator(".errornote")).to_be_visible()
        sign_in(page, "root", PASSWORD)
        expect(page.locator("[name=q]").first).to_be_visible()
        page.goto(f"{url}/admin/auth/group/add/")
        page.locator("[name=name]").fill("Night owls")
        page.locator("[name=_save]").click()
        expect(page.locator(".success")).to_be_visible()
        page.goto(f"{url}/admin/auth/user/add/")
        page.locator("[name=username]").fill("newcomer")
        page.locator("[name=password1]").fill(PASSWORD)
        page.locator("[name=password2]").fill(PASSWORD)
        page.locator("[name=_save]").click()
        expect(page.locator(".success")).to_be_visible()
        page.goto(f"{url}/change/")
        page.goto(f"{url}/broken/")
        page.goto(f"{url}/audit/?range=all&q={quote('-action:permission')}")
        words = page.locator("main").inner_text()

    for action in ("user.login", "role.create", "user.create", "settings.update", "error.raise"):
        assert action in words
    assert "Failure" in words
