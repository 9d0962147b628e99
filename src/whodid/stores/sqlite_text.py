"""Full text in SQLite: which tokens an event has, and which ones a search needs.

The index answers with a superset, like all of SQL's answers; `evaluate` decides. So the law is:
whatever event a search matches has the tokens that `needed_by_search` asks for. Tokens are the
words of all values that a search can look at (not of times, ids of events and user agents, which
are found by columns), and for some fields a hash of the whole value, so that `changed:role` does
not go through every event with the word "role".

FTS5 keeps no positions and no text (`detail=none`, contentless). Deleting from it takes the same
tokens again: whoever erases units of an event gives it `event_tokens` of the old body.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise
from typing import Any, TypeAlias, assert_never

import msgspec

from whodid.event import SEVERITIES, packed_ip
from whodid.query.ast import And, Node, Not, Or, Term, Text
from whodid.query.evaluate import url_path
from whodid.query.fields import find_field
from whodid.query.words import words
from whodid.stores.dictionary import MANY_VALUED, DictKind
from whodid.stores.sqlite_indexer import newest_position
from whodid.stores.sqlite_write import transaction

BLOCK_BITS = 10
"""A block of `whodid_span` is 2^10 positions."""

_BATCH = 1_000
_MAX_WORDS = 12  # of one term: more would not narrow the search
_MAX_TENANTS = 16
_WRITTEN = frozenset({"dotted", "enum", "exact", "smart", "text", "value"})
_HASHED = {
    "reason": "r", "actor.role": "o", "target.type": "y", "env": "e", "method": "m", "path": "p",
    "changed": "c", "tag": "g",
}  # fmt: skip
"""Fields whose whole values are tokens, and by which letter. Stored: never change one."""

_SIDES = {"old": "l", "new": "n"}
"""The same for a change's path and value together."""

_ELSEWHERE = frozenset({"agent", "id"})  # answered by columns, their words are not in the index
_APART = frozenset({
    "category", "operation", "outcome", "severity", "actor.type", "behalf.type", "via.type",
    "tenant", "scope", "app", "env", "country", "city", "device", "session", "credential",
    "request", "trace", "correlation", "method", "path", "tag",
})  # fmt: skip
"""Fields that free text is not searched in."""

_ASCII_WORDS = re.compile("[0-9a-z]+").findall
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def clear(connection: sqlite3.Connection) -> None:
    """Forget the whole text index, so that the indexer writes it anew; searches scan meanwhile.

    One transaction: a crash leaves the old index.
    """
    with transaction(connection):
        for table in ("whodid_text", "whodid_value_text"):
            connection.execute(f"INSERT INTO {table} ({table}) VALUES ('delete-all')")
        connection.execute("DELETE FROM whodid_span")
        for step in (TextStep(), ValueStep()):
            connection.execute(
                "DELETE FROM whodid_counter WHERE name = ?", (f"indexed.{step.name}",)
            )


# ---- what an event has


def event_tokens(body: bytes | None, *, tenant: int) -> str:
    """The tokens of a stored event, joined by blanks.

    Args:
        body: As it is stored. Of a damaged one all its letters count, so that it is still found.
        tenant: The tenant's number.
    """
    try:
        tokens = _tokens_of(_decode(body or b""))
    except (msgspec.DecodeError, LookupError, TypeError, AttributeError, ValueError):
        tokens = _words_of([(body or b"").decode(errors="replace")])
    tokens.add(f"_t{tenant}")
    return " ".join(tokens)


# `Any`, since it is JSON.
def _tokens_of(parts: dict[str, Any]) -> set[str]:
    core, units = parts["core"], parts["units"]
    tokens = set(_marks(core, units))
    free: list[str] = []
    _collect(_taken_for_free_text(core, units), free)
    tokens |= _free_tokens(free)
    for key in ("occurred_at", "schema", "window", "count"):
        core.pop(key, None)
    units.pop("/attachments", None)
    units.get("/client", {}).pop("user_agent", None)
    core.get("trace", {}).pop("span_id", None)
    others = [parts["stamp"]["tenant"]]
    _collect(core, others)
    _collect(units, others)
    return tokens.union(map(_apart, _words_of(others)))


