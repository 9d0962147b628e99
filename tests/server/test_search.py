from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from tests.server.conftest import plain
from whodid.stores.sqlite import SqliteStore
from whodid.testing import an_event, minutes, prepared
from whodid.times import Instant

DAY = "from=2026-03-15&to=2026-03-15"  # the builders' noon is on this day
UPDATES = "q=action:invoice"


@pytest.fixture
def ten(store: SqliteStore) -> list[str]:
    """Ten events, a minute apart, newest first: their ids."""
    receipts = store.append(
        prepared(
            *(
                an_event(
                    occurred_at=str(minutes(number)),
                    outcome="denied" if number % 5 == 0 else "success",
                    actor=f"user{number % 3}",
                )
                for number in range(10)
            )
        )
    )
    return [receipt.id for receipt in receipts][::-1]


def ids(page: dict[str, Any]) -> list[str]:
    return [event["id"] for event in page["events"]]


def test_events_come_newest_first_with_all_that_is_stored(
    client: TestClient, ten: list[str]
) -> None:
    page = client.get(f"/v1/events?{UPDATES}").json()

    assert ids(page) == ten
    assert page["events"][0] == {
        "id": ten[0],
        "schema": 1,
        "action": "invoice.update",
        "actor": {"type": "user", "id": "user0"},
        "category": "data",
        "index": 9,
        "occurred_at": "2026-03-15T12:09:00.000000Z",
        "operation": "update",
        "outcome": "success",
        "received_at": page["events"][0]["received_at"],
        "severity": "info",
        "tenant": {"id": "default"},
    }
    assert (page["older"], page["newer"], page["arrived"], page["warnings"]) == (None, None, 0, [])


def test_pages_lead_down_and_back_up(client: TestClient, ten: list[str]) -> None:
    first = client.get(f"/v1/events?{UPDATES}&limit=4").json()
    second = client.get(f"/v1/events?{UPDATES}&limit=4&cursor={first['older']}").json()
    third = client.get(f"/v1/events?{UPDATES}&limit=4&cursor={second['older']}").json()
    back = client.get(f"/v1/events?{UPDATES}&limit=4&cursor={second['newer']}").json()

    assert ids(first) + ids(second) + ids(third) == ten
    assert ids(back) == ids(first)
    assert third["older"] is None


def test_what_arrives_meanwhile_is_counted_not_shown(client: TestClient, ten: list[str]) -> None:
    first = client.get(f"/v1/events?{UPDATES}&limit=4").json()
    client.post("/v1/events", json=plain(occurred_at="2026-03-15T12:05:30Z"))

    second = client.get(f"/v1/events?{UPDATES}&limit=4&cursor={first['older']}").json()

    assert ids(second) == ten[4:8]
    assert second["arrived"] == 1


@pytest.mark.parametrize(
    "change", ["q=action:user", f"{UPDATES}&tz=Asia/Tokyo", f"{UPDATES}&{DAY}"]
)
def test_a_cursor_is_good_for_its_own_search_alone(
    client: TestClient, ten: list[str], change: str
) -> None:
    cursor = client.get(f"/v1/events?{UPDATES}&limit=4").json()["older"]

    answer = client.get(f"/v1/events?{change}&limit=4&cursor={cursor}")

    assert answer.status_code == 400
    assert answer.json()["parameters"] == ["cursor"]


def test_relative_times_of_later_pages_count_from_the_first(
    client: TestClient, store: SqliteStore
) -> None:
    now = Instant.now()
    moments = [Instant.of(now - timedelta(minutes=number)) for number in range(4)]
    store.append(prepared(*(an_event(occurred_at=str(moment)) for moment in moments)))
    search = f"q={quote('action:invoice created:1h')}&limit=2"

    first = client.get(f"/v1/events?{search}").json()
    second = client.get(f"/v1/events?{search}&cursor={first['older']}").json()

    assert len(set(ids(first) + ids(second))) == 4


