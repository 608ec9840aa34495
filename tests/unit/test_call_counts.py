"""Counts of calls in SQLite: the clock, what is forgotten, and what became of a call."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from evolvex_api.backends import call_counts
from evolvex_api.backends.call_counts import CallCounts, usage
from evolvex_api.backends.failures import PbxRejected, PbxUnavailable
from evolvex_api.core.limits import Limits
from evolvex_api.core.refusals import ApiError

NOW = 1_800_000_000.0


class Pbx:
    """The clock and the live channels, as the test wants them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.now = NOW
        self.live: set[str] = set()
        self.asked = 0
        self.folder = folder
        self.counts = CallCounts(folder, self._ids)
        self._made = 0
        monkeypatch.setattr("evolvex_api.backends.call_counts.time.time", lambda: self.now)

    def _ids(self) -> set[str]:
        self.asked += 1
        return self.live

    def call(self, limits: Limits, numbers: Sequence[str] = (), became: str = "sent") -> str | None:
        """The code of the refusal of a call, None when it is let through."""
        self._made += 1
        uniqueid = f"{self._made}.1"
        try:
            with self.counts.admitted("g", limits, uniqueid, numbers) as flight:
                getattr(flight, became)()
        except ApiError as error:
            return error.code
        return None


@pytest.fixture
def pbx(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Pbx:
    """Counts in a folder of their own."""
    return Pbx(monkeypatch, tmp_path)


FREE = Limits(in_flight=100, per_minute=100)


def test_a_minute_slides(pbx: Pbx) -> None:
    limits = Limits(100, per_minute=2)
    assert [pbx.call(limits) for _ in range(3)] == [None, None, "too_many_calls"]
    pbx.now += 59
    assert pbx.call(limits) == "too_many_calls"
    pbx.now += 1
    assert pbx.call(limits) is None


@pytest.mark.parametrize("back", [1.0, 3600.0, 10 * 365 * 86400.0])
def test_a_clock_that_was_set_back_shuts_nobody_out(pbx: Pbx, back: float) -> None:
    limits = Limits(100, per_minute=1)
    assert pbx.call(limits) is None
    pbx.now -= back
    assert pbx.call(limits) == "too_many_calls"
    pbx.now += 60
    assert pbx.call(limits) is None


def test_what_is_older_than_a_day_is_forgotten(pbx: Pbx) -> None:
    for _ in range(5):
        assert pbx.call(FREE, ["100"]) is None
    pbx.now += 86401
    assert pbx.call(FREE, ["200"]) is None
    with sqlite3.connect(pbx.folder / "calls.sqlite3") as connection:
        rows = connection.execute("SELECT number FROM attempts ORDER BY number").fetchall()
    assert rows == [("",), ("200",)]


def test_the_pbx_is_asked_only_when_the_limit_is_reached(pbx: Pbx) -> None:
    limits = Limits(2, per_minute=100)
    assert [pbx.call(limits) for _ in range(2)] == [None, None]
    assert pbx.asked == 0
    pbx.live = {"1.1", "2.1"}
    assert pbx.call(limits) == "too_many_calls"
    assert pbx.asked == 1


def test_a_call_has_ended_when_its_channels_are_gone(pbx: Pbx) -> None:
    limits = Limits(1, per_minute=100)
    assert pbx.call(limits) is None
    pbx.live = {"1.1"}
    assert pbx.call(limits) == "too_many_calls"
    pbx.live = set()
    assert pbx.call(limits) is None


def test_a_call_whose_channel_is_yet_to_come_is_in_flight(pbx: Pbx) -> None:
    limits = Limits(1, per_minute=100)
    assert pbx.call(limits) is None
    pbx.now += 2
    assert pbx.call(limits) == "too_many_calls"
    pbx.now += 2
    assert pbx.call(limits) is None


def test_a_call_of_a_worker_that_was_killed_is_in_flight_for_a_minute(pbx: Pbx) -> None:
    limits = Limits(1, per_minute=100)
    with pytest.raises(KeyboardInterrupt), pbx.counts.admitted("g", limits, "9.9", ()):
        raise KeyboardInterrupt
    pbx.now += 59
    assert pbx.call(limits) == "too_many_calls"
    pbx.now += 2
    assert pbx.call(limits) is None


def test_what_became_of_a_call(pbx: Pbx) -> None:
    limits = Limits(1, per_minute=100)
    assert pbx.call(limits, became="ended") is None
    assert pbx.call(limits, became="answered") is None
    # Answered, so its channel has been there, and is gone.
    assert pbx.call(limits) is None


def test_a_call_that_asterisk_never_got_is_not_counted(pbx: Pbx) -> None:
    limits = Limits(1, per_minute=1, per_number_per_day=1)
    with pytest.raises(PbxUnavailable), pbx.counts.admitted("g", limits, "9.9", ["100"]):
        raise PbxUnavailable("gone")
    assert usage(pbx.folder, "g", None).last_minute == 0
    assert pbx.call(limits, ["100"]) is None


def test_a_call_that_asterisk_refused_counts_and_is_not_in_flight(pbx: Pbx) -> None:
    with pytest.raises(PbxRejected), pbx.counts.admitted("g", FREE, "9.9", ["100"]):
        raise PbxRejected("no such extension")
    used = usage(pbx.folder, "g", None)
    assert (used.in_flight, used.last_minute) == (0, 1)


def test_usage(pbx: Pbx) -> None:
    assert usage(pbx.folder, "g", None) == call_counts.Usage(0, 0, 0, ())
    for number in ("100", "100", "200"):
        pbx.call(FREE, [number])
    pbx.now += 61
    pbx.call(FREE, ["100"])
    used = usage(pbx.folder, "g", None)
    assert (used.in_flight, used.last_minute, used.last_day) == (4, 1, 4)
    assert list(used.numbers) == [("100", 3), ("200", 1)]
    # The last one's channel may be yet to come.
    assert usage(pbx.folder, "g", ()).in_flight == 1
    assert usage(pbx.folder, "g", {"1.1", "2.1"}).in_flight == 3
    assert usage(pbx.folder, "another", None).last_day == 0


def test_checking_counts_nothing(pbx: Pbx) -> None:
    limits = Limits(1, per_minute=1)
    for _ in range(3):
        pbx.counts.check("g", limits, [])
    assert pbx.call(limits) is None
    with pytest.raises(ApiError):
        pbx.counts.check("g", limits, [])
