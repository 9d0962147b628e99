"""The dictionary of text values: their texts, and which of them pass a term, in any engine.

A term on a dictionary value is decided once per value, by asking it on an event that has nothing
but the value, so that SQL and `evaluate` can't disagree. Of some kinds there are few values, and
they are held in memory; of actors and user agents there may be millions. How these are found is
the engine's; what is remembered of them is here, and bounded. Pure.
"""

from __future__ import annotations

import itertools
import threading
from abc import ABC, abstractmethod
from array import array
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from whodid.errors import LedgerError
from whodid.event import Actor, Client, Event, Geo, Source, StoredEvent, Tenant
from whodid.query.ast import Term
from whodid.query.evaluate import compile_matcher
from whodid.stores.rows import Columns, actor_from_text
from whodid.times import Instant

MAX_TEXTS = 50_000
MAX_TERMS = 64
MAX_DECIDED_REFS = 1_000_000
_EPOCH = Instant.from_micros(0)

DictKey = tuple[int, int, str]  # tenant, kind, value


class DictKind(IntEnum):
    """What a dictionary value is. Stored: never renumber."""

    TENANT = 1
    ACTOR = 2
    ACTION = 3
    APP = 4
    COUNTRY = 5
    AGENT = 6


MANY_VALUED = (DictKind.ACTOR, DictKind.AGENT)
"""Kinds that may have millions of values, which are not held in memory."""


# Plain numbers, which hash faster: these are keys of every event that is stored.
_ACTOR, _ACTION, _APP, _COUNTRY, _AGENT = (
    int(kind)
    for kind in (
        DictKind.ACTOR, DictKind.ACTION, DictKind.APP, DictKind.COUNTRY, DictKind.AGENT,
    )
)  # fmt: skip


def dictionary_texts(columns: Columns) -> tuple[tuple[int, str], ...]:
    """What of an event is kept in the dictionary; "" is no value."""
    return (
        (_ACTOR, columns.actor),
        (_ACTION, columns.action),
        (_APP, columns.app),
        (_COUNTRY, columns.country),
        (_AGENT, columns.agent),
    )


@dataclass(frozen=True, slots=True)
class DictValue:
    """One dictionary value."""

    ref: int
    tenant: int
    text: str


@dataclass(frozen=True, slots=True)
class _Same:
    """One text of a kind that has few, and an event that has nothing but it."""

    probe: StoredEvent
    values: list[DictValue] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Decided:
    """Which values up to a ref pass a term."""

    newest: int
    refs: array[int]


