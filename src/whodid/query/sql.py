"""Search → SQL that finds at least what is searched for.

An engine can't decide every term exactly: it gives a superset, and `evaluate` decides on the
decoded event. `Where.exact` tells when nothing is left to decide, so that counting may stay in the
database. The law, tested for every store: rows(SQL) ⊇ rows(evaluate), and = when exact.

Terms on values that a store keeps once in a dictionary (actor, action, app …) are decided here by
evaluating the term on an event that has nothing but the value, so that SQL and `evaluate` can't
disagree. The walk is shared by all stores; a `Dialect` renders the leaves.
"""

from __future__ import annotations

import ipaddress
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, assert_never

from whodid.event import CATEGORIES, OPERATIONS, OUTCOMES, SEVERITIES
from whodid.query.ast import And, Node, Not, Or, Term, Text
from whodid.query.fields import find_field
from whodid.query.words import words
from whodid.times import Instant

DictionaryColumn: TypeAlias = Literal["actor", "action", "app", "country", "agent", "tenant"]
NumberColumn: TypeAlias = Literal["occurred_at", "received_at", "index"]
CodeColumn: TypeAlias = Literal["category", "operation", "severity", "outcome"]
RefColumn: TypeAlias = Literal["target", "behalf", "via"]
Mask: TypeAlias = Callable[[Any], Any]
"""The condition as asked of a block of a store's columns, where it keeps any: one truth for each
event of the block, or a bool for all of them. `Any`, since this module knows no arrays."""


@dataclass(frozen=True, slots=True)
class Where:
    """A condition.

    Attributes:
        exact: False when rows that don't match may be among those it selects.
        mask: The same condition on columns, or what they can tell of one that isn't exact: at
            least what is searched for. None where they can't tell.
    """

    sql: str
    params: tuple[Any, ...] = ()
    exact: bool = True
    mask: Mask | None = None


ALL = Where("TRUE", mask=lambda block: True)
UNDECIDED = Where("TRUE", exact=False)
NONE = Where("FALSE", mask=lambda block: False)


class Dialect(Protocol):
    """The leaves of a search in one engine's SQL. Conditions are never NULL."""

    def between(self, column: NumberColumn, low: int | None, high: int | None) -> Where:
        """The column lies from `low` to below `high`; None is open. A missing value doesn't."""
        ...

    def code_in(self, column: CodeColumn, codes: Sequence[int]) -> Where:
        """The column's number is one of `codes`."""
        ...

    def value_in(self, column: DictionaryColumn, term: Term) -> Where:
        """The dictionary value passes the term, asked on an event that has only this value."""
        ...

    def address_between(self, low: bytes, high: bytes) -> Where:
        """The client's address lies in the range, both ends inclusive, of the same length."""
        ...

    def has_address(self) -> Where:
        """There is an address."""
        ...

    def refers_to(self, kind: RefColumn, name: str) -> Where:
        """An event that refers to this id in this role; more may be selected."""
        ...

    def id_is(self, event_id: str) -> Where:
        """The event with this id."""
        ...

    def body_has(self, searched: Sequence[str]) -> Where:
        """All these words are somewhere in the event; more may be selected."""
        ...


def compile_where(node: Node, dialect: Dialect) -> Where:
    """A condition that selects every event the search matches."""
    match node:
        case And(terms):
            return all_where([compile_where(term, dialect) for term in terms])
        case Or(terms):
            return _any([compile_where(term, dialect) for term in terms])
        case Not(term):
            inner = compile_where(term, dialect)
            # The complement of a superset is no superset: only an exact condition can be turned.
            return _not(inner) if inner.exact else UNDECIDED
        case Text(text):
            found = dialect.body_has(words(text))
            return Where(found.sql, found.params, exact=False)
        case Term():
            return _term(node, dialect)
        case _:
            assert_never(node)


def all_where(parts: Sequence[Where]) -> Where:
    """The condition that all of these hold."""
    if not parts:
        return ALL
    return Where(
        " AND ".join(f"({part.sql})" for part in parts),
        tuple(param for part in parts for param in part.params),
        all(part.exact for part in parts),
        _joined(parts, operator.and_, absorbing=False),
    )


def _any(parts: Sequence[Where]) -> Where:
    if not parts:
        return NONE
    return Where(
        " OR ".join(f"({part.sql})" for part in parts),
        tuple(param for part in parts for param in part.params),
        all(part.exact for part in parts),
        _joined(parts, operator.or_, absorbing=True),
    )


def _not(part: Where) -> Where:
    inner = part.mask
    if inner is None:
        return Where(f"NOT ({part.sql})", part.params)

    def mask(block: Any) -> Any:
        truth = inner(block)
        return not truth if isinstance(truth, bool) else ~truth

    return Where(f"NOT ({part.sql})", part.params, mask=mask)


def _joined(
    parts: Sequence[Where], join: Callable[[Any, Any], Any], *, absorbing: bool
) -> Mask | None:
    """The masks as one; a block for which one of them is `absorbing` isn't shown to the rest."""
    known = [part.mask for part in parts if part.mask is not None]
    # Of conditions that all must hold, those that columns know select enough, if not exactly.
    is_enough = not absorbing and not all(part.exact for part in parts)
    if len(known) < len(parts) and not (is_enough and known):
        return None

    def mask(block: Any) -> Any:
        joined: Any = not absorbing
        for each in known:
            truth = each(block)
            if isinstance(truth, bool):
                if truth is absorbing:
                    return absorbing
            else:
                joined = truth if isinstance(joined, bool) else join(joined, truth)
        return joined

    return mask


