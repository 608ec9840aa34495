"""What AMI's action Status tells, as channels: pure parsing, no connection.

Source: Asterisk's manager documentation, action Status and event Status; the order of headers is
that of `action_status` in Asterisk's main/manager.c: own headers, variables, ActionID.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

from evolvex_api.access import Fence
from evolvex_api.backends.failures import PbxUnavailable

Channel = Mapping[str, str]

_VARIABLE = "\r\nVariable: "
_EVENT = "Event: Status\r\n"
# What the fence rests on: who sees a channel, and which call it belongs to.
_TRUSTED = ("\r\nContext: ", "\r\nUniqueid: ", "\r\nLinkedid: ")
# Parameter of the API → header of the event.
FILTERS = {
    "calleridnum": "CallerIDNum",
    "connectedlinenum": "ConnectedLineNum",
    "context": "Context",
    "exten": "Exten",
}


class Snapshot:
    """The live channels as they were at one moment; shared by all requests that may have it.

    Texts are made when first asked for, and kept: many requests want the same.
    """

    def __init__(self, answer: bytes) -> None:
        """Given AMI's whole answer, from its Response to its StatusComplete."""
        self.channels: Sequence[Channel] = list(parse_channels(answer))
        self._texts: Sequence[str] = ()
        self._answers: dict[object, bytes] = {}
        self._making = threading.Lock()

    def select(self, fence: Fence, filters: Mapping[str, str]) -> Sequence[Channel]:
        """The channels of granted contexts whose headers have exactly the filters' values."""
        return [channel for channel in self.channels if _passes(channel, fence, filters)]

    def legs(self, uniqueid: str) -> Sequence[Channel]:
        """The live channels of a call, by the Uniqueid or Linkedid of any of them."""
        calls = {
            channel.get("Linkedid")
            for channel in self.channels
            if uniqueid in (channel.get("Uniqueid"), channel.get("Linkedid"))
        }
        return [channel for channel in self.channels if channel.get("Linkedid") in calls]

    def json(self, fence: Fence, filters: Mapping[str, str]) -> bytes:
        """`{"data": […]}` with the selected channels, as UTF-8."""
        key = (fence, *sorted(filters.items()))
        with self._making:
            if key not in self._answers:
                self._answers[key] = self._rendered(fence, filters)
            return self._answers[key]

    def _rendered(self, fence: Fence, filters: Mapping[str, str]) -> bytes:
        if not self._texts:
            encode = json.JSONEncoder(ensure_ascii=False).encode
            self._texts = [encode(channel) for channel in self.channels]
        texts = [
            text
            for channel, text in zip(self.channels, self._texts, strict=True)
            if _passes(channel, fence, filters)
        ]
        return ('{"data": [' + ", ".join(texts) + "]}").encode()


def parse_channels(answer: bytes) -> Iterator[Channel]:
    """The Status events of AMI's answer, each an object of strings.

    Each event ends with the ActionID, which nobody can guess, so that a variable can hold empty
    lines or whole faked events without passing for a channel, or for the end of the list.
    """
    text = answer.decode("utf-8", "replace")
    response, _, events = text.partition("\r\n\r\n")
    action_id = response.partition("\r\nActionID: ")[2].partition("\r\n")[0]
    for event in events.split(f"\r\nActionID: {action_id}\r\n\r\n")[:-1]:
        if event.startswith(_EVENT):
            yield _parse_channel(event, action_id)


def _parse_channel(event: str, action_id: str) -> Channel:
    """One event, without its ActionID.

    Asterisk sends line ends within caller numbers, account codes and extensions too. A channel
    that names its context or its ids more than once lies; it loses its Context, so that no fence
    lets it through.
    """
    head, *variables = event.split(_VARIABLE)
    lines = head.split("\r\n")
    own = dict([line.partition(": ")[::2] for line in lines])
    if len(own) != len(lines) or any(event.count(name) != 1 for name in _TRUSTED):
        own["Context"] = ""
    channel = dict(own)
    if variables:
        channel["Variable"] = variables[-1]
    for variable in variables:
        name, _, value = variable.partition("=")
        if name not in own and name not in ("Variable", "ActionID"):
            channel[name] = value
    channel["ActionID"] = action_id
    return channel


def _passes(channel: Channel, fence: Fence, filters: Mapping[str, str]) -> bool:
    return fence.allows(channel.get("Context")) and all(
        channel.get(FILTERS[name]) == value for name, value in filters.items()
    )


class SharedRun:
    """Lets callers at the same time share one run of a function that started after they came.

    A caller joins the next run, never one that is under way: what that one brings may be older
    than the caller's request. Only when that one finds no PBX, those who wait for the next are told
    the same: they have waited long enough, and a dead PBX need not be asked again at once.
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
