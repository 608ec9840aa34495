"""Changes of users.d and groups.d, the other side of access_store.py's reading.

A file is replaced whole and atomically, readable by its folder's group alone (the service's). What
a change doesn't touch stays as it stands, comments included. One change at a time is made, and a
file that the service could not read is never written.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from evolvex_api.backends import access_store, ini_text
from evolvex_api.backends.access_store import BAD_CONTEXT, CONTEXT_PATTERN
from evolvex_api.backends.replacing import replace_file
from evolvex_api.config import ConfigError
from evolvex_api.core.access import Group, User, key_digest

# No space at its end: an INI file would lose it, and the name be another's.
_NAME = re.compile(r"\w(?:[\w .@-]{0,62}[\w.@-])?")
_NAME_RULE = (
    "takes letters, digits, spaces and _.@-, begins with a letter or digit, does not end with a"
    " space, and has at most 64 characters"
)
_API_KEY = re.compile(r"[\x21-\x7e]{16,128}")
_LEAST_DIFFERENT = 5
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_USER_KEYS = ("description", "allowed_from", "expires")
_GROUP_SECTIONS = ("group", *access_store.RULE_SECTIONS)
_GROUP_KEYS = ("description", "rights")
_T = TypeVar("_T", User, Group)


class AccessFileError(Exception):
    """A change that can't be made; the text says why."""


