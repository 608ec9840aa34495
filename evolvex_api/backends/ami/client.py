"""Asterisk as this service uses it: one AMI session a process, made anew when it breaks.

Source: Asterisk's documentation of the manager actions Status, Getvar, CoreStatus and Originate.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from evolvex_api import config
from evolvex_api.backends.ami import messages, outcome
from evolvex_api.backends.ami.session import (
    CALL_EVENTS,
    NO_EVENTS,
    AmiError,
    Conversation,
    LoginRefused,
    Session,
)
from evolvex_api.backends.ami.status import SharedRun, Snapshot, Snapshots
from evolvex_api.backends.failures import OutcomeUnknown, PbxUnavailable
from evolvex_api.core.dialling import Call

log = logging.getLogger(__name__)

_T = TypeVar("_T")

# A waiting request looks this often whether its client is still there.
_LOOK_SECONDS = 0.5
# The Hangup of a leg comes within milliseconds of OriginateResponse, before or behind it. None
# comes when no channel was made.
_HANGUP_SECONDS = 0.5
# AMI answers while modules are still being loaded; a large dialplan takes some seconds.
_STARTING = timedelta(seconds=60)


class ClientGone(Exception):
    """The client that waited for an outcome has closed its connection; the call goes on."""


@dataclass(frozen=True)
class Facts:
    """What AMI says of itself, for `doctor`: its version and which rights the user has."""

    version: str
    rights: Mapping[str, bool]


class Ami:
    """Asterisk as this service uses it; safe between threads and over fork."""

    def __init__(self, settings: config.Ami) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._current: Session | None = None
        self._owner = 0
        self._attempt: Future[Session] | None = None
        self._shared_status = SharedRun(self._status)
        self._snapshots = Snapshots()  # used by one thread at a time, the one that runs _status

    def status(self) -> Snapshot:
        """The live channels, at this moment or later; PbxUnavailable.

        Callers at the same time share one exchange with Asterisk.
        """
        return self._shared_status.result()

    def variable(self, channel: str, name: str) -> str:
        """A channel's variable, "" when it is not set or the channel is gone; PbxUnavailable.

        Unlike Status, where a value with line ends can pass for other headers, the answer holds
        this one value and nothing behind it.
        """
        headers = [("Action", "Getvar"), ("Channel", channel), ("Variable", name)]
        answer = self._retried(lambda session: self._ask(session, headers))
        return messages.value_of(answer)

    def ping(self) -> None:
        """Ask Asterisk for a sign of life; PbxUnavailable."""
        self._retried(lambda session: self._ask(session, [("Action", "Ping")]))

    def describe(self) -> Facts:
        """What AMI says of itself; PbxUnavailable."""
        return self._retried(_ask_facts)

    def originate(
        self, call: Call, wait: bool, gone: Callable[[], bool] = lambda: False
    ) -> dict[str, str]:
        """Make a call. Never dialled twice: one whose fate is not known is reported as such.

        Returns Response, Message, ActionID and Uniqueid; with `wait`, once the first leg's outcome
        is known, also Reason (AMI's number), Channel and, of a leg that failed, Cause and
        Cause-txt. `gone` is asked while it waits. Raises PbxRejected with AMI's message,
        PbxUnavailable when nothing was dialled, OutcomeUnknown when that can't be known, and
        ClientGone.
        """
        with contextlib.ExitStack() as events:
            session = self._retried(
                (lambda session: _with_call_events(session, events)) if wait else _itself
            )
            try:
                return self._dial(session, call, gone if wait else None)
            except AmiError as error:
                if not error.sent:
                    raise _unavailable(error) from error
                raise OutcomeUnknown(
                    "The PBX fell silent after the call was sent to it.", call.uniqueid
                ) from error

    def _dial(
        self, session: Session, call: Call, gone: Callable[[], bool] | None
    ) -> dict[str, str]:
        legs = (call.uniqueid, f"{call.uniqueid};2")
        with session.converse(messages.originate_headers(call), legs if gone else ()) as talk:
            message = talk.response(self._settings.timeout)
            if words := outcome.refused(message):
                raise outcome.refusal(words, starting=self._is_starting(session, call, words))
            if gone is None:
                return outcome.queued(message, talk.action_id, call.uniqueid)
            return self._await_outcome(talk, call, gone)

    def _await_outcome(
        self, conversation: Conversation, call: Call, gone: Callable[[], bool]
    ) -> dict[str, str]:
        """Collect OriginateResponse and, when the first leg failed, the Hangups of its channels."""
        hangups: list[bytes] = []
        event = None
        deadline = time.monotonic() + call.timeout + self._settings.timeout
        while event is None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise AmiError("no event in time", sent=True, timed_out=True)
            message = conversation.event(min(left, _LOOK_SECONDS))
            if message is None:
                if gone():
                    raise ClientGone
            elif messages.is_hangup(message):
                hangups.append(message)
            else:
                event = message
        if messages.fields(event).get("Response") == "Failure":
            wanted = 2 if call.channel.startswith("Local/") else 1
            _collect(conversation, hangups, wanted)
        return outcome.outcome(event, hangups, conversation.action_id, call.uniqueid)

    def _is_starting(self, session: Session, call: Call, words: str) -> bool:
        """True when AMI refuses an extension because the dialplan may not be loaded yet.

        The dialplan appears as a whole (pbx_config.c, pbx_load_module), so one that has the call's
        context is loaded.
        """
        if not outcome.is_missing_extension(words):
            return False
        with contextlib.suppress(AmiError, ValueError):
            said = messages.fields(self._ask(session, [("Action", "CoreStatus")]))
            started = f"{said.get('CoreStartupDate')} {said.get('CoreStartupTime')}"
            if datetime.now() - datetime.fromisoformat(started) < _STARTING:
                shown = [("Action", "ShowDialPlan"), ("Context", call.context)]
                return messages.is_error(self._ask(session, shown))
        return False

    def _status(self) -> Snapshot:
        answer = self._retried(self._ask_status)
        if messages.is_error(answer):
            log.error("AMI refuses Status: %s", messages.fields(answer).get("Message"))
            raise PbxUnavailable("The PBX does not permit this service to list its channels.")
        return self._snapshots.make(answer)

    def _ask_status(self, session: Session) -> bytes:
        return self._ask(session, [("Action", "Status"), ("AllVariables", "true")])

    def _ask(self, session: Session, headers: messages.Headers) -> bytes:
        with session.converse(headers) as conversation:
            return conversation.response(self._settings.timeout)

    def _retried(self, ask: Callable[[Session], _T]) -> _T:
        """Ask something that changes nothing; once more when the connection proves broken."""
        try:
            session = self._session()
            try:
                return ask(session)
            except AmiError as error:
                if error.timed_out:
                    raise
            return ask(self._session())
        except AmiError as error:
            raise _unavailable(error) from error

    def _session(self) -> Session:
        """The session of this process; callers at the same time share one attempt to connect."""
        with self._lock:
            if self._owner != os.getpid():
                self._current, self._attempt, self._owner = None, None, os.getpid()
            if self._current is not None and self._current.connected():
                return self._current
            attempt, mine = self._attempt, self._attempt is None
            if attempt is None:
                attempt = self._attempt = Future()
        if mine:
            self._connect(attempt)
        return attempt.result()

    def _connect(self, attempt: Future[Session]) -> None:
        session = Session(self._settings.timeout)
        failure: Exception | None = None
        try:
            session.connect(self._settings.host, self._settings.port)
            session.login(self._settings.username, self._settings.secret)
        except Exception as error:  # noqa: BLE001  # others wait for the outcome, whatever it is
            session.close()
            log.warning("no AMI session: %s", error)
            failure = error
        with self._lock:
            self._attempt = None
            self._current = None if failure else session
        if failure:
            attempt.set_exception(failure)
        else:
            attempt.set_result(session)


def _itself(session: Session) -> Session:
    return session


def _with_call_events(session: Session, events: contextlib.ExitStack) -> Session:
    events.enter_context(session.call_events())
    return session


def _ask_facts(session: Session) -> Facts:
    """Find the rights by refusals: these actions do nothing but report whether they are allowed."""
    actions = {
        # Without a Channel nothing can be dialled.
        "originate": {"Action": "Originate"},
        "reporting (status)": {"Action": "Status", "Channel": "none"},
    }
    refused = {
        right: session.send_action(action).get_header("Message", "")
        for right, action in actions.items()
    }
    rights = {right: "ermission denied" not in said for right, said in refused.items()}
    events = session.send_action({"Action": "Events", "EventMask": CALL_EVENTS})
    session.send_action({"Action": "Events", "EventMask": NO_EVENTS})
    # "Events: Off" is the answer to a mask of which the user may read nothing.
    rights["call (events)"] = events.get_header("Events", "").lower() == "on"
    return Facts(f"{session.title} {session.version}", rights)


def _collect(conversation: Conversation, hangups: list[bytes], wanted: int) -> None:
    """Wait until so many Hangups have come, or none comes any more."""
    deadline = time.monotonic() + _HANGUP_SECONDS
    while len(hangups) < wanted and (left := deadline - time.monotonic()) > 0:
        message = conversation.event(left)
        if message is not None and messages.is_hangup(message):
            hangups.append(message)


def _unavailable(error: AmiError) -> PbxUnavailable:
    if isinstance(error, LoginRefused):
        return PbxUnavailable("The PBX refuses the service's login.")
    return PbxUnavailable("The PBX does not answer.")
