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


def box(page: Page) -> Any:
    """The search box: with scripts it also completes, and so has another role."""
    return page.get_by_label("Search events")


def search(page: Page, text: str) -> None:
    box(page).fill(text)
    box(page).press("Enter")


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
    expect(box(either)).to_have_value(TAKEOVER)


def test_slash_goes_to_the_search_box(page: Page) -> None:
    page.keyboard.press("/")

    expect(box(page)).to_be_focused()


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
    form.get_by_label("Another").fill("Asia/Kathmandu")
    form.get_by_role("button", name="Use it").click()
    expect(either.locator("thead")).to_contain_text("Kathmandu")
    rows(either).first.locator("a.go").click()

    expect(either.locator("#event .facts")).to_contain_text("+05:45")


def test_the_zone_of_the_browser_is_offered(open_context: OpenContext, site: Site) -> None:
    page = open_context(timezone_id="Asia/Tokyo").new_page()
    page.goto(f"{site.url}/?range=30d")
    page.locator("details.zones summary").click()
    page.get_by_role("link", name="Of this browser").click()

    expect(page.locator("thead")).to_contain_text("Tokyo")
    assert "tz=Asia%2FTokyo" in page.url or "tz=Asia/Tokyo" in page.url


def test_the_zone_at_the_head_of_the_column_opens_the_choice(either: Page) -> None:
    zone = either.get_by_role("form", name="Time zone").get_by_label("Another")
    expect(zone).to_be_hidden()
    either.locator("thead .zone").click()

    expect(zone).to_be_visible()


def test_a_filter_includes_and_excludes(either: Page) -> None:
    the_filter(either, "Failure").locator("a.choose").click()
    expect(box(either)).to_have_value("outcome:failure")
    expect(the_filter(either, "Failure").locator("a.choose")).to_have_attribute(
        "aria-current", "true"
    )
    expect(either.locator("#list .out.success")).to_have_count(0)

    the_filter(either, "user.login").get_by_role("link", name="Exclude user.login").click()
    expect(box(either)).to_have_value("outcome:failure -action:user.login")
    expect(either.locator("#list")).not_to_contain_text("tried to sign in")

    the_filter(either, "Failure").locator("a.choose").click()
    expect(box(either)).to_have_value("-action:user.login")


def test_filters_work_by_keyboard(page: Page) -> None:
    denied = the_filter(page, "Denied").locator("a.choose")
    denied.focus()
    page.keyboard.press("Enter")

    expect(box(page)).to_have_value("outcome:denied")


def test_all_values_of_a_field_can_be_searched_within(either: Page) -> None:
    actions = either.locator(".facets section", has_text="Action")
    actions.locator("summary.more").click()
    actions.get_by_role("link", name="Search within").click()
    either.get_by_label("Search within Action").fill("log")
    either.get_by_role("button", name="Search", exact=True).click()
    values = either.locator("main li.fac")
    expect(values.filter(has_text="user.login")).to_be_visible()
    expect(values.filter(has_text="shipment")).to_have_count(0)
    values.filter(has_text="user.login").get_by_role("link", name="Exclude").click()

    expect(box(either)).to_have_value("-action:user.login")
    expect(rows(either).first).to_be_visible()


# ---- the search as chips


def test_a_chip_is_removed_and_turned_by_its_links(either: Page) -> None:
    search(either, "actor:reyes outcome:failure")
    either.get_by_role("link", name="Rule out outcome:failure instead").click()
    expect(box(either)).to_have_value("actor:reyes -outcome:failure")
    expect(either.locator("#list .out.failure")).to_have_count(0)

    either.get_by_role("link", name="Remove actor:reyes").click()
    expect(box(either)).to_have_value("-outcome:failure")
    expect(either.locator(".chips .chip")).to_have_count(1)


def test_alt_click_turns_a_chip(page: Page) -> None:
    search(page, "country:SG")
    page.locator(".chips .chip .val").click(modifiers=["Alt"])

    expect(box(page)).to_have_value("-country:SG")


# ---- completion


def options(page: Page) -> Any:
    return page.locator("#complete [role=option]")


def test_a_term_is_completed_in_three_steps_by_keyboard(page: Page) -> None:
    page.keyboard.press("/")
    page.keyboard.type("outc")
    expect(options(page)).to_have_text([re.compile("outcome")])
    page.keyboard.press("ArrowDown")
    expect(box(page)).to_have_attribute("aria-activedescendant", "option-0")
    page.keyboard.press("Enter")
    expect(page.locator("#complete .steps b")).to_have_text("Operator")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#complete .steps b")).to_have_text("Value")
    page.keyboard.type("den")
    expect(options(page)).to_have_text([re.compile(r"Denied\s*[\d,]+")])
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    expect(box(page)).to_have_value("outcome:denied ")
    expect(page.locator("#complete")).to_be_hidden()
    expect(box(page)).to_be_focused()
    page.keyboard.press("Enter")

    expect(page).to_have_url(re.compile("outcome%3Adenied"))
    expect(page.locator("#list .out.success")).to_have_count(0)


