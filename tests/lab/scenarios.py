"""Calls as people make them, each played by phones of its own, so that all can run at once.

A scenario returns when its calls are over. Its docstring says what happens in it.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.lab.asterisk import Asterisk
from tests.lab.server import wait_until
from tests.lab.stage import Stage, stage

Scenario = Callable[[Stage], None]
SCENARIOS: dict[str, Scenario] = {}


def play(pbx: Asterisk, name: str) -> Stage:
    """Play a scenario until its calls are over; returns its stage, which knows its phones."""
    with stage(pbx) as made:
        SCENARIOS[name](made)
        made.wait_gone()
    return made


def scenario(function: Scenario) -> Scenario:
    """Enter a scenario into the list under its function's name."""
    SCENARIOS[function.__name__] = function
    return function


@scenario
def answered(on: Stage) -> None:
    """A stranger calls a desk, which answers; the stranger hangs up."""
    on.phone("1001", answer=0.2)
    caller = on.phone("trunk1").dial("1001", caller="+79161234567")
    on.wait_bridged("1001", "trunk1")
    caller.wait("answered").hang_up()


@scenario
def callee_hangs_up(on: Stage) -> None:
    """A desk calls a desk, which answers and hangs up."""
    on.call("1051", "1052", "1052")
    on.answered_at("1052").hang_up()


@scenario
def busy(on: Stage) -> None:
    """The desk is busy (486)."""
    on.phone("1002", refuse="486 Busy Here")
    on.phone("trunk2").dial("1002").wait("ended")


@scenario
def declined(on: Stage) -> None:
    """The desk rings and declines (603)."""
    callee = on.phone("1047")
    caller = on.phone("1046").dial("1047")
    on.wait_ringing("1047")
    callee.calls[0].refuse("603 Decline")
    caller.wait("ended")


@scenario
def unreachable(on: Stage) -> None:
    """The desk is out of order (503)."""
    on.phone("1055", refuse="503 Service Unavailable")
    on.phone("1054").dial("1055").wait("ended")


@scenario
def no_answer(on: Stage) -> None:
    """The desk rings for two seconds in vain."""
    on.phone("1003")
    on.phone("trunk3").dial("short-1003").wait("ended")


@scenario
def cancelled(on: Stage) -> None:
    """The caller hangs up while the desk rings."""
    on.phone("1004")
    on.phone("trunk4").dial("1004").wait("ringing").hang_up()


@scenario
def group(on: Stage) -> None:
    """Three desks ring, the second answers."""
    desks = [on.phone(name) for name in ("1005", "1006", "1007")]
    caller = on.phone("trunk5").dial("group-1005-1006-1007")
    on.wait_ringing("1005", "1006", "1007")
    desks[1].calls[0].answer()
    on.wait_bridged("1006", "trunk5")
    caller.wait("answered").hang_up()


@scenario
def queue_local(on: Stage) -> None:
    """A queue of Local members: the first never answers, the second does."""
    on.phone("1021")
    on.call("trunk6", "queue-local", "1022")
    on.answered_at("1022").hang_up()


@scenario
def queue_agents(on: Stage) -> None:
    """A queue of phones: the first never answers, the second does."""
    on.phone("1023")
    on.call("trunk7", "queue-agents", "1024")
    on.answered_at("1024").hang_up()


@scenario
def queue_abandoned(on: Stage) -> None:
    """The caller hangs up while two members of a queue ring."""
    on.phone("1025")
    on.phone("1026")
    caller = on.phone("trunk8").dial("queue-deaf").wait("answered")
    on.wait_ringing("1025", "1026")
    caller.hang_up()


@scenario
def blind_transfer(on: Stage) -> None:
    """A desk answers a stranger and sends the call on to another desk."""
    on.phone("1009", answer=0.2)
    caller = on.call("trunk9", "1008", "1008")
    on.answered_at("1008").transfer("1009")
    on.wait_bridged("1009", "trunk9")
    caller.hang_up()


@scenario
def attended_transfer(on: Stage) -> None:
    """A desk answers a stranger, asks another desk, and connects the two."""
    colleague = on.phone("1011", answer=0.2)
    caller = on.call("trunk10", "1010", "1010")
    first = on.answered_at("1010")
    first.hold()
    second = on.phones["1010"].dial("1011").wait("answered")
    on.wait_bridged("1011")
    first.transfer_to(second)
    on.wait_gone("1010")
    colleague.wait_call("answered")
    caller.hang_up()


@scenario
def feature_transfer(on: Stage) -> None:
    """A desk sends the call on by the keys of features.conf, as AMI's Atxfer presses them."""
    on.phone("1057", answer=0.2)
    caller = on.call("1058", "1056", "1056")
    on.manager_action("Atxfer", Channel=on.channel_of("1056"), Exten="7", Context="internal")
    on.wait_bridged("1057")
    on.answered_at("1056").hang_up()
    on.wait_gone("1056")
    caller.hang_up()


@scenario
def pickup(on: Stage) -> None:
    """A desk rings, a third one takes the call."""
    on.phone("1013")
    caller = on.phone("1012").dial("1013").wait("ringing")
    third = on.phone("1014").dial("pickup-1013").wait("answered")
    caller.wait("answered")
    on.wait_bridged("1012", "1014")
    third.hang_up()


@scenario
def hold(on: Stage) -> None:
    """The answering desk puts the caller on hold and takes him back."""
    caller = on.call("1015", "1016", "1016")
    callee = on.answered_at("1016")
    callee.hold()
    callee.resume()
    caller.hang_up()


@scenario
def parking(on: Stage) -> None:
    """A desk parks a stranger, another desk takes the call up."""
    caller = on.call("trunk11", "1017", "1017")
    on.answered_at("1017").transfer("700")
    on.wait_gone("1017")
    taker = on.phone("1018").dial("701").wait("answered")
    on.wait_bridged("1018", "trunk11")
    taker.hang_up()
    caller.hang_up()


