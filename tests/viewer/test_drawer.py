"""One event in full."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from msgspec import UNSET

from tests.strategies import stored_events
from tests.viewer.conftest import Keep, View
from tests.viewer.html import Element, query_of, read, url_of
from whodid.event import Event, StoredEvent, from_mapping, write_hook
from whodid.testing import EVERYTHING, NOON, an_event, minutes, prepared
from whodid.times import Instant
from whodid.viewer import Host, Request, Viewer, drawer
from whodid.viewer.address import Address
from whodid.viewer.moments import Moments, find_zone
from whodid.viewer.text import plain

FULL = {
    "id": "0199d3a0-7b00-7000-8000-000000000001",
    "idempotency_key": "job-7",
    "occurred_at": "2026-03-15T11:00:00.250Z",
    "action": "user.role.grant",
    "category": "iam",
    "operation": "grant",
    "severity": "medium",
    "outcome": "denied",
    "reason": {"code": "policy_denied", "message": "only owners may", "policy": "pol-17"},
    "message": "asked twice",
    "actor": {
        "type": "ai_agent",
        "id": "agt-1",
        "name": "Ledgerbot",
        "email": "bot@example.com",
        "roles": ["clerk", "auditor"],
        "attributes": {"floor": 3, "badge": {"colour": "green"}},
        "auth": {
            "method": "oidc",
            "mfa": True,
            "session_id": "ses-9",
            "credential_id": "cred-4",
            "idp": "Keycloak",
        },
        "agent": {
            "instance_id": "run-51",
            "model": "clerk-2",
            "version": "2.3",
            "framework": "toolbox",
            "protocol": "mcp",
            "tool": "invoice.update",
            "autonomy": "approved",
        },
    },
    "on_behalf_of": {
        "type": "user",
        "id": "u-8",
        "name": "Mira Okafor",
        "email": "mira@example.com",
    },
    "via": [
        {"type": "service_account", "id": "svc-3", "name": "gateway", "email": "gw@example.com"},
        {"type": "api_key", "id": "key-2"},
    ],
    "delegation": {
        "kind": "agent",
        "grant_id": "grant-6",
        "reason": "until the end of the month",
        "ticket": "SUP-12",
        "approved_by": "Hannah Vogt",
        "expires_at": "2026-03-16T18:00:00Z",
    },
    "targets": [
        {
            "type": "user",
            "id": "u-9",
            "name": "Ana",
            "role": "primary",
            "version": "v5",
            "url": "https://app.example.com/users/9",
            "attributes": {"plan": "gold"},
        },
        {"type": "team", "id": "t-2"},
    ],
    "changes": [
        {"path": "role", "op": "replace", "old": "clerk", "new": "admin", "label": "Role"},
        {"path": "limit", "op": "add", "new": 500, "target": 1},
        {"path": "iban", "op": "remove", "redacted": "omitted"},
    ],
    "tenant": {"id": "acme", "name": "Acme Ltd"},
    "scope": [{"type": "division", "id": "d-1", "name": "North"}, {"id": "d-2"}],
    "source": {
        "app": "billing",
        "component": "web",
        "version": "4.18.2",
        "environment": "production",
        "host": "web-3",
        "instance": "i-77",
    },
    "client": {
        "ip": "203.0.113.7",
        "port": 50123,
        "forwarded_for": ["198.51.100.1", "10.0.0.2"],
        "user_agent": "Mozilla/5.0 (X11)",
        "device": {"id": "dev-5", "type": "desktop", "os": "Linux", "browser": "Firefox 145"},
        "geo": {"country": "NO", "region": "Vestland", "city": "Bergen", "lat": 60.39, "lon": 5.32},
        "network": {"asn": 64500, "org": "Quayside Hosting", "is_proxy": True, "is_tor": False},
    },
    "request": {
        "id": "req-3",
        "method": "POST",
        "route": "/users/{id}/roles",
        "url": "https://app.example.com/users/9/roles",
        "status": 403,
        "duration_ms": 12.5,
    },
    "trace": {"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "span_id": "00f067aa0ba902b7"},
    "correlation_id": "corr-1",
    "error": {"type": "Forbidden", "message": "no right", "fingerprint": "fp-8"},
    "metadata": {"order": {"no": "A-1", "lines": [1, 2]}, "note": "é", "gone": None, "ok": False},
    "tags": ["gdpr", "hr"],
    "data_classes": ["personal"],
    "attachments": [
        {"name": "scan.pdf", "media_type": "application/pdf", "size": 4096, "sha256": "ab" * 32}
    ],
    "count": 14,
    "window": {"start": "2026-03-15T10:00:00Z", "end": "2026-03-15T10:16:00Z"},
}

# Values that are shown in words or in another form than they are stored in.
IN_WORDS = {
    "$.schema": "",
    "$.idempotency_key": "",  # no part of the stored event
    "$.occurred_at": "Sun 15 Mar 2026, 11:00:00.250 UTC",
    "$.outcome": "Denied",
    "$.actor.type": "AI agent",
    "$.actor.auth.method": "OpenID Connect",
    "$.actor.auth.mfa": "second factor",
    "$.actor.agent.autonomy": "Each step approved by a person",
    "$.on_behalf_of.type": "Person",
    "$.via[0].type": "Service account",
    "$.via[1].type": "API key",
    "$.delegation.kind": "AI agent",
    "$.delegation.expires_at": "Mon 16 Mar 2026, 18:00:00.000 UTC",
    "$.changes[0].op": "",
    "$.changes[1].op": "",
    "$.changes[1].target": "t-2",
    "$.changes[2].op": "",
    "$.changes[2].redacted": "not recorded, by rule",
    "$.client.network.is_proxy": "proxy",
    "$.client.network.is_tor": "not Tor",
    "$.window.start": "Sun 15 Mar 2026, 10:00:00.000 UTC",
    "$.window.end": "Sun 15 Mar 2026, 10:16:00.000 UTC",
    "$.attachments[0].size": "4,096 bytes",
}


def paths(value: Any, path: str = "$") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from paths(item, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from paths(item, f"{path}[{index}]")
    else:
        yield path, value


def open_event(view: View, event_id: str, **query: str) -> Element:
    """The drawer, without the JSON that shows everything anyway."""
    shown = view(url_of(f"/events/{event_id}", query)).one("section", id="event")
    for element in shown:
        element.children = [
            child
            for child in element.children
            if isinstance(child, str) or child.attributes.get("class") != "raw"
        ]
    return shown


def test_the_example_sets_every_key_of_the_schema() -> None:
    def unset(part: Any) -> Iterator[str]:
        if isinstance(part, msgspec.Struct):
            for name in part.__struct_fields__:
                value = getattr(part, name)
                if value is UNSET or value == ():
                    yield f"{type(part).__name__}.{name}"
                yield from unset(value)
        elif isinstance(part, tuple):
            for item in part[:1]:
                yield from unset(item)

    missing = set(unset(from_mapping(FULL)))

    # A replaced value has old and new; what is omitted is marked instead.
    assert missing <= {"Change.redacted"}


def test_every_value_of_an_event_stands_in_the_drawer(keep: Keep, view: View) -> None:
    [event_id] = keep(from_mapping(FULL))
    words = open_event(view, event_id).text

    for path, value in paths(FULL):
        shown = IN_WORDS.get(path, plain(value))
        assert shown in words, f"{path} = {value!r} is nowhere"
    for key in ("order.no", "order.lines", "badge.colour", "plan"):
        assert key in words


@given(stored_events())
def test_whatever_an_event_holds_its_leaves_are_in_some_fact(stored: StoredEvent) -> None:
    moments = Moments(now=NOON, zone=find_zone("UTC") or NOON.tzinfo, name="UTC")  # type: ignore[arg-type]  # UTC exists
    address = Address(prefix="", params={})
    words = "\n".join(_words(stored, moments=moments, address=address))

    for path, value in paths(msgspec.to_builtins(stored.event, enc_hook=write_hook)):
        if re.sub(r"\[\d+\]", "", path) in _ELSEWHERE or any(
            re.sub(r"\[\d+\]", "", path).startswith(prefix) for prefix in _BY_LEAF
        ):
            continue
        assert plain(value) in words, path


_ELSEWHERE = {
    "$.occurred_at", "$.outcome", "$.actor.type", "$.actor.auth.method", "$.actor.auth.mfa",
    "$.actor.agent.autonomy", "$.on_behalf_of.type", "$.via.type", "$.delegation.kind",
    "$.delegation.expires_at", "$.changes.op", "$.changes.target", "$.changes.redacted",
    "$.client.network.is_proxy", "$.client.network.is_tor", "$.window.start", "$.window.end",
    "$.attachments.size", "$.message", "$.count", "$.schema", "$.idempotency_key",
}  # fmt: skip
_BY_LEAF = (
    "$.metadata",
    "$.actor.attributes",
    "$.targets.attributes",
    "$.changes.old",
    "$.changes.new",
)


def _words(stored: StoredEvent, *, moments: Moments, address: Address) -> Iterator[str]:
    for node in drawer.chain(stored, address=address):
        yield node.who.name
        yield from (line.text for line in node.lines)
    sections = [
        *drawer.sections_before_changes(stored, moments=moments, address=address),
        *drawer.sections_after_changes(stored, moments=moments, address=address),
    ]
    for section in sections:
        for fact in section.facts:
            yield fact.label
            yield from (part.text for part in fact.parts)
    for change in drawer.changes(stored):
        yield from (change.path, change.label, change.owner, change.note)


def test_the_chain_tells_who_acted_for_whom_through_what(keep: Keep, view: View) -> None:
    [event_id] = keep(from_mapping(FULL))
    chain = open_event(view, event_id).one("div", class_="chain")

    assert [small.text for small in chain.all("small")] == ["Actor", "On behalf of", "Via", "Via"]
    assert [node.text for node in chain.all("div", class_="node")] == [
        "Ledgerbot",
        "MOMira Okafor",
        "gateway",
        "key-2",
    ]


def test_who_acts_for_nobody_acts_on_own_authority(keep: Keep, view: View) -> None:
    [event_id] = keep(an_event())
    chain = open_event(view, event_id).one("div", class_="chain")

    assert "Nobody" in chain.text
    assert "own authority" in chain.text


def test_impersonation_says_as_and_draws_a_second_ring(keep: Keep, view: View) -> None:
    [event_id] = keep(
        an_event(
            actor={"type": "user", "id": "s1", "name": "Priya Raman"},
            on_behalf_of={"type": "user", "id": "c1", "name": "Hannah Vogt"},
            delegation={"kind": "impersonation", "reason": "ticket 7"},
            occurred_at=str(NOON),
        )
    )
    page = view(f"/events/{event_id}")

    assert page.one("h2", id="ev").text.startswith("Priya Raman, as Hannah Vogt, ")
    assert page.one("tr", aria_current="true").all("span", class_="as")


def test_a_target_is_searched_with_its_type(keep: Keep, view: View) -> None:
    [event_id] = keep(an_event(targets=[{"type": "product", "id": "2", "name": "Desk"}]))

    url = open_event(view, event_id).link("Desk")

    assert query_of(url)["q"] == "target.type:product target.id:2"


def test_an_id_says_that_it_is_one(keep: Keep, view: View) -> None:
    actor = {"type": "user", "id": "1", "name": "Ana", "email": "ana@example.com"}
    [event_id] = keep(an_event(actor=actor))
    chain = open_event(view, event_id).one("div", class_="chain")

    lines = chain.all("span", class_="lines")[0].all("span")[1:]
    assert [line.text for line in lines] == ["Person", "ana@example.com", "id 1"]


def test_who_failed_to_sign_in_is_somebody_who_gave_a_name(keep: Keep, view: View) -> None:
    root = {"type": "user", "id": "1", "name": "root"}
    [event_id] = keep(
        an_event(action="user.login", actor=root, targets=[root], outcome="failure",
                 reason={"code": "bad_password"}, occurred_at=str(NOON))
    )  # fmt: skip
    page = view(f"/events/{event_id}")
    chain = page.one("div", class_="chain")

    assert page.one("h2", id="ev").text == "Somebody tried to sign in as root: wrong password"
    assert page.one("tr", aria_current="true").one("td", class_="who-c").text == "Somebody"
    assert chain.all("div", class_="node")[0].text == "Somebody"
    assert "gave the name of root" in chain.text
    # Who tried to get into an account is found by the account.
    assert query_of(page.link("This account root"))["q"] == "actor.id:1"


def test_linked_objects_are_names_and_no_json(keep: Keep, view: View) -> None:
    new = [{"id": "1", "name": "new"}, {"id": "4", "name": ""}]
    table = changed(keep, view, {"path": "tags", "new": new})

    assert [ins.text for ins in table.all("ins")] == ["new, 4"]


# -- the application around the pages ------------------------------------------------------------


def a_page(viewer: Viewer, event_id: str, **host: Any) -> Element:
    request = Request(path=f"/events/{event_id}", access=EVERYTHING, host=Host(**host))
    return read(viewer.handle(request, now=NOON).body)


def test_a_target_leads_to_where_the_application_shows_it(viewer: Viewer, keep: Keep) -> None:
    [event_id] = keep(an_event(targets=[{"type": "desk", "id": "2"}, {"type": "lamp", "id": "2"}]))

    page = a_page(viewer, event_id, link_of=lambda it: "/d/2/" if it.type == "desk" else None)

    assert [link.href for link in page.all("a", class_="link") if link.text == "open"] == ["/d/2/"]


@pytest.mark.parametrize(
    "url",
    [
        "//evil.example/", "/\\evil.example/", "\\\\evil.example", "https://evil.example/",
        "javascript:x", "/\t/evil.example/", "/a b", "", "desk/2",
    ],
)  # fmt: skip
def test_what_is_no_path_of_the_same_site_becomes_no_link(
    url: str, viewer: Viewer, keep: Keep
) -> None:
    [event_id] = keep(an_event(targets=[{"type": "desk", "id": "2"}]))

    page = a_page(viewer, event_id, link_of=lambda _: url)

    assert not [link for link in page.all("a") if link.text == "open"]


def test_the_header_leads_home_and_says_who_is_signed_in(viewer: Viewer, keep: Keep) -> None:
    [event_id] = keep(an_event())

    page = a_page(viewer, event_id, home=("Back <office>", "/office/"), signed_in="Ida \u202eWells")

    assert page.link("Back <office>") == "/office/"
    assert page.one("span", class_="me").text == "ISigned in as Ida ‹U+202E›Wells"
    assert page.one("span", class_="me").attributes["title"] == "Signed in as Ida ‹U+202E›Wells"


def test_a_page_of_no_application_has_neither(keep: Keep, view: View) -> None:
    [event_id] = keep(an_event())
    page = open_event(view, event_id)

    assert not page.all("span", class_="me")


def changed(keep: Keep, view: View, *changes: dict[str, Any], **query: str) -> Element:
    """The table of changes of an event."""
    [event_id] = keep(an_event(changes=list(changes), occurred_at=str(NOON)))
    return open_event(view, event_id, **query).one("table", class_="diff")


def test_a_change_is_told_by_word(keep: Keep, view: View) -> None:
    table = changed(
        keep, view, {"path": "a", "old": "Mail all of us today", "new": "Mail none of us today"}
    )

    assert [element.text for element in table.all("del")] == ["all"]
    assert [element.text for element in table.all("ins")] == ["none"]
    assert table.one("td").text == "Mail all none of us today"


def test_what_was_added_or_removed_says_so(keep: Keep, view: View) -> None:
    table = changed(
        keep, view, {"path": "a", "op": "add", "new": 1}, {"path": "b", "op": "remove", "old": 2}
    )

    assert [cell.text for cell in table.all("td")] == ["1 added", "2 removed"]


def test_of_an_object_only_the_members_that_differ_are_told(keep: Keep, view: View) -> None:
    table = changed(
        keep,
        view,
        {"path": "limits", "old": {"a": {"x": 1, "y": 2}}, "new": {"a": {"x": 1, "y": 3}, "b": 4}},
    )

    assert [[code.text for code in head.all("code")] for head in table.all("th")] == [
        ["limits", "a.y"],
        ["limits", "b"],
    ]
    assert [cell.text for cell in table.all("td")] == ["2 3", "4 added"]


def test_changes_stand_side_by_side_when_asked_for(keep: Keep, view: View) -> None:
    one = {"path": "a", "old": "keep the old word", "new": "keep the new word"}
    table = changed(keep, view, one, diff="side")
    heads = [head.text for head in table.one("thead").all("th")]
    before, after = table.one("tbody").all("td")

    assert heads == ["Field", "Before", "After"]
    assert (before.text, after.text) == ("keep the old word", "keep the new word")
    assert not before.all("ins")
    assert not after.all("del")


def test_both_views_of_changes_lead_to_each_other(keep: Keep, view: View) -> None:
    [event_id] = keep(
        an_event(changes=[{"path": "a", "old": 1, "new": 2}], occurred_at=str(minutes(-1)))
    )
    side = view(view(f"/events/{event_id}", q="alice").link("Side by side"))
    inline = side.link("Inline")

    assert query_of(inline) == {"q": "alice"}
    assert inline.endswith("#changes")
    assert query_of(side.link("Close").partition("#")[0]) == {"q": "alice", "diff": "side"}


def test_a_value_that_is_too_long_to_compare_is_shown_whole_and_said_to_be(
    keep: Keep, view: View
) -> None:
    old, new = (" ".join(f"{word}{n}" for n in range(3_000)) for word in ("old", "new"))
    cell = changed(keep, view, {"path": "a", "old": old, "new": new}).one("td")

    assert "shown whole" in cell.text
    assert cell.one("del").text == old
    assert cell.one("ins").text == new
    assert cell.one("div", class_="tall").attributes["tabindex"] == "0"


def test_masked_values_are_hatched_and_said_to_be_masked(keep: Keep, view: View) -> None:
    [event_id] = keep(
        an_event(
            changes=[
                {
                    "path": "email",
                    "old": "t•••@x.example",
                    "new": "q•••@y.example",
                    "redacted": "masked",
                }
            ]
        )
    )
    table = open_event(view, event_id).one("table", class_="diff")

    assert [mask.text for mask in table.all("span", class_="mask")] == [
        "t•••@x.example",
        "q•••@y.example",
    ]
    assert "Masked" in table.text
    assert not table.all("ins")


@pytest.mark.parametrize(
    ("url", "is_link"),
    [
        ("https://app.example.com/1", True),
        ("HTTP://app.example.com/1", True),
        ("javascript:alert(1)", False),
        ("java\tscript:alert(1)", False),
        ("data:text/html,x", False),
        ("//evil.example", False),
        ("/users/9", False),
        (" https://evil.example", False),
        ("https:///x", False),
    ],
)
def test_only_web_addresses_become_links(url: str, is_link: bool, keep: Keep, view: View) -> None:
    [event_id] = keep(an_event(targets=[{"type": "page", "id": "1", "url": url}]))
    drawn = open_event(view, event_id)
    links = [link for link in drawn.all("a") if link.href == url]

    assert bool(links) is is_link
    assert all(link.attributes["rel"] == "noopener noreferrer" for link in links)


def test_an_event_received_long_after_it_occurred_is_flagged(store: Any, view: View) -> None:
    on_time, late = store.append(
        prepared(an_event(occurred_at=str(minutes(0))), an_event(occurred_at=str(minutes(-3)))),
        now=minutes(0),
    )

    assert "Received 3 min later" in open_event(view, late.id).text
    assert "later" not in open_event(view, on_time.id).one("p", class_="facts").text


def test_pivots_are_searches_in_all_of_time(keep: Keep, view: View) -> None:
    [event_id] = keep(from_mapping(FULL))
    drawn = view(f"/events/{event_id}", q="alice", range="1h").one("section", id="event")
    found = {
        pivot.text: query_of(pivot.href) for pivot in drawn.one("div", class_="pivots").all("a")
    }

    assert found["This agent Ledgerbot"] == {"q": "actor.id:agt-1", "range": "all"}
    assert found["This address 203.0.113.7"]["q"] == "ip:203.0.113.7"
    assert found["This session ses-9"]["q"] == "session:ses-9"
    assert found["This record Ana"]["q"] == "target.type:user target.id:u-9"
    assert found["This request req-3"]["q"] == "request:req-3"
    assert found["± 5 minutes"] == {
        "from": "2026-03-15T10:55:00.25Z",
        "to": "2026-03-15T11:05:00.25Z",
    }


def test_each_pivot_finds_the_event_it_starts_from(keep: Keep, view: View) -> None:
    [event_id] = keep(from_mapping(FULL))
    pivots = open_event(view, event_id).one("div", class_="pivots").all("a")

    for pivot in pivots:
        found = view(pivot.href)
        assert found.all("tr", id=f"e-{event_id}"), pivot.text


def test_the_proof_says_sealed_and_claims_no_verification(keep: Keep, view: View) -> None:
    [event_id] = keep(an_event(tenant={"id": "acme", "name": "Acme Ltd"}))
    proof = open_event(view, event_id).one("div", class_="proof")

    assert proof.text == "SealedSealed as leaf 0 of Acme Ltd’s tree"


def test_an_erased_actor_has_no_name_and_a_mark_of_its_own(keep: Keep, store: Any) -> None:
    [event_id] = keep(an_event(actor={"type": "user", "id": "u1", "name": "Gone Person"}))
    stored = store.find(event_id, access=EVERYTHING)
    erased = msgspec.structs.replace(stored, gone=("/actor",))
    [actor, *_] = drawer.chain(erased, address=Address(prefix="", params={}))

    assert actor.who.name == "Erased person"
    assert actor.who.shape == "gone"
    assert not actor.lines


def test_long_values_can_be_scrolled_by_keyboard(keep: Keep, view: View) -> None:
    [event_id] = keep(an_event(metadata={"long": "x" * 30_000}))
    long = open_event(view, event_id).one("pre", class_="long")

    assert len(long.text) == 30_000
    assert long.attributes["tabindex"] == "0"


def test_an_event_of_the_ends_of_time_can_be_opened(keep: Keep, view: View) -> None:
    ids = keep(
        *(
            an_event(occurred_at=Instant.parse(text))
            for text in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z")
        )
    )

    for event_id in ids:
        for zone in ("UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"):
            assert view(f"/events/{event_id}", tz=zone).one("h2", id="ev").text


def test_an_event_is_a_struct_whose_every_part_the_drawer_knows() -> None:
    # A key added to the schema must be added to the drawer and to the example above.
    assert set(Event.__struct_fields__) == {*FULL, "schema"}
