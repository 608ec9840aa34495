"""The tracker on recordings of real AMI events, which `make record-events` makes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evolvex_api.events.call import Change
from evolvex_api.events.tracker import Tracker
from tests.lab import eventfile
from tests.livecalls import DIRECTIONS, EXPECTED, summaries
from tests.unit.statusmodel import StatusModel

_RECORDINGS = sorted((Path(__file__).parent / "events").glob("*.txt"))
_NOON = 1_795_600_000.0


def _play(path: Path) -> tuple[Tracker, list[Change]]:
    tracker, changes = Tracker(DIRECTIONS), list[Change]()
    for event, at in eventfile.read(path):
        changes += tracker.feed(event, _NOON + at)
    return tracker, changes


def test_every_scenario_is_recorded_on_both_versions() -> None:
    names = {path.stem for path in _RECORDINGS}
    assert names == {f"{name}-{version}" for name in EXPECTED for version in (16, 22)}


@pytest.mark.parametrize("path", _RECORDINGS, ids=lambda path: path.stem)
def test_recording_becomes_the_calls_that_were_made(path: Path) -> None:
    tracker, changes = _play(path)
    assert summaries(changes) == EXPECTED[path.stem.rpartition("-")[0]]
    assert tracker.live() == []
    for call in {change.call["Linkedid"] for change in changes}:
        of_call = [change for change in changes if change.call["Linkedid"] == call]
        assert [change.seq for change in of_call] == list(range(1, len(of_call) + 1))
        assert of_call[0].type == "call.started"
        assert of_call[-1].type == "call.ended"


@pytest.mark.parametrize("path", _RECORDINGS, ids=lambda path: path.stem)
def test_call_survives_a_dump_after_every_event(path: Path) -> None:
    """Whatever the moment at which the service was killed, the same calls come of the rest."""
    tracker, changes, pbx = Tracker(DIRECTIONS), list[Change](), StatusModel()
    for event, at in eventfile.read(path):
        changes += tracker.feed(event, _NOON + at)
        pbx.note(event)
        dumped = [tracker.dump(linkedid) for linkedid in {c.call["Linkedid"] for c in changes}]
        tracker = Tracker(DIRECTIONS)
        tracker.restore(json.loads(json.dumps(dumped)))
        changes += tracker.rebuild(pbx.status(), _NOON + at)
    words = [summary.split() for summary in summaries(changes)]
    expected = [line.split() for line in EXPECTED[path.stem.rpartition("-")[0]]]
    assert [line[:2] for line in words] == [line[:2] for line in expected]
    ends = [[line[-1].rpartition(":")[0] for line in lines] for lines in (words, expected)]
    assert ends[0] == ends[1]
    assert [line.count("started") for line in words] == [1] * len(expected)
