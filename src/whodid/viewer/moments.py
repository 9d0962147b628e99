"""How a moment is written for people: in one zone, never without it within reach."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from whodid.times import Instant

_ZONE_NAME = re.compile(r"[A-Za-z0-9_+\-]+(/[A-Za-z0-9_+\-]+){0,2}", re.ASCII)
_LONGEST_ZONE_NAME = 64

MINUTE, HOUR, DAY = 60, 3_600, 86_400

# Not strftime's: its words change when the host application sets a locale.
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip


def find_zone(name: str) -> tzinfo | None:
    """The zone with this IANA name, or None."""
    if name.upper() == "UTC":
        return UTC
    if len(name) > _LONGEST_ZONE_NAME or not _ZONE_NAME.fullmatch(name):
        return None
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):  # OSError: the name of a folder, such as "Europe"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Writes moments as seen at `now` in `zone`.

    Attributes:
        name: The zone's name as asked for.
        home: Name of the zone that pages have when none is asked for.
    """

    now: Instant
    zone: tzinfo
    name: str
    home: str = "UTC"

    def local(self, moment: datetime) -> datetime:
        """The same moment in the zone; in UTC where the zone would leave the years 1 to 9999."""
        try:
            return moment.astimezone(self.zone)
        except OverflowError:
            return moment

    @property
    def city(self) -> str:
        """The zone's short name: `Oslo`, `UTC`."""
        return self.name.rpartition("/")[2].replace("_", " ")

    @property
    def offset(self) -> str:
        """The zone's distance to UTC now, empty for UTC itself: `+01:00`."""
        return "" if self.zone is UTC else _offset(self.local(self.now))

    def clock(self, moment: datetime) -> str:
        """`02:51:47`."""
        return f"{self.local(moment):%H:%M:%S}"

    def day(self, moment: datetime) -> tuple[str, str]:
        """A separator's name and date: `Today`, `Thursday 19 November`."""
        local, today = self.local(moment).date(), self.local(self.now).date()
        year = f" {local.year}" if local.year != today.year else ""
        if local == today:
            return "Today", f"{_weekday(local)} {_day_and_month(local)}{year}"
        if (today - local).days == 1:
            return "Yesterday", f"{_weekday(local)} {_day_and_month(local)}{year}"
        return _weekday(local), f"{_day_and_month(local)}{year}"

    def full(self, moment: datetime) -> str:
        """`Thu 19 Nov 2026, 02:51:47.218 +01:00`."""
        local = self.local(moment)
        zone = "UTC" if local.tzinfo is UTC else _offset(local)
        milliseconds = local.microsecond // 1_000
        return f"{_short_date(local)} {local.year}, {local:%H:%M:%S}.{milliseconds:03} {zone}"

    def ago(self, moment: Instant) -> str:
        """`4 h 35 min ago`, `in 2 min`, `just now`."""
        seconds = int((self.now - moment).total_seconds())
        if -5 < seconds < 5:
            return "just now"
        length = span(abs(seconds))
        return f"{length} ago" if seconds > 0 else f"in {length}"

    def short(self, moment: datetime) -> str:
        """Date and minute, with the year if it is another than now: `Thu 19 Nov 02:00`."""
        local = self.local(moment)
        year = f" {local.year}" if local.year != self.local(self.now).year else ""
        return f"{_short_date(local)}{year} {local:%H:%M}"

    def between(self, start: datetime, end: datetime) -> str:
        """`Thu 19 Nov 02:00 – 04:00`; whole days as `Thu 19 Nov` or `12 Nov – 19 Nov`."""
        first, last = self.local(start), self.local(end)
        year = f" {first.year}" if first.year != self.local(self.now).year else ""
        if _is_midnight(first) and _is_midnight(last) and last > first:
            final = last - timedelta(days=1)
            if final.date() == first.date():
                return f"{_short_date(first)}{year}"
            return f"{_day(first)} – {_day(final)}{year}"
        if first.date() == last.date():
            return f"{_short_date(first)}{year} {first:%H:%M} – {last:%H:%M}"
        return f"{self.short(start)} – {self.short(end)}"

    def tick(self, moment: datetime, *, step: str) -> str:
        """An axis label; marks are a `minute`, `hour`, `day`, `week`, `month` or `year` apart."""
        local = self.local(moment)
        match step:
            case "minute" | "hour":
                return _short_date(local) if _is_midnight(local) else f"{local:%H:%M}"
            case "day":
                return f"{_weekday(local)[:3]} {local.day}" if local.day > 1 else _short_date(local)
            case "last day":
                return _short_date(local)
            case "week":
                return _day(local)
            case "month":
                month = _MONTHS[local.month - 1][:3]
                return f"{month} {local.year}" if local.month == 1 else month
            case _:
                return str(local.year)

    def days(self, start: datetime, end: datetime) -> str:
        """`12 Nov – 19 Nov`, both ends included."""
        first, last = self.local(start), self.local(end)
        if first.date() == last.date():
            return _short_date(last)
        if first.year != last.year:
            return f"{_day(first)} {first.year} – {_day(last)} {last.year}"
        return f"{_day(first)} – {_day(last)}"


def span(seconds: int) -> str:
    """A length of time in its two largest units: `4 h 35 min`, `3 days`."""
    for unit, length, smaller in (("year", 365 * DAY, 0), ("day", DAY, 0), ("h", HOUR, MINUTE)):
        if seconds >= (length if unit != "day" else 2 * DAY):
            count, rest = divmod(seconds, length)
            if smaller and rest >= smaller and count < 10:
                return f"{count} h {rest // smaller} min"
            plural = "s" if count != 1 and unit != "h" else ""
            return f"{count:,} {unit}{plural}"
    return f"{seconds // MINUTE} min" if seconds >= MINUTE else f"{seconds} s"


def _day(day: date) -> str:
    return f"{day.day} {_MONTHS[day.month - 1][:3]}"


def _short_date(day: date) -> str:
    return f"{_weekday(day)[:3]} {_day(day)}"


def _weekday(day: date) -> str:
    return _WEEKDAYS[day.weekday()]


def _day_and_month(day: date) -> str:
    return f"{day.day} {_MONTHS[day.month - 1]}"


def _offset(moment: datetime) -> str:
    text = f"{moment:%z}"
    return f"{text[:3]}:{text[3:5]}"


def _is_midnight(moment: datetime) -> bool:
    return not (moment.hour or moment.minute or moment.second or moment.microsecond)
