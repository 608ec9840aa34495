"""Live calls on a real Asterisk: the list, the stream, and who sees what."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.integration.conftest import Pbx
from tests.lab.events_service import EventsService, Stream
from tests.lab.server import LabError, wait_until
from tests.lab.service import Service


@dataclass(frozen=True)
class Live:
    """The service of live calls beside the PBX of the other tests."""

    pbx: Pbx
    events: EventsService

    def key(self, name: str = "all") -> str:
        return self.pbx.keys[name]

    def stream(self, name: str = "all", last_id: str | None = None, **params: object) -> Stream:
        return self.events.stream(self.key(name), last_id, **params)

    def answered_call(self, channel: str = "Local/600@answer") -> str:
        """A call of two Local channels that lasts; returns its Uniqueid."""
        return self.pbx.originate(channel=channel, context="hold", exten="1")

    def is_in_line(self) -> bool:
        return self.events.get("calls", self.key()).status == 200


@pytest.fixture(scope="module")
def live(pbx: Pbx) -> Iterator[Live]:
    with EventsService(pbx.service) as service:
        made = Live(pbx, service)
        wait_until(made.is_in_line, 10, "the live calls are known")
        yield made


def of_call(uniqueid: str) -> Any:
    """A filter of events: those of a call."""
    return lambda event: event["data"]["Linkedid"] == uniqueid


def test_a_call_from_start_to_end(live: Live) -> None:
    with live.stream() as stream:
        assert stream.answer.headers["Content-Type"].startswith("text/event-stream")
        assert stream.answer.headers["X-Accel-Buffering"] == "no"
        uniqueid = live.answered_call()
        started = stream.wait("call.started", of_call(uniqueid))
        listed = live.events.get("calls", live.key()).data
        assert [call["Linkedid"] for call in listed] == [uniqueid]
        live.pbx.asterisk.hang_up_all()
        ended = stream.wait("call.ended", of_call(uniqueid))
    own = [event.data for event in stream.events if event.data["data"]["Linkedid"] == uniqueid]
    assert [event["seq"] for event in own] == list(range(1, len(own) + 1))
    assert started.data["id"] == started.id
    assert ended.data["data"]["Reason"] == "hangup"
    assert stream.retry == 3000
    assert live.events.get("calls", live.key()).data == []


def test_a_call_that_has_ended_is_found_by_any_leg(live: Live) -> None:
    with live.stream() as stream:
        uniqueid = live.answered_call()
        stream.wait("call.started", of_call(uniqueid))
        live.pbx.asterisk.hang_up_all()
        legs = stream.wait("call.ended", of_call(uniqueid)).data["data"]["Uniqueids"]
    assert len(legs) == 2
    for leg in legs:
        found = live.events.get("calls", live.key(), uniqueid=leg).data
        assert [(call["Linkedid"], call["State"]) for call in found] == [(uniqueid, "ended")]


def test_a_recording_is_told_with_links_that_play(live: Live) -> None:
    with live.stream(types="call.recorded") as stream:
        uniqueid = live.pbx.originate("all", exten="5551000")
        event = stream.wait("call.recorded", of_call(uniqueid), timeout=30)
    recording = event.data["data"]["Recording"]
    path = live.pbx.asterisk.monitor / f"{uniqueid}.wav"
    assert recording["Size"] == path.stat().st_size
    assert 2 < recording["Duration"] < 5
    wav = live.pbx.service.request("GET", recording["link"]["wav"])
    assert wav.status == 200
    assert wav.body[:4] == b"RIFF"


def test_what_was_missed_is_replayed(live: Live) -> None:
    with live.stream() as stream:
        uniqueid = live.answered_call()
        first = stream.wait("call.started", of_call(uniqueid))
    live.pbx.asterisk.hang_up_all()
    for again in (live.stream(last_id=first.id), live.stream(last_event_id=first.id)):
        with again:
            assert again.wait("call.ended", of_call(uniqueid)).data["seq"] > 1
            assert "call.started" not in [event.type for event in again.events]


@pytest.mark.parametrize("last_id", ["x", "evt_00000000000000000001", "evt_ffffffffffffffffffff"])
def test_a_foreign_id_gets_a_reset_with_the_live_calls(live: Live, last_id: str) -> None:
    uniqueid = live.answered_call()
    wait_until(lambda: len(live.events.get("calls", live.key()).data) == 1, 5, "it lives")
    with live.stream(last_id=last_id) as stream:
        reset = stream.wait("stream.reset")
    assert [call["Linkedid"] for call in reset.data["data"]] == [uniqueid]
    with live.stream(last_id=reset.id) as stream:
        live.pbx.asterisk.hang_up_all()
        stream.wait("call.ended", of_call(uniqueid))
    assert "stream.reset" not in [event.type for event in stream.events]


def test_a_group_sees_no_call_that_showed_none_of_its_contexts(live: Live) -> None:
    with live.stream("sales") as sales, live.stream("other") as other:
        foreign = live.answered_call(channel="Local/1@hold")  # all of it in `hold`
        own = live.pbx.originate("all", exten="5551000")  # in `outgoing`
        sales.wait("call.ended", of_call(own), timeout=30)
        for name in ("sales", "other"):
            listed = live.events.get("calls", live.key(name)).data
            assert foreign not in [call["Linkedid"] for call in listed]
            answer = live.events.get("calls", live.key(name), uniqueid=foreign)
            assert (answer.status, answer.code) == (404, "call_not_found")
        assert live.events.get("calls", live.key("other"), uniqueid=own).status == 404
    assert {event.data["data"]["Linkedid"] for event in sales.events} == {own}
    assert other.events == []
    with live.stream("other", last_event_id="x") as other:
        assert other.wait("stream.reset").data["data"] == []


def test_filters(live: Live) -> None:
    first, second = live.answered_call(), live.answered_call()
    with (
        live.stream(types="call.ended, call.recorded") as by_type,
        live.stream(linkedid=second) as by_call,
    ):
        live.pbx.asterisk.hang_up_all()
        for _ in (first, second):
            by_type.wait("call.ended")
        by_call.wait("call.ended")
    assert {event.type for event in by_type.events} == {"call.ended"}
    assert {event.data["data"]["Linkedid"] for event in by_call.events} == {second}


@pytest.mark.parametrize(
    ("method", "parameter", "value"),
    [
        ("events", "types", "call.exploded"),
        ("events", "types", "call.ended;call.started"),
        ("events", "linkedid", "../x"),
        ("calls", "uniqueid", "a b"),
    ],
)
def test_bad_values_are_refused(live: Live, method: str, parameter: str, value: str) -> None:
    answer = live.events.get(method, live.key(), **{parameter: value})
    assert (answer.status, answer.code) == (400, "invalid_parameter")
    assert answer.json["parameter"] == parameter


def test_without_the_right_or_the_key_nothing_is_told(live: Live) -> None:
    for method in ("calls", "events"):
        assert live.events.get(method).code == "missing_key"
        assert live.events.get(method, "nobody-has-this-key").code == "unknown_key"
        assert live.events.get(method, live.key("nobody")).code == "right_denied"


def test_head_opens_no_stream(live: Live) -> None:
    for _ in range(30):
        assert live.events.request("HEAD", "events", live.key()).status == 200
    with live.stream():
        pass


def test_more_streams_than_allowed(live: Live) -> None:
    streams = [live.stream("sales") for _ in range(20)]
    try:
        with pytest.raises(LabError, match="429 too_many_streams"):
            live.stream("sales")
        answer = live.events.get("events", live.key("sales"))
        assert int(answer.headers["Retry-After"]) > 0
        live.stream("other").close()  # another user has streams of its own
    finally:
        for stream in streams:
            stream.close()
    wait_until(lambda: _opens(live), 5, "streams that were left count no more")


def _opens(live: Live) -> bool:
    try:
        live.stream("sales").close()
    except LabError:
        return False
    return True


def test_a_withdrawn_key_ends_its_stream(live: Live) -> None:
    service = live.pbx.service
    key = service.add_user("leaver", live.pbx.groups["all"])
    wait_until(lambda: live.events.get("calls", key).status == 200, 5, "the key is known")
    with live.events.stream(key) as stream, live.stream() as other:
        (service.directory / "users.d" / "leaver.conf").unlink()
        withdrawn = time.monotonic()
        assert stream.ended.wait(10)
        assert time.monotonic() - withdrawn < 3  # a second, and this machine's
        assert not other.ended.is_set()


def test_a_restart_ends_streams_and_loses_nothing(live: Live) -> None:
    with live.stream() as stream:
        uniqueid = live.answered_call()
        last = stream.wait("call.started", of_call(uniqueid)).id
        os.kill(live.events.pid, signal.SIGHUP)
        assert stream.ended.wait(10)
    wait_until(live.is_in_line, 15, "the new process knows the live calls")
    with live.stream(last_id=last) as stream:
        live.pbx.asterisk.hang_up_all()
        ended = stream.wait("call.ended", of_call(uniqueid))
    assert "stream.reset" not in [event.type for event in stream.events]
    assert ended.data["data"]["Reason"] == "hangup"
    own = [e.data["seq"] for e in stream.events if e.data["data"]["Linkedid"] == uniqueid]
    assert own == list(range(own[0], own[0] + len(own)))


def test_a_killed_service_goes_on_where_it_was(live: Live) -> None:
    with live.stream() as stream:
        uniqueid = live.answered_call()
        started = stream.wait("call.started", of_call(uniqueid))
        live.events.kill()
    live.events.start()
    wait_until(live.is_in_line, 15, "the live calls are known")
    with live.stream(last_id=started.id) as stream:
        live.pbx.asterisk.hang_up_all()
        stream.wait("call.ended", of_call(uniqueid))
    own = [e.data for e in stream.events if e.data["data"]["Linkedid"] == uniqueid]
    seqs = [started.data["seq"], *(event["seq"] for event in own)]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    assert [event["type"] for event in own].count("call.ended") == 1


def test_a_frozen_service_brings_its_calls_in_line(live: Live) -> None:
    worker = live.events.worker_pids()[0]
    with live.stream() as stream:
        first = live.answered_call()
        stream.wait("call.started", of_call(first))
        os.kill(worker, signal.SIGSTOP)
        try:
            live.pbx.asterisk.hang_up_all()
            second = live.answered_call()
            time.sleep(10)  # the case of the contract: ten seconds
        finally:
            os.kill(worker, signal.SIGCONT)
        stream.wait("call.ended", of_call(first), timeout=30)
        live.pbx.asterisk.hang_up_all()
        stream.wait("call.ended", of_call(second), timeout=30)
    ends = [e.data["data"]["Linkedid"] for e in stream.events if e.type == "call.ended"]
    assert sorted(ends) == sorted({first, second})


def test_a_cut_ami_session_is_made_anew(live: Live) -> None:
    with live.stream() as stream:
        first = live.answered_call()
        stream.wait("call.started", of_call(first))
        shown = live.pbx.asterisk.cli("manager show connected")
        sessions = [line.split() for line in shown.splitlines() if "evolvex-events" in line]
        live.pbx.asterisk.cli(f"manager kick session {sessions[0][4]}")
        live.pbx.asterisk.hang_up_all()
        stream.wait("call.ended", of_call(first), timeout=30)
    assert "the AMI session ended" in live.events.log()


def test_a_restarted_asterisk_ends_its_calls(live: Live) -> None:
    with live.stream() as stream:
        uniqueid = live.answered_call()
        stream.wait("call.started", of_call(uniqueid))
        live.pbx.asterisk.kill()
        wait_until(lambda: not live.is_in_line(), 15, "the calls are not known")
        assert live.events.get("calls", live.key()).code == "pbx_unavailable"
        live.pbx.asterisk.start()
        ended = stream.wait("call.ended", of_call(uniqueid), timeout=30)
        assert ended.data["data"]["Reason"] == "lost"
        wait_until(live.is_in_line, 15, "the live calls are known")
        after = live.answered_call()
        stream.wait("call.started", of_call(after))


def test_a_damaged_database_is_set_aside(pbx: Pbx) -> None:
    service = Service(pbx.asterisk, pbx.database)
    key = service.add_user("all", service.add_group("all", ["*"]))
    service.state.mkdir()
    (service.state / "events.db").write_bytes(b"SQLite format 3\0" + os.urandom(20_000))
    with EventsService(service) as events:
        wait_until(lambda: events.get("calls", key).status == 200, 10, "it has started")
        assert "damaged" in events.log()
        aside = list(service.state.glob("events.db.damaged-*"))
        assert len(aside) >= 1
        with sqlite3.connect(service.state / "events.db") as db:
            assert db.execute("PRAGMA quick_check").fetchone() == ("ok",)
    service.close()
