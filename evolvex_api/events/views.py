"""GET calls and GET events: live calls as a list, and as server-sent events (WHATWG HTML, 9.2)."""

from __future__ import annotations

import json
import queue
import socket
import time
from collections.abc import Iterator
from typing import Any

from flask import Blueprint, Response, current_app, request

from evolvex_api import journal
from evolvex_api.api.common import authorise, json_text
from evolvex_api.backends.failures import PbxUnavailable
from evolvex_api.core import uniqueid as uniqueids
from evolvex_api.core.refusals import ApiError, invalid_parameter
from evolvex_api.events import envelope
from evolvex_api.events.engine import Engine
from evolvex_api.events.envelope import RESET
from evolvex_api.events.hub import COMMENT_SECONDS, Stream, frame
from evolvex_api.events.webhooks import types_of
from evolvex_api.params import Params

blueprint = Blueprint("live", __name__)

ENGINE = "evolvex_engine"
_RETRY_MILLISECONDS = 3000
# A client that takes nothing for so long is left.
_SEND_SECONDS = 60.0
_MOST_TOGETHER = 64
_HEADERS = (
    ("Content-Type", "text/event-stream; charset=utf-8"),
    ("Cache-Control", "no-store"),
    ("X-Accel-Buffering", "no"),
)


@blueprint.get("/calls")
def calls() -> Response:
    """The live calls that the group may see, or one call, which may have ended."""
    params = Params()
    caller = authorise(params, "events")
    engine, group = _engine(), caller.group
    asked = params.optional("uniqueid")
    if asked is not None:
        call = engine.call(_leg("uniqueid", asked), group.scope)
        if call is None:
            raise ApiError(404, "call_not_found", "There is no call with this id, or not any more.")
        found, last = [call], engine.keeper.id_of(engine.hub.last)
    else:
        snapshot = engine.live(group.scope)
        if snapshot is None:
            raise PbxUnavailable("The PBX does not answer, so the live calls are not known.")
        found, last = snapshot.calls, snapshot.event_id
    data = [engine.with_links(call, group) for call in found]
    return json_text(json.dumps({"data": data, "last_event_id": last}, ensure_ascii=False))


@blueprint.get("/events")
def events() -> Response:
    """What happens to the calls that the group may see, for as long as the client stays."""
    params = Params()
    caller = authorise(params, "events")
    linkedid = params.optional("linkedid")
    stream = Stream(
        caller.user,
        caller.group,
        _types(params.optional("types")),
        linkedid and _leg("linkedid", linkedid),
    )
    # A browser that connects again sends the header, and the address with which it began.
    given = params.optional("last_event_id")
    last_id = request.headers.get("Last-Event-ID") or given
    if request.method == "HEAD":
        return Response(headers=_HEADERS)
    engine = _engine()
    sock = request.environ.get("gunicorn.socket")
    if isinstance(sock, socket.socket):
        sock.settimeout(_SEND_SECONDS)
        stream.sock = sock
    start = engine.hub.open(stream)
    journal.touch(stream="open")
    response = Response(_frames(engine, stream, start, last_id), headers=_HEADERS)
    response.call_on_close(lambda: engine.hub.leave(stream))
    return response


def _engine() -> Engine:
    found: Engine = current_app.extensions[ENGINE]
    return found


def _types(given: str | None) -> frozenset[str]:
    try:
        return types_of(given or "")
    except ValueError as error:
        raise invalid_parameter("types", f"types: {error}.") from None


def _leg(name: str, value: str) -> str:
    if not uniqueids.is_valid(value):
        raise invalid_parameter(name, f"{name} is not the id of a channel.")
    return value


def _frames(engine: Engine, stream: Stream, start: int, last_id: str | None) -> Iterator[bytes]:
    """The stream's bytes: what was missed since `last_id`, then what happens after `start`."""
    yield f"retry: {_RETRY_MILLISECONDS}\n\n".encode()
    if last_id:
        yield from _missed(engine, stream, start, last_id)
    while True:
        try:
            piece = stream.waiting.get(timeout=COMMENT_SECONDS)
            pieces = [piece, *_more(stream)]
        except queue.Empty:
            yield b":\n\n"
            continue
        ready = [piece for piece in pieces if piece is not None]
        if ready:
            yield b"".join(ready)
        if len(ready) < len(pieces):
            return


def _more(stream: Stream) -> Iterator[bytes | None]:
    """What waits already, so that it is sent together."""
    for _ in range(_MOST_TOGETHER):
        try:
            yield stream.waiting.get_nowait()
        except queue.Empty:
            return


def _missed(engine: Engine, stream: Stream, start: int, last_id: str) -> Iterator[bytes]:
    replayed = engine.keeper.replayed(last_id, start)
    if replayed is None:
        yield _reset(engine, stream, start)
        return
    for event in replayed:
        if stream.wants(event):
            yield frame(event, engine.hub.body_for(event, stream.group))


def _reset(engine: Engine, stream: Stream, start: int) -> bytes:
    """Says that events are missing, with the calls that live now."""
    snapshot = engine.live(stream.group.scope)
    data: list[Any] = [
        engine.with_links(call, stream.group) for call in (snapshot.calls if snapshot else ())
    ]
    event_id = engine.keeper.id_of(start)
    body = envelope.reset(event_id, time.time(), data, {})
    return f"id: {event_id}\nevent: {RESET}\ndata: {body}\n\n".encode()
