"""get_log_cdr: the calls of a period, as the group may see them."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterable
from datetime import datetime, time, timedelta
from itertools import chain
from typing import TypeVar, get_args

from flask import Blueprint, Response

from evolvex_api import journal
from evolvex_api.api.common import Caller, authorise, json_text, services
from evolvex_api.backends.cdr.client import Page
from evolvex_api.core import cursor as cursors
from evolvex_api.core import uniqueid as uniqueids
from evolvex_api.core.calllog import FILTERS, Format, Position, Selection
from evolvex_api.core.refusals import invalid_parameter
from evolvex_api.params import Params

blueprint = Blueprint("cdr", __name__)

_T = TypeVar("_T", bound=str)

_FIRST = time(0, 0, 0)
_LAST = time(23, 59, 59)
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[ T]([0-9]{2}:[0-9]{2}:[0-9]{2}))?")
_ALL_TIME = (datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59))
_FORMATS: tuple[Format, ...] = get_args(Format)
_MOST_ROWS = 10_000
# A larger page is an export: until it has been sent, its memory is in use.
_SMALL_PAGE = 1000
_LONGEST_VALUE = 255
_FILES = {
    "csv": ("text/csv; charset=utf-8; header=present", "calls.csv"),
    "ndjson": ("application/x-ndjson; charset=utf-8", "calls.ndjson"),
}


@blueprint.route("/get_log_cdr", methods=["GET", "POST"])
def get_log_cdr() -> Response:
    """The rows that were asked for: all of them, streamed, or a page."""
    params = Params()
    caller = authorise(params, "cdr")
    form = one_of(params, "format", _FORMATS)
    limit = params.integer("limit", 1, _MOST_ROWS)
    asked, position, bound_to = _selection(params, caller)
    if limit is None and position:
        raise invalid_parameter("cursor", "cursor needs limit: the number of rows of a page.")
    with contextlib.ExitStack() as held:
        if limit is None or limit > _SMALL_PAGE:
            held.enter_context(services().exports.place(caller.user.uuid))
        if limit is None:
            response = _streamed(asked, form)
        else:
            page = services().cdr.page(asked, limit, position, form)
            response = _paged(page, form, lambda at: _cursor(at, asked, bound_to))
        response.call_on_close(held.pop_all().close)
    return response


def period(params: Params) -> tuple[datetime, datetime]:
    """The first and the last second asked for, in local time.

    With one of `start` and `end` it is the rest of that one's day, without both it is today.
    Raises ApiError(400, invalid_parameter).
    """
    start, end = _moment(params, "start", _FIRST), _moment(params, "end", _LAST)
    day = (start or end or datetime.now()).date()
    start = start or datetime.combine(day, _FIRST)
    end = end or datetime.combine(day, _LAST)
    if start > end:
        raise invalid_parameter("start", "start is later than end.")
    return start, end


def _selection(params: Params, caller: Caller) -> tuple[Selection, Position | None, list[str]]:
    """What is asked for, the position of the cursor, and what a cursor is bound to."""
    filters = {name: value for name in FILTERS if (value := _filter(params, name)) is not None}
    order = one_of(params, "order", ("asc", "desc"))
    given = [params.optional(name) or "" for name in ("start", "end")]
    bound_to = [caller.group.uuid, order, *given, json.dumps(filters)]
    cursor = params.optional("cursor")
    if cursor is None:
        ids = [filters[name] for name in ("uniqueid", "linkedid") if name in filters]
        around = ids and not any(given)
        position, (start, end) = None, _days_around(ids) if around else period(params)
    else:
        # The cursor's own period: without start and end, "today" may have become another day.
        position, start, end = cursors.decode(cursor, bound_to)
    asked = Selection(start, end, caller.scope, filters, descending=order == "desc")
    return asked, position, bound_to


def _filter(params: Params, name: str) -> str | None:
    value = params.optional(name)
    if value is not None and len(value) > _LONGEST_VALUE:
        raise invalid_parameter(name, f"{name} has at most {_LONGEST_VALUE} characters.")
    return value


def one_of(params: Params, name: str, values: tuple[_T, ...]) -> _T:
    """One of the values of a parameter; the first one when it is not given."""
    given = params.optional(name)
    found = next((value for value in values if given is None or value == given), None)
    if found is None:
        raise invalid_parameter(name, f"{name} is one of {', '.join(values)}.")
    return found


def _days_around(ids: list[str]) -> tuple[datetime, datetime]:
    """The days around the times in ids; all time when they have none."""
    created = [moment for moment in map(uniqueids.created, ids) if moment is not None]
    if not created:
        return _ALL_TIME
    first, last = (datetime.fromtimestamp(found(created)).date() for found in (min, max))
    return (
        datetime.combine(first - timedelta(days=1), _FIRST),
        datetime.combine(last + timedelta(days=2), _LAST),
    )


def _cursor(position: Position, asked: Selection, bound_to: list[str]) -> str:
    return cursors.encode(position, asked.start, asked.end, bound_to)


def _paged(page: Page, form: Format, cursor: Callable[[Position], str]) -> Response:
    journal.touch(rows=page.count)
    if form != "json":
        return _file([page.body], form)
    following = page.following and cursor(page.following)
    ending = b',"next":' + json.dumps(following).encode() + b"}"
    return json_text(b'{"data":' + page.body + ending)


def _streamed(asked: Selection, form: Format) -> Response:
    rows = services().cdr.export(asked, form)
    entry = journal.entry()

    def ended() -> None:
        rows.close()
        entry.touched["rows"] = str(rows.count)

    response = (
        json_text(chain((b'{"data":',), rows, (b"}",))) if form == "json" else _file(rows, form)
    )
    response.call_on_close(ended)
    return response


def _file(body: Iterable[bytes], form: Format) -> Response:
    content_type, name = _FILES[form]
    response = Response(body, content_type=content_type)
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["Cache-Control"] = "no-store"
    return response


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