def test_completion_is_a_combobox_that_says_what_it_does(page: Page) -> None:
    combobox = page.get_by_role("combobox", name="Search events")
    expect(combobox).to_have_attribute("aria-expanded", "false")
    combobox.fill("severity:")
    expect(combobox).to_have_attribute("aria-expanded", "true")
    listbox = page.get_by_role("listbox", name=re.compile("Values of severity, with counts"))
    expect(listbox).to_have_id(combobox.get_attribute("aria-controls") or "")
    page.keyboard.press("ArrowUp")
    last = page.get_by_role("option").last
    expect(last).to_have_attribute("aria-selected", "true")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#complete [aria-selected=true]")).to_have_count(0)
    page.keyboard.press("Escape")

    expect(listbox).to_be_hidden()
    expect(combobox).to_be_focused()
    expect(combobox).to_have_value("severity:")


def test_without_a_choice_enter_searches_for_what_was_typed(page: Page) -> None:
    box(page).fill("outcome:denied")
    expect(options(page)).to_have_count(1)
    page.keyboard.press("Enter")

    expect(page).to_have_url(re.compile("outcome%3Adenied"))


def test_a_value_is_taken_by_a_click_and_excluded_with_alt(page: Page) -> None:
    search(page, "tenant:larkspur")  # another tenant has somebody else of this id
    box(page).fill("actor:reyes alice")
    for _ in range(len(" alice")):
        page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowDown")
    options(page).filter(has_text="Tomás Reyes").click()
    expect(box(page)).to_have_value(re.compile(r"^actor\.id:\S+ alice$"))
    box(page).fill("outcome:fail")
    expect(options(page)).to_have_count(1)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Alt+Enter")

    expect(box(page)).to_have_value("-outcome:failure ")


def test_typing_fast_asks_once(page: Page) -> None:
    asked: list[str] = []
    page.on(
        "request", lambda request: asked.append(request.url) if "/complete" in request.url else None
    )
    box(page).focus()
    page.keyboard.type("outcome:fail")
    expect(options(page)).to_have_text([re.compile("Failure")])

    assert len(asked) <= 3, asked


def test_completion_works_with_an_event_open(page: Page) -> None:
    rows(page).first.locator("a.go").click()
    expect(page.locator("#event")).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type("is:")
    expect(options(page).first).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    expect(page.locator("#event")).to_be_visible()
    page.keyboard.press("Escape")

    expect(page.locator("#event")).to_have_count(0)


def test_a_fault_can_be_mended_with_completion(page: Page) -> None:
    search(page, "actr:x")
    box(page).fill("actor:sof")

    expect(options(page)).to_have_text([re.compile("Sofie Krogh")])


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


def test_a_stretch_is_brushed_by_mouse(page: Page) -> None:
    chart = page.locator(".chart svg").bounding_box()
    assert chart
    y = chart["y"] + chart["height"] / 2
    page.mouse.move(chart["x"] + chart["width"] * 0.5, y)
    page.mouse.down()
    page.mouse.move(chart["x"] + chart["width"] * 0.7, y, steps=4)
    expect(page.locator(".brushed")).to_contain_text("events")
    told = page.locator(".brushed").inner_text()
    page.mouse.up()
    expect(page).to_have_url(re.compile(r"from=.*&to="))

    number = re.search(r": ([\d,]+) event", told)
    assert number
    expect(page.locator(".hist-head b")).to_have_text(number[1])


def test_a_stretch_is_chosen_by_keyboard(page: Page) -> None:
    bars = page.locator(".chart a")
    bars.first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    expect(page.get_by_role("status").filter(has_text="events")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".brushed")).to_be_hidden()
    page.keyboard.press("Shift+ArrowRight")
    told = page.locator(".brushed").inner_text()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"from=.*&to="))

    number = re.search(r": ([\d,]+) event", told)
    assert number
    expect(page.locator(".hist-head b")).to_have_text(number[1])


