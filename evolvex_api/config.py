"""The only reader of evolvex.conf: an INI file as typed, checked, immutable values.

Each option declares its type, its default and its help in one place, the dataclasses below.
The file is read once, at start, and judged whole: the first fault found is a ConfigError that
names file, section, key and reason.
"""

from __future__ import annotations

import configparser
import dataclasses
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DEFAULT_PATH = Path("/etc/evolvex/evolvex.conf")
PATH_VARIABLE = "EVOLVEX_CONFIG"

_UNIX = "unix:"
_SIZE = re.compile(r"(\d+)\s*([KMG]?)B?", re.IGNORECASE)
_SIZE_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class ConfigError(Exception):
    """A configuration that can't be used; the text says where and why, never a secret."""


def text(raw: str) -> str:
    """A single line, as it stands."""
    if "\n" in raw:
        raise ValueError("must be a single line")
    return raw


def required_text(raw: str) -> str:
    """A single line that is not empty."""
    if not raw:
        raise ValueError("must not be empty")
    return text(raw)


def port(raw: str) -> int:
    """A TCP port, 1 to 65535."""
    return whole_number(1, 65535)(raw)


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """A reader of whole numbers from low to high, both included."""

    def read(raw: str) -> int:
        if not raw.isascii() or not raw.isdigit() or not low <= int(raw) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(raw)

    return read


def seconds(raw: str) -> float:
    """A duration in seconds, 0.1 to 3600, decimals allowed."""
    try:
        value = float(raw)
    except ValueError:
        value = -1.0
    if not 0.1 <= value <= 3600:
        raise ValueError("must be a number of seconds from 0.1 to 3600")
    return value


def size(raw: str) -> int:
    """A size in bytes; K, M and G multiply by 1024, 1024², 1024³."""
    match = _SIZE.fullmatch(raw)
    if not match or int(match[1]) == 0:
        raise ValueError("must be a size above zero such as 500K, 32M or 1G")
    return int(match[1]) * _SIZE_UNITS[match[2].upper()]


def folder(raw: str) -> Path:
    """An absolute path; whether it exists is for `doctor` and for the request that needs it."""
    path = Path(raw)
    if not path.is_absolute():
        raise ValueError("must be an absolute path")
    return path


def lines(raw: str) -> tuple[str, ...]:
    """One value a line; empty lines do not count."""
    return tuple(line.strip() for line in raw.splitlines() if line.strip())


def words(raw: str) -> tuple[str, ...]:
    """Values between commas or white space."""
    return tuple(re.split(r"[\s,]+", raw.strip())) if raw.strip() else ()


def recording_patterns(raw: str) -> tuple[str, ...]:
    """Shell patterns below the recordings' root, one a line, each naming {uniqueid} and {ext}."""
    patterns = lines(raw)
    for pattern in patterns:
        if pattern.startswith("/") or ".." in Path(pattern).parts:
            raise ValueError(f"{pattern!r} must lie below root")
        if "{uniqueid}" not in pattern or not pattern.endswith(".{ext}"):
            raise ValueError(f"{pattern!r} must hold {{uniqueid}} and end in .{{ext}}")
        if set(re.findall(r"\{(\w*)\}", pattern)) - {"uniqueid", "ext", "YYYY", "MM", "DD"}:
            raise ValueError(f"{pattern!r} knows only {{YYYY}} {{MM}} {{DD}} {{uniqueid}} {{ext}}")
    return patterns


def mp3_bitrate(raw: str) -> int:
    """A bit rate in kbit/s that layer III of both MPEG-1 (ISO 11172-3) and MPEG-2 (13818-3) has."""
    common = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160)
    if raw not in map(str, common):
        raise ValueError(f"must be one of {', '.join(map(str, common))}")
    return int(raw)


def bind_address(raw: str) -> str:
    """`unix:/path` or `host:port`."""
    if raw.startswith(_UNIX):
        folder(raw.removeprefix(_UNIX))
        return raw
    host, colon, number = raw.rpartition(":")
    if not colon or not host:
        raise ValueError("must be unix:/path or host:port")
    port(number)
    return raw


