"""How many calls a group may make: counts of a history, and the refusal when one is reached."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from evolvex_api.config import Originate
from evolvex_api.core.refusals import ApiError, too_many
from evolvex_api.core.rules import CallRules

MINUTE = 60.0
DAY = 86400.0
# A call ends at any moment, so a client may well ask again soon.
_RETRY_IN_FLIGHT = 5


@dataclass(frozen=True)
class Limits:
    """A group's limits; None where there is none. Minutes and days are sliding."""

    in_flight: int
    per_minute: int
    per_day: int | None = None
    per_number_per_day: int | None = None


class History(Protocol):
    """What a group has dialled; moments are in seconds since the epoch."""

    def in_flight(self) -> int:
        """How many of its calls have not ended, ringing ones included."""

    def nth_last(self, n: int, since: float) -> float | None:
        """When its n-th last call after `since` was let through (1: the last); None without one."""

    def nth_last_to(self, number: str, n: int, since: float) -> float | None:
        """The same of its calls to a number."""


def limits_of(rules: CallRules, defaults: Originate) -> Limits:
    """A group's limits, with those of evolvex.conf where its file has none."""
    return Limits(
        in_flight=rules.max_calls or defaults.max_calls,
        per_minute=rules.calls_per_minute or defaults.calls_per_minute,
        per_day=rules.calls_per_day,
        per_number_per_day=rules.calls_per_number_per_day,
    )


def check_hours(rules: CallRules, now: datetime) -> None:
    """Raise ApiError (403 outside_hours) unless the group may call `now`, given with its zone."""
    if rules.hours is not None and not rules.hours.hold(now):
        raise ApiError(
            403,
            "outside_hours",
            f"Your group may call within {rules.hours.text} only: an administrator sets `hours` in"
            " section [originate] of the group's file.",
        )


def countable(numbers: Sequence[str]) -> Sequence[str]:
    """The numbers that calls are counted by: digits alone, each once; what has none is no number.

    So `8916…#` or `w8916…`, which reach the same telephone, count as one.
    """
    digits = ("".join(filter(str.isdecimal, number)) for number in numbers)
    return tuple(dict.fromkeys(found for found in digits if found))


def rate_refusal(
    limits: Limits, numbers: Sequence[str], history: History, now: float
) -> ApiError | None:
    """The refusal of a call to these numbers (as `countable` returns them), or None.

    Looks at calls a minute, a day, and a day to each number.
    """
    for limit, window, key, words in (
        (limits.per_minute, MINUTE, "calls_per_minute", "a minute"),
        (limits.per_day, DAY, "calls_per_day", "a day"),
    ):
        earlier = history.nth_last(limit, now - window) if limit is not None else None
        if earlier is not None:
            return _refusal(f"{limit} calls {words}", key, math.ceil(earlier + window - now))
    limit = limits.per_number_per_day
    for number in numbers if limit is not None else ():
        earlier = history.nth_last_to(number, limit or 0, now - DAY)
        if earlier is not None:
            wait = math.ceil(earlier + DAY - now)
            return _refusal(f"{limit} calls a day to {number}", "calls_per_number_per_day", wait)
    return None


def flight_refusal(limits: Limits, history: History) -> ApiError | None:
    """The refusal of one more call in flight, or None."""
    if history.in_flight() < limits.in_flight:
        return None
    return _refusal(f"{limits.in_flight} calls at once", "max_calls", _RETRY_IN_FLIGHT)


def _refusal(what: str, key: str, retry_after: int) -> ApiError:
    return too_many(
        "too_many_calls",
        f"Your group may make {what}; try again in {retry_after} s. An administrator sets `{key}`"
        " in section [originate] of the group's file.",
        retry_after,
    )
