"""Reading of users.d and groups.d, and the current state of both.

Users and groups are INI files in `users.d/` and `groups.d/` beside evolvex.conf: one `[user]` a
file; one `[group]`, any number of `[context NAME]`, and `[originate]` and `[uploads]` a file.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from configparser import ConfigParser
from datetime import date, tzinfo
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from evolvex_api.config import ConfigError, read_ini
from evolvex_api.core.access import (
    CONTEXT_NAME,
    RIGHTS,
    Access,
    AccessBook,
    Group,
    User,
)
from evolvex_api.core.rules import RuleError, Rules, read_call_rules, read_upload_rules
from evolvex_api.option_types import words

_T = TypeVar("_T")

log = logging.getLogger(__name__)

_CONTEXT_SECTION = "context "
_USER_KEYS = {"uuid", "name", "description", "enable", "api_key_sha256", "group_uuid"} | {
    "allowed_from",
    "expires",
}
_GROUP_KEYS = {"uuid", "name", "description", "rights"}
_CONTEXT_KEYS = {"uuid", "description"}
RULE_SECTIONS = ("originate", "uploads")
CONTEXT_PATTERN = rf"\*|{CONTEXT_NAME}"
BAD_CONTEXT = (
    "a context is named in full (letters, digits and _.+:-); there are no patterns, and * alone"
    " grants every context"
)
# Well under the second within which a changed file must count.
_LOOK_INTERVAL = 0.4


def users_dir(config_path: Path) -> Path:
    """The folder of user files that belongs to a configuration file."""
    return config_path.parent / "users.d"


def groups_dir(config_path: Path) -> Path:
    """The folder of group files that belongs to a configuration file."""
    return config_path.parent / "groups.d"


def load(config_path: Path) -> AccessBook:
    """Read every user and group file; a broken one becomes a problem and shuts nobody else out.

    Two files that name the same user, key or group are both left out: nothing says which is meant.
    """
    problems: list[str] = []
    groups_read = list(_read_all(groups_dir(config_path), read_group, problems))
    groups_read = _unambiguous(groups_read, "group", ("uuid",), problems)
    users_read = list(_read_all(users_dir(config_path), read_user, problems))
    users_read = _unambiguous(users_read, "user", ("name", "uuid", "api_key_sha256"), problems)
    groups = {group.uuid: group for _, group in groups_read}
    problems += [
        f"{path}: [user] group_uuid: no such group, or its file is broken; nothing is granted"
        for path, user in users_read
        if user.group_uuid not in groups
    ]
    users = {user.api_key_sha256: user for _, user in users_read}
    return AccessBook(users, groups, tuple(problems))


def _unambiguous(
    found: list[tuple[Path, _T]], section: str, keys: Sequence[str], problems: list[str]
) -> list[tuple[Path, _T]]:
    """What no two files claim; the others become problems."""
    shut_out: set[Path] = set()
    for key in keys:
        paths: dict[str, list[Path]] = {}
        for path, one in found:
            paths.setdefault(getattr(one, key), []).append(path)
        for same in paths.values():
            if len(same) > 1 and not shut_out.issuperset(same):
                names = ", ".join(path.name for path in same)
                problems.append(
                    f"{same[0]}: [{section}] {key}: {names} have the same; each of them grants"
                    " nothing until it is the only one"
                )
                shut_out.update(same)
    return [(path, one) for path, one in found if path not in shut_out]


class AccessStore:
    """The current AccessBook; a changed file counts within a second, without a restart.

    Safe between threads: while one looks at the folders the others wait for what it finds, because
    what is known may be as old as the last request.
    """

    def __init__(self, config_path: Path) -> None:
        self._config_path = config_path
        self._looking = threading.Lock()
        self._looked_at = time.monotonic()
        self._seen = self._signature()
        self._book = self._load()

    def current(self) -> AccessBook:
        """The users and groups as the files say, or said a moment ago."""
        self._look_unless_since(time.monotonic() - _LOOK_INTERVAL)
        return self._book

    def of_key(self, api_key: str) -> tuple[AccessBook, User | None]:
        """As `current`, with the user of a key, or None for an unknown one.

        A key that is not known is looked for in the folders as they are now, so that a key made a
        moment ago works at once. Requests with such keys at the same time share one look.
        """
        asked_at = time.monotonic()
        book = self.current()
        user = book.user_of(api_key)
        if user is None:
            self._look_unless_since(asked_at)
            book = self._book
            user = book.user_of(api_key)
        return book, user

    def _look_unless_since(self, moment: float) -> None:
        """Look at the folders unless a look began after the moment."""
        if self._looked_at > moment:
            return
        with self._looking:
            if self._looked_at > moment:
                return
            began = time.monotonic()
            signature = self._signature()
            if signature != self._seen:
                self._book = self._load()
                self._seen = signature
            self._looked_at = began

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
                    found.append((str(path), stat.st_ctime_ns, stat.st_size, stat.st_ino))
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
        allowed_from=_optional(path, parser, "user", "allowed_from", networks) or (),
        expires=_optional(path, parser, "user", "expires", day),
    )


def read_group(path: Path) -> Group:
    """One file of groups.d; ConfigError names file, section, key and reason."""
    parser = read_ini(path)
    contexts = [name for name in parser.sections() if name.startswith(_CONTEXT_SECTION)]
    _only(path, parser, {"group", *RULE_SECTIONS, *contexts}, "group", _GROUP_KEYS)
    uuid = _required(path, parser, "group", "uuid")
    return Group(
        uuid=uuid,
        name=_required(path, parser, "group", "name"),
        description=parser["group"].get("description", ""),
        accesses=tuple(_access(path, parser, name, uuid) for name in contexts),
        given_rights=_optional(path, parser, "group", "rights", rights),
        rules=_rules(path, parser),
    )


def read_rule_texts(path: Path) -> Mapping[str, Mapping[str, str]]:
    """The sections of a group's file that limit it, as they are written; ConfigError."""
    parser = read_ini(path)
    return {name: dict(_section(parser, name)) for name in RULE_SECTIONS}


