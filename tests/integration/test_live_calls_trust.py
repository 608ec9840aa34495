"""Events that callers have written into, and events of an Asterisk with other settings."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.lab import packages, scenarios
from tests.lab.asterisk import Asterisk
from tests.lab.livetracker import LiveTracker
from tests.lab.server import wait_until
from tests.lab.softphone import Softphone
from tests.livecalls import DIRECTIONS, EXPECTED, summaries

_LINE = "\r\n"


@pytest.fixture(scope="module", params=[22, 16])
def odd(request: pytest.FixtureRequest) -> Iterator[Asterisk]:
    """An Asterisk whose events have all the headers that settings can add."""
    packages.ensure(*packages.PBX)
    server = Asterisk(request.param)
    server.configure("asterisk.conf", "systemname = pbx-1\n")
    server.configure("manager.conf", "timestampevents = yes\nchannelvars = DIALSTATUS\n", "general")
    with server:
        yield server


@pytest.mark.parametrize("name", ["answered", "pickup", "originate_refused"])
def test_settings_of_the_pbx_change_nothing(odd: Asterisk, name: str) -> None:
    with LiveTracker(odd, DIRECTIONS) as live:
        scenarios.play(odd, name)
        wait_until(lambda: len(summaries(live.changes)) > 0 and not live.tracker.live(), 10, "end")
    assert summaries(live.changes) == EXPECTED[name]


@pytest.mark.parametrize(
    "forged",
    [
        "Uniqueid: {victim}",
        "Linkedid: {victim}",
        "Event: Hangup" + _LINE + "Uniqueid: {victim}",
        _LINE + "Event: Hangup" + _LINE + "Uniqueid: {victim}",
        "Context: sales",
        "ChanVariable: a=b",
        "x",
        ": x",
    ],
)
def test_dialled_number_with_headers_in_it_touches_no_call(odd: Asterisk, forged: str) -> None:
    """[incoming] takes any number that begins with a digit, so Asterisk prints it in its events."""
    with (
        LiveTracker(odd, DIRECTIONS) as live,
        Softphone(odd, "1001", answer=0.1),
        Softphone(odd, "trunk1") as stranger,
        Softphone(odd, "phone1") as attacker,
    ):
        call = stranger.dial("1001").wait("answered")
        wait_until(lambda: "answered" in [c.state for c in live.tracker.live()], 10, "an answer")
        (victim,) = live.tracker.live()
        number = quote(f"1{_LINE}{forged.format(victim=victim.linkedid)}", safe="")
        attack = attacker.dial(number).wait("answered")
        wait_until(lambda: odd.channels() == 3, 10, "the attacker's call")
        attack.hang_up()
        wait_until(lambda: odd.channels() == 2, 10, "the attacker gone")
        assert [one.linkedid for one in live.tracker.live()] == [victim.linkedid]
        assert victim.visible_contexts == {"from-trunk"}
        call.hang_up()
        wait_until(lambda: not live.tracker.live(), 10, "the end")
    assert [change.type for change in live.changes][-1] == "call.ended"
    assert live.ended() == {victim.linkedid: 1}
    assert live.changes[-1].call["Reason"] == "hangup"
