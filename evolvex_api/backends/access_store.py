"""Reading of users.d and groups.d, and the current state of both.

Users and groups are INI files in `users.d/` and `groups.d/` beside evolvex.conf: one `[user]` a
file; one `[group]` and any number of `[context NAME]` a file.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import TypeVar

from evolvex_api.config import ConfigError, read_ini
from evolvex_api.core.access import RIGHTS, Access, AccessBook, Group, User
from evolvex_api.option_types import words

_T = TypeVar("_T")

log = logging.getLogger(__name__)

_CONTEXT_SECTION = "context "
_USER_KEYS = {"uuid", "name", "description", "enable", "api_key_sha256", "group_uuid"}
_GROUP_KEYS = {"uuid", "name", "description", "rights"}
_CONTEXT_KEYS = {"uuid", "description"}
# Well under the second within which a changed file must count.
_LOOK_INTERVAL = 0.4


def users_dir(config_path: Path) -> Path:
    """The folder of user files that belongs to a configuration file."""
    return config_path.parent / "users.d"


def groups_dir(config_path: Path) -> Path:
    """The folder of group files that belongs to a configuration file."""
    return config_path.parent / "groups.d"


def load(config_path: Path) -> AccessBook:
    """Read every user and group file; a broken one becomes a problem and shuts nobody else out."""
    problems: list[str] = []
    groups: dict[str, Group] = {}
    for path, group in _read_all(groups_dir(config_path), read_group, problems):
        if group.uuid in groups:
            problems.append(f"{path}: [group] uuid: another file has it already; ignored")
        else:
            groups[group.uuid] = group
    users: dict[str, User] = {}
    for path, user in _read_all(users_dir(config_path), read_user, problems):
        if user.api_key_sha256 in users:
            problems.append(f"{path}: [user] api_key_sha256: another file has it already; ignored")
            continue
        users[user.api_key_sha256] = user
        if user.group_uuid not in groups:
            problems.append(f"{path}: [user] group_uuid: no such group, so nothing is granted")
    return AccessBook(users, groups, tuple(problems))


class AccessStore:
    """The current AccessBook; a changed file counts within a second, without a restart.

    Safe between threads: while one looks at the folders the others wait for what it finds, because
    what is known may be as old as the last request.
    """

    def __init__(self, config_path: Path) -> None:
        self._config_path = config_path
        self._looking = threading.Lock()
        self._seen = self._signature()
        self._next_look = time.monotonic() + _LOOK_INTERVAL
        self._book = self._load()

    def current(self) -> AccessBook:
        """The users and groups as the files say (or said a moment ago)."""
        if time.monotonic() >= self._next_look:
            with self._looking:
                if time.monotonic() >= self._next_look:
                    self._look()
        return self._book

    def _look(self) -> None:
        signature = self._signature()
        if signature != self._seen:
            self._book = self._load()
            self._seen = signature
        self._next_look = time.monotonic() + _LOOK_INTERVAL

    def _load(self) -> AccessBook:
        book = load(self._config_path)
        for problem in book.problems:
            log.warning("%s", problem)
        return book

    def _signature(self) -> tuple[tuple[str, int, int, int], ...]:
        found = []
        for directory in (users_dir(self._config_path), groups_dir(self._config_path)):
            for path in _files(directory, []):
                with contextlib.suppress(OSError):
                    stat = path.stat()
                    found.append((str(path), stat.st_mtime_ns, stat.st_size, stat.st_ino))
        return tuple(found)


def read_user(path: Path) -> User:
    """One file of users.d; ConfigError names file, section, key and reason."""
    parser = read_ini(path)
    _only(path, parser, {"user"}, "user", _USER_KEYS)
    section = parser["user"]
    enable = _required(path, parser, "user", "enable")
    if enable not in ("yes", "no"):
        raise ConfigError(f"{path}: [user] enable: must be yes or no")
    digest = _required(path, parser, "user", "api_key_sha256").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ConfigError(f"{path}: [user] api_key_sha256: must be 64 hexadecimal digits")
    return User(
        uuid=_required(path, parser, "user", "uuid"),
        name=_required(path, parser, "user", "name"),
        description=section.get("description", ""),
        enabled=enable == "yes",
        api_key_sha256=digest,
        group_uuid=_required(path, parser, "user", "group_uuid"),
    )


def read_group(path: Path) -> Group:
    """One file of groups.d; ConfigError names file, section, key and reason."""
    parser = read_ini(path)
    contexts = [name for name in parser.sections() if name.startswith(_CONTEXT_SECTION)]
    _only(path, parser, {"group", *contexts}, "group", _GROUP_KEYS)
    uuid = _required(path, parser, "group", "uuid")
    return Group(
        uuid=uuid,
        name=_required(path, parser, "group", "name"),
        description=parser["group"].get("description", ""),
        accesses=tuple(_access(path, parser, name, uuid) for name in contexts),
        given_rights=_rights(path, parser["group"].get("rights")),
    )


def _rights(path: Path, given: str | None) -> frozenset[str] | None:
    if given is None:
        return None
    rights = frozenset(words(given))
    unknown = sorted(rights - RIGHTS)
    if unknown:
        raise ConfigError(
            f"{path}: [group] rights: {unknown[0]!r} is none of {', '.join(sorted(RIGHTS))}"
        )
    return rights


def _access(path: Path, parser: ConfigParser, section: str, group_uuid: str) -> Access:
    _only(path, parser, set(parser.sections()), section, _CONTEXT_KEYS)
    name = section.removeprefix(_CONTEXT_SECTION).strip()
    if not name:
        raise ConfigError(f"{path}: [{section}]: names no context")
    values = parser[section]
    return Access(values.get("uuid", ""), name, values.get("description", ""), group_uuid)


def _only(path: Path, parser: ConfigParser, known: set[str], name: str, keys: set[str]) -> None:
    if not parser.has_section(name):
        raise ConfigError(f"{path}: [{name}]: is missing")
    for section in parser.sections():
        if section not in known:
            raise ConfigError(f"{path}: [{section}]: unknown section")
    for key in parser[name]:
        if key not in keys:
            raise ConfigError(f"{path}: [{name}] {key}: unknown key")


def _required(path: Path, parser: ConfigParser, section: str, key: str) -> str:
    value = parser[section].get(key, "").strip()
    if not value:
        raise ConfigError(f"{path}: [{section}] {key}: is required")
    return value


def _read_all(
    directory: Path, read: Callable[[Path], _T], problems: list[str]
) -> Iterator[tuple[Path, _T]]:
    for path in _files(directory, problems):
        try:
            yield path, read(path)
        except ConfigError as error:
            problems.append(str(error))


def _files(directory: Path, problems: list[str]) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if path.suffix == ".conf")
    except FileNotFoundError:
        return []  # the command line makes it with the first user
    except OSError as error:
        problems.append(f"{directory}: cannot be listed: {error.strerror}")
        return []
