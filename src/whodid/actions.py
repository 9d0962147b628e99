"""The registry of actions: what each one is by default, and how it reads in English.

Data in `actions.toml`, read once at the first use. An action that is not in it gets defaults by
its verb and a sentence made of its own words, so that no event is without one.

A template is the phrase after "to", its verb first: `give {target} the role {new:role}`. From it
come "gave …", "failed to give …", "tried to give …", "could not give …", "may have given …".
`{a|b}` is the first of the two that the event has; a template whose fields are not all there
yields to the next. Fields:

```
{target} {target:user}   the first target (of that type): its name, else its id, "and 2 more"
{targets}                "invoice 42", "6 invoices"
{other} {self} {own}     the target unless it is the actor; "themselves", "their own" if it is
{claimed}                who was named at a sign-in that proved nobody (`is_unproven`)
{new:path} {old:path}    a change's values; {new} {old} of the only change
{added:path} {removed:path}  what a list gained, lost
{changed}                "the due date", "the due date and the terms", "4 fields"
{before} {after}         values of the only change, where both are known and short
{switched}               the only change, of a yes or no: "newsletter off"
{if:added} {if:removed}  nothing, if all of several changes made, or took away, what they name
{before} {after}         both values of the only change, where they are told and short
{switched}               "newsletter on": the only change, of a boolean
{all_new}                "" when every change is of something that there was not before
{meta:key}               metadata, numbers grouped
{actor} {behalf} {app} {method} {idp} {call} {error.type} {error.message} {count}
```

Substitution is our own, not `str.format`, which would reach into objects. Nothing is escaped
here: values are apart from words (`Fragment.strong`), and who shows them escapes them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any, NamedTuple

from msgspec import UNSET

from whodid.event import Change, Event, StoredEvent, Target
from whodid.redaction import MASK

MAX_VALUE_CHARACTERS = 120
MAX_SHORT_CHARACTERS = 40
"""Of a value that is told beside what it was: two of them and a name are a sentence yet."""


class Fragment(NamedTuple):
    """A piece of a sentence; `strong` says that it is a value of the event, not a word of ours."""

    text: str
    strong: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A known action.

    Attributes:
        name: `noun[.subnoun].verb`.
        category: As in the event schema; the default of an event that does not say.
        operation: The same.
        severity: The same; meant for a success.
        sentence: Templates, tried in order.
        phrases: By outcome, whole phrases in place of what would be made of `sentence`.
    """

    name: str
    category: str
    operation: str
    severity: str
    sentence: tuple[str, ...]
    phrases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def defaults(action: str) -> Mapping[str, str]:
    """`category`, `operation` and `severity` of any action, known or not (FORMAT, core).

    An unknown action gets its operation by its verb, the category `data` when that creates,
    reads, updates or deletes, otherwise `system`, and the severity `info`.
    """
    return _defaults(action)


def find(action: str) -> Action | None:
    """The registry's entry of exactly this name, or None."""
    return _registry().actions.get(action)


def all_actions() -> list[Action]:
    """Every known action, by name."""
    return sorted(_registry().actions.values(), key=lambda action: action.name)


def sentence(stored: StoredEvent) -> tuple[Fragment, ...]:
    """What was done and to what, without who did it: "gave **Ana** the role **admin**".

    Never empty. Two neighbours are never both strong or both plain.
    """
    event = stored.event
    known = find(event.action)
    phrase = _phrase(event, stored.outcome, known)
    return _merged([*phrase, *_repetition(event), *_why(event, stored.outcome)])


def is_unproven(stored: StoredEvent) -> bool:
    """Did somebody only say who they are? A sign-in that failed proves nobody to have been there.

    The account that was named is the event's actor all the same, so that a search for it finds who
    tried to get into it.
    """
    event = stored.event
    return (
        event.action == "user.login"
        and stored.outcome == "failure"
        and event.actor.type in _CLAIMABLE
    )


_CLAIMABLE = ("user", "anonymous", "unknown")


