"""What stands around Django's own code: the gap detector, "no queries here", a mark of ours.

Statements that the ORM's capture knows of are claimed while they run (`claimed`). A statement that
changes a recorded table and that nobody has claimed is raw SQL, or a way into the database that is
new to us: it becomes `data.sql`, with its text without values and the number of rows, so that
nothing is missed silently.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any, TypeVar

from django.apps import apps
from django.db import connections
from django.db.backends.signals import connection_created

from whodid import context
from whodid.jsonable import cut, guarded_text, label

_MAX_STATEMENT = 2_000
_MAX_REMEMBERED = 10_000  # characters: what is longer holds its values, and is not seen again
_WRITES = re.compile(
    r"""(?: \s | (?>/\*.*?\*/) | --[^\n]*\n )*  # atomic: many comments must not be tried in turn
        (?: INSERT | UPDATE | DELETE | REPLACE | MERGE | TRUNCATE | WITH )\b""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_TABLE = re.compile(
    r"""\b(?:INTO|UPDATE(?:\s+OR\s+\w+)?|DELETE\s+FROM|MERGE\s+INTO|TRUNCATE(?:\s+TABLE)?)
        \s+ (?:ONLY\s+)? (?:["`\[]?\w+["`\]]?\.)? ["`\[]? (?P<table>\w+)""",
    re.IGNORECASE | re.VERBOSE,
)
_NO_NAME = re.compile(
    r"""(?P<comment> /\*.*?(?:\*/|\Z) | --[^\n]* )
        | "(?P<quoted> (?:[^"]|"")* )"
        | '(?:[^']|'')*(?:'|\Z)
        | \$(?P<tag>\w*)\$ .*? \$(?P=tag)\$
        | (?<![\w$]) \d[\w.]*""",
    re.VERBOSE | re.DOTALL,
)
_ALIAS = re.compile(r"[TUVWXYZ]\d+")  # Django's own names for tables


_FunctionT = TypeVar("_FunctionT", bound=Callable[..., Any])


def ours(function: _FunctionT) -> _FunctionT:
    """Mark what stands in place of a function of Django's."""
    function._whodid = True  # type: ignore[attr-defined]  # functions have such
    return function


def is_ours(function: object) -> bool:
    """Is it what we have put there? Others wrap Django's functions, too, but in other things."""
    return getattr(function, "_whodid", False) is True


class QueryRefusedError(RuntimeError):
    """A name or a text of a host's object would have to query the database to be had."""


class _State(threading.local):
    """Of this thread: Django's connections are a thread's own."""

    claims: Collection[str] | None = ()
    """Tables whose statements somebody knows of; None: all."""
    summed: frozenset[str] = frozenset()
    is_quiet = False


_state = _State()


@contextmanager
def claimed(tables: Collection[str] | None = None) -> Iterator[None]:
    """The statements of this block are known to somebody.

    Args:
        tables: Only those about these tables are; where receivers of the host's run, too.
    """
    before = _state.claims
    if tables is None or before is None:
        _state.claims = None
    else:
        _state.claims = {*before, *tables}
    try:
        yield
    finally:
        _state.claims = before


def is_claimed(table: str) -> bool:
    """Are statements about this table known to somebody?"""
    return _state.claims is None or table in _state.claims


@contextmanager
def summed(table: str) -> Iterator[None]:
    """What `QuerySet.update` does to this table in this block is told as one event."""
    before, _state.summed = _state.summed, _state.summed | {table}
    try:
        yield
    finally:
        _state.summed = before


def is_summed(table: str) -> bool:
    return table in _state.summed


@contextmanager
def without_queries() -> Iterator[None]:
    """A statement in this block raises: what is asked for must be loaded already."""
    before, _state.is_quiet = _state.is_quiet, True
    try:
        yield
    finally:
        _state.is_quiet = before


def label_of(value: object) -> str:
    """`str(value)`, guarded, without a query, at most 200 characters; empty if there is none."""
    with without_queries():
        try:
            return label(str(value))
        except Exception:  # noqa: BLE001 - a host's __str__: the event is made without a name
            return ""


def install(settings: object) -> None:
    """Stand around the statements of all connections, those that come included. Idempotent."""
    connection_created.connect(_watch, dispatch_uid="whodid.guard")
    for connection in connections.all(initialized_only=True):
        _watch(sender=None, connection=connection)


def _watch(sender: object, connection: Any, **_: object) -> None:
    if _guarded not in connection.execute_wrappers:
        connection.execute_wrappers.insert(0, _guarded)


def _guarded(
    execute: Callable[..., Any], sql: Any, params: Any, many: bool, known: Mapping[str, Any]
) -> Any:
    if _state.is_quiet:
        raise QueryRefusedError("no query is made for the name of an object")
    if _state.claims is None:
        return execute(sql, params, many, known)
    text = sql if sql.__class__ is str else _text_of(sql, known["connection"])
    if not _WRITES.match(text):
        return execute(sql, params, many, known)
    table = _table_of(text) if len(text) <= _MAX_REMEMBERED else _find_table(text)
    if table is None or table in _state.claims or not _is_watched(table):
        return execute(sql, params, many, known)
    return _recorded(partial(execute, sql, params, many, known), text, table, known)


def _text_of(sql: Any, connection: Any) -> str:
    """A statement that is no text, such as psycopg's composed ones; empty if it can't be read."""
    try:
        if isinstance(sql, bytes):
            return sql.decode()
        return str(sql.as_string(connection.connection) if hasattr(sql, "as_string") else sql)
    except Exception:  # noqa: BLE001 - of the host: it is executed as it would be without us
        return ""


def _recorded(execute: Callable[[], Any], sql: str, table: str, known: Mapping[str, Any]) -> Any:
    from whodid.capture.django import unit
    from whodid.capture.django.conf import get_audit

    connection, cursor = known["connection"], known["cursor"]
    with unit.together(connection.alias):
        result = execute()
        with get_audit().guarded("a statement of SQL"):
            rows = getattr(cursor, "rowcount", -1)
            if rows != 0:
                event = get_audit().draft(
                    "data.sql",
                    target=("table", table, table),
                    metadata={"statement": template_of(sql), "rows": rows if rows > 0 else None},
                )
                unit.add([event], connection.alias)
    return result


def template_of(sql: str) -> str:
    """A statement without values and comments, at most 2,000 characters."""
    return cut(" ".join(_bare(guarded_text(sql)).split()), _MAX_STATEMENT)


def _bare(sql: str) -> str:
    return _NO_NAME.sub(_without_value, sql)


def _without_value(found: re.Match[str]) -> str:
    if found["comment"] is not None:
        return " "
    quoted = found["quoted"]
    # Some databases take what is in double quotes for a value, if it is no name.
    if quoted is not None and (quoted in _names() or _ALIAS.fullmatch(quoted)):
        return found[0]
    return "?"


@lru_cache(maxsize=1)
def _names() -> frozenset[str]:
    """Tables and columns of the project."""
    return frozenset(
        name
        for model in apps.get_models(include_auto_created=True)
        for name in (
            model._meta.db_table,
            *(each.column for each in model._meta.concrete_fields if each.column),
        )
    )


def _find_table(sql: str) -> str | None:
    """The table that a statement writes to."""
    found = _TABLE.search(_bare(sql))
    return found["table"] if found is not None else None


_table_of = lru_cache(maxsize=512)(_find_table)


def _is_watched(table: str) -> bool:
    """Are changes of its rows recorded, here and now?"""
    from whodid.capture.django import fields

    return table in fields.tables() and context.is_recording()
