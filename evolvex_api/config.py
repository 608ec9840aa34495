"""The only reader of evolvex.conf: an INI file as typed, checked, immutable values.

Each option declares its type, its default and its help in one place, the dataclasses below;
`make config-docs` generates etc/evolvex.conf, the manual page's list and docs/configuration.md
from them. The file is read once, at start, and checked whole: the first fault found is a
ConfigError that names file, section, key and reason.
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

from evolvex_api import option_types as types

DEFAULT_PATH = Path("/etc/evolvex/evolvex.conf")
PATH_VARIABLE = "EVOLVEX_CONFIG"


class ConfigError(Exception):
    """A configuration that can't be used; the text says where and why, never a secret."""


def option(read: Callable[[str], Any], default: str | None, about: str) -> Any:
    """A dataclass field that carries how its text is read, its default as text, and its help.

    `default` is None where the administrator must give a value.
    """
    return field(metadata={"read": read, "default": default, "help": about})


def secret_option(about: str, default: str | None = None) -> Any:
    """An option, required without a default, that never shows in a repr, and so in no log."""
    read = types.required_text if default is None else types.text
    return field(repr=False, metadata={"read": read, "default": default, "help": about})


@dataclass(frozen=True)
class Server:
    """How gunicorn serves."""

    bind: str = option(
        types.bind_address,
        "unix:/run/evolvex-api/gunicorn.sock",
        "`unix:/path` or `host:port`. A socket passed by systemd takes precedence.",
    )
    workers: int = option(types.whole_number(1, 64), "2", "Worker processes.")
    threads: int = option(
        types.whole_number(1, 1024),
        "64",
        "Requests that one worker answers at once. An idle thread costs next to nothing.",
    )
    public: bool = option(
        types.switch,
        "no",
        "`yes` permits a TCP address in `bind` that other hosts reach. Without a web server in"
        " front nothing limits slow clients and nothing encrypts keys.",
    )
    public_url: str = option(
        types.base_url,
        "",
        "The address under which clients reach the API, used in links to recordings. When it is"
        " empty, the web server's scheme and host are used.",
    )
    cors_origins: frozenset[str] = option(
        types.origins,
        "",
        "Origins of browser pages that may call the API, such as `https://crm.example.com`.",
    )
    state_dir: Path = option(
        types.folder,
        "/var/lib/evolvex-api",
        "The folder of what must survive a restart: counts of calls, live calls, webhooks.",
    )


@dataclass(frozen=True)
class Ami:
    """The Asterisk Manager Interface."""

    host: str = option(types.required_text, "127.0.0.1", "The host on which Asterisk serves AMI.")
    port: int = option(types.port, "5038", "AMI's TCP port.")
    username: str = option(types.required_text, "evolvex", "The AMI user.")
    secret: str = secret_option("The AMI user's secret.")
    timeout: float = option(types.seconds, "5", "Seconds to wait for an answer of Asterisk.")


@dataclass(frozen=True)
class Cdr:
    """The MySQL or MariaDB table of call detail records."""

    host: str = option(types.required_text, "127.0.0.1", "The database's host.")
    port: int = option(types.port, "3306", "The database's TCP port.")
    unix_socket: str = option(
        types.text, "", "The database's socket, used instead of host and port when given."
    )
    user: str = option(types.required_text, "evolvex", "The database user. SELECT is enough.")
    password: str = secret_option("The database user's password.")
    database: str = option(types.table_name, "asteriskcdrdb", "The database.")
    table: str = option(types.table_name, "cdr", "The table of call detail records.")
    cel_table: str = option(
        types.table_name,
        "cel",
        "The table of channel events in the same database. It need not exist; with it, recordings"
        " are found by the id of a dialled leg too.",
    )
    charset: str = option(
        types.encoding,
        "",
        "The character set in which the table's bytes are, when that is not the one that the table"
        " declares: `utf8mb4` for a latin1 table that holds UTF-8 (old Elastix and FreePBX).",
    )


