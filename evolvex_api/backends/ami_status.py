"""What AMI's action Status tells, as channels: pure parsing, no connection.

Source: Asterisk's manager documentation, action Status and event Status; the order of headers is
that of `action_status` in Asterisk's main/manager.c: own headers, variables, ActionID.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence

from evolvex_api.access import Fence

Channel = Mapping[str, str]

_VARIABLE = "Variable: "
_ACTION_ID = "ActionID: "
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

    def __init__(self, messages: Sequence[bytes]) -> None:
        """Given the Status events as they came."""
        self.channels: Sequence[Channel] = [parse_channel(message) for message in messages]
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


def parse_channel(message: bytes) -> Channel:
    """One Status event as an object of strings.

    Own headers are those before the first variable: whatever a variable's value holds, even line
    ends, it can't pass for one. A message in which an own header stands twice was tampered with;
    it loses its Context, so that no fence lets it through.
    """
    lines = message.decode("utf-8", "replace").split("\r\n")
    first_variable = next((n for n, line in enumerate(lines) if line.startswith(_VARIABLE)), None)
    own_lines = lines[:first_variable]
    if first_variable is None and own_lines[-1].startswith(_ACTION_ID):
        own_lines.pop()
    own = dict(_split(line) for line in own_lines)
    if len(own) != len(own_lines):
        own["Context"] = ""
    channel = dict(own)
    for line in lines[len(own_lines) :]:
        if line.startswith(_VARIABLE):
            variable = line[len(_VARIABLE) :]
            channel["Variable"] = variable
            name, _, value = variable.partition("=")
            if name not in own and name not in ("Variable", "ActionID"):
                channel[name] = value
    if lines[-1].startswith(_ACTION_ID):
        channel["ActionID"] = lines[-1][len(_ACTION_ID) :]
    return channel


def _split(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name, value.removeprefix(" ")


def _passes(channel: Channel, fence: Fence, filters: Mapping[str, str]) -> bool:
    return fence.allows(channel.get("Context")) and all(
        channel.get(FILTERS[name]) == value for name, value in filters.items()
    )


class SharedRun:
    """Lets callers at the same time share one run of a function that started after they came.

    A caller joins the next run, never one that is under way: what that one brings may be older
    than the caller's request.
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
        if batch.failure is not None:
            raise batch.failure
        assert batch.snapshot is not None  # noqa: S101  # done, and without a failure
        return batch.snapshot

    def _lead(self, batch: _Batch) -> None:
        try:
            batch.snapshot = self._run()
        except Exception as failure:  # noqa: BLE001  # handed to everybody who waits for it
            batch.failure = failure
        finally:
            with self._changed:
                batch.done = True
                self._running = False
                self._changed.notify_all()


class _Batch:
    """The callers that share one run."""

    done = False
    snapshot: Snapshot | None = None
    failure: Exception | None = None
