"""The period and the filters that get_log_cdr is asked for."""

from __future__ import annotations

from datetime import datetime

import pytest
from flask import Flask

from evolvex_api.api import cdr
from evolvex_api.api.cdr import period
from evolvex_api.core.calllog import FIELDS
from evolvex_api.core.refusals import ApiError
from evolvex_api.params import Params


def asked(**values: str) -> tuple[datetime, datetime]:
    with Flask(__name__).test_request_context("/", query_string=values):
        return period(Params())


def day(number: int, hour: int = 0, minute: int = 0, second: int = 0) -> datetime:
    return datetime(2024, 10, number, hour, minute, second)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"start": "2024-10-30", "end": "2024-10-31"}, (day(30), day(31, 23, 59, 59))),
        ({"start": "2024-10-30 09:59:15"}, (day(30, 9, 59, 15), day(30, 23, 59, 59))),
        ({"end": "2024-10-30T09:59:15"}, (day(30), day(30, 9, 59, 15))),
        ({"end": "2024-10-30"}, (day(30), day(30, 23, 59, 59))),
        ({"start": "2024-10-30", "end": ""}, (day(30), day(30, 23, 59, 59))),
        (
            {"start": "2024-10-30 09:59:15", "end": "2024-10-30 09:59:15"},
            (day(30, 9, 59, 15), day(30, 9, 59, 15)),
        ),
    ],
)
def test_period(values: dict[str, str], expected: tuple[datetime, datetime]) -> None:
    assert asked(**values) == expected


def test_period_is_today_by_itself() -> None:
    before = datetime.now().date()
    start, end = asked()
    assert before <= start.date() == end.date() <= datetime.now().date()
    assert (start.time().isoformat(), end.time().isoformat()) == ("00:00:00", "23:59:59")


@pytest.mark.parametrize("name", ["start", "end"])
@pytest.mark.parametrize(
    "text",
    [
        *("yesterday", "2024-13-01", "2024-02-30", "2024-1-1", "20241030", "0000-01-01"),
        *("2024-10-30 24:00:00", "2024-10-30 9:00:00", "2024-10-30 23:59:60", "2024-10-30 12:00"),
        *("2024-10-30T12:00:00Z", "2024-10-30 12:00:00.5", "٢٠٢٤-10-30", "2024-10-30' OR '1'='1"),
    ],
)
def test_what_is_no_moment_is_refused(name: str, text: str) -> None:
    with pytest.raises(ApiError) as raised:
        asked(**{name: text})
    assert (raised.value.status, raised.value.code) == (400, "invalid_parameter")
    assert raised.value.parameter == name


def test_start_after_end_is_refused() -> None:
    with pytest.raises(ApiError) as raised:
        asked(start="2024-10-30 00:00:01", end="2024-10-30 00:00:00")
    assert (raised.value.status, raised.value.code) == (400, "invalid_parameter")


@pytest.mark.parametrize("uniqueid", ["{}.5", "my-pbx-{}.5;2"])
def test_the_days_around_an_id(uniqueid: str) -> None:
    moment = int(datetime(2024, 10, 30, 23, 59).timestamp())
    around = (day(29), datetime(2024, 11, 1, 23, 59, 59))
    assert cdr._days_around([uniqueid.format(moment)]) == around
    assert cdr._days_around([uniqueid.format(moment), "abc"]) == around


@pytest.mark.parametrize("uniqueid", ["abc", "1.1", "1730289600", "99999999999999999999.1"])
def test_an_id_without_a_time_is_looked_for_in_all_time(uniqueid: str) -> None:
    assert cdr._days_around([uniqueid]) == (datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59))


def test_the_fields_are_the_original_ones() -> None:
    assert len(FIELDS) == len(set(FIELDS)) == 25
