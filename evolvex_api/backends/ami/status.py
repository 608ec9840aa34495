"""The answer to AMI's action Status as channels: pure parsing, no connection.

Source: Asterisk's manager documentation, action Status and event Status; the order of headers is
that of `action_status` in Asterisk's main/manager.c: own headers, variables, ActionID.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from evolvex_api.backends.failures import PbxUnavailable
from evolvex_api.core import uniqueid
from evolvex_api.core.access import Scope

Channel = Mapping[str, str]

_VARIABLE = "\r\nVariable: "
_EVENT = "Event: Status\r\n"
_SECONDS = "\r\nSeconds: "
_SECONDS_IN_JSON = ',"Seconds":"'
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
# The headers of an event Status in the order in which Asterisk 16 to 22 send them.
_HEAD = (
    *("Event", "Privilege", "Channel", "ChannelState", "ChannelStateDesc", "CallerIDNum"),
    *("CallerIDName", "ConnectedLineNum", "ConnectedLineName", "Language", "AccountCode"),
    *("Context", "Exten", "Priority", "Uniqueid", "Linkedid", "Type", "DNID"),
    *("EffectiveConnectedLineNum", "EffectiveConnectedLineName", "TimeToHangup", "BridgeID"),
    *("Application", "Data", "Nativeformats", "Readformat", "Readtrans", "Writeformat"),
    *("Writetrans", "Callgroup", "Pickupgroup", "Seconds"),
)
# Those of them that a forged event would leave behind in a variable.
_HEAD_NAMES = frozenset(_HEAD) - {"Event", "Privilege"}
# What the scope rests on: who sees a channel, and which call it belongs to.
_IDENTITY = ("Context", "Uniqueid", "Linkedid")
# Parameter of the API → header of the event.
FILTERS = {
    "calleridnum": "CallerIDNum",
    "connectedlinenum": "ConnectedLineNum",
    "context": "Context",
    "exten": "Exten",
}


@dataclass(frozen=True)
class _Parsed:
    """A channel and its JSON text around the value of Seconds, both without the ActionID.

    Where that value is not certain, it is in `before`, and `is_reusable` False. `ids` are
    those of the call that it belongs to.
    """

    channel: Channel
    before: str
    after: str
    ids: frozenset[str]
    is_reusable: bool


class Snapshots:
    """Makes snapshots of AMI's answers; what is as it was in the last one isn't parsed again.

    Polled every second, most channels differ only in their Seconds. Not safe between threads.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], _Parsed] = {}

    def make(self, answer: bytes) -> Snapshot:
        """Given AMI's whole answer, from its Response to its StatusComplete.

        Each event ends with the ActionID, which nobody can guess, so that a variable can hold
        empty lines or whole faked events without passing for a channel.
        """
        text = answer.decode("utf-8", "replace")
        response, _, events = text.partition("\r\n\r\n")
        action_id = response.partition("\r\nActionID: ")[2].partition("\r\n")[0]
        known: dict[tuple[str, str], _Parsed] = {}
        found: list[tuple[_Parsed, str]] = []
        for event in events.split(f"\r\nActionID: {action_id}\r\n\r\n")[:-1]:
            head, _, rest = event.partition(_SECONDS)
            seconds, _, tail = rest.partition("\r\n")
            key = (head, tail)
            parsed = self._known.get(key) if seconds.isdecimal() else None
            if parsed is None:
                if not event.startswith(_EVENT):
                    continue
                parsed = _parse(event, seconds)
            if parsed.is_reusable:
                known[key] = parsed
            found.append((parsed, seconds if parsed.is_reusable else ""))
        self._known = known
        return Snapshot(found, action_id)


class Snapshot:
    """The live channels as they were at one moment; shared by all requests that may have it.

    Answers are made when first asked for, and kept: many requests want the same.
    """

    def __init__(self, found: Sequence[tuple[_Parsed, str]], action_id: str) -> None:
        self._found = found
        self._action_id = action_id
        self._answers: dict[object, bytes] = {}
        self._making = threading.Lock()

    def ids(self) -> frozenset[str]:
        """The Uniqueid and Linkedid of every live channel.

        Of a channel that isn't believed, every id that its event mentions: a call that it may be
        part of has not ended.
        """
        return frozenset().union(*(parsed.ids for parsed, _ in self._found))

    def legs(self, uniqueid: str) -> Sequence[Channel]:
        """The live channels of a call, by the Uniqueid or Linkedid of any of them."""
        calls = {
            parsed.channel.get("Linkedid")
            for parsed, _ in self._found
            if uniqueid in (parsed.channel.get("Uniqueid"), parsed.channel.get("Linkedid"))
        }
        return [
            self._channel(parsed, seconds)
            for parsed, seconds in self._found
            if parsed.channel.get("Linkedid") in calls
        ]

    def json(self, scope: Scope, filters: Mapping[str, str]) -> bytes:
        """`{"data":[…]}` as UTF-8: channels of granted contexts that equal all the filters."""
        key = (scope, *sorted(filters.items()))
        with self._making:
            if key not in self._answers:
                self._answers[key] = self._rendered(scope, filters)
            return self._answers[key]

    def _channel(self, parsed: _Parsed, seconds: str) -> Channel:
        own = {"Seconds": seconds} if seconds else {}
        return {**parsed.channel, **own, "ActionID": self._action_id}

    def _rendered(self, scope: Scope, filters: Mapping[str, str]) -> bytes:
        end = f',"ActionID":"{self._action_id}"}}'
        shown = self._found
        if filters or not scope.open:
            shown = [one for one in shown if _passes(one[0].channel, scope, filters)]
        texts = [f"{parsed.before}{seconds}{parsed.after}{end}" for parsed, seconds in shown]
        return ('{"data":[' + ",".join(texts) + "]}").encode()


