"""GET rights: what the key's group may do, so that a client shows only what will work."""

from __future__ import annotations

from flask import Blueprint, Response

from evolvex_api.api.common import authorise, json_answer
from evolvex_api.params import Params

blueprint = Blueprint("rights", __name__)


@blueprint.get("/rights")
def rights() -> Response:
    """The user's name, the rights of its group and the contexts granted (`*`: every one)."""
    caller = authorise(Params(), None)
    return json_answer(
        {
            "name": caller.user.name,
            "rights": sorted(caller.group.rights),
            "contexts": sorted(access.name for access in caller.group.accesses),
        }
    )
