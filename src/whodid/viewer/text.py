"""How a value of an event becomes HTML: escaped, isolated, with nothing invisible in it.

Every value on a page passes `shown`. It stands in a `<bdi>`, so that right-to-left text cannot
reorder its neighbours, and characters that would hide or reorder something become a visible mark.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import msgspec
from markupsafe import Markup, escape
from msgspec import UnsetType

from whodid.redaction import MASK

_HATCHED = Markup('<span class="mask">•••• masked</span>')
MAX_ROW_CHARACTERS = 240
"""More than fits on any row; the drawer shows the rest."""

# C0 and C1 controls but tab and line feed, the soft hyphen, bidi controls, zero-width characters
# but the two joiners that Persian and emoji need, line and paragraph separators, fillers that look
# like blanks, interlinear marks, lone surrogates and the invisible tag characters.
_INVISIBLE = (
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b"
    "\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


# Accents above and below Latin, Greek and Cyrillic letters. No script stacks more than three of
# these; dozens of them run over the neighbouring lines.
_ACCENT = "[\u0300-\u034e\u0350-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]"
_MARKED = re.compile(f"{_INVISIBLE}|(?<={_ACCENT}{{3}}){_ACCENT}+")


def visible(text: str) -> Markup:
    """Escaped text in which invisible characters and piled-up accents are marks: ‹U+202E›."""
    if text.isascii() and text.isprintable():
        return escape(text)
    if text and unicodedata.combining(text[0]):
        text = "\u25cc" + text  # a combining mark would climb onto what stands before the value
    # Escaping touches none of the characters that are marked, so one pass over all will do.
    return Markup(_MARKED.sub(lambda found: _mark(found[0]), escape(text)))


@lru_cache(maxsize=1_024)  # a value may hold twenty thousand of them
def _mark(hidden: str) -> str:
    name = unicodedata.name(hidden[0], "control character").lower()
    return Markup('<span class="ctl" title="{}">{}</span>').format(name, _code(hidden))


def _code(hidden: str) -> str:
    if re.match(_INVISIBLE, hidden):
        return f"‹U+{ord(hidden):04X}›"
    return f"‹+{plural(len(hidden), 'accent')}›"


def shown(value: object) -> Markup:
    """A value of an event, isolated from the direction of the text around it."""
    return Markup(f"<bdi>{_hatched(visible(plain(value)))}</bdi>")


def _hatched(text: Markup) -> Markup:
    """Masked values, whole or inside a text, on hatched ground."""
    return text.replace(MASK, _HATCHED) if MASK in text else text


def soft(value: object) -> Markup:
    """The same, free to break after the @ of an e-mail address."""
    return Markup(f"<bdi>{visible(plain(value)).replace('@', Markup('@<wbr>'))}</bdi>")


def brief(value: object, *, limit: int = MAX_ROW_CHARACTERS) -> Markup:
    """The same on one line, cut after `limit` characters with an ellipsis."""
    text = plain(value)
    if len(text) > limit:
        text = text[:limit].rstrip() + "…"
    return Markup(f"<bdi>{_hatched(visible(text.replace(chr(10), ' ↵ ')))}</bdi>")


def flat(text: str, *, limit: int = MAX_ROW_CHARACTERS) -> str:
    """Plain text for titles and attributes: invisible characters as marks, cut, on one line."""
    cut = text if len(text) <= limit else text[:limit].rstrip() + "…"
    marked = _MARKED.sub(lambda found: _code(found[0]), cut)
    return marked.replace("\n", " ")


def plain(value: object) -> str:
    """A JSON value as a person reads it; text as it is, lists and objects as JSON."""
    match value:
        case str():
            return value
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case _:
            return msgspec.json.encode(value).decode()


def told(value: object) -> str:
    """The same, but that lists of other objects are told by the names of these."""
    linked = linked_objects(value)
    return plain(value) if linked is None else ", ".join(name or key for key, name in linked)


def linked_objects(value: object) -> list[tuple[str, str]] | None:
    """Ids and names of a list of `{"id": …, "name": …}`, as links between records have them.

    None for everything else, also for a list that is empty.
    """
    if not (isinstance(value, list | tuple) and value):
        return None
    if not all(isinstance(item, dict) and item.keys() == {"id", "name"} for item in value):
        return None
    return [(plain(item["id"]), plain(item["name"] or "")) for item in value]


def number(count: int) -> str:
    """12480 as 12,480."""
    return f"{count:,}"


def plural(count: int, noun: str) -> str:
    """`1 event`, `2 events`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def initials(name: str) -> str:
    """At most two letters that stand for a name; "" when it has none."""
    words = [
        word for word in re.split(r"[\s._@+/-]+", name.partition("@")[0]) if word[:1].isalnum()
    ]
    letters = [words[0][0], words[-1][0]] if len(words) > 1 else [word[0] for word in words]
    return "".join(letters).upper()[:2]


def leaves(value: Any, *, path: str = "") -> Iterator[tuple[str, Any]]:  # Any: JSON of the sender
    """Each scalar inside a JSON value with its dotted path; empty lists and objects as such."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, path=f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple) and any(isinstance(item, dict | list) for item in value):
        for index, item in enumerate(value):
            yield from leaves(item, path=f"{path}[{index}]")
    else:
        yield path, value


_JSON_KEY = re.compile(r'(\s*)("(?:[^"\\]|\\.)*")(:.*)?', re.DOTALL)


def pretty_json(data: bytes) -> Markup:
    """JSON on many lines, its keys marked for the stylesheet."""
    lines = msgspec.json.format(data, indent=2).decode().split("\n")
    return Markup("\n").join(_coloured(line) for line in lines)


def _coloured(line: str) -> Markup:
    found = _JSON_KEY.fullmatch(line)
    if not found or not found[3]:
        return visible(line)
    return Markup('{}<span class="k">{}</span>{}').format(
        found[1], visible(found[2]), visible(found[3])
    )


def joined(parts: Iterable[str | UnsetType | None], *, by: str = ", ") -> str:
    """The parts that are there, in one text."""
    return by.join(part for part in parts if part)