def _rules(path: Path, parser: ConfigParser) -> Rules:
    section = ""
    try:
        section = "originate"
        calls = read_call_rules(_section(parser, section), time_zone)
        section = "uploads"
        return Rules(calls, read_upload_rules(_section(parser, section)))
    except RuleError as error:
        raise ConfigError(f"{path}: [{section}] {error}") from None


def _section(parser: ConfigParser, name: str) -> Mapping[str, str]:
    return parser[name] if parser.has_section(name) else {}


def rights(raw: str) -> frozenset[str]:
    """Rights between commas, each one of access.RIGHTS; ValueError."""
    found = frozenset(words(raw))
    unknown = sorted(found - RIGHTS)
    if unknown:
        raise ValueError(f"{unknown[0]!r} is none of {', '.join(sorted(RIGHTS))}")
    return found


def networks(raw: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Addresses and networks (CIDR) between commas; ValueError."""
    found = tuple(ip_network(word) for word in words(raw))
    if not found:
        raise ValueError("is empty; leave the line out where every address is allowed")
    return found


def day(raw: str) -> date:
    """A date as YYYY-MM-DD; ValueError."""
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", raw):
        raise ValueError("must be a date such as 2027-01-31")
    return date.fromisoformat(raw)


def time_zone(name: str) -> tzinfo:
    """A zone of the system's tz database, such as Europe/Moscow; ValueError."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError, ValueError):
        raise ValueError(f"{name!r} is no time zone such as Europe/Moscow") from None


def _access(path: Path, parser: ConfigParser, section: str, group_uuid: str) -> Access:
    _only(path, parser, set(parser.sections()), section, _CONTEXT_KEYS)
    name = section.removeprefix(_CONTEXT_SECTION).strip()
    if not re.fullmatch(CONTEXT_PATTERN, name):
        raise ConfigError(f"{path}: [{section}]: {BAD_CONTEXT}")
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


def _optional(
    path: Path, parser: ConfigParser, section: str, key: str, read: Callable[[str], _T]
) -> _T | None:
    given = parser[section].get(key)
    if given is None:
        return None
    try:
        return read(given.strip())
    except ValueError as error:
        raise ConfigError(f"{path}: [{section}] {key}: {error}") from None


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