# ── The registry ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class _Registry:
    actions: Mapping[str, Action]
    operations: Mapping[str, str]  # verb → operation
    bases: Mapping[str, str]  # past form → verb, for senders that write `user.created`
    irregular: Mapping[str, tuple[str, str]]  # verb → past, participle
    spelled: Mapping[str, str]  # "login" → "log in"
    reasons: Mapping[str, str]  # code → words
    acronyms: frozenset[str]


@cache
def _registry() -> _Registry:
    # Imported here: reading an event must not pay for them.
    import tomllib
    from importlib.resources import files

    data = tomllib.loads(files("whodid").joinpath("actions.toml").read_text(encoding="utf-8"))
    words = data.pop("words")
    irregular = {verb: (past, done) for verb, (past, done) in words["irregular"].items()}
    operations = {
        verb: operation for operation, verbs in words["operations"].items() for verb in verbs
    }
    forms = {verb: _past(verb, irregular) for verb in (*operations, *irregular)}
    return _Registry(
        actions={name: _action(name, entry) for name, entry in data.items()},
        operations=operations,
        bases={past: verb for verb, pasts in forms.items() for past in pasts},
        irregular=irregular,
        spelled=words["spelled"],
        reasons=words["reasons"],
        acronyms=frozenset(words["acronyms"]),
    )


def _action(name: str, entry: dict[str, Any]) -> Action:
    return Action(
        name=name,
        category=entry.pop("category"),
        operation=entry.pop("operation"),
        severity=entry.pop("severity"),
        sentence=tuple(
            fuller for template in entry.pop("sentence") for fuller in _with_values(template)
        ),
        phrases={outcome: tuple(templates) for outcome, templates in entry.items()},
    )


def _with_values(template: str) -> list[str]:
    """A template about changed fields, behind those that tell the values of a single one."""
    _, of, whose = template.partition(" {changed} of ")
    if not of:
        return [template]
    return [template + " from {before} to {after}", "switch {switched} for " + whose, template]


# Bounded, since clients choose the names.
@lru_cache(maxsize=4096)
def _defaults(action: str) -> Mapping[str, str]:
    known = find(action)
    if known:
        return {
            "category": known.category,
            "operation": known.operation,
            "severity": known.severity,
        }
    operation = _registry().operations.get(_verb_of(action)[0], "other")
    is_data = operation in ("create", "read", "update", "delete")
    return {
        "category": "data" if is_data else "system",
        "operation": operation,
        "severity": "info",
    }


# ── The phrase ──────────────────────────────────────────────────────────────────────────────────

_LEAD = {"failure": "failed to ", "denied": "tried to ", "error": "could not "}
_LITERAL_WORDS = re.compile(r"[A-Za-z0-9 _./-]+")


def _phrase(event: Event, outcome: str, known: Action | None) -> list[Fragment]:
    if known and outcome in known.phrases:
        return _filled(known.phrases[outcome], event)
    if known:
        base = _filled(known.sentence, event)
    elif (
        defaults(event.action)["operation"] == "update"
        and _verb_of(event.action)[0] in ("change", "edit", "modify", "patch", "update")
        and event.changes
        and event.targets
    ):
        base = _filled(_with_values("change {changed} of {targets}"), event)
    else:
        base = _own_words(event)
    verb, space, rest = base[0].text.partition(" ")
    irregular = _registry().irregular
    if outcome == "success":
        lead = _past(verb, irregular)[0]
    elif outcome == "unknown":
        lead = "may have " + _past(verb, irregular)[1]
    else:
        lead = _LEAD[outcome] + verb
    return [Fragment(lead + space + rest), *base[1:]]


def _filled(templates: Iterable[str], event: Event) -> list[Fragment]:
    """The first template all of whose fields the event has."""
    for template in templates:
        told: list[Fragment] = []
        for part in _compiled(template):
            if isinstance(part, str):
                told.append(Fragment(part))
                continue
            fields = (_FIELDS[name](event, key) for name, key in part)
            found = next((fragments for fragments in fields if fragments is not None), None)
            if found is None:
                break
            told += found
        else:
            return told
    raise AssertionError(f"no sentence without fields for {event.action}: add one")


_Part = str | tuple[tuple[str, str], ...]


