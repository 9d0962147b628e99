"""Does an event match a search? The meaning of the language, next to which every store is measured.

A store asks its database for a superset and lets this module decide, so that all stores give the
same answer. A tree is compiled once into plain functions, then called per event. Erased units
match nothing: what is gone has no value, not the value that stands in its place.

Pure: no clock, no zone, no database; states beside the event (holds, notes) are not its business.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property, lru_cache
from typing import Any, TypeAlias, assert_never

import msgspec
from msgspec import UNSET, UnsetType

from whodid.event import SEVERITIES, Actor, Event, Principal, StoredEvent, Target, packed_ip
from whodid.query.ast import And, Node, Not, Or, Term, Text
from whodid.query.fields import Field, find_field, glob, ip_ranges
from whodid.query.words import fold, words

Matcher: TypeAlias = Callable[[StoredEvent], bool]
_Test: TypeAlias = Callable[[str], bool]
_Maybe: TypeAlias = str | UnsetType
_Number: TypeAlias = float | UnsetType | None

_WRITES_TO = frozenset({"authorization", "iam", "configuration", "audit"})
_PRIVILEGED_ROLES = frozenset({"admin", "owner", "superuser", "root"})
_FAILURES = frozenset({"failure", "denied", "error"})
_IMPERSONATIONS = frozenset({"impersonation", "support_access"})
_FEW = 2
_SHORT = 256  # characters


def matches(node: Node, stored: StoredEvent) -> bool:
    """Does the event match? For many events make one `compile_matcher`."""
    return compile_matcher(node)(stored)


def compile_matcher(node: Node) -> Matcher:
    """The function that says of an event whether it matches the tree.

    It may be used by several threads at once.
    """
    return _compiled(node, _Memory() if _questions(node) > _FEW else None)


def _compiled(node: Node, memory: _Memory | None) -> Matcher:
    match node:
        case And(terms):
            return _all([_compiled(term, memory) for term in sorted(terms, key=_cost)])
        case Or(terms):
            return _any([_compiled(term, memory) for term in sorted(terms, key=_cost)])
        case Not(term):
            match_term = _compiled(term, memory)
            return lambda stored: not match_term(stored)
        case Text():
            return _free_text(node, memory)
        case Term():
            return _term(node, memory)
        case _:
            assert_never(node)


def _questions(node: Node) -> int:
    """How many terms read all of an event's texts or metadata."""
    match node:
        case Text():
            return 1
        case Term(name):
            return int(name.startswith("meta."))
        case Not(term):
            return _questions(term)
        case And(terms) | Or(terms):
            return sum(map(_questions, terms))
        case _:
            assert_never(node)


class _Memory:
    """The event that was matched last, taken apart: a hundred terms ask it the same.

    For few terms it is not worth its making.
    """

    def __init__(self) -> None:
        self._last: _Parts | None = None
        self._fold = _folding()

    def of(self, stored: StoredEvent) -> _Parts:
        parts = self._last  # read once: another thread may put its own event there meanwhile
        if parts is None or parts.stored is not stored:
            parts = self._last = _Parts(stored, self._fold)
        return parts


class _Parts:
    """An event as free text and metadata are searched in it, each made when it is asked for."""

    def __init__(self, stored: StoredEvent, fold_one: Callable[[str], str]) -> None:
        self.stored, self._fold = stored, fold_one
        self._found: dict[str, frozenset[str] | None] = {}

    @cached_property
    def texts(self) -> list[str]:
        return _texts(self.stored)

    @cached_property
    def letters(self) -> str:
        """All texts, folded, one a line."""
        everything = "\n".join(self.texts)
        if everything.isascii():
            return everything.lower()
        return "\n".join([self._fold(text) for text in self.texts])

    @cached_property
    def words(self) -> str:
        """The words of each text, one text a line: no word has a blank or an end of line in it."""
        return "\n".join([_sequence(words(text)) for text in self.texts])

    @cached_property
    def metadata(self) -> _Place:
        return _merged(self.stored.event.metadata or {})

    def metadata_at(self, path: str) -> frozenset[str] | None:
        """The different values at a path or pattern, casefolded; None when there is no such path.

        Args:
            path: Casefolded, as it stands in a search.
        """
        if path not in self._found:
            find = _places if "*" in path else _place
            places = list(find(self.metadata, path))
            texts = frozenset[str]().union(*[place.texts for place in places])
            self._found[path] = texts if places else None
        return self._found[path]


