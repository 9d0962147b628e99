"""The page of known actions, made from the registry: `python -m tests.action_page` writes it.

`docs/reference/actions.md` is read in a checkout and on the web, where nothing can make it, so it
is kept; `test_action_page` fails when it is not what would be made now.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from whodid import actions
from whodid.actions import Action
from whodid.event import CATEGORIES

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "actions.md"

# ruff: noqa: E501 - a sentence of a page is one line
HEAD = """\
# Known actions

<!-- Made from src/whodid/actions.toml by `python -m tests.action_page`; edit that file. -->

These {count} actions have a category, an operation, a severity and a sentence of their own.
An event that names one of them need not send the first three.
Any other action of the form `noun.verb` is as welcome: it gets its operation by its verb, and a sentence made of its own words.
Names that begin with `audit.` are the log's own; clients can't send them.

The severity is that of a success; an event may say another one.

The sentence is what stands behind the actor's name.
It is shown here as of a success; *failed to …*, *tried to …* (denied), *could not …* (error) and *may have …* (unknown) are made from the same words.
What is in braces comes from the event:

| in the sentence | from the event |
|---|---|
| `{{target}}`, `{{target:user}}` | the first target, of that type: its name, else its id; *and 2 more* |
| `{{targets}}` | *invoice 42*, *6 invoices* |
| `{{other}}`, `{{own}}`, `{{self}}` | the target unless it is the actor; *their own* and *themselves* if it is |
| `{{claimed}}` | who was named at a sign-in that failed, and so proved nobody |
| `{{new:path}}`, `{{old:path}}` | the value of the change of that path, after and before |
| `{{added:path}}`, `{{removed:path}}` | what a list gained, what it lost |
| `{{changed}}` | *the due date*, *4 fields* |
| `{{before}}`, `{{after}}` | both values of the only change, if they are short |
| `{{meta:key}}` | metadata |
| `{{method}}`, `{{idp}}` | how and through whom the actor signed in |
| `{{behalf}}` | on whose behalf it was done |
| `{{call}}`, `{{error.type}}` | the request, and the error in it |
| `{{app}}` | the application that sent it |
| `{{a\\|b}}` | the first of the two that the event has |

An event that lacks one of them gets a simpler sentence; the last resort is shown behind the dot.
"""


def page() -> str:
    """The whole page."""
    known = actions.all_actions()
    known.sort(key=lambda action: CATEGORIES.index(action.category))
    tables = [
        _table(category, list(found))
        for category, found in groupby(known, key=lambda action: action.category)
    ]
    return "\n".join([HEAD.format(count=len(known)), *tables])


def _table(category: str, known: list[Action]) -> str:
    rows = [
        f"| `{action.name}` | {action.operation} | {action.severity} | {_sentences(action)} |\n"
        for action in known
    ]
    head = "| action | operation | severity | sentence |\n|---|---|---|---|\n"
    return f"## {category}\n\n{head}{''.join(rows)}"


def _sentences(action: Action) -> str:
    """The first sentence that is tried, and the last."""
    templates = action.phrases.get("success") or tuple(map(_in_the_past, action.sentence))
    shown = [templates[0]] if len(templates) == 1 else [templates[0], templates[-1]]
    return " · ".join(template.replace("|", r"\|") for template in shown)


def _in_the_past(template: str) -> str:
    verb, blank, rest = template.partition(" ")
    return actions._past(verb, actions._registry().irregular)[0] + blank + rest


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
