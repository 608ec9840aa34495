"""Whose rights a command runs with."""

from __future__ import annotations

import os
import pwd
from pathlib import Path


def become_owner(directory: Path) -> None:
    """Run the rest as the owner of a folder when root runs the command.

    Files that root made in the service's folder would shut the service out.
    """
    if os.geteuid() != 0:
        return
    try:
        owner = directory.stat().st_uid
        user = pwd.getpwuid(owner)
    except (OSError, KeyError):
        return
    if owner != 0:
        os.setgroups(os.getgrouplist(user.pw_name, user.pw_gid))
        os.setgid(user.pw_gid)
        os.setuid(owner)
