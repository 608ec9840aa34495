"""The cursor of the call log's pages."""

from __future__ import annotations

import base64
import json
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvex_api.core.calllog import Position
from evolvex_api.core.cursor import decode, encode
from evolvex_api.core.refusals import ApiError

START, END = datetime(2024, 10, 30), datetime(2024, 10, 30, 23, 59, 59)
RANK = f"{7:020d}" + "0a" * 16
BOUND = ["group", "asc", "", "", "{}"]


def made(**changes: object) -> str:
    values = {"time": "2024-10-30 09:59:15", "rank": RANK, "seen": 1, **changes}
    return encode(Position(**values), START, END, BOUND)  # type: ignore[arg-type]  # wrong ones too


def refused(cursor: str, bound_to: list[str]) -> None:
    with pytest.raises(ApiError) as raised:
        decode(cursor, bound_to)
    assert (raised.value.status, raised.value.code) == (400, "invalid_parameter")
    assert raised.value.parameter == "cursor"


@pytest.mark.parametrize("time", ["2024-10-30 09:59:15", "2024-10-30 09:59:15.000001"])
def test_a_cursor_returns_what_it_was_made_of(time: str) -> None:
    cursor = made(time=time, seen=3)
    assert decode(cursor, BOUND) == (Position(time, RANK, 3), START, END)
    assert cursor.replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize("place", range(len(BOUND)))
def test_a_cursor_is_valid_for_what_it_was_made_for_alone(place: int) -> None:
    other = [*BOUND]
    other[place] = "other"
    refused(made(), other)


@given(st.text(max_size=300))
def test_what_is_no_cursor_is_refused(text: str) -> None:
    refused(text, BOUND)


@given(st.integers(0, 200), st.sampled_from("Aa0_-"))
def test_a_changed_cursor_is_refused(place: int, letter: str) -> None:
    cursor = made()
    changed = cursor[:place] + letter + cursor[place + 1 :]
    if changed != cursor:
        refused(changed, BOUND)


@pytest.mark.parametrize("length", [30, 30_000])
def test_brackets_without_end_are_refused(length: int) -> None:
    refused(base64.urlsafe_b64encode(b"[" * length).decode(), BOUND)


@pytest.mark.parametrize(
    "changes",
    [
        {"time": "2024-10-30"},
        {"time": "2024-13-30 09:59:15"},
        {"time": "2024-10-30 09:59:15' OR '1'='1"},
        {"rank": ""},
        {"rank": RANK + "0"},
        {"rank": None},
        {"seen": 0},
        {"seen": -1},
        {"seen": 1 << 60},
        {"seen": "1"},
        {"seen": True},
    ],
)
def test_values_that_no_answer_gave_are_refused(changes: dict[str, object]) -> None:
    refused(made(**changes), BOUND)


def test_a_cursor_is_json_of_fixed_fields() -> None:
    decoded = json.loads(base64.urlsafe_b64decode(made() + "=="))
    assert decoded[1:] == [START.isoformat(), END.isoformat(), "2024-10-30 09:59:15", RANK, 1]
