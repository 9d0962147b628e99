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

What is secret in one application alone is said in `Rules`: more names, and for single fields
whether they are dropped, masked or hashed. A hash is keyed, so that who reads the log can ask
whether two values are equal, and can't find the value by trying.

Not here: what a field means, how large an event may be (`recorder`), where the key for hashes is
kept (`hash_key`).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from dataclasses import field as made_field
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, get_args

import msgspec
from msgspec import UNSET, Struct

from whodid.errors import ConfigError
from whodid.event import Change, Event, Json, Request

MASK = "[masked]"
WORD_MASK = "masked"  # where the schema allows no brackets: tags, types, reason codes
MAX_PATTERN_CHARS = 65_536

SECRET_NAMES: frozenset[str] = frozenset(
    """
    password passwd pwd passphrase password_hash password_digest passwd_hash pwd_hash
    password_hint
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
"""Names whose values are never kept, in words joined by `_`. Add your own with `Rules.names`."""

Treatment: TypeAlias = Literal["drop", "mask", "hash"]
HASH_MARK = "hmac-sha256:"
MIN_HASH_KEY_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What is secret in one application, beside what is secret everywhere.

    Attributes:
        names: Names whose values are masked wherever they stand; in any spelling.
        fields: What becomes of single fields, whatever they hold but null: `{"salary": "hash"}`
            means every field of that name, `{"employee.salary": …}` only that of targets (or
            actors) of this type, `{"address.street": …}` one inside another. They are looked for
            in changes by path, in metadata and attributes by key, and inside their values. A field
            that has a treatment is not judged by its name.
        hash_key: For `hash`, at least 16 bytes.

    Raises:
        ConfigError: There is no such treatment, a field without a name, or the key is too short.
    """

    names: frozenset[str] = SECRET_NAMES
    fields: Mapping[str, Treatment] = made_field(default_factory=dict)
    hash_key: bytes | None = made_field(default=None, repr=False)
    _treatments: Mapping[tuple[str, ...], Treatment] = made_field(
        init=False, repr=False, compare=False
    )
    _last_steps: frozenset[str] = made_field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        given: object = self.names
        if isinstance(given, str):  # it would be taken for a set of letters
            raise ConfigError("names to redact: expected a set of names, got one text")
        treatments = {_steps(path): treatment for path, treatment in self.fields.items()}
        if () in treatments:
            raise ConfigError(
                "a field to redact has no name; write it as salary or employee.salary"
            )
        for path, treatment in self.fields.items():
            if treatment not in get_args(Treatment):
                raise ConfigError(f"the field {path} to redact: expected drop, mask or hash")
        if self.hash_key is not None and len(self.hash_key) < MIN_HASH_KEY_BYTES:
            raise ConfigError(
                f"the key for hashes has {len(self.hash_key)} bytes, at least {MIN_HASH_KEY_BYTES} "
                "are needed; make one with python -c 'import secrets; print(secrets.token_hex())'"
            )
        for name, value in (
            ("names", frozenset(self.names) | _own_names(self.names)),
            ("fields", MappingProxyType(dict(self.fields))),
            ("_treatments", treatments),
            ("_last_steps", frozenset(steps[-1] for steps in treatments)),
        ):
            object.__setattr__(self, name, value)

    @property
    def needs_hash_key(self) -> bool:
        """Is a field to be hashed, and no key given?"""
        return self.hash_key is None and "hash" in self.fields.values()

    def hash(self, value: Json) -> str:
        """What is stored in place of a value: equal for equal values under one key.

        Raises:
            ConfigError: There is no key.
        """
        if self.hash_key is None:
            raise ConfigError("a field is to be hashed, but there is no key; set WHODID_HASH_KEY")
        data = b"whodid.hash.v1\n" + _write_sorted(value)
        return HASH_MARK + hmac.digest(self.hash_key, data, "sha256").hex()

    def find_treatment(self, kind: str, path: tuple[str, ...]) -> Treatment | None:
        """What becomes of a field: the most exact rule counts.

        Args:
            kind: Type of the target or actor that has it, "" where there is none.
        """
        if not path or path[-1] not in self._last_steps:
            return None
        rules = self._treatments
        return rules.get((*kind.split("."), *path)) or rules.get(path) or rules.get((path[-1],))


def redact(event: Event, rules: Rules | None = None) -> Event:
    """The event without its secrets; the same object when it holds none.

    A string longer than `MAX_PATTERN_CHARS` is left as it is: its event is over the limit that
    `recorder` holds, and is refused.

    Raises:
        ConfigError: A field is to be hashed, and there is no key.
    """
    rules = rules or DEFAULT
    if rules.fields:
        event = _treated(event, rules)
    names = rules.names
    patterns = _patterns_for(event, names)
    if patterns is None and not _has_secret_names(event, names):
        return event
    scrubbed: Event = _Scrubber(patterns or _nothing(names)).struct(event)
    return scrubbed


def redact_json(value: Json, *, names: frozenset[str] = SECRET_NAMES) -> Json:
    """Any JSON value without its secrets, by the same names and patterns, for what is no event.

    Strings longer than `MAX_PATTERN_CHARS` are cut there.
    """
    return _Scrubber(_Patterns(names=names), cut=True).json(value)


def redact_text(text: str) -> str:
    """One text without its secrets, cut at `MAX_PATTERN_CHARS`."""
    return _EVERYTHING.scrub(text[:MAX_PATTERN_CHARS], _TEXT)


def is_secret_name(name: str, *, names: frozenset[str] = SECRET_NAMES) -> bool:
    """Does a value under this name have to be masked?"""
    return _judge(name[-256:], names) is not None


# -- names ---------------------------------------------------------------------------------------

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+")
_SEPARATORS = re.compile(r"[./\[\]]+")


def _steps(path: str) -> tuple[str, ...]:
    """`address.street` of `/address/street` and `address[0].street` alike."""
    return tuple(part for part in _SEPARATORS.split(path) if part and not part.isdecimal())


def _own_names(names: Iterable[str]) -> frozenset[str]:
    """Names that were added, spelled as they are compared: `loyaltyCode` as `loyalty_code`."""
    return frozenset(
        "_".join(word.casefold() for word in _WORD.findall(name)).rstrip("_0123456789")
        for name in frozenset(names) - SECRET_NAMES
    ) - {""}


# Written as one word these can be told from harmless ones; `pin` or `salt` could not.
_RUN_TOGETHER = (
    "password", "passwd", "passphrase", "secret", "token", "apikey", "accesskey", "privatekey",
    "secretkey", "cookie", "credential", "signature", "authorization", "cardnumber", "pwd",
    "recoverycode", "webhookurl", "sessionkey", "passwordhash",
)  # fmt: skip


@lru_cache(maxsize=8192)
def _judge(name: str, names: frozenset[str]) -> str | None:
    """None for a harmless name, else `plural` or `single`."""
    segments = _steps(name)
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
    if isinstance(value, str) and _is_hash(value):
        return True
    if isinstance(value, int | float):
        return kind == "plural"
    return not value  # "", [], {}


_HASH = re.compile(re.escape(HASH_MARK) + "[0-9a-f]{64}")
_write_sorted = msgspec.json.Encoder(order="sorted").encode


def _is_hash(value: Json) -> bool:
    return isinstance(value, str) and value.startswith(HASH_MARK) and bool(_HASH.fullmatch(value))


DEFAULT = Rules()


# -- single fields -------------------------------------------------------------------------------


def _treated(event: Event, rules: Rules) -> Event:
    """The event with what the rules say of single fields."""
    changed: dict[str, Any] = {}
    changes = [_treated_change(change, event, rules) for change in event.changes]
    if not all(map(_is_same, changes, event.changes)):
        changed["changes"] = tuple(changes)
    targets = [_with_treated_attributes(target, rules) for target in event.targets]
    if not all(map(_is_same, targets, event.targets)):
        changed["targets"] = tuple(targets)
    actor = _with_treated_attributes(event.actor, rules)
    if actor is not event.actor:
        changed["actor"] = actor
    if event.metadata:
        metadata = _Treating(rules, "").json(event.metadata, ())
        if metadata is not event.metadata:
            changed["metadata"] = metadata
    return msgspec.structs.replace(event, **changed) if changed else event


# `Any`: targets and actors have type and attributes, and share no class.
def _with_treated_attributes(part: Any, rules: Rules) -> Any:
    if not part.attributes:
        return part
    attributes = _Treating(rules, part.type).json(part.attributes, ())
    if attributes is part.attributes:
        return part
    return msgspec.structs.replace(part, attributes=attributes)


def _treated_change(change: Change, event: Event, rules: Rules) -> Change:
    is_there = change.target < len(event.targets)
    treating = _Treating(rules, event.targets[change.target].type if is_there else "")
    changed: dict[str, Any] = {}
    for side in ("old", "new"):
        value = getattr(change, side)
        if value is not UNSET:
            treated = treating.field(value, _steps(change.path))
            if treated is not value:
                changed[side] = treated
    if not changed:
        return change
    # Several treatments inside one value: the mark says what is true of all of them.
    [mark, *others] = treating.marks
    changed["redacted"] = "masked" if others else mark
    return msgspec.structs.replace(change, **changed)


_MARKS: Mapping[Treatment, str] = {"drop": "omitted", "mask": "masked", "hash": "hashed"}


class _Treating:
    """One walk over what belongs to a target or an actor; notes what it did.

    Gives back the same objects where nothing changes, and UNSET for what is dropped.
    """

    __slots__ = ("_kind", "_rules", "marks")

    def __init__(self, rules: Rules, kind: str) -> None:
        self._rules, self._kind = rules, kind
        self.marks: set[str] = set()

    def field(self, value: Json, path: tuple[str, ...]) -> Json:
        """The value of one field."""
        treatment = self._rules.find_treatment(self._kind, path)
        if treatment is None:
            return self.json(value, path)
        treated = self._treat(value, treatment)
        if treated is not value:
            self.marks.add(_MARKS[treatment])
        return treated

    def json(self, value: Json, path: tuple[str, ...]) -> Json:
        """What is inside a value: the items of a list are fields of the same name."""
        if isinstance(value, dict):
            items = {key: self.field(item, (*path, *_steps(key))) for key, item in value.items()}
            if all(map(_is_same, items.values(), value.values())):
                return value
            return {key: item for key, item in items.items() if item is not UNSET}
        if isinstance(value, list | tuple):
            listed = [self.json(item, path) for item in value]
            return value if all(map(_is_same, listed, value)) else listed
        return value

    def _treat(self, value: Json, treatment: Treatment) -> Json:
        if treatment == "drop":
            return UNSET
        if value is None or value == MASK:  # null says that there is none
            return value
        if treatment == "mask":
            return MASK
        if _is_hash(value):
            return value
        try:
            return self._rules.hash(value)
        except (TypeError, UnicodeEncodeError, RecursionError):
            return MASK  # no JSON: its event is refused when it is encoded


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
      | whodid_[a-z0-9]{1,32}_[A-Za-z0-9_-]{20,} )
  | (?<![A-Za-z0-9]) (?P<random> sk-[A-Za-z0-9_-]{20,} )
  | (?<![A-Za-z0-9_]) (?P<scheme> [Bb]earer | BEARER | [Bb]asic | BASIC | [Tt]oken | [Aa]pi[Kk]ey )
      (?P<gap> (?:[ \t]|%20){1,4} ) (?P<given> [A-Za-z0-9._~+/=|-]{6,} )
    """,
    re.VERBOSE,
)
_CARD = re.compile(
    r"(?<![0-9A-Za-z+])(?<![0-9][ .-])[2-6](?:[ -]?[0-9]){12,18}(?![ .-]?[0-9])(?!-?[A-Za-z])"
)
# A name and what joins it to its value; the value is read apart, and only if the name is secret, so
# that `error:password=x` is not passed over as the value of `error`.
_NAME = re.compile(
    r"""
    (?<![A-Za-z0-9_.$]) (?P<name> [A-Za-z_$][A-Za-z0-9_.$-]{0,127} )
    (?P<join> \\{0,3}["']? (?:%22)? [ \t]{0,2} (?: =(?!=) | : | %3[Dd] | %3[Aa] ) [ \t]{0,2} )
    """,
    re.VERBOSE,
)
_VALUE = re.compile(
    r"""
    (?P<open> \\{1,3}["'] ) (?P<escaped> (?:[^\\"'] | \\++(?!["']))*+ )
  | (?P<quote> " ) (?P<double> (?:[^"\\] | \\.)*+ )
  | (?P<mark> ' ) (?P<single> (?:[^'\\] | \\.)*+ )
  | (?P<bare> [^\s&;"'<>]++ )
    """,
    re.VERBOSE | re.DOTALL,
)
_ID_PAIR = re.compile(r"""[="']|: """)
_INERT = frozenset({"", "true", "false", "null", "none", "undefined", *_MASKS})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Patterns:
    """What to look for in strings.

    Attributes:
        names: Secret names, for `name=value` inside a text.
        starts: Only texts that hold one of these can hold a secret of a known shape; None if that
            is not known, () if no text does.
        has_pairs: Some text may hold `name=value` or `name: value`.
        has_digits: Some text may hold a card number.
    """

    names: frozenset[str] = SECRET_NAMES
    starts: tuple[str, ...] | None = None
    has_pairs: bool = True
    has_digits: bool = True

    def scrub(self, text: str, manner: _Manner) -> str:
        """The text without secrets; the same object when there are none."""
        if not 5 <= len(text) <= MAX_PATTERN_CHARS or not self._may_match(text, manner):
            return text
        for _ in range(8):
            scrubbed = self._scrub_once(text, manner)
            if scrubbed == text:
                return text
            text = scrubbed  # a mask is a new neighbour: what is beside it is looked at again
        return manner.mask

    def _may_match(self, text: str, manner: _Manner) -> bool:
        if self.starts is None or self.has_digits and len(text) >= 13:
            return True
        if self.starts and _holds_any(text, self.starts):
            return True
        if not self.has_pairs or ":" not in text and "=" not in text:
            return False
        # Of `a:b` in an id nothing is masked, so most ids need not cost what a text costs.
        return not manner.is_id or _ID_PAIR.search(text) is not None

    def _scrub_once(self, text: str, manner: _Manner) -> str:
        if self.starts is None or self.starts and _holds_any(text, self.starts):
            text = _SHAPES.sub(lambda found: _mask_shape(found, manner.mask), text)
        if self.has_pairs:
            text = self._mask_pairs(text, manner)
        if self.has_digits and len(text) >= 13 and manner is not _WORDLIKE:
            text = _CARD.sub(lambda found: _mask_card(found, text, manner), text)
        return text

    def _mask_pairs(self, text: str, manner: _Manner) -> str:
        pieces: list[str] = []
        done = position = 0
        while found := _NAME.search(text, position):
            position = found.end()
            if not _judge(found["name"], self.names):
                continue
            value = _VALUE.match(text, position)
            if value and _is_secret_value(found, value, manner):
                opening = value["open"] or value["quote"] or value["mark"] or ""
                pieces += (text[done:position], opening, manner.mask)
                done = position = value.end()
        return "".join([*pieces, text[done:]]) if pieces else text


def _holds_any(text: str, starts: tuple[str, ...]) -> bool:
    return any(start in text for start in starts)


def _is_secret_value(found: re.Match[str], value: re.Match[str], manner: _Manner) -> bool:
    """Is this the value of a secret name in a text, or the next word of a sentence?"""
    quoted = value["escaped"] or value["double"] or value["single"]
    if quoted:
        return quoted.casefold() not in _INERT
    bare = value["bare"]
    if not bare or bare.casefold() in _INERT:
        return False
    join = found["join"]
    if "=" in join or "%3d" in join.lower():
        return True
    # `arn:aws:…:secret:name` and the id `session:4f2a` are names.
    before = found.string[found.start() - 1 : found.start()]
    is_named = before in (":", "/") or manner.is_id and not join.endswith((" ", "\t"))
    return not is_named and _looks_random(bare)


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


def _scrub_url(url: str, patterns: _Patterns) -> str:
    """The address with the names of its parameters and without their values."""
    head, mark, rest = url, "", ""
    for char in "?#":
        before, found, after = url.partition(char)
        if found and len(before) < len(head):
            head, mark, rest = before, found, after
    scrubbed = patterns.scrub(head, _TEXT)
    if not mark:
        return scrubbed
    return scrubbed + mark + re.sub(r"[^&;#?]+", _mask_parameter, rest)


_PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_.\[\]-]{0,31}")


def _mask_parameter(found: re.Match[str]) -> str:
    name, equals, value = found[0].partition("=")
    if not _PARAMETER.fullmatch(name) or _EVERYTHING.scrub(name, _TEXT) != name:
        name = MASK  # a token in the place of a name
    return f"{name}={MASK if value else ''}" if equals else name


_EVERYTHING = _Patterns()


# -- events --------------------------------------------------------------------------------------


def _patterns_for(event: Event, names: frozenset[str]) -> _Patterns | None:
    """What can match in the event: a superset, found in its bytes at once; None if nothing can.

    One look at the bytes is far cheaper than a look at each of the event's strings.
    """
    try:
        data = _encode(event)
    except (UnicodeEncodeError, TypeError):
        return _Patterns(names=names)
    if b"\\" in data or b"%" in data:  # escapes hide neighbours
        return _Patterns(names=names)
    starts = _starts_in(data)
    has_pairs = b"=" in data or _has_inner_colon(event, data)
    has_digits = b"0000000000000" in data.translate(_DIGITS_ALIKE, b" -")
    if not starts and not has_pairs and not (has_digits and _CARD_IN_BYTES.search(data)):
        return None
    return _Patterns(names=names, starts=starts, has_pairs=has_pairs, has_digits=has_digits)


@lru_cache(maxsize=8)
def _nothing(names: frozenset[str]) -> _Patterns:
    return _Patterns(names=names, starts=(), has_pairs=False, has_digits=False)


def _starts_in(data: bytes) -> tuple[str, ...]:
    """How secrets in the bytes may begin."""
    # A key of any known shape is one long run; there are few of those in an event.
    runs = b" ".join([run for run in data.translate(_RUNS).split() if len(run) >= 14])
    starts: tuple[str, ...] = ()
    if _KEY_START.search(runs):
        starts = tuple(start.decode() for start in _KEY_STARTS if start in runs)
    if _SPACED_START.search(data):
        starts += tuple(start.decode() for start in _SPACED_STARTS if start in data)
    if b"-----BEGIN" in data:
        starts += ("-----BEGIN",)
    if b"@" in data and _USERINFO_HINT.search(data):
        starts += ("://",)
    return starts


def _has_inner_colon(event: Event, data: bytes) -> bool:
    """Is a colon inside a string, other than before `//` or in the address of the client?"""
    marks = data.translate(None, _NOT_STRUCTURE).replace(b'"":', b"")
    colons = marks.count(b":") - marks.count(b"://")
    if colons and event.client and event.client.ip:
        colons -= event.client.ip.count(":")
    return colons > 0


# Times are not looked at: they hold colons, and nothing else.
_encode = msgspec.json.Encoder(enc_hook=lambda value: None).encode
_NOT_STRUCTURE = bytes(range(256)).translate(None, b'":,{}[]/')
_DIGITS_ALIKE = bytes.maketrans(b"123456789", b"000000000")
_CARD_IN_BYTES = re.compile(_CARD.pattern.encode())
_USERINFO_HINT = re.compile(rb'://[^"@]*@')
_IN_KEYS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=._-"
_RUNS = bytes(byte if byte in _IN_KEYS else 0x20 for byte in range(256))
_KEY_STARTS = (
    b"eyJ", b"LS0tLS1", b"AKIA", b"ASIA", b"ABIA", b"ACCA", b"Jb3JpZ2lu", b"oGZXIvYXdz", b"AIza",
    b"GOCSPX", b"SG.", b"ya29.", b"sk_", b"rk_", b"whsec_", b"ghp_", b"gho_", b"ghu_", b"ghs_",
    b"ghr_", b"github_pat_", b"glpat-", b"xoxa-", b"xoxb-", b"xoxe-", b"xoxo-", b"xoxp-",
    b"xoxr-", b"xoxs-", b"xapp-", b"hooks.slack.com", b"npm_", b"pypi-", b"whodid_", b"sk-",
)  # fmt: skip
_KEY_START = re.compile(b"|".join(map(re.escape, _KEY_STARTS)))
_SPACED_STARTS = (b"earer ", b"EARER ", b"asic ", b"ASIC ", b"oken ", b"pikey ", b"piKey ")
# From the blank backwards: blanks are rare, and what stands before most of them is none of these.
_SPACED_START = re.compile(b" (?:%s)" % b"|".join(b"(?<=%s)" % start for start in _SPACED_STARTS))


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

    __slots__ = ("_cut", "_names", "_patterns")

    def __init__(self, patterns: _Patterns, *, cut: bool = False) -> None:
        self._patterns, self._names, self._cut = patterns, patterns.names, cut

    def struct(self, part: Any) -> Any:
        """The same kind of part, scrubbed."""
        changed: dict[str, Any] = {}
        for field in _fields(part.__class__):
            value = getattr(part, field.name)
            if value is UNSET or value == ():
                continue
            if value.__class__ is str and field.form == "text":
                scrubbed: Any = self._text(field, value)
            else:
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
            return _fit_url(_scrub_url(text, self._patterns), text, field.limit)
        scrubbed = self._patterns.scrub(text, field.manner)
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
            return self._patterns.scrub(value, manner)
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
            name = self._patterns.scrub(key, _WORDLIKE if word_keys else _TEXT)
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


@cache
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
