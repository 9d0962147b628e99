"""Pages that say what went wrong and what to do next, for people and for programs."""

from __future__ import annotations

import difflib
import re
import unicodedata
from dataclasses import dataclass

import msgspec

from whodid.errors import CursorError, InvalidError, QuerySyntaxError
from whodid.viewer import render
from whodid.viewer.address import Address
from whodid.viewer.frame import Link, find_bar
from whodid.viewer.http import Request, Response
from whodid.viewer.moments import Moments
from whodid.viewer.text import flat

_MEANT = re.compile(r"did you mean ([a-z._]+):\?")
_CHOICES = re.compile(r"one of ((?:\w+, )*\w+)\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Where a search is wrong.

    Attributes:
        caret: A line to stand below the search, with ^ under the fault.
        position: One-based.
        fixes: Searches that repair it.
    """

    before: str
    marked: str
    after: str
    caret: str
    message: str
    position: int
    hint: str
    fixes: list[Link]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    status: int
    heading: str
    text: str
    art: str = ""


_PAGES = {
    "forbidden": _Page(
        status=403,
        heading="You may not see these events",
        text="Nothing here is open to you. Whether there is anything is not shown. "
        "Ask whoever runs this log for access.",
        art="eye",
    ),
    "missing_page": _Page(
        status=404, heading="No such page", text="This address leads nowhere in the viewer."
    ),
    "missing_event": _Page(
        status=404,
        heading="No such event",
        text="There is no event with this id, or none that you may see. Which of the two is kept.",
        art="eye",
    ),
    "unavailable": _Page(
        status=503,
        heading="The store does not answer",
        text="The events are safe where they are, but they cannot be read at the moment. "
        "Try again; if it stays so, the server’s log says why.",
    ),
    "damaged": _Page(
        status=500,
        heading="An event cannot be read",
        text="Its stored bytes are not those of an event. Stop, keep a copy of the database, and "
        "run {command} verify: it names what was changed.",
    ),
}


def message(request: Request, name: str, *, command: str = "whodid") -> Response:
    """One of the pages above.

    Args:
        command: What runs the program on this log.
    """
    page = _PAGES[name]
    text = page.text.replace("{command}", command)
    if request.path.endswith(".json"):
        return _problem(page.status, page.heading, text)
    back = [Link("Back to the events", request.prefix + "/")] if name != "forbidden" else []
    if name == "unavailable":
        back.insert(0, Link("Try again", Address.of(request).list))
    return render.html(
        "message.html",
        request,
        status=page.status,
        headers={"retry-after": "5"} if page.status == 503 else None,
        heading=page.heading,
        text=text,
        art=page.art,
        links=back,
        fault=None,
        address=None,
        is_list=False,
        is_event=False,
    )


def invalid(request: Request, error: InvalidError, *, moments: Moments | None) -> Response:
    """400: what of the address can't be read, and how to go on."""
    if request.path.endswith(".json"):
        return _invalid_json(error)
    address = Address.of(request)
    shown = fault(error, address=address) if isinstance(error, QuerySyntaxError) else None
    heading, text, links = _explained(error, address=address)
    bar = find_bar(address, moments=moments, window=None) if moments else {"address": None}
    values = {"is_list": False, **bar, "is_event": True, "fault": shown}
    return render.html(
        "message.html",
        request,
        status=400,
        heading=heading,
        text=text,
        art="",
        links=links,
        **values,
    )


def _explained(error: InvalidError, *, address: Address) -> tuple[str, str, list[Link]]:
    if isinstance(error, QuerySyntaxError):
        return "That search has a mistake", "", []
    if isinstance(error, CursorError):
        return (
            "This page cannot be opened",
            "Its address was cut or changed, or it belongs to another search or another database.",
            [Link("Start again", address.changed().list)],
        )
    name, _, problem = str(error).partition(": ")
    text = f"{problem[:1].upper()}{problem[1:]}."
    if name == "tz":
        return "No such time zone", text, [Link("Show it in UTC", address.changed(tz=None).list)]
    links = [Link("Show the last 7 days", address.ranging(None).list)]
    return "That time window cannot be read", text, links


def fault(error: QuerySyntaxError, *, address: Address) -> Fault:
    """The search with its fault marked."""
    text = address.query.replace("\n", " ")
    start = min(error.position, len(text))
    end = min(start + error.length, len(text))
    # Past the end something is missing: a blank to stand under.
    marked = text[start:end] or " "
    caret = " " * _columns(text[:start]) + "^" * max(_columns(marked), 1)
    return Fault(
        before=text[:start],
        marked=marked,
        after=text[end:],
        caret=caret,
        message=_sentence(error.message),
        position=error.position + 1,
        hint=_hint(error),
        fixes=_fixes(error, text=text, address=address),
    )


def _columns(text: str) -> int:
    """How wide a monospaced text is."""
    return sum(
        0 if unicodedata.combining(character)
        else 2 if unicodedata.east_asian_width(character) in "WF"
        else 1
        for character in flat(text, limit=len(text))
    )  # fmt: skip


def _hint(error: QuerySyntaxError) -> str:
    """The suggestion as sentences."""
    hint = error.suggestion or ""
    sentences = [part[:1].upper() + part[1:] for part in re.split(r"(?<=\?) ", hint)]
    text = " ".join(sentences)
    return text if not text or text.endswith("?") else text + "."


def _fixes(error: QuerySyntaxError, *, text: str, address: Address) -> list[Link]:
    hint = error.suggestion or ""
    start, end = error.position, error.position + error.length
    found: list[tuple[str, str]] = []
    if meant := _MEANT.search(hint):
        found.append((f"Use {meant[1]}:", text[:start] + meant[1] + text[end:]))
    if choices := _CHOICES.search(hint):
        written = text[start:end].lower()
        nearest = sorted(choices[1].split(", "), key=lambda choice: -_likeness(written, choice))
        found += [(choice, text[:start] + choice + text[end:]) for choice in nearest]
    if "quote it" in hint:
        word = re.match(r"\S+", text[start:])
        if word and '"' not in word[0]:
            quoted = f'"{word[0]}"'
            found.append(
                ("Search for it as text", text[:start] + quoted + text[start + word.end() :])
            )
    found.append(("Clear the search", ""))
    return [Link(name, address.searching(search).list) for name, search in found]


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one[:64], other).ratio()


def _sentence(message: str) -> str:
    """A message with a capital, unless it begins with the name of a field."""
    first = message.partition(" ")[0]
    return message if first.endswith(":") else message[:1].upper() + message[1:]


def _invalid_json(error: InvalidError) -> Response:
    if isinstance(error, QuerySyntaxError):
        return _problem(
            400,
            "The search has a mistake",
            str(error),
            code=error.code,
            position=error.position,
            length=error.length,
            suggestion=error.suggestion,
        )
    return _problem(400, "The address cannot be read", str(error))


def _problem(status: int, title: str, detail: str, **more: object) -> Response:
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}
    return render.json(msgspec.json.encode(body), status=status)
