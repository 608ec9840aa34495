"""uploads: audio that the dialplan can play, stored, listed and removed."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

from flask import Blueprint, Response

from evolvex_api import journal
from evolvex_api.api.common import authorise, json_answer, services
from evolvex_api.backends.failures import StorageUnavailable
from evolvex_api.backends.sounds import Owner
from evolvex_api.params import Params

blueprint = Blueprint("uploads", __name__)


@blueprint.post("/uploads")
def store() -> Response:
    """Store the file of a multipart form; answers with what Playback() takes."""
    params = Params(file_limit=services().config.uploads.max_size)
    group = authorise(params, "uploads").group
    try:
        upload = params.file("file")
    except OSError as error:  # a large body is kept in a temporary file while it is read
        raise StorageUnavailable("The file can't be taken in.") from error
    owner = Owner(group.uuid, group.rules.uploads.quota)
    sound = services().sounds.store(upload.stream, upload.filename, owner)
    journal.touch(sound=sound.uuid, size=sound.size)
    return json_answer(asdict(sound))


@blueprint.get("/uploads")
def list_() -> Response:
    """The sounds of the caller's group, oldest first."""
    group = authorise(Params(), "uploads").group
    found = services().sounds.list(group.uuid)
    return json_answer([{**asdict(one.sound), "created": _iso(one.created)} for one in found])


@blueprint.delete("/uploads")
def remove() -> Response:
    """Remove one of the group's sounds; answers with what it was."""
    params = Params()
    group = authorise(params, "uploads").group
    sound = services().sounds.remove(params.required("uuid"), group.uuid)
    journal.touch(sound=sound.uuid)
    return json_answer(asdict(sound))


def _iso(moment: float) -> str:
    """Seconds since the epoch as local time in ISO 8601, with its zone."""
    return datetime.fromtimestamp(moment).astimezone().isoformat(timespec="seconds")
