"""The query string of a search, read strictly.

A silently ignored parameter would give a silently wrong answer.

A name that is not known, one that comes twice and a value that cannot be read are refused, with
the name. Not here: what `q` means (`query.parse`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from urllib.parse import parse_qsl

from whodid.server.problems import ProblemError, wrong_parameters
from whodid.times import Instant
from whodid.viewer.moments import find_zone

_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_NUMBER = re.compile(r"\d{1,6}", re.ASCII)
_MAX_PARAMETERS = 50


class Parameters:
    """The parameters of one request, each at most once."""

    def __init__(self, query_string: bytes, *, allowed: frozenset[str]) -> None:
        """Take a query string apart.

        Raises:
            ProblemError: A parameter is unknown or comes twice, or the text is not UTF-8.
        """
        try:
            pairs = parse_qsl(
                query_string.decode("ascii"),
                keep_blank_values=True,
                encoding="utf-8",
                errors="strict",
                max_num_fields=_MAX_PARAMETERS,
            )
        except UnicodeError:
            raise wrong_parameters([], "the query string is not percent-encoded UTF-8") from None
        except ValueError:
            raise wrong_parameters([], f"expected at most {_MAX_PARAMETERS} parameters") from None
        self.values: Mapping[str, str] = dict(pairs)
        unknown = sorted(self.values.keys() - allowed)
        if unknown:
            known = ", ".join(sorted(allowed)) or "none"
            raise wrong_parameters(
                [_shortened(name) for name in unknown], f"unknown parameter; expected of: {known}"
            )
        repeated = sorted({name for name, _ in pairs if sum(n == name for n, _ in pairs) > 1})
        if repeated:
            raise wrong_parameters(repeated, "expected each parameter once")

    def text(self, name: str) -> str:
        """The value, empty when it is absent."""
        return self.values.get(name, "")

    def number(self, name: str, *, default: int, low: int, high: int) -> int:
        """A whole number from `low` to `high`.

        Raises:
            ProblemError: It is none, or outside.
        """
        text = self.values.get(name)
        if text is None:
            return default
        if not _NUMBER.fullmatch(text) or not low <= int(text) <= high:
            raise wrong_parameters([name], f"{name}: expected a whole number from {low} to {high}")
        return int(text)

    def choice(self, name: str, *, default: str, of: tuple[str, ...]) -> str:
        """One of some words.

        Raises:
            ProblemError: It is none of them.
        """
        text = self.values.get(name, default)
        if text not in of:
            raise wrong_parameters([name], f"{name}: expected one of {', '.join(of)}")
        return text

    @property
    def zone(self) -> tzinfo:
        """The zone that times without offset are read in: `tz`, else UTC.

        Raises:
            ProblemError: There is no such zone.
        """
        name = self.values.get("tz")
        zone = UTC if name is None else find_zone(name)
        if zone is None:
            raise wrong_parameters(
                ["tz"], "tz: expected an IANA zone such as Europe/Vienna, or UTC"
            )
        return zone

    @property
    def window(self) -> tuple[Instant | None, Instant | None]:
        """`from` (inclusive) and `to` (exclusive; a date means the whole of that day).

        Raises:
            ProblemError: One is no time, or they name no span.
        """
        start, end = self._moment("from"), self._moment("to")
        if start is not None and end is not None and start >= end:
            raise wrong_parameters(["from", "to"], "from: expected a moment before `to`")
        return start, end

    def _moment(self, name: str) -> Instant | None:
        text = self.values.get(name)
        if text is None:
            return None
        try:
            if not _DATE.fullmatch(text):
                return Instant.parse(text)
            day = date.fromisoformat(text) + timedelta(days=1 if name == "to" else 0)
            return Instant.of(datetime.combine(day, time(), self.zone))
        except (ValueError, OverflowError):
            raise self._no_moment(name, text) from None

    def _no_moment(self, name: str, text: str) -> ProblemError:
        detail = (
            f"{name}: expected a date such as 2026-03-15 or an RFC 3339 time with offset, within "
            "the years 0001 to 9999"
        )
        if " " in text:
            detail += "; write the + of an offset as %2B"
        return wrong_parameters([name], detail)


def _shortened(name: str) -> str:
    return name if len(name) <= 64 else name[:64] + "…"