def _parse(event: str, seconds: str) -> _Parsed:
    channel = _parse_channel(event)
    text = _encode(channel)[:-1]
    ids = frozenset((channel["Uniqueid"], channel["Linkedid"])) - {""} or uniqueid.mentioned(event)
    is_own = _SECONDS in event.partition(_VARIABLE)[0]
    if not (is_own and event.count(_SECONDS) == 1 and seconds.isdecimal()):
        return _Parsed(channel, text, "", ids, is_reusable=False)
    # Outside of a key the text can't hold this: quotes within values are escaped.
    before, _, after = text.partition(f"{_SECONDS_IN_JSON}{seconds}")
    return _Parsed(channel, before + _SECONDS_IN_JSON, after, ids, is_reusable=True)


def _parse_channel(event: str) -> Channel:
    """One event, without its ActionID.

    Asterisk sends line ends within caller numbers, account codes, extensions and variables as
    they are, so a caller can write headers into an event. One whose headers are not exactly those
    that Asterisk sends loses its context and ids: no group sees it but one that sees every
    context, and nobody reaches another call by it.
    """
    head, *variables = event.split(_VARIABLE)
    lines = [line.partition(": ") for line in head.split("\r\n")]
    own = {name: value for name, _, value in lines}
    if tuple(name for name, _, _ in lines) != _HEAD or any(map(_holds_header, variables)):
        own = {name: own.get(name, "") for name in _HEAD} | dict.fromkeys(_IDENTITY, "")
    channel = dict(own)
    if variables:
        channel["Variable"] = variables[-1]
    for variable in variables:
        name, _, value = variable.partition("=")
        if name not in own and name not in ("Variable", "ActionID"):
            channel[name] = value
    return channel


def _holds_header(variable: str) -> bool:
    """True when a variable's value has a line that could be a header of the event."""
    _, *further = variable.split("\r\n")
    return any(line.partition(":")[0] in _HEAD_NAMES for line in further)


def _passes(channel: Channel, scope: Scope, filters: Mapping[str, str]) -> bool:
    return scope.allows(channel.get("Context")) and all(
        channel.get(FILTERS[name]) == value for name, value in filters.items()
    )


class SharedRun:
    """Lets callers at the same time share one run of a function that started after they came.

    A caller joins the next run, never one that is under way: what that one brings may be older
    than the caller's request. Only when that one finds no PBX, those who wait for the next get
    the same failure: they have waited long enough, and a dead PBX need not be asked again at once.
    """

    def __init__(self, run: Callable[[], Snapshot]) -> None:
        self._run = run
        self._changed = threading.Condition()
        self._running = False
        self._next: _Batch | None = None

    def result(self) -> Snapshot:
        """The result of a run that started after this call; raises what the run raised."""
        with self._changed:
            batch = self._next = self._next or _Batch()
            while self._running and not batch.done:
                self._changed.wait()
            if not batch.done:
                self._running, self._next = True, None
        if not batch.done:
            self._lead(batch)
        return batch.outcome()

    def _lead(self, batch: _Batch) -> None:
        try:
            batch.snapshot = self._run()
        except Exception as failure:  # noqa: BLE001  # handed to everybody who waits for it
            batch.failure = failure
        finally:
            with self._changed:
                batch.done = True
                self._running = False
                if isinstance(batch.failure, PbxUnavailable) and self._next is not None:
                    self._next.failure, self._next.done = batch.failure, True
                    self._next = None
                self._changed.notify_all()


class _Batch:
    """The callers that share one run."""

    done = False
    snapshot: Snapshot | None = None
    failure: Exception | None = None

    def outcome(self) -> Snapshot:
        """What the run brought, once it is done."""
        if self.failure is not None:
            raise self.failure
        assert self.snapshot is not None  # noqa: S101  # done, and without a failure
        return self.snapshot
