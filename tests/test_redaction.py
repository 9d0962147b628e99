from __future__ import annotations

import hmac
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Struct, structs

from tests.strategies import events
from whodid import canonical
from whodid.actions import defaults
from whodid.errors import ConfigError, EventError
from whodid.event import Event, checked, from_mapping
from whodid.redaction import (
    MASK,
    MAX_PATTERN_CHARS,
    SECRET_NAMES,
    Rules,
    is_secret_name,
    redact,
    redact_json,
    redact_text,
)
from whodid.testing import an_event

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
PEM_BODY = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7"

# What to write, and the part of it that must not be left anywhere.
SECRETS: dict[str, tuple[str, str]] = {
    "jwt": (JWT, "dozjgNryP4J3"),
    "pem": (
        f"-----BEGIN RSA PRIVATE KEY-----\n{PEM_BODY}\n-----END RSA PRIVATE KEY-----",
        PEM_BODY,
    ),
    "pem cut off": (f"-----BEGIN PRIVATE KEY-----\n{PEM_BODY}", PEM_BODY),
    "bearer": ("Authorization: Bearer q8Zr5tYw1nUv", "q8Zr5tYw1nUv"),
    "basic": ("Basic YWxpY2U6b3BlbnNlc2FtZQ==", "YWxpY2U6b3BlbnNlc2FtZQ"),
    "aws key": ("AKIAIOSFODNN7EXAMPLE", "IOSFODNN7"),
    "aws session key": ("ASIAIOSFODNN7EXAMPLE", "IOSFODNN7"),
    "aws secret": (
        "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "wJalrXUtnFEMI/K7MDENG",
    ),
    "aws session token": (f"IQoJb3JpZ2luX2Vj{PEM_BODY}", PEM_BODY),
    "gcp": ("AIzaSyA-1234567890abcdefghijklmnopqrstu", "1234567890abcdef"),
    "gcp oauth": ("ya29.a0AfH6SMBx3t8k2Jq9LmNoPq", "a0AfH6SMBx3t8k2"),
    "stripe": ("sk_live_4eC39HqLyjWDarjtT1zdp7dc", "4eC39HqLyjWDarjt"),
    "github": ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", "16C7e42F292c6912"),
    "github fine-grained": ("github_pat_11ABCDEFG0_abcdefghijklmnopqrstuv", "abcdefghijklm"),
    "gitlab": ("glpat-x9yZ8w7V6u5T4s3R2q1P", "x9yZ8w7V6u5T"),
    "slack": ("xoxb-123456789012-abcdefABCDEF123456", "abcdefABCDEF"),
    "slack hook": (
        "https://hooks.slack.com/services/T000/B000/XXXXyyyyZZZZ1111",
        "XXXXyyyyZZZZ1111",
    ),
    "openai": ("sk-proj-abcDEF1234567890ghiJKL", "abcDEF1234567890"),
    "whodid": ("whodid_k3f9a2c1_9fJk2LmN8pQr5sTuVwXyZ01234", "9fJk2LmN8pQr5s"),
    "url": ("postgres://app:hunter2xyzzy@db.internal:5432/app", "hunter2xyzzy"),
    "pair": ("failed with password=hunter2xyzzy&user=7", "hunter2xyzzy"),
    "pair in words": ("the password: hunter2xyzzy, was wrong", "hunter2xyzzy"),
    "pair in json": ('{"user": 7, "apiKey": "hunter2xyzzy"}', "hunter2xyzzy"),
    "pair in nested json": (r"{\"user\": 7, \"apiKey\": \"hunter2xyzzy\"}", "hunter2xyzzy"),
    "pair behind a colon": ("error:client_secret=hunter2xyzzy", "hunter2xyzzy"),
    "option": ("deploy --token=hunter2xyzzy --verbose", "hunter2xyzzy"),
    "card": ("paid with 4111 1111 1111 1111 today", "1111 1111"),
    "card with dashes": ("5500-0055-5555-5559", "5555-5559"),
    "card in words": ("card 4111111111111111, thanks", "41111111"),
}

