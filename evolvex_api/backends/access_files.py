"""Writing of users.d and groups.d, the other side of access_store.py's reading.

A file is replaced whole and atomically, readable by its folder's group alone (the service's).
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from evolvex_api.backends import access_store
from evolvex_api.config import ConfigError
from evolvex_api.core.access import CONTEXT_NAME, Access, Group, User, key_digest

# No space at its end: an INI file would lose it, and the name be another's.
_NAME = re.compile(r"\w(?:[\w .@-]{0,62}[\w.@-])?")
_CONTEXT = re.compile(rf"\*|{CONTEXT_NAME}")
_API_KEY = re.compile(r"[\x21-\x7e]{16,128}")
_ANY_LINE = re.compile(r"[^\x00-\x1f\x7f]*")
_T = TypeVar("_T")


class AccessFileError(Exception):
    """A change that can't be made; the text says why."""


class AccessFiles:
    """The user and group files beside a configuration file."""

    def __init__(self, config_path: Path) -> None:
        self._users = access_store.users_dir(config_path)
        self._groups = access_store.groups_dir(config_path)

    def users(self) -> list[tuple[Path, User]]:
        """All users with their files; skips broken files (access_store.load reports them)."""
        return _readable(self._users, access_store.read_user)

    def groups(self) -> list[tuple[Path, Group]]:
        """All groups with their files; skips broken files (access_store.load reports them)."""
        return _readable(self._groups, access_store.read_group)

    def user(self, name: str) -> tuple[Path, User]:
        """The user of that name or uuid, and the file; AccessFileError when there is none."""
        for path, user in self.users():
            if name in (user.name, user.uuid):
                return path, user
        raise AccessFileError(f"there is no user {name!r}")

    def group(self, name: str) -> tuple[Path, Group]:
        """The group of that name or uuid, and the file; AccessFileError when there is none."""
        for path, group in self.groups():
            if name in (group.name, group.uuid):
                return path, group
        raise AccessFileError(f"there is no group {name!r}")

    def add_user(self, name: str, group: Group, description: str, api_key: str | None) -> str:
        """Make a user and return its key (a new one in UUID form unless one is given)."""
        _check_line("name", name, _NAME)
        _check_line("description", description)
        if any(name == user.name for _, user in self.users()):
            raise AccessFileError(f"there is a user {name!r} already")
        key = self._new_key(api_key)
        digest = key_digest(key)
        user = User(str(uuid.uuid4()), name, description, True, digest, group.uuid)
        self.write_user(_free_path(self._users, name), user)
        return key

    def rotate_key(self, name: str) -> str:
        """Give a user a new key, return it; the old one opens nothing any more."""
        path, user = self.user(name)
        key = self._new_key(None)
        self.write_user(path, replace(user, api_key_sha256=key_digest(key)))
        return key

    def add_group(self, name: str, description: str) -> Group:
        """Make a group that grants nothing yet."""
        _check_line("name", name, _NAME)
        _check_line("description", description)
        if any(name == group.name for _, group in self.groups()):
            raise AccessFileError(f"there is a group {name!r} already")
        group = Group(str(uuid.uuid4()), name, description)
        self.write_group(_free_path(self._groups, name), group)
        return group

    def allow(self, name: str, context: str, description: str) -> None:
        """Grant a context (`*`: all) to a group; granted again, only its description changes."""
        _check_line("context", context, _CONTEXT)
        _check_line("description", description)
        path, group = self.group(name)
        known = {granted.name: granted for granted in group.accesses}
        access_uuid = known[context].uuid if context in known else str(uuid.uuid4())
        known[context] = Access(access_uuid, context, description, group.uuid)
        self.write_group(path, replace(group, accesses=(*known.values(),)))

    def deny(self, name: str, context: str) -> None:
        """Take a context away from a group."""
        path, group = self.group(name)
        left = tuple(granted for granted in group.accesses if granted.name != context)
        if len(left) == len(group.accesses):
            raise AccessFileError(f"group {group.name!r} has no context {context!r}")
        self.write_group(path, replace(group, accesses=left))

    def remove_group(self, name: str) -> None:
        """Remove a group that no user is in any more."""
        path, group = self.group(name)
        members = [user.name for _, user in self.users() if user.group_uuid == group.uuid]
        if members:
            raise AccessFileError(f"group {group.name!r} still has users: {', '.join(members)}")
        _remove(path)

    def remove_user(self, name: str) -> None:
        """Remove a user."""
        _remove(self.user(name)[0])

    def write_user(self, path: Path, user: User) -> None:
        """Write a user's file."""
        values = user.__dict__ | {"enable": "yes" if user.enabled else "no"}
        keys = ("uuid", "name", "description", "enable", "api_key_sha256", "group_uuid")
        _replace(path, "[user]\n" + "".join(f"{key} = {values[key]}\n" for key in keys))

    def write_group(self, path: Path, group: Group) -> None:
        """Write a group's file."""
        text = f"[group]\nuuid = {group.uuid}\nname = {group.name}\n"
        text += f"description = {group.description}\n"
        for granted in group.accesses:
            text += f"\n[context {granted.name}]\nuuid = {granted.uuid}\n"
            text += f"description = {granted.description}\n"
        _replace(path, text)

    def _new_key(self, given: str | None) -> str:
        key = given or str(uuid.uuid4())
        if not _API_KEY.fullmatch(key):
            raise AccessFileError("a key is 16 to 128 visible ASCII characters")
        digest = key_digest(key)
        if any(digest == user.api_key_sha256 for _, user in self.users()):
            raise AccessFileError("another user has this key")
        return key


def _readable(directory: Path, read: Callable[[Path], _T]) -> list[tuple[Path, _T]]:
    found = []
    for path in sorted(directory.glob("*.conf")):
        # One broken file must not keep another user from being disabled.
        with contextlib.suppress(ConfigError):
            found.append((path, read(path)))
    return found


def _remove(path: Path) -> None:
    try:
        path.unlink()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be removed: {error.strerror}") from None


def _check_line(what: str, value: str, allowed: re.Pattern[str] = _ANY_LINE) -> None:
    if not allowed.fullmatch(value):
        raise AccessFileError(f"{what} {value!r} can't be used")


def _free_path(directory: Path, name: str) -> Path:
    stem = re.sub(r"[^\w.-]", "_", name).lstrip(".")
    path = directory / f"{stem}.conf"
    return path if not path.exists() else directory / f"{stem}-{uuid.uuid4().hex[:8]}.conf"


def _replace(path: Path, text: str) -> None:
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
