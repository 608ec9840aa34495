"""The opaque cursor of a page of the call log.

A cursor is base64url of JSON: a checksum, the period, the position. The checksum also covers the
group, the filters and the order, so a cursor that is used with others is recognised. It is no
signature: whoever makes a cursor up reads from another place of the same rows, which the group's
scope limits as before.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from datetime import datetime
from typing import Any

from evolvex_api.core.calllog import Position
from evolvex_api.core.refusals import invalid_parameter

_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?")
_RANK = re.compile(r"[0-9-]{20}[0-9a-f]{32}")
_MOST_SEEN = 100_000
_LONGEST = 400


def encode(position: Position, start: datetime, end: datetime, bound_to: list[str]) -> str:
    """The cursor of the rows that follow a position.

    Given the position, the period, and whatever else the cursor is valid for.
    """
    where = [start.isoformat(), end.isoformat(), position.time, position.rank, position.seen]
    text = json.dumps([_checksum(where, bound_to), *where], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode(cursor: str, bound_to: list[str]) -> tuple[Position, datetime, datetime]:
    """The position and the period of a cursor.

    Raises ApiError(400, invalid_parameter) when it is not one, or was made for something else.
    """
    try:
        start, end, time, rank, seen = _fields(cursor, bound_to)
        period = datetime.fromisoformat(start), datetime.fromisoformat(end)
        valid = _MOMENT.fullmatch(time) and datetime.fromisoformat(time) and _RANK.fullmatch(rank)
        if valid and type(seen) is int and 0 < seen <= _MOST_SEEN and period[0] <= period[1]:
            return Position(time, rank, seen), *period
    except (ValueError, TypeError):
        pass
    raise invalid_parameter(
        "cursor",
        "cursor is not one that this service gave for the same user group, period, filters and"
        " order. Take the last answer's `next`, or leave cursor out to begin anew.",
    )


def _fields(cursor: str, bound_to: list[str]) -> list[Any]:
    """The fields of a cursor behind its checksum; ValueError when they do not fit."""
    if len(cursor) > _LONGEST:
        raise ValueError("too long")
    try:
        decoded = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("no base64") from error
    found = json.loads(decoded)
    if not isinstance(found, list) or found[:1] != [_checksum(found[1:], bound_to)]:
        raise ValueError("not made for this")
    return found[1:]


def _checksum(where: list[Any], bound_to: list[str]) -> str:
    return hashlib.sha256(json.dumps([where, bound_to]).encode()).hexdigest()[:24]
