"""Every change that setup makes on the host, and the way back when a later one fails."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from evolvex_api.setup import SetupError

_BEGIN = ">>> evolvex-api setup: written by `evolvex-api setup`, undone by `setup --remove`"
_END = "<<< evolvex-api setup"


class Changes:
    """Makes changes one by one and remembers how to take each back."""

    def __init__(self) -> None:
        self._way_back: list[Callable[[], object]] = []

    def on_rollback(self, undo: Callable[[], object]) -> None:
        """Remember how the change that was just made is taken back."""
        self._way_back.append(undo)

    def roll_back(self) -> list[str]:
        """Take everything back, the last change first; returns what could not be taken back."""
        failures = []
        while self._way_back:
            try:
                self._way_back.pop()()
            except (SetupError, OSError) as error:
                failures.append(str(error))
        return failures

    def write(self, path: Path, content: str) -> None:
        """Replace a file atomically, keeping owner and mode; an empty content removes it.

        A new file gets its folder's owner and group and the mode 0640.
        """
        before = path.read_bytes() if path.exists() else None
        like = path.stat() if before is not None else None
        _replace(path, content.encode("utf-8", "surrogateescape"), like)
        self.on_rollback(lambda: _replace(path, before or b"", like))

    def put_block(self, path: Path, block: str) -> None:
        """Make `block` (as marked_block() gives it) the marked block of a configuration file."""
        self.write(path, with_block(text(path), block))

    def remove_block(self, path: Path) -> None:
        """Take the marked block out of a file; a file with nothing else in it goes."""
        self.write(path, with_block(text(path), ""))

    def make_folder(self, path: Path, owner: str, group: str, mode: int) -> None:
        """Make a folder, with those above it; one that is there gets owner, group and mode."""
        new = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
        self.on_rollback(lambda: [folder.rmdir() for folder in new])  # type: ignore[func-returns-value]
        shutil.chown(path, owner, group)
        path.chmod(mode)

    def run(self, *command: str, undo: tuple[str, ...] = ()) -> str:
        """Run a command and return what it prints; SetupError with its last words if it fails."""
        printed = run(*command)
        if undo:
            self.on_rollback(lambda: run(*undo))
        return printed


def run(*command: str) -> str:
    """Run a command and return its standard output; SetupError when it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SetupError(f"{' '.join(command)}: {error}") from None
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip()).splitlines()[-3:]
        raise SetupError(f"{' '.join(command)} failed: {' / '.join(words)}")
    return done.stdout


def succeeds(*command: str) -> bool:
    """Whether a command can be run and ends with exit code 0."""
    try:
        run(*command)
    except SetupError:
        return False
    return True


def marked_block(lines: str, comment: str = "#") -> str:
    """Lines of configuration between two marks; `comment` is what starts a comment there."""
    return f"{comment} {_BEGIN}\n{lines.rstrip()}\n{comment} {_END}\n"


def block_in(path: Path) -> str:
    """The marked block in a file, marks included; '' if there is none, or no file."""
    found = _BLOCK.search(text(path))
    return found[0] if found else ""


def with_block(before: str, block: str) -> str:
    """A file's text with its marked block replaced by `block`, or with the block at its end."""
    if _BLOCK.search(before):
        return _BLOCK.sub(lambda _: block, before, count=1)
    gap = "\n" if before and not before.endswith("\n") and block else ""
    return f"{before}{gap}{block}"


_BLOCK = re.compile(
    rf"^[#;] {re.escape(_BEGIN)}\n.*?^[#;] {re.escape(_END)}\n",
    re.MULTILINE | re.DOTALL,
)


def text(path: Path) -> str:
    """A file's text, any byte kept; '' when there is no file."""
    return path.read_text(encoding="utf-8", errors="surrogateescape") if path.exists() else ""


def _replace(path: Path, content: bytes, like: os.stat_result | None) -> None:
    if not content:
        path.unlink(missing_ok=True)
        return
    owner = like or path.parent.stat()
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            os.fchmod(file.fileno(), like.st_mode & 0o7777 if like else 0o640)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