def _cost(node: Node) -> int:
    """Free text last: it reads most of the event, a term one value."""
    match node:
        case Text():
            return 2
        case Term():
            return 0
        case Not(term):
            return _cost(term)
        case And(terms) | Or(terms):
            return max(map(_cost, terms), default=0)
        case _:
            assert_never(node)


def _all(matchers: list[Matcher]) -> Matcher:
    if len(matchers) == 1:
        return matchers[0]

    def match_all(stored: StoredEvent) -> bool:
        for match_term in matchers:  # noqa: SIM110  # all() costs more than most matchers
            if not match_term(stored):
                return False
        return True

    return match_all


def _any(matchers: list[Matcher]) -> Matcher:
    if len(matchers) == 1:
        return matchers[0]

    def match_any(stored: StoredEvent) -> bool:
        for match_term in matchers:  # noqa: SIM110  # any() costs more than most matchers
            if match_term(stored):
                return True
        return False

    return match_any


def _nothing(stored: StoredEvent) -> bool:
    return False


# ---- free text


def _free_text(node: Text, memory: _Memory | None) -> Matcher:
    chunks = [node.text] if node.phrase else node.text.split()
    phrases = [phrase for phrase in map(words, chunks) if phrase]
    if not phrases:
        return _nothing
    return _text_alone(phrases) if memory is None else _text_of_many(phrases, memory)


def _text_of_many(phrases: list[list[str]], memory: _Memory) -> Matcher:
    letters = [fold(word) for phrase in phrases for word in phrase]
    sequences = [_sequence(phrase) for phrase in phrases]

    def match_text(stored: StoredEvent) -> bool:
        parts = memory.of(stored)
        return _has_all(parts.letters, letters) and _has_all(parts.words, sequences)

    return match_text


def _text_alone(phrases: list[list[str]]) -> Matcher:
    wanted = [([fold(word) for word in phrase], _sequence(phrase)) for phrase in phrases]
    letters = [needle for needles, _ in wanted for needle in needles]
    folded = _folding()

    def match_text(stored: StoredEvent) -> bool:
        values = _texts(stored)
        everything = "\n".join(values)
        if everything.isascii():
            everything = everything.lower()
        else:
            everything = "\n".join([folded(value) for value in values])
        if not _has_all(everything, letters):
            return False
        # The letters are there; are they whole words, in this order, in one value?
        return all(
            any(
                _has_all(folded(value), needles) and sequence in _sequence(words(value))
                for value in values
            )
            for needles, sequence in wanted
        )

    return match_text


def _folding() -> Callable[[str], str]:
    """`fold` with a memory for short texts, which lives as long as the search.

    Names come back in thousands of events. Long texts don't, and a thousand would be a gigabyte.
    """
    remembered = lru_cache(maxsize=1024)(fold)
    return lambda text: remembered(text) if len(text) <= _SHORT else fold(text)


def _has_all(text: str, needles: list[str]) -> bool:
    for needle in needles:  # noqa: SIM110  # all() costs more than the search
        if needle not in text:
            return False
    return True


def _sequence(found: list[str]) -> str:
    return f" {' '.join(found)} "


