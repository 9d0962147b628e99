"""Text of events made fit for a terminal, a table, a line, a cell.

Whoever writes events chooses what their names and messages hold: escape sequences that clear the
screen, marks that turn the reading direction, formulas. Everything shown passes through here.
"""

from __future__ import annotations

import re
import unicodedata

from whodid.errors import QuerySyntaxError

# Joiners that Persian, Indic scripts and emoji need; they reorder and hide nothing.
_KEPT = frozenset("\u200c\u200d")
_JSON_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


def visible(text: str) -> str:
    """The text with every control, bidi and invisible character as a mark such as ‹U+202E›."""
    if text and unicodedata.combining(text[0]):
        text = "\u25cc" + text  # else it would climb onto what stands before
    if text.isprintable():
        return text
    return "".join(char if _is_shown(char) else f"‹U+{ord(char):04X}›" for char in text)


def _is_shown(char: str) -> bool:
    return char.isprintable() or char in _KEPT or unicodedata.category(char) == "Zs"


def one_line(text: str) -> str:
    """The same with line breaks and tabs as blanks, for a row of a table."""
    return visible(text.replace("\r\n", " ").replace("\n", " ").replace("\t", " "))


def counted(number: int, noun: str) -> str:
    """`1 event`, `2 events`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def width(text: str) -> int:
    """Columns that the text takes on a terminal."""
    columns = 0
    for char in text:
        if not unicodedata.combining(char) and char not in _KEPT:
            columns += 2 if unicodedata.east_asian_width(char) in "WF" else 1
    return columns


def pointed_at(query: str, error: QuerySyntaxError) -> str:
    """The search with a caret under each character of the fault, and what to write instead."""
    position = min(error.position, len(query))
    before, fault = query[:position], query[position : position + error.length]
    carets = "^" * max(width(one_line(fault)), 1)
    lines = [one_line(query), " " * width(one_line(before)) + carets]
    if error.suggestion:
        lines.append(one_line(error.suggestion))
    return "\n".join("  " + line for line in lines)


def csv_cell(value: object) -> str:
    """A cell that no spreadsheet takes for a formula."""
    text = "" if value is None else visible(str(value))
    return "'" + text if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def safe_json(data: bytes) -> str:
    r"""JSON with unprintable characters written as `\u…`: the same values, nothing raw."""
    text = data.decode()
    return text if text.isprintable() else _JSON_UNPRINTABLE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    char = found[0]
    if char.isprintable() or char == "\n":  # line breaks stand between values, never in strings
        return char
    code = ord(char)
    if code < 0x10000:
        return f"\\u{code:04x}"
    return f"\\u{0xD800 + (code - 0x10000 >> 10):04x}\\u{0xDC00 + (code - 0x10000 & 0x3FF):04x}"
