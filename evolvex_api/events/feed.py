"""From AMI's messages to the tracker: what is buffered, what is asked for, what is left out.

Asterisk prints line ends inside values as they are, so a caller can end an event early and write
others behind it. The tracker ignores an event that is not built as Asterisk builds it; here, what
can't be the work of Asterisk at all has the channels asked for anew, and nothing that arrives
before that answer counts.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from evolvex_api.backends.ami import messages
from evolvex_api.events.call import Change, Event, Recorder
from evolvex_api.events.listener import Arrival, Session
from evolvex_api.events.tracker import Tracker

log = logging.getLogger(__name__)

_EVENT = b"Event: "
_RESPONSE = b"Response: "
# A channel in an event begins with the one, directly or after a prefix, and ends with the other.
_CHANNEL_BEGINS, _CHANNEL_ENDS = b"ChannelStateDesc: ", b"Linkedid: "
_STATUS = b"Event: Status\r\n"
# Forged events may not keep Asterisk busy with Status.
_LEAST_BETWEEN = 1.0
_ANYWAY = 60.0


class Feed:
    """Feeds a tracker. For one thread at a time; `found` gets a recorder and its file's path."""

    def __init__(self, tracker: Tracker, found: Callable[[Recorder, str], None]) -> None:
        self._tracker = tracker
        self._found = found
        self._session: Session | None = None
        self._in_line = False
        self._trusted = True
        self._asked = 0.0
        self._buffered: list[tuple[Event, float]] = []
        self._paths: dict[str, Recorder] = {}

    @property
    def in_line(self) -> bool:
        """True when the tracker's calls are those that the PBX has now."""
        return self._in_line

    def connected(self, session: Session) -> None:
        """Take a new session, whose Status is under way."""
        self._session = session
        self._paths.clear()
        self._begin()

    def disconnected(self, session: Session) -> None:
        """A session has ended; until the next one nothing is known."""
        if session is self._session:
            self._session = None
            self._in_line = False

    def take(self, session: Session, arrival: Arrival) -> list[Change]:
        """Take what has arrived and return what it changed."""
        if session is not self._session:
            return []
        at, arrived = arrival
        changes: list[Change] = []
        for action_id, message in arrived:
            if action_id and action_id == session.status_id:
                changes += self._rebuild(session, message, at)
            elif action_id in self._paths:
                self._take_path(session, action_id, message)
            elif message.startswith(_EVENT):
                changes += self._event(message, at)
            elif not message.startswith(_RESPONSE):
                self._suspect()
        self._ask_paths(session)
        return changes

    def _begin(self) -> None:
        self._in_line, self._trusted = False, True
        self._buffered.clear()
        self._asked = time.monotonic()

    def _event(self, message: bytes, at: float) -> list[Change]:
        if message.count(_CHANNEL_BEGINS) != message.count(_CHANNEL_ENDS):
            self._suspect()
        if not self._trusted:
            return []
        event = parse(message)
        if self._in_line:
            return self._tracker.feed(event, at)
        self._buffered.append((event, at))
        return []

    def _rebuild(self, session: Session, answer: bytes, at: float) -> list[Change]:
        session.answered(session.status_id)
        session.status_id = ""
        if messages.is_error(answer):
            log.error("AMI refuses Status to the user of [events]: it needs write = reporting")
            session.end()
            return []
        buffered = list(self._buffered) if self._trusted else []
        self._buffered.clear()
        changes = self._tracker.rebuild(channels(answer), at)
        for event, then in buffered:
            changes += self._tracker.feed(event, then)
        self._in_line = self._trusted = True
        return changes

    def _suspect(self) -> None:
        """Something that Asterisk can't have written: trust nothing before the next Status."""
        session = self._session
        if session is None or not self._trusted:
            return
        self._trusted = self._in_line = False
        log.warning("a caller has written line ends into an event; the channels are asked for anew")
        self.tick()

    def tick(self) -> None:
        """Ask for the channels when that is due; to be called about once a second.

        Now and then it is due in any case: a Hangup that could not be believed is seen by it.
        """
        session = self._session
        if session is None or session.status_id:
            return
        pause = _LEAST_BETWEEN if not self._trusted else _ANYWAY
        if time.monotonic() - self._asked > pause:
            self._asked = time.monotonic()
            session.ask_status()

    def _ask_paths(self, session: Session) -> None:
        for recorder in self._tracker.new_recorders():
            action_id = session.ask(
                [
                    ("Action", "Getvar"),
                    ("Channel", recorder.channel),
                    ("Variable", "MIXMONITOR_FILENAME"),
                ]
            )
            self._paths[action_id] = recorder

    def _take_path(self, session: Session, action_id: str, answer: bytes) -> None:
        session.answered(action_id)
        recorder = self._paths.pop(action_id)
        self._found(recorder, messages.fields(answer).get("Value", ""))


def parse(message: bytes) -> Event:
    """Return the headers of a message in order."""
    lines = message.decode("utf-8", "replace").split("\r\n")
    return tuple([(name, value) for name, _, value in (line.partition(": ") for line in lines)])


def channels(answer: bytes) -> Sequence[Event]:
    """Return the events of a Status list, each of which ends with the ActionID nobody can guess."""
    response, _, events = answer.partition(b"\r\n\r\n")
    action_id = response.partition(b"\r\nActionID: ")[2].partition(b"\r\n")[0]
    ends = b"\r\nActionID: " + action_id + b"\r\n\r\n"
    return [parse(event) for event in events.split(ends)[:-1] if event.startswith(_STATUS)]
