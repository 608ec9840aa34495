"""Small files that are replaced whole: nobody ever reads half of one."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from evolvex_api.config import ConfigError


def replace_file(
    path: Path, text: str, check: Callable[[Path], object] = lambda written: None
) -> None:
    """Write a file atomically, readable by its folder's group alone (the service's).

    `check` is given the new file before it takes its place; what it raises leaves the old one.
    Raises ConfigError when the file can't be written.
    """
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            check(Path(temporary))
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
