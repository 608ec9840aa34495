"""When calls may be made: the four fields of Asterisk's GotoIfTime, and an optional time zone.

Source: Asterisk's main/pbx_timing.c, `ast_build_timing` and `ast_check_timing2`. Asterisk skips a
part that it can't read; here it is an error, as it would open or close other hours than meant.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_TIME = re.compile(r"([01]?[0-9]|2[0-3]):([0-5]?[0-9])")
_MINUTES_A_DAY = 24 * 60


@dataclass(frozen=True)
class Hours:
    """The minutes in which a condition of GotoIfTime holds.

    `text` as written; `zone` is None for the host's local time, which is Asterisk's.
    """

    text: str
    minutes: frozenset[int]  # of the day
    weekdays: frozenset[int]  # 0 is Sunday
    days: frozenset[int]
    months: frozenset[int]
    zone: tzinfo | None = None

    def hold(self, moment: datetime) -> bool:
        """True when the condition holds at a moment, given with its time zone."""
        local = moment.astimezone(self.zone)
        return (
            local.hour * 60 + local.minute in self.minutes
            and local.isoweekday() % 7 in self.weekdays
            and local.day in self.days
            and local.month in self.months
        )


def read_hours(text: str, zone_of: Callable[[str], tzinfo]) -> Hours:
    """Given `times,weekdays,days,months[,zone]`, as `08:00-20:00,mon-fri,*,*`, returns Hours.

    `zone_of` finds a time zone by its name. Raises ValueError with the reason; `zone_of` may too.
    """
    fields = [field.strip() for field in re.split(r"[,|]", text)]
    if not 1 <= len(fields) <= 5 or not text.strip():
        raise ValueError("must be times,weekdays,days,months as in 08:00-20:00,mon-fri,*,*")
    zone = zone_of(fields.pop()) if len(fields) == 5 else None
    times, weekdays, days, months = [*fields, "*", "*", "*"][:4]
    return Hours(
        text.strip(),
        _minutes(times),
        frozenset(_cyclic(weekdays, 7, _WEEKDAYS, "weekday")),
        frozenset(day + 1 for day in _cyclic(days, 31, (), "day of the month")),
        frozenset(month + 1 for month in _cyclic(months, 12, _MONTHS, "month")),
        zone,
    )


def _minutes(text: str) -> frozenset[int]:
    if text in ("", "*"):
        return frozenset(range(_MINUTES_A_DAY))
    found: set[int] = set()
    for part in text.split("&"):
        first, hyphen, last = part.partition("-")
        start = _minute(first)
        found |= _circle(start, _minute(last) if hyphen else start, _MINUTES_A_DAY)
    return frozenset(found)


def _minute(text: str) -> int:
    match = _TIME.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text.strip()!r} is no time such as 08:00")
    return int(match[1]) * 60 + int(match[2])


def _cyclic(text: str, size: int, names: Sequence[str], what: str) -> set[int]:
    """The positions, from 0, of ranges joined by `&`, by name or by number from 1."""
    if text in ("", "*"):
        return set(range(size))
    found: set[int] = set()
    for part in text.split("&"):
        first, hyphen, last = part.partition("-")
        start = _position(first, size, names, what)
        found |= _circle(start, _position(last, size, names, what) if hyphen else start, size)
    return found


def _position(text: str, size: int, names: Sequence[str], what: str) -> int:
    word = text.strip().lower()
    if word in names:
        return names.index(word)
    if re.fullmatch(r"[0-9]{1,2}", word) and 1 <= int(word) <= size:
        return int(word) - 1
    raise ValueError(f"{text.strip()!r} is no {what}")


def _circle(start: int, end: int, size: int) -> set[int]:
    """The positions from start to end, both included; past the last one it goes on at 0."""
    return {(start + step) % size for step in range((end - start) % size + 1)}