@lru_cache(maxsize=4096)
def _compiled(template: str) -> tuple[_Part, ...]:
    """Words, and for each `{a|b:key}` the alternatives as pairs of field and key."""
    parts: list[_Part] = []
    for number, piece in enumerate(re.split(r"\{([^{}]+)\}", template)):
        if number % 2:
            pairs = (name.partition(":")[::2] for name in piece.split("|"))
            parts.append(tuple((name, key) for name, key in pairs))
        elif piece:
            parts.append(piece)
    return tuple(parts)


def _repetition(event: Event) -> list[Fragment]:
    """For a record that stands for several: "… 14 times in 16 minutes"."""
    if event.count < 2:
        return []
    fragments = [Fragment(" "), Fragment(f"{event.count:,} times", strong=True)]
    if event.window:
        seconds = (event.window.end - event.window.start).total_seconds()
        fragments.append(Fragment(f" in {_duration(seconds)}"))
    return fragments


def _duration(seconds: float) -> str:
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        # "36 hours" says more than "2 days", "90 seconds" more than "2 minutes".
        if seconds >= 2 * length or seconds == length:
            return _counted(round(seconds / length), unit)
    return _counted(max(round(seconds), 1), "second")


def _why(event: Event, outcome: str) -> list[Fragment]:
    """The reason, "…: wrong password": in our words for a known code, else in the sender's."""
    if outcome == "success":
        return []
    code = event.reason.code if event.reason else UNSET
    words = _registry().reasons.get(code or "")
    if words:
        return [Fragment(": " + words)]
    message = (event.reason.message if event.reason else UNSET) or (
        (event.error.message or event.error.type) if event.error else UNSET
    )
    text = message or (code or "").replace("_", " ")
    # An exception's message may have lines; a sentence is one.
    first_line = text.strip().partition("\n")[0]
    return [Fragment(": "), Fragment(_cut(first_line), strong=True)] if first_line else []


# ── Sentences from an action's own words ────────────────────────────────────────────────────────

_PARTICLES = frozenset({"in", "out", "up", "off", "on", "down", "back", "away", "over"})


@lru_cache(maxsize=4096)
def _verb_of(action: str) -> tuple[str, tuple[str, ...]]:
    """The verb of an action in its base form, and the other words of its last segment."""
    registry = _registry()
    words = action.rpartition(".")[2].strip("_").split("_")
    if "".join(words) in registry.spelled:  # log_in
        return "".join(words), ()
    for at in (0, len(words) - 1):  # get_object, policy_override
        verb = registry.bases.get(words[at], words[at])
        if verb in registry.operations or verb in registry.irregular:
            return verb, tuple(words[:at] + words[at + 1 :])
    return words[0], tuple(words[1:])


def _is_verb(word: str) -> bool:
    """Can an English past be made of it? `archive` yes, `x` and `sg` no: those are quoted."""
    registry = _registry()
    is_known = word in registry.operations or word in registry.irregular
    return is_known or len(word) >= 3 and any(vowel in word for vowel in "aeiouy")


def _own_words(event: Event) -> list[Fragment]:
    """`invoice.archive` → "archive invoice **42**"; `s3.list_objects` → "list objects in S3"."""
    verb, rest = _verb_of(event.action)
    if not _is_verb(verb):
        return [Fragment("perform "), Fragment(event.action, strong=True)]
    verb = _registry().spelled.get(verb, verb)
    if rest and rest[0] in _PARTICLES:
        verb, rest = f"{verb} {rest[0]}", rest[1:]
    nouns = event.action.split(".")[:-1]
    target = list(_targets(event, "") or ())
    if not target:
        if rest:
            return [Fragment(f"{verb} {_a('_'.join(rest))} in {_words(nouns[0])}")]
        # "signed up", "logged in" need nothing more.
        return [Fragment(verb if " " in verb else f"{verb} {_a(nouns[-1])}")]
    if verb == "mark" and rest:
        return [Fragment("mark "), *target, Fragment(f" as {_words('_'.join(rest))}")]
    thing = _words("_".join(rest) if rest else nouns[-1])
    kind = _kind(event.targets[0].type)
    is_same = _singular(kind) == _singular(thing) or (not rest and len(nouns) == 1)
    return [Fragment(f"{verb} " if is_same else f"{verb} {thing} on "), *target]


