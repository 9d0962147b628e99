"""What a request is to an event: pure functions, and laws about whom they believe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from whodid import actions
from whodid.capture.web import (
    MAX_FAULTS,
    MAX_USER_AGENT,
    ForwardedHeader,
    Incoming,
    WebOccasion,
    WebOptions,
    client_address,
    client_of,
    denial,
    error_of,
    fault,
    fingerprint,
    is_disconnect,
    request_id,
    stripped_url,
    trace_of,
    traffic,
)
from whodid.errors import ConfigError, StoreUnavailableError
from whodid.event import Client, Event, Request, checked, packed_ip
from whodid.recorder import Recorder

PEER = "192.0.2.1"


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("198.51.100.7", "198.51.100.7"),
        (" 198.51.100.7 ", "198.51.100.7"),
        ("198.51.100.7:4711", "198.51.100.7"),
        ("2001:DB8::7", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("[2001:db8::7]:443", "2001:db8::7"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("fe80::1%eth0", "fe80::1"),
        ("unknown", None),
        ("_hidden", None),
        ("", None),
        ("unix:", None),
        ("198.51.100.7:4711:1", None),
        ("999.1.1.1", None),
    ],
)
def test_an_address_is_read_in_every_form_that_proxies_write(
    written: str, address: str | None
) -> None:
    assert client_address(PEER, [written], trusted_proxies=1) == address


def test_without_trusted_proxies_the_peer_is_the_client_whatever_a_header_says() -> None:
    assert client_address(PEER, ["203.0.113.66"], trusted_proxies=0) == PEER


@pytest.mark.parametrize(
    ("proxies", "address"),
    [(1, "10.0.0.2"), (2, "198.51.100.7"), (3, "203.0.113.66"), (4, PEER)],
)
def test_only_as_many_entries_are_believed_as_there_are_proxies(proxies: int, address: str) -> None:
    forwarded = ["203.0.113.66, 198.51.100.7", "10.0.0.2"]

    assert client_address(PEER, forwarded, trusted_proxies=proxies) == address


def test_an_empty_entry_of_a_proxy_does_not_move_belief_to_what_the_client_sent() -> None:
    assert client_address(PEER, ["203.0.113.66,"], trusted_proxies=1) is None


@pytest.mark.parametrize(
    ("element", "address"),
    [
        ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
        ('For="[2001:db8:cafe::17]:4711"', "2001:db8:cafe::17"),
        ("by=203.0.113.43 ; for=192.0.2.60", "192.0.2.60"),
        ('for="_gazonk"', None),
        ("proto=https", None),
    ],
)
def test_rfc_7239_is_read_when_the_proxies_write_it(element: str, address: str | None) -> None:
    spoofed = f'for="203.0.113.66, {element}'  # a quote that is left open swallows nothing

    for value in (element, spoofed):
        found = client_address(PEER, [value], trusted_proxies=1, header="forwarded")
        assert found == address


HEADERS = st.lists(st.text(max_size=60), max_size=4)


@given(HEADERS, st.sampled_from(["x-forwarded-for", "forwarded"]), st.ip_addresses().map(str))
def test_what_a_client_sends_before_a_proxys_entry_changes_nothing(
    sent: list[str], header: ForwardedHeader, real: str
) -> None:
    entry = (
        real if header == "x-forwarded-for" else f'for="[{real}]"' if ":" in real else f"for={real}"
    )

    found = client_address(PEER, [*sent, entry], trusted_proxies=1, header=header)

    assert found is not None
    assert packed_ip(found) == packed_ip(real)


@given(
    HEADERS,
    st.text(max_size=40),
    st.integers(0, 5),
    st.sampled_from(["x-forwarded-for", "forwarded"]),
)
def test_whatever_the_headers_hold_the_client_is_one_that_an_event_can_have(
    sent: list[str], agent: str, proxies: int, header: ForwardedHeader
) -> None:
    client = client_of(
        "testclient", sent, port=99_999, user_agent=agent, trusted_proxies=proxies, header=header
    )

    drafted = Recorder(tenant="acme").draft("error.raise", client=client)
    assert drafted.client == (UNSET if client == Client() else client)


def test_a_client_behind_proxies_has_their_claims_and_no_port() -> None:
    client = client_of(PEER, ["203.0.113.66, 198.51.100.7"], port=5000, trusted_proxies=1)

    assert client.ip == "198.51.100.7"
    assert client.port is UNSET
    assert client.forwarded_for == ("203.0.113.66", "198.51.100.7")


def test_a_client_without_proxies_has_a_port_and_no_claims() -> None:
    client = client_of(PEER, ["203.0.113.66"], port=5000)

    assert (client.ip, client.port, client.forwarded_for) == (PEER, 5000, ())


def test_a_long_user_agent_is_cut() -> None:
    agent = client_of(PEER, user_agent="x" * 5_000).user_agent

    assert isinstance(agent, str)
    assert len(agent) == MAX_USER_AGENT


def test_a_short_printable_request_id_is_taken() -> None:
    assert request_id("Root=1-5759e988-bd862e3fe1be46a994272793") == (
        "Root=1-5759e988-bd862e3fe1be46a994272793"
    )


@pytest.mark.parametrize("given_id", [None, "", "a b", "a\r\nset-cookie: x", "é", "x" * 129])
def test_any_other_request_id_is_replaced(given_id: str | None) -> None:
    made = request_id(given_id)

    assert made != given_id
    assert len(made) == 36


@given(st.text())
def test_a_request_id_can_always_stand_in_a_header(given_id: str) -> None:
    made = request_id(given_id)

    assert made.isascii()
    assert made.isprintable()
    assert " " not in made
    assert 1 <= len(made) <= 128


TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    "header",
    [f"00-{TRACE}-{SPAN}-01", f" 00-{TRACE}-{SPAN}-00 ", f"cc-{TRACE}-{SPAN}-01-what-comes"],
)
def test_a_valid_traceparent_gives_the_trace(header: str) -> None:
    trace = trace_of(header)

    assert trace is not None
    assert (trace.trace_id, trace.span_id) == (TRACE, SPAN)


@pytest.mark.parametrize(
    "header",
    [
        None, "", f"ff-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE}-{SPAN}",
        f"cc-{TRACE}-{SPAN}-01.x", [f"00-{TRACE}-{SPAN}-01"] * 2,
    ],
)  # fmt: skip
def test_a_traceparent_that_breaks_the_rules_gives_none(header: Any) -> None:
    assert trace_of(header) is None


@given(st.text(max_size=80) | st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"))
def test_any_traceparent_gives_a_trace_that_an_event_can_have_or_none(header: str) -> None:
    trace = trace_of(header)

    if trace is not None:
        assert Recorder(tenant="acme").draft("error.raise", trace=trace).trace == trace


@pytest.mark.parametrize(
    ("path", "query", "url"),
    [
        ("/a", "", "/a"),
        ("/a b/ü", "", "/a%20b/%C3%BC"),
        (b"/a%20b", "", "/a%20b"),
        ("/a", "q=secret&page=2;x=", "/a?q=[masked]&page=[masked]&x="),
        ("/a", "flag&8f14e45fceea167a", "/a?flag&[masked]"),
        ("/a", "<script>=1", "/a?[masked]=[masked]"),
    ],
)
def test_a_url_keeps_the_names_of_its_parameters_and_loses_their_values(
    path: str | bytes, query: str, url: str
) -> None:
    assert stripped_url(path, query) == url


@given(st.text() | st.binary(), st.text())
def test_any_url_is_ascii_but_for_parameters_and_short_enough(
    path: str | bytes, query: str
) -> None:
    assert len(stripped_url(path, query)) <= 2_048


def _fails(depth: int = 0, value: object = "a") -> None:
    if depth:
        _fails(depth - 1, value)
    raise ValueError(f"no such thing: {value}")


def _fails_elsewhere() -> None:
    raise ValueError("no such thing: a")


def _caught(work: Callable[[], object]) -> Exception:
    try:
        work()
    except Exception as error:  # noqa: BLE001 - whatever is raised is looked at
        return error
    raise AssertionError("nothing was raised")


def test_a_fingerprint_knows_neither_values_nor_lines_nor_depth() -> None:
    plain = fingerprint(_caught(lambda: _fails(value="a")))

    assert plain == fingerprint(
        _caught(
            lambda: _fails(value="b"),
        )
    )
    assert plain == fingerprint(_caught(lambda: _fails(depth=40)))


def test_a_fingerprint_tells_types_and_places_apart() -> None:
    one = _caught(_fails)
    places = {fingerprint(one), fingerprint(_caught(_fails_elsewhere)), fingerprint(KeyError("a"))}

    assert len(places) == 3


def test_an_error_in_a_task_group_is_told_as_what_it_is() -> None:
    error = ExceptionGroup("unhandled errors", [ExceptionGroup("inner", [KeyError("a")])])

    assert error_of(error).type == "KeyError"


def test_an_exception_without_a_text_is_told_by_its_type() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    detail = error_of(Mute())

    assert detail.type == "Mute"
    assert detail.message == "[Mute without text]"


def test_a_long_message_is_cut_and_a_secret_in_it_is_masked_before() -> None:
    token = "ghp_" + "a1" * 20
    detail = error_of(ValueError("x" * 2_030 + " " + token + "y" * 5_000))

    assert isinstance(detail.message, str)
    assert len(detail.message) <= 2_048
    assert "ghp_" not in detail.message


def test_a_message_with_a_lone_surrogate_can_be_stored() -> None:
    event = Recorder(tenant="acme").draft(**fault(error_of(ValueError("\ud800"))))

    assert checked(event).error == event.error


def test_a_validation_error_says_where_and_not_what() -> None:
    from pydantic import BaseModel

    class Card(BaseModel):
        number: int

    error = _caught(lambda: Card.model_validate({"number": "hunter2"}))

    message = error_of(error).message
    assert message == "1 invalid: number: int_parsing"


def test_the_parameters_of_a_statement_are_left_out_of_the_message() -> None:
    class StatementError(Exception):  # with the attributes that SQLAlchemy's have
        hide_parameters = False
        orig = ValueError("UNIQUE constraint failed: users.email")

        def __str__(self) -> str:
            return f"{self.orig} [SQL: INSERT ...] [parameters: ('ana@example.org', 'hunter2')]"

    assert error_of(StatementError()).message == "UNIQUE constraint failed: users.email"


def test_a_client_that_has_gone_is_no_error() -> None:
    from starlette.requests import ClientDisconnect
    from starlette.websockets import WebSocketDisconnect

    assert is_disconnect(ClientDisconnect())
    assert is_disconnect(WebSocketDisconnect())
    assert not is_disconnect(ConnectionError())


def test_only_401_and_403_are_refusals() -> None:
    refused = [status for status in range(100, 600) if denial(status, "/x")]

    assert refused == [401, 403]


@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "X"]
)
def test_every_action_that_a_request_can_become_is_registered(method: str) -> None:
    refused = denial(403, "/x")
    assert refused is not None

    for fields in (fault(error_of(KeyError())), refused, traffic(method, 200, "/x")):
        assert actions.find(fields["action"]) is not None


@pytest.mark.parametrize(
    ("status", "outcome"), [(200, "success"), (302, "success"), (401, "denied"), (403, "denied"),
                            (404, "failure"), (500, "error"), (503, "error")],
)  # fmt: skip
def test_the_outcome_of_a_request_is_its_status(status: int, outcome: str) -> None:
    assert traffic("GET", status, "/x")["outcome"] == outcome


@pytest.mark.parametrize(
    "options",
    [
        {"trusted_proxies": -1}, {"trusted_proxies": True}, {"trusted_proxies": "1"},
        {"forwarded_header": "via"}, {"exclude": "/healthz"}, {"request_id_header": "x id"},
    ],
)  # fmt: skip
def test_options_that_cannot_be_meant_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        WebOptions(**options)


def test_a_path_is_excluded_with_all_below_it_and_nothing_beside_it() -> None:
    options = WebOptions(exclude=["/healthz", "/static/"])

    excluded = [
        path
        for path in ("/healthz", "/healthz/db", "/healthzz", "/static/", "/static/a.css", "/", "/x")
        if options.is_excluded(path)
    ]
    assert excluded == ["/healthz", "/healthz/db", "/static/", "/static/a.css"]


class AnOccasion(WebOccasion):
    __slots__ = ("found", "given", "named")

    def __init__(self, given: Incoming, options: WebOptions | None = None) -> None:
        super().__init__(options or WebOptions(), given_id=None, find_actor=None)
        self.given, self.found = given, "/invoices/{id}"
        self.named: dict[str, object] = {}

    def read(self) -> Incoming:
        return self.given

    def route(self) -> str | None:
        return self.found

    def parameters(self) -> Mapping[str, object]:
        return self.named


def an_incoming(**only_what_matters: Any) -> Incoming:
    usual: dict[str, Any] = {
        "method": "GET", "path": "/invoices/7", "query": "", "peer": PEER, "port": 5000,
        "forwarded": [], "user_agent": None, "traceparent": [],
    }  # fmt: skip
    return Incoming(**usual | only_what_matters)


@given(
    st.builds(
        Incoming,
        method=st.text(max_size=30), path=st.text() | st.binary(), query=st.text(),
        peer=st.none() | st.text(max_size=20), port=st.none() | st.integers(-1, 70_000),
        forwarded=HEADERS, user_agent=st.none() | st.text(max_size=400),
        traceparent=st.lists(st.text(max_size=60), max_size=2),
    ),
    st.text(max_size=600),
)  # fmt: skip
def test_any_request_can_be_drafted_into_an_event(given_request: Incoming, route: str) -> None:
    occasion = AnOccasion(given_request, WebOptions(trusted_proxies=1, record_requests=True))
    occasion.found = route
    occasion.answered(403)

    for fields in occasion.due():
        drafted = Recorder(tenant="acme").draft(
            **fields, request=occasion.request, client=occasion.client, trace=occasion.trace
        )
        assert isinstance(drafted, Event)


def test_an_event_before_the_answer_has_no_status_and_one_after_it_has() -> None:
    occasion = AnOccasion(an_incoming())
    before = occasion.request
    occasion.answered(204)
    after = occasion.request

    assert before is not None
    assert after is not None
    assert (before.status, before.duration_ms, before.route) == (UNSET, UNSET, "/invoices/{id}")
    assert after.status == 204
    assert after.duration_ms is not UNSET


@pytest.mark.parametrize(
    ("path", "named", "masked"),
    [
        ("/reset/hunter2/7", {"token": "hunter2", "id": 7}, "/reset/masked/7"),
        (b"/reset/hunter%202", {"token": "hunter 2"}, "/reset/masked"),
        ("/reset/žaba".encode(), {"reset_token": "žaba"}, "/reset/masked"),
        ("/reset/HUNTER2", {"token": "hunter2"}, "/reset/%7Btoken%7D"),
        (b"/reset/4711", {"pin": 4711}, "/reset/masked"),
        (b"/reset/a%2Fb", {"id": "a/b"}, "/reset/a%2Fb"),
        ("/reset/", {"token": ""}, "/reset/"),
    ],
)
def test_a_secret_in_a_path_is_masked_by_the_name_that_the_route_gives_it(
    path: str | bytes, named: dict[str, object], masked: str
) -> None:
    occasion = AnOccasion(an_incoming(path=path))
    occasion.found, occasion.named = "/reset/{token}", named
    occasion.answered(403)

    (denied,) = occasion.due()
    assert denied["targets"][0].id == masked
    assert occasion.request
    assert occasion.request.url == masked


def test_a_refusal_that_is_told_already_is_still_a_request() -> None:
    occasion = AnOccasion(an_incoming(method="POST"), WebOptions(record_requests=True))
    occasion.is_refusal_told = True
    occasion.answered(401)

    assert [fields["action"] for fields in occasion.due()] == ["http.create"]


def test_a_request_that_never_ends_does_not_remember_exceptions_without_end() -> None:
    occasion = AnOccasion(an_incoming())
    for number in range(2 * MAX_FAULTS):
        occasion.failed(ValueError(f"no. {number}"))

    assert len(occasion.due()) == MAX_FAULTS


def test_what_a_host_assigns_is_kept() -> None:
    occasion = AnOccasion(an_incoming())
    occasion.request = Request(method="GET", url="/other")

    assert occasion.request == Request(method="GET", url="/other")


def test_an_exception_that_is_seen_twice_is_one_event() -> None:
    occasion = AnOccasion(an_incoming())
    error = _caught(_fails)
    occasion.failed(error)
    occasion.failed(error)

    assert [fields["action"] for fields in occasion.due()] == ["error.raise"]
    assert occasion.due() == []
    assert occasion.status == 500


def test_a_store_that_failed_a_host_is_not_told_of_it() -> None:
    occasion = AnOccasion(an_incoming())
    occasion.failed(StoreUnavailableError("gone"))

    assert occasion.due() == []