class AccessFiles:
    """The user and group files beside a configuration file."""

    def __init__(self, config_path: Path) -> None:
        self._folder = config_path.parent
        self._users = access_store.users_dir(config_path)
        self._groups = access_store.groups_dir(config_path)

    def users(self) -> list[tuple[Path, User]]:
        """All users with their files; skips broken files (access_store.load reports them)."""
        return _readable(self._users, access_store.read_user)

    def groups(self) -> list[tuple[Path, Group]]:
        """All groups with their files; skips broken files (access_store.load reports them)."""
        return _readable(self._groups, access_store.read_group)

    def user(self, name: str) -> tuple[Path, User]:
        """The user of that name or uuid, and the file; AccessFileError unless there is one."""
        return _only_one("user", name, self.users())

    def group(self, name: str) -> tuple[Path, Group]:
        """The group of that name or uuid, and the file; AccessFileError unless there is one."""
        return _only_one("group", name, self.groups())

    def add_user(self, name: str, group: Group, description: str, api_key: str | None) -> str:
        """Make a user and return its key (a new one in UUID form unless one is given)."""
        _check_name(name)
        _check_line("description", description)
        with self._one_change():
            if any(name == user.name for _, user in self.users()):
                raise AccessFileError(f"there is a user {name!r} already")
            key = self._new_key(api_key)
            values = {
                "uuid": str(uuid.uuid4()),
                "name": name,
                "description": description,
                "enable": "yes",
                "api_key_sha256": key_digest(key),
                "group_uuid": group.uuid,
            }
            text = ini_text.with_section("", "user", values)
            _replace(_free_path(self._users, name), text, access_store.read_user)
        return key

    def rotate_key(self, name: str) -> str:
        """Give a user a new key, return it; the old one opens nothing any more."""
        with self._one_change():
            path, _ = self.user(name)
            key = self._new_key(None)
            self._change_user(path, {"api_key_sha256": key_digest(key)})
        return key

    def set_enabled(self, name: str, enabled: bool) -> None:
        """Let a user in again, or shut it out; shut out is every file that names it."""
        with self._one_change():
            paths = [path for path, user in self.users() if name in (user.name, user.uuid)]
            if enabled or not paths:
                paths = [self.user(name)[0]]
            for path in paths:
                self._change_user(path, {"enable": "yes" if enabled else "no"})

    def set_user(self, name: str, key: str, value: str | None) -> None:
        """Set a key of a user's file, or remove it (None)."""
        if key not in _USER_KEYS:
            raise AccessFileError(f"{key!r} is none of {', '.join(_USER_KEYS)}")
        _check_line(key, value or "")
        with self._one_change():
            self._change_user(self.user(name)[0], {key: value})

    def remove_user(self, name: str) -> None:
        """Remove a user."""
        with self._one_change():
            _remove(self.user(name)[0])

    def add_group(self, name: str, description: str) -> Group:
        """Make a group that grants nothing yet."""
        _check_name(name)
        _check_line("description", description)
        with self._one_change():
            if any(name == group.name for _, group in self.groups()):
                raise AccessFileError(f"there is a group {name!r} already")
            group = Group(str(uuid.uuid4()), name, description)
            values = {"uuid": group.uuid, "name": name, "description": description}
            text = ini_text.with_section("", "group", values)
            _replace(_free_path(self._groups, name), text, access_store.read_group)
        return group

    def allow(self, name: str, context: str, description: str | None) -> None:
        """Grant a context (`*`: all) to a group.

        Granted again, only its description changes, and only when one is given.
        """
        if not re.fullmatch(CONTEXT_PATTERN, context):
            raise AccessFileError(f"context {context!r}: {BAD_CONTEXT}")
        _check_line("description", description or "")
        with self._one_change():
            path, group = self.group(name)
            text, section = _read(path), f"context {context}"
            if not any(granted.name == context for granted in group.accesses):
                values = {"uuid": str(uuid.uuid4()), "description": description or ""}
                text = ini_text.with_section(text, section, values)
            elif description is not None:
                text = ini_text.with_value(text, section, "description", description)
            _replace(path, text, access_store.read_group)

    def deny(self, name: str, context: str) -> None:
        """Take a context away from a group."""
        with self._one_change():
            path, group = self.group(name)
            if not any(granted.name == context for granted in group.accesses):
                raise AccessFileError(f"group {group.name!r} has no context {context!r}")
            text = ini_text.without_section(_read(path), f"context {context}")
            _replace(path, text, access_store.read_group)

    def set_group(self, name: str, key: str, value: str | None) -> None:
        """Set a key of a group's file, as `originate.max_calls` or `rights`; None removes it."""
        section, dot, own_key = key.rpartition(".")
        section = section if dot else "group"
        if section not in _GROUP_SECTIONS or (section == "group" and own_key not in _GROUP_KEYS):
            keys = ", ".join((*_GROUP_KEYS, *(f"{s}.KEY" for s in access_store.RULE_SECTIONS)))
            raise AccessFileError(f"{key!r} is none of {keys}")
        _check_line(key, value or "")
        with self._one_change():
            path, _ = self.group(name)
            text = ini_text.with_value(_read(path), section, own_key, value)
            _replace(path, text, access_store.read_group)

    def remove_group(self, name: str) -> None:
        """Remove a group that no user is in any more."""
        with self._one_change():
            path, group = self.group(name)
            members = [user.name for _, user in self.users() if user.group_uuid == group.uuid]
            if members:
                raise AccessFileError(f"group {group.name!r} still has users: {', '.join(members)}")
            _remove(path)

    @contextlib.contextmanager
    def _one_change(self) -> Iterator[None]:
        """Let no other command change the files meanwhile."""
        try:
            descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise ConfigError(f"{self._folder}: cannot be opened: {error.strerror}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _change_user(self, path: Path, values: Mapping[str, str | None]) -> None:
        text = _read(path)
        for key, value in values.items():
            text = ini_text.with_value(text, "user", key, value)
        _replace(path, text, access_store.read_user)

    def _new_key(self, given: str | None) -> str:
        key = given or str(uuid.uuid4())
        if not _API_KEY.fullmatch(key):
            raise AccessFileError("a key is 16 to 128 visible ASCII characters")
        if len(set(key)) < _LEAST_DIFFERENT:
            raise AccessFileError(
                f"the key can be guessed: it has fewer than {_LEAST_DIFFERENT} different characters"
            )
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


def _only_one(what: str, name: str, found: Sequence[tuple[Path, _T]]) -> tuple[Path, _T]:
    same = [(path, one) for path, one in found if name in (one.name, one.uuid)]
    if not same:
        raise AccessFileError(f"there is no {what} {name!r}")
    if len(same) > 1:
        paths = ", ".join(str(path) for path, _ in same)
        raise AccessFileError(
            f"several files name the {what} {name!r}: {paths}; remove all but one"
        )
    return same[0]


def _remove(path: Path) -> None:
    try:
        path.unlink()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be removed: {error.strerror}") from None


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise AccessFileError(f"name {name!r}: a name {_NAME_RULE}")


def _check_line(what: str, value: str) -> None:
    if _CONTROL.search(value):
        raise AccessFileError(f"{what} {value!r}: must be one line without control characters")


def _free_path(directory: Path, name: str) -> Path:
    stem = re.sub(r"[^\w.-]", "_", name).lstrip(".")
    path = directory / f"{stem}.conf"
    return path if not path.exists() else directory / f"{stem}-{uuid.uuid4().hex[:8]}.conf"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None


def _replace(path: Path, text: str, check: Callable[[Path], object]) -> None:
    """Write a file whole, once `check` has read what will be in it."""
    replace_file(path, text, lambda written: _check(written, path, check))


def _check(written: Path, path: Path, check: Callable[[Path], object]) -> None:
    try:
        check(written)
    except ConfigError as error:
        raise AccessFileError(str(error).replace(str(written), str(path))) from None
