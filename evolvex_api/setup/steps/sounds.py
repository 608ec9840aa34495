"""The folder of uploaded sounds, and the link by which Asterisk finds them.

The folder belongs to the service and lies below its own state. A link to it stands in Asterisk's
sounds folder. `fwconsole chown` (FreePBX, Console/Chown.class.php) follows one link and changes the
owner of what that names; so the link names a second one, `playback`, whose own owner matters to
nobody. `chown -R` follows none.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from evolvex_api.config import Uploads
from evolvex_api.setup import SetupError, commands, files
from evolvex_api.setup.blocks import block_in, marked_block
from evolvex_api.setup.changes import Changes, text
from evolvex_api.setup.databases import ETC
from evolvex_api.setup.host import Pbx
from evolvex_api.setup.record import Record
from evolvex_api.setup.steps.base import PBX_GROUP, SERVICE_USER, Settings, pbx_group_id

ALIAS = "playback"
# Where version 1.0 kept the sounds.
OLD_FOLDER = Path("/var/lib/asterisk/sounds/evolvex")
_CHOWN_CONF = ETC / "freepbx_chown.conf"
_SOUND = re.compile(r"[0-9a-f-]{36}\.wav(16)?")


@dataclass
class SoundsFolder:
    """The folder, the link, and on FreePBX the exception from its `chown`."""

    uploads: Uploads
    pbx: Pbx
    name = "sounds"

    @property
    def folder(self) -> Path:
        """Where the sounds are, or are to be."""
        configured = self.uploads.directory
        return DEFAULT_FOLDER if configured in {OLD_FOLDER, self._link} else configured

    def plan(self) -> list[str]:
        lines = []
        if not _is_right(self.folder):
            lines.append(f"{self.folder}: folder for uploaded sounds")
        if self._wants_link() and files.link_target(self._link) != self._target:
            lines.append(f"{self._link}: link to it, for Playback()")
        if self._chown_block() != block_in(text(_CHOWN_CONF)):
            lines.append(f"{_CHOWN_CONF}: leave them alone")
        return lines

    def apply(self, changes: Changes) -> None:
        make_folder(self.folder, changes)
        if self._wants_link() and files.link_target(self._link) != self._target:
            self._make_link(changes)
        if self._chown_block() != block_in(text(_CHOWN_CONF)):
            changes.write(_CHOWN_CONF, self._chown_conf(), (pbx_user_id(), pbx_group_id()))
        seen = self._link if self._wants_link() else self.folder
        if not commands.succeeds("test", "-x", f"{seen}/", user=PBX_GROUP):
            raise SetupError(f"{seen}: the user {PBX_GROUP} can't reach the folder of sounds")

    def records(self) -> list[Record]:
        links = [Record("link", str(self._link))] if self._wants_link() else []
        return [*links, *([Record("freepbx", str(_CHOWN_CONF))] if self.pbx.is_freepbx else [])]

    def settings(self) -> Settings:
        """What evolvex.conf has to say for it."""
        values = {}
        if self.folder != self.uploads.directory:
            values["directory"] = str(self.folder)
        prefix = self.uploads.playback_prefix
        if not self._wants_link() and not prefix.startswith("/"):
            # Asterisk's sounds folder is not reachable from here; an absolute path always works.
            values["playback_prefix"] = str(self.folder)
        return {("uploads", key): value for key, value in values.items()}

    @property
    def _link(self) -> Path:
        return self.pbx.sounds / self.uploads.playback_prefix.strip("/")

    @property
    def _target(self) -> str:
        alias = self.folder.parent / ALIAS
        return str(alias if files.link_target(alias) == self.folder.name else self.folder)

    def _wants_link(self) -> bool:
        prefix = self.uploads.playback_prefix
        plain = bool(prefix) and not prefix.startswith("/")
        return plain and self.pbx.sounds.is_dir() and self.folder != self._link

    def _make_link(self, changes: Changes) -> None:
        link = self._link
        if files.exists(link):
            if files.link_target(link) is None and link == OLD_FOLDER:
                move_sounds(link, self.folder, service_owner(), changes)
            try:
                changes.replaced(files.set_aside(link))
            except OSError as error:
                raise SetupError(f"{link}: {error.strerror}") from None
        try:
            changes.replaced(files.make_link(link, self._target))
        except OSError as error:
            raise SetupError(f"{link}: {error.strerror}") from None

    def _chown_block(self) -> str:
        if not self.pbx.is_freepbx:
            return block_in(text(_CHOWN_CONF))
        paths = (self._link, self.folder)
        lines = [f"{key} = {path}" for path in paths for key in ("item", "directory")]
        return marked_block("[blacklist]\n" + "\n".join(lines), comment=";")

    def _chown_conf(self) -> str:
        before = text(_CHOWN_CONF)
        known = block_in(before)
        block = self._chown_block()
        if known:
            return before.replace(known, block)
        gap = "\n" if before and not before.endswith("\n") else ""
        return f"{before}{gap}{block}"


DEFAULT_FOLDER = Path("/var/lib/evolvex-api/sounds")


def pbx_user_id() -> int:
    """The id of Asterisk's user; SetupError when there is none."""
    try:
        return pwd.getpwnam(PBX_GROUP).pw_uid
    except KeyError:
        raise SetupError(f"there is no user {PBX_GROUP}; Asterisk must run as one") from None


