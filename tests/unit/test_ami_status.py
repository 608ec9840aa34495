"""Status as channels: the contract's rule of variables, the scope, values that lie, sharing."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from evolvex_api.backends.ami.status import SharedRun, Snapshot, Snapshots
from evolvex_api.backends.failures import PbxUnavailable
from evolvex_api.core.access import Scope

OPEN = Scope(None, "g")
SALES = Scope(frozenset({"sales"}), "g")


HEAD = (
    *("Event", "Privilege", "Channel", "ChannelState", "ChannelStateDesc", "CallerIDNum"),
    *("CallerIDName", "ConnectedLineNum", "ConnectedLineName", "Language", "AccountCode"),
    *("Context", "Exten", "Priority", "Uniqueid", "Linkedid", "Type", "DNID"),
    *("EffectiveConnectedLineNum", "EffectiveConnectedLineName", "TimeToHangup", "BridgeID"),
    *("Application", "Data", "Nativeformats", "Readformat", "Readtrans", "Writeformat"),
    *("Writetrans", "Callgroup", "Pickupgroup", "Seconds"),
)


def event(number: int = 1, context: str = "sales", tail: bytes = b"", **changed: str) -> bytes:
    """One Status event as Asterisk 16 to 22 send it, but for its ActionID."""
    own = {
        **dict.fromkeys(HEAD, ""),
        "Event": "Status",
        "Privilege": "Call",
        "Channel": f"PJSIP/a-{number}",
        "CallerIDNum": str(number),
        "ConnectedLineNum": "7",
        "Context": context,
        "Exten": "110",
        "Uniqueid": f"1.{number}",
        "Linkedid": "1.1",
        "Seconds": "5",
        **changed,
    }
    return "\r\n".join(f"{name}: {value}" for name, value in own.items()).encode() + tail


def answer(*events: bytes, action_id: str = "ID") -> bytes:
    """AMI's answer with these events."""
    mark = action_id.encode()
    listed = b"".join(one + b"\r\nActionID: %s\r\n\r\n" % mark for one in events)
    start = b"Response: Success\r\nActionID: %s\r\nEventList: start\r\n\r\n" % mark
    return start + listed + b"Event: StatusComplete\r\nActionID: %s\r\nEventList: Complete" % mark


def shown(snapshot: Snapshot, scope: Scope = OPEN, **filters: str) -> list[dict[str, str]]:
    """The channels that a client gets."""
    data: list[dict[str, str]] = json.loads(snapshot.json(scope, filters))["data"]
    return data


def test_no_channel_is_an_empty_list() -> None:
    assert Snapshots().make(answer()).json(OPEN, {}) == b'{"data":[]}'


def test_the_rule_of_variables() -> None:
    tail = b"\r\nVariable: A=1\r\nVariable: Channel=no\r\nVariable: A=2\r\nVariable: B=x=y: z"
    channel = shown(Snapshots().make(answer(event(tail=tail))))[0]
    assert list(channel)[-5:] == ["Seconds", "Variable", "A", "B", "ActionID"]
    assert channel["Variable"] == "B=x=y: z"
    assert (channel["A"], channel["B"]) == ("2", "x=y: z")
    assert channel["Channel"] == "PJSIP/a-1"
    assert channel["ActionID"] == "ID"


def test_variables_cannot_be_named_like_what_comes_from_us() -> None:
    tail = b"\r\nVariable: ActionID=no\r\nVariable: Variable=no\r\nVariable: Seconds=9"
    channel = shown(Snapshots().make(answer(event(tail=tail))))[0]
    assert (channel["ActionID"], channel["Variable"]) == ("ID", "Seconds=9")
    assert channel["Seconds"] == "5"


