"""get_log_cdr: the calls of a period, as the group may see them."""

from __future__ import annotations

import re
from datetime import datetime, time
from itertools import chain

from flask import Blueprint, Response

from evolvex_api import journal
from evolvex_api.api.common import authorise, json_text, services
from evolvex_api.core.refusals import invalid_parameter
from evolvex_api.params import Params

blueprint = Blueprint("cdr", __name__)

_FIRST = time(0, 0, 0)
_LAST = time(23, 59, 59)
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[ T]([0-9]{2}:[0-9]{2}:[0-9]{2}))?")


@blueprint.route("/get_log_cdr", methods=["GET", "POST"])
def get_log_cdr() -> Response:
    """The rows from `start` to `end`, both included; streamed."""
    params = Params()
    caller = authorise(params, "cdr")
    start, end = period(params)
    rows = services().cdr.rows(start, end, caller.scope)
    entry = journal.entry()

    def ended() -> None:
        rows.close()
        entry.touched["rows"] = str(rows.count)

    response = json_text(chain((b'{"data":',), rows, (b"}",)))
    response.call_on_close(ended)
    return response


def period(params: Params) -> tuple[datetime, datetime]:
    """The first and the last second asked for, in local time.

    Without both it is today; with one of them, the rest of that one's day.
    Raises ApiError(400, invalid_parameter).
    """
    start, end = _moment(params, "start", _FIRST), _moment(params, "end", _LAST)
    day = (start or end or datetime.now()).date()
    start = start or datetime.combine(day, _FIRST)
    end = end or datetime.combine(day, _LAST)
    if start > end:
        raise invalid_parameter("start", "start is later than end.")
    return start, end


def _moment(params: Params, name: str, time_of_day: time) -> datetime | None:
    """A date with a time, or a date that stands for the given time of that day."""
    text = params.optional(name)
    if text is None:
        return None
    match = _MOMENT.fullmatch(text)
    try:
        if match and match[1]:
            return datetime.strptime(text.replace("T", " "), "%Y-%m-%d %H:%M:%S")
        if match:
            return datetime.combine(datetime.strptime(text, "%Y-%m-%d"), time_of_day)
    except ValueError:
        pass
    raise invalid_parameter(name, f"{name} must be YYYY-MM-DD HH:MM:SS or YYYY-MM-DD.")