def service_owner() -> tuple[int, int]:
    """The ids of the service's user and of Asterisk's group. Raises SetupError."""
    return pwd.getpwnam(SERVICE_USER).pw_uid, pbx_group_id()


def _is_right(folder: Path) -> bool:
    """Whether the service can write the folder and Asterisk read it."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    mode, group = stat.S_IMODE(found.st_mode), grp.getgrnam(PBX_GROUP).gr_gid
    readable = mode & 0o005 == 0o005 or (found.st_gid == group and mode & 0o050 == 0o050)
    owner = pwd.getpwnam(SERVICE_USER).pw_uid
    return stat.S_ISDIR(found.st_mode) and found.st_uid == owner and readable


def make_folder(folder: Path, changes: Changes) -> None:
    """Make the folder, with those above it, or give the one that is there to the service."""
    if _is_right(folder):
        return
    owner, group = pwd.getpwnam(SERVICE_USER).pw_uid, pbx_group_id()
    try:
        for new in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
            new.mkdir(mode=0o755)
            changes.on_rollback(new.rmdir)
        with files.opened_folder(folder) as descriptor:
            before = os.fstat(descriptor)
            changes.on_rollback(lambda: _give(folder, before))
            os.fchown(descriptor, owner, group)
            os.fchmod(descriptor, 0o2750)
    except OSError as error:
        raise SetupError(f"{folder}: {error.strerror}") from None


def _give(folder: Path, like: os.stat_result) -> None:
    with files.opened_folder(folder) as descriptor:
        os.fchown(descriptor, like.st_uid, like.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(like.st_mode))


def move_sounds(old: Path, new: Path, owner: tuple[int, int], changes: Changes) -> int:
    """Give the sounds of a folder a second name in another one; returns how many.

    `owner` (uid, gid) is theirs from now on. Who takes the old folder away completes the move.
    Only files that the service can have written are taken: plain ones, of its names, with no other
    name.
    """
    moved = 0
    with files.opened_folder(old) as source, files.opened_folder(new) as target:
        for name in os.listdir(source):  # noqa: PTH208  # of a descriptor
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            if not _SOUND.fullmatch(name):
                continue
            try:
                descriptor = os.open(name, flags, dir_fd=source)
            except OSError:
                continue  # a link, or gone
            try:
                found = os.fstat(descriptor)
                if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
                    continue
                changes.on_rollback((new / name).unlink)
                os.link(name, name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
                os.fchown(descriptor, *owner)
                moved += 1
            finally:
                os.close(descriptor)
    return moved


def undo_link(file: str, changes: Changes) -> str:
    """Remove the link from Asterisk's sounds folder; the sounds stay."""
    path = Path(file)
    if files.link_target(path) is not None:
        changes.replaced(files.set_aside(path))
    return f"{file}: link removed, the sounds are kept"


def undo_freepbx(file: str, changes: Changes) -> str:
    """Take setup's lines out of freepbx_chown.conf."""
    changes.remove_block(Path(file), drop_empty=True)
    return f"{file}: lines removed"