def _taken_for_free_text(core: dict[str, Any], units: dict[str, Any]) -> list[Any]:
    """What free text is searched in, taken out; `evaluate` names it as well."""
    taken = [core.pop("action")]
    for path, unit in units.items():
        match path.split("/")[1]:
            case "message" | "metadata":
                taken.append(unit)
            case "actor" | "on_behalf_of":
                taken += _taken(unit, "id", "name", "email", "roles")
            case "via":
                for principal in unit:
                    taken += _taken(principal, "id", "name", "email")
            case "targets":
                taken += _taken(unit, "type", "id", "name")
            case "changes":
                taken += _taken(unit, "path", "old", "new")
            case "client":
                taken += _taken(unit, "ip")
            case "reason":
                taken += _taken(unit, "code", "message")
            case "error":
                taken += _taken(unit, "type", "message")
    for path in ("/message", "/metadata"):
        units.pop(path, None)
    return taken


def _taken(unit: dict[str, Any], *keys: str) -> list[Any]:
    return [unit.pop(key) for key in keys if key in unit]


def _marks(core: dict[str, Any], units: dict[str, Any]) -> Iterator[str]:
    """The tokens that are no words: hashed values, and which parts there are."""
    for path, unit in units.items():
        if path.startswith("/changes/"):
            yield "_hchanges"
            yield from _change_marks(unit)
        elif path.startswith("/targets/"):
            yield _hashed("target.type", unit["type"])
        elif path in _PARTS:
            yield _PARTS[path]
    if "trace" in core:
        yield "_htrace"
    if "environment" in (source := core.get("source", _NOTHING)):
        yield _hashed("env", source["environment"])
    if "code" in (reason := units.get("/reason", _NOTHING)):
        yield _hashed("reason", reason["code"])
    for role in units.get("/actor", _NOTHING).get("roles", ()):
        yield _hashed("actor.role", role)
    for tag in units.get("/tags", ()):
        yield _hashed("tag", tag)
    if request := units.get("/request"):
        yield from _request_marks(request)
    if client := units.get("/client"):
        if "geo" in client:
            yield "_hgeo"
        if packed := packed_ip(client.get("ip", "")):
            yield _address(packed)


_NOTHING: dict[str, Any] = {}
_PARTS = {
    "/on_behalf_of": "_hbehalf", "/via": "_hvia", "/error": "_herror", "/reason": "_hreason",
}  # fmt: skip


def _change_marks(change: dict[str, Any]) -> Iterator[str]:
    yield _hashed("changed", change["path"])
    for side in ("old", "new"):
        if side in change:
            for text in _scalars(change[side]):
                yield _changed_value(side, path=change["path"], text=text)


def _scalars(value: Any) -> Iterator[str]:
    """What a term on a change's value is compared with."""
    if isinstance(value, list):
        for item in value:
            yield from _scalars(item)
    elif not isinstance(value, dict):
        yield value if isinstance(value, str) else _encode(value).decode()


def _changed_value(side: str, *, path: str, text: str) -> str:
    return _hash(_SIDES[side], f"{path}\0{text}")


def _request_marks(request: dict[str, Any]) -> Iterator[str]:
    if "method" in request:
        yield _hashed("method", request["method"])
    if "route" in request:
        yield _hashed("path", request["route"])
    if "url" in request:
        yield _hashed("path", url_path(request["url"]))
    if "status" in request:
        yield _status(request["status"])


