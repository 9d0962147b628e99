"""The pages in a browser."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import OpenContext, Site, minutes_ago
from whodid.testing import an_event, prepared

pytestmark = pytest.mark.browser

AXE = files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")
TAKEOVER = "actor:reyes country:SG"


def rows(page: Page) -> Any:
    return page.locator("#list tbody tr:not(.day)")


def sentences(page: Page) -> list[str]:
    return page.locator("#list a.go").all_inner_texts()


def search(page: Page, text: str) -> None:
    box = page.get_by_role("searchbox", name="Search events")
    box.fill(text)
    box.press("Enter")


def the_filter(page: Page, name: str) -> Any:
    """A filter's line by its value."""
    return page.locator(".facets li.fac").filter(
        has=page.locator("a.choose", has_text=re.compile(rf"^\s*{re.escape(name)}"))
    )


# ---- finding


def test_typing_a_search_finds_its_events(either: Page) -> None:
    search(either, TAKEOVER)

    expect(either.locator("#list")).to_contain_text("gave themselves the role admin")
    expect(either.locator("#list")).to_contain_text("exported 12,480 customers")
    assert "q=actor%3Areyes" in either.url
    expect(either.get_by_role("searchbox")).to_have_value(TAKEOVER)


def test_slash_goes_to_the_search_box(page: Page) -> None:
    page.keyboard.press("/")

    expect(page.get_by_role("searchbox")).to_be_focused()


def test_a_quick_range_is_one_click(either: Page) -> None:
    total = either.locator(".hist-head b").inner_text()
    either.get_by_role("navigation", name="Time range").get_by_role("link", name="24h").click()

    expect(either.locator(".hist-head")).to_contain_text("in 24 hours")
    expect(either.locator(".hist-head b")).not_to_have_text(total)
    expect(either.locator(".seg [aria-current]")).to_have_text("24h")


def test_a_window_can_be_given(either: Page) -> None:
    either.locator("summary", has_text="Window:").click()
    form = either.get_by_role("form", name="Time window")
    form.get_by_label("From").fill(str(minutes_ago(60 * 24 * 3))[:16])
    form.get_by_label("To").fill(str(minutes_ago(60 * 24 * 2))[:16])
    form.get_by_role("button", name="Show").click()

    expect(either.get_by_role("link", name="Zoom out")).to_be_visible()
    expect(rows(either).first).to_be_visible()


def test_a_zone_can_be_chosen_and_stays(either: Page) -> None:
    either.locator("summary", has_text="Time zone:").click()
    form = either.get_by_role("form", name="Time zone")
    form.get_by_label("Name").fill("Asia/Kathmandu")
    form.get_by_role("button", name="Use it").click()
    expect(either.locator("thead")).to_contain_text("Kathmandu")
    rows(either).first.locator("a.go").click()

    expect(either.locator("#event .facts")).to_contain_text("+05:45")


def test_a_filter_includes_and_excludes(either: Page) -> None:
    the_filter(either, "Failure").locator("a.choose").click()
    expect(either.get_by_role("searchbox")).to_have_value("outcome:failure")
    expect(the_filter(either, "Failure").locator("a.choose")).to_have_attribute(
        "aria-current", "true"
    )
    expect(either.locator("#list .out.success")).to_have_count(0)

    the_filter(either, "user.login").get_by_role("link", name="Exclude user.login").click()
    expect(either.get_by_role("searchbox")).to_have_value("outcome:failure -action:user.login")
    expect(either.locator("#list")).not_to_contain_text("failed to sign in")

    the_filter(either, "Failure").locator("a.choose").click()
    expect(either.get_by_role("searchbox")).to_have_value("-action:user.login")


def test_filters_work_by_keyboard(page: Page) -> None:
    denied = the_filter(page, "Denied").locator("a.choose")
    denied.focus()
    page.keyboard.press("Enter")

    expect(page.get_by_role("searchbox")).to_have_value("outcome:denied")


def test_a_tenant_is_chosen_from_the_menu(either: Page) -> None:
    either.locator("summary.tenant").click()
    either.get_by_role("banner").get_by_role("link", name="Larkspur Freight").click()

    expect(either.locator("summary.tenant")).to_contain_text("Larkspur Freight")
    expect(either.get_by_role("columnheader", name="Tenant")).to_have_count(0)