def _past(verb: str, irregular: Mapping[str, tuple[str, str]]) -> tuple[str, str]:
    """Past tense and participle."""
    if verb in irregular:
        return irregular[verb]
    prefixed = re.fullmatch(r"(re|un|over|out|under|up|with|down)(\w+)", verb)
    if prefixed and prefixed[2] in irregular:
        past, participle = irregular[prefixed[2]]
        return prefixed[1] + past, prefixed[1] + participle
    if verb.endswith("e"):
        regular = verb + "d"
    elif re.search(r"[^aeiou]y$", verb):
        regular = verb[:-1] + "ied"
    elif re.fullmatch(r"[^aeiou]*(qu)?[aeiou][^aeiouwxy]", verb):  # one short syllable: ship, log
        regular = verb + verb[-1] + "ed"
    else:
        regular = verb + "ed"
    return regular, regular


# ── Fields ──────────────────────────────────────────────────────────────────────────────────────

_Found = Sequence[Fragment] | None
_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
_BESIDE = ("parent", "source", "destination")  # targets that something was done near, not to


def _same(event: Event, kind: str) -> list[Target]:
    """The targets of a type; without one those that were acted on, of the first one's type."""
    if kind:
        return [target for target in event.targets if target.type == kind]
    return [
        target
        for number, target in enumerate(event.targets)
        if number == 0 or target.type == event.targets[0].type and target.role not in _BESIDE
    ]


def _target(event: Event, kind: str) -> _Found:
    same = _same(event, kind)
    if not same:
        return None
    more = f"{len(same) - 1} more"
    fragments = _name(same[0])
    return fragments if len(same) == 1 else [*fragments, Fragment(" and "), _value(more)]


def _targets(event: Event, kind: str) -> _Found:
    same = _same(event, kind)
    if not same:
        return None
    kind = _singular(_kind(same[0].type))
    if len(same) > 1:
        return [_value(_counted(len(same), kind))]
    return (
        _name(same[0])
        if _is_said_by_name(same[0], kind)
        else [Fragment(kind + " "), *_name(same[0])]
    )


def _is_said_by_name(target: Target, kind: str) -> bool:
    """Does the name say what kind of thing it is? "order Order 1", "path /x/" say it twice."""
    if target.type in ("erased", "path", "url") or not (target.name or target.id):
        return True
    first = (target.name or "").casefold()
    return first == kind.casefold() or first.startswith(f"{kind.casefold()} ")


def _name(target: Target) -> list[Fragment]:
    if target.type == "erased":
        return [Fragment("an erased record")]
    if target.name:
        return [_value(target.name)]
    if not target.id:
        return [Fragment(_a(_kind(target.type)))]
    # Nobody reads a UUID in a sentence; the first eight digits tell it from its neighbours.
    return [_value(target.id[:8] + "…" if _UUID.fullmatch(target.id) else target.id)]


def _is_self(event: Event) -> bool:
    first = event.targets[0] if event.targets else None
    # By the type as well: user 1 and role 1 are two, and "gave themselves a right" is grave.
    return bool(first and first.id and (first.type, first.id) == (event.actor.type, event.actor.id))


def _self(event: Event, _: str) -> _Found:
    if not _is_self(event):
        return None
    return [Fragment("themselves" if event.actor.type == "user" else "itself")]


def _own(event: Event, _: str) -> _Found:
    if event.targets and not _is_self(event):
        return None
    return [Fragment("their own" if event.actor.type == "user" else "its own")]


def _other(event: Event, kind: str) -> _Found:
    return None if _is_self(event) else _target(event, kind)


def _claimed(event: Event, _: str) -> _Found:
    if event.actor.type not in _CLAIMABLE:
        return None
    account = _target(event, "user")
    return account or _text(event.actor.name or event.actor.email or event.actor.id)


def _change(event: Event, path: str) -> Change | None:
    """The change of this field; without a path the only one there is."""
    if not path:
        return event.changes[0] if len(event.changes) == 1 else None
    return next((change for change in event.changes if change.path == path), None)