def test_the_chart_is_split_by_severity_and_stepped_through(either: Page) -> None:
    either.get_by_role("navigation", name="Bars split by").get_by_text("Severity").click()
    expect(either.locator(".key")).to_contain_text("Critical")
    either.get_by_role("navigation", name="Time range").get_by_role("link", name="7d").click()
    either.get_by_role("link", name="One window earlier").click()
    expect(either.locator(".key")).to_contain_text("Critical")
    either.get_by_role("link", name="One window later").click()

    expect(rows(either).first).to_be_visible()


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
    expect(box(either)).to_have_value("since:7d actor:tomas")
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
    expect(box(either)).to_have_value(TAKEOVER)


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


def test_changes_stand_side_by_side_or_inline(either: Page) -> None:
    search(either, TAKEOVER)
    either.get_by_role("link", name="gave themselves the role admin").click()
    either.get_by_role("link", name="Side by side").click()
    expect(either.get_by_role("columnheader", name="Before")).to_be_visible()
    expect(either.locator(".diff del").first).to_be_visible()
    either.get_by_role("link", name="Inline").click()

    expect(either.get_by_role("columnheader", name="Before")).to_have_count(0)
    expect(either.locator(".diff")).to_be_in_viewport()


def test_a_question_mark_opens_the_help_and_escape_closes_it(page: Page) -> None:
    rows(page).first.locator("a.go").click()
    expect(page.locator("#event")).to_be_visible()
    page.keyboard.press("?")
    expect(page.get_by_role("region", name="Help")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("region", name="Help")).to_be_hidden()

    expect(page.locator("#event")).to_be_visible()


def test_escape_in_the_search_box_leaves_it_and_keeps_the_search(page: Page) -> None:
    search(page, "outcome:denied")
    expect(page.locator("#list .out.success")).to_have_count(0)
    page.keyboard.press("/")
    expect(box(page)).to_be_focused()
    page.keyboard.press("Escape")

    expect(box(page)).not_to_be_focused()
    expect(box(page)).to_have_value("outcome:denied")


def test_the_help_opens_by_a_click(either: Page) -> None:
    either.locator("#help summary").click()

    expect(either.get_by_role("region", name="Help")).to_contain_text("next and previous event")


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

    expect(box(either)).to_have_value(re.compile("^session:"))
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
    expect(box(page)).to_have_value("outcome:denied")
    expect(card.locator(".out.denied")).to_be_visible()
    card.locator("a.go").click()
    expect(page.locator("#event")).to_be_visible()
    expect(page.locator("#list")).to_be_hidden()


@pytest.mark.parametrize("width", [360, 390, 768, 1024, 1240, 1440])
def test_no_page_scrolls_sideways(width: int, open_context: OpenContext, site: Site) -> None:
    page = open_context(viewport={"width": width, "height": 800}).new_page()
    for place, path in {**PLACES, "filters": "/?range=30d#filters"}.items():
        if place == "help" and width <= 760:
            continue  # there is no keyboard to explain
        page.goto(site.url + path)
        prepare_place(page, place)
        wide = page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert wide <= 0, place


LONG_ZONE = "America/Argentina/ComodRivadavia"


@pytest.mark.parametrize("width", [390, 768, 1440])
def test_a_long_name_of_a_zone_does_not_widen_the_page(
    width: int, open_context: OpenContext, site: Site
) -> None:
    page = open_context(viewport={"width": width, "height": 844}).new_page()
    page.goto(f"{site.url}/?range=30d&tz={LONG_ZONE}")

    expect(rows(page).first).to_be_visible()
    wide = page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    assert wide <= 0


@pytest.mark.parametrize("width", [768, 1440])
def test_a_long_name_of_a_zone_is_cut_at_the_head_of_its_column(
    width: int, open_context: OpenContext, site: Site
) -> None:
    page = open_context(viewport={"width": width, "height": 844}).new_page()
    page.goto(f"{site.url}/?range=30d&tz={LONG_ZONE}")
    zone = page.locator("thead .zone")

    expect(zone).to_have_css("text-overflow", "ellipsis")
    assert zone.evaluate("each => each.scrollWidth > each.clientWidth")
    # The column ends where it does with a short name, and the whole name can be read.
    column = page.locator("thead th").first
    cut = column.evaluate("each => each.getBoundingClientRect().width")
    expect(zone).to_have_attribute("title", re.compile(LONG_ZONE))
    page.goto(f"{site.url}/?range=30d&tz=UTC")
    assert cut == column.evaluate("each => each.getBoundingClientRect().width")


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
    "a word that is a part": "/?q=angstr",
    "hosted drawer": "/hosted/?range=30d&q=actor:reyes+country:SG+has:changes",
    "severity": "/?range=30d&split=severity",
    "values": "/values?field=action&range=30d&q=action:user.login",
    "values without a match": "/values?field=action&find=nothing",
    "side by side": "/?range=30d&q=actor:reyes+country:SG+has:changes&diff=side",
    "completion": "/?range=30d",
    "help": "/?range=30d",
    "zones": "/?range=30d",
    "brushed": "/?range=30d",
}