def _collect(value: Any, texts: list[str]) -> None:
    """The value's strings and numbers, as searches see them; not the keys."""
    kind = type(value)
    if kind is str:
        texts.append(value)
    elif kind is dict or kind is list:
        for item in value.values() if kind is dict else value:
            if type(item) is str:  # most are
                texts.append(item)
            else:
                _collect(item, texts)
    else:
        texts.append(str(value) if kind is int else _encode(value).decode())


def _words_of(texts: Sequence[str]) -> set[str]:
    """All words of the texts."""
    return set().union(*_ways_to_read(texts))


def _free_tokens(texts: Sequence[str]) -> set[str]:
    """All words of the texts, and pairs of short numbers."""
    return {token for found in _ways_to_read(texts) for token in (*found, *_number_pairs(found))}


def _ways_to_read(texts: Sequence[str]) -> Iterator[list[str]]:
    """The words of the texts in order, as they are and, where that may matter, casefolded.

    Folding comes after normalisation in `words`, so texts that differ in case alone can have
    different words (ᾳ and αι); what compares without case has the same words once casefolded.
    """
    joined = "\n".join(texts)
    if joined.isascii():
        yield _ASCII_WORDS(joined.lower())
        return
    yield _ASCII_WORDS("\n".join([text for text in texts if text.isascii()]).lower())
    others = "\n".join([text for text in texts if not text.isascii()])
    yield words(others)
    yield words(others.casefold())


def _number_pairs(found: Sequence[str]) -> list[str]:
    """Neighbouring short numbers as one token: the parts of an address are in every event."""
    numbers = [word if word.isdigit() and len(word) < 5 else "" for word in found]
    return [f"_b{one}_{two}" for one, two in pairwise(numbers) if one and two]


def _apart(word: str) -> str:
    """The token of a word that free text is not searched for."""
    return f"_w{word}"


def _hashed(field: str, text: str) -> str:
    return _hash(_HASHED[field], text)


@lru_cache(maxsize=16_384)
def _hash(letter: str, text: str) -> str:
    digest = blake2b(text.casefold().encode(errors="surrogatepass"), digest_size=6)
    return f"_{letter}{digest.hexdigest()}"


def _status(number: object) -> str:
    return f"_s{number}"


def _address(packed: bytes) -> str:
    return f"_i{packed.hex()}"


def value_tokens(kind: int, text: str, *, tenant: int) -> str:
    """The tokens of a dictionary value of one of `MANY_VALUED`."""
    texts = [each for each in _decode(text) if each] if kind == DictKind.ACTOR else [text]
    return " ".join({*_words_of(texts), f"_k{int(kind)}", f"_t{tenant}"})


# ---- what a search needs


def needed_by_search(node: Node, *, tenants: Sequence[int] | None) -> str | None:
    """What FTS5 is asked for a search, None when the index can't narrow it.

    Args:
        tenants: The numbers of those that may be seen; None for all.
    """
    needed = _needed(node)
    return needed and _narrowed(needed, tenants)


def needed_by_value(term: Term, kind: DictKind, *, tenants: Sequence[int] | None) -> str | None:
    """What FTS5 is asked for a term on dictionary values of a kind."""
    if term.field == "is":
        needed = _all_of(words({"agent": "ai_agent"}.get(str(term.value), str(term.value))))
    else:
        needed = _needed_words(term, tokens=list)
    return needed and _narrowed(f"{_quoted(f'_k{int(kind)}')} AND ({needed})", tenants)


def _narrowed(needed: str, tenants: Sequence[int] | None) -> str:
    if tenants is None or not 0 < len(tenants) <= _MAX_TENANTS:
        return needed
    return f"({_any_of(f'_t{tenant}' for tenant in tenants)}) AND ({needed})"


def _needed(node: Node) -> str | None:
    match node:
        case And(terms):
            parts = [part for part in map(_needed, terms) if part is not None]
            return " AND ".join(f"({part})" for part in dict.fromkeys(parts)) or None
        case Or(terms):
            either = list(map(_needed, terms))
            if not either or None in either:
                return None
            return " OR ".join(f"({part})" for part in dict.fromkeys(either))
        case Not():
            return None
        case Text():
            return _needed_by_text(node)
        case Term():
            return _needed_by_term(node)
        case _:
            assert_never(node)