def _texts(stored: StoredEvent) -> list[str]:
    """Every value that free text is searched in."""
    event = stored.event
    texts: list[_Maybe] = [event.action, event.message]
    actor = _actor(stored)
    if actor:
        texts += (actor.id, actor.name, actor.email, *actor.roles)
    if event.on_behalf_of:
        _add_principal(event.on_behalf_of, texts)
    for principal in event.via:
        _add_principal(principal, texts)
    for target in _targets(stored):
        texts += (target.type, target.id, target.name)
    for change in event.changes:
        texts.append(change.path)
        _add_strings(change.old, texts)
        _add_strings(change.new, texts)
    if event.metadata:
        _add_strings(event.metadata, texts)
    if event.client:
        texts.append(event.client.ip)
    if event.reason:
        texts += (event.reason.code, event.reason.message)
    if event.error:
        texts += (event.error.type, event.error.message)
    return [text for text in texts if text is not UNSET]


def _add_principal(principal: Principal, texts: list[_Maybe]) -> None:
    texts += (principal.id, principal.name, principal.email)


# `Any`, since changes and metadata hold whatever JSON the application has.
def _add_strings(value: Any, texts: list[_Maybe]) -> None:
    if isinstance(value, str):
        texts.append(value)
    elif isinstance(value, dict):
        for item in value.values():
            _add_strings(item, texts)
    elif isinstance(value, list | tuple):
        for item in value:
            _add_strings(item, texts)


# ---- terms


def _term(term: Term, memory: _Memory | None) -> Matcher:
    field = find_field(term.field)
    if field is None:
        raise AssertionError(f"a tree holds the field {term.field!r}, which does not exist")
    match field.kind:
        case "dotted" | "enum" | "exact":
            return _strings(field, term)
        case "smart":
            return _smart(field, term)
        case "text":
            return _text(field, term)
        case "value":
            return _value(field, term, memory)
        case "flag":
            return _flag(term)
        case "level":
            return _level(term)
        case "ip":
            return _ip(term)
        case "number" | "duration":
            return _number(field, term)
        case "time":
            return _time(field, term)
        case _:
            assert_never(field.kind)


def _test(term: Term) -> _Test | None:
    """The test of one string; None when any string will do."""
    if term.op == "exists":
        return None
    wanted = str(term.value).casefold()
    if term.op == "prefix":
        below = wanted + "."

        def is_within(text: str) -> bool:
            name = text.casefold()
            return name == wanted or name.startswith(below)

        return is_within
    if term.op == ":" and "*" in wanted:
        fits = glob(wanted)
        return lambda text: fits(text.casefold())
    if term.op not in (":", "="):
        raise AssertionError(f"a tree compares {term.field} with {term.op}, which has no order")
    return lambda text: text.casefold() == wanted


def _strings(field: Field, term: Term) -> Matcher:
    test = _test(term)
    read_one = _ONE.get(field.name)
    if read_one:
        if test is None:
            return lambda stored: read_one(stored) is not UNSET

        def match_one(stored: StoredEvent) -> bool:
            value = read_one(stored)
            return value is not UNSET and test(value)

        return match_one
    return _any_string(_MANY[field.name], test)


def _any_string(read: Callable[[StoredEvent], Iterable[_Maybe]], test: _Test | None) -> Matcher:
    def match_any(stored: StoredEvent) -> bool:
        for value in read(stored):  # noqa: SIM110  # any() costs more than most tests
            if value is not UNSET and (test is None or test(value)):
                return True
        return False

    return match_any


def _smart(field: Field, term: Term) -> Matcher:
    """Id, e-mail or name, whole; or, without wildcard, all words in the name."""
    read = _NAMES[field.name]
    test = _test(term)
    wanted = frozenset(words(str(term.value)))
    has_words = term.op == ":" and "*" not in str(term.value) and wanted
    needles = [fold(word) for word in wanted]

    def match_names(stored: StoredEvent) -> bool:
        for keys, name in read(stored):
            for key in keys:
                if key is not UNSET and (test is None or test(key)):
                    return True
            if name is UNSET:
                continue
            if test is None or test(name):
                return True
            if has_words:
                folded = fold(name)
                if _has_all(folded, needles) and wanted.issubset(words(name)):
                    return True
        return False

    return match_names


