"""Which group may hear which call."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from evolvex_api.core.access import Scope
from evolvex_api.core.audible import may_hear


@dataclass
class Row:
    """A row of the call log."""

    dcontext: str
    group_uuid: str = ""


SALES = Scope(frozenset({"sales"}), "g1")


@pytest.mark.parametrize(
    ("rows", "contexts", "heard"),
    [
        ([], [], False),
        ([Row("sales")], [], True),
        ([Row("other")], [], False),
        ([Row("other"), Row("sales")], [], True),
        ([Row("other", "g1")], [], True),
        ([Row("other", "g2")], [], False),
        ([], ["sales"], True),
        ([], ["other"], False),
        ([Row("other")], ["sales"], False),  # the rows decide as soon as there are some
        ([Row("Sales")], ["SALES"], False),
    ],
)
def test_a_call_is_heard_by_its_rows_then_its_channels(
    rows: list[Row], contexts: list[str], heard: bool
) -> None:
    channels = [{"Context": context} for context in contexts]
    assert may_hear(SALES, lambda: rows, lambda: channels) is heard


def test_every_refusal_takes_the_same_questions() -> None:
    asked: list[str] = []

    def rows_of(found: list[Row]) -> list[Row]:
        asked.append("rows")
        return found

    def channels() -> list[dict[str, str]]:
        asked.append("channels")
        return []

    for found in ([], [Row("other")], [Row("other")] * 900):
        asked.clear()
        assert not may_hear(SALES, lambda found=found: rows_of(found), channels)  # type: ignore[misc]
        assert asked == ["rows", "channels"]


def test_a_scope_of_everything_asks_nothing() -> None:
    def never() -> list[Row]:
        raise AssertionError

    assert may_hear(Scope(None, "g"), never, lambda: [])
