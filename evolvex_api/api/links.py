"""GET link: addresses of a recording that play without a key, and who may use such a one."""

from __future__ import annotations

import time
from datetime import datetime

from flask import Blueprint, Response, request

from evolvex_api import journal
from evolvex_api.api import hearing
from evolvex_api.api.common import authorise, json_answer, services
from evolvex_api.backends import link_secret
from evolvex_api.backends.failures import RecordingNotFound
from evolvex_api.backends.recordings import NOT_FOUND
from evolvex_api.core import links
from evolvex_api.front import behind_web_server
from evolvex_api.params import Params

blueprint = Blueprint("links", __name__)


@blueprint.get("/link")
def link() -> Response:
    """Addresses of a recording for a player or a CRM, good for `ttl` seconds."""
    params = Params()
    caller = authorise(params, "recordings")
    uniqueid = hearing.required_uniqueid(params)
    ttl = params.integer("ttl", 1, links.LONGEST_TTL) or links.DEFAULT_TTL
    journal.touch(uniqueid=uniqueid)
    if not hearing.exists(caller.scope, uniqueid):
        raise RecordingNotFound(NOT_FOUND)
    expires = int(time.time()) + ttl
    secret = link_secret.load(services().config.path)
    query = links.Link(uniqueid, caller.group.uuid, str(expires)).query(secret)
    base = links.base_of(_origin(), request.path.rpartition("/")[0])
    return json_answer(
        {
            "mp3": f"{base}/get_file_mp3?{query}",
            "wav": f"{base}/get_file_wav?{query}",
            "expires": datetime.fromtimestamp(expires).astimezone().isoformat(),
        }
    )


def _origin() -> str:
    """Where clients reach the API: as configured, else as the own web server says."""
    settings = services().config.server
    if settings.public_url:
        return settings.public_url
    scheme = (
        request.headers.get("X-Forwarded-Proto", "") if behind_web_server(request.environ) else ""
    )
    return f"{scheme if scheme in ('http', 'https') else 'http'}://{request.host}"
