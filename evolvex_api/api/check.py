"""GET check: who the key belongs to, and what it opens."""

from __future__ import annotations

from flask import Blueprint, Response

from evolvex_api.api import hearing
from evolvex_api.api.common import Caller, authorise, json_answer
from evolvex_api.core.access import Access
from evolvex_api.params import Params

blueprint = Blueprint("check", __name__)


@blueprint.get("/check")
def check() -> Response:
    """The API user, its access to the asked context, and whether the asked recording exists."""
    params = Params()
    caller = authorise(params, "check")
    context = params.optional("context")
    uniqueid = hearing.optional_uniqueid(params)
    return json_answer(
        {
            "api_user": _api_user(caller),
            "access": _access(caller.group.access_to(context) if context else None),
            "file": hearing.exists(caller.scope, uniqueid) if uniqueid else None,
        }
    )


def _api_user(caller: Caller) -> dict[str, str]:
    user = caller.user
    return {
        "uuid": user.uuid,
        "name": user.name,
        "description": user.description,
        "enable": "yes" if user.enabled else "no",
        "api_key": caller.api_key,
        "group_uuid": user.group_uuid,
    }


def _access(access: Access | None) -> dict[str, str] | None:
    if access is None:
        return None
    return {
        "uuid": access.uuid,
        "name": access.name,
        "description": access.description,
        "group_uuid": access.group_uuid,
    }
