"""What may be typed next in the search box, in three steps: field, operator, value.

Nothing is guessed from spelling alone that the search language itself knows: names come from
`query.fields`, values from the store's facets, so only what the caller may see is offered. What is
counted, and where, is passed in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from whodid.query.fields import ALIASES, FIELDS, OPEN_FIELDS, SUGAR, Field, find_field
from whodid.query.words import fold
from whodid.stores.base import Facet, FacetField
from whodid.viewer.countries import country_name
from whodid.viewer.moments import Moments
from whodid.viewer.people import KINDS
from whodid.viewer.rows import OUTCOMES
from whodid.viewer.terms import spell, unquoted

SHOWN = 8
"""Options in sight at once."""
SEARCHED = 200
"""The commonest values that a beginning is looked for among."""
MAX_TYPED = 2_000

Step: TypeAlias = Literal["field", "operator", "value"]
Count: TypeAlias = Callable[[FacetField, int, str], Facet]
"""The commonest values of a field, at most so many; when there is a word, of those that hold it."""

DESCRIPTIONS: Mapping[str, str] = {
    "actor": "who did it: a name, e-mail address or id",
    "action": "what was done, with all below it: user, user.login",
    "outcome": "how it ended",
    "target": "to what: a name or id",
    "ip": "from which address or network",
    "country": "from which country",
    "app": "in which application",
    "created": "when it occurred",
    "severity": "how grave it is",
    "is": "what kind of event",
    "has": "what an event tells",
    "tenant": "whose data",
    "changed": "which field was changed",
    "category": "the family of the action",
    "operation": "create, read, update, delete, …",
    "session": "in one session",
    "request": "in one request",
    "trace": "in one trace",
    "behalf": "for whom",
    "via": "through whom or what",
    "status": "status code of the call",
    "duration": "how long the call took",
    "tag": "a tag",
    "message": "words of the message",
    "error": "words of the error",
    "reason": "the reason’s code",
    "actor.type": "person, machine, AI agent, …",
    "actor.role": "a role of whoever did it",
    "target.type": "what kind of record",
    "received": "when it arrived here",
    "env": "production, staging, …",
    "index": "its number in the ledger",
    "meta": "anything the application added: meta.order",
    "old": "a value before the change: old.role",
    "new": "a value after the change: new.role",
}
"""Qualifiers in the order they are offered; those that are not here come last."""
_COUNTED: Mapping[str, FacetField] = {
    "action": "action",
    "actor": "actor",
    "actor.id": "actor",
    "app": "app",
    "category": "category",
    "country": "country",
    "ip": "ip",
    "operation": "operation",
    "outcome": "outcome",
    "severity": "severity",
    "tenant": "tenant",
}
_LONGEST_WORD = 64
_NARROWED = frozenset({"action", "actor", "app"})
"""Of these, values that hold a word can be asked for."""
_TIMES: Sequence[tuple[str, str]] = (
    ("15m", "the last 15 minutes"),
    ("1h", "the last hour"),
    ("24h", "the last 24 hours"),
    ("7d", "the last 7 days"),
    ("30d", "the last 30 days"),
    ("3mo", "the last 3 months"),
    ("1y", "the last year"),
    ("today", "since midnight"),
    ("yesterday", "the day before"),
)
_MOMENTS: Sequence[tuple[str, str]] = (
    ("15m", "15 minutes ago"),
    ("1h", "an hour ago"),
    ("24h", "24 hours ago"),
    ("7d", "7 days ago"),
    ("30d", "30 days ago"),
    ("1y", "a year ago"),
    ("today", "midnight"),
    ("yesterday", "midnight before"),
)
_FIXED: Mapping[str, Sequence[tuple[str, str]]] = {
    "is": (
        ("failed", "ended in failure, denial or error"),
        ("impersonated", "done under somebody else’s identity"),
        ("agent", "done by an AI agent"),
        ("anonymous", "done by somebody unknown"),
        ("privileged", "done with elevated rights"),
        ("redacted", "holds masked or removed values"),
    ),
    "has": (
        ("changes", "values before and after"),
        ("behalf", "for whom it was done"),
        ("via", "through whom or what"),
        ("geo", "a place"),
        ("trace", "a trace"),
        ("error", "an error"),
        ("reason", "a reason"),
    ),
    "ip": (("private", "addresses of private networks"), ("public", "all others")),
    "status": (
        (">=400", "any error"),
        ("500..599", "errors of the server"),
        ("403", "forbidden"),
        ("404", "not found"),
    ),
    "duration": ((">1s", "more than a second"), (">10s", "more than ten seconds")),
}
_ORDERED: Sequence[tuple[str, str]] = (
    (">=", "at least"),
    ("<=", "at most"),
    (">", "more than"),
    ("<", "less than"),
)
_ORDERED_TIMES: Sequence[tuple[str, str]] = (
    (">=", "since"),
    ("<=", "until"),
    (">", "after"),
    ("<", "before"),
)
_QUALIFIER = re.compile(r"(-?)([\w.]+):(>=|<=|>|<|=)?(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One thing that may be typed.

    Attributes:
        insert: What replaces the term, sign and all.
        label: What a person reads; `hint` says more about it, or is how it is typed.
        count: Events in the window that have the value, None when it is not counted.
        share: The same in percent of the commonest.
        next: The step that follows; "" when the term is complete.
    """

    insert: str
    label: str
    hint: str = ""
    icon: str = ""
    css: str = ""
    is_code: bool = False
    count: int | None = None
    share: float = 0.0
    next: Literal["operator", "value", ""] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What is offered at one place of a search.

    Attributes:
        start: With `end`, the characters that an option replaces.
        field: Name of the qualifier, "" in the first step.
        operator: How it compares, in words.
        is_counted: The options have counts.
        others: Further values that begin so, None when it is not known how many.
        searched: Only so many of the commonest values were looked at, 0 for all.
    """

    step: Step = "field"
    start: int = 0
    end: int = 0
    field: str = ""
    operator: str = ""
    options: Sequence[Option] = ()
    is_counted: bool = False
    is_exact: bool = True
    others: int = 0
    searched: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """The term around the caret: `head` is what of it stands before the caret."""

    start: int
    end: int
    head: str


def complete(
    typed: str, *, caret: int | None, wants_operator: bool, moments: Moments, count: Count
) -> Completion:
    """What may be typed at the caret.

    Args:
        typed: The whole search as it stands in the box.
        caret: Characters before the caret; the end when absent.
        wants_operator: A field was just chosen, so its operators come next, not its values.
        count: Called once, or twice when a beginning fits none of the commonest values.
    """
    if len(typed) > MAX_TYPED:
        return Completion()
    place = _place(typed, len(typed) if caret is None else min(caret, len(typed)))
    found = _QUALIFIER.fullmatch(place.head)
    if not found:
        return _fields(place)
    field = find_field(found[2])
    if field is None:
        return Completion(start=place.start, end=place.end)
    if wants_operator and not (found[3] or found[4]):
        return _operators(place, field, name=found[2])
    return _values(place, field, match=found, moments=moments, count=count)


def _place(text: str, caret: int) -> _Place:
    start, is_quoted, index = 0, False, 0
    while index < caret:
        character = text[index]
        if character == "\\" and is_quoted:
            index += 1
        elif character == '"':
            is_quoted = not is_quoted
        elif not is_quoted and (character.isspace() or character in "()"):
            start = index + 1
        index += 1
    end = caret
    while end < len(text) and (
        text[end] != '"' if is_quoted else not (text[end].isspace() or text[end] in "(),")
    ):
        end += 1
    if is_quoted and end < len(text):
        end += 1
    return _Place(start=start, end=end, head=text[start:caret])


# ---- fields


def _fields(place: _Place) -> Completion:
    sign = "-" if place.head.startswith("-") else ""
    begun = place.head.removeprefix("-").lower()
    if not re.fullmatch(r"[\w.]*", begun):
        return Completion(start=place.start, end=place.end)  # quoted, or no name at all
    options = [
        Option(
            insert=f"{sign}{name}{'.' if name in OPEN_FIELDS else ':'}",
            label=name,
            hint=DESCRIPTIONS.get(name, ""),
            is_code=True,
            next="" if name in OPEN_FIELDS else "operator",
        )
        for name in _names(begun)
    ]
    return Completion(
        start=place.start,
        end=place.end,
        options=options[:SHOWN],
        others=max(len(options) - SHOWN, 0),
    )


def _names(begun: str) -> Iterator[str]:
    """Qualifiers that a beginning may mean: by their own name first, then by another one."""
    known = [*DESCRIPTIONS, *(name for name in FIELDS if name not in DESCRIPTIONS)]
    direct = [name for name in known if name.startswith(begun)]
    inner = [name for name in known if begun and any(p.startswith(begun) for p in name.split("."))]
    aliased = [ALIASES[alias] for alias in ALIASES if begun and alias.startswith(begun)]
    yield from dict.fromkeys([*direct, *aliased, *inner])


# ---- operators


def _operators(place: _Place, field: Field, *, name: str) -> Completion:
    sign = "-" if place.head.startswith("-") else ""
    comparisons = list(_ORDERED_TIMES if field.kind == "time" else _ORDERED)
    if field.kind == "dotted":
        comparisons = [("=", "is exactly")]
    elif not field.has_order:
        comparisons = []
    written = [(f"{name}:", "is"), (f"-{name}:", "is not")]
    written += [(f"{sign}{name}:{operator}", words) for operator, words in comparisons]
    options = [Option(insert=text, label=words, hint=text, next="value") for text, words in written]
    if field.kind not in ("flag", "time"):
        options += [
            Option(insert=text, label=words, hint=text)
            for text, words in ((f"{name}:*", "has any value"), (f"-{name}:*", "has none"))
        ]
    return Completion(
        step="operator", start=place.start, end=place.end, field=field.name, options=options
    )


# ---- values


def _values(
    place: _Place, field: Field, *, match: re.Match[str], moments: Moments, count: Count
) -> Completion:
    sign, name, operator, rest = match[1], match[2], match[3] or "", match[4]
    kept, begun = _last_value(rest)
    if ".." in begun or "*" in begun:
        return Completion(step="value", start=place.start, end=place.end, field=field.name)
    lead = f"{sign}{name}:{operator}{kept}"
    fixed = [
        Option(insert=f"{lead}{value}", label=value, hint=hint, is_code=True)
        for value, hint in _fixed(field, operator or SUGAR.get(name.lower(), ""), moments)
        if _begins(value, begun) and not (operator and value.startswith(">"))
    ]
    facet = _facet(field, begun, count=count)
    options = [*_counted(facet, field, lead=lead, begun=begun), *fixed] if facet else fixed
    shown = options[:SHOWN]
    most = max((option.count or 0 for option in shown), default=0)
    cut = facet.distinct > len(facet.values) if facet else False
    return Completion(
        step="value",
        start=place.start,
        end=place.end,
        field=field.name,
        operator=_in_words(field, sign=sign, operator=operator),
        options=[_shared(option, most) for option in shown],
        is_counted=facet is not None,
        is_exact=facet.exact if facet else True,
        others=_others(facet, options, begun=begun),
        searched=len(facet.values) if facet and begun and cut else 0,
    )


def _facet(field: Field, begun: str, *, count: Count) -> Facet | None:
    """The commonest values of a field; those that hold what is begun, if it takes a look at all."""
    name = _COUNTED.get(field.name)
    if name is None or not begun:
        return count(name, SHOWN, "") if name else None
    facet = count(name, SEARCHED, "")
    words = re.findall(r"\w(?:[\w.@-]*\w)?", begun)
    has_more = facet.distinct > len(facet.values)
    found = sum(_begins(f"{value.label} {value.value}", begun) for value in facet.values)
    if has_more and words and found < SHOWN and name in _NARROWED:
        return count(name, SEARCHED, max(words, key=len)[:_LONGEST_WORD])
    return facet


def _others(facet: Facet | None, options: Sequence[Option], *, begun: str) -> int:
    hidden = max(len(options) - SHOWN, 0)
    if facet and not begun:
        hidden = max(facet.distinct - SHOWN, hidden)
    return hidden


def _shared(option: Option, most: int) -> Option:
    if not option.count or not most:
        return option
    return replace(option, share=round(100 * option.count / most, 1))


def _in_words(field: Field, *, sign: str, operator: str) -> str:
    words = dict(_ORDERED_TIMES if field.kind == "time" else _ORDERED) | {"=": "exactly", "": "is"}
    return f"not {words[operator]}" if sign and operator else "is not" if sign else words[operator]


def _last_value(rest: str) -> tuple[str, str]:
    """What of a list of values is complete, and what the last one begins with."""
    cut, is_quoted, index = 0, False, 0
    while index < len(rest):
        if rest[index] == "\\" and is_quoted:
            index += 1
        elif rest[index] == '"':
            is_quoted = not is_quoted
        elif rest[index] == "," and not is_quoted:
            cut = index + 1
        index += 1
    begun = rest[cut:]
    return rest[:cut], unquoted(f'{begun}"' if is_quoted else begun)


def _fixed(field: Field, operator: str, moments: Moments) -> Sequence[tuple[str, str]]:
    if field.kind == "time":
        local = moments.local(moments.now)
        calendar = ((f"{local:%Y-%m-%d}", "that day"), (f"{local:%Y-%m}", "that month"))
        return [*(_MOMENTS if operator else _TIMES), *calendar]
    if field.name in _FIXED:
        return _FIXED[field.name]
    if field.kind == "enum" and field.name not in _COUNTED:
        return [(value, KINDS.get(value, "")) for value in field.values]
    return ()


def _counted(facet: Facet, field: Field, *, lead: str, begun: str) -> Iterator[Option]:
    """Values of the facet; of a closed list all of them, also those that no event has."""
    is_list = lead.endswith(",")
    for value in facet.values:
        label = _label(field, value.field, value.label)
        if is_list and value.field == "actor.type" or not _begins(f"{label} {value.value}", begun):
            continue
        insert = lead + _spelled(field.name, value.value)
        if field.name == "actor" and lead.endswith(":"):
            sign = "-" if lead.startswith("-") else ""
            insert = sign + spell(value.field, value.value)
        yield _option(field, label, value=value.value, insert=insert, count=value.count)
    counted = {value.value for value in facet.values}
    for name in field.values:
        if name not in counted and _begins(name, begun):
            yield _option(
                field, _label(field, field.name, name), value=name, insert=lead + name, count=0
            )


def _option(field: Field, label: str, *, value: str, insert: str, count: int) -> Option:
    icon = OUTCOMES[value][0] if field.name == "outcome" and value in OUTCOMES else ""
    is_code = field.name in ("ip", "action", "actor.id")
    return Option(
        insert=insert,
        label=label,
        hint=value if label != value and field.name in ("actor", "country", "tenant") else "",
        icon=icon,
        css=value if icon else "",
        is_code=is_code,
        count=count,
    )


def _label(field: Field, qualifier: str, label: str) -> str:
    if field.name == "outcome":
        return OUTCOMES.get(label, ("", label))[1]
    if field.name == "country":
        return country_name(label)
    return KINDS.get(label, label) if qualifier == "actor.type" else label


def _spelled(field: str, value: str) -> str:
    return spell(field, value).partition(":")[2]


def _begins(text: str, begun: str) -> bool:
    """Does a word of a text begin so, or the text itself?"""
    if not begun:
        return True
    folded, wanted = fold(text), fold(begun)
    return folded.startswith(wanted) or any(
        folded.startswith(wanted, found.end()) for found in re.finditer(r"[\s._@:/-]+", folded)
    )
