"""doctor: each dependency and each right, one line each, with its mend."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import click

from evolvex_api import config as configuration
from evolvex_api.backends import access_store
from evolvex_api.backends.ami.client import Ami
from evolvex_api.backends.cdr.client import FIELDS, Cdr
from evolvex_api.backends.failures import BackendFailure
from evolvex_api.cli.common import EXIT_CONFIG, config_option, fail
from evolvex_api.config import Config

SERVICE_USER = "evolvex"
_ROUTE = "http://127.0.0.1/pbx/api/index/check"
_ACCESS_LOGS = ("/var/log/nginx", "/var/log/apache2")
_LOG_TAIL = 1 << 20
_LEAST_SPACE = 100 << 20
_CLOCK_TOLERANCE = 5.0


@dataclass(frozen=True)
class Finding:
    """The result of one check: `state` is ok, warn or fail; `mend` says what to do about it."""

    name: str
    state: str
    found: str
    mend: str = ""


Check = Callable[[Config], Iterator[Finding]]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array instead of lines.")
@config_option
def doctor(as_json: bool, config_path: Path) -> None:
    """Check everything that the service depends on, as the service's own user.

    Exit code 1 when a check fails; 78 when there is no configuration to check with.
    """
    _become_service_user(config_path)
    findings = list(examine(configuration.load(config_path)))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], ensure_ascii=False))
    else:
        for finding in findings:
            click.echo(_line(finding))
    if any(finding.state == "fail" for finding in findings):
        raise SystemExit(1)


def examine(config: Config) -> Iterator[Finding]:
    """Run every check and yield what each found."""
    for check in CHECKS:
        yield from check(config)


def _line(finding: Finding) -> str:
    mend = f" — {finding.mend}" if finding.mend else ""
    return f"{finding.state:4} {finding.name}: {finding.found}{mend}"


def _become_service_user(config_path: Path) -> None:
    """Run the rest as the service's user, whose rights are what counts; root sees everything."""
    if os.geteuid() != 0:
        return
    try:
        user = pwd.getpwnam(SERVICE_USER)
    except KeyError:
        return
    if not config_path.is_file():
        fail(f"{config_path}: there is no such file", EXIT_CONFIG)
    groups = os.getgrouplist(user.pw_name, user.pw_gid)
    os.setgroups(groups)
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)


def _configuration(config: Config) -> Iterator[Finding]:
    yield Finding("configuration", "ok", str(config.path))
    book = access_store.load(config.path)
    for problem in book.problems:
        yield Finding("users and groups", "fail", problem, "correct or remove the file")
    enabled = [user.name for user in book.users.values() if user.enabled]
    if enabled:
        yield Finding("users and groups", "ok", f"{len(enabled)} enabled users")
    else:
        mend = "evolvex-api group add …, group allow …, user add …"
        yield Finding("users and groups", "warn", "no enabled API user", mend)


def _ami(config: Config) -> Iterator[Finding]:
    where = f"{config.ami.host}:{config.ami.port}"
    mend = "see manager.conf and [ami]; `asterisk -rx 'manager show user NAME'` shows the rights"
    try:
        facts = Ami(config.ami).describe()
    except BackendFailure as error:
        yield Finding("AMI", "fail", f"{where}: {error}{_cause(error)}", mend)
        return
    yield Finding("AMI", "ok", f"{where} answers, {facts.version}")
    for right, granted in facts.rights.items():
        state = "ok" if granted else "fail"
        yield Finding(
            f"AMI right {right}",
            state,
            "granted" if granted else "missing",
            "" if granted else mend,
        )


def _cdr(config: Config) -> Iterator[Finding]:
    try:
        facts = Cdr(config.cdr).describe()
    except BackendFailure as error:
        mend = "see [cdr]; the user needs SELECT on the table"
        yield Finding("call log", "fail", f"{error}{_cause(error)}", mend)
        return
    table = f"{config.cdr.database}.{config.cdr.table}"
    yield Finding("call log", "ok", f"{table} on {facts.server}, {len(facts.columns)} columns")
    known = {column.lower() for column in facts.columns} | {"start", "answer", "end"}
    missing = [field for field in FIELDS if field not in known]
    if missing:
        yield Finding("call log columns", "ok", f"null in every answer: {', '.join(missing)}")
    if facts.index:
        yield Finding("call log index", "ok", f"{facts.index} on {facts.time_column}")
    else:
        mend = f"ALTER TABLE {config.cdr.table} ADD INDEX ({facts.time_column})"
        yield Finding("call log index", "warn", f"none on {facts.time_column}, so slow", mend)
    apart = abs((facts.now - datetime.now()).total_seconds())
    if apart > _CLOCK_TOLERANCE:
        mend = "give the database and this host the same time zone and clock"
        yield Finding("clock", "warn", f"the database's clock is {apart:.0f} s off", mend)
    else:
        yield Finding("clock", "ok", "the same as the database's")