def test_a_bar_zooms_into_its_time(either: Page) -> None:
    bars = either.locator(".chart a")
    name = bars.nth(5).get_attribute("aria-label") or ""
    bars.nth(5).click()

    expect(either.locator(".hist-head b")).to_have_text(name.split(": ")[1].split(" ")[0])
    either.get_by_role("link", name="Zoom out").click()
    expect(either.locator(".chart a").nth(1)).to_be_visible()


def test_bars_are_one_stop_of_the_tab_key_and_arrows_walk_them(page: Page) -> None:
    bars = page.locator(".chart a")
    bars.first.focus()
    page.keyboard.press("ArrowRight")
    expect(bars.nth(1)).to_be_focused()
    expect(page.locator(".chart .said").nth(1)).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(bars.first).to_be_focused()
    page.keyboard.press("Tab")

    expect(page.locator(".chart a:focus")).to_have_count(0)


def test_a_fault_is_shown_under_its_character(either: Page) -> None:
    search(either, "since:7d actr:tomas")
    fault = either.get_by_role("region", name="Search with the fault marked")
    expect(fault.locator("u")).to_have_text("actr")
    marked, caret = fault.locator("u").bounding_box(), fault.locator(".at").bounding_box()
    assert marked
    assert caret
    # The line of the caret begins where the search does and ends where the fault does.
    assert abs((caret["x"] + caret["width"]) - (marked["x"] + marked["width"])) < 4
    assert caret["y"] > marked["y"]

    either.get_by_role("link", name="Use actor:").click()
    expect(either.get_by_role("searchbox")).to_have_value("since:7d actor:tomas")
    expect(rows(either).first).to_be_visible()


# ---- one event


def test_a_click_opens_the_event_beside_the_list(either: Page) -> None:
    search(either, TAKEOVER)
    either.get_by_role("link", name="gave themselves the role admin").click()

    drawer = either.get_by_role("region", name="Tomás Reyes gave themselves the role admin")
    expect(drawer).to_be_visible()
    expect(drawer.locator(".diff")).to_contain_text("export_limit")
    expect(either.locator("#list tr[aria-current]")).to_contain_text("gave themselves")
    expect(drawer.get_by_text("Sealed as leaf")).to_be_visible()
    drawer.locator("summary", has_text="JSON").click()
    expect(drawer.get_by_role("region", name="The event as JSON")).to_contain_text("usr_0417")
    drawer.get_by_role("link", name="Close").click()
    expect(either.locator("#event")).to_have_count(0)
    expect(either.get_by_role("searchbox")).to_have_value(TAKEOVER)