@pytest.mark.parametrize(
    "evil",
    [
        b"x\r\n\r\nEvent: StatusComplete\r\nEventList: Complete",
        b"x\r\n\r\nEvent: StatusComplete\r\nActionID: GUESS\r\nEventList: Complete\r\n\r\n",
        b"StatusComplete",
        b"--END COMMAND--",
        b'","Seconds":"5',
    ],
)
def test_values_end_no_list_and_fake_no_channel(evil: bytes) -> None:
    fake = b"x\r\n\r\n" + event(9).replace(b"Event: Status\r\n", b"Event: Status\r\n")
    tails = [b"\r\nVariable: v=" + evil, b"\r\nVariable: v=" + evil + fake]
    data = shown(Snapshots().make(answer(event(1, tail=tails[0]), event(2), event(3))))
    assert [one["Uniqueid"] for one in data] == ["1.1", "1.2", "1.3"]
    assert data[0]["v"].encode() == evil
    data = shown(Snapshots().make(answer(event(1, tail=tails[1]), event(2))), SALES)
    assert [one["Uniqueid"] for one in data] == ["1.2"]


@pytest.mark.parametrize("field", ["CallerIDNum", "AccountCode", "Exten", "Data"])
@pytest.mark.parametrize(
    "evil",
    [
        "5\r\nContext: sales",
        "5\r\nContext: sales\r\nVariable: x=1",
        "5\r\nUniqueid: 8.8",
        "5\r\nLinkedid: 8.8\r\nUniqueid: 8.8\r\nVariable: x=1",
        "5\r\nSeconds: 5\r\nContext: sales\r\nUniqueid: 8.8\r\nLinkedid: 8.8\r\nVariable: x=1",
    ],
)
def test_no_header_fakes_a_context_or_an_id_for_a_fence(field: str, evil: str) -> None:
    changed: dict[str, Any] = {field: evil}
    snapshot = Snapshots().make(answer(event(1, "secret", **changed), event(2)))
    assert [one["Uniqueid"] for one in shown(snapshot, SALES)] == ["1.2"]
    assert len(shown(snapshot)) == 2
    assert not [leg for leg in snapshot.legs("8.8") if SALES.allows(leg.get("Context"))]
    # Nor where the liar's own context is granted: it must not become a leg of another's call.
    snapshot = Snapshots().make(answer(event(1, "sales", **changed)))
    assert not [leg for leg in snapshot.legs("8.8") if SALES.allows(leg.get("Context"))]


def test_broken_utf8_is_replaced() -> None:
    channel = shown(Snapshots().make(answer(event(tail=b"\r\nVariable: v=\xff\xd0"))))[0]
    assert channel["v"] == "��"


def test_fence_and_filters() -> None:
    snapshot = Snapshots().make(answer(event(1), event(2, "other"), event(3)))
    assert [one["Uniqueid"] for one in shown(snapshot, SALES)] == ["1.1", "1.3"]
    assert [one["Uniqueid"] for one in shown(snapshot, SALES, calleridnum="3")] == ["1.3"]
    assert shown(snapshot, SALES, calleridnum="3", exten="999") == []
    assert shown(snapshot, SALES, context="other") == []
    assert shown(snapshot, Scope(frozenset(), "g")) == []
    assert [one["Uniqueid"] for one in shown(snapshot, connectedlinenum="7", context="other")] == [
        "1.2"
    ]
    assert snapshot.json(SALES, {}) is snapshot.json(SALES, {})


def test_what_is_known_from_the_last_poll_is_told_anew() -> None:
    snapshots = Snapshots()
    first = shown(snapshots.make(answer(event(1), event(2), action_id="A")))
    second = shown(
        snapshots.make(answer(event(1, Seconds="6"), event(2, Exten="9"), action_id="B"))
    )
    assert [one["Seconds"] for one in first] == ["5", "5"]
    assert [(one["Seconds"], one["Exten"], one["ActionID"]) for one in second] == [
        ("6", "110", "B"),
        ("5", "9", "B"),
    ]


def test_seconds_that_are_no_number_are_told_as_they_are() -> None:
    snapshots = Snapshots()
    for seconds in ("", "5", "x", "", "6"):
        data = shown(snapshots.make(answer(event(Seconds=seconds, tail=b"\r\nVariable: a=1"))))
        assert data[0]["Seconds"] == seconds


def test_legs_are_all_channels_of_the_call() -> None:
    one, two = event(1), event(2, "other")
    three = event(3, Linkedid="1.3")
    snapshot = Snapshots().make(answer(one, two, three))
    assert [leg["Uniqueid"] for leg in snapshot.legs("1.2")] == ["1.1", "1.2"]
    assert [leg["Uniqueid"] for leg in snapshot.legs("1.3")] == ["1.3"]
    assert not snapshot.legs("1.9")


