"""The service's user in Asterisk's group, by which it reads recordings.

The package joins them when the group is there; Asterisk may have been installed after it.
"""

from __future__ import annotations

import grp

from evolvex_api.setup.changes import Changes
from evolvex_api.setup.record import Record
from evolvex_api.setup.steps.base import PBX_GROUP, SERVICE_USER, pbx_group_id


class Membership:
    """Puts the service's user into the group."""

    name = "group"

    def plan(self) -> list[str]:
        pbx_group_id()
        if _is_member():
            return []
        return [f"user {SERVICE_USER} into group {PBX_GROUP}, to read recordings"]

    def apply(self, changes: Changes) -> None:
        leave = ("gpasswd", "--delete", SERVICE_USER, PBX_GROUP)
        changes.run("gpasswd", "--add", SERVICE_USER, PBX_GROUP, undo=leave)

    def records(self) -> list[Record]:
        """None: the package's purge takes the membership away, whoever made it."""
        return []


def _is_member() -> bool:
    return SERVICE_USER in grp.getgrnam(PBX_GROUP).gr_mem