def _text(field: Field, term: Term) -> Matcher:
    """Words in order, or a pattern over the whole text; case and accents do not count."""
    read = _MANY[field.name]
    wanted = str(term.value)
    if term.op in ("exists", "="):
        return _any_string(read, _test(term))
    if "*" in wanted:
        fits = glob(fold(wanted))
        return _any_string(read, lambda text: fits(fold(text)))
    phrase = words(wanted)
    if not phrase:
        return _nothing
    needles, sequence = [fold(word) for word in phrase], _sequence(phrase)

    def has_phrase(text: str) -> bool:
        folded = fold(text)
        return _has_all(folded, needles) and sequence in _sequence(words(text))

    return _any_string(read, has_phrase)


def _value(field: Field, term: Term, memory: _Memory | None) -> Matcher:
    """A JSON value below a path: of a change, or of the metadata."""
    head, _, path = field.name.partition(".")
    path, test = path.casefold(), _test(term)
    if head == "meta" and memory is not None:
        return _metadata_of_many(path, test, memory)

    # `Any`, since it is JSON.
    def has(value: Any) -> bool:
        return test is None or any(test(text) for text in _scalars(value))

    if head == "meta":
        find = _members if "*" in path else _member

        def match_metadata(stored: StoredEvent) -> bool:
            metadata = stored.event.metadata
            return metadata is not UNSET and any(has(value) for value in find(metadata, path))

        return match_metadata

    fits = glob(path)

    def match_changes(stored: StoredEvent) -> bool:
        for change in stored.event.changes:
            value = change.old if head == "old" else change.new
            if value is not UNSET and fits(change.path.casefold()) and has(value):
                return True
        return False

    return match_changes


def _metadata_of_many(path: str, test: _Test | None, memory: _Memory) -> Matcher:
    def match_metadata(stored: StoredEvent) -> bool:
        texts = memory.of(stored).metadata_at(path)
        return texts is not None and (test is None or any(map(test, texts)))

    return match_metadata


def _scalars(value: Any) -> Iterator[str]:
    """The value as it is searched: a string itself, else its JSON text; a list by its elements."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _scalars(item)
    elif not isinstance(value, dict):
        yield msgspec.json.encode(value).decode()


def _member(value: Any, path: str) -> Iterator[Any]:
    """What is at a dotted path; a dot may be in a key or between keys, lists are looked through."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from _member(item, path)
    elif isinstance(value, dict):
        for key, item in value.items():
            name = key.casefold()
            if name == path:
                yield item
            elif path.startswith(name + "."):
                yield from _member(item, path[len(name) + 1 :])


def _members(value: Any, pattern: str) -> Iterator[Any]:
    """What is at any dotted path that fits the pattern."""
    fits = glob(pattern)
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        path, item = waiting.pop()
        if isinstance(item, list | tuple):
            waiting += [(path, element) for element in item]
        elif isinstance(item, dict):
            for key, member in item.items():
                name = path + key.casefold()
                if fits(name):
                    yield member
                waiting.append((name + ".", member))


class _Place:
    """What the metadata has at one path, of all lists that lead there: a thousand alike are one."""

    __slots__ = ("below", "texts")

    def __init__(self) -> None:
        self.below: dict[str, _Place] = {}
        self.texts: set[str] = set()


def _merged(metadata: Mapping[str, Any]) -> _Place:
    """The metadata by casefolded keys; lists are looked through."""
    root = _Place()
    waiting: list[tuple[_Place, Any]] = [(root, metadata)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, dict):
            for key, item in value.items():
                name = key.casefold()
                if name not in place.below:
                    place.below[name] = _Place()
                waiting.append((place.below[name], item))
        elif isinstance(value, list | tuple):
            waiting += [(place, item) for item in value]
        else:
            place.texts.update(text.casefold() for text in _scalars(value))
    return root


