"""From what was typed to a tree, or to an error that says what is wrong and where.

Recursive descent over the grammar of `docs/spec/query.md`, in time linear in the text. Nothing is
guessed: a name, value or sign that has no meaning here is an error, never searched as text, since
in an audit a silently wrong answer is the worst one. Times become absolute here, so that the tree
means the same wherever and whenever it is evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import TypeAlias

from whodid.errors import QuerySyntaxError
from whodid.query.ast import (
    And,
    Node,
    Not,
    NumberRange,
    Op,
    Or,
    Query,
    Term,
    Text,
    TimeRange,
    all_of,
)
from whodid.query.fields import (
    LAST,
    MISSING_FLAGS,
    OPEN_FIELDS,
    SUGAR,
    Field,
    Kind,
    Span,
    find_field,
    glob,
    ip_ranges,
    nearest_name,
    read_network,
    read_number,
    read_time,
)
from whodid.query.words import words
from whodid.times import Instant

MAX_CHARACTERS = 2000
MAX_TERMS = 100  # words, phrases and values of qualifiers
MAX_DEPTH = 20  # parentheses and negations inside each other

_BLANKS = re.compile(r"\s*")
_BARE = re.compile(r'[^\s"(),]+')
_PHRASE = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPE = re.compile(r'\\(["\\])')
_OPERATOR = re.compile(r">=|<=|>|<|=")
_SURROGATE = re.compile("[\ud800-\udfff]")
_COMPARISONS: Mapping[str, Op] = {">": ">", ">=": ">=", "<": "<", "<=": "<="}
_KEYWORDS = ("AND", "OR", "NOT")
_QUOTE_IT = "quote it to search it as text"
_WORDLESS = {
    "-": "write it directly before the term to exclude",
    "*": "leave the search empty to find everything",
}
_EMPTY_PART = "remove the empty part or the OR"


def parse(text: str, *, now: Instant, zone: tzinfo = UTC) -> Query:
    """Read a search.

    Args:
        text: At most 2,000 characters; the empty text finds everything.
        now: What relative times such as `7d` count from.
        zone: For times without offset, and for where a day begins.

    Raises:
        QuerySyntaxError: With position, length and, where there is one, a suggestion.
    """
    if len(text) > MAX_CHARACTERS:
        raise QuerySyntaxError(
            "too_long",
            f"query longer than {MAX_CHARACTERS} characters",
            position=MAX_CHARACTERS,
            length=len(text) - MAX_CHARACTERS,
        )
    if broken := _SURROGATE.search(text):
        raise QuerySyntaxError(
            "bad_character", "half a surrogate pair is no character", position=broken.start()
        )
    node = _Parser(text, now=now, zone=zone).read()
    return Query(text=text, node=node, now=now, zone=zone, warnings=_warnings(node))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Value:
    """One value of a qualifier as written, and where.

    Attributes:
        name: The qualifier as typed, in lower case, as it may stand in a message.
        field: What it means.
        op: The operator in front of the values, or that of the sugar; empty if none.
    """

    name: str
    field: Field
    op: str
    text: str
    position: int
    length: int
    is_quoted: bool

    @property
    def is_pattern(self) -> bool:
        return "*" in self.text and not self.is_quoted and self.op != "="

    @property
    def is_anything(self) -> bool:
        return self.is_pattern and not self.op and not self.text.strip("*")

    def term(self, op: Op, value: str | float | TimeRange | NumberRange) -> Term:
        return Term(self.field.name, op, value)

    def error(self, code: str, message: str, suggestion: str | None = None) -> QuerySyntaxError:
        return QuerySyntaxError(
            code, message, position=self.position, length=self.length, suggestion=suggestion
        )


class _Parser:
    """One pass over one text; each method leaves `_at` behind what it read."""

    def __init__(self, text: str, *, now: Instant, zone: tzinfo) -> None:
        self._text = text
        self._now, self._zone = now, zone
        self._at = 0
        self._terms = 0

    def read(self) -> Node:
        self._skip_blanks()
        if self._is_at_end():
            return And()
        node = self._alternatives(0)
        if not self._is_at_end():
            raise self._error("unexpected_character", "unexpected ')'")
        return node

    def _alternatives(self, depth: int) -> Node:
        nodes = [self._conjunction(depth)]
        while self._keyword() == "OR":
            self._advance(2)
            nodes.append(self._conjunction(depth))
        return nodes[0] if len(nodes) == 1 else Or(tuple(nodes))

    def _conjunction(self, depth: int) -> Node:
        keyword = self._keyword()
        if keyword == "AND":
            raise self._error("expected_term", "AND needs something before it", length=3)
        if keyword == "OR" or self._is_closed():
            raise self._error("expected_term", "expected a term", _EMPTY_PART, length=len(keyword))
        nodes = [self._unary(depth)]
        while not self._is_closed() and self._keyword() != "OR":
            if self._keyword() == "AND":
                start = self._at
                self._advance(3)
                if self._is_closed() or self._keyword() in ("AND", "OR"):
                    self._at = start
                    raise self._error("expected_term", "AND needs something after it", length=3)
            nodes.append(self._unary(depth))
        return all_of(*nodes)

    def _unary(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise self._error("too_deep", "nested too deeply")
        if self._is_negation():
            self._at += 1
        elif self._keyword() == "NOT":
            self._advance(3)
        else:
            return self._primary(depth)
        keyword = self._keyword()
        if keyword in ("AND", "OR") or self._is_closed():
            raise self._error("expected_term", "expected a term", length=len(keyword))
        return Not(self._unary(depth + 1))

    def _primary(self, depth: int) -> Node:
        start = self._at
        character = self._text[start]
        if character == "(":
            return self._group(depth)
        if character == ",":
            raise self._error("unexpected_character", "unexpected ','", _QUOTE_IT)
        if character == '"':
            text = self._phrase()
            self._count(start)
            node: Node = Text(text, phrase=True)
            self._check_words(text, start)
        else:
            token = self._bare(start)
            if ":" in token:
                node = self._qualifier(token)
            else:
                self._at += len(token)
                self._count(start)
                node = self._word(token, start)
        self._skip_blanks()
        return node

    def _group(self, depth: int) -> Node:
        start = self._at
        self._advance(1)
        if not self._is_at_end():
            node = self._alternatives(depth + 1)
            if not self._is_at_end():  # then it is a parenthesis that closes
                self._advance(1)
                return node
        self._at = start
        raise self._error("unclosed", "this ( is never closed")

    def _word(self, token: str, start: int) -> Text:
        if "*" in token and token.strip("*"):
            raise QuerySyntaxError(
                "no_wildcard",
                "free text takes no *",
                position=start,
                length=len(token),
                suggestion=f"name a field, such as action:{_shown(token)} or actor:{_shown(token)}",
            )
        self._check_words(token, start)
        return Text(token)

    def _check_words(self, text: str, start: int) -> None:
        if not words(text):
            raise QuerySyntaxError(
                "no_words",
                _no_words(text),
                position=start,
                length=self._at - start,
                suggestion=_WORDLESS.get(text),
            )

    def _qualifier(self, token: str) -> Node:
        start = self._at
        name = token.partition(":")[0]
        field = self._field(name)
        self._at += len(name) + 1
        name = _shown(name.lower())
        found = _OPERATOR.match(self._text, self._at)
        op = found[0] if found else ""
        self._at += len(op)
        if op:
            self._check_operator(op, field, name=name)
        op = SUGAR.get(name, op)
        nodes = [self._value(name, field, op=op, counted_at=start)]
        while self._text.startswith(",", self._at):
            self._at += 1
            nodes.append(self._value(name, field, op=op, counted_at=self._at))
        return nodes[0] if len(nodes) == 1 else Or(tuple(nodes))

    def _field(self, name: str) -> Field:
        field = find_field(name)
        if field:
            return field
        head = name.lower().partition(".")[0]
        if not name:
            raise self._error("unknown_field", "a qualifier needs a name before the :", _QUOTE_IT)
        if head in OPEN_FIELDS:
            raise self._error(
                "unknown_field",
                f"{head}: needs a path",
                f"write {head}.path:value",
                length=len(name),
            )
        near = nearest_name(name)
        raise self._error(
            "unknown_field",
            f"unknown qualifier '{_shown(name)}'",
            f"did you mean {near}:? {_QUOTE_IT}" if near else _QUOTE_IT,
            length=len(name),
        )

    def _check_operator(self, op: str, field: Field, *, name: str) -> None:
        length = len(self._bare(self._at))
        if name in SUGAR or field.kind == "flag":
            raise self._error("no_operator", f"{name}: takes no operator", length=length)
        if op != "=" and not field.has_order:
            raise self._error("not_ordered", f"{name}: cannot be compared with {op}", length=length)

    def _value(self, name: str, field: Field, *, op: str, counted_at: int) -> Node:
        start = self._at
        is_quoted = self._text.startswith('"', start)
        if is_quoted:
            text = self._phrase()
        else:
            text = self._bare(start)
            self._at += len(text)
        self._count(counted_at)
        if not text and not (is_quoted and field.kind == "value"):
            self._at = start
            hint = _value_hint(name, field)
            if self._text[start - 1] == ",":
                hint = "write the values without blanks between them, or remove the comma"
            raise self._error("no_value", f"{name}: needs a value", hint)
        value = _Value(
            name=name,
            field=field,
            op=op,
            text=text,
            position=start,
            length=self._at - start,
            is_quoted=is_quoted,
        )
        if field.kind == "time":
            return _time(value, now=self._now, zone=self._zone)
        return _READERS[field.kind](value)

    def _phrase(self) -> str:
        found = _PHRASE.match(self._text, self._at)
        if not found:
            rest = len(self._text) - self._at
            raise self._error("unclosed", "this quote is never closed", length=rest)
        self._at = found.end()
        return _ESCAPE.sub(r"\1", found[1])

    def _bare(self, start: int) -> str:
        found = _BARE.match(self._text, start)
        return found[0] if found else ""

    def _keyword(self) -> str:
        """AND, OR or NOT if one comes next, else the empty text."""
        token = self._bare(self._at)
        return token if token in _KEYWORDS else ""

    def _is_negation(self) -> bool:
        after = self._text[self._at + 1 : self._at + 2]
        return (
            self._text.startswith("-", self._at)
            and after not in ("", ")", ",")
            and not after.isspace()
        )

    def _is_at_end(self) -> bool:
        return self._at >= len(self._text)

    def _is_closed(self) -> bool:
        return self._is_at_end() or self._text[self._at] == ")"

    def _advance(self, count: int) -> None:
        self._at += count
        self._skip_blanks()

    def _skip_blanks(self) -> None:
        found = _BLANKS.match(self._text, self._at)
        self._at = found.end() if found else self._at

    def _count(self, position: int) -> None:
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise QuerySyntaxError(
                "too_many_terms",
                f"more than {MAX_TERMS} terms",
                position=position,
                length=len(self._text.rstrip()) - position,
            )

    def _error(
        self, code: str, message: str, suggestion: str | None = None, *, length: int = 1
    ) -> QuerySyntaxError:
        return QuerySyntaxError(
            code, message, position=self._at, length=length, suggestion=suggestion
        )


# ---- values


def _plain(value: _Value) -> Node:
    if value.is_anything:
        return value.term("exists", True)
    # A quoted star is a star. `=` knows no wildcard.
    is_exact = value.op == "=" or value.is_quoted and "*" in value.text
    return value.term("=" if is_exact else ":", value.text)


def _words(value: _Value) -> Node:
    if value.is_anything:
        return value.term("exists", True)
    if value.op == "=":
        return value.term("=", value.text)
    if value.is_quoted:
        text = value.text.replace("*", " ")  # a quoted star is no wildcard, and no word either
    else:
        text = value.text
    if not words(text):
        raise value.error("no_words", _no_words(value.text))
    return value.term(":", text)


def _dotted(value: _Value) -> Node:
    if value.is_anything:
        return value.term("exists", True)
    text = value.text.lower()
    if value.op == "=" or value.is_quoted and "*" in text:
        return value.term("=", text)
    if value.is_pattern and ("*" in text[:-1] or not text.endswith(".*")):
        return value.term(":", text)
    stem = text.removesuffix("*").rstrip(".")
    if not stem:
        raise value.error(
            "no_value", f"{value.name}: needs a value", _value_hint(value.name, value.field)
        )
    return value.term("prefix", stem)


def _choice(value: _Value) -> Node:
    if value.is_anything:
        return value.term("exists", True)
    text = value.text.lower()
    op = _COMPARISONS.get(value.op, "=")
    if op == "=" and value.is_pattern:
        return _choices(value)
    if text not in value.field.values:
        raise _unknown_choice(value)
    return value.term(op, text)


def _choices(value: _Value) -> Node:
    fits = glob(value.text.lower())
    terms = [value.term("=", choice) for choice in value.field.values if fits(choice)]
    if not terms:
        raise _unknown_choice(value)
    return terms[0] if len(terms) == 1 else Or(tuple(terms))


def _flag(value: _Value) -> Node:
    text = value.text.lower()
    if needs := MISSING_FLAGS.get(f"{value.field.name}:{text}"):
        raise value.error(
            "not_available",
            f"{value.name}:{text} needs {needs}, which this version does not have",
        )
    if text not in value.field.values:
        raise _unknown_choice(value)
    return value.term("=", text)


def _unknown_choice(value: _Value) -> QuerySyntaxError:
    return value.error(
        "unknown_value",
        f"{value.name}: has no value '{_shown(value.text)}'",
        "one of " + ", ".join(value.field.values),
    )


def _address(value: _Value) -> Node:
    if value.is_anything:
        return value.term("exists", True)
    text = value.text.lower()
    if text in ("private", "public"):
        return value.term("=", text)
    try:
        return value.term("=", read_network(text))
    except ValueError:
        raise value.error(
            "bad_address",
            f"'{_shown(value.text)}' is no IP address or CIDR range",
            "e.g. ip:203.0.113.7 or ip:10.0.0.0/8",
        ) from None


def _number(value: _Value) -> Node:
    if value.is_anything:
        return value.term("exists", True)
    if not value.op and ".." in value.text:
        low, high = (None if bound is None else _one_number(bound) for bound in _bounds(value))
        if low is None and high is None:
            return value.term("exists", True)
        if low is not None and high is not None and low > high:
            raise value.error("bad_range", "the range ends before it starts")
        return value.term("range", (low, high))
    return value.term(_COMPARISONS.get(value.op, "="), _one_number(value))


def _one_number(value: _Value) -> float:
    try:
        return read_number(value.text, value.field.kind)
    except ValueError as error:
        reason = f": {error}" if str(error) else ""
        raise value.error("bad_number", f"'{_shown(value.text)}' is no number{reason}") from None


def _time(value: _Value, *, now: Instant, zone: tzinfo) -> Node:
    if value.is_anything:
        return value.term("exists", True)
    if not value.op and ".." in value.text:
        low, high = (
            None if bound is None else _one_time(bound, now=now, zone=zone)
            for bound in _bounds(value)
        )
        if low and high and high.end and low.start > high.start and low.start >= high.end:
            raise value.error("bad_range", "the range ends before it starts")
        return value.term("range", (low.start if low else None, high.end if high else None))
    span = _one_time(value, now=now, zone=zone)
    match value.op:
        case ">=":
            return value.term("range", (span.start, None))
        case "<":
            return value.term("range", (None, span.start))
        case "<=":
            return value.term("range", (None, span.end))
        case ">":  # after the end of time comes nothing: an empty range
            return value.term("range", (span.end, None) if span.end else (LAST, LAST))
        case _:
            return value.term("range", (span.start, now if span.is_ago else span.end))


def _one_time(value: _Value, *, now: Instant, zone: tzinfo) -> Span:
    try:
        return read_time(value.text, now=now, zone=zone)
    except ValueError as error:
        shown, name = _shown(value.text), value.name
        if str(error):
            raise value.error("bad_time", f"'{shown}' is no time: {error}") from None
        examples = f"e.g. {name}:2026-01-01, {name}:7d"
        if name not in SUGAR:
            examples = (
                f"e.g. {name}:>=2026-01-01, {name}:7d, {name}:2026-01-01..2026-01-31, {name}:today"
            )
        raise value.error("bad_time", f"'{shown}' is no time", examples) from None


def _bounds(value: _Value) -> tuple[_Value | None, _Value | None]:
    """Both ends of `a..b`, each with its own position; None where it is open."""
    low, _, high = value.text.partition("..")
    start = value.position + value.is_quoted
    return (
        _bound(value, low, start),
        _bound(value, high, start + len(low) + 2),
    )


def _bound(value: _Value, text: str, position: int) -> _Value | None:
    if text in ("", "*"):
        return None
    return _Value(
        name=value.name,
        field=value.field,
        op=value.op,
        text=text,
        position=position,
        length=len(text),
        is_quoted=value.is_quoted,
    )


_READERS: Mapping[Kind, Callable[[_Value], Node]] = {
    "dotted": _dotted,
    "duration": _number,
    "enum": _choice,
    "exact": _plain,
    "flag": _flag,
    "ip": _address,
    "level": _choice,
    "number": _number,
    "smart": _plain,
    "text": _words,
    "value": _plain,
}


def _value_hint(name: str, field: Field) -> str:
    if name in SUGAR:
        return f"e.g. {name}:2026-01-01, {name}:7d"
    if field.kind == "flag":
        return "one of " + ", ".join(field.values)
    return f'write {name}:* for "any value"'


def _no_words(text: str) -> str:
    return f"nothing to search for in '{_shown(text)}': it has no letter and no digit"


def _shown(text: str) -> str:
    """A piece of the search as it may stand in a message: one line, short, printable."""
    short = text if len(text) <= 40 else text[:39] + "…"
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in short)


# ---- warnings


def _warnings(node: Node) -> tuple[str, ...]:
    """What can never match: two different values of one field that has a single one."""
    found: dict[str, None] = {}
    match node:
        case Not(term):
            found |= dict.fromkeys(_warnings(term))
        case Or(terms):
            for term in terms:
                found |= dict.fromkeys(_warnings(term))
        case And(terms):
            for term in terms:
                found |= dict.fromkeys(_warnings(term))
            found |= dict.fromkeys(_contradictions(terms))
        case Text() | Term():
            pass
    return tuple(found)


def _contradictions(terms: Sequence[Node]) -> list[str]:
    demands: dict[str, list[Sequence[Term]]] = {}
    for node in terms:
        choices = _choices_of(node)
        if choices:
            demands.setdefault(choices[0].field, []).append(choices)
    return [
        _contradiction(field, [term for choices in demanded for term in choices])
        for field, demanded in demands.items()
        if any(
            all(_excludes(one, other) for one in demanded[first] for other in choices)
            for first in range(len(demanded))
            for choices in demanded[first + 1 :]
        )
    ]


def _choices_of(node: Node) -> Sequence[Term]:
    """The terms of a qualifier with one value or several, if its field has a single one."""
    terms = node.terms if isinstance(node, Or) else (node,)
    choices = [term for term in terms if isinstance(term, Term)]
    fields = {term.field for term in choices}
    if len(choices) < len(terms) or len(fields) != 1:
        return ()
    field = find_field(choices[0].field)
    return choices if field and field.single else ()


def _contradiction(field: str, terms: Sequence[Term]) -> str:
    message = f"{field}: given twice can never match both"
    if all(term.op in (":", "=", "prefix") for term in terms):
        values = dict.fromkeys(_written(str(term.value)) for term in terms)
        message += f"; use {field}:{','.join(values)}"
    return message


def _excludes(one: Term, other: Term) -> bool:
    """Can no event match both? False when in doubt."""
    field = find_field(one.field)
    if field is None or "exists" in (one.op, other.op):
        return False
    match field.kind:
        case "number" | "duration" | "time":
            return _is_apart(_interval(one), _interval(other))
        case "level":
            return not _levels(one, field.values) & _levels(other, field.values)
        case "ip":
            return all(
                len(a[0]) != len(b[0]) or a[1] < b[0] or b[1] < a[0]
                for a in ip_ranges(str(one.value))
                for b in ip_ranges(str(other.value))
            )
        case "dotted":
            return not _is_pattern(one, other) and not (_holds(one, other) or _holds(other, one))
        case _:
            return (
                not _is_pattern(one, other)
                and str(one.value).casefold() != str(other.value).casefold()
            )


def _is_pattern(*terms: Term) -> bool:
    return any(term.op == ":" and "*" in str(term.value) for term in terms)


def _holds(outer: Term, inner: Term) -> bool:
    stem, name = str(outer.value), str(inner.value)
    return name == stem or outer.op == "prefix" and name.startswith(stem + ".")


def _levels(term: Term, values: Sequence[str]) -> set[str]:
    level = values.index(str(term.value))
    match term.op:
        case ">":
            return set(values[level + 1 :])
        case ">=":
            return set(values[level:])
        case "<":
            return set(values[:level])
        case "<=":
            return set(values[: level + 1])
        case _:
            return {values[level]}


_Interval: TypeAlias = tuple[float | None, bool, float | None, bool]
"""Low end, is it excluded, high end, is it excluded; None is open. Times in microseconds."""


def _interval(term: Term) -> _Interval:
    if isinstance(term.value, tuple):
        low, high = term.value
        if isinstance(low, Instant) or isinstance(high, Instant):
            return (
                low.micros if isinstance(low, Instant) else None,
                False,
                high.micros if isinstance(high, Instant) else None,
                True,
            )
        return low, False, high, False
    if isinstance(term.value, str):
        raise AssertionError("a field of numbers holds a number")
    match term.op:
        case ">" | ">=":
            return term.value, term.op == ">", None, False
        case "<" | "<=":
            return None, False, term.value, term.op == "<"
        case _:
            return term.value, False, term.value, False


def _is_apart(one: _Interval, other: _Interval) -> bool:
    return _is_below(one, other) or _is_below(other, one)


def _is_below(one: _Interval, other: _Interval) -> bool:
    high, low = one[2], other[0]
    if high is None or low is None:
        return False
    return high < low or high == low and (one[3] or other[1])


def _written(value: str) -> str:
    """A value as it is typed."""
    if _BARE.fullmatch(value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
