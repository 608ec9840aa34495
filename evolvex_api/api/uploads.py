"""POST uploads: audio that the dialplan can play."""

from __future__ import annotations

from dataclasses import asdict
from typing import BinaryIO, cast

from flask import Blueprint, Response, request

from evolvex_api import journal
from evolvex_api.api.common import authorise, json_answer, services
from evolvex_api.backends.failures import StorageUnavailable
from evolvex_api.core.refusals import ApiError
from evolvex_api.params import Params

blueprint = Blueprint("uploads", __name__)


@blueprint.post("/uploads")
def uploads() -> Response:
    """Store the file of a multipart form; answers with what Playback() takes."""
    try:
        authorise(Params(), "uploads")
        upload = request.files.get("file")
    except OSError as error:  # the body is kept in a temporary file while it is read
        raise StorageUnavailable("The file can't be taken in.") from error
    if upload is None:
        raise ApiError(400, "missing_parameter", "file is required.", parameter="file")
    sound = services().sounds.store(cast(BinaryIO, upload.stream), upload.filename or "")
    journal.touch(sound=sound.uuid, size=sound.size)
    return json_answer(asdict(sound))