def table_name(raw: str) -> str:
    """A name of a database or table, safe to quote in SQL."""
    if not re.fullmatch(r"[A-Za-z0-9_$-]{1,64}", raw):
        raise ValueError("must be letters, digits, _, $ or -")
    return raw


def option(read: Callable[[str], Any], default: str | None, about: str) -> Any:
    """A dataclass field that carries how its text is read, its default as text, and its help.

    `default` is None where the administrator must give a value.
    """
    return field(metadata={"read": read, "default": default, "help": about})


def secret_option(about: str) -> Any:
    """A required option that never shows in a repr, and so in no log."""
    metadata = {"read": required_text, "default": None, "help": about}
    return field(repr=False, metadata=metadata)


@dataclass(frozen=True)
class Server:
    """How gunicorn serves."""

    bind: str = option(
        bind_address,
        "unix:/run/evolvex-api/gunicorn.sock",
        "unix:/path or host:port; a socket passed by systemd takes precedence",
    )
    workers: int = option(whole_number(1, 64), "2", "worker processes")
    threads: int = option(
        whole_number(1, 1024),
        "64",
        "requests that one worker answers at once; an idle thread costs next to nothing",
    )

    @property
    def behind_web_server(self) -> bool:
        """True on a unix socket, whose only user is the host's web server, not a client itself."""
        return self.bind.startswith(_UNIX)


@dataclass(frozen=True)
class Ami:
    """The Asterisk Manager Interface."""

    host: str = option(required_text, "127.0.0.1", "where Asterisk listens for AMI")
    port: int = option(port, "5038", "its TCP port")
    username: str = option(required_text, "evolvex", "the AMI user")
    secret: str = secret_option("the AMI user's secret")
    timeout: float = option(seconds, "5", "seconds to wait for an answer of Asterisk")


@dataclass(frozen=True)
class Cdr:
    """The MySQL or MariaDB table of call detail records."""

    host: str = option(required_text, "127.0.0.1", "where the database listens")
    port: int = option(port, "3306", "its TCP port")
    unix_socket: str = option(text, "", "its socket; used instead of host and port when given")
    user: str = option(required_text, "evolvex", "the database user; SELECT is enough")
    password: str = secret_option("the database user's password")
    database: str = option(table_name, "asteriskcdrdb", "the database")
    table: str = option(table_name, "cdr", "the table")


@dataclass(frozen=True)
class Recordings:
    """Where MixMonitor writes."""

    root: Path = option(folder, "/var/spool/asterisk/monitor", "the folder of all recordings")
    patterns: tuple[str, ...] = option(
        recording_patterns,
        "{YYYY}/{MM}/{DD}/*-{uniqueid}.{ext}",
        "shell patterns below root, one a line, tried after {uniqueid}.{ext}",
    )


@dataclass(frozen=True)
class Mp3:
    """MP3 encoding and the cache of what was encoded or decoded."""

    bitrate: int = option(mp3_bitrate, "32", "kbit/s, constant")
    quality: int = option(whole_number(0, 9), "5", "LAME's quality: 0 is best, 9 is fastest")
    cache_dir: Path = option(folder, "/var/cache/evolvex-api", "the cache's folder")
    cache_size: int = option(size, "1G", "least recently used files go when it grows over this")


@dataclass(frozen=True)
class Uploads:
    """Sounds that clients upload for the dialplan."""

    directory: Path = option(folder, "/var/lib/asterisk/sounds/evolvex", "where they are stored")
    playback_prefix: str = option(
        text, "evolvex", "what Playback() needs before the file's name to find that folder"
    )
    max_size: int = option(size, "32M", "the largest file that is taken")


@dataclass(frozen=True)
class Originate:
    """What `originate` may dial: the firewall against toll fraud."""

    technologies: tuple[str, ...] = option(
        words, "PJSIP, SIP, IAX2, DAHDI, Local", "channel technologies that may be dialled"
    )
    variables: tuple[str, ...] = option(
        words,
        "",
        "shell patterns of names all in capitals that clients may set; other names are free",
    )
    timeout: int = option(
        whole_number(1, 300), "30", "seconds to ring when the client says nothing"
    )


