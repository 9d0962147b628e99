"""What may be typed next."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import query_texts
from tests.viewer.conftest import Get, Keep
from tests.viewer.html import Element, read
from whodid.access import Access
from whodid.query.fields import FIELDS, FLAGS_HAS, FLAGS_IS, OPEN_FIELDS
from whodid.query.parse import parse
from whodid.stores.base import Facet, FacetField, FacetValue
from whodid.testing import NOON, an_event, minutes
from whodid.viewer import Request, Viewer
from whodid.viewer.completion import DESCRIPTIONS, SEARCHED, SHOWN, Completion, complete
from whodid.viewer.moments import Moments, find_zone

UTC = find_zone("UTC")
assert UTC
MOMENTS = Moments(now=NOON, zone=UTC, name="UTC")

VALUES: dict[str, list[tuple[str, str, str, int]]] = {
    "actor": [
        ("actor.id", "usr_0417", "Tomás Reyes", 388),
        ("actor.id", "u 2", "Ana, the 2nd", 12),
        ("actor.type", "system", "system", 3),
    ],
    "outcome": [
        ("outcome", "success", "success", 90),
        ("outcome", "failure", "failure", 9),
    ],
    "action": [("action", f"thing.do{n}", f"thing.do{n}", 50 - n) for n in range(40)],
    "country": [("country", "NO", "NO", 5), ("country", "NL", "NL", 4)],
}


def facet(field: FacetField, limit: int, holding: str) -> Facet:
    rows = [row for row in VALUES.get(field, []) if holding in row[1]]
    return Facet(
        field=field,
        values=[
            FacetValue(field=qualifier, value=value, label=label, count=count)
            for qualifier, value, label, count in rows[:limit]
        ],
        distinct=len(rows),
    )


def at_caret(text: str, *, step: str = "") -> Completion:
    """What is offered where the | stands."""
    caret = text.index("|") if "|" in text else None
    return complete(
        text.replace("|", ""),
        caret=caret,
        wants_operator=step == "operator",
        moments=MOMENTS,
        count=facet,
    )


def labels(completion: Completion) -> list[str]:
    return [option.label for option in completion.options]


def taken(text: str, label: str, *, step: str = "") -> str:
    """The search after the option with this label was taken."""
    found = at_caret(text, step=step)
    [option] = [option for option in found.options if option.label == label]
    typed = text.replace("|", "")
    return typed[: found.start] + option.insert + typed[found.end :]


# ---- the three steps


def test_a_field_is_followed_by_its_operators_and_these_by_values() -> None:
    fields = at_caret("alice out")
    text = taken("alice out", "outcome")
    operators = at_caret(text, step=fields.options[0].next)
    text = taken(text, "is not", step="operator")
    values = at_caret(text, step="value")

    assert [found.step for found in (fields, operators, values)] == ["field", "operator", "value"]
    assert labels(operators) == ["is", "is not", "has any value", "has none"]
    assert labels(values) == ["Success", "Failure", "Denied", "Error", "Unknown"]
    assert taken(text, "Failure", step="value") == "alice -outcome:failure"


def test_who_types_the_colon_gets_values_at_once() -> None:
    assert at_caret("outcome:").step == "value"


@pytest.mark.parametrize(
    ("begun", "first"),
    [
        ("", "actor"),
        ("ou", "outcome"),
        ("user", "actor"),  # another name
        ("role", "actor.role"),  # behind the dot
        ("-app", "app"),
        ("alice (act", "actor"),
        ("cre", "created"),
    ],
)
def test_fields_are_offered_by_any_of_their_names(begun: str, first: str) -> None:
    assert labels(at_caret(begun))[0] == first


@pytest.mark.parametrize("text", ['"out', '"a b" "x', "10.0.0.1:80", "http://x", "é:", "x" * 3_000])
def test_where_no_field_can_stand_none_is_offered(text: str) -> None:
    assert not at_caret(text).options


def test_every_described_field_exists_and_every_flag_is_described() -> None:
    assert set(DESCRIPTIONS) <= {*FIELDS, *OPEN_FIELDS}
    assert labels(at_caret("is:")) == list(FLAGS_IS)
    assert labels(at_caret("has:")) == list(FLAGS_HAS)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("severity:", ["is", "is not", "at least", "at most", "more than", "less than"]),
        ("created:", ["is", "is not", "since", "until", "after", "before"]),
        ("action:", ["is", "is not", "is exactly"]),
        ("is:", ["is", "is not"]),
    ],
)
def test_operators_are_those_of_the_field(field: str, expected: list[str]) -> None:
    assert labels(at_caret(field, step="operator"))[: len(expected)] == expected


# ---- values


@pytest.mark.parametrize(
    ("text", "label", "expected"),
    [
        ("actor:to", "Tomás Reyes", "actor.id:usr_0417"),
        ("actor:reyes", "Tomás Reyes", "actor.id:usr_0417"),
        ("actor:TOMAS", "Tomás Reyes", "actor.id:usr_0417"),
        ("actor:usr", "Tomás Reyes", "actor.id:usr_0417"),
        ("-user:to", "Tomás Reyes", "-actor.id:usr_0417"),
        ("actor:bob,to", "Tomás Reyes", "actor:bob,usr_0417"),
        ("actor:ana", "Ana, the 2nd", 'actor.id:"u 2"'),
        ('actor:"Tomás R', "Tomás Reyes", "actor.id:usr_0417"),
        ("actor:sys", "System", "actor.type:system"),
        ("outcome:failure,den", "Denied", "outcome:failure,denied"),
        ("outcome:f| x", "Failure", "outcome:failure x"),
        ("(outcome:f|)", "Failure", "(outcome:failure)"),
        ("a outcome:f|oo b", "Failure", "a outcome:failure b"),
        ("outcome:su|,denied", "Success", "outcome:success,denied"),
        ("country:nor", "Norway", "country:NO"),
        ("country:nl", "Netherlands", "country:NL"),
        ("severity:>=h", "high", "severity:>=high"),
        ("actor.type:ai", "ai_agent", "actor.type:ai_agent"),
        ("ip:pr", "private", "ip:private"),
        ("created:7", "7d", "created:7d"),
        ("since:tod", "today", "since:today"),
        ("created:>=y", "yesterday", "created:>=yesterday"),
        ("created:2026-03-", "2026-03-15", "created:2026-03-15"),
        ("status:>", ">=400", "status:>=400"),
    ],
)
def test_a_value_replaces_what_was_begun(text: str, label: str, expected: str) -> None:
    if text == "status:>":
        text = "status:"

    assert taken(text, label) == expected


def test_values_have_counts_and_shares_of_the_commonest() -> None:
    found = at_caret("outcome:")

    assert found.is_counted
    assert [(option.count, option.share) for option in found.options[:3]] == [
        (90, 100.0),
        (9, 10.0),
        (0, 0.0),
    ]


def test_only_the_commonest_are_offered_and_the_others_told() -> None:
    found = at_caret("action:")

    assert labels(found) == [f"thing.do{n}" for n in range(SHOWN)]
    assert found.others == 40 - SHOWN
    assert labels(at_caret("action:thing.do39")) == ["thing.do39"]


def test_a_value_beyond_the_commonest_is_found_by_its_beginning(keep: Keep, get: Get) -> None:
    many = [
        an_event(
            actor={"type": "user", "id": f"u{n}", "name": f"N{n}"}, occurred_at=str(minutes(-1))
        )
        for n in range(SEARCHED + 5)
    ]
    rare = {"type": "user", "id": "zz", "name": "Åsa Berg-Lie"}
    keep(*many, *many, an_event(actor=rare, tenant="acme", occurred_at=str(minutes(-1))))

    for typed in ("actor:ber", 'actor:"asa b', "actor:ÅSA", "actor:zz"):
        for q in ("", "tenant:acme"):
            found = offered(get("/complete", typed=typed, q=q).body)
            assert [option.attributes["data-insert"] for option in found] == ["actor.id:zz"], typed
    for typed in ("actor:qq", 'actor:"*', "actor:(", "actor:-", 'actor:"a.b@c '):
        assert get("/complete", typed=typed).status == 200


@pytest.mark.parametrize("text", ["created:2026-01..", "action:us*", "nosuch:x", "message:x"])
def test_where_nothing_is_known_nothing_is_offered(text: str) -> None:
    assert not at_caret(text).options


@given(query_texts(), st.integers(0, 60), st.sampled_from(["", "operator", "value"]))
def test_whatever_is_taken_leaves_the_rest_as_it_was(text: str, caret: int, step: str) -> None:
    caret = min(caret, len(text))
    found = complete(
        text, caret=caret, wants_operator=step == "operator", moments=MOMENTS, count=facet
    )

    assert 0 <= found.start <= caret <= found.end <= len(text) or not found.options
    assert len(found.options) <= max(SHOWN, 9)


@pytest.mark.parametrize(
    "field",
    [
        *("is:", "has:", "outcome:", "severity:", "operation:", "category:", "created:", "status:"),
        *("duration:", "ip:", "actor:", "action:", "country:", "actor.type:"),
    ],
)
def test_every_offered_value_can_be_searched(field: str) -> None:
    found = at_caret(field)

    assert found.options
    for option in found.options:
        parse(option.insert, now=NOON)


# ---- as the page asks for it


def offered(answer_body: bytes) -> list[Element]:
    return read(answer_body).all("li", role="option")


def test_values_are_counted_in_the_window_of_the_page(keep: Keep, get: Get) -> None:
    keep(
        an_event(action="a.new", occurred_at=str(minutes(-1))),
        an_event(action="a.old", occurred_at=str(minutes(-60 * 24 * 20))),
    )
    week = get("/complete", typed="action:a", at="8")
    month = get("/complete", typed="action:a", at="8", range="30d")

    assert [option.one("code").text for option in offered(week.body)] == ["a.new"]
    assert len(offered(month.body)) == 2
    assert "counts in 30 days" in read(month.body).one("ul").attributes["aria-label"]


def test_other_terms_of_the_page_do_not_narrow_what_is_offered_but_its_tenant_does(
    keep: Keep, get: Get
) -> None:
    keep(
        an_event(action="a.one", tenant="acme", occurred_at=str(minutes(-1))),
        an_event(action="a.two", tenant="acme", outcome="denied", occurred_at=str(minutes(-1))),
        an_event(action="b.one", tenant="bolt", occurred_at=str(minutes(-1))),
    )
    answer = get("/complete", q="tenant:acme outcome:denied", typed="action:")

    assert [option.attributes["data-insert"] for option in offered(answer.body)] == [
        "action:a.one",
        "action:a.two",
    ]


def test_a_tenant_is_found_by_its_name(keep: Keep, get: Get) -> None:
    keep(
        an_event(tenant={"id": "t-1", "name": "Acme Ltd"}, occurred_at=str(minutes(-1))),
        an_event(tenant={"id": "t-2", "name": "Bolt AS"}, occurred_at=str(minutes(-1))),
    )
    [option] = offered(get("/complete", typed="tenant:bol").body)

    assert option.attributes["data-insert"] == "tenant:t-2"
    assert option.one("span", class_="what").text.startswith("Bolt AS")


def test_nothing_is_offered_that_the_caller_may_not_see(keep: Keep, viewer: Viewer) -> None:
    keep(
        an_event(action="a.one", tenant="acme", occurred_at=str(minutes(-1))),
        an_event(action="secret.thing", tenant="bolt", occurred_at=str(minutes(-1))),
    )
    for field in ("action", "tenant", "actor", "app"):
        asked = Request(
            path="/complete", query={"typed": f"{field}:"}, access=Access.reader(["acme"])
        )
        body = viewer.handle(asked, now=NOON).body
        assert b"secret" not in body
        assert b"bolt" not in body
    for access in (Access(), Access.reader([])):
        asked = Request(path="/complete", query={"typed": "action:"}, access=access)
        assert viewer.handle(asked, now=NOON).status == 403


def test_a_search_that_cannot_be_read_can_be_completed(keep: Keep, get: Get) -> None:
    keep(an_event(occurred_at=str(minutes(-1))))
    answer = get("/complete", q="actr:x", typed="actr:x outc")

    assert answer.status == 200
    assert offered(answer.body)[0].attributes["data-insert"] == "outcome:"


@pytest.mark.parametrize("at", ["", "-1", "x", "99999", "9999", "0"])
def test_any_place_of_the_caret_is_answered(at: str, get: Get) -> None:
    assert get("/complete", typed="out", at=at).status == 200


def test_a_window_that_cannot_be_read_is_refused(get: Get) -> None:
    assert get("/complete", typed="out", range="soon").status == 400


def test_completion_costs_one_call_and_no_other(counting: list[str], get: Get, keep: Keep) -> None:
    keep(an_event(occurred_at=str(minutes(-1))))
    counting.clear()
    get("/complete", typed="action:inv")
    get("/complete", typed="acti")

    assert counting == ["facets"]