def _place(place: _Place, path: str) -> Iterator[_Place]:
    """What is at a dotted path; a dot may be in a key or between keys."""
    if path in place.below:
        yield place.below[path]
    dots = [number for number, letter in enumerate(path) if letter == "."]
    names = [path[:dot] for dot in dots] if len(dots) < len(place.below) else place.below
    for name in names:
        if name in place.below and path.startswith(name + "."):
            yield from _place(place.below[name], path[len(name) + 1 :])


def _places(root: _Place, pattern: str) -> Iterator[_Place]:
    """What is at any dotted path that fits the pattern."""
    fits = glob(pattern)
    waiting = [("", root)]
    while waiting:
        before, place = waiting.pop()
        for key, below in place.below.items():
            path = before + key
            if fits(path):
                yield below
            if below.below:
                waiting.append((path + ".", below))


def _level(term: Term) -> Matcher:
    if term.op == "exists":
        return lambda stored: True
    compare, level = _comparison(term), SEVERITIES.index(str(term.value))
    fitting = frozenset(
        severity for rank, severity in enumerate(SEVERITIES) if compare(rank, level)
    )
    return lambda stored: stored.severity in fitting


_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    ":": operator.eq,
    "=": operator.eq,
}


def _comparison(term: Term) -> Callable[[float, float], bool]:
    if term.op not in _COMPARISONS:
        raise AssertionError(f"a tree compares {term.field} with {term.op}")
    return _COMPARISONS[term.op]


def _number(field: Field, term: Term) -> Matcher:
    read = _NUMBERS[field.name]
    value = term.value
    if term.op == "exists":
        return lambda stored: read(stored) not in (None, UNSET)
    if isinstance(value, tuple):
        low, high = (_as_number(bound, float("inf")) for bound in value)
        low = -low if value[0] is None else low

        def match_range(stored: StoredEvent) -> bool:
            number = read(stored)
            return number is not None and number is not UNSET and low <= number <= high

        return match_range
    compare, wanted = _comparison(term), _as_number(value, 0)

    def match_number(stored: StoredEvent) -> bool:
        number = read(stored)
        return number is not None and number is not UNSET and compare(number, wanted)

    return match_number


def _as_number(value: object, default: float) -> float:
    if value is None:
        return default
    if isinstance(value, int | float):
        return value
    raise AssertionError(f"a tree holds {type(value).__name__} where a number belongs")


def _time(field: Field, term: Term) -> Matcher:
    read = _TIMES[field.name]
    if term.op == "exists":
        return lambda stored: True
    if term.op != "range" or not isinstance(term.value, tuple):
        raise AssertionError(f"a tree asks for {field.name} otherwise than by a range")
    low, high = term.value
    if low is not None and high is not None:
        return lambda stored: low <= read(stored) < high
    if low is not None:
        return lambda stored: low <= read(stored)
    if high is not None:
        return lambda stored: read(stored) < high
    return lambda stored: True


def _ip(term: Term) -> Matcher:
    if term.op == "exists":
        return lambda stored: _address(stored) is not None
    ranges = ip_ranges(str(term.value))

    def match_address(stored: StoredEvent) -> bool:
        packed = _address(stored)
        if packed is None:
            return False
        size = len(packed)
        return any(len(first) == size and first <= packed <= last for first, last in ranges)

    return match_address


def _address(stored: StoredEvent) -> bytes | None:
    client = stored.event.client
    return packed_ip(client.ip) if client and client.ip else None


# ---- what an event answers


def _actor(stored: StoredEvent) -> Actor | None:
    """The actor, unless erased: then one of type unknown stands in its place."""
    return None if stored.gone and "/actor" in stored.gone else stored.event.actor


def _targets(stored: StoredEvent) -> Iterable[Target]:
    """The targets without the erased ones, in whose places stand targets of type erased."""
    targets = stored.event.targets
    if not stored.gone:
        return targets
    return [
        target for number, target in enumerate(targets) if f"/targets/{number}" not in stored.gone
    ]


