"""Running other programs."""

from __future__ import annotations

import os
import pwd
import subprocess
from typing import Any

from evolvex_api.setup import SetupError


def run(*command: str, stdin: str = "", user: str = "") -> str:
    """Run a command, as another user if one is named, and return its standard output.

    Raises SetupError when it fails, or there is no such user. The error has the command's last
    three lines, which never hold a secret: none is an argument.
    """
    try:
        identity = _identity(user) if user else {}
        done: subprocess.CompletedProcess[str] = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=600,
            **identity,
        )
    except FileNotFoundError:
        raise SetupError(f"{command[0]}: is not installed") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SetupError(f"{' '.join(command)}: {error}") from None
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip()).splitlines()[-3:]
        raise SetupError(f"{' '.join(command)} failed: {' / '.join(words)}")
    return done.stdout


def _identity(user: str) -> dict[str, Any]:
    try:
        found = pwd.getpwnam(user)
    except KeyError:
        raise SetupError(f"there is no user {user}") from None
    groups = os.getgrouplist(user, found.pw_gid)
    return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": groups}


def succeeds(*command: str, user: str = "") -> bool:
    """Whether a command can be run and ends with exit code 0."""
    try:
        run(*command, user=user)
    except SetupError:
        return False
    return True