@dataclass(frozen=True)
class Recordings:
    """Where MixMonitor writes."""

    root: Path = option(
        types.folder, "/var/spool/asterisk/monitor", "The folder of all recordings."
    )
    also: tuple[Path, ...] = option(
        types.folders,
        "",
        "Further folders, one a line, into which symbolic links below `root` may lead.",
    )
    patterns: tuple[str, ...] = option(
        types.recording_patterns,
        "{YYYY}/{MM}/{DD}/*-{uniqueid}.{ext}",
        "Shell patterns below `root`, one a line, tried after `{uniqueid}.{ext}`.",
    )


@dataclass(frozen=True)
class Mp3:
    """MP3 encoding and the cache of what was encoded or decoded."""

    bitrate: int = option(types.mp3_bitrate, "32", "Constant bit rate in kbit/s.")
    quality: int = option(types.whole_number(0, 9), "5", "LAME's quality: 0 is best, 9 is fastest.")
    cache_dir: Path = option(types.folder, "/var/cache/evolvex-api", "The cache's folder.")
    cache_size: int = option(
        types.size, "1G", "The cache's size. Least recently used files are removed above it."
    )


@dataclass(frozen=True)
class Uploads:
    """Sounds that clients upload for the dialplan."""

    directory: Path = option(
        types.folder,
        "/var/lib/evolvex-api/sounds",
        "The folder of uploaded sounds. A link in Asterisk's folder of sounds leads there.",
    )
    playback_prefix: str = option(
        types.text, "evolvex", "What Playback() needs before a file's name to find that folder."
    )
    max_size: int = option(types.size, "32M", "The largest file that is accepted.")
    max_duration: int = option(
        types.duration, "10m", "The longest sound that is accepted: 30s, 10m, 1h."
    )
    quota: int = option(
        types.size, "1G", "Bytes of all stored sounds. `[uploads] quota` limits a group."
    )
    keep_free: int = option(types.size, "512M", "Bytes that uploads leave free on the disk.")


@dataclass(frozen=True)
class Originate:
    """What `originate` may dial: the firewall against toll fraud."""

    technologies: tuple[str, ...] = option(
        types.words, "PJSIP, SIP, IAX2, DAHDI, Local", "Channel technologies that may be dialled."
    )
    variables: tuple[str, ...] = option(
        types.words,
        "",
        "Shell patterns of variable names all in capitals that clients may set. Other names are"
        " free.",
    )
    timeout: int = option(
        types.whole_number(1, 300), "30", "Seconds to ring when the client gives no `timeout`."
    )
    max_calls: int = option(
        types.whole_number(1, 100_000),
        "100",
        "Calls of a group that may be in flight at once, unless the group's file has a limit.",
    )
    calls_per_minute: int = option(
        types.whole_number(1, 100_000),
        "120",
        "Calls that a group may start in a minute, unless the group's file has a limit.",
    )


@dataclass(frozen=True)
class Events:
    """The service of live calls: events, calls and webhooks."""

    bind: str = option(
        types.bind_address,
        "unix:/run/evolvex-api/events.sock",
        "`unix:/path` or `host:port`. A socket passed by systemd takes precedence.",
    )
    username: str = option(types.required_text, "evolvex-events", "The AMI user of this service.")
    secret: str = secret_option("That AMI user's secret. `setup` fills it in.", default="")
    retention: int = option(
        types.duration, "24h", "How long ended calls and events are kept: 30m, 24h, 7d."
    )
    max_streams: int = option(
        types.whole_number(1, 10_000), "200", "Event streams that may be open at once."
    )
    streams_per_user: int = option(
        types.whole_number(1, 10_000), "20", "Event streams that one API user may have open."
    )
    inbound_contexts: tuple[str, ...] = option(
        types.words,
        "from-trunk*, from-pstn*, from-did*, incoming*, inbound*",
        "Shell patterns of the contexts in which calls from outside begin.",
    )
    internal_numbers: re.Pattern[str] = option(
        types.expression,
        "[0-9]{2,5}",
        "A regular expression of the numbers of this PBX's own extensions, matched as a whole.",
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
    events: Events


SECTIONS: Mapping[str, type[Any]] = {
    "server": Server,
    "ami": Ami,
    "cdr": Cdr,
    "recordings": Recordings,
    "mp3": Mp3,
    "uploads": Uploads,
    "originate": Originate,
    "events": Events,
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
        # utf-8-sig: Windows editors put a byte order mark at the start.
        parser.read_string(path.read_text(encoding="utf-8-sig"), source=str(path))
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