@scenario
def local(on: Stage) -> None:
    """A desk is dialled through Local/, which Asterisk optimises away."""
    caller = on.call("1027", "local-1028", "1028")
    wait_until(lambda: not on.has_local("1028"), 10, "Local/ optimised away")
    caller.hang_up()


@scenario
def local_n(on: Stage) -> None:
    """A desk is dialled through Local/…/n, which stays."""
    on.call("1029", "localn-1030", "1030").hang_up()


@scenario
def conference(on: Stage) -> None:
    """Three desks meet in a conference."""
    calls = [on.phone(name).dial("conf-a") for name in ("1031", "1032", "1033")]
    for call in calls:
        call.wait("answered")
    on.wait_bridged("1031", "1032", "1033")
    for call in calls:
        call.hang_up()


@scenario
def originate(on: Stage) -> None:
    """Click-to-call, not waiting: the own desk rings, then the other one."""
    on.phone("1034", answer=0.2)
    on.phone("1035", answer=0.2)
    on.originate("PJSIP/1034", "internal", "1035", Async="true", CallerID="Click <1034>")
    on.wait_bridged("1034", "1035")
    on.answered_at("1035").hang_up()


@scenario
def originate_waiting(on: Stage) -> None:
    """The same with AMI's synchronous Originate, through Local/ and outwards."""
    on.phone("1048", answer=0.2)
    on.phone("1049", answer=0.2)
    on.originate("Local/1048@internal", "internal", "1049")
    on.wait_bridged("1048", "1049")
    on.answered_at("1049").hang_up()


@scenario
def originate_refused(on: Stage) -> None:
    """Click-to-call to a desk that is busy."""
    desk = on.phone("1036", refuse="486 Busy Here")
    on.originate("PJSIP/1036", "internal", "1035", Async="true")
    desk.wait_call("ended")


@scenario
def forwarded(on: Stage) -> None:
    """The dialled desk forwards to another one (302), which answers."""
    on.phone("1038", refuse="302 1039")
    on.call("1037", "1038", "1039").hang_up()


@scenario
def outbound(on: Stage) -> None:
    """A desk calls a stranger through a trunk."""
    on.call("1040", "8161234567", "trunk12").hang_up()


@scenario
def recorded(on: Stage) -> None:
    """A call is recorded by MixMonitor."""
    on.call("1041", "recorded-1042", "1042").hang_up()


@scenario
def redirected(on: Stage) -> None:
    """AMI's Redirect sends a talking caller to another desk."""
    on.phone("1045", answer=0.2)
    caller = on.call("1043", "1044", "1044")
    channel = on.channel_of("1043")
    on.manager_action("Redirect", Channel=channel, Context="internal", Exten="1045", Priority="1")
    on.wait_bridged("1045", "1043")
    caller.hang_up()


@scenario
def menu(on: Stage) -> None:
    """The caller hangs up in a menu: nobody was rung."""
    on.phone("1050").dial("menu").wait("answered").hang_up()


@scenario
def caller_transfers(on: Stage) -> None:
    """The calling desk sends the called one on to a third, and is gone."""
    on.phone("1061", answer=0.2)
    on.call("1019", "1020", "1020")
    on.phones["1019"].calls[0].transfer("1061")
    on.wait_bridged("1061", "1020")
    on.answered_at("1020").hang_up()


@scenario
def transfer_while_ringing(on: Stage) -> None:
    """A desk connects a stranger with a desk that still rings."""
    target = on.phone("1063")
    caller = on.call("trunk13", "1062", "1062")
    first = on.answered_at("1062")
    first.hold()
    second = on.phones["1062"].dial("1063").wait("ringing")
    first.transfer_to(second)
    on.wait_gone("1062")
    target.calls[0].answer()
    on.wait_bridged("1063", "trunk13")
    caller.hang_up()


@scenario
def transfer_to_busy(on: Stage) -> None:
    """A desk sends a stranger on to a busy desk."""
    on.phone("1065", refuse="486 Busy Here")
    caller = on.call("trunk14", "1064", "1064")
    on.answered_at("1064").transfer("1065")
    caller.wait("ended")


@scenario
def group_behind_local(on: Stage) -> None:
    """Two desks ring behind Local/…/n, as FreePBX rings a group; the second answers."""
    desks = [on.phone(name) for name in ("1066", "1067")]
    caller = on.phone("trunk15").dial("locals-1066-1067")
    on.wait_ringing("1066", "1067")
    desks[1].calls[0].answer()
    caller.wait("answered")
    on.wait_bridged("1067", "trunk15")
    caller.hang_up()


@scenario
def group_busy(on: Stage) -> None:
    """All three desks are busy."""
    for name in ("1068", "1069", "1070"):
        on.phone(name, refuse="486 Busy Here")
    on.phone("trunk16").dial("group-1068-1069-1070").wait("ended")


@scenario
def bridged(on: Stage) -> None:
    """AMI's Bridge takes one side each of two calls and lets them talk."""
    one = on.call("1071", "1072", "1072")
    two = on.call("1073", "1074", "1074")
    channels = {f"Channel{n}": on.channel_of(name) for n, name in ((1, "1071"), (2, "1074"))}
    on.manager_action("Bridge", **channels)
    on.wait_gone("1072", "1073")
    assert two.wait("ended")
    one.hang_up()


@scenario
def queue_gives_up(on: Stage) -> None:
    """A queue lets a stranger go after two seconds in which nobody answered."""
    on.phone("1075")
    on.phone("trunk17").dial("hasty").wait("answered").wait("ended")
