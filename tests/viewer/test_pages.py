"""Addresses and what they answer."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from tests.viewer.conftest import Get, Keep, View
from tests.viewer.html import Element, query_of, read, url_of
from whodid.access import Access
from whodid.errors import ConfigError
from whodid.event import Event
from whodid.recorder import prepare_activity
from whodid.stores.sqlite import SqliteStore
from whodid.testing import EVERYTHING, NOON, an_event, minutes
from whodid.times import Instant
from whodid.viewer import Request, Viewer


def rows(page: Element) -> list[str]:
    """The sentences of the list, newest first."""
    return [link.text for link in page.all("a", class_="go")]


def row_ids(page: Element) -> list[str]:
    return [row.id for row in page.one("table", id="list").all("tr") if row.id]


def at(minute: float, **only_what_matters: object) -> Event:
    return an_event(occurred_at=minutes(minute), **only_what_matters)


def logins(count: int) -> list[Event]:
    return [at(-minute, action="user.login", actor=f"u{minute}") for minute in range(count)]


# ---- the list


def test_a_row_is_a_sentence_with_who_what_outcome_and_where(keep: Keep, view: View) -> None:
    keep(
        at(
            -1,
            action="user.login",
            actor={"type": "user", "id": "1", "name": "Ana García"},
            outcome="failure",
            reason={"code": "bad_password"},
            client={"ip": "203.0.113.7", "geo": {"country": "NO", "city": "Bergen"}},
        )
    )
    page = view()
    row = page.all("tbody")[0].all("tr")[1]

    assert row.one("td", class_="time").text == "11:59:00"
    assert row.one("td", class_="who-c").text == "Somebody"
    assert row.one("a", class_="go").text == "tried to sign in as Ana García: wrong password"
    assert row.one("td", class_="out-c").text == "Failure"
    assert row.one("td", class_="from").text == "Bergen, NO 203.0.113.7"
    assert row.one("td", class_="did-c").one("code").text == "user.login"


def test_the_table_says_what_it_is_to_those_who_cannot_see_it(keep: Keep, view: View) -> None:
    keep(at(-1))
    table = view().one("table", id="list")

    assert table.attributes["role"] == "table"
    assert {row.attributes["role"] for row in table.all("tr")} == {"row"}
    assert {cell.attributes["role"] for cell in table.all("td")} == {"cell"}
    assert {head.attributes["role"] for head in table.one("thead").all("th")} == {"columnheader"}
    assert "Times in UTC" in table.one("caption").text


def test_days_are_separated_in_the_zone(keep: Keep, view: View) -> None:
    keep(at(-1), at(-60 * 13))
    separators = [row.text for row in view().all("tr", class_="day")]
    in_oslo = [row.text for row in view(tz="Asia/Tokyo").all("tr", class_="day")]

    assert separators == ["TodaySunday 15 March", "YesterdaySaturday 14 March"]
    assert in_oslo == ["TodaySunday 15 March"]


@pytest.mark.parametrize(
    ("now", "moments", "expected"),
    [
        (  # 2026-03-29 has 23 hours in Oslo: from 22:00Z the evening before
            "2026-03-30T10:00:00Z",
            ["2026-03-29T22:00:00Z", "2026-03-29T21:59:59Z", "2026-03-28T23:00:00Z",
             "2026-03-28T22:59:59Z"],
            ["Today", "Yesterday", "Yesterday", "Saturday"],
        ),
        (  # 2026-10-25 has 25 hours: 02:30 comes twice
            "2026-10-26T10:00:00Z",
            ["2026-10-25T23:00:00Z", "2026-10-25T22:59:59Z", "2026-10-25T01:30:00Z",
             "2026-10-25T00:30:00Z", "2026-10-24T22:00:00Z", "2026-10-24T21:59:59Z"],
            ["Today", "Yesterday", "Yesterday", "Yesterday", "Yesterday", "Saturday"],
        ),
        ("2026-03-29T00:30:00Z", ["2026-03-28T23:30:00Z", "2026-03-28T22:30:00Z"],
         ["Today", "Yesterday"]),
        ("2026-10-25T01:30:00Z", ["2026-10-24T22:30:00Z", "2026-10-24T21:30:00Z"],
         ["Today", "Yesterday"]),
    ],
)  # fmt: skip
def test_days_are_separated_rightly_when_clocks_change(
    now: str, moments: list[str], expected: list[str], keep: Keep, view: View
) -> None:
    keep(*(an_event(occurred_at=moment) for moment in moments))
    page = view(tz="Europe/Oslo", now=Instant.parse(now))
    found = [
        re.sub("day.*", "day", body.one("tr", class_="day").text)
        for body in page.one("table", id="list").all("tbody")
        for row in body.all("tr")
        if row.id
    ]

    assert found == expected


def test_the_default_is_the_last_seven_days(keep: Keep, view: View) -> None:
    keep(at(-1, action="new.thing"), at(-60 * 24 * 8, action="old.thing"))

    assert len(rows(view())) == 1
    assert len(rows(view(range="30d"))) == 2
    assert view().one("nav", class_="seg").one("a", aria_current="true").text == "7d"


def test_pages_go_down_and_up_without_gap_or_double(keep: Keep, view: View) -> None:
    keep(*logins(120))
    page, seen = view(), []
    while True:
        seen += row_ids(page)
        older = page.all("a", rel="next")
        if not older:
            break
        keep(at(-0.5, action="user.logout"))  # arrives in between
        page = view(older[0].href)
    assert len(seen) == len(set(seen)) == 120

    back = view(page.link("Newer"))
    assert row_ids(back) == seen[50:100]


def test_later_pages_tell_how_many_events_arrived_since(keep: Keep, view: View) -> None:
    keep(*logins(60))
    older = view().link("Older")
    keep(at(0.1), at(0.2))
    page = view(older, now=minutes(1))

    assert page.one("p", class_="newbar").text == "2 new events since Show them"
    assert len(rows(view(page.link("Show them"), now=minutes(1)))) == 50


def test_a_cursor_of_another_search_is_refused_with_a_way_on(keep: Keep, view: View) -> None:
    keep(*logins(60))
    cursor = query_of(view().link("Older"))["cursor"]

    for query in ({"q": "alice"}, {"range": "30d"}, {"tz": "Europe/Oslo"}):
        page = view(url_of("/", query | {"cursor": cursor}), status=400)
        assert page.one("h1").text == "This page cannot be opened"
        assert query_of(page.link("Start again")) == query
    view("/", status=400, cursor="nonsense")


def test_several_tenants_are_told_apart_and_can_be_chosen(keep: Keep, view: View) -> None:
    keep(
        at(-1, tenant={"id": "acme", "name": "Acme Ltd"}),
        at(-2, tenant={"id": "bolt", "name": "Bolt AS"}),
    )
    page = view()
    chosen = view(page.link("Bolt AS"))

    assert page.one("summary", class_="tenant").text.startswith("All tenants (2)")
    assert [cell.text for cell in page.all("td", class_="tenant-c")] == ["Acme Ltd", "Bolt AS"]
    assert chosen.one("summary", class_="tenant").text.startswith("Bolt AS")
    assert len(rows(chosen)) == 1
    assert not chosen.all("td", class_="tenant-c")


def test_a_reader_of_one_tenant_sees_no_other(keep: Keep, view: View) -> None:
    [_, foreign] = keep(at(-1, tenant="acme"), at(-2, tenant="bolt", action="secret.thing"))
    acme = Access.reader(["acme"])
    page = view(access=acme)

    assert len(rows(page)) == 1
    assert "bolt" not in page.text
    assert page.one("span", class_="tenant").text == "acme"
    view(f"/events/{foreign}", access=acme, status=404)


def test_the_same_id_in_two_tenants_opens_the_event_that_was_clicked(
    keep: Keep, view: View
) -> None:
    shared = "0199d3a0-7b00-7000-8000-000000000001"
    keep(
        at(-1, id=shared, tenant="acme", message="of acme"),
        at(-2, id=shared, tenant="bolt", message="of bolt"),
    )
    links = [link.href for link in view().all("a", class_="go")]
    opened = [view(link).one("p", class_="said-so").text for link in links]

    assert opened == ["of acme", "of bolt"]


def test_a_given_name_of_a_tenant_comes_first(store: SqliteStore, keep: Keep) -> None:
    keep(at(-1, tenant={"id": "acme", "name": "Acme Ltd"}))
    viewer = Viewer(store, tenant_names={"acme": "The Acme"})
    response = viewer.handle(Request(access=EVERYTHING), now=NOON)

    assert b"The Acme" in response.body


# ---- filters and the chart


def test_a_filter_adds_its_term_and_takes_it_back(keep: Keep, view: View) -> None:
    keep(at(-1, outcome="failure"), at(-2), at(-3, outcome="denied"))
    page = view(q="alice")
    failures = option(page, "Failure")
    chosen = view(failures.one("a", class_="choose").href)

    assert failures.one("span", class_="c").text == "1"
    assert chosen.one("input", id="q").attributes["value"] == "alice outcome:failure"
    assert len(rows(chosen)) == 1
    # The others stay in sight; counting them would cost another call.
    assert option(chosen, "Denied").one("span", class_="c").text == ""
    both = view(option(chosen, "Denied").one("a", class_="choose").href)
    assert len(rows(both)) == 2
    again = option(both, "Failure").one("a", class_="choose")
    assert again.attributes["aria-current"] == "true"
    assert query_of(again.href)["q"] == "alice outcome:denied"


def test_a_filter_rules_out_and_stays_in_sight(keep: Keep, view: View) -> None:
    keep(at(-1, action="user.login"), at(-2), at(-3))
    page = view(option(view(), "invoice.update").one("a", class_="not").href)  # fmt: skip

    assert page.one("input", id="q").attributes["value"] == "-action:invoice.update"
    assert len(rows(page)) == 1
    excluded = option(page, "invoice.update, excluded")
    assert "no" in excluded.attributes["class"].split()
    assert query_of(excluded.one("a", class_="not").href) == {}
    assert page.link("Clear Action") == "/"


def option(page: Element, label: str) -> Element:
    for item in page.all("li", class_="fac"):
        if item.one("a", class_="choose").text == label:
            return item
    raise AssertionError(f"no filter {label}")


def test_an_actor_is_filtered_by_id_and_shown_by_name(keep: Keep, view: View) -> None:
    keep(at(-1, actor={"type": "user", "id": "u 1", "name": "Ana"}))
    link = option(view(), "Ana").one("a", class_="choose").href

    assert query_of(link)["q"] == 'actor.id:"u 1"'
    assert len(rows(view(link))) == 1


def test_countries_have_names(keep: Keep, view: View) -> None:
    keep(at(-1, client={"geo": {"country": "NO"}}))

    assert query_of(option(view(), "Norway").one("a", class_="choose").href) == {"q": "country:NO"}


LONG_AGO = at(-60 * 24 * 30)  # so that the log is older than the range


def test_every_bar_leads_to_its_events(keep: Keep, view: View) -> None:
    keep(*logins(30)[1:], at(-0.5), at(-60 * 30, outcome="failure"), LONG_AGO)
    bars = view().one("div", class_="chart").all("a")
    shown = [rows(view(bar.href)) for bar in bars]

    assert sum(len(found) for found in shown) == 31
    assert all(bar.attributes["aria-label"].endswith("zoom in") for bar in bars)
    assert "one bar is 2 hours" in view().one("div", class_="hist-head").text


def test_a_zoomed_window_can_be_left_again(keep: Keep, view: View) -> None:
    keep(*logins(30))
    zoomed = view(from_="2026-03-15T11:00Z", to="2026-03-15T12:00Z")
    wider = query_of(zoomed.link("Zoom out"))

    assert wider == {"from": "2026-03-15T10:00Z", "to": "2026-03-15T13:00Z"}


def test_the_count_and_the_time_it_took_are_told(keep: Keep, view: View) -> None:
    keep(*logins(3))
    status = view().one("footer", class_="status").text

    assert re.match(r"3 events\d+ ms ?Times in UTC", status), status
    assert status.endswith("Sealed to #2")


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"q": "alice outcome:success,failure -action:a.b actor.id:alice"},
        {"range": "all"},
        {"q": "created:2026-03 severity:>=info"},
        {"split": "severity", "from": "2026-03-14"},
    ],
)
def test_a_list_costs_at_most_one_call_each(
    query: dict[str, str], keep: Keep, view: View, counting: list[str]
) -> None:
    keep(*logins(60), at(-2, actor="alice", action="c.d"))
    view(url_of("/", query))  # names of tenants are learned once
    counting.clear()
    view(url_of("/", query))

    assert sorted(counting) in (
        ["count", "facets", "histogram", "page"],
        ["facets", "histogram", "page"],  # all of them are on the page
    )


def test_a_list_of_which_all_is_seen_is_not_counted_again(
    keep: Keep, view: View, counting: list[str]
) -> None:
    keep(*logins(3))
    counting.clear()
    page = view()

    assert "count" not in counting
    assert page.one("footer").text.startswith("3 events")


def test_the_chart_of_a_young_log_begins_where_the_log_does(keep: Keep, view: View) -> None:
    keep(at(-120), at(-60), at(-1))

    bars = view().one("div", class_="hist").all("rect", class_="hit")

    assert len(bars) == 3
    assert float(bars[0].attributes["x"].rstrip("%")) < 5
    assert float(bars[-1].attributes["x"].rstrip("%")) > 95


def test_the_chart_of_what_is_rare_in_an_old_log_keeps_its_window(keep: Keep, view: View) -> None:
    keep(LONG_AGO, at(-1, action="c.d"))

    [bar] = view(q="action:c.d").one("div", class_="hist").all("rect", class_="hit")

    assert float(bar.attributes["width"].rstrip("%")) < 3
    assert view(q="action:c.d").text.count("one bar is 2 hours") == 1


def test_the_chart_can_be_split_by_severity(keep: Keep, view: View) -> None:
    keep(at(-1, severity="critical"), at(-2, severity="medium"), LONG_AGO)
    page = view(view(q="alice").one("nav", class_="by").link("Severity"))

    assert page.one("nav", class_="by").one("a", aria_current="true").text == "Severity"
    assert page.one("span", class_="key").text == "Low and belowMediumHighCritical"
    assert (
        "1 medium, 1 critical" in page.one("div", class_="chart").one("a").attributes["aria-label"]
    )
    assert query_of(page.one("nav", class_="by").link("Outcome")) == {"q": "alice"}
    assert (
        view(q="alice", split="nonsense").one("nav", class_="by").one("a", aria_current="true").text
        == "Outcome"
    )


def test_a_window_earlier_and_a_window_later(keep: Keep, view: View) -> None:
    keep(*logins(3), at(-60 * 24 * 10))
    page = view()
    assert not page.all("a", aria_label="One window later")
    earlier = view(page.link("One window earlier"))

    assert query_of(page.link("One window earlier")) == {
        "from": "2026-03-01T12:00Z",
        "to": "2026-03-08T12:00Z",
    }
    assert len(rows(earlier)) == 1
    assert query_of(earlier.link("One window later")) == {"from": "2026-03-08T12:00Z"}
    assert len(rows(view(earlier.link("One window later")))) == 3
    far = view(from_="2026-01-01", to="2026-01-08")
    assert query_of(far.link("One window later")) == {
        "from": "2026-01-08T00:00Z",
        "to": "2026-01-15T00:00Z",
    }


def test_a_quick_range_is_zoomed_out_to_the_next(keep: Keep, view: View) -> None:
    keep(at(-1))

    assert query_of(view().link("Zoom out")) == {"range": "30d"}
    assert query_of(view(range="1y").link("Zoom out")) == {"range": "all"}
    assert not view(range="all").all("a", aria_label="One window earlier")
    searched = view(q="created:2026-03-15")
    assert "Zoom out" not in [link.text for link in searched.all("a")]


def test_the_chart_tells_its_edges_for_choosing_a_stretch(keep: Keep, view: View) -> None:
    keep(*logins(30), LONG_AGO)
    chart = view(tz="Europe/Oslo").one("div", class_="chart")
    edges, totals = (chart.attributes[name].split(" ") for name in ("data-edges", "data-totals"))

    assert len(edges) == len(totals) + 1
    assert edges == sorted(edges)
    assert sum(map(int, totals)) == 30
    assert chart.attributes["data-zone"] == "Europe/Oslo"
    assert [int(bar.attributes["data-place"]) for bar in chart.all("a")] == [
        place for place, total in enumerate(totals) if total != "0"
    ]


def test_what_is_not_exact_is_said_to_be_about(
    keep: Keep, store: SqliteStore, view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(*logins(3))
    exact_facets, exact_histogram = store.facets, store.histogram
    monkeypatch.setattr(
        store, "facets",
        lambda *args, **kwargs: [replace(it, exact=False) for it in exact_facets(*args, **kwargs)],
    )  # fmt: skip
    monkeypatch.setattr(
        store, "histogram",
        lambda *args, **kwargs: replace(exact_histogram(*args, **kwargs), exact=False),
    )  # fmt: skip
    page = view()

    assert len(page.all("span", class_="about")) == len(page.one("aside").all("h3"))
    assert "heights are about right" in page.one("div", class_="hist-head").text
    assert "About 3 values" in view("/values", field="actor").text


# ---- all values of a field


def test_values_can_be_searched_within(keep: Keep, view: View) -> None:
    keep(*logins(30), at(-1, actor={"type": "user", "id": "x", "name": "Åsa Berg"}))
    page = view(view(q="user.login").link("Search within Who, 20 more"))
    assert page.one("h1").text == "Who"
    assert len(page.all("li", class_="fac")) == 30
    form = page.one("form", class_="within")
    assert {field.attributes["name"]: field.attributes["value"] for field in form.all("input")} == {
        "find": "",
        "field": "actor",
        "q": "user.login",
    }

    found = view("/values", field="actor", find="BERG asa")
    assert [item.one("a", class_="choose").text for item in found.all("li", class_="fac")] == [
        "Åsa Berg"
    ]
    chosen = view(option(found, "Åsa Berg").one("a", class_="choose").href)
    assert len(rows(chosen)) == 1
    excluded = view(option(found, "Åsa Berg").one("a", class_="not").href)
    assert len(rows(excluded)) == 30
    assert "No value holds" in view("/values", field="actor", find="nobody").text


def test_values_are_counted_as_if_the_search_did_not_name_them(keep: Keep, view: View) -> None:
    keep(at(-1, action="a.b"), at(-2, action="c.d"), at(-3, action="c.d", outcome="denied"))
    page = view(view(q="action:a.b outcome:success").link("Other values of Action"))

    assert [item.text for item in page.all("li", class_="fac")] == ["a.b 1", "c.d 1"]
    assert option(page, "a.b").one("a", class_="choose").attributes["aria-current"] == "true"


@pytest.mark.parametrize("field", ["", "nosuch", "actor.id", "<b>"])
def test_a_field_without_values_to_list_is_no_page(field: str, view: View) -> None:
    assert view("/values", field=field, status=404).one("h1").text == "No such page"


# ---- the search


def test_a_search_keeps_its_window_and_zone(keep: Keep, view: View) -> None:
    keep(at(-1))
    form = view(q="alice", range="30d", tz="Europe/Oslo").one("form", role="search")
    hidden = {
        field.attributes["name"]: field.attributes["value"]
        for field in form.all("input", type="hidden")
    }

    assert hidden == {"range": "30d", "tz": "Europe/Oslo"}
    assert form.attributes["action"] == "/"


def test_a_fault_is_marked_under_its_character(view: View) -> None:
    page = view(q="since:7d actr:tomas outcome:failure", status=400)
    lines = page.one("pre", class_="qerr").raw_text.split("\n")

    assert lines[0] == "since:7d actr:tomas outcome:failure"
    assert lines[1] == "         ^^^^"
    assert page.one("u").text == "actr"
    assert query_of(page.link("Use actor:"))["q"] == "since:7d actor:tomas outcome:failure"
    as_text = query_of(page.link("Search for it as text"))
    assert as_text["q"] == 'since:7d "actr:tomas" outcome:failure'
    box = page.one("input", id="q")
    assert box.attributes["value"] == "since:7d actr:tomas outcome:failure"
    assert box.attributes["aria-describedby"] == page.one("pre").attributes["id"]


def test_the_nearest_value_is_offered_first(view: View) -> None:
    page = view(q="outcome:fail", status=400)

    assert page.one("a", class_="primary").text == "failure"
    assert query_of(page.link("failure")) == {"q": "outcome:failure"}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("outcome:failure )", "                ^"),
        ("山 actr:x", "   ^^^^"),
        ('"abc', "^^^^"),
        ("a OR", "    ^"),
        ("\u202ex actr:y", "          ^^^^"),
    ],
)
def test_the_caret_stands_below_the_fault(text: str, line: str, view: View) -> None:
    page = view(q=text, status=400)

    assert page.one("span", class_="at").raw_text == line


def test_every_offered_repair_can_be_searched(keep: Keep, view: View) -> None:
    keep(at(-1))
    for text in ("actr:alice", "outcome:fail x", "http://x/y", "sevrity:high"):
        for link in view(q=text, status=400).one("div", class_="row-btns").all("a"):
            view(link.href)


def test_a_search_that_can_hardly_be_meant_is_answered_with_a_warning(
    keep: Keep, view: View
) -> None:
    keep(at(-1))

    assert "action:" in view(q="action:a.b action:c.d").one("p", role="status").text


def test_a_search_that_says_when_needs_no_range(keep: Keep, view: View) -> None:
    keep(at(-60 * 24 * 60))
    page = view(q="created:2026-01")

    assert len(rows(page)) == 1
    assert not page.one("nav", class_="seg").all("a", aria_current="true")


def test_an_unknown_zone_is_said_to_be_one(view: View) -> None:
    page = view(tz="Mars/Base", status=400)

    assert page.one("h1").text == "No such time zone"
    assert page.link("Show it in UTC") == "/"


def test_a_zone_is_chosen_by_a_link_and_named_at_the_head_of_its_column(
    keep: Keep, view: View
) -> None:
    keep(at(-1))
    page = view(q="alice", tz="Europe/Oslo")
    head = page.one("table", id="list").one("a", class_="zone")
    zones = page.one("details", class_="zones")

    assert head.text == "Oslo, choose the time zone"
    assert head.attributes["title"].startswith("Europe/Oslo, +01:00 now")
    assert page.all("input", id=head.href.removeprefix("#"))
    assert query_of(zones.link("UTC")) == {"q": "alice"}
    assert zones.one("a", aria_current="true").text == "Europe/Oslo"
    assert page.one("td", class_="time").text == "12:59:00"
    assert "Times in Europe/Oslo" in page.one("footer").text


def test_with_a_zone_of_its_own_the_viewer_still_offers_utc(store: SqliteStore, keep: Keep) -> None:
    keep(at(-1))
    viewer = Viewer(store, zone="Europe/Oslo")
    page = read(viewer.handle(Request(access=EVERYTHING), now=NOON).body)
    zones = page.one("details", class_="zones")

    assert query_of(zones.link("UTC")) == {"tz": "UTC"}
    assert query_of(zones.link("Europe/Oslo")) == {}


def test_a_default_zone_that_does_not_exist_is_refused_at_the_start(store: SqliteStore) -> None:
    with pytest.raises(ConfigError, match="Mars/Base"):
        Viewer(store, zone="Mars/Base")


def test_the_default_zone_is_the_viewers(store: SqliteStore, keep: Keep) -> None:
    keep(at(-1))
    answer = Viewer(store, zone="Europe/Oslo").handle(Request(access=EVERYTHING), now=NOON)

    assert read(answer.body).one("td", class_="time").text == "12:59:00"


def test_a_window_that_cannot_be_read_is_said_to_be_one(view: View) -> None:
    page = view(from_="soon", q="alice", status=400)

    assert page.one("h1").text == "That time window cannot be read"
    assert query_of(page.link("Show the last 7 days")) == {"q": "alice"}


# ---- empty lists


def test_an_empty_store_says_how_to_begin(view: View) -> None:
    page = view()

    assert page.one("h2").text == "No events yet"
    assert "whodid record" in page.one("pre").text


def test_an_empty_window_tells_of_the_newest_match_outside(keep: Keep, view: View) -> None:
    keep(at(-60 * 5, action="user.login"), at(-1))
    page = view(q="action:user.login", range="1h")

    assert page.one("h2").text == "Nothing in the last 1 hour"
    assert "matches 1 event at other times, the newest 5 h ago" in page.one("section").text
    assert len(rows(view(page.link("Go to the newest")))) == 1
    assert query_of(page.link("Widen to 24 hours")) == {"q": "action:user.login", "range": "24h"}
    assert query_of(page.link("Clear the search")) == {"range": "1h"}


def test_a_search_without_a_match_says_so(keep: Keep, view: View) -> None:
    keep(at(-1))
    page = view(q="nobody")

    assert page.one("h2").text == "Nothing matches"
    assert page.link("Clear the search") == "/"


def test_a_search_without_a_match_offers_to_look_for_a_part_of_a_name(
    keep: Keep, view: View
) -> None:
    keep(at(-1, actor={"type": "user", "id": "1", "name": "Anders Ångström"}))
    page = view(q="ångstr app:x")

    assert "A word is found whole" in page.one("section", class_="blank").text
    assert query_of(page.link("target:*ångstr*"))["q"] == "target:*ångstr* app:x"
    assert len(rows(view(view(q="ångstr").link("actor:*ångstr*")))) == 1
    assert "found whole" not in view(q="app:x").text


@pytest.mark.parametrize("access", [Access(), Access.reader([]), Access(tenants=None)])
def test_who_may_see_nothing_is_told_nothing(access: Access, keep: Keep, view: View) -> None:
    [event_id] = keep(at(-1, tenant="acme", action="secret.thing"))

    for path in ("/", f"/events/{event_id}"):
        page = view(path, access=access, status=403)
        assert page.one("h1").text == "You may not see these events"
        assert "acme" not in page.text


# ---- who looked


def test_records_of_who_looked_are_left_out_until_asked_for(
    keep: Keep, store: SqliteStore, view: View
) -> None:
    keep(at(-1, tenant="acme"))
    looked = at(-1, action="audit.log.search", tenant="whodid", metadata={"query": "alice"})
    [receipt] = store.append([prepare_activity(looked)], now=minutes(-1))
    page = view(q="alice")

    assert len(rows(page)) == 1
    assert page.one("span", class_="chip").text == "notaction:audit.log"
    assert page.one("span", class_="tenant").text == "acme"
    everything = view(page.link("Show who looked at the log, too"))
    assert len(rows(everything)) == 2
    assert not everything.all("span", class_="chip")
    assert len(rows(view(q="action:audit.log"))) == 1
    assert view(f"/events/{receipt.id}").all("tr", aria_current="true")


def test_a_log_that_was_only_looked_at_is_empty(store: SqliteStore, view: View) -> None:
    looked = an_event(action="audit.log.view", tenant="whodid", occurred_at=minutes(-1))
    store.append([prepare_activity(looked)], now=minutes(-1))

    assert view().one("h2").text == "No events yet"


# ---- one event


def test_an_event_stands_beside_its_list_and_leads_to_its_neighbours(
    keep: Keep, view: View
) -> None:
    ids = keep(*logins(3))
    page = view(f"/events/{ids[1]}", q="user.login", tz="Europe/Oslo")

    assert page.one("tr", aria_current="true").attributes["id"] == f"e-{ids[1]}"
    assert "2 of 3" in page.one("section", id="event").text
    assert page.link("Newer event").startswith(f"/events/{ids[0]}?q=user.login&tz=Europe/Oslo")
    assert page.link("Older event").startswith(f"/events/{ids[2]}?q=user.login&tz=Europe/Oslo")
    assert page.link("Close") == f"/?q=user.login&tz=Europe/Oslo#e-{ids[1]}"
    assert page.link("Permalink") == f"/events/{ids[1]}?tz=Europe/Oslo"


def test_neighbours_cross_the_edge_of_a_page(keep: Keep, view: View) -> None:
    ids = keep(*logins(120))
    older = query_of(view().link("Older"))
    last = view(url_of(f"/events/{ids[99]}", older))
    first = view(url_of(f"/events/{ids[50]}", older))

    assert last.link("Older event").startswith(f"/events/{ids[100]}?")
    assert first.link("Newer event").startswith(f"/events/{ids[49]}?")
    beyond = view(url_of(f"/events/{ids[100]}", older))
    assert beyond.one("tr", aria_current="true").attributes["id"] == f"e-{ids[100]}"
    assert beyond.link("Older event").startswith(f"/events/{ids[101]}?")


def test_a_permalink_survives_later_events_and_its_own_age(keep: Keep, view: View) -> None:
    [old] = keep(at(-60 * 24 * 100, action="old.thing"))
    keep(*logins(80))
    page = view(f"/events/{old}")

    assert page.one("tr", aria_current="true").attributes["id"] == f"e-{old}"
    assert page.link("Newer event")


def test_walking_down_the_list_by_its_arrows_meets_every_event_once(keep: Keep, view: View) -> None:
    ids = keep(*logins(70))
    page, path, seen = view(f"/events/{ids[0]}", q="user.login"), [ids[0]], {ids[0]}
    while page.all("a", aria_label="Older event"):
        url = page.link("Older event")
        path.append(url.split("?")[0].removeprefix("/events/"))
        seen.add(path[-1])
        page = view(url)

    assert path == ids
    assert len(seen) == 70


def test_an_event_outside_the_search_is_shown_without_neighbours(keep: Keep, view: View) -> None:
    [event_id, _] = keep(at(-1), at(-2, action="user.login"))
    page = view(f"/events/{event_id}", q="action:user.login")

    assert not page.all("tr", aria_current="true")
    assert not page.all("a", aria_label="Older event")
    assert page.all("h2", id="ev")


def test_an_icon_that_a_browser_asks_for_by_itself_is_everybodys(get: Get, viewer: Viewer) -> None:
    answer = viewer.handle(Request(path="/favicon.ico"), now=NOON)

    assert (answer.status, answer.headers["content-type"]) == (200, "image/svg+xml")
    assert answer.body == get("/static/logo.svg").body


def test_what_is_no_page_is_missing_for_who_may_see_nothing_as_well(viewer: Viewer) -> None:
    assert viewer.handle(Request(path="/nothing"), now=NOON).status == 404
    assert viewer.handle(Request(path="/"), now=NOON).status == 403


@pytest.mark.parametrize(
    ("tenants", "shown"),
    [(["default"], []), (["acme"], ["acme"]), (["acme", "default"], ["All tenants (2)"])],
)
def test_a_tenant_that_means_nothing_is_not_named(
    tenants: list[str], shown: list[str], keep: Keep, view: View
) -> None:
    keep(*(at(-1, tenant=tenant) for tenant in tenants))
    named = view().one("header").all(class_="tenant")

    assert [it.text.removesuffix(" choose a tenant") for it in named] == shown


def test_pages_say_the_command_that_runs_where_they_stand(store: SqliteStore, keep: Keep) -> None:
    viewer = Viewer(store, command="python manage.py whodid")

    def words(path: str) -> str:
        return read(viewer.handle(Request(path=path, access=EVERYTHING), now=NOON).body).text

    assert "python manage.py whodid record" in words("/")
    [event_id] = keep(at(-1))
    assert "$ python manage.py whodid verify" in words(f"/events/{event_id}")


def test_an_unknown_event_is_missing_and_so_is_any_other_page(view: View) -> None:
    for path in (
        "/events/0199d3a0-7b00-7000-8000-00000000ffff",
        "/events/0199d3a0-7b00-7000-8000-00000000ffff/x",
        "/events/../../etc/passwd",
        "/events/'; DROP TABLE whodid_event; --",
        "/nothing",
        "/static",
        "//",
    ):
        assert view(path, status=404).one("h1").text.startswith("No such")


# ---- data


def test_every_page_has_its_json(keep: Keep, get: Get, store: SqliteStore) -> None:
    ids = keep(*logins(60))
    listed = msgspec.json.decode(get("/events.json").body)
    single = msgspec.json.decode(get(f"/events/{ids[0]}.json").body)

    assert get("/events.json").headers["content-type"] == "application/json"
    assert [event["id"] for event in listed["events"]] == ids[:50]
    assert listed["events"][0] == single
    assert listed["count"] == {"count": 60, "exact": True}
    rest = msgspec.json.decode(get(listed["older"]).body)
    assert [event["id"] for event in rest["events"]] == ids[50:]


def test_a_page_names_its_json(keep: Keep, view: View) -> None:
    [event_id] = keep(at(-1))

    assert view(q="alice").link("This page as JSON") == "/events.json?q=alice"
    assert view(f"/events/{event_id}").link("JSON") == f"/events/{event_id}.json"


def test_problems_of_data_are_data(get: Get) -> None:
    answer = get("/events.json", q="actr:x")
    problem = msgspec.json.decode(answer.body)

    assert answer.status == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert (problem["code"], problem["position"], problem["length"]) == ("unknown_field", 0, 4)
    assert get("/events/0199d3a0-7b00-7000-8000-00000000ffff.json").status == 404
    assert get("/events.json", tz="Mars").status == 400
    assert get("/events.json", cursor="x").status == 400


# ---- HTTP


POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}


def test_every_answer_carries_the_policy(keep: Keep, get: Get, view: View) -> None:
    [event_id] = keep(at(-1))
    style = view().one("link", rel="stylesheet").href

    for path in ("/", f"/events/{event_id}", "/events.json", "/nothing", style, "/static/none.css"):
        headers = get(path).headers
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy == POLICY, path
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
    assert get("/").headers["cache-control"] == "no-store"


def test_no_page_needs_what_the_policy_forbids(keep: Keep, view: View) -> None:
    [event_id] = keep(at(-1, changes=[{"path": "a", "old": 1, "new": 2}], outcome="denied"))

    for page in (view(), view(f"/events/{event_id}"), view(q="actr:x", status=400), view(q="zzz")):
        for element in page:
            assert element.tag != "style"
            assert not any(name.startswith("on") or name == "style" for name in element.attributes)
            if element.tag == "script":
                assert element.attributes["src"].startswith("/static/")
                assert not element.text


def test_head_answers_as_get_without_its_body(keep: Keep, get: Get) -> None:
    keep(at(-1))
    answer = get("/events.json", method="HEAD")

    assert answer.status == 200
    assert answer.body == b""
    assert answer.headers["content-length"] == get("/events.json").headers["content-length"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "BREW"])
def test_other_methods_are_not_allowed(method: str, get: Get) -> None:
    answer = get("/", method=method)

    assert answer.status == 405
    assert answer.headers["allow"] == "GET, HEAD"


def test_below_a_mount_point_every_address_begins_with_it(keep: Keep, view: View) -> None:
    [event_id] = keep(at(-1))

    for path in ("/", f"/events/{event_id}"):
        page = view(path, prefix="/audit", q="alice")
        addresses = [
            element.attributes[name]
            for element in page
            for name in ("href", "src", "action")
            if name in element.attributes and not element.attributes[name].startswith("#")
        ]
        assert all(address.startswith("/audit/") for address in addresses), addresses


def test_a_store_that_is_gone_is_a_page_and_not_a_traceback(
    store: SqliteStore, tmp_path: Path
) -> None:
    store.close()
    answer = Viewer(store).handle(Request(access=EVERYTHING), now=NOON)

    assert answer.status == 503
    assert answer.headers["retry-after"] == "5"
    assert b"The store does not answer" in answer.body
    assert str(tmp_path).encode() not in answer.body


def test_a_damaged_event_is_a_page_and_not_a_traceback(
    store: SqliteStore, keep: Keep, tmp_path: Path
) -> None:
    keep(at(-1))
    with sqlite3.connect(tmp_path / "whodid.db") as connection:
        connection.execute("UPDATE whodid_event SET body = CAST('{}' AS BLOB)")
    connection.close()
    answer = Viewer(store).handle(Request(access=EVERYTHING), now=NOON)

    assert answer.status == 500
    assert b"An event cannot be read" in answer.body
    assert b"whodid verify" in answer.body
