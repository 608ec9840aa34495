"""Which group may hear which call.

A call is all rows that share a linkedid. A group hears its recording when it may see one of the
rows; while the call lives and has no row yet, when it may see one of its channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from evolvex_api.core.access import Scope


class Row(Protocol):
    """What the rule needs of a CDR row; "" for what the table does not have."""

    @property
    def dcontext(self) -> str: ...
    @property
    def group_uuid(self) -> str: ...


def may_hear(
    scope: Scope,
    rows: Callable[[], Iterable[Row]],
    channels: Callable[[], Iterable[Mapping[str, str]]],
) -> bool:
    """True when a group may hear a call.

    Given the group's scope and ways to ask for the call's CDR rows and live channels (headers of
    AMI's event Status). Neither is asked under a scope of all contexts. Channels are asked whenever
    no row opens the call, also when rows forbid it: what is answered, and after how much work, must
    not show whether there is such a call. Raises what `rows` and `channels` raise.
    """
    if scope.open:
        return True
    has_rows = False
    for row in rows():
        has_rows = True
        if scope.allows(row.dcontext) or row.group_uuid == scope.group_uuid:
            return True
    is_live = any(scope.allows(channel.get("Context")) for channel in channels())
    return is_live and not has_rows
