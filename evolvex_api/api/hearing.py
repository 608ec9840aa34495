"""From an asked uniqueid to a recording that a group may hear; for every method that needs one."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterator, Mapping, Sequence

from evolvex_api.api.common import services
from evolvex_api.backends.failures import RecordingNotFound, UnsupportedAudio
from evolvex_api.backends.recordings import NOT_FOUND, Live, Recording
from evolvex_api.core import audible
from evolvex_api.core import uniqueid as uniqueids
from evolvex_api.core.access import Scope
from evolvex_api.core.calllog import CallRow
from evolvex_api.core.refusals import invalid_parameter
from evolvex_api.params import Params

# The channel variable that MixMonitor sets (apps/app_mixmonitor.c).
_RECORDS_INTO = "MIXMONITOR_FILENAME"


def optional_uniqueid(params: Params) -> str | None:
    """The asked uniqueid, or None; ApiError(400) for what no channel can be called."""
    uniqueid = params.optional("uniqueid")
    return uniqueid and _checked(uniqueid)


def required_uniqueid(params: Params) -> str:
    """The asked uniqueid; ApiError(400) without it, or for what no channel can be called."""
    return _checked(params.required("uniqueid"))


def find(scope: Scope, uniqueid: str) -> Recording:
    """The recording of a call that a group may hear, opened; whoever gets it closes it.

    Given the group's scope and the id of any leg. Raises RecordingNotFound, also for a recording
    that the group may not hear, RecordingEmpty, UnsupportedAudio, and StorageUnavailable,
    CdrUnavailable or PbxUnavailable.
    """
    call = _Call(uniqueid)
    if not audible.may_hear(scope, lambda: call.rows, lambda: call.legs):
        raise RecordingNotFound(NOT_FOUND)
    return services().recordings.find(uniqueid, lambda: call.rows, call.live)


def exists(scope: Scope, uniqueid: str) -> bool:
    """True when `find` would find a recording that can be played. Raises what leaves it open."""
    try:
        recording = find(scope, uniqueid)
    except (RecordingNotFound, UnsupportedAudio):
        return False
    try:
        return services().transcoder.can_play(recording)
    finally:
        os.close(recording.descriptor)


def _checked(uniqueid: str) -> str:
    if not uniqueids.is_valid(uniqueid):
        raise invalid_parameter(
            "uniqueid",
            "uniqueid takes letters, digits and . _ ; -, at most 150, and nothing like a path.",
        )
    return uniqueid


class _Call:
    """What CDR and AMI know of a call, each asked once and only when needed."""

    def __init__(self, uniqueid: str) -> None:
        self._uniqueid = uniqueid

    @functools.cached_property
    def rows(self) -> Sequence[CallRow]:
        """The call's CDR rows."""
        return list(services().cdr.call(self._uniqueid))

    @functools.cached_property
    def legs(self) -> Sequence[Mapping[str, str]]:
        """The call's live channels."""
        return services().ami.status().legs(self._uniqueid)

    def live(self) -> Iterator[Live]:
        """What the call's live channels record into.

        Status only shows which channels to ask: what it prints there a caller may have forged.
        """
        for leg in self.legs:
            if _RECORDS_INTO not in leg:
                continue
            path = services().ami.variable(leg.get("Channel", ""), _RECORDS_INTO)
            if path:
                yield Live(path, leg.get("Uniqueid", ""), _created(leg))


def _created(leg: Mapping[str, str]) -> float:
    """When a channel was created, in seconds since the epoch: by its id, else by its age."""
    created = uniqueids.created(leg.get("Uniqueid", ""))
    if created is not None:
        return created
    seconds = leg.get("Seconds", "")
    return time.time() - int(seconds) if seconds.isdecimal() else time.time()