def _needed_by_text(text: Text) -> str | None:
    chunks = [text.text] if text.phrase else text.text.split()
    return _all_of(token for chunk in chunks for token in _in_free_text(words(chunk)))


def _needed_by_term(term: Term) -> str | None:
    field = find_field(term.field)
    if field is None:
        raise AssertionError(f"a tree holds the field {term.field!r}, which does not exist")
    if field.kind == "flag":
        return _FLAGS.get(f"{term.field}:{term.value}")
    is_equal = term.op in (":", "=")
    if field.name == "ip" and is_equal:
        return _needed_address(str(term.value))
    if field.name == "status" and is_equal and str(term.value).isdigit():  # -1 is no token
        return _quoted(_status(term.value))
    if field.kind == "level":
        return _needed_level(term)
    if field.name in _HASHED and is_equal and "*" not in str(term.value):
        return _quoted(_hashed(field.name, str(term.value)))
    if field.name in _ELSEWHERE:
        return None
    needed = _needed_words(term, tokens=_all_apart if field.name in _APART else _in_free_text)
    head, _, path = field.name.partition(".")
    if head in _SIDES and "*" not in path:
        if is_equal and "*" not in str(term.value):
            return _quoted(_changed_value(head, path=path, text=str(term.value)))
        changed = _quoted(_hashed("changed", path))
        return f"{changed} AND ({needed})" if needed else changed
    return needed


_FLAGS: Mapping[str, str] = {
    **{
        f"has:{part}": f'"_h{part}"'
        for part in ("changes", "behalf", "via", "geo", "trace", "error", "reason")
    },
    # Words of the categories and roles, and of the kinds of delegation, that evaluate asks for.
    "is:privileged": '"_wauthorization" OR "_wiam" OR "_wconfiguration" OR "_waudit" OR '
    '"admin" OR "owner" OR "superuser" OR "root"',
    "is:failed": '"_wfailure" OR "_wdenied" OR "_werror"',
    "is:impersonated": '"_hbehalf" OR "_wimpersonation" OR ("_wsupport" AND "_waccess")',
}


def _needed_level(term: Term) -> str | None:
    if term.value not in SEVERITIES:
        return None
    given = SEVERITIES.index(str(term.value))
    levels = {
        ">": SEVERITIES[given + 1 :],
        ">=": SEVERITIES[given:],
        "<": SEVERITIES[:given],
        "<=": SEVERITIES[: given + 1],
        ":": (term.value,),
        "=": (term.value,),
    }.get(term.op)
    return _any_of(_apart(str(level)) for level in levels) if levels else None


def _needed_address(network: str) -> str | None:
    address, _, length = network.partition("/")
    packed = packed_ip(address)
    if packed is None or length != str(len(packed) * 8):
        return None
    return _quoted(_address(packed))


_Tokens: TypeAlias = Callable[[list[str]], list[str]]
"""The tokens that a value has for these words, which stand in it one after the other."""


def _in_free_text(found: list[str]) -> list[str]:
    return [*found, *_number_pairs(found)]


def _all_apart(found: list[str]) -> list[str]:
    return list(map(_apart, found))


def _needed_words(term: Term, *, tokens: _Tokens) -> str | None:
    """The tokens of whatever passes a term that compares text."""
    field, text = find_field(term.field), str(term.value)
    if field is None or field.kind not in _WRITTEN or term.op not in (":", "=", "prefix"):
        return None
    if "*" in text and term.op == ":":
        scattered = [tokens([word]) for word in _words_of_pattern(text)]
        return _all_of(token for each in scattered for token in each)
    needed = [_all_of(tokens(words(text.casefold())))]  # equal but for case
    if field.kind == "text" and term.op == ":":
        needed.append(_all_of(tokens(words(text))))
    if field.kind == "smart" and term.op == ":":  # these words in it, in any order
        needed.append(_all_of(token for word in words(text) for token in tokens([word])))
    if None in needed:
        return None
    return " OR ".join(f"({each})" for each in dict.fromkeys(needed))