def test_the_keyboard_walks_rows_opens_one_steps_on_and_closes(page: Page) -> None:
    said = sentences(page)
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(page.locator("#list a.go").nth(1)).to_be_focused()
    page.keyboard.press("k")
    expect(page.locator("#list a.go").nth(0)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#event")).to_be_focused()
    expect(page.locator("#ev")).to_contain_text(said[0])

    page.keyboard.press("j")
    expect(page.locator("#list tr[aria-current] a.go")).to_have_text(said[1])
    expect(page.locator(".d-bar")).to_contain_text("2 of")
    page.keyboard.press("Escape")
    expect(page.locator("#event")).to_have_count(0)
    expect(page.locator("#list a.go").nth(1)).to_be_focused()


def test_without_scripts_the_arrows_of_the_drawer_step_on(either: Page) -> None:
    said = sentences(either)
    rows(either).nth(3).locator("a.go").click()
    either.get_by_role("link", name="Older event").click()
    expect(either.locator("#list tr[aria-current] a.go")).to_have_text(said[4])
    either.get_by_role("link", name="Newer event").click()

    expect(either.locator("#list tr[aria-current] a.go")).to_have_text(said[3])


def test_a_permalink_opens_the_same_event_for_somebody_else(
    either: Page, open_context: OpenContext, site: Site
) -> None:
    search(either, TAKEOVER)
    either.get_by_role("link", name="gave themselves the role admin").click()
    link = either.get_by_role("link", name="Permalink").get_attribute("href")
    elsewhere = open_context().new_page()
    elsewhere.goto(f"{site.url}{link}")

    expect(elsewhere.locator("#ev")).to_have_text("Tomás Reyes gave themselves the role admin")
    expect(elsewhere.locator("#list tr[aria-current]")).to_be_in_viewport()


def test_a_pivot_leads_to_the_same_session(either: Page) -> None:
    search(either, TAKEOVER)
    either.get_by_role("link", name="gave themselves the role admin").click()
    either.get_by_role("link", name=re.compile("This session")).click()

    expect(either.get_by_role("searchbox")).to_have_value(re.compile("^session:"))
    expect(either.locator("#list")).to_contain_text("gave themselves the role admin")


# ---- pages


def test_older_and_newer_leave_no_gap_and_repeat_nothing(either: Page) -> None:
    search(either, "action:shipment")

    def ids() -> list[str]:
        return [row.get_attribute("id") or "" for row in rows(either).all()]

    first = ids()
    either.get_by_role("link", name="Older").click()
    expect(either.get_by_role("link", name="Newer")).to_be_visible()
    second = ids()
    either.get_by_role("link", name="Older").click()
    expect(either.locator(f"#{second[0]}")).to_have_count(0)
    third = ids()
    assert len({*first, *second, *third}) == 150

    either.get_by_role("link", name="Newer").click()
    expect(either.locator(f"#{second[0]}")).to_be_visible()
    assert ids() == second


def test_events_that_arrive_wait_in_a_bar(either: Page, site: Site) -> None:
    search(either, "action:invoice")
    either.get_by_role("link", name="Older").click()
    expect(either.get_by_role("link", name="Newer")).to_be_visible()
    before = sentences(either)
    site.store.append(prepared(an_event(action="invoice.update", occurred_at=minutes_ago(0))))
    either.reload()

    expect(either.locator(".newbar")).to_contain_text("1 new event since")
    assert sentences(either) == before
    either.get_by_role("link", name="Show it").click()
    expect(rows(either).first).to_contain_text("alice")


# ---- nothing to show


def test_an_empty_store_says_how_to_begin(either: Page, site: Site) -> None:
    either.goto(site.empty + "/")

    expect(either.get_by_role("heading", name="No events yet")).to_be_visible()
    expect(either.locator("pre")).to_contain_text("whodid record")


def test_an_empty_window_offers_the_newest(either: Page) -> None:
    either.goto(either.url.replace("range=30d", "q=actor:reyes+country:SG&range=15m"))
    expect(either.get_by_role("heading", name="Nothing in the last 15 minutes")).to_be_visible()
    either.get_by_role("link", name="Go to the newest").click()

    expect(rows(either).first).to_be_visible()


def test_a_search_without_a_match_can_be_cleared(either: Page) -> None:
    search(either, "nobodyatall")
    expect(either.get_by_role("heading", name="Nothing matches")).to_be_visible()
    either.get_by_role("link", name="Clear the search").click()

    expect(rows(either).first).to_be_visible()


def test_who_may_see_nothing_is_told_so(either: Page, site: Site) -> None:
    either.goto(site.closed + "/")

    expect(either.get_by_role("heading", name="You may not see these events")).to_be_visible()


# ---- narrow


@pytest.mark.parametrize("scripts", [True, False])
def test_on_a_phone_rows_are_cards_and_filters_a_link_away(
    scripts: bool, open_context: OpenContext, site: Site
) -> None:
    context = open_context(viewport={"width": 390, "height": 844}, java_script_enabled=scripts)
    page = context.new_page()
    page.goto(f"{site.url}/?range=30d")

    card = rows(page).first
    expect(card).to_have_css("display", "grid")
    expect(page.locator(".facets")).to_be_hidden()
    page.get_by_role("link", name="Filters").click()
    expect(page.locator(".facets")).to_be_visible()
    the_filter(page, "Denied").locator("a.choose").click()
    expect(page.get_by_role("searchbox")).to_have_value("outcome:denied")
    expect(card.locator(".out.denied")).to_be_visible()
    card.locator("a.go").click()
    expect(page.locator("#event")).to_be_visible()
    expect(page.locator("#list")).to_be_hidden()


@pytest.mark.parametrize("width", [360, 390, 768, 1024, 1240, 1440])
def test_no_page_scrolls_sideways(width: int, open_context: OpenContext, site: Site) -> None:
    page = open_context(viewport={"width": width, "height": 800}).new_page()
    for path in ("/?range=30d", "/?q=actr:x", "/?q=nobodyatall", "/?range=30d#filters", "/event"):
        if path == "/event":
            page.goto(f"{site.url}/?range=30d&q=has:changes")
            rows(page).first.locator("a.go").click()
            expect(page.locator("#event")).to_be_visible()
        else:
            page.goto(site.url + path)
        wide = page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert wide <= 0, path


# ---- themes


def ground(page: Page) -> str:
    found: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return found


def test_the_theme_follows_the_system_and_the_switch(open_context: OpenContext, site: Site) -> None:
    grounds = {}
    for scheme in ("light", "dark"):
        page = open_context(color_scheme=scheme).new_page()
        page.goto(site.url)
        grounds[scheme] = ground(page)
    assert grounds["light"] != grounds["dark"]

    page.get_by_role("switch", name="Other theme").click()
    assert ground(page) == grounds["light"]
    page.goto(f"{site.url}/?range=30d")  # remembered
    assert ground(page) == grounds["light"]
    expect(page.get_by_role("switch")).to_be_checked()


def test_the_switch_works_without_scripts(open_context: OpenContext, site: Site) -> None:
    page = open_context(java_script_enabled=False, color_scheme="light").new_page()
    page.goto(site.url)
    page.get_by_role("switch", name="Other theme").click()

    expect(page.locator("html")).to_have_css("color-scheme", "dark")


# ---- for everybody


PLACES = {
    "list": "/?range=30d",
    "search": "/?range=30d&q=outcome:failure,denied+-action:user.login",
    "drawer": "/?range=30d&q=actor:reyes+country:SG+has:changes",
    "agent": "/?range=30d&q=is:agent+has:changes",
    "nothing matches": "/?q=nobodyatall",
    "nothing in the window": "/?q=actor:reyes+country:SG&range=15m",
    "no events": "/empty/",
    "forbidden": "/closed/",
    "fault": "/?q=actr:tomas",
    "missing": "/nothing",
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("place", list(PLACES))
def test_axe_finds_no_fault(place: str, scheme: str, open_context: OpenContext, site: Site) -> None:
    # Only here the policy is off: axe brings its own styles for measuring contrast.
    page = open_context(color_scheme=scheme, bypass_csp=True, reduced_motion="reduce").new_page()
    page.goto(site.url + PLACES[place])
    if place in ("drawer", "agent"):
        rows(page).first.locator("a.go").click()
        expect(page.locator("#event")).to_be_visible()
        page.locator("summary", has_text="JSON").click()
    page.evaluate(AXE)
    found = page.evaluate("axe.run({resultTypes: ['violations']})")

    assert [
        (fault["id"], [node["html"][:200] for node in fault["nodes"]][:3])
        for fault in found["violations"]
    ] == []


def test_axe_finds_no_fault_on_a_phone(open_context: OpenContext, site: Site) -> None:
    page = open_context(bypass_csp=True, viewport={"width": 390, "height": 844}).new_page()
    for path in ("/?range=30d", "/?range=30d#filters"):
        page.goto(site.url + path)
        page.evaluate(AXE)
        assert [
            fault["id"]
            for fault in page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
        ] == []


def test_the_first_stop_of_the_tab_key_skips_to_the_content(page: Page) -> None:
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")

    assert page.url.endswith("#main")


def test_targets_are_large_enough_to_hit(page: Page) -> None:
    small = page.evaluate("""
      [...document.querySelectorAll("a, button, summary, input")]
        .filter((element) => element.offsetParent && !element.closest(".chart, .sr, .did, .skip"))
        .map((element) => [element.className, element.getBoundingClientRect()])
        .filter(([, box]) => box.width && (box.width < 24 || box.height < 20))
        .map(([name, box]) => `${name} ${box.width}x${box.height}`)
    """)

    assert [name for name in small if not name.startswith("choose")] == []


def test_with_reduced_motion_nothing_moves(open_context: OpenContext, site: Site) -> None:
    page = open_context(reduced_motion="reduce").new_page()
    page.goto(f"{site.url}/?range=30d")
    rows(page).first.locator("a.go").click()

    expect(page.locator("#event")).to_have_css("animation-name", "none")


def test_a_hostile_event_runs_nothing(either: Page, site: Site) -> None:
    payload = "<img src=x onerror=\"document.title='hit'\"><script>document.title='hit'</script>"
    name = payload + "\u202e" + "إن"
    site.store.append(
        prepared(
            an_event(
                action="invoice.update",
                actor={"type": "user", "id": "evil", "name": name[:250]},
                targets=[
                    {"type": "page", "id": "1", "name": payload, "url": "javascript:alert(1)"}
                ],
                metadata={"x": payload},
                occurred_at=minutes_ago(0),
            )
        )
    )
    search(either, "actor.id:evil")
    expect(rows(either).first).to_contain_text("<img src=x")
    expect(rows(either).first).to_contain_text("‹U+202E›")
    rows(either).first.locator("a.go").click()

    expect(either.locator("#ev")).to_contain_text("<script>")
    expect(either).not_to_have_title("hit")
    expect(either.locator("#event img, #event script, #event a[href^=javascript]")).to_have_count(0)
