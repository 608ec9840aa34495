"""What a step is, and the names that several steps share."""

from __future__ import annotations

import grp
import time
from collections.abc import Callable
from typing import Protocol

from evolvex_api.setup import SetupError
from evolvex_api.setup.changes import Changes
from evolvex_api.setup.record import Record

SERVICE_USER = "evolvex"
PBX_GROUP = "asterisk"
WEB_USER = "www-data"
SERVICE = "evolvex-api.service"
EVENTS_SERVICE = "evolvex-api-events.service"

# (section, key) of evolvex.conf → the value's text.
Settings = dict[tuple[str, str], str]


class Step(Protocol):
    """One thing to do."""

    name: str

    def plan(self) -> list[str]:
        """What is to be done, a line each; empty when it is done already. Raises SetupError."""

    def apply(self, changes: Changes) -> None:
        """Do it and prove its effect; raises SetupError."""

    def records(self) -> list[Record]:
        """What `setup --remove` has to undo, once this step has been applied."""


def proven(check: Callable[[], str], seconds: float = 10) -> None:
    """Return when `check` returns '', which must come within some seconds.

    Otherwise raises SetupError with the last text that `check` returned: what is wrong.
    """
    deadline = time.monotonic() + seconds
    while fault := check():
        if time.monotonic() > deadline:
            raise SetupError(fault)
        time.sleep(0.2)


def pbx_group_id() -> int:
    """The id of Asterisk's group; SetupError when there is none."""
    try:
        return grp.getgrnam(PBX_GROUP).gr_gid
    except KeyError:
        raise SetupError(f"there is no group {PBX_GROUP}; Asterisk must run as one") from None