class Dictionary:
    """What the readers of a store share of its dictionary. Thread-safe, of bounded size."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest = 0
        self._few: dict[int, dict[str, _Same]] = {}
        self._few_by_ref: dict[int, DictValue] = {}
        self._texts: OrderedDict[int, str] = OrderedDict()
        self._decided: OrderedDict[Hashable, _Decided] = OrderedDict()

    def learn(
        self, newest: int, read: Callable[[int, int], Iterable[tuple[int, int, int, str]]]
    ) -> None:
        """Learn the values of kinds with few that other connections and processes have added.

        Args:
            newest: The number given last.
            read: Number, tenant, kind and text of those above one number, up to another.
        """
        with self._lock:
            if newest <= self._newest:
                return
            for ref, tenant, kind, text in read(self._newest, newest):
                value = DictValue(ref, tenant, text)
                same = self._few.setdefault(kind, {})
                if text not in same:
                    same[text] = _Same(probe(kind, text))
                same[text].values.append(value)
                self._few_by_ref[ref] = value
            self._newest = newest

    def values(self, kind: DictKind) -> list[DictValue]:
        """All values of a kind that has few."""
        with self._lock:
            return [value for same in self._few.get(kind, {}).values() for value in same.values]

    def few_that_pass(self, kind: DictKind, term: Term) -> list[DictValue]:
        """The values of a kind that has few which pass a term."""
        test = compile_matcher(term)
        with self._lock:
            return [
                value
                for same in self._few.get(kind, {}).values()
                if test(same.probe)
                for value in same.values
            ]

    def find_text(self, ref: int) -> str | None:
        with self._lock:
            if ref in self._few_by_ref:
                return self._few_by_ref[ref].text
            if ref in self._texts:
                self._texts.move_to_end(ref)
            return self._texts.get(ref)

    def keep_text(self, ref: int, text: str) -> None:
        with self._lock:
            self._texts[ref] = text
            while len(self._texts) > MAX_TEXTS:
                self._texts.popitem(last=False)

    def find_decided(self, key: Hashable) -> _Decided | None:
        with self._lock:
            if key in self._decided:
                self._decided.move_to_end(key)
            return self._decided.get(key)

    def keep_decided(self, key: Hashable, decided: _Decided) -> None:
        with self._lock:
            self._decided[key] = decided
            self._decided.move_to_end(key)
            total = sum(len(each.refs) for each in self._decided.values())
            while total > MAX_DECIDED_REFS or len(self._decided) > MAX_TERMS:
                total -= len(self._decided.popitem(last=False)[1].refs)


class DictionaryView(ABC):
    """The dictionary as one connection sees it; each engine says how values are found."""

    def __init__(self, shared: Dictionary) -> None:
        self._shared = shared
        shared.learn(self._newest(), self._read_few)

    @abstractmethod
    def _newest(self) -> int:
        """The number given last, 0 for none; all before it are visible as well."""

    @abstractmethod
    def _read_few(self, after: int, newest: int) -> Iterable[tuple[int, int, int, str]]:
        """Number, tenant, kind and text of the values above `after`, but for `MANY_VALUED`."""

    @abstractmethod
    def _read_text(self, ref: int) -> str | None:
        """The text behind a number, or None."""

    @abstractmethod
    def _candidates(
        self,
        kind: DictKind,
        term: Term,
        *,
        tenants: Sequence[int] | None,
        after: int,
        newest: int,
    ) -> Iterator[tuple[int, int, str]]:
        """Number, tenant and text of the values that can pass a term, ascending.

        Args:
            tenants: Whose values are asked for, where that makes a difference; None: everybody's.
            after: Only those with a greater number.
            newest: Only those up to this one.
        """

    def values(self, kind: DictKind) -> Sequence[DictValue]:
        """All values of a kind that has few, such as the tenants."""
        return self._shared.values(kind)

    def text(self, ref: int) -> str:
        """The value behind a number; "" for 0.

        Raises:
            LedgerError: There is none.
        """
        if not ref:
            return ""
        text = self._shared.find_text(ref)
        if text is None:
            text = self._read_text(ref)
            if text is None:
                raise LedgerError("an event refers to a value that is gone; run whodid verify")
            self._shared.keep_text(ref, text)
        return text

    def refs_that_pass(
        self,
        kind: DictKind,
        term: Term,
        *,
        tenants: Mapping[int, str] | None,
        most: int | None = None,
    ) -> list[int] | None:
        """The numbers of the values that pass a term, ascending.

        Args:
            tenants: Whose values count, by number; None for everybody's.
            most: None is returned when more values than this would have to be asked.
        """
        if kind not in MANY_VALUED:
            return sorted(
                value.ref
                for value in self._shared.few_that_pass(kind, term)
                if tenants is None
                or (value.ref if kind == DictKind.TENANT else value.tenant) in tenants
            )
        key = (kind, term, None if tenants is None else frozenset(tenants))
        known = self._shared.find_decided(key) or _Decided(0, array("q"))
        newest = self._newest()
        if newest > known.newest:
            seen = None if tenants is None else sorted(tenants)
            rows = self._candidates(kind, term, tenants=seen, after=known.newest, newest=newest)
            if most is not None:
                few = list(itertools.islice(rows, most + 1))
                if len(few) > most:
                    return None
                rows = iter(few)
            test = compile_matcher(term)
            passing = [
                ref
                for ref, tenant, text in rows
                if (tenants is None or tenant in tenants) and test(probe(kind, text))
            ]
            known = _Decided(newest, known.refs + array("q", passing))
            self._shared.keep_decided(key, known)
        return None if most is not None and len(known.refs) > most else known.refs.tolist()


def passes_empty(kind: DictKind, term: Term) -> bool:
    """Does the empty text pass, which the dictionary doesn't hold?"""
    return compile_matcher(term)(probe(kind, ""))


def probe(kind: int, text: str) -> StoredEvent:
    """An event that has nothing but this value."""
    nobody = Actor(type="unknown")
    match kind:
        case DictKind.TENANT:
            event = Event(action="no.action", actor=nobody, tenant=Tenant(id=text))
        case DictKind.ACTOR:
            event = Event(action="no.action", actor=actor_from_text(text))
        case DictKind.ACTION:
            event = Event(action=text, actor=nobody)
        case DictKind.APP:
            event = Event(action="no.action", actor=nobody, source=Source(app=text))
        case DictKind.COUNTRY:
            event = Event(action="no.action", actor=nobody, client=Client(geo=Geo(country=text)))
        case DictKind.AGENT:
            event = Event(action="no.action", actor=nobody, client=Client(user_agent=text))
        case _:
            raise AssertionError(f"the dictionary holds a value of the unknown kind {kind}")
    return StoredEvent(event=event, received_at=_EPOCH, index=None, position=0)
