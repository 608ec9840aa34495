"""GET get_file_mp3 and get_file_wav: the recording of a call as a stream."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import quote

from flask import Blueprint, Response, request
from werkzeug.wsgi import wrap_file

from evolvex_api import journal
from evolvex_api.api import hearing, ranges
from evolvex_api.api.common import services
from evolvex_api.api.listeners import listening_group
from evolvex_api.api.waiting import client_gone
from evolvex_api.backends.audio.growing import Listener
from evolvex_api.backends.audio.transcoder import Audio, Stream
from evolvex_api.backends.recordings import Recording
from evolvex_api.core.refusals import ApiError
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


def _asked_recording() -> tuple[str, Recording]:
    params = Params()
    group = listening_group(params)
    uniqueid = hearing.required_uniqueid(params)
    journal.touch(uniqueid=uniqueid)
    return uniqueid, hearing.find(group.scope, uniqueid)


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
        if not recording.below_root:
            return None  # nginx knows the root alone
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
        if isinstance(audio.stream, Listener):
            audio.stream.client_gone = functools.partial(client_gone, request.environ)
        first = _first(audio.stream, min(_CHUNK, length))
        response.response = _chunks(audio.stream, first, length)
        response.call_on_close(audio.stream.close)


def _first(stream: Stream, size: int) -> bytes:
    try:
        return stream.read(size)
    except BrokenPipeError as error:
        # Nobody reads this answer.
        raise ApiError(400, "bad_request", "The client left before it was answered.") from error


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