FULL = from_mapping(
    {
        "action": "invoice.update",
        "idempotency_key": "k",
        "outcome": "denied",
        "reason": {"code": "not_permitted", "message": "m", "policy": "p"},
        "message": "m",
        "actor": {
            "type": "ai_agent",
            "id": "i",
            "name": "n",
            "email": "e",
            "roles": ["r"],
            "attributes": {"k": "v", "deep": [{"list": ["v"]}]},
            "auth": {"session_id": "s", "credential_id": "c", "idp": "i"},
            "agent": {
                "instance_id": "i",
                "model": "m",
                "version": "v",
                "framework": "f",
                "protocol": "p",
                "tool": "t",
            },
        },
        "on_behalf_of": {"type": "user", "id": "i", "name": "n", "email": "e"},
        "via": [{"type": "user", "id": "i", "name": "n", "email": "e"}],
        "delegation": {
            "kind": "agent",
            "grant_id": "g",
            "reason": "r",
            "ticket": "t",
            "approved_by": "a",
        },
        "targets": [
            {
                "type": "invoice",
                "id": "i",
                "name": "n",
                "version": "v",
                "url": "u",
                "attributes": {"k": "v"},
            }
        ],
        "changes": [{"path": "p", "old": "o", "new": {"k": ["n"]}, "label": "l"}],
        "tenant": {"id": "t", "name": "n"},
        "scope": [{"type": "team", "id": "i", "name": "n"}],
        "source": {
            "app": "a",
            "component": "c",
            "version": "v",
            "environment": "e",
            "host": "h",
            "instance": "i",
        },
        "client": {
            "forwarded_for": ["f"],
            "user_agent": "u",
            "device": {"id": "i", "type": "t", "os": "o", "browser": "b"},
            "geo": {"region": "r", "city": "c"},
            "network": {"org": "o"},
        },
        "request": {"id": "i", "method": "m", "route": "r", "url": "u"},
        "correlation_id": "c",
        "error": {"type": "t", "message": "m", "fingerprint": "f"},
        "metadata": {"k": "v", "deep": {"er": ["v"]}},
        "tags": ["t"],
        "data_classes": ["d"],
        "attachments": [{"name": "n", "media_type": "m", "sha256": "a" * 64}],
    }
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where strings are in an event, lists and nested JSON included."""
    if isinstance(value, Struct):
        for name in value.__struct_fields__:
            yield from places(getattr(value, name), (*path, name))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*path, key))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from places(item, (*path, number))
    elif isinstance(value, str):
        yield path


def with_text(value: Any, path: tuple[Any, ...], text: str) -> Any:
    """The same event with another text in one place."""
    if not path:
        return text
    step, rest = path[0], path[1:]
    if isinstance(value, Struct):
        return structs.replace(value, **{step: with_text(getattr(value, step), rest, text)})
    if isinstance(value, dict):
        return value | {step: with_text(value[step], rest, text)}
    changed = [
        with_text(item, rest, text) if number == step else item for number, item in enumerate(value)
    ]
    return type(value)(changed)


def accepts(path: tuple[Any, ...], text: str) -> bool:
    try:
        checked(with_text(FULL, path, text))
    except EventError:
        return False
    return True


PLACES = list(places(FULL))
OPEN = [path for path in PLACES if accepts(path, "Some Text")]
# Closed sets, addresses, hashes: nothing but what the schema lists can stand there.
KEY = "ghp_abcdefghijklmnopqrstuvwx"
SPELLED = [
    (path, text)
    for path in PLACES
    for text in (KEY, f"user.{KEY}")
    if path not in OPEN and accepts(path, text)
]


def stored_bytes(event: Event) -> bytes:
    encoded = canonical.encode(event, defaults=defaults(event.action))
    apart = json.dumps([event.idempotency_key or "", event.tenant.id if event.tenant else ""])
    return encoded.core + b"".join(value for _, value in encoded.units) + apart.encode()


@pytest.mark.parametrize("name", SECRETS)
def test_no_secret_gets_through_in_any_text_of_an_event(name: str) -> None:
    text, secret = SECRETS[name]
    written = json.dumps(secret, ensure_ascii=False)[1:-1].encode()

    for path in OPEN:
        if not accepts(path, text):
            continue  # longer than the place allows
        event = with_text(FULL, path, text)
        assert written in stored_bytes(event) or path[-1] == "url"

        redacted = redact(event)

        assert written not in stored_bytes(redacted), path
        assert checked(redacted) == redacted


@pytest.mark.parametrize(("path", "text"), SPELLED, ids=str)
def test_no_key_gets_through_where_the_schema_spells_its_words(
    path: tuple[Any, ...], text: str
) -> None:
    event = with_text(FULL, path, text)

    redacted = redact(event)

    assert b"abcdefghij" not in stored_bytes(redacted)
    assert checked(redacted) == redacted


def test_the_places_of_secrets_are_all_texts_of_the_schema() -> None:
    assert len(OPEN) >= 60
    assert {path[0] for path, _ in SPELLED} >= {"action", "reason", "targets", "scope", "tags"}


def test_a_secret_in_the_place_of_a_key_is_masked_and_the_value_stays() -> None:
    event = an_event(metadata={"AKIAIOSFODNN7EXAMPLE": 1, "AKIAIOSFODNN7EXAMPLF": 2})

    redacted = redact(event)

    assert redacted.metadata == {"masked": 1, "masked_": 2}
    assert checked(redacted) == redacted


SECRET_EXAMPLES = (
    "password", "Password", "new_password", "newPassword", "user.password", "/user/password",
    "passwords[0]", "password2", "userpassword", "passwd", "pwd", "db_pwd", "passphrase",
    "password_hash", "passwordHash", "secret", "client_secret", "clientSecret",
    "AWSSecretAccessKey", "secretAccessKey", "token", "access_token", "accessToken",
    "accesstoken", "X-Auth-Token", "sessionToken", "api_key", "apiKey", "api-key", "X-Api-Key",
    "apikey", "api_keys", "private_key", "Authorization", "Proxy-Authorization", "Cookie",
    "Set-Cookie", "session", "csrf", "csrf_token", "otp", "totp", "mfa", "pin", "pin_code", "cvv",
    "card_number", "cardNumber", "iban", "ssn", "salt", "signature", "credential", "credentials",
    "recovery_codes", "webhook_url", "webhookURL", "masterUserPassword", "connection_string",
    "verification_code", "pass.word.secret",
)  # fmt: skip
HARMLESS_EXAMPLES = (
    "", ".", "password_length", "password_changed_at", "passwordPolicy", "token_count",
    "tokenType", "secret_santa", "secretary", "session_id", "sessionId", "api_key_id",
    "accessKeyId", "pincode", "shipping", "spin", "basalt", "author", "authorized", "key", "keys",
    "public_key", "monkey", "cookie_banner", "mfa_required", "signature_version", "pinned",
    "optional", "card_type", "ssn_last_checked", "csrf_exempt", "tokenizer", "id", "email",
    "iban_country", "password.min",
)  # fmt: skip


@pytest.mark.parametrize("name", SECRET_EXAMPLES)
def test_a_secret_name_is_known_in_every_spelling(name: str) -> None:
    assert is_secret_name(name)
    assert redact_json({name: "hunter2"}) == {name: MASK}


@pytest.mark.parametrize("name", HARMLESS_EXAMPLES)
def test_a_name_that_only_looks_like_a_secret_keeps_its_value(name: str) -> None:
    assert not is_secret_name(name)
    assert redact_json({name: "hunter2"}) == {name: "hunter2"}


def test_every_name_of_the_list_is_a_secret_name() -> None:
    assert [name for name in sorted(SECRET_NAMES) if not is_secret_name(name)] == []


def test_more_names_can_be_given() -> None:
    event = an_event(metadata={"loyalty_code": "L-77", "plan": "pro"})

    redacted = redact(event, Rules(names=SECRET_NAMES | {"loyaltyCode"}))

    assert redacted.metadata == {"loyalty_code": MASK, "plan": "pro"}


def test_a_secret_name_takes_everything_below_it_at_any_depth() -> None:
    event = an_event(metadata={"a": [{"b": {"credentials": {"user": "x", "keys": ["y"]}}}]})

    assert redact(event).metadata == {"a": [{"b": {"credentials": MASK}}]}


@pytest.mark.parametrize("value", [None, True, False, "", [], {}, MASK])
def test_a_value_that_tells_nothing_stays_under_a_secret_name(value: Any) -> None:
    event = an_event(metadata={"mfa": value, "password": value})

    assert redact(event) is event


def test_numbers_are_secret_under_a_name_in_the_singular_and_amounts_in_the_plural() -> None:
    event = an_event(metadata={"pin": 1234, "otp": 123456, "max_tokens": 4096})

    assert redact(event).metadata == {"pin": MASK, "otp": MASK, "max_tokens": 4096}


def test_a_change_of_a_secret_loses_both_values_and_says_so() -> None:
    event = an_event(changes=[{"path": "user.password", "old": "a1", "new": "b2"}])

    (change,) = redact(event).changes

    assert (change.old, change.new, change.redacted) == (MASK, MASK, "masked")


def test_a_change_of_a_secret_keeps_that_there_was_none() -> None:
    event = an_event(
        changes=[
            {"path": "password", "old": None, "new": "b2"},
            {"path": "mfa", "old": False, "new": True},
            {"path": "token", "new": "b2"},
        ]
    )

    first, second, third = redact(event).changes

    assert (first.old, first.new, first.redacted) == (None, MASK, "masked")
    assert (second.old, second.new, second.redacted) == (False, True, UNSET)
    assert (third.old, third.new) == (UNSET, MASK)


def test_a_secret_inside_a_changed_value_is_masked_and_the_change_says_so() -> None:
    event = an_event(changes=[{"path": "settings", "old": {"smtp_password": "a1", "port": 25}}])

    (change,) = redact(event).changes

    assert change.old == {"smtp_password": MASK, "port": 25}
    assert change.redacted == "masked"


def test_ids_are_not_judged_by_their_names() -> None:
    event = an_event(
        actor={"type": "user", "id": "session:4f2a", "auth": {"session_id": "token=7"[:5]}},
        targets=[{"type": "secret", "id": "arn:aws:secretsmanager:eu-1:12:secret:Db-a1b2"}],
        metadata={"token_id": "t_99", "card_id": "4111111111111111"},
    )

    assert redact(event) is event


def test_query_strings_keep_names_and_lose_values() -> None:
    event = an_event(request={"url": "https://x.example/a/b?page=2&q=alice&debug#tab=3"})

    request = redact(event).request

    assert request
    assert request.url == f"https://x.example/a/b?page={MASK}&q={MASK}&debug#tab={MASK}"


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("/a?", "/a?"),
        ("/a?x=", "/a?x="),
        ("/a?dGhpc2lzYXNlY3JldHRva2VudGhhdGlzbG9uZw==", f"/a?{MASK}={MASK}"),
        ("/a?ghp_16C7e42F292c6912E7710c838347Ae178B4a", f"/a?{MASK}"),
        ("/a#access_token=x1", f"/a#access_token={MASK}"),
        ("https://u:p@x.example/a", f"https://{MASK}@x.example/a"),
        ("https://x.example/a", "https://x.example/a"),
    ],
)
def test_a_url_shows_where_and_not_with_what(url: str, kept: str) -> None:
    request = redact(an_event(request={"url": url})).request

    assert request
    assert request.url == kept


def test_a_url_too_long_for_its_masks_loses_its_whole_query() -> None:
    url = "https://x.example/a?" + "&".join(f"a{number}=1" for number in range(300))

    redacted = redact(an_event(request={"url": url[:2048]}))

    assert redacted.request
    assert redacted.request.url == f"https://x.example/a?{MASK}"


def test_a_text_without_room_for_the_mask_is_masked_whole() -> None:
    message = "password=a " + "x" * (4096 - 11)

    assert redact(an_event(message=message)).message == MASK


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111112",  # no check digit
        "41111111111111111111",  # too long
        "id 1742558350123456 seen",  # microseconds
        "79927398713",  # passes Luhn, too short
        "order 9999999999999995",  # passes Luhn, no network
        "0.4111111111111111",
        "trace 4111111111111111abcdef",
        "+4915112345678",
        "aaaa4111-1111-4111-8111-111111111111",
    ],
)
def test_a_number_that_is_no_card_stays(text: str) -> None:
    assert redact_text(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111111", "4111-1111-1111-1111", "4111 1111 1111 1111", "378282246310005",
        "3782 822463 10005", "6011111111111117", "5555555555554444", "2223003122003222",
        "30569309025904", "3530111333300000", "4222222222222", "6304000000000000",
    ],
)  # fmt: skip
def test_a_card_number_goes(text: str) -> None:
    assert redact_text(f"card {text}.") == f"card {MASK}."


def test_a_card_number_goes_as_a_number_too_but_not_as_an_id() -> None:
    event = an_event(metadata={"pan": 4111111111111111, "order_id": 4111111111111111})

    assert redact(event).metadata == {"pan": MASK, "order_id": 4111111111111111}


@pytest.mark.parametrize(
    "text",
    [
        "wrong password: try again",
        "the token: expired",
        "Bearer authentication failed",
        "Basic auth is off",
        "a password was changed by Ana",
        "risk-assessment-of-the-third-quarter",
        "task_live_and_let_live",
        "see https://x.example:8080/a@b",
        "mail ana@acme.example: token sent",
        "if token == expected: return",
        "eyJust a word",
        "AKIAIOSFODNN7",
    ],
)
def test_a_sentence_about_secrets_stays(text: str) -> None:
    assert redact_text(text) == text


def test_two_idempotency_keys_with_secrets_stay_two() -> None:
    one = redact(an_event(idempotency_key=f"a {JWT[:80]}")).idempotency_key
    two = redact(an_event(idempotency_key=f"b {JWT[:80]}")).idempotency_key

    assert one
    assert one.startswith("masked-")
    assert one != two


def test_two_tags_that_become_one_are_written_once() -> None:
    tags = ["ghp_abcdefghijklmnopqrstuvwx", "ghp_bbcdefghijklmnopqrstuvwx", "hr"]

    assert redact(an_event(tags=tags)).tags == ("masked", "hr")


def test_an_event_without_secrets_is_given_back_as_it_is() -> None:
    assert redact(FULL) is FULL


@given(events())
def test_events_of_every_shape_stay_valid_and_are_done_after_once(event: Event) -> None:
    redacted = redact(event)

    assert redact(redacted) == redacted
    assert checked(redacted) == redacted


PIECES = st.sampled_from(
    [
        *(text for text, _ in SECRETS.values()), "password", "token", "api_key", "secret",
        "cookie", "pin", "=", ":", ": ", '"', "'", "\\", '\\"', " ", "\n", "&", "?", "#", "://",
        "@", "eyJ", ".", "-", "_", "Bearer ", "Basic ", "sk-", MASK, "masked", "[", "]", "4111",
        "1111", "-----BEGIN PRIVATE KEY-----", "-----END", "%3D", "a" * 20, "A1b2C3d4",
    ]
)  # fmt: skip
texts = (
    st.lists(PIECES | st.text(max_size=6), max_size=14).map("".join).map(lambda text: text[:4096])
)


@given(texts)
def test_redacting_twice_is_redacting_once(text: str) -> None:
    event = an_event(
        message=text,
        request={"url": text[:2048]},
        metadata={"k": text, "deep": [text, {"token": text}]},
        changes=[{"path": "p", "old": text}],
        actor={"type": "user", "id": text[:256] or "x"},
    )

    once = redact(event)

    assert redact(once) == once
    assert checked(once) == once


@given(texts)
def test_the_quick_look_at_an_event_misses_nothing_that_the_patterns_find(text: str) -> None:
    message = redact(an_event(message=text, metadata={"k": text})).metadata

    assert message == {"k": redact_text(text)}


@pytest.mark.parametrize("name", SECRETS)
def test_neither_end_of_a_secret_is_left(name: str) -> None:
    text, secret = SECRETS[name]

    left = redact_text(text)

    assert MASK in left
    assert secret[:6] not in left
    assert secret[-6:] not in left


@pytest.mark.parametrize(
    "piece",
    [
        "eyJ", "eyJa.", "a.", "a-", "1 ", "1-", "4", "4 ", "://", "://a:", "password",
        "password=", '"', "\\", '\\"', "'", "-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "=",
        ":", "a:", "ghp_", "sk-", "Bearer ", "Basic a", "AIza", "LS0tLS1CRUdJTi", "%3D",
        "token: ", "a@", "[masked]", "password=[", "_", "aA", "github_pat_", "xoxb-", "pin=1&",
        'pin="',
    ],
)  # fmt: skip
def test_the_longest_text_made_to_be_slow_is_not(piece: str) -> None:
    text = (piece * MAX_PATTERN_CHARS)[:MAX_PATTERN_CHARS]
    started = time.process_time()

    redact_text(text)

    # A quadratic pattern needs minutes for these; ours need milliseconds, on a busy machine more.
    assert time.process_time() - started < 5


def test_a_text_beyond_the_limit_is_left_to_be_refused() -> None:
    event = an_event(metadata={"k": "x" * MAX_PATTERN_CHARS + JWT})

    assert redact(event) is event


def test_a_text_beyond_the_limit_is_cut_where_nothing_is_refused() -> None:
    cut = redact_json(["x" * MAX_PATTERN_CHARS + JWT])

    assert cut == ["x" * MAX_PATTERN_CHARS]


def test_a_lone_surrogate_does_not_stop_redaction() -> None:
    event = an_event(message="\ud800 password=hunter2")

    assert redact(event).message == f"\ud800 password={MASK}"


# Single fields

HASH_KEY = b"0123456789abcdef0123456789abcdef"
TREATED = Rules(fields={"salary": "hash", "diagnosis": "mask", "note": "drop"}, hash_key=HASH_KEY)
HASH = TREATED.hash("5000")


def test_a_field_is_dropped_masked_or_hashed_wherever_it_stands() -> None:
    fields = {"salary": "5000", "diagnosis": "B20", "note": "n-1", "other": "o"}
    after = {"salary": HASH, "diagnosis": MASK, "other": "o"}
    event = an_event(
        actor={"type": "user", "id": "7", "attributes": fields},
        targets=[{"type": "employee", "id": "9", "attributes": fields}],
        metadata={**fields, "deep": {"list": [fields]}},
    )

    redacted = redact(event, TREATED)

    assert redacted.actor.attributes == after
    assert redacted.targets[0].attributes == after
    assert redacted.metadata == {**after, "deep": {"list": [after]}}
    assert checked(redacted) == redacted


def test_a_change_says_what_was_done_to_its_values() -> None:
    event = an_event(
        changes=[
            {"path": "salary", "old": None, "new": "5000"},
            {"path": "diagnosis", "old": True, "new": False},
            {"path": "note", "old": "a", "new": "b", "label": "Note"},
            {"path": "address", "old": {"note": "a", "city": "Oslo"}, "new": {"city": "Oslo"}},
            {"path": "plan", "old": "a", "new": "b"},
        ]
    )

    redacted = redact(event, TREATED)

    assert [structs.asdict(each) for each in redacted.changes] == [
        structs.asdict(each)
        for each in an_event(
            changes=[
                {"path": "salary", "old": None, "new": HASH, "redacted": "hashed"},
                {"path": "diagnosis", "old": MASK, "new": MASK, "redacted": "masked"},
                {"path": "note", "label": "Note", "redacted": "omitted"},
                {
                    "path": "address",
                    "old": {"city": "Oslo"},
                    "new": {"city": "Oslo"},
                    "redacted": "omitted",
                },
                {"path": "plan", "old": "a", "new": "b"},
            ]
        ).changes
    ]


def test_several_treatments_in_one_value_are_marked_as_masked() -> None:
    event = an_event(changes=[{"path": "all", "new": {"salary": 1, "note": "a"}}])

    [change] = redact(event, TREATED).changes

    assert change.redacted == "masked"


@pytest.mark.parametrize(
    ("rule", "hits"),
    [
        ("street", ["address.street", "/address/street", "street", "address[0].street"]),
        ("address.street", ["address.street", "/address/street", "address[0].street"]),
        ("customer.street", ["street"]),
        ("customer.address.street", ["address.street", "/address/street", "address[0].street"]),
        ("vendor.street", []),
        ("Street", []),
    ],
)
def test_a_rule_means_a_field_by_name_by_path_or_of_one_type(rule: str, hits: list[str]) -> None:
    paths = ["address.street", "/address/street", "street", "address[0].street", "streets"]
    event = an_event(
        targets=[{"type": "customer", "id": "1"}],
        changes=[{"path": path, "new": "Karl Johans gate 1"} for path in paths],
    )

    redacted = redact(event, Rules(fields={rule: "mask"}))

    assert [each.path for each in redacted.changes if each.new == MASK] == [
        path for path in paths if path in hits
    ]


def test_a_change_belongs_to_the_target_that_it_names() -> None:
    event = an_event(
        targets=[{"type": "customer", "id": "1"}, {"type": "vendor", "id": "2"}],
        changes=[{"path": "city", "new": "Oslo", "target": number} for number in (0, 1, 7)],
    )

    redacted = redact(event, Rules(fields={"vendor.city": "mask"}))

    assert [each.new for each in redacted.changes] == ["Oslo", MASK, "Oslo"]


def test_the_more_exact_rule_counts() -> None:
    rules = Rules(fields={"email": "mask", "vendor.email": "drop"})
    event = an_event(
        targets=[{"type": kind, "attributes": {"email": "a@b.c"}} for kind in ("vendor", "user")]
    )

    [vendor, user] = redact(event, rules).targets

    assert (vendor.attributes, user.attributes) == (UNSET, {"email": MASK})


def test_a_field_with_a_treatment_is_not_judged_by_its_name() -> None:
    rules = Rules(fields={"iban": "hash"}, hash_key=HASH_KEY)
    event = an_event(metadata={"iban": "NO93"}, changes=[{"path": "iban", "new": "NO93"}])

    redacted = redact(event, rules)

    assert redacted.metadata == {"iban": rules.hash("NO93")}
    assert redacted.changes[0].redacted == "hashed"
    # Nor by whoever redacts it once more and knows no rules, as a server does.
    assert redact(redacted) is redacted


def test_hashes_are_equal_for_equal_values_under_one_key_alone() -> None:
    other = Rules(hash_key=b"f" * 16)

    assert TREATED.hash({"a": 1, "b": [None]}) == TREATED.hash({"b": [None], "a": 1})
    assert len({TREATED.hash("1"), TREATED.hash(1), TREATED.hash("2"), other.hash("1")}) == 4


def test_a_hash_is_the_hmac_that_the_documentation_says() -> None:
    digest = hmac.new(HASH_KEY, b'whodid.hash.v1\n"5000"', "sha256").hexdigest()

    assert "hmac-sha256:" + digest == HASH


def test_without_a_key_nothing_is_let_through_unhashed() -> None:
    rules = Rules(fields={"salary": "hash"})

    assert rules.needs_hash_key
    with pytest.raises(ConfigError, match="WHODID_HASH_KEY"):
        redact(an_event(metadata={"salary": 1}), rules)


def test_a_value_that_cannot_be_hashed_is_masked() -> None:
    event = an_event(metadata={"salary": "\ud800"})

    assert redact(event, TREATED).metadata == {"salary": MASK}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"fields": {"a": "hide"}}, "expected drop, mask or hash"),
        ({"fields": {"": "mask"}}, "no name"),
        ({"fields": {"[0]": "mask"}}, "no name"),
        ({"hash_key": b"short"}, "at least 16"),
        ({"names": "loyalty_code"}, "expected a set"),
    ],
)
def test_rules_that_mean_nothing_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Rules(**given)


def test_rules_do_not_show_their_key() -> None:
    assert "0123456789" not in repr(TREATED)


FIELD_NAMES = st.sampled_from(
    ["a", "b", "role", "address.city", "items.price", "user.role", "invoice.a", "order", "é", "key"]
)


@given(
    events(),
    st.dictionaries(FIELD_NAMES, st.sampled_from(["drop", "mask", "hash"])),
)
def test_with_any_rules_events_stay_valid_and_are_done_after_once(
    event: Event, fields: dict[str, Any]
) -> None:
    rules = Rules(fields=fields, hash_key=HASH_KEY)

    redacted = redact(event, rules)

    assert checked(redacted) == redacted
    assert redact(redacted, rules) is redacted
    assert redact(redacted) is redacted


@given(
    st.recursive(
        st.none() | st.text(max_size=3),
        lambda inner: (
            st.dictionaries(st.sampled_from(["a", "hidden", "b.hidden", "c[0]"]), inner)
            | st.lists(inner)
        ),
    )
)
def test_no_value_of_a_treated_field_is_left_at_any_depth(value: Any) -> None:
    event = an_event(metadata={"top": value}, changes=[{"path": "x", "old": value, "new": value}])

    redacted = redact(event, Rules(fields={"hidden": "mask"}))

    for part in (redacted.metadata, redacted.changes[0].old, redacted.changes[0].new):
        assert set(values_under("hidden", part)) <= {MASK, None}


def values_under(name: str, value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key == name or key.endswith("." + name):
                yield item if isinstance(item, str | None) else "left"
            else:
                yield from values_under(name, item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from values_under(name, item)


def test_the_documentation_lists_every_name() -> None:
    page = (Path(__file__).parents[1] / "docs" / "reference" / "redaction.md").read_text()
    listed = page.split("```")[3].split()

    assert listed == sorted(SECRET_NAMES)
