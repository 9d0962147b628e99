"""The days that stories are told by, and what ordinary days must know of the stories.

That is who works no more and when a bad release ran. Times are microseconds since 1970, here and
in all of the demo.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from whodid.demo.companies import Company
from whodid.event import Event
from whodid.times import Instant

DAYS = 30  # of history
SECOND = 1_000_000
MINUTE, HOUR, DAY = 60 * SECOND, 3_600 * SECOND, 86_400 * SECOND


@dataclass(frozen=True, slots=True)
class Calendar:
    """The days that the stories are told by.

    Attributes:
        day: The latest day on which it has been 07:24 in Oslo: the morning after the takeover.
    """

    day: date

    @classmethod
    def of(cls, now: Instant) -> Calendar:
        local = now.astimezone(ZoneInfo("Europe/Oslo"))
        return cls(local.date() - timedelta(days=local.time() < time(7, 24)))

    def at(self, clock: str, *, zone: str, days_ago: int = 0) -> int:
        """Microseconds of a wall clock time `hh:mm[:ss[.fff]]`, so many days before `day`."""
        day = self.day - timedelta(days=days_ago)
        local = datetime.combine(day, time.fromisoformat(clock), tzinfo=ZoneInfo(zone))
        return Instant.of(local).micros

    def workdays_ago(self, number: int) -> int:
        """How many days before `day` the n-th working day before it was."""
        days = 0
        while number:
            days += 1
            number -= (self.day - timedelta(days=days)).weekday() < 5
        return days


_EPOCH = Instant.from_micros(0)


def when(event: Event) -> Instant:
    return event.occurred_at or _EPOCH


def absences(company: Company, day: Calendar) -> dict[str, int]:
    """Who, since a story says so, works no more from when."""
    match company.id:
        case "larkspur":
            return {"Tomás Reyes": day.at("20:00", zone=company.zone, days_ago=1)}
        case "alderquay":
            last_day = day.workdays_ago(2)
            return {"Victor Lang": day.at("16:40", zone=company.zone, days_ago=last_day)}
        case _:
            return {}


def bad_release(day: Calendar) -> tuple[int, int]:
    """From when to when Dispatch 2.8.0 ran."""
    ago = day.workdays_ago(1)
    return (
        day.at("14:05", zone="Europe/Oslo", days_ago=ago),
        day.at("14:32", zone="Europe/Oslo", days_ago=ago),
    )
