"""Adding and removing single terms of a search's text, as the filters on the left do.

The text stays what the person typed; only whole terms at its top are touched. What a term means is
never guessed from its spelling: each part is parsed, and trees are compared.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from whodid.errors import QuerySyntaxError
from whodid.query.ast import Node, Not, Or, Term
from whodid.query.words import fold

Parse: TypeAlias = Callable[[str], Node]
State: TypeAlias = Literal["included", "excluded", None]

_NAMING = (":", "=", "prefix")
"""Operators that name values; several of these in one term are alternatives."""
_WORD = re.compile(r"\w[\w.-]*\w")
_PLAIN = re.compile(r"\w(?:[\w@/+:-]|\.(?!\.))*")


def spell(field: str, value: str) -> str:
    """A term that finds exactly this value: `app:billing`, `actor.id:"a b"`."""
    if _PLAIN.fullmatch(value):
        return f"{field}:{value}"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'{field}:"{escaped}"'


@dataclass(frozen=True, slots=True)
class _Part:
    """One term at the top of a search.

    Attributes:
        terms: The alternatives of a qualifier, `country:de,fr` being two; empty when the part is
            something else.
        values: Their spellings, in the same order.
    """

    text: str
    field: str = ""
    terms: tuple[Term, ...] = ()
    values: tuple[str, ...] = ()
    negative: bool = False


class Terms:
    """A search as the terms at its top, all of which must hold."""

    def __init__(self, text: str, *, parse: Parse) -> None:
        """Take a search apart.

        Args:
            text: A search that can be parsed.
            parse: Reads a search; raises QuerySyntaxError when it can't.
        """
        self.parse = parse
        self._known: dict[str, Term] = {}
        self._parts = [_read(part, parse=parse) for part in _split(text)]

    def state(self, field: str, value: str) -> State:
        """Is this value demanded, ruled out, or neither?"""
        try:
            term = self._term(field, value)
        except QuerySyntaxError:
            return None  # a value that only an operator makes possible, such as >=high
        for part in self._parts:
            if any(_same(term, other) for other in part.terms):
                return "excluded" if part.negative else "included"
        return None

    def fields(self) -> set[str]:
        """The fields that some term at the top is about."""
        return {part.terms[0].field for part in self._parts if part.terms}

    @property
    def has_text(self) -> bool:
        """Is something at the top no qualifier of one field?"""
        return any(not part.terms for part in self._parts)

    def values(self, field: str) -> Iterator[str]:
        """Values of a field that terms at the top name, as they are read."""
        for part in self._parts:
            if part.terms and part.terms[0].field == field:
                yield from (unquoted(value) for value in part.values)

    def including(self, field: str, value: str) -> str:
        """The search that also accepts this value: beside others of the field, else alone."""
        return self._with(field, value, negative=False)

    def excluding(self, field: str, value: str) -> str:
        """The search that rules this value out."""
        return self._with(field, value, negative=True)

    def without(self, field: str, value: str) -> str:
        """The search that says nothing about this value."""
        return _join(self._dropped(self._term(field, value)))

    def without_fields(self, *fields: str) -> str:
        """The search without the terms about these fields."""
        return _join(
            part for part in self._parts if not part.terms or part.terms[0].field not in fields
        )

    def only_fields(self, *fields: str) -> str:
        """The terms about these fields and no others."""
        return _join(part for part in self._parts if part.terms and part.terms[0].field in fields)

    def __len__(self) -> int:
        return len(self._parts)

    def text(self, place: int) -> str:
        """The term at a place, counted from 0, as it is written."""
        return self._parts[place].text

    def without_place(self, place: int) -> str:
        """The search without the term at a place."""
        return _join(part for at, part in enumerate(self._parts) if at != place)

    def negated(self, place: int) -> str:
        """The search that rules out what the term at a place demands, or the reverse."""
        return self._replaced(place, _negated(self._parts[place].text))

    def loosened(self) -> list[tuple[str, str]]:
        """Terms for a part of a name in place of the last one for a whole word, and the searches.

        Empty when there is no term for a whole word.
        """
        for place in reversed(range(len(self._parts))):
            if wider := _loosened(self._parts[place]):
                return [(term, self._replaced(place, term)) for term in wider]
        return []

    def _replaced(self, place: int, text: str) -> str:
        return " ".join(text if at == place else part.text for at, part in enumerate(self._parts))

    def _term(self, field: str, value: str) -> Term:
        spelled = spell(field, value)
        if spelled not in self._known:
            node = self.parse(spelled)
            if not isinstance(node, Term):
                raise AssertionError(f"a spelled {field} term is no single term")
            self._known[spelled] = node
        return self._known[spelled]

    def _with(self, field: str, value: str, *, negative: bool) -> str:
        term = self._term(field, value)
        written = spell(field, value)
        parts: list[_Part] = []
        has_joined = False
        for part in self._dropped(term):
            rival = bool(part.terms) and part.terms[0].field == term.field
            if not rival or part.negative is not negative:
                parts.append(part)
            elif not has_joined and all(other.op in _NAMING for other in part.terms):
                parts.append(_rebuilt(part, [*part.values, written.partition(":")[2]]))
                has_joined = True
            elif negative:
                parts.append(part)
            # else the two together would find nothing, as severity:>=high severity:low does
        if not has_joined:
            parts.append(_Part(("-" if negative else "") + written))
        return _join(parts)

    def _dropped(self, term: Term) -> Iterator[_Part]:
        for part in self._parts:
            left = [
                value
                for value, other in zip(part.values, part.terms, strict=True)
                if not _same(term, other)
            ]
            if len(left) == len(part.values):
                yield part
            elif left:
                yield _rebuilt(part, left)


def _loosened(part: _Part) -> list[str]:
    if not part.terms and _WORD.fullmatch(part.text):
        return [f"{field}:*{part.text}*" for field in ("target", "actor")]
    if part.field in ("target", "actor") and not part.negative and len(part.values) == 1:
        value = part.values[0]
        return [f"{part.field}:*{value}*"] if _WORD.fullmatch(value) else []
    return []


def _negated(text: str) -> str:
    if text.startswith("NOT "):
        return text[4:]
    return text[1:] if text.startswith("-") else f"-{text}"


def _same(one: Term, other: Term) -> bool:
    if isinstance(one.value, str) and isinstance(other.value, str):
        return (one.field, one.op) == (other.field, other.op) and fold(one.value) == fold(
            other.value
        )
    return one == other


def _rebuilt(part: _Part, values: Sequence[str]) -> _Part:
    sign = "-" if part.negative else ""
    return _Part(f"{sign}{part.field}:{','.join(values)}")


def _join(parts: Iterator[_Part] | Sequence[_Part]) -> str:
    return " ".join(part.text for part in parts)


def _split(text: str) -> list[str]:
    """The parts at the top of a search; all of it as one when they are alternatives."""
    parts: list[str] = []
    lead = ""
    for word in _words(text):
        if word == "OR":
            return [f"({text.strip()})"]
        if word == "NOT":
            lead += "NOT "
        elif word != "AND":
            parts.append(lead + word)
            lead = ""
    return parts


def _words(text: str) -> Iterator[str]:
    """Runs between blanks that are neither quoted nor in parentheses."""
    depth, quoted, start, index = 0, False, None, 0
    while index < len(text):
        character = text[index]
        if quoted:
            if character == "\\":
                index += 1
            elif character == '"':
                quoted = False
        elif character == '"':
            quoted = True
        elif character in "()":
            depth += 1 if character == "(" else -1
        elif character.isspace() and depth == 0:
            if start is not None:
                yield text[start:index]
            start = None
            index += 1
            continue
        start = index if start is None else start
        index += 1
    if start is not None:
        yield text[start:]


def _read(text: str, *, parse: Parse) -> _Part:
    node = parse(text)
    negative = isinstance(node, Not)
    inner = node.term if isinstance(node, Not) else node
    terms = inner.terms if isinstance(inner, Or) else (inner,)
    qualifiers = tuple(term for term in terms if isinstance(term, Term))
    field, colon, rest = re.sub(r"^(?:-|NOT )", "", text).partition(":")
    values = tuple(_values(rest))
    same_field = len({term.field for term in qualifiers}) == 1
    if not (colon and same_field and len(values) == len(terms) == len(qualifiers)):
        return _Part(text)
    if not re.fullmatch(r"[\w.]+", field):
        return _Part(text)
    return _Part(text, field, qualifiers, values, negative)


def _values(text: str) -> Iterator[str]:
    """The spellings between commas that are not quoted."""
    for found in re.finditer(r'((?:"(?:[^"\\]|\\.)*"|[^,"])+)(?:,|\Z)', text, re.DOTALL):
        yield found[1]


def unquoted(value: str) -> str:
    """A value as it is meant, without the quotes around it."""
    if value.startswith('"') and value.endswith('"') and len(value) > 1:
        return re.sub(r"\\(.)", r"\1", value[1:-1], flags=re.DOTALL)
    return value
