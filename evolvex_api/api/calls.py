"""GET status and originate: who is talking, and click-to-call."""

from __future__ import annotations

from flask import Blueprint, Response, request

from evolvex_api import journal
from evolvex_api.api.common import authorise, json_answer, json_text, services
from evolvex_api.backends.ami.status import FILTERS
from evolvex_api.core.dialling import read_call
from evolvex_api.params import Params

blueprint = Blueprint("calls", __name__)


@blueprint.get("/status")
def status() -> Response:
    """The live channels that the caller's group may see."""
    params = Params()
    caller = authorise(params, "status")
    asked = {name: params.optional(name) for name in FILTERS}
    filters = {name: value for name, value in asked.items() if value is not None}
    return json_text(services().ami.status().json(caller.scope, filters))


@blueprint.get("/originate")
def originate() -> Response:
    """Make a call; HEAD only says whether it would be tried, as HEAD must change nothing."""
    params = Params()
    caller = authorise(params, "originate")
    call = read_call(params, services().config.originate, caller.scope)
    wait = not params.flag("async")
    if request.method == "HEAD":
        return json_answer({})
    journal.touch(channel=call.channel, exten=call.exten, call=call.uniqueid)
    return json_answer(services().ami.originate(call, wait))
