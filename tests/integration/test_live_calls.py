"""Live calls on real Asterisks, with CEL as the oracle: one LINKEDID_END, one call.ended."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from evolvex_api.events.call import Change
from tests.lab import packages, scenarios
from tests.lab.asterisk import Asterisk
from tests.lab.livetracker import LiveTracker, cel_ends
from tests.lab.scenarios import SCENARIOS
from tests.lab.server import wait_until
from tests.lab.softphone import Softphone
from tests.lab.stage import Stage
from tests.livecalls import DIRECTIONS, EXPECTED, summaries

# More at once make phones miss their time on a small machine.
_AT_ONCE = 8


@dataclass(frozen=True)
class Played:
    """A PBX on which all scenarios were played, with what the tracker made of them."""

    pbx: Asterisk
    live: LiveTracker
    stages: dict[str, Future[Stage]]


@pytest.fixture(scope="module", params=[22, 16])
def played(request: pytest.FixtureRequest) -> Iterator[Played]:
    """Every scenario, several at once."""
    packages.ensure(*packages.PBX)
    with Asterisk(request.param) as pbx, LiveTracker(pbx, DIRECTIONS) as live:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            stages = {name: pool.submit(scenarios.play, pbx, name) for name in SCENARIOS}
        pbx.hang_up_all()
        wait_until(lambda: not live.tracker.live(), 20, "the calls of all scenarios over")
        yield Played(pbx, live, stages)


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario_becomes_its_calls(played: Played, name: str) -> None:
    stage = played.stages[name].result()
    changes = played.live.calls_of(set(stage.phones), stage.uniqueids)
    assert summaries(changes) == EXPECTED[name]


def test_every_call_of_cel_ended_once(played: Played) -> None:
    wait_until(lambda: cel_ends(played.pbx).keys() == played.live.ended().keys(), 10, "CEL")
    assert set(cel_ends(played.pbx).values()) == {1}
    assert set(played.live.ended().values()) == {1}
    assert played.live.started().keys() == played.live.ended().keys()


def test_seq_has_no_gap(played: Played) -> None:
    _assert_seq_without_gap(played.live.changes)


def test_two_hundred_calls_at_once(played: Played) -> None:
    before = set(played.live.started())
    with played.pbx.manager() as manager:
        for number in range(200):
            manager.originate(f"Local/6{number % 100:02}@answer", "hold", "100")
    wait_until(lambda: len(played.live.tracker.live()) == 200, 30, "200 calls")
    mine = set(played.live.started()) - before
    played.pbx.hang_up_all()
    wait_until(lambda: not played.live.tracker.live(), 30, "200 calls over")
    assert len(mine) == 200
    assert {played.live.ended()[linkedid] for linkedid in mine} == {1}
    wait_until(lambda: mine <= cel_ends(played.pbx).keys(), 10, "CEL of 200 calls")
    _assert_seq_without_gap(played.live.changes)


def test_gap_in_the_connection(played: Played) -> None:
    """A call ends, one begins and one is answered while nobody listens."""
    pbx, live = played.pbx, played.live
    with (
        Softphone(pbx, "1001") as desk,
        Softphone(pbx, "1002", answer=0.1) as other,
        Softphone(pbx, "trunk1") as trunk,
        Softphone(pbx, "trunk2") as second,
    ):
        lost = second.dial("1002").wait("answered")
        ringing = trunk.dial("1001").wait("ringing")
        wait_until(lambda: len(live.tracker.live()) == 2, 10, "two calls")
        live.cut()
        lost.hang_up()
        other.calls[0].wait("ended")
        desk.wait_call("ringing").answer()
        ringing.wait("answered")
        fresh = second.dial("1002").wait("answered")
        wait_until(lambda: pbx.channels() == 4, 10, "two calls")
        since = len(live.changes)
        live.connect()
        closed = live.changes[since:]
        assert [change.call["Reason"] for change in closed if change.type == "call.ended"] == [
            "lost"
        ]
        states = sorted((call.state, call.answer is not None) for call in live.tracker.live())
        assert states == [("answered", True), ("answered", True)]
        ringing.hang_up()
        fresh.hang_up()
        wait_until(lambda: not live.tracker.live(), 10, "calls over")
    assert set(live.ended().values()) == {1}
    _assert_seq_without_gap(live.changes)


def test_restart_in_mid_call(played: Played) -> None:
    """`core restart now` hangs up each leg: nothing is lost. The last test of a PBX."""
    pbx, live = played.pbx, played.live
    with pbx.manager() as manager:
        for number in range(5):
            manager.originate(f"Local/60{number}@answer", "hold", "100")
        wait_until(lambda: len(live.tracker.live()) == 5, 10, "five calls")
        mine = {call.linkedid for call in live.tracker.live()}
        manager.send({"Action": "Command", "Command": "core restart now"})
        wait_until(lambda: not live.tracker.live(), 10, "calls over")
    ends = [c for c in live.changes if c.type == "call.ended" and c.call["Linkedid"] in mine]
    assert [change.call["Reason"] for change in ends] == ["hangup"] * 5
    _assert_seq_without_gap(live.changes)


def _assert_seq_without_gap(changes: list[Change]) -> None:
    seqs: dict[str, list[int]] = {}
    for change in changes:
        seqs.setdefault(change.call["Linkedid"], []).append(change.seq)
    assert all(seq == list(range(1, len(seq) + 1)) for seq in seqs.values())
