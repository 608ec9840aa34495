"""The hours of GotoIfTime; integration/test_limits.py asks Asterisk."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from evolvex_api.core.hours import read_hours

# A Wednesday.
NOON = datetime(2026, 11, 25, 12, 0, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("*", True),
        ("*,*,*,*", True),
        ("12:00-12:00", True),
        ("12:00", True),
        ("12:01-11:59", False),
        ("12:01-12:00", True),
        ("08:00-20:00,mon-fri,*,*", True),
        ("8:00-11:59,mon-fri,*,*", False),
        ("22:00-06:00", False),
        ("22:00-13:00", True),
        ("08:00-09:00&11:00-13:00", True),
        ("*,wed", True),
        ("*,4", True),
        ("*,WED", True),
        ("*,fri-tue", False),
        ("*,sat-wed", True),
        ("*,mon&wed", True),
        ("*,*,25,*", True),
        ("*,*,26-24,*", False),
        ("*,*,*,nov", True),
        ("*,*,*,11", True),
        ("*,*,*,dec-jan", False),
        ("*|wed|25|nov", True),
        ("15:00-15:00,*,*,*,Europe/Moscow", True),
        ("12:00-12:00,*,*,*,Europe/Moscow", False),
        (" 08:00 - 20:00 , mon - fri , * , * ", True),
    ],
)
def test_moments(text: str, holds: bool) -> None:
    hours = read_hours(text if text.count(",") == 4 else _in_utc(text), ZoneInfo)
    assert hours.hold(NOON) is holds


def _in_utc(text: str) -> str:
    """The same with the zone of the moment, whatever the host's is."""
    fields = text.replace("|", ",").split(",")
    return ",".join([*fields, *["*"] * (4 - len(fields)), "UTC"])


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "8-20", "25:00-26:00", "08:60", "08:00-", "-08:00", "08:00-20:00-21:00", "noon"),
        *("*,mo-fr", "*,0", "*,8", "*,mon-", "*,*,0", "*,*,32", "*,*,*,13", "*,*,*,may-", "*,&"),
        *("*,*,*,*,Nowhere/City", "*,*,*,*,UTC,x", "*,*,*,*,", "*,*,*,*,../../etc/passwd"),
        "08:00-20:00,mon-fri,*,*  # comment",
    ],
)
def test_what_asterisk_would_skip_is_an_error(text: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        read_hours(text, ZoneInfo)
