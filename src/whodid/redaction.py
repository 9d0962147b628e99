"""Secrets out of events, before anything is stored or sent: one function for every way in.

`redact` masks by name (the value under `password`, `X-Api-Key`, `userToken` …) and by value (a
JWT, a private key, a card number … in whatever string it stands). A mask is total: nothing of the
secret is kept, no prefix, no last four digits, no digest. Idempotent, pure, linear in the input.

Names are compared word by word, without case: `apiKey`, `api-key`, `API_KEY` and `x.api_key` are
one name. A name is secret when it *ends* with the words of one of `SECRET_NAMES`, so
`new_password` is and `password_length`, `token_count`, `secret_santa` are not. `pin_code` is a
PIN; `pincode` in one word is how India writes a postal code, and is left alone.

Under a secret name `null`, true, false and empty values stay: "has no password" and "two factors
on" are what an audit is for. Numbers under a plural (`max_tokens`) are amounts and stay, too.

Ids (fields and keys whose last word is `id`) are not judged by their names, and digits alone are
an id there and no card number.

Not here: what a field means, how large an event may be (`recorder`).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import UNSET, Struct

from whodid.event import Change, Event, Json, Request

MASK = "[masked]"
WORD_MASK = "masked"  # where the schema allows no brackets: tags, types, reason codes
MAX_PATTERN_CHARS = 65_536

SECRET_NAMES: frozenset[str] = frozenset(
    """
    password passwd pwd passphrase password_hash password_digest passwd_hash pwd_hash
    secret secret_key secret_value secret_answer security_answer client_secret
    token jwt bearer access_key private_key api_key apikey encryption_key signing_key master_key
    shared_key account_key ssh_key session_key
    authorization cookie session csrf xsrf signature credential salt
    otp totp mfa pin pin_code cvv cvc cvv2 security_code
    recovery_code backup_code verification_code one_time_code auth_code authorization_code
    recovery_phrase seed_phrase mnemonic
    card_number credit_card iban ssn social_security_number
    webhook_url connection_string
    """.split()
)
"""Names whose values are never kept, in words joined by `_`. Add to it for your own fields:
`redact(event, names=SECRET_NAMES | {"loyalty_code"})`."""


def redact(event: Event, *, names: frozenset[str] = SECRET_NAMES) -> Event:
    """The event without its secrets; the same object when it holds none.

    A string longer than `MAX_PATTERN_CHARS` is left as it is: its event is over the limit that
    `recorder` holds, and is refused.
    """
    kinds = _kinds_in(event)
    if not kinds and not _has_secret_names(event, names):
        return event
    scrubbed: Event = _Scrubber(names, kinds=kinds).struct(event)
    return scrubbed


def redact_json(value: Json, *, names: frozenset[str] = SECRET_NAMES) -> Json:
    """Any JSON value without its secrets, by the same names and patterns, for what is no event.

    Strings longer than `MAX_PATTERN_CHARS` are cut there.
    """
    return _Scrubber(names, cut=True).json(value)


def redact_text(text: str) -> str:
    """One text without its secrets, cut at `MAX_PATTERN_CHARS`."""
    return _scrub(text[:MAX_PATTERN_CHARS], _TEXT)


def is_secret_name(name: str, *, names: frozenset[str] = SECRET_NAMES) -> bool:
    """Does a value under this name have to be masked?"""
    return _judge(name[-256:], names) is not None


# -- names ---------------------------------------------------------------------------------------

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+")
_SEPARATORS = re.compile(r"[./\[\]]+")
# Written as one word these can be told from harmless ones; `pin` or `salt` could not.
_RUN_TOGETHER = (
    "password", "passwd", "passphrase", "secret", "token", "apikey", "accesskey", "privatekey",
    "secretkey", "cookie", "credential", "signature", "authorization", "cardnumber", "pwd",
    "recoverycode", "webhookurl", "sessionkey", "passwordhash",
)  # fmt: skip


@lru_cache(maxsize=8192)
def _judge(name: str, names: frozenset[str]) -> str | None:
    """None for a harmless name, else `plural` or `single`."""
    segments = [part for part in _SEPARATORS.split(name) if part and not part.isdecimal()]
    if not segments:
        return None
    words = [word.casefold() for word in _WORD.findall(segments[-1])]
    while words and words[-1].isdecimal():  # password2
        words.pop()
    if not words:
        return None
    last = words[-1]
    for form, kind in ((last, "single"), (last[:-1] if last.endswith("s") else "", "plural")):
        if form and _ends_secret([*words[:-1], form], names):
            return kind
    return None


def _ends_secret(words: list[str], names: frozenset[str]) -> bool:
    if any("_".join(words[start:]) in names for start in range(max(0, len(words) - 4), len(words))):
        return True
    # Whole names in the set written in one word, e.g. `clientsecret`, `cardnumber`.
    return words[-1].endswith(_RUN_TOGETHER) and words[-1] != "passtoken"


@lru_cache(maxsize=8192)
def _names_id(name: str) -> bool:
    words = _WORD.findall(name)
    return bool(words) and words[-1].casefold() in ("id", "ids", "uid", "uuid")


def _is_kept(value: Json, kind: str) -> bool:
    """Does this value stay under a secret name?"""
    if value is None or value is True or value is False or value == MASK:
        return True
    if isinstance(value, int | float):
        return kind == "plural"
    return not value  # "", [], {}


# -- values --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Manner:
    """How strings of one kind are scrubbed.

    Attributes:
        mask: What is written instead of a secret.
        is_id: Digits alone are an id, and `session:4f2a` is a name, not a secret after its name.
    """

    mask: str = MASK
    is_id: bool = False


# Kinds of patterns. What the whole event cannot hold is not looked for in its strings.
_SHAPED, _PAIRED, _DIGITS = 1, 2, 4
_ALL_KINDS = _SHAPED | _PAIRED | _DIGITS

_TEXT = _Manner()
_ID = _Manner(is_id=True)
_WORDLIKE = _Manner(mask=WORD_MASK)
_MASKS = frozenset({MASK, WORD_MASK})

# Every alternative consumes the run that it looked at, or is bounded, so that no text is scanned
# twice; what needs judging (is this a JWT, does it pass Luhn) is judged on the match.
_SHAPES = re.compile(
    r"""
    (?P<jwt> eyJ[A-Za-z0-9_-]*+ (?:\.[A-Za-z0-9_-]*+)* )
  | (?P<pem> -----BEGIN[ ][A-Z0-9 ]{0,40}PRIVATE[ ]KEY(?:[ ]BLOCK)?-----
      (?: (?s:.*?)-----END[ A-Z0-9]{0,60}----- | (?s:.*) ) )
  | (?P<pem64> LS0tLS1CRUdJTi(?:BQUklWQVRF|BSU0Eg|BFQyBQ|BPUEVOU1NI|BFTkNSWVBU|BEU0Eg)
      [A-Za-z0-9+/=\\\s]*+ )
  | :// (?P<userinfo> [^\s/?\#"'<>]{0,1024} ) @
  | (?P<fixed>
        (?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Za-z0-9])
      | (?:IQoJb3JpZ2lu|FwoGZXIvYXdz|FQoGZXIvYXdz)[A-Za-z0-9+/=%]{20,}
      | AIza[A-Za-z0-9_-]{35}
      | ya29\.[A-Za-z0-9_-]{20,}
      | GOCSPX-[A-Za-z0-9_-]{20,}
      | (?:sk|rk)_(?:live|test)_[A-Za-z0-9]{10,}
      | whsec_[A-Za-z0-9+/=]{16,}
      | gh[pousr]_[A-Za-z0-9]{20,}
      | github_pat_[A-Za-z0-9_]{20,}
      | glpat-[A-Za-z0-9_-]{16,}
      | xox[abeoprs]-[A-Za-z0-9-]{10,}
      | xapp-[A-Za-z0-9-]{10,}
      | (?<=hooks\.slack\.com/)(?:services|workflows)/[A-Za-z0-9/_-]{10,}
      | npm_[A-Za-z0-9]{30,}
      | pypi-AgE[A-Za-z0-9_-]{30,}
      | SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}
      | whodid_[a-z0-9]{4,32}_[A-Za-z0-9_-]{20,} )
  | (?<![A-Za-z0-9]) (?P<random> sk-[A-Za-z0-9_-]{20,} )
  | (?<![A-Za-z0-9_]) (?P<scheme> [Bb]earer | BEARER | [Bb]asic | BASIC | [Tt]oken | [Aa]pi[Kk]ey )
      (?P<gap> (?:[ \t]|%20){1,4} ) (?P<given> [A-Za-z0-9._~+/=|-]{6,} )
    """,
    re.VERBOSE,
)
_CARD = re.compile(
    r"(?<![0-9A-Za-z+])(?<![0-9][ .-])[2-6](?:[ -]?[0-9]){12,18}(?![ .-]?[0-9])(?!-?[A-Za-z])"
)
_PAIR = re.compile(
    r"""
    (?<![A-Za-z0-9_.$:/-]) (?P<name> [A-Za-z_$][A-Za-z0-9_.$-]{0,63} )
    (?P<join> \\{0,3}["']? (?:%22)? [ \t]{0,2} (?: =(?!=) | : | %3[Dd] | %3[Aa] ) [ \t]{0,2} )
    (?: (?P<open> \\{1,3}["'] ) (?P<escaped> (?:[^\\"'] | \\++(?!["']))*+ )
      | " (?P<double> (?:[^"\\] | \\.)*+ )
      | ' (?P<single> (?:[^'\\] | \\.)*+ )
      | (?P<bare> [^\s&;"'<>]++ ) )
    """,
    re.VERBOSE | re.DOTALL,
)
_INERT = frozenset({"", "true", "false", "null", "none", "undefined", *_MASKS})


def _scrub(text: str, manner: _Manner, kinds: int = _ALL_KINDS) -> str:
    """The text without secrets; the same object when there are none."""
    if not kinds or len(text) < 5 or len(text) > MAX_PATTERN_CHARS:
        return text
    for _ in range(8):
        scrubbed = _scrub_once(text, manner, kinds)
        if scrubbed == text:
            return text
        text = scrubbed  # a mask is a new neighbour: what is beside it is looked at again
    return manner.mask


def _scrub_once(text: str, manner: _Manner, kinds: int) -> str:
    mask = manner.mask
    if kinds & _SHAPED:
        text = _SHAPES.sub(lambda found: _mask_shape(found, mask), text)
    if kinds & _PAIRED and ("=" in text or ":" in text or "%3" in text):
        text = _PAIR.sub(lambda found: _mask_pair(found, manner), text)
    if kinds & _DIGITS and len(text) >= 13 and mask == MASK:
        text = _CARD.sub(lambda found: _mask_card(found, text, manner), text)
    return text


def _mask_shape(found: re.Match[str], mask: str) -> str:
    whole, kind = found[0], found.lastgroup
    if kind == "jwt":
        parts = whole.split(".")
        is_token = len(parts[0]) >= 12 and (len(parts) > 1 and len(parts[1]) >= 4)
        return mask if is_token else whole
    if kind == "userinfo":
        return f"://{mask}@" if ":" in found["userinfo"] else whole
    if kind == "random":
        return mask if any(char.isdigit() for char in whole) else whole
    if kind == "given":
        is_credential = (
            _is_basic(found["given"])
            if found["scheme"].lower() == "basic"
            else _looks_random(found["given"])
        )
        return found["scheme"] + found["gap"] + mask if is_credential else whole
    return mask


def _is_basic(given: str) -> bool:
    """Is this `user:password` in base64?"""
    try:
        return b":" in base64.b64decode(given + "=" * (-len(given) % 4), validate=True)
    except (binascii.Error, ValueError):
        return False


def _looks_random(value: str) -> bool:
    """Is this more likely a secret than a word of a sentence?"""
    if len(value) < 6:
        return False
    stripped = value.rstrip(".,;:!?")
    has_digit = any(char.isdigit() for char in stripped)
    has_inner_capital = stripped != stripped.lower() and stripped[1:] != stripped[1:].lower()
    is_shouted = stripped.isupper() and stripped.isalpha()
    return has_digit or (has_inner_capital and not is_shouted) or len(stripped) >= 32


def _mask_pair(found: re.Match[str], manner: _Manner) -> str:
    whole = found[0]
    if not is_secret_name(found["name"]):
        return whole
    start = found["name"] + found["join"]
    if found["escaped"] is not None:
        return whole if found["escaped"] in _INERT else start + found["open"] + manner.mask
    for group, quote in (("double", '"'), ("single", "'")):
        if found[group] is not None:
            return whole if found[group] in _INERT else start + quote + manner.mask
    bare = found["bare"]
    if bare.casefold() in _INERT:
        return whole
    is_assignment = "=" in found["join"] or "%3" in found["join"].lower()
    if is_assignment or not manner.is_id and _looks_random(bare):
        return start + manner.mask
    return whole


def _mask_card(found: re.Match[str], text: str, manner: _Manner) -> str:
    digits = found[0].replace(" ", "").replace("-", "")
    if manner.is_id and digits == text or not _is_card(digits):
        return found[0]
    return manner.mask


def _is_card(digits: str) -> bool:
    """Does a network give out such numbers, and is the check digit right?"""
    size, two, four = len(digits), int(digits[:2]), int(digits[:4])
    if digits[0] == "4":
        known = size in (13, 16, 19)
    elif two in (34, 37):
        known = size == 15
    elif two in (36, 38, 39) or 300 <= four // 10 <= 305:
        known = 14 <= size <= 19
    elif 51 <= two <= 55 or 2221 <= four <= 2720:
        known = size == 16
    else:
        known = size >= 16 and (two in (35, 62, 64, 65, 60, 50, 56, 57, 58, 63, 67))
    return known and _passes_luhn(digits)


_DOUBLED = str.maketrans("0123456789", "0246813579")


def _passes_luhn(digits: str) -> bool:
    plain, doubled = digits[-1::-2], digits[-2::-2].translate(_DOUBLED)
    return sum(map(int, plain)) % 10 == -sum(map(int, doubled)) % 10


def _scrub_url(url: str, kinds: int) -> str:
    """The address with the names of its parameters and without their values."""
    head, mark, rest = url, "", ""
    for char in "?#":
        before, found, after = url.partition(char)
        if found and len(before) < len(head):
            head, mark, rest = before, found, after
    scrubbed = _scrub(head, _TEXT, kinds)
    if not mark:
        return scrubbed
    return scrubbed + mark + re.sub(r"[^&;#?]+", _mask_parameter, rest)


_PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_.\[\]-]{0,31}")


def _mask_parameter(found: re.Match[str]) -> str:
    name, equals, value = found[0].partition("=")
    if not _PARAMETER.fullmatch(name) or _scrub(name, _TEXT) != name:
        name = MASK  # a token in the place of a name
    return f"{name}={MASK if value else ''}" if equals else name


# -- events --------------------------------------------------------------------------------------


def _kinds_in(event: Event) -> int:
    """Which kinds of patterns can match in the event: a superset, found in its bytes at once.

    Regular expressions cost ten times as much per byte as `translate` and `in`. So the bytes are
    thinned out to the few characters that tell one beginning from another, and searched for what
    is left of the beginnings: a thinned hint is in the thinned bytes wherever the hint was in the
    bytes.
    """
    try:
        data = _encode(event)
    except (UnicodeEncodeError, TypeError):
        return _ALL_KINDS
    if b"\\" in data or b"%" in data:  # escapes hide neighbours
        return _ALL_KINDS
    kinds = _SHAPED if _has_start(data) else 0
    if b"=" in data or _has_inner_colon(event, data):
        kinds |= _PAIRED
    if b"0000000000000" in data.translate(_DIGITS_ALIKE, b" -"):
        # Masks of other kinds make new neighbours; without them the pattern itself can be asked.
        kinds |= _DIGITS if kinds or _CARD_IN_BYTES.search(data) else 0
    return kinds


def _has_start(data: bytes) -> bool:
    """Does something in the bytes begin like a secret?"""
    if _CAPITAL_HINT.search(data.translate(None, _NOT_CAPITAL)) or _OTHER_HINT.search(
        data.translate(None, _NOT_TELLING)
    ):
        for start in _STARTS:
            if start in data:
                return True
    return b"@" in data and _USERINFO_HINT.search(data) is not None


def _has_inner_colon(event: Event, data: bytes) -> bool:
    """Is a colon inside a string, other than before `//` or in the address of the client?"""
    marks = data.translate(None, _NOT_STRUCTURE).replace(b'"":', b"")
    colons = marks.count(b":") - marks.count(b"://")
    if colons and event.client and event.client.ip:
        colons -= event.client.ip.count(":")
    return colons > 0


# Times are not looked at: they hold colons, and nothing else.
_encode = msgspec.json.Encoder(enc_hook=lambda value: None).encode
_ANY = bytes(range(256))
_NOT_CAPITAL = _ANY.translate(None, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_NOT_TELLING = _ANY.translate(None, b"BKTbghkmnpvwxy_-. ")
_NOT_STRUCTURE = _ANY.translate(None, b'":,{}[]/')
_DIGITS_ALIKE = bytes.maketrans(b"123456789", b"000000000")
_CARD_IN_BYTES = re.compile(_CARD.pattern.encode())
_USERINFO_HINT = re.compile(rb'://[^"@]*@')
_CAPITAL_STARTS = (
    b"eyJ", b"-----BEGIN", b"LS0tLS1", b"AKIA", b"ASIA", b"ABIA", b"ACCA", b"Jb3JpZ2lu",
    b"oGZXIvYXdz", b"AIza", b"GOCSPX", b"SG.", b"BEARER ", b"BASIC ",
)  # fmt: skip
_OTHER_STARTS = (
    b"ya29.", b"sk_", b"rk_", b"whsec_", b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_",
    b"github_pat_", b"glpat-", b"xoxa-", b"xoxb-", b"xoxe-", b"xoxo-", b"xoxp-", b"xoxr-",
    b"xoxs-", b"xapp-", b"hooks.slack.com", b"npm_", b"pypi-", b"whodid_", b"sk-", b"bearer ",
    b"basic ", b"token ", b"pikey ", b"Bearer ", b"Basic ", b"Token ", b"piKey ",
)  # fmt: skip
_STARTS = _CAPITAL_STARTS + _OTHER_STARTS


def _thinned(starts: tuple[bytes, ...], delete: bytes) -> re.Pattern[bytes]:
    hints = {start.translate(None, delete) for start in starts}
    return re.compile(b"|".join(re.escape(hint) for hint in sorted(hints)))


_CAPITAL_HINT = _thinned(_CAPITAL_STARTS, _NOT_CAPITAL)
_OTHER_HINT = _thinned(_OTHER_STARTS, _NOT_TELLING)


def _has_secret_names(event: Event, names: frozenset[str]) -> bool:
    """Is a value named like a secret, or a parameter of the request?"""
    if event.metadata and _names_secret(event.metadata, names):
        return True
    if event.actor.attributes and _names_secret(event.actor.attributes, names):
        return True
    for target in event.targets:
        if target.attributes and _names_secret(target.attributes, names):
            return True
    for change in event.changes:
        if _judge(change.path, names):
            return True
        for value in (change.old, change.new):
            if isinstance(value, _NESTED) and _names_secret(value, names):
                return True
    url = event.request.url if event.request else UNSET
    return isinstance(url, str) and ("?" in url or "#" in url)


def _names_secret(value: Json, names: frozenset[str]) -> bool:
    if isinstance(value, dict):
        for key, item in value.items():
            if _judge(key[-256:], names):
                return True
            if isinstance(item, _NESTED) and _names_secret(item, names):
                return True
        return False
    return any(isinstance(item, _NESTED) and _names_secret(item, names) for item in value)


_NESTED = (dict, list, tuple)


@dataclass(frozen=True, slots=True)
class _Field:
    """One key of a struct: how its strings are scrubbed, and how long they may be.

    Attributes:
        names_pattern: Its keys are metadata keys, which brackets may not stand in.
    """

    name: str
    manner: _Manner
    limit: int
    form: str  # text, json, url, key


class _Scrubber:
    """One walk over an event or a JSON value. Gives back the same objects where nothing changes."""

    __slots__ = ("_cut", "_kinds", "_names")

    def __init__(
        self, names: frozenset[str], *, kinds: int = _ALL_KINDS, cut: bool = False
    ) -> None:
        self._names, self._kinds, self._cut = names, kinds, cut

    def struct(self, part: Any) -> Any:
        """The same kind of part, scrubbed."""
        changed: dict[str, Any] = {}
        for field in _fields(type(part)):
            value = getattr(part, field.name)
            if value is UNSET or value == ():
                continue
            scrubbed = self._field(field, value)
            if scrubbed is not value:
                changed[field.name] = scrubbed
        if isinstance(part, Change):
            changed |= self._change(part, changed)
        return msgspec.structs.replace(part, **changed) if changed else part

    def _field(self, field: _Field, value: Any) -> Any:
        if isinstance(value, str) and field.form != "json":
            return self._text(field, value)
        if isinstance(value, Struct):
            return self.struct(value)
        if field.form == "json":
            return self.json(value, _TEXT, word_keys=field.name == "metadata")
        if isinstance(value, tuple):
            items = [
                self._text(field, item) if isinstance(item, str) else self.struct(item)
                for item in value
            ]
            if all(map(_is_same, items, value)):
                return value
            return tuple(dict.fromkeys(items) if field.name in _SETS else items)
        return value

    def _text(self, field: _Field, text: str) -> str:
        if field.form == "url":
            return _fit_url(_scrub_url(text, self._kinds), text, field.limit)
        scrubbed = _scrub(text, field.manner, self._kinds)
        if scrubbed is text:
            return text
        if field.form == "key":
            # To a digest, since two keys must stay two.
            digest = hashlib.sha256(b"whodid.key.v1\n" + text.encode("utf-8", "replace"))
            return "masked-" + digest.hexdigest()[:32]
        # A mask is longer than a short secret: without room for it the whole text goes.
        return scrubbed if len(scrubbed) <= field.limit else field.manner.mask

    def _change(self, change: Change, scrubbed: dict[str, Any]) -> dict[str, Any]:
        marks: dict[str, Any] = {}
        kind = _judge(change.path, self._names)
        for side in ("old", "new"):
            value = getattr(change, side)
            if value is not UNSET and kind and not _is_kept(value, kind):
                marks[side] = MASK
        if (marks or "old" in scrubbed or "new" in scrubbed) and change.redacted != "masked":
            marks["redacted"] = "masked"
        return marks

    def json(self, value: Json, manner: _Manner = _TEXT, *, word_keys: bool = False) -> Json:
        """A JSON value, scrubbed by the names in it and by the shapes of its strings."""
        if isinstance(value, str):
            if self._cut:
                value = value[:MAX_PATTERN_CHARS]
            return _scrub(value, manner, self._kinds)
        if value is None or isinstance(value, bool | float):
            return value
        if isinstance(value, int):
            is_card = value > 10**12 and not manner.is_id and _CARD.fullmatch(str(value))
            return MASK if is_card and _is_card(str(value)) else value
        if isinstance(value, dict):
            return self._object(value, word_keys=word_keys)
        if isinstance(value, list | tuple):
            items = [self.json(item, manner) for item in value]
            return value if all(map(_is_same, items, value)) else items
        return value  # no JSON: refused when it is encoded

    def _object(self, value: dict[str, Json], *, word_keys: bool) -> dict[str, Json]:
        scrubbed: dict[str, Json] = {}
        is_changed = False
        for key, item in value.items():
            name = _scrub(key, _WORDLIKE if word_keys else _TEXT, self._kinds)
            while name in scrubbed:
                name += "_"
            kind = _judge(key[-256:], self._names)
            if kind:
                new = item if _is_kept(item, kind) else MASK
            else:
                new = self.json(item, _ID if _names_id(key) else _TEXT)
            is_changed = is_changed or new is not item or name != key
            scrubbed[name] = new
        return scrubbed if is_changed else value


_SETS = frozenset({"tags", "data_classes"})  # each item once


def _is_same(new: object, old: object) -> bool:
    return new is old


def _fit_url(scrubbed: str, url: str, limit: int) -> str:
    if scrubbed == url:
        return url
    if len(scrubbed) > limit:
        scrubbed = re.split(r"[?#]", scrubbed, maxsplit=1)[0] + "?" + MASK
    return scrubbed if len(scrubbed) <= limit else MASK


@lru_cache(maxsize=64)
def _fields(kind: Hashable) -> tuple[_Field, ...]:
    """The keys of a struct that can hold text, read from the schema, so that none is forgotten."""
    info = msgspec.inspect.type_info(kind)
    if not isinstance(info, msgspec.inspect.StructType):
        raise AssertionError(f"{kind} is no struct")
    fields = []
    for field in info.fields:
        options: tuple[msgspec.inspect.Type, ...] = (field.type,)
        if isinstance(field.type, msgspec.inspect.UnionType):
            options = field.type.types
        text = next((option for option in options if isinstance(option, _TEXT_TYPES)), None)
        if text is not None:
            fields.append(_plan(kind, field.name, text))
    return tuple(fields)


_TEXT_TYPES = (
    msgspec.inspect.StrType,
    msgspec.inspect.StructType,
    msgspec.inspect.VarTupleType,
    msgspec.inspect.DictType,
    msgspec.inspect.AnyType,
)


def _plan(kind: Hashable, name: str, text: msgspec.inspect.Type) -> _Field:
    item = text.item_type if isinstance(text, msgspec.inspect.VarTupleType) else text
    manner, limit, form = _ID if _names_id(name) else _TEXT, MAX_PATTERN_CHARS, "text"
    if isinstance(item, msgspec.inspect.StrType):
        limit = item.max_length or limit
        manner = _WORDLIKE if item.pattern else manner
    if isinstance(text, msgspec.inspect.DictType | msgspec.inspect.AnyType):
        form = "json"
    elif kind is Request and name == "url":
        form = "url"
    elif name == "idempotency_key":
        manner, form = _ID, "key"
    return _Field(name, manner, limit, form)
