"""stats: how many calls, answered and missed, by hour, day, weekday, agent or queue."""

from __future__ import annotations

from datetime import timedelta

from flask import Blueprint, Response

from evolvex_api import journal
from evolvex_api.api.cdr import one_of, period
from evolvex_api.api.common import authorise, json_answer, services
from evolvex_api.core.refusals import invalid_parameter
from evolvex_api.core.stats import BY, MOST_DAYS, Question, buckets
from evolvex_api.params import Params

blueprint = Blueprint("stats", __name__)


@blueprint.get("/stats")
def stats() -> Response:
    """The figures of a period's calls, as far as the group may see their rows."""
    params = Params()
    caller = authorise(params, "stats")
    start, end = period(params)
    if end - start > timedelta(days=MOST_DAYS):
        raise invalid_parameter("start", f"start and end are at most {MOST_DAYS} days apart.")
    by = one_of(params, "by", BY)
    events = services().config.events
    question = Question(
        start, end, caller.scope, by, events.inbound_contexts, events.internal_numbers
    )
    with services().stats_places.place(caller.user.uuid):
        data = buckets(services().cdr.stats(question), question)
    journal.touch(buckets=len(data))
    return json_answer(data)
