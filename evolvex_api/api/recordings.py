"""GET get_file_mp3 and get_file_wav: the recording of a call as a stream."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import quote

from flask import Blueprint, Response, request
from werkzeug.wsgi import wrap_file

from evolvex_api import journal
from evolvex_api.api import ranges
from evolvex_api.api.common import services
from evolvex_api.api.listeners import listening_group
from evolvex_api.backends.audio.transcoder import Audio, Stream
from evolvex_api.backends.failures import RecordingNotFound
from evolvex_api.backends.recordings import NOT_FOUND, Recording
from evolvex_api.core import uniqueid as uniqueids
from evolvex_api.core.access import Group
from evolvex_api.core.calllog import CallRow
from evolvex_api.core.refusals import invalid_parameter
from evolvex_api.front import behind_web_server
from evolvex_api.params import Params

blueprint = Blueprint("recordings", __name__)

_CHUNK = 256 * 1024
# Set by the shipped nginx configuration, see etc/nginx: it can serve finished files by itself.
_ACCEL_HEADER = "X-Evolvex-Accel"
_ACCEL_PATH = "/evolvex-internal"


@blueprint.get("/get_file_mp3")
def get_file_mp3() -> Response:
    """The recording as MP3 of constant bit rate."""
    uniqueid, recording = _asked_recording()
    audio = services().transcoder.mp3(recording)
    return _answer(recording, audio, "audio/mpeg", f"{uniqueid}.mp3")


@blueprint.get("/get_file_wav")
def get_file_wav() -> Response:
    """The recording as WAV of PCM 16 bits."""
    uniqueid, recording = _asked_recording()
    audio = services().transcoder.wav(recording)
    return _answer(recording, audio, "audio/wav", f"{uniqueid}.wav")


def optional_uniqueid(params: Params) -> str | None:
    """The asked uniqueid, or None; ApiError(400) for what no channel can be called."""
    uniqueid = params.optional("uniqueid")
    return uniqueid and _checked(uniqueid)


def required_uniqueid(params: Params) -> str:
    """The asked uniqueid; ApiError(400) without it, or for what no channel can be called."""
    return _checked(params.required("uniqueid"))


def exists(group: Group, uniqueid: str) -> bool:
    """True when users of the group could get the recording of that call."""
    try:
        os.close(_find(group, uniqueid).descriptor)
    except RecordingNotFound:
        return False
    return True


def _asked_recording() -> tuple[str, Recording]:
    params = Params()
    group = listening_group(params)
    uniqueid = required_uniqueid(params)
    journal.touch(uniqueid=uniqueid)
    return uniqueid, _find(group, uniqueid)


def _checked(uniqueid: str) -> str:
    if not uniqueids.is_valid(uniqueid):
        raise invalid_parameter("uniqueid", "uniqueid is not the id of a channel.")
    return uniqueid


def _find(group: Group, uniqueid: str) -> Recording:
    """The recording of a call that the group may hear; else as if there were none."""
    call = _Call(uniqueid)
    if not group.scope.open and not call.visible_to(group):
        raise RecordingNotFound(NOT_FOUND)
    return services().recordings.find(uniqueid, lambda: call.rows, lambda: call.legs)


class _Call:
    """What CDR and AMI know of a call, each asked once and only when needed."""

    def __init__(self, uniqueid: str) -> None:
        self._uniqueid = uniqueid

    @functools.cached_property
    def rows(self) -> Sequence[CallRow]:
        """The call's CDR rows."""
        return services().cdr.call(self._uniqueid)

    @functools.cached_property
    def legs(self) -> Sequence[Mapping[str, str]]:
        """The call's live channels."""
        return services().ami.status().legs(self._uniqueid)

    def visible_to(self, group: Group) -> bool:
        """True when the group may see a row of it or, having none yet, a live channel."""
        scope = group.scope
        if any(
            scope.allows(row.dcontext) or row.group_uuid == scope.group_uuid for row in self.rows
        ):
            return True
        # Asked even when rows forbid it: a PBX that is down must not tell a call from none.
        live = any(scope.allows(leg.get("Context")) for leg in self.legs)
        return live and not self.rows


def _answer(recording: Recording, audio: Audio, content_type: str, filename: str) -> Response:
    response = Response(content_type=content_type)
    response.headers["Content-Disposition"] = f'inline; filename="{filename}"'
    response.headers["Accept-Ranges"] = "bytes"
    if audio.modified is None:
        response.headers["Cache-Control"] = "no-store"
    else:
        _set_validators(response, audio.modified, audio.length)
    accel = _accel_path(recording, audio)
    if accel is not None:
        audio.stream.close()
        response.headers["X-Accel-Redirect"] = accel
        return response
    try:
        _send(response, audio)
    except BaseException:
        audio.stream.close()
        raise
    return response


def _set_validators(response: Response, modified: float, length: int) -> None:
    """ETag and Last-Modified, as nginx makes them for the same file."""
    response.set_etag(f"{int(modified):x}-{length:x}")
    response.last_modified = datetime.fromtimestamp(int(modified), UTC)
    # A player may keep it, but asks each time, so that a key withdrawn is a door shut.
    response.headers["Cache-Control"] = "private, no-cache"


def _accel_path(recording: Recording, audio: Audio) -> str | None:
    """Where nginx finds the very file; None when it must come from here.

    Only the host's web server is believed to be nginx, never a client that says so.
    """
    asked = request.headers.get(_ACCEL_HEADER) == "1"
    if not asked or not behind_web_server(request.environ):
        return None
    if audio.whole:
        path = services().recordings.relative_path(recording)
        return quote(f"{_ACCEL_PATH}/recordings/{path}")
    return f"{_ACCEL_PATH}/cache/{audio.cached}" if audio.cached else None


def _send(response: Response, audio: Audio) -> None:
    """Fill the response: all of it, a range, or only a status."""
    part = ranges.select(request, audio.length, response.get_etag()[0], response.last_modified)
    response.status_code = part.status
    if part.status == 304:
        audio.stream.close()
        return
    length = part.stop - part.start
    if part.status == 206:
        response.headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{audio.length}"
    response.content_length = length
    if request.method == "HEAD":
        audio.stream.close()
        return
    audio.stream.seek(part.start)
    if audio.file:
        response.response = wrap_file(request.environ, audio.stream, _CHUNK)  # type: ignore[arg-type]
        response.direct_passthrough = True
    else:
        first = audio.stream.read(min(_CHUNK, length))
        response.response = _chunks(audio.stream, first, length)
        response.call_on_close(audio.stream.close)


def _chunks(stream: Stream, first: bytes, length: int) -> Iterator[bytes]:
    """`length` bytes of a stream, of which the first have been read."""
    chunk = first
    while chunk:
        yield chunk
        length -= len(chunk)
        chunk = stream.read(min(_CHUNK, length)) if length else b""
    if length:
        # What is promised must come, or the connection breaks.
        raise RuntimeError(f"{length} bytes are missing at the end")