@pytest.mark.parametrize(
    ("window", "count"),
    [
        ("from=2026-03-15T12:05:00Z", 5),
        ("to=2026-03-15T12:05:00Z", 5),
        ("from=2026-03-15T12:03:00Z&to=2026-03-15T12:05:00Z", 2),
        ("from=2026-03-15T13:03:00%2B01:00&to=2026-03-15T13:05:00%2B01:00", 2),
        ("from=2026-03-15&to=2026-03-15", 10),
        ("from=2026-03-16", 0),
        ("to=2026-03-14", 0),
        ("from=2026-03-15&to=2026-03-15&tz=Pacific/Kiritimati", 0),
        ("from=2026-03-16&tz=Pacific/Kiritimati", 10),
    ],
)
def test_from_and_to_bound_every_reading(
    client: TestClient, ten: list[str], window: str, count: int
) -> None:
    events = client.get(f"/v1/events?{UPDATES}&{window}").json()["events"]
    counted = client.get(f"/v1/count?{UPDATES}&{window}").json()
    [facet] = client.get(f"/v1/facets?{UPDATES}&{window}&fields=action").json()["facets"]

    assert len(events) == counted["count"] == count
    assert sum(value["count"] for value in facet["values"]) == count


@pytest.mark.parametrize(
    ("parameters", "names"),
    [
        ("q=a&q=b", ["q"]),
        ("limit=1&limit=1", ["limit"]),
        ("colour=red", ["colour"]),
        ("Q=x&filter=y", ["Q", "filter"]),
        ("limit=0", ["limit"]),
        ("limit=1001", ["limit"]),
        ("limit=-1", ["limit"]),
        ("limit=ten", ["limit"]),
        ("limit=", ["limit"]),
        ("limit=%D9%A1", ["limit"]),
        ("tz=Mars/Olympus", ["tz"]),
        ("tz=../../etc/passwd", ["tz"]),
        ("tz=Europe", ["tz"]),
        ("tz=", ["tz"]),
        ("from=yesterday", ["from"]),
        ("from=2026-02-30", ["from"]),
        ("from=2026-03-15T12:00:00", ["from"]),
        ("from=", ["from"]),
        ("to=9999-12-31", ["to"]),
        ("from=0001-01-01&tz=Asia/Tokyo", ["from"]),
        ("from=2026-03-15T12:00:00+01:00", ["from"]),
        ("from=2026-03-16&to=2026-03-15", ["from", "to"]),
        ("from=2026-03-15T12:00:00Z&to=2026-03-15T12:00:00Z", ["from", "to"]),
        ("cursor=", ["cursor"]),
        ("cursor=abc", ["cursor"]),
        ("cursor=%C3%A9", ["cursor"]),
        ("q=%FF", []),
        ("q=%ED%A0%80", []),
        ("&".join(f"p{number}=1" for number in range(100)), []),
    ],
)
def test_a_parameter_that_cannot_be_read_is_named(
    client: TestClient, parameters: str, names: list[str]
) -> None:
    answer = client.get(f"/v1/events?{parameters}")

    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json().get("parameters", []) == names


def test_an_offset_whose_plus_was_not_encoded_is_explained(client: TestClient) -> None:
    answer = client.get("/v1/events?from=2026-03-15T12:00:00+01:00")

    assert "%2B" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["events", "facets", "histogram", "count"])
def test_a_query_error_says_what_where_and_what_instead(client: TestClient, path: str) -> None:
    answer = client.get(f"/v1/{path}?q=outcome:denied%20actr:alice")

    problem = answer.json()
    assert answer.status_code == 400
    assert problem["type"] == "urn:whodid:problem:query"
    assert (problem["position"], problem["length"]) == (15, 4)
    assert "actr" in problem["message"]
    assert problem["code"]
    assert "actor" in problem["suggestion"]


def test_a_query_error_without_a_suggestion_says_null(client: TestClient) -> None:
    problem = client.get("/v1/count?q=" + quote('"open')).json()

    assert {"code", "message", "position", "length", "suggestion"} <= problem.keys()


def test_a_search_that_can_hardly_be_meant_is_answered_with_a_warning(
    client: TestClient, ten: list[str]
) -> None:
    page = client.get("/v1/events?q=" + quote("actor.id:user1 actor.id:user2")).json()

    assert page["events"] == []
    assert len(page["warnings"]) == 1


def test_one_event_is_found_by_its_id_in_any_case(client: TestClient, ten: list[str]) -> None:
    event = client.get(f"/v1/events/{ten[3]}").json()

    assert event["id"] == ten[3]
    assert client.get(f"/v1/events/{ten[3].upper()}").json() == event
    assert client.get(f"/v1/events/{ten[3]}?tenant=default").json() == event


@pytest.mark.parametrize(
    "path",
    ["01890a5d-ac96-774b-bcce-b302099a8057", "x", "%00", "..%2f..", "1" * 5_000, "%F0%9F%98%80"],
)
def test_no_such_event_is_not_found(client: TestClient, path: str) -> None:
    answer = client.get(f"/v1/events/{path}")

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_event_of_another_tenant_than_asked_for_is_not_found(
    client: TestClient, ten: list[str]
) -> None:
    assert client.get(f"/v1/events/{ten[0]}?tenant=acme").status_code == 404