@dataclass(frozen=True)
class Config:
    """The whole configuration, one attribute a section, and the file it came from."""

    path: Path
    server: Server
    ami: Ami
    cdr: Cdr
    recordings: Recordings
    mp3: Mp3
    uploads: Uploads
    originate: Originate


SECTIONS: Mapping[str, type[Any]] = {
    "server": Server,
    "ami": Ami,
    "cdr": Cdr,
    "recordings": Recordings,
    "mp3": Mp3,
    "uploads": Uploads,
    "originate": Originate,
}


def default_path() -> Path:
    """The configuration file meant when none is named: $EVOLVEX_CONFIG, or the usual one."""
    return Path(os.environ.get(PATH_VARIABLE) or DEFAULT_PATH)


def load(path: Path | None = None) -> Config:
    """Read and check a configuration file and its drop-ins.

    Given the file's path (default: `default_path()`), returns the Config. Files `*.conf` in the
    folder `<name of the file>.d` beside it are read after it, in the order of their names; the last
    value of a key counts.
    Raises ConfigError, naming file, section, key and reason, on anything unknown or wrong.
    """
    path = path or default_path()
    given: _Given = {}
    for file in (path, *drop_ins(path)):
        parser = read_ini(file)
        for name in parser.sections():
            if name not in SECTIONS:
                raise ConfigError(f"{file}: [{name}]: unknown section")
            for key, raw in parser[name].items():
                given[name, key] = (file, raw)
    sections = {name: _section(path, given, name, kind) for name, kind in SECTIONS.items()}
    return Config(path=path, **sections)


def drop_ins(path: Path) -> list[Path]:
    """The drop-in files of a configuration file, in the order in which they are read."""
    return sorted(path.with_name(f"{path.name}.d").glob("*.conf"))


def read_ini(path: Path) -> configparser.ConfigParser:
    """Parse an INI file without interpolation; ConfigError when it can't be read or parsed."""
    parser = configparser.ConfigParser(
        interpolation=None, default_section="", delimiters=("=",), comment_prefixes=("#", ";")
    )
    parser.optionxform = str  # type: ignore[assignment]  # keys are case-sensitive here
    try:
        parser.read_string(path.read_text(encoding="utf-8"), source=str(path))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text") from None
    except configparser.DuplicateOptionError as error:
        where = f"{path}: [{error.section}] {error.option}"
        raise ConfigError(f"{where}: given twice (line {error.lineno})") from None
    except configparser.DuplicateSectionError as error:
        raise ConfigError(f"{path}: [{error.section}]: given twice (line {error.lineno})") from None
    except configparser.MissingSectionHeaderError as error:
        raise ConfigError(f"{path}: line {error.lineno} stands before any [section]") from None
    except configparser.ParsingError as error:
        # The line itself is not repeated: it may hold a secret.
        raise ConfigError(f"{path}: line {error.errors[0][0]} is not 'key = value'") from None
    return parser


# (section, key) → the last file that sets it, and the text that it gives.
_Given = dict[tuple[str, str], tuple[Path, str]]


def _section(path: Path, given: _Given, name: str, kind: type[Any]) -> Any:
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for (section, key), (file, _) in given.items():
        if section == name and key not in fields:
            raise ConfigError(f"{file}: [{name}] {key}: unknown key")
    return kind(
        **{key: _value(name, f, *given.get((name, key), (path, None))) for key, f in fields.items()}
    )


def _value(section: str, option_: dataclasses.Field[Any], file: Path, given: str | None) -> Any:
    raw = option_.metadata["default"] if given is None else given.strip()
    where = f"{file}: [{section}] {option_.name}"
    if raw is None:
        raise ConfigError(f"{where}: is required and has no default")
    try:
        return option_.metadata["read"](raw)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None
