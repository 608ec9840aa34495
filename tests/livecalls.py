"""What the tracker is to make of each of the lab's scenarios, recorded or live."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from evolvex_api.events.call import Change
from evolvex_api.events.directions import Directions

DIRECTIONS = Directions(("from-trunk*",), re.compile(r"\d{3,5}"))


# Scenario → its calls, the same on Asterisk 22 and 16.
EXPECTED = {
    "answered": [
        "in +79161234567>1001 started ringing:1001 answered:1001 ended:ANSWERED:hangup:1001",
    ],
    "attended_transfer": [
        "in trunk10>1010 started ringing:1010 answered:1010 held:1010 resumed:1010 "
        "transferred:1011<1010 ended:ANSWERED:hangup:1011",
        "internal 1010>1011 started ringing:1011 answered:1011 ended:ANSWERED:merged:1011",
    ],
    "blind_transfer": [
        "in trunk9>1008 started ringing:1008 answered:1008 transferred:1009<1008 "
        "ringing:1009 answered:1009 ended:ANSWERED:hangup:1009",
    ],
    "bridged": [
        "internal 1071>1072 started ringing:1072 answered:1072 ended:ANSWERED:hangup:1074",
        "internal 1073>1074 started ringing:1074 answered:1074 ended:ANSWERED:merged:1074",
    ],
    "busy": [
        "in trunk2>1002 started ended:BUSY:hangup:-",
    ],
    "callee_hangs_up": [
        "internal 1051>1052 started ringing:1052 answered:1052 ended:ANSWERED:hangup:1052",
    ],
    "caller_transfers": [
        "internal 1019>1020 started ringing:1020 answered:1020 transferred:1061<1019 "
        "ringing:1061 answered:1061 ended:ANSWERED:hangup:1061",
    ],
    "cancelled": [
        "in trunk4>1004 started ringing:1004 ring_ended:1004 ended:CANCEL:hangup:-",
    ],
    "conference": [
        "internal 1031>conf-a started answered:1031 ended:ANSWERED:hangup:-",
        "internal 1032>conf-a started answered:1032 ended:ANSWERED:hangup:-",
        "internal 1033>conf-a started answered:1033 ended:ANSWERED:hangup:-",
    ],
    "declined": [
        "internal 1046>1047 started ringing:1047 ring_ended:1047 ended:NO ANSWER:hangup:-",
    ],
    "feature_transfer": [
        "internal 1058>1056 started ringing:1056 answered:1056 held:1056 ringing:1057 "
        "answered:1057 transferred:1057<1056 ended:ANSWERED:hangup:1057",
    ],
    "forwarded": [
        "internal 1037>1038 started ringing:1039 answered:1039 ended:ANSWERED:hangup:1039",
    ],
    "group": [
        "in trunk5>group-1005-1006-1007 started ringing:1005 ringing:1006 ringing:1007 "
        "answered:1006 ring_ended:1005 ring_ended:1007 ended:ANSWERED:hangup:1006",
    ],
    "group_behind_local": [
        "in trunk15>locals-1066-1067 started ringing:1066 ringing:1067 answered:1067 "
        "ring_ended:1066 ended:ANSWERED:hangup:1067",
    ],
    "group_busy": [
        "in trunk16>group-1068-1069-1070 started ended:BUSY:hangup:-",
    ],
    "hold": [
        "internal 1015>1016 started ringing:1016 answered:1016 held:1016 resumed:1016 "
        "ended:ANSWERED:hangup:1016",
    ],
    "local": [
        "internal 1027>local-1028 started ringing:1028 answered:1028 ended:ANSWERED:hangup:1028",
    ],
    "local_n": [
        "internal 1029>localn-1030 started ringing:1030 answered:1030 ended:ANSWERED:hangup:1030",
    ],
    "menu": [
        "internal 1050>menu started ended:CANCEL:hangup:-",
    ],
    "no_answer": [
        "in trunk3>short-1003 started ringing:1003 ring_ended:1003 ended:NO ANSWER:hangup:-",
    ],
    "originate": [
        "internal 1034>1035 started ringing:1034 answered:1034 ringing:1035 answered:1035 "
        "ended:ANSWERED:hangup:1035",
    ],
    "originate_refused": [
        "internal 1036>1035 started ended:BUSY:hangup:-",
    ],
    "originate_waiting": [
        "internal 1048>1049 started ringing:1048 answered:1048 ringing:1049 answered:1049 "
        "ended:ANSWERED:hangup:1049",
    ],
    "outbound": [
        "out 1040>8161234567 started ringing:8161234567 answered:8161234567 "
        "ended:ANSWERED:hangup:8161234567",
    ],
    "parking": [
        "in trunk11>1017 started ringing:1017 answered:1017 transferred:700<1017 "
        "answered:1018 ended:ANSWERED:hangup:1018",
        "internal 1018>701 started ended:ANSWERED:merged:-",
    ],
    "pickup": [
        "internal 1012>1013 started ringing:1013 answered:1014 ring_ended:1013 "
        "ended:ANSWERED:hangup:1014",
        "internal 1014>pickup-1013 started ended:ANSWERED:merged:-",
    ],
    "queue_abandoned": [
        "in trunk8>queue-deaf started queued:trunk8 ringing:1025 ringing:1026 "
        "ring_ended:1025 ring_ended:1026 ended:CANCEL:hangup:-",
    ],
    "queue_agents": [
        "in trunk7>queue-agents started queued:trunk7 ringing:1023 ring_ended:1023 "
        "ringing:1024 answered:1024 ended:ANSWERED:hangup:1024",
    ],
    "queue_gives_up": [
        "in trunk17>hasty started queued:trunk17 ringing:1075 ring_ended:1075 ended:NO "
        "ANSWER:hangup:-",
    ],
    "queue_local": [
        "in trunk6>queue-local started queued:trunk6 ringing:1021 ring_ended:1021 "
        "ringing:1022 answered:1022 ended:ANSWERED:hangup:1022",
    ],
    "recorded": [
        "internal 1041>recorded-1042 started ringing:1042 answered:1042 ended:ANSWERED:hangup:1042",
    ],
    "redirected": [
        "internal 1043>1044 started ringing:1044 answered:1044 ringing:1045 answered:1045 "
        "ended:ANSWERED:hangup:1045",
    ],
    "transfer_to_busy": [
        "in trunk14>1064 started ringing:1064 answered:1064 transferred:1065<1064 "
        "ended:ANSWERED:hangup:1064",
    ],
    "transfer_while_ringing": [
        "in trunk13>1062 started ringing:1062 answered:1062 held:1062 resumed:1062 "
        "transferred:1063<1062 answered:1063 ended:ANSWERED:hangup:1063",
        "internal 1062>1063 started ringing:1063 ended:ANSWERED:merged:-",
    ],
    "unreachable": [
        "internal 1054>1055 started ended:FAILED:hangup:-",
    ],
}


def summaries(changes: Sequence[Change]) -> list[str]:
    """Return a line a call, sorted.

    "in 101>102 started ringing:102 answered:102 ended:ANSWERED:hangup:102": direction, caller,
    whom the call was for, then the changes; an end has disposition, reason and who answered last.
    Legs that begin to ring one after the other are sorted, and so are those that stop and who
    answers: their order is chance.
    """
    calls: dict[str, list[Change]] = {}
    for change in changes:
        calls.setdefault(change.call["Linkedid"], []).append(change)
    return sorted(_summary(of_call) for of_call in calls.values())


_AT_ONCE = {"call.answered": "call.ring_ended"}


def _summary(changes: Sequence[Change]) -> str:
    last = changes[-1].call
    groups = itertools.groupby(changes, key=lambda change: _AT_ONCE.get(change.type, change.type))
    words = [word for _, group in groups for word in sorted(_word(change) for change in group)]
    head = f"{last['Direction']} {last['CallerIDNum']}>{last['Exten']}"
    return " ".join([head, *words])


def _word(change: Change) -> str:
    word = change.type.removeprefix("call.")
    if word == "ended":
        by = (change.call["AnsweredBy"] or {}).get("Number", "-")
        return f"ended:{change.call['Disposition']}:{change.call['Reason']}:{by}"
    if change.change:
        word += f":{change.change['Number']}"
    return word + (f"<{change.change['From']}" if "From" in change.change else "")