def _words_of_pattern(pattern: str) -> list[str]:
    """The words that a `*` doesn't touch."""
    if not pattern.isascii():
        return []
    whole = re.sub(r"[0-9a-z]*\*+[0-9a-z]*", " * ", pattern.lower())
    return words(whole)


def _all_of(tokens: Iterable[str]) -> str | None:
    """The rarest few, which long ones tend to be; None without any."""
    chosen = sorted(dict.fromkeys(tokens), key=len, reverse=True)[:_MAX_WORDS]
    return " AND ".join(map(_quoted, chosen)) or None


def _any_of(tokens: Iterable[str]) -> str:
    return " OR ".join(map(_quoted, tokens))


def _quoted(token: str) -> str:
    return f'"{token}"'  # no token has a quote in it


# ---- the steps of the indexer


@dataclass(frozen=True, slots=True)
class _Prepared:
    tokens: list[tuple[int, str]]
    spans: dict[int, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class TextStep:
    """Words of events, and when the events of each block happened."""

    name: str = "text"
    batch: int = _BATCH
    least: int = 1

    def newest(self, connection: sqlite3.Connection) -> int:
        return newest_position(connection)

    def prepare(self, connection: sqlite3.Connection, *, after: int, last: int) -> _Prepared:
        tokens: list[tuple[int, str]] = []
        spans: dict[int, tuple[int, int]] = {}
        for position, tenant, occurred_at, body in connection.execute(
            "SELECT position, tenant, occurred_at, body FROM whodid_event "
            "WHERE position > ? AND position <= ? ORDER BY position",
            (after, last),
        ):
            tokens.append((position, event_tokens(body, tenant=tenant)))
            oldest, newest = spans.get(position >> BLOCK_BITS, (occurred_at, occurred_at))
            spans[position >> BLOCK_BITS] = (min(oldest, occurred_at), max(newest, occurred_at))
        return _Prepared(tokens, spans)

    def write(self, connection: sqlite3.Connection, prepared: _Prepared) -> None:
        connection.executemany(
            "INSERT INTO whodid_text (rowid, words) VALUES (?, ?)", prepared.tokens
        )
        connection.executemany(
            "INSERT INTO whodid_span (block, oldest, newest) VALUES (?, ?, ?) "
            "ON CONFLICT (block) DO UPDATE SET oldest = min(oldest, excluded.oldest), "
            "newest = max(newest, excluded.newest)",
            [(block, *span) for block, span in prepared.spans.items()],
        )


@dataclass(frozen=True, slots=True)
class ValueStep:
    """Words of dictionary values."""

    name: str = "values"
    batch: int = _BATCH * 5
    least: int = 1

    def newest(self, connection: sqlite3.Connection) -> int:
        row = connection.execute("SELECT coalesce(max(ref), 0) FROM whodid_dict").fetchone()
        return int(row[0])

    def prepare(
        self, connection: sqlite3.Connection, *, after: int, last: int
    ) -> list[tuple[int, str]]:
        kinds = ", ".join(str(int(kind)) for kind in MANY_VALUED)
        rows = connection.execute(
            "SELECT ref, tenant, kind, val FROM whodid_dict "
            f"WHERE ref > ? AND ref <= ? AND kind IN ({kinds}) ORDER BY ref",
            (after, last),
        )
        return [(ref, value_tokens(kind, val, tenant=tenant)) for ref, tenant, kind, val in rows]

    def write(self, connection: sqlite3.Connection, prepared: list[tuple[int, str]]) -> None:
        connection.executemany(
            "INSERT INTO whodid_value_text (rowid, words) VALUES (?, ?)", prepared
        )