def test_facets_count_the_commonest_values(client: TestClient, ten: list[str]) -> None:
    facets = client.get(f"/v1/facets?{UPDATES}&fields=outcome,actor&limit=2").json()["facets"]

    assert [facet["field"] for facet in facets] == ["outcome", "actor"]
    assert [(v["value"], v["count"]) for v in facets[0]["values"]] == [
        ("success", 8),
        ("denied", 2),
    ]
    assert [(v["field"], v["value"], v["count"]) for v in facets[1]["values"]] == [
        ("actor.id", "user0", 4),
        ("actor.id", "user1", 3),
    ]
    assert facets[1]["distinct"] == 3
    assert facets[1]["exact"] is True


def test_all_facets_are_counted_when_none_are_named(client: TestClient) -> None:
    facets = client.get("/v1/facets").json()["facets"]

    assert {"action", "actor", "outcome", "tenant"} <= {facet["field"] for facet in facets}


@pytest.mark.parametrize("fields", ["", "colour", "action,action", "action,", "action, actor"])
def test_a_facet_that_is_none_is_refused(client: TestClient, fields: str) -> None:
    answer = client.get("/v1/facets", params={"fields": fields})

    assert answer.status_code == 400
    assert answer.json()["parameters"] == ["fields"]


def test_a_histogram_counts_every_event_in_its_bucket(client: TestClient, ten: list[str]) -> None:
    answer = client.get(
        f"/v1/histogram?{UPDATES}&from=2026-03-15T12:00:00Z&to=2026-03-15T12:10:00Z&buckets=10"
    ).json()

    filled = [bucket for bucket in answer["buckets"] if bucket["total"]]
    assert sum(bucket["total"] for bucket in filled) == 10
    assert filled[0]["start"] == "2026-03-15T12:00:00.000000Z"
    assert sum(bucket["counts"].get("denied", 0) for bucket in filled) == 2
    assert all(bucket["total"] == sum(bucket["counts"].values()) for bucket in answer["buckets"])
    assert answer["split"] == "outcome"
    assert answer["size"]


def test_a_histogram_is_split_by_severity_on_demand(client: TestClient, ten: list[str]) -> None:
    answer = client.get(f"/v1/histogram?{UPDATES}&{DAY}&split=severity").json()

    assert {name for bucket in answer["buckets"] for name in bucket["counts"]} == {"info"}


def test_a_histogram_without_a_time_shows_the_last_thirty_days(
    client: TestClient, store: SqliteStore
) -> None:
    store.append(
        prepared(an_event(occurred_at=str(Instant.of(Instant.now() - timedelta(days=29)))))
    )

    buckets = client.get(f"/v1/histogram?{UPDATES}").json()["buckets"]

    assert sum(bucket["total"] for bucket in buckets) == 1
    assert Instant.parse(buckets[-1]["end"]) >= Instant.of(Instant.now() - timedelta(hours=1))


@pytest.mark.parametrize(
    "parameters",
    [
        "from=0001-01-01&to=9999-12-30",
        "from=9999-12-30",
        "from=9999-12-31T23:59:59.999999Z",
        "to=0001-01-01",
        "to=0001-01-01T00:00:00.000001Z&tz=America/New_York",
        "q=created:9999",
        "q=created:0001",
        "from=2026-03-15T12:00:00.000000Z&to=2026-03-15T12:00:00.000001Z",
        "q=created:2026-03-15..2026-03-01",
        f"{DAY}&buckets=1",
        f"{DAY}&buckets=500",
    ],
)
def test_a_histogram_of_any_span_is_drawn_or_refused(client: TestClient, parameters: str) -> None:
    answer = client.get(f"/v1/histogram?{parameters}")

    assert answer.status_code in (200, 400)
    if answer.status_code == 200:
        assert answer.json()["buckets"]


@pytest.mark.parametrize("parameters", ["buckets=0", "buckets=501", "split=actor", "split="])
def test_a_histogram_of_no_shape_is_refused(client: TestClient, parameters: str) -> None:
    assert client.get(f"/v1/histogram?{parameters}").status_code == 400


def test_count_counts(client: TestClient, ten: list[str]) -> None:
    assert client.get(f"/v1/count?q={quote('action:invoice outcome:denied')}").json() == {
        "count": 2,
        "exact": True,
        "warnings": [],
    }
