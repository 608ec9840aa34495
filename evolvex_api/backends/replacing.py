"""Small files that are replaced whole: nobody ever reads half of one."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from evolvex_api.config import ConfigError


def replace_file(path: Path, text: str) -> None:
    """Write a file atomically, readable by its folder's group alone (the service's).

    Raises ConfigError.
    """
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o640)
            # The service belongs to the folder's group; only root can give the file to it.
            with contextlib.suppress(PermissionError):
                os.chown(temporary, -1, path.parent.stat().st_gid)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None