_CODES: dict[str, tuple[CodeColumn, tuple[str, ...]]] = {
    "category": ("category", CATEGORIES),
    "operation": ("operation", OPERATIONS),
    "severity": ("severity", SEVERITIES),
    "outcome": ("outcome", OUTCOMES),
}
_NUMBERS: dict[str, NumberColumn] = {
    "created": "occurred_at",
    "received": "received_at",
    "index": "index",
}
_DICTIONARIES: dict[str, DictionaryColumn] = {
    "action": "action",
    "actor": "actor",
    "actor.id": "actor",
    "actor.type": "actor",
    "actor.name": "actor",
    "actor.email": "actor",
    "app": "app",
    "country": "country",
    "agent": "agent",
    "tenant": "tenant",
}
_REFERENCES: dict[str, RefColumn] = {
    "target.id": "target",
    "behalf.id": "behalf",
    "via.id": "via",
}
_ACTOR_STATES = ("agent", "anonymous")
_FAILED = tuple(OUTCOMES.index(name) for name in ("failure", "denied", "error"))
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)


def _term(term: Term, dialect: Dialect) -> Where:
    if term.field in _NUMBERS:
        return _number(term, _NUMBERS[term.field], dialect)
    if term.field in _CODES:
        return _code(term, dialect)
    if term.field in _DICTIONARIES:
        return dialect.value_in(_DICTIONARIES[term.field], term)
    if term.field in _REFERENCES and term.op in (":", "=") and "*" not in str(term.value):
        found = dialect.refers_to(_REFERENCES[term.field], str(term.value))
        return Where(found.sql, found.params, exact=False)
    if term.field == "ip":
        return _address(term, dialect)
    if term.field == "id" and _UUID.fullmatch(str(term.value)):
        return dialect.id_is(str(term.value).lower())
    if term.field == "is" and term.value == "failed":
        return dialect.code_in("outcome", _FAILED)
    if term.field == "is" and term.value in _ACTOR_STATES:
        return dialect.value_in("actor", term)
    return _somewhere(term, dialect)


def _somewhere(term: Term, dialect: Dialect) -> Where:
    """Whatever is equal to a value, or has its words, has these words somewhere in the event."""
    field = find_field(term.field)
    is_written = field is not None and field.kind in ("exact", "smart", "text", "value")
    text = str(term.value)
    if not is_written or term.op not in (":", "=") or "*" in text:
        return UNDECIDED
    if not text.isascii():
        return UNDECIDED  # texts that differ in case alone may fold to other words: ᾳ and αι
    searched = words(text)
    if not searched:
        return UNDECIDED
    found = dialect.body_has(searched)
    return Where(found.sql, found.params, exact=False)


def _code(term: Term, dialect: Dialect) -> Where:
    column, names = _CODES[term.field]
    if term.op == "exists":
        return ALL
    if term.op == "range" or term.value not in names:
        return UNDECIDED
    given, last = names.index(str(term.value)), len(names)
    codes = {
        ">": range(given + 1, last),
        ">=": range(given, last),
        "<": range(given),
        "<=": range(given + 1),
    }
    return dialect.code_in(column, codes.get(term.op, range(given, given + 1)))


def _number(term: Term, column: NumberColumn, dialect: Dialect) -> Where:
    if term.op == "exists":
        return dialect.between(column, None, None)
    if term.op == "range" and isinstance(term.value, tuple):
        low, high = term.value
        if isinstance(low, Instant) or isinstance(high, Instant):
            return dialect.between(column, _micros(low), _micros(high))
        if low is None and high is None:
            return dialect.between(column, None, None)
        if _is_whole(low) and _is_whole(high):
            end = None if high is None else int(high) + 1
            return dialect.between(column, None if low is None else int(low), end)
        return UNDECIDED
    if not _is_whole(term.value) or term.value is None:
        return UNDECIDED
    given = int(term.value)  # type: ignore[arg-type]  # _is_whole has seen that it is a number
    ranges: dict[str, tuple[int | None, int | None]] = {
        ">": (given + 1, None),
        ">=": (given, None),
        "<": (None, given),
        "<=": (None, given + 1),
    }
    return dialect.between(column, *ranges.get(term.op, (given, given + 1)))


def _micros(moment: object) -> int | None:
    return moment.micros if isinstance(moment, Instant) else None


def _is_whole(number: object) -> bool:
    if number is None:
        return True
    if isinstance(number, bool) or not isinstance(number, int | float):
        return False
    return number == int(number) and abs(number) < 2**53


def _address(term: Term, dialect: Dialect) -> Where:
    if term.op == "exists":
        return dialect.has_address()
    try:
        network = ipaddress.ip_network(str(term.value), strict=False)
    except ValueError:
        found = dialect.has_address()  # private, public: the decoded event decides
        return Where(found.sql, found.params, exact=False)
    low, high = network.network_address.packed, network.broadcast_address.packed
    if network.version == 6 and network.network_address.ipv4_mapped:
        return UNDECIDED  # IPv4-mapped addresses are kept as IPv4
    return dialect.address_between(low, high)