def _recordings(config: Config) -> Iterator[Finding]:
    root = config.recordings.root
    if os.access(root, os.R_OK | os.X_OK):
        yield Finding("recordings", "ok", f"{root} can be read")
    else:
        mend = f"put {SERVICE_USER} into Asterisk's group, or correct [recordings] root"
        yield Finding("recordings", "fail", f"{root} can't be read", mend)


def _cache(config: Config) -> Iterator[Finding]:
    yield _writable("cache", config.mp3.cache_dir, "[mp3] cache_dir")


def _uploads(config: Config) -> Iterator[Finding]:
    folder = config.uploads.directory
    yield _writable("uploads", folder, "[uploads] directory")
    prefix = config.uploads.playback_prefix.strip("/")
    if prefix and not str(folder).endswith(f"/{prefix}"):
        mend = "playback_prefix must be the end of directory, below Asterisk's sounds folder"
        yield Finding("uploads prefix", "warn", f"{prefix!r} is not the end of {folder}", mend)


def _writable(name: str, folder: Path, option: str) -> Finding:
    mend = f"make {folder} a folder that {SERVICE_USER} may write, or correct {option}"
    try:
        with tempfile.NamedTemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        return Finding(name, "fail", f"{folder}: {error.strerror}", mend)
    if free < _LEAST_SPACE:
        return Finding(
            name, "fail", f"{folder}: {free >> 20} MiB are free", "make room on the disk"
        )
    return Finding(name, "ok", f"{folder} can be written, {free >> 20} MiB free")


def _decoder(_config: Config) -> Iterator[Finding]:
    mend = "apt install sox libsox-fmt-mp3"
    path = shutil.which("sox")
    if path is None:
        yield Finding("decoder", "fail", "sox is not installed", mend)
        return
    said = subprocess.run([path, "--help"], capture_output=True, text=True, check=False).stdout
    formats = next((line for line in said.splitlines() if "FILE FORMATS" in line), "").split()
    missing = [name for name in ("mp3", "ogg", "gsm", "flac") if name not in formats]
    if missing:
        yield Finding("decoder", "fail", f"sox can't read {', '.join(missing)}", mend)
    else:
        yield Finding("decoder", "ok", "sox reads mp3, ogg, gsm and flac")


def _web_server(_config: Config) -> Iterator[Finding]:
    mend = "evolvex-api setup connects nginx or Apache"
    try:
        urllib.request.urlopen(_ROUTE, timeout=5)
        found = "answers, but not as this service does"
    except urllib.error.HTTPError as error:
        with error:
            body = error.read(1000)
        if error.code == 401 and b'"missing_key"' in body:
            yield Finding("web server", "ok", f"{_ROUTE} leads to the service")
            return
        found = f"{_ROUTE} answers {error.code}, not as this service does"
    except OSError:
        found = f"nothing answers at {_ROUTE}"
    yield Finding("web server", "warn", found, mend)


def _keys_in_logs(_config: Config) -> Iterator[Finding]:
    """A key in a URL is a key in the log of a web server that logs query strings."""
    for folder in map(Path, _ACCESS_LOGS):
        for path in sorted(folder.glob("*access*.log")) if os.access(folder, os.R_OK) else ():
            if b"api_key=" in _tail(path):
                mend = "use the shipped log format, which leaves query strings out"
                yield Finding("keys in logs", "warn", f"{path} holds keys", mend)


def _tail(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _LOG_TAIL))
            return file.read()
    except OSError:
        return b""


def _cause(error: BackendFailure) -> str:
    return f" ({error.__cause__})" if error.__cause__ else ""


CHECKS: tuple[Check, ...] = (
    _configuration,
    _ami,
    _cdr,
    _recordings,
    _cache,
    _uploads,
    _decoder,
    _web_server,
    _keys_in_logs,
)