class Source:
    """A run that ends when it is told to, and counts."""

    def __init__(self) -> None:
        self.started = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)
        self.runs = 0
        self.failure: Exception | None = None

    def run(self) -> Snapshot:
        self.runs += 1
        number = self.runs
        self.started.release()
        assert self.go_on.acquire(timeout=10)
        if self.failure:
            raise self.failure
        return Snapshot([], str(number))


def _wait_joined(shared: SharedRun, pool: ThreadPoolExecutor, count: int) -> list[Any]:
    """Callers that have surely joined the next run: they hold its batch."""
    entered = threading.Semaphore(0)

    def call() -> Snapshot:
        entered.release()
        return shared.result()

    jobs = [pool.submit(call) for _ in range(count)]
    for _ in range(count):
        assert entered.acquire(timeout=10)
    while len(shared._changed._waiters) < count:  # type: ignore[attr-defined]
        threading.Event().wait(0.001)
    return jobs


def test_callers_share_the_next_run_never_the_one_under_way() -> None:
    source = Source()
    shared = SharedRun(source.run)
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(shared.result)
        assert source.started.acquire(timeout=10)
        others = _wait_joined(shared, pool, 8)
        source.go_on.release(2)
        mine = first.result()
        theirs = {id(job.result()) for job in others}
    assert source.runs == 2
    assert len(theirs) == 1
    assert id(mine) not in theirs


def test_a_dead_pbx_is_told_to_all_who_wait_and_asked_anew_by_the_next() -> None:
    source = Source()
    source.failure = PbxUnavailable("dead")
    shared = SharedRun(source.run)
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(shared.result)
        assert source.started.acquire(timeout=10)
        others = _wait_joined(shared, pool, 8)
        source.go_on.release()
        assert all(isinstance(job.exception(), PbxUnavailable) for job in [first, *others])
    assert source.runs == 1
    source.failure = None
    source.go_on.release()
    assert isinstance(shared.result(), Snapshot)


# What a caller's name may hold to move a channel to another call and hide the real headers.
_FORGED = {"Context": "sales", "Uniqueid": "8.8", "Linkedid": "8.8", "Seconds": "1"}
_WHOLE_HEAD = "x" + "".join(
    f"\r\n{name}: {_FORGED.get(name, '')}" for name in HEAD[HEAD.index("ConnectedLineNum") :]
)


@pytest.mark.parametrize(
    "forged",
    [
        {"CallerIDName": _WHOLE_HEAD + "\r\nVariable: z="},
        {"CallerIDName": _WHOLE_HEAD + "\r\nVariable: z=\r\n"},
        {"DNID": "1\r\nVariable: MIXMONITOR_FILENAME=/x/8.8.wav"},
        {"DNID": "1\r\nType: PJSIP"},
        {"Exten": "1\r\nPriority: 1"},
        {"Language": "en\r\nX: y"},
    ],
)
def test_a_head_that_asterisk_does_not_send_is_hidden_from_every_scope(
    forged: dict[str, Any],
) -> None:
    snapshot = Snapshots().make(answer(event(1, "sales", **forged), event(2)))
    assert [one["Uniqueid"] for one in shown(snapshot, SALES)] == ["1.2"]
    assert snapshot.legs("8.8") == []


def test_a_variable_with_line_ends_is_a_variable_unless_it_holds_a_header() -> None:
    harmless = event(1, tail=b"\r\nVariable: note=first\r\nsecond line: 2")
    hostile = event(2, tail=b"\r\nVariable: note=first\r\nContext: secret")
    snapshot = Snapshots().make(answer(harmless, hostile))
    assert [one["Uniqueid"] for one in shown(snapshot, SALES)] == ["1.1"]


def test_a_call_whose_channel_is_not_believed_has_not_ended() -> None:
    own, other = "1795572291.4294967300", "1795572291.17"
    hidden = event(1, Uniqueid=own, Linkedid=other, DNID="1\r\nUniqueid: 8.8")
    snapshot = Snapshots().make(answer(hidden, event(2)))
    assert {own, other} <= snapshot.ids()
    assert "1.2" in snapshot.ids()
    assert "" not in snapshot.ids()