def prepare_place(page: Page, place: str) -> None:
    """Open what the address alone does not show."""
    if place in ("drawer", "hosted drawer", "agent", "side by side"):
        rows(page).first.locator("a.go").click()
        expect(page.locator("#event")).to_be_visible()
        page.locator("summary", has_text="JSON").click()
    elif place == "completion":
        box(page).fill("outcome:")
        expect(options(page).first).to_be_visible()
        page.keyboard.press("ArrowDown")
    elif place == "help":
        page.keyboard.press("?")
    elif place == "zones":
        page.locator("details.zones summary").click()
    elif place == "brushed":
        page.locator(".chart a").first.focus()
        page.keyboard.press("Shift+ArrowRight")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("place", list(PLACES))
def test_axe_finds_no_fault(place: str, scheme: str, open_context: OpenContext, site: Site) -> None:
    # Only here the policy is off: axe brings its own styles for measuring contrast.
    page = open_context(color_scheme=scheme, bypass_csp=True, reduced_motion="reduce").new_page()
    page.goto(site.url + PLACES[place])
    prepare_place(page, place)
    page.evaluate(AXE)
    found = page.evaluate("axe.run({resultTypes: ['violations']})")

    assert [
        (fault["id"], [node["html"][:200] for node in fault["nodes"]][:3])
        for fault in found["violations"]
    ] == []


def test_axe_finds_no_fault_on_a_phone(open_context: OpenContext, site: Site) -> None:
    page = open_context(bypass_csp=True, viewport={"width": 390, "height": 844}).new_page()
    for place in (
        "list",
        "search",
        "hosted drawer",
        "values",
        "completion",
        "zones",
        "side by side",
    ):
        page.goto(site.url + PLACES[place])
        prepare_place(page, place)
        page.evaluate(AXE)
        assert [
            fault["id"]
            for fault in page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
        ] == []


def test_an_event_and_the_header_lead_back_into_the_application(either: Page, site: Site) -> None:
    either.goto(f"{site.url}{PLACES['hosted drawer']}")
    rows(either).first.locator("a.go").click()
    either.get_by_role("link", name="open", exact=True).first.click()
    expect(either).to_have_url(re.compile(r"/empty/\?q=\w+$"))

    either.goto(f"{site.url}/hosted/")
    expect(either.locator(".me")).to_have_attribute("title", "Signed in as Ingrid Solheim")
    either.get_by_role("link", name="Back to the office").click()
    expect(either).to_have_url(f"{site.url}/empty/")


@pytest.mark.parametrize("width", [360, 390, 700, 1024, 1440])
def test_the_header_of_an_application_fits(
    width: int, open_context: OpenContext, site: Site
) -> None:
    page = open_context(viewport={"width": width, "height": 800}).new_page()
    page.goto(f"{site.url}/hosted/?range=30d")

    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate("""
      (() => {
        const boxes = [...document.querySelector(".bar").children]
          .map((element) => element.getBoundingClientRect()).filter((box) => box.width);
        return boxes.every((box, at) => !at || box.left >= boxes[at - 1].right - 1);
      })()
    """)


def test_the_first_stop_of_the_tab_key_skips_to_the_content(page: Page) -> None:
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")

    assert page.url.endswith("#main")


MARKED = """
() => {
  const element = document.activeElement;
  const marked = (it) => {
    const { outlineStyle, outlineWidth } = getComputedStyle(it);
    return outlineStyle !== "none" && parseFloat(outlineWidth) > 0;
  };
  const around = ["tr", "li", ".search", ".theme"].map((it) => element.closest(it)).filter(Boolean);
  const bar = element.querySelector(".hit");
  if (element === document.body || [element, ...around].some(marked)) return "";
  return bar && getComputedStyle(bar).stroke !== "none" ? "" : element.outerHTML.slice(0, 200);
}
"""


@pytest.mark.parametrize("place", ["search", "drawer", "values", "zones"])
def test_the_focus_is_seen_wherever_the_tab_key_leads(
    place: str, open_context: OpenContext, site: Site
) -> None:
    page = open_context(reduced_motion="reduce").new_page()
    page.goto(site.url + PLACES[place])
    prepare_place(page, place)
    unseen = []
    for _ in range(60):
        page.keyboard.press("Tab")
        unseen.append(page.evaluate(MARKED))

    assert [html for html in unseen if html] == []


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
    box(page).fill("is:")
    expect(options(page).first).to_be_visible()
    expect(page.locator("#complete")).to_have_css("animation-name", "none")


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
