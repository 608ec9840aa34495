"""GET status and originate: who is talking, and click-to-call."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote

from flask import Blueprint, Response, request

from evolvex_api import journal
from evolvex_api.api.common import authorise, json_answer, json_text, services
from evolvex_api.api.waiting import client_gone
from evolvex_api.backends.ami.client import ClientGone
from evolvex_api.backends.ami.status import FILTERS
from evolvex_api.backends.call_counts import Flight
from evolvex_api.core.dialling import Call, read_call
from evolvex_api.core.limits import check_hours, limits_of
from evolvex_api.core.refusals import ApiError
from evolvex_api.params import Params

blueprint = Blueprint("calls", __name__)

# Characters of channels and numbers that stand in the journal as they are.
_PLAIN = "/@*#+_.-:;"


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
    settings = services().config.originate
    journal.touch(**_named(params))
    call = read_call(params, settings, caller.group)
    rules = caller.group.rules.calls
    check_hours(rules, datetime.now(UTC))
    limits = limits_of(rules, settings)
    wait = not params.flag("async")
    ami, counts = services().ami, services().call_counts
    if request.method == "HEAD":
        counts.check(caller.group.uuid, limits, call.numbers)
        return json_answer({})
    journal.touch(call=call.uniqueid)
    with contextlib.ExitStack() as held:
        if wait:
            held.enter_context(services().waiting.place(caller.user.uuid))
        admitted = counts.admitted(caller.group.uuid, limits, call.uniqueid, call.numbers)
        flight = held.enter_context(admitted)
        outcome = _await_outcome(call, flight) if wait else ami.originate(call, wait=False)
        _report(flight, outcome, wait)
    return json_answer(outcome)


def _await_outcome(call: Call, flight: Flight) -> dict[str, str]:
    environ = request.environ
    try:
        return services().ami.originate(call, wait=True, gone=lambda: client_gone(environ))
    except ClientGone:
        flight.sent()
        journal.touch(client="gone")
        # Nobody reads this; it ends the request.
        raise ApiError(400, "bad_request", "The client left before the outcome.") from None


def _named(params: Params) -> dict[str, str]:
    """What the journal says of a call, so that a refused one is found there too."""
    given = {name: params.optional(name) for name in ("channel", "exten")}
    return {name: quote(text[:200], safe=_PLAIN) for name, text in given.items() if text}


def _report(flight: Flight, outcome: Mapping[str, str], wait: bool) -> None:
    if not wait:
        flight.sent()
    elif outcome["Response"] == "Success":
        flight.answered()
    else:
        flight.ended()