def _new(event: Event, path: str) -> _Found:
    change = _change(event, path)
    return None if change is None else _changed_value(change, change.new)


def _old(event: Event, path: str) -> _Found:
    change = _change(event, path)
    return None if change is None else _changed_value(change, change.old)


def _changed_value(change: Change, value: object) -> _Found:
    # A hash is no value for a reader; a partly masked one ("NO93 •••• 17") is.
    has_value = value is not UNSET and value is not None and value != MASK
    if change.redacted == "hashed" or (change.redacted and not has_value):
        return [_value("(masked)")]
    return None if value is UNSET or value in (None, "", []) else [_value(value)]


def _told(event: Event) -> Change | None:
    """The only change, if both its values are known, and it is the only target's."""
    change = _change(event, "")
    if change is None or change.redacted or UNSET in (change.old, change.new):
        return None
    return change if len(_same(event, "")) == 1 and change.target == 0 else None


def _short(event: Event, *, is_new: bool) -> _Found:
    change = _told(event)
    if change is None or isinstance(change.new, bool):
        return None
    if not (_is_short(change.old) and _is_short(change.new)):
        return None
    value = change.new if is_new else change.old
    return [_value("nothing" if value == "" else value)]


def _is_short(value: object) -> bool:
    """Fit to stand in a sentence: a number, or a word or two."""
    if isinstance(value, str):
        return len(value) <= MAX_SHORT_CHARACTERS and value.isprintable()
    return value is None or isinstance(value, int | float)


def _switched(event: Event, _: str) -> _Found:
    change = _told(event)
    if change is None or not isinstance(change.new, bool):
        return None
    name = change.label or _field_words(change.path).removeprefix("is ")
    return [_field_name(name), Fragment(" "), _value(change.new)]


def _if(event: Event, key: str) -> _Found:
    sides = [(change.old is UNSET, change.new is UNSET) for change in event.changes]
    wanted = (True, False) if key == "added" else (False, True)
    return [] if len(sides) > 1 and set(sides) == {wanted} else None


def _items(event: Event, path: str, *, gained: bool) -> _Found:
    change = _change(event, path)
    if change is None or change.redacted:
        return None
    new, old = (change.new, change.old) if gained else (change.old, change.new)
    ours, theirs = (list(v) if isinstance(v, list | tuple) else [] for v in (new, old))
    items = [item for item in ours if item not in theirs]
    return [_value(items)] if items else None


def _changed(event: Event, _: str) -> _Found:
    names = list(
        dict.fromkeys(change.label or _field_words(change.path) for change in event.changes)
    )
    if not names:
        return None
    if len(names) > 2:
        return [_value(_counted(len(names), "field"))]
    fragments: list[Fragment] = []
    for name in names:
        fragments.append(Fragment(" and the " if fragments else "the "))
        fragments.append(_field_name(name))
    return fragments


def _field_name(name: str) -> Fragment:
    """Plain when it can be read as words of ours; else it stands apart like any other value."""
    return Fragment(_cut(name), strong=not _LITERAL_WORDS.fullmatch(name))


