"""The tree of a search: frozen values, times absolute, nothing left to guess.

`parse` makes it, `evaluate.matches` is its meaning, `sql.compile_where` turns it into a superset.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import Literal, TypeAlias

from whodid.times import Instant

Op: TypeAlias = Literal[":", "=", "prefix", "range", ">", ">=", "<", "<=", "exists"]
"""`:` the field's own way of matching (smart, word, wildcard) · `=` exact · `prefix` a dotted
name and everything below it · `range` · comparisons · `exists` has any value."""

TimeRange: TypeAlias = tuple[Instant | None, Instant | None]
"""From inclusive, to exclusive; None is open."""
NumberRange: TypeAlias = tuple[float | None, float | None]
"""Both ends inclusive; None is open."""
Value: TypeAlias = str | int | float | bool | TimeRange | NumberRange


@dataclass(frozen=True, slots=True)
class Text:
    """Free text: all words anywhere, or the words in this order when `phrase`."""

    text: str
    phrase: bool = False


@dataclass(frozen=True, slots=True)
class Term:
    """One qualifier. `field` is canonical (aliases resolved), e.g. `actor.id`, `meta.order`."""

    field: str
    op: Op
    value: Value


@dataclass(frozen=True, slots=True)
class Not:
    term: Node


@dataclass(frozen=True, slots=True)
class And:
    """All of them; empty means everything."""

    terms: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class Or:
    terms: tuple[Node, ...]


Node: TypeAlias = Text | Term | Not | And | Or
EVERYTHING = And()


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A search as asked: its text, its tree, and the moment and zone its times were read in.

    Attributes:
        text: What was typed.
        node: What it means.
        now: The moment that relative times count from; kept in the cursor for later pages.
        zone: The zone that times without offset are read in.
        warnings: Things that are no errors but can hardly be meant, in English.
    """

    text: str
    node: Node
    now: Instant
    zone: tzinfo = UTC
    warnings: tuple[str, ...] = field(default=())


def all_of(*nodes: Node) -> Node:
    """The conjunction, flattened; without nodes everything."""
    terms: list[Node] = []
    for node in nodes:
        if isinstance(node, And):
            terms += node.terms
        else:
            terms.append(node)
    return terms[0] if len(terms) == 1 else And(tuple(terms))


def within(start: Instant | None, end: Instant | None) -> Node:
    """Events that occurred from `start` (inclusive) to `end` (exclusive)."""
    return EVERYTHING if start is None and end is None else Term("created", "range", (start, end))


def time_window(node: Node) -> TimeRange:
    """The narrowest range of `created` that the tree demands at its top; (None, None) if none."""
    start: Instant | None = None
    end: Instant | None = None
    for term in node.terms if isinstance(node, And) else (node,):
        if isinstance(term, Term) and term.field == "created" and isinstance(term.value, tuple):
            low, high = term.value
            if isinstance(low, Instant):
                start = max(start, low) if start else low
            if isinstance(high, Instant):
                end = min(end, high) if end else high
    return start, end