def _of_actor(name: str) -> Callable[[StoredEvent], _Maybe]:
    def read(stored: StoredEvent) -> _Maybe:
        actor = _actor(stored)
        return getattr(actor, name) if actor else UNSET

    return read


def _of_auth(name: str) -> Callable[[StoredEvent], _Maybe]:
    def read(stored: StoredEvent) -> _Maybe:
        auth = stored.event.actor.auth  # an erased actor has none
        return getattr(auth, name) if auth else UNSET

    return read


def _of_part(part: str, name: str) -> Callable[[StoredEvent], _Maybe]:
    def read(stored: StoredEvent) -> _Maybe:
        found = getattr(stored.event, part)
        return getattr(found, name) if found else UNSET

    return read


def _of_geo(name: str) -> Callable[[StoredEvent], _Maybe]:
    def read(stored: StoredEvent) -> _Maybe:
        client = stored.event.client
        return getattr(client.geo, name) if client and client.geo else UNSET

    return read


_ONE: Mapping[str, Callable[[StoredEvent], _Maybe]] = {
    "action": lambda stored: stored.event.action,
    "category": lambda stored: stored.event.category,
    "operation": lambda stored: stored.event.operation,
    "outcome": lambda stored: stored.outcome,
    "reason": _of_part("reason", "code"),
    "actor.id": _of_actor("id"),
    "actor.type": _of_actor("type"),
    "actor.name": _of_actor("name"),
    "actor.email": _of_actor("email"),
    "behalf.id": _of_part("on_behalf_of", "id"),
    "behalf.type": _of_part("on_behalf_of", "type"),
    "behalf.name": _of_part("on_behalf_of", "name"),
    "behalf.email": _of_part("on_behalf_of", "email"),
    "app": _of_part("source", "app"),
    "env": _of_part("source", "environment"),
    "country": _of_geo("country"),
    "city": _of_geo("city"),
    "session": _of_auth("session_id"),
    "credential": _of_auth("credential_id"),
    "request": _of_part("request", "id"),
    "trace": _of_part("trace", "trace_id"),
    "correlation": lambda stored: stored.event.correlation_id,
    "method": _of_part("request", "method"),
    "id": lambda stored: stored.event.id,
    "tenant": lambda stored: stored.tenant_id,
}


def _roles(stored: StoredEvent) -> Iterable[str]:
    return stored.event.actor.roles  # an erased actor has none


def _scope(stored: StoredEvent) -> Iterator[_Maybe]:
    for node in stored.event.scope:
        yield node.id
        yield node.name


def _device(stored: StoredEvent) -> Iterable[_Maybe]:
    client = stored.event.client
    if not client or not client.device:
        return ()
    device = client.device
    return (device.id, device.type, device.os, device.browser)


def _paths(stored: StoredEvent) -> Iterable[_Maybe]:
    request = stored.event.request
    if not request:
        return ()
    return (url_path(request.url) if request.url else UNSET, request.route)


def url_path(url: str) -> str:
    """The path of a URL, absolute or not: without scheme, host, query and fragment."""
    path = url.partition("#")[0].partition("?")[0]
    scheme, found, rest = path.partition("//")
    if found and "/" not in scheme:
        path = "/" + rest.partition("/")[2]
    return path


def _error(stored: StoredEvent) -> Iterable[_Maybe]:
    error = stored.event.error
    return (error.type, error.message) if error else ()


def _user_agent(stored: StoredEvent) -> Iterable[_Maybe]:
    client = stored.event.client
    return (client.user_agent,) if client else ()


