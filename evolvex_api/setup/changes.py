"""Every change that setup makes on the host, and the way back when a later one fails."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from evolvex_api.setup import SetupError, commands, files
from evolvex_api.setup.blocks import with_block

log = logging.getLogger(__name__)


class Changes:
    """Makes changes one by one and remembers how to take each back.

    Ends with either `keep` or `roll_back`.
    """

    def __init__(self) -> None:
        self._way_back: list[Callable[[], object]] = []
        self._when_kept: list[Callable[[], object]] = []

    def on_rollback(self, undo: Callable[[], object]) -> None:
        """Remember how the change that was just made, or is being made, is taken back."""
        self._way_back.append(undo)

    def on_keep(self, finish: Callable[[], object]) -> None:
        """Remember what is to be cleaned up once nothing can fail any more."""
        self._when_kept.append(finish)

    def roll_back(self) -> list[str]:
        """Take everything back, the last change first; returns what could not be taken back."""
        self._when_kept.clear()
        failures = []
        while self._way_back:
            try:
                self._way_back.pop()()
            except Exception as error:  # noqa: BLE001  # one that fails must not stop the others
                failures.append(str(error) or repr(error))
        return failures

    def keep(self) -> None:
        """Make the changes final; what could not be cleaned up is only logged."""
        self._way_back.clear()
        while self._when_kept:
            try:
                self._when_kept.pop()()
            except OSError as error:
                log.warning("a leftover of setup stays: %s", error)

    def write(self, path: Path, content: str | None, owner: tuple[int, int] | None = None) -> None:
        """Replace a file atomically, keeping owner and mode; None removes it.

        A new file gets `owner` (uid, gid), or else its folder's, and the mode 0640. Raises
        SetupError.
        """
        path = files.resolved(path)
        try:
            like = files.read(path)
            if owner is None:
                with files.opened_folder(path.parent) as folder:
                    found = os.fstat(folder)
                owner = (found.st_uid, found.st_gid)
            data = None if content is None else content.encode("utf-8", "surrogateescape")
            self.replaced(files.replace(path, data, like, owner))
        except OSError as error:
            raise SetupError(f"{path}: {error.strerror}") from None

    def replaced(self, replaced: files.Replaced) -> None:
        """Take charge of a name that now means something else."""
        self.on_rollback(replaced.take_back)
        self.on_keep(replaced.keep)

    def put_block(self, path: Path, block: str, owner: tuple[int, int] | None = None) -> None:
        """Make `block` (as marked_block() returns it) the marked block of a file."""
        self.write(path, with_block(text(path), block), owner)

    def remove_block(self, path: Path, drop_empty: bool = False) -> None:
        """Take the marked block out of a file; with `drop_empty` one with nothing else goes.

        A file that others include must stay: without manager_custom.conf, FreePBX's Asterisk
        refuses the whole of manager.conf.
        """
        before = text(path)
        if (after := with_block(before, "")) != before:
            self.write(path, None if drop_empty and not after else after)

    def run(self, *command: str, undo: tuple[str, ...] = ()) -> str:
        """Run a command and return what it prints; SetupError with its last words if it fails."""
        if undo:
            self.on_rollback(lambda: commands.run(*undo))
        return commands.run(*command)


def text(path: Path) -> str:
    """A file's text, any byte kept; '' when there is no file. Raises SetupError."""
    try:
        found = files.read(files.resolved(path))
    except OSError as error:
        raise SetupError(f"{path}: {error.strerror}") from None
    return found.data.decode("utf-8", "surrogateescape") if found else ""
