"""The verdict on a list of calls, without a database and without a clock."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from evolvex_api.config import Originate
from evolvex_api.core.limits import (
    Limits,
    check_hours,
    countable,
    flight_refusal,
    limits_of,
    rate_refusal,
)
from evolvex_api.core.refusals import ApiError
from evolvex_api.core.rules import CallRules, read_call_rules
from tests.options import section

NOW = 1_000_000.0


class Calls:
    """A history given as (seconds ago, numbers), the last call last."""

    def __init__(self, *calls: tuple[float, tuple[str, ...]]) -> None:
        self._calls = [(NOW - ago, numbers) for ago, numbers in calls]

    def in_flight(self) -> int:
        return len(self._calls)

    def nth_last(self, n: int, since: float) -> float | None:
        return self._nth([at for at, _ in self._calls if at > since], n)

    def nth_last_to(self, number: str, n: int, since: float) -> float | None:
        return self._nth([at for at, to in self._calls if number in to and at > since], n)

    @staticmethod
    def _nth(moments: list[float], n: int) -> float | None:
        return moments[-n] if n <= len(moments) else None


def waits(limits: Limits, calls: Calls, *numbers: str) -> int | None:
    """The Retry-After of a call to these numbers; None when it is let through."""
    refusal = rate_refusal(limits, numbers, calls, NOW)
    if refusal is None:
        return None
    assert (refusal.status, refusal.code) == (429, "too_many_calls")
    return refusal.retry_after


def test_a_minute_slides() -> None:
    limits = Limits(in_flight=1, per_minute=2)
    assert waits(limits, Calls()) is None
    assert waits(limits, Calls((1, ()))) is None
    assert waits(limits, Calls((60, ()), (1, ()))) is None
    assert waits(limits, Calls((59.5, ()), (1, ()))) == 1
    assert waits(limits, Calls((30, ()), (29, ()))) == 30
    assert waits(limits, Calls((90, ()), (30, ()), (29, ()))) == 30


def test_a_day_slides() -> None:
    limits = Limits(in_flight=1, per_minute=100, per_day=2)
    assert waits(limits, Calls((86400, ()), (5, ()))) is None
    assert waits(limits, Calls((86399, ()), (5, ()))) == 1
    assert waits(limits, Calls((100, ()), (5, ()))) == 86300


def test_every_number_of_a_request_counts() -> None:
    limits = Limits(in_flight=1, per_minute=100, per_number_per_day=1)
    calls = Calls((10, ("1", "2")))
    assert waits(limits, calls, "3") is None
    assert waits(limits, calls, "2") == 86390
    assert waits(limits, calls, "3", "1") == 86390


@pytest.mark.parametrize(
    ("numbers", "counted"),
    [
        (("7916", "7916"), ("7916",)),
        (("s", "start"), ()),
        (("7916#", "w7916"), ("7916",)),
        (("100", "7916"), ("100", "7916")),
    ],
)
def test_numbers_that_count(numbers: tuple[str, ...], counted: tuple[str, ...]) -> None:
    assert tuple(countable(numbers)) == counted


def test_calls_in_flight() -> None:
    limits = Limits(in_flight=2, per_minute=1)
    assert flight_refusal(limits, Calls((5, ()))) is None
    refusal = flight_refusal(limits, Calls((5, ()), (5, ())))
    assert refusal is not None
    assert (refusal.status, refusal.code, refusal.retry_after) == (429, "too_many_calls", 5)
    assert "`max_calls`" in refusal.detail


def test_a_group_without_a_section_has_the_limits_of_evolvex_conf() -> None:
    defaults = section(Originate)
    assert limits_of(CallRules(), defaults) == Limits(100, 120)
    rules = CallRules(max_calls=1, calls_per_minute=2, calls_per_day=3, calls_per_number_per_day=4)
    assert limits_of(rules, defaults) == Limits(1, 2, 3, 4)


def test_hours() -> None:
    rules = read_call_rules({"hours": "08:00-20:00,mon-fri,*,*,UTC"}, ZoneInfo)
    wednesday = datetime(2026, 11, 25, 20, 0, 59, tzinfo=UTC)
    check_hours(rules, wednesday)
    check_hours(CallRules(), wednesday)
    with pytest.raises(ApiError, match="08:00-20:00,mon-fri") as refused:
        check_hours(rules, wednesday.replace(minute=1))
    assert (refused.value.status, refused.value.code) == (403, "outside_hours")