def _field_words(path: str) -> str:
    last = re.split(r"[./]", path.strip("./"))[-1] or path
    return _words(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", last).lower() if last.isascii() else last)


def _meta(event: Event, key: str) -> _Found:
    if not event.metadata:
        return None
    found: Any = event.metadata.get(key)
    if found is None and "." in key:
        found = event.metadata
        for step in key.split("."):
            found = found.get(step) if isinstance(found, dict) else None
    if found in (None, "", [], {}):
        return None
    is_amount = isinstance(found, int) and not isinstance(found, bool)
    return [_value(f"{found:,}" if is_amount else found)]


_METHODS = {
    "passkey": "passkey",
    "otp": "one-time code",
    "magic_link": "magic link",
    "recovery_code": "recovery code",
}


def _method(event: Event, _: str) -> _Found:
    method = event.actor.auth.method if event.actor.auth else UNSET
    return [_value(_METHODS[method])] if method in _METHODS else None


def _text(value: object) -> _Found:
    return [_value(value)] if value else None


def _call(event: Event, _: str) -> _Found:
    if not event.request:
        return None
    where = event.request.route or event.request.url
    method = event.request.method
    return [_value(f"{method} {where}" if method else where)] if where else None


_FIELDS: Mapping[str, Callable[[Event, str], _Found]] = {
    "target": _target,
    "targets": _targets,
    "other": _other,
    "self": _self,
    "own": _own,
    "claimed": _claimed,
    "new": _new,
    "old": _old,
    "added": lambda event, path: _items(event, path, gained=True),
    "removed": lambda event, path: _items(event, path, gained=False),
    "changed": _changed,
    "before": lambda event, _: _short(event, is_new=False),
    "after": lambda event, _: _short(event, is_new=True),
    "switched": _switched,
    "if": _if,
    "meta": _meta,
    "method": _method,
    "idp": lambda event, _: _text(event.actor.auth and event.actor.auth.idp),
    "call": _call,
    "actor": lambda event, _: _text(event.actor.name or event.actor.id),
    "behalf": lambda event, _: _text(
        event.on_behalf_of and (event.on_behalf_of.name or event.on_behalf_of.id)
    ),
    "app": lambda event, _: _text(event.source and event.source.app),
    "error.type": lambda event, _: _text(event.error and event.error.type),
    "error.message": lambda event, _: _text(event.error and event.error.message),
    "count": lambda event, _: _text(event.count),
}


# ── Words and values ────────────────────────────────────────────────────────────────────────────


def _value(value: object) -> Fragment:
    return Fragment(_cut(_shown(value)), strong=True)


def _shown(value: object) -> str:
    match value:
        case str():
            return value
        case bool():
            return "on" if value else "off"
        case int():
            return f"{value:,}" if abs(value) >= 10_000 else str(value)
        case float() if value.is_integer():
            return _shown(int(value))
        case list() | tuple():
            return ", ".join(_shown(item) for item in value[:20])
        case {"id": identity, "name": name, **rest} if not rest:  # another object, as links name it
            return str(name or identity)
        case dict():
            return ", ".join(f"{key} {_shown(item)}" for key, item in list(value.items())[:20])
        case None:
            return "nothing"
        case _:
            return str(value)


def _cut(text: str) -> str:
    if len(text) <= MAX_VALUE_CHARACTERS:
        return text
    return text[: MAX_VALUE_CHARACTERS - 1].rstrip() + "…"


def _kind(kind: str) -> str:
    return _words(kind.rpartition(".")[2] or kind)


def _words(name: str) -> str:
    """`api_key` → "API key"."""
    acronyms = _registry().acronyms
    return " ".join(word.upper() if word in acronyms else word for word in name.split("_") if word)


def _a(noun: str) -> str:
    words = _words(noun)
    if words.endswith("s") and not words.endswith("ss"):
        return words
    # "an API key", "a user", "an MFA device": by sound, as far as a rule goes.
    vowel = re.match(r"[aeio]|u(?!se|ni)|[AEFILMNORSX][A-Z]", words)
    return f"{'an' if vowel else 'a'} {words}"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun if number == 1 else _plural(noun)}"


def _plural(noun: str) -> str:
    if noun == "person":
        return "people"
    if re.search(r"[^aeiou]y$", noun):
        return noun[:-1] + "ies"
    return noun + ("es" if re.search(r"(s|x|z|ch|sh)$", noun) else "s")


def _singular(noun: str) -> str:
    if noun.endswith("ies"):
        return noun[:-3] + "y"
    if re.search(r"(ss|us|is)$", noun):  # access, status, analysis
        return noun
    return noun[:-2] if re.search(r"(s|x|z|ch|sh)es$", noun) else noun.removesuffix("s")


def _merged(fragments: Iterable[Fragment]) -> tuple[Fragment, ...]:
    merged: list[Fragment] = []
    for fragment in fragments:
        if merged and merged[-1].strong == fragment.strong:
            merged[-1] = Fragment(merged[-1].text + fragment.text, fragment.strong)
        else:
            merged.append(fragment)
    return tuple(merged)
