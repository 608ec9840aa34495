"""Conditional requests and ranges of bytes (RFC 9110, 13 and 14) for a representation in bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from werkzeug.exceptions import RequestedRangeNotSatisfiable
from werkzeug.wrappers import Request

from evolvex_api.core.refusals import ApiError

# One range; several, which the service is free to ignore, do not match.
_RANGE = re.compile(r"bytes\s*=\s*([0-9]{0,18})-([0-9]{0,18})\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Selection:
    """What is to be sent: 200 all, 206 the bytes from `start` to before `stop`, or 304 nothing."""

    status: int
    start: int
    stop: int


def select(request: Request, length: int, etag: str | None, modified: datetime | None) -> Selection:
    """What a request wants of `length` bytes with these validators, None where there is none.

    `etag` is strong, without its quotes. Raises ApiError(412) when a precondition fails, and
    RequestedRangeNotSatisfiable.
    """
    _check_preconditions(request, etag, modified)
    if _is_known(request, etag, modified):
        return Selection(304, 0, 0)
    # RFC 9110, 14.2: a range is defined for GET alone.
    if request.method == "GET" and _range_applies(request, etag, modified):
        asked = parse(request.headers.get("Range", ""), length)
        if asked is not None:
            return Selection(206, *asked)
    return Selection(200, 0, length)


def parse(header: str, length: int) -> tuple[int, int] | None:
    """The range of a header as (start, stop); None when it is to be ignored.

    Raises RequestedRangeNotSatisfiable for a range that begins after the end, or is empty.
    """
    match = _RANGE.fullmatch(header.strip())
    if not match or not (match[1] or match[2]):
        return None
    if not match[1]:
        suffix = int(match[2])
        if suffix == 0 or length == 0:
            raise RequestedRangeNotSatisfiable(length)
        return max(0, length - suffix), length
    start, last = int(match[1]), int(match[2] or length)
    if match[2] and last < start:
        return None
    if start >= length:
        raise RequestedRangeNotSatisfiable(length)
    return start, min(last + 1, length)


def _check_preconditions(request: Request, etag: str | None, modified: datetime | None) -> None:
    """Raise ApiError(412) when the client wants what has changed (RFC 9110, 13.1.1 and 13.1.4)."""
    if request.headers.get("If-Match", "").strip():
        # Compared strongly: a weak one never matches.
        given = request.if_match
        failed = not given.star_tag and (etag is None or etag not in given)
    else:
        since = request.if_unmodified_since
        failed = since is not None and modified is not None and modified > since
    if failed:
        raise ApiError(412, "precondition_failed", "The recording is another one by now.")


def _is_known(request: Request, etag: str | None, modified: datetime | None) -> bool:
    """True when the client has it already (RFC 9110, 13.1.2 and 13.1.3)."""
    if etag is None or modified is None:
        return False
    if request.headers.get("If-None-Match", "").strip():
        return request.if_none_match.contains_weak(etag)
    since = request.if_modified_since
    return since is not None and modified <= since


def _range_applies(request: Request, etag: str | None, modified: datetime | None) -> bool:
    """True when no If-Range forbids a range (RFC 9110, 13.1.5)."""
    condition = request.headers.get("If-Range", "").strip()
    if not condition:
        return True
    if condition.startswith(("W/", '"')):
        # The very text: a weak one never matches.
        return etag is not None and condition == f'"{etag}"'
    return modified is not None and request.if_range.date == modified
