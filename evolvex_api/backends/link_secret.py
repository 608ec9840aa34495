"""The secret that links to recordings are signed with: `link.secret` beside evolvex.conf.

Whoever replaces the file makes every link that was given out before invalid.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from evolvex_api.backends.failures import StorageUnavailable

_NAME = "link.secret"
_LEAST_BYTES = 16


def load(config_path: Path) -> bytes:
    """Return the secret; makes one where there is none yet and the folder may be written.

    Raises StorageUnavailable.
    """
    path = config_path.parent / _NAME
    with contextlib.suppress(OSError):
        create(config_path)
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise StorageUnavailable(
            "Links can't be signed: the service can't read link.secret beside evolvex.conf."
        ) from error
    if len(secret) < _LEAST_BYTES:
        raise StorageUnavailable("Links can't be signed: link.secret is too short.")
    return secret


def create(config_path: Path) -> None:
    """Make a random secret unless there is one, readable by the folder's group (the service's).

    Raises OSError.
    """
    path = config_path.parent / _NAME
    if path.exists():
        return
    temporary = path.with_name(f".{_NAME}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{secrets.token_hex(32)}\n")
        with contextlib.suppress(PermissionError):
            os.chown(temporary, -1, path.parent.stat().st_gid)
        # A link, not a rename: of two that make one at the same time, the first stays.
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(temporary)
    finally:
        temporary.unlink()
