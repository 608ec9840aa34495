"""POST uploads: audio that the dialplan can play."""

from __future__ import annotations

from dataclasses import asdict

from flask import Blueprint, Response

from evolvex_api import journal
from evolvex_api.api.common import authorise, json_answer, services
from evolvex_api.backends.failures import StorageUnavailable
from evolvex_api.params import Params

blueprint = Blueprint("uploads", __name__)


@blueprint.post("/uploads")
def uploads() -> Response:
    """Store the file of a multipart form; answers with what Playback() takes."""
    params = Params(file_limit=services().config.uploads.max_size)
    authorise(params, "uploads")
    try:
        upload = params.file("file")
    except OSError as error:  # a large body is kept in a temporary file while it is read
        raise StorageUnavailable("The file can't be taken in.") from error
    sound = services().sounds.store(upload.stream, upload.filename)
    journal.touch(sound=sound.uuid, size=sound.size)
    return json_answer(asdict(sound))
