"""nginx's right to read recordings and the cache: ACLs, inherited by what is written later.

Version 1.0 put www-data into the group asterisk instead, by which every PHP page of the host could
read Asterisk's secrets. Each command runs as the folder's own owner, so a link that this owner may
have put below it leads to nothing that it could not give away itself. See acl(5), setfacl(1).
"""

from __future__ import annotations

import functools
import pwd
import re
from dataclasses import dataclass
from pathlib import Path

from evolvex_api.setup import SetupError, commands
from evolvex_api.setup.changes import Changes
from evolvex_api.setup.record import Record
from evolvex_api.setup.steps.base import WEB_USER


@dataclass
class ReadableRecordings:
    """Lets the web server's user read a folder of audio, and pass through the folders above it."""

    root: Path
    name: str = "recordings"

    def plan(self) -> list[str]:
        if not self.root.is_dir() or self._fault() == "":
            return []
        return [f"{self.root}: readable by {WEB_USER}, which sends recordings (ACL)"]

    def apply(self, changes: Changes) -> None:
        for folder in reversed(self.root.parents):
            if not commands.succeeds("test", "-x", str(folder), user=WEB_USER):
                changes.on_rollback(functools.partial(_clear, folder))
                _set(folder, "-m", f"u:{WEB_USER}:x")
        changes.on_rollback(lambda: _clear(self.root, "--recursive", "--physical"))
        entries = f"u:{WEB_USER}:rX,d:u:{WEB_USER}:rX"
        _set(self.root, "--recursive", "--physical", "-m", entries)
        if fault := self._fault():
            raise SetupError(fault)

    def records(self) -> list[Record]:
        return [Record("acl", str(self.root))]

    def _fault(self) -> str:
        """Why the web server can't read the recordings; '' when it can."""
        if not commands.succeeds("test", "-r", f"{self.root}/", user=WEB_USER):
            return f"{self.root}: {WEB_USER} can't read it"
        listed = commands.run("getfacl", "--absolute-names", "--omit-header", str(self.root))
        if f"default:user:{WEB_USER}:r-x" not in listed and "default:other::r-x" not in listed:
            return f"{self.root}: {WEB_USER} won't be able to read what is written there later"
        return ""


def supported(root: Path) -> bool:
    """Whether the file system of a folder has ACLs, and the commands for them are installed."""
    return commands.succeeds("getfacl", "--absolute-names", str(root)) and commands.succeeds(
        "setfacl", "--test", "-m", f"u:{WEB_USER}:rX", str(root)
    )


def _set(folder: Path, *arguments: str) -> None:
    commands.run("setfacl", *arguments, "--", str(folder), user=_owner(folder))


def _clear(folder: Path, *how: str) -> None:
    """Take the user's entries away, and the whole ACL when nobody else has one."""
    entries = commands.run("getfacl", "--absolute-names", "--omit-header", str(folder)).split()
    named = [entry for entry in entries if not re.search(r":(:|$)", entry.removeprefix("default:"))]
    if all(f"user:{WEB_USER}:" in entry for entry in named):
        _set(folder, *how, "--remove-all")
        return
    _set(folder, *how, "-x", f"u:{WEB_USER}")
    if how:
        _set(folder, *how, "-x", f"d:u:{WEB_USER}")


def _owner(folder: Path) -> str:
    try:
        return pwd.getpwuid(folder.lstat().st_uid).pw_name
    except (OSError, KeyError) as error:
        raise SetupError(f"{folder}: {error}") from None


def undo(root: str, changes: Changes) -> str:
    """Take the web server's right away; nothing to do when the recordings are gone."""
    path = Path(root)
    if not path.is_dir():
        return f"{root}: is gone"
    step = ReadableRecordings(path)
    changes.on_rollback(lambda: step.apply(Changes()))
    for folder in path.parents:
        if WEB_USER in commands.run("getfacl", "--absolute-names", "--omit-header", str(folder)):
            _clear(folder)
    _clear(path, "--recursive", "--physical")
    return f"{root}: no longer readable by {WEB_USER}"