_MANY: Mapping[str, Callable[[StoredEvent], Iterable[_Maybe]]] = {
    "actor.role": _roles,
    "via.id": lambda stored: [principal.id for principal in stored.event.via],
    "via.type": lambda stored: [principal.type for principal in stored.event.via],
    "via.name": lambda stored: [principal.name for principal in stored.event.via],
    "via.email": lambda stored: [principal.email for principal in stored.event.via],
    "target.id": lambda stored: [target.id for target in _targets(stored)],
    "target.type": lambda stored: [target.type for target in _targets(stored)],
    "target.name": lambda stored: [target.name for target in _targets(stored)],
    "scope": _scope,
    "agent": _user_agent,
    "device": _device,
    "path": _paths,
    "changed": lambda stored: [change.path for change in stored.event.changes],
    "tag": lambda stored: stored.event.tags,
    "message": lambda stored: (stored.event.message,),
    "error": _error,
}

_Named: TypeAlias = tuple[tuple[_Maybe, ...], _Maybe]
"""What is compared whole, and the name, in which words are looked for as well."""


def _principal_names(principal: Principal | UnsetType | None) -> tuple[_Named, ...]:
    return (((principal.id, principal.email), principal.name),) if principal else ()


_NAMES: Mapping[str, Callable[[StoredEvent], Iterable[_Named]]] = {
    "actor": lambda stored: _principal_names(_actor(stored)),
    "behalf": lambda stored: _principal_names(stored.event.on_behalf_of),
    "via": lambda stored: [((one.id, one.email), one.name) for one in stored.event.via],
    "target": lambda stored: [((target.id,), target.name) for target in _targets(stored)],
}


def _asn(stored: StoredEvent) -> _Number:
    client = stored.event.client
    return client.network.asn if client and client.network else None


_NUMBERS: Mapping[str, Callable[[StoredEvent], _Number]] = {
    "asn": _asn,
    "status": lambda stored: stored.event.request.status if stored.event.request else None,
    "duration": lambda stored: stored.event.request.duration_ms if stored.event.request else None,
    "index": lambda stored: stored.index,
}

# `Any`, since mypy would have every comparison with a bound checked again.
_TIMES: Mapping[str, Callable[[StoredEvent], Any]] = {
    "created": lambda stored: stored.occurred_at,
    "received": lambda stored: stored.received_at,
}


# ---- has: and is:


def _flag(term: Term) -> Matcher:
    flag = f"{term.field}:{term.value}"
    if flag not in _FLAGS:
        raise AssertionError(f"a tree asks for {flag}, which parse refuses")
    return _FLAGS[flag]


def _is_impersonated(stored: StoredEvent) -> bool:
    event = stored.event
    if event.delegation and event.delegation.kind in _IMPERSONATIONS:
        return True
    return event.on_behalf_of is not UNSET and event.actor.type == "user"


def _is_privileged(stored: StoredEvent) -> bool:
    event = stored.event
    if event.category in _WRITES_TO and event.operation and event.operation != "read":
        return True
    return any(role.casefold() in _PRIVILEGED_ROLES for role in event.actor.roles)


def _is_redacted(stored: StoredEvent) -> bool:
    return bool(stored.gone) or any(change.redacted is not UNSET for change in stored.event.changes)


def _has(part: Callable[[Event], object]) -> Matcher:
    return lambda stored: bool(part(stored.event))


_FLAGS: Mapping[str, Matcher] = {
    "has:changes": _has(lambda event: event.changes),
    "has:behalf": _has(lambda event: event.on_behalf_of),
    "has:via": _has(lambda event: event.via),
    "has:geo": lambda stored: bool(stored.event.client and stored.event.client.geo),
    "has:trace": _has(lambda event: event.trace),
    "has:error": _has(lambda event: event.error),
    "has:reason": _has(lambda event: event.reason),
    "is:failed": lambda stored: stored.outcome in _FAILURES,
    "is:impersonated": _is_impersonated,
    "is:agent": lambda stored: stored.event.actor.type == "ai_agent",
    "is:anonymous": lambda stored: stored.event.actor.type == "anonymous",
    "is:privileged": _is_privileged,
    "is:redacted": _is_redacted,
}
