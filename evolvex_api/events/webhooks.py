"""webhooks.d/<name>.conf beside evolvex.conf: where events are sent, read and written."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from evolvex_api.backends.replacing import replace_file
from evolvex_api.config import ConfigError, read_ini
from evolvex_api.events import signing
from evolvex_api.events.envelope import TYPES

_T = TypeVar("_T")

_NAME = re.compile(r"\w[\w.-]{0,62}")
_KEYS = {
    *("url", "group_uuid", "enable", "types", "secret", "timeout"),
    *("previous_secret", "previous_until"),
}
_DEFAULT_TIMEOUT = 15.0
# As long as receivers have to take up a new secret.
_ROTATION = timedelta(hours=24)


class WebhookError(Exception):
    """A change that can't be made; the text says why."""


@dataclass(frozen=True)
class Webhook:
    """A receiver of a group's events. `types` is empty for all; `timeout` is in seconds."""

    name: str
    url: str
    group_uuid: str
    secret: str = field(repr=False)
    enabled: bool = True
    types: frozenset[str] = frozenset()
    timeout: float = _DEFAULT_TIMEOUT
    previous_secret: str = field(repr=False, default="")
    previous_until: datetime | None = None
    # Changes with each change of the file; a 410 counts until then.
    fingerprint: str = field(compare=False, default="")

    def wants(self, kind: str) -> bool:
        """True when events of that type are to be sent."""
        return not self.types or kind in self.types

    def keys(self, now: datetime) -> tuple[bytes, ...]:
        """Return the keys to sign with, the newest first; two while the secret is rotated."""
        keys = [signing.key_of(self.secret)]
        if self.previous_secret and self.previous_until and now < self.previous_until:
            keys.append(signing.key_of(self.previous_secret))
        return tuple(keys)


def directory(config_path: Path) -> Path:
    """The folder of webhook files that belongs to a configuration file."""
    return config_path.parent / "webhooks.d"


def load(config_path: Path) -> tuple[dict[str, Webhook], list[str]]:
    """Return the webhooks by name, and what is wrong with files that are no webhook."""
    found: dict[str, Webhook] = {}
    problems = []
    for path in _files(config_path):
        try:
            found[path.stem] = read(path)
        except ConfigError as error:
            problems.append(str(error))
    return found, problems


def signature(config_path: Path) -> tuple[tuple[str, int, int, int], ...]:
    """What changes when a file is added, changed or removed."""
    found = []
    for path in _files(config_path):
        with contextlib.suppress(OSError):
            status = path.stat()
            found.append((path.name, status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(found)


def read(path: Path) -> Webhook:
    """Read one file. Raises ConfigError, naming file, key and reason, never the secret."""
    parser = read_ini(path)
    if parser.sections() != ["webhook"]:
        raise ConfigError(f"{path}: must have the section [webhook] alone")
    values = dict(parser["webhook"])
    unknown = values.keys() - _KEYS
    if unknown:
        raise ConfigError(f"{path}: [webhook] {min(unknown)}: unknown key")
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    return Webhook(
        name=path.stem,
        url=_value(path, values, "url", _url),
        group_uuid=_value(path, values, "group_uuid", _present),
        secret=_value(path, values, "secret", _secret),
        enabled=_value(path, values, "enable", _yes_or_no, "yes"),
        types=_value(path, values, "types", types_of, ""),
        timeout=_value(path, values, "timeout", _seconds, str(_DEFAULT_TIMEOUT)),
        previous_secret=_value(path, values, "previous_secret", _optional_secret, ""),
        previous_until=_value(path, values, "previous_until", _moment, ""),
        fingerprint=hashlib.sha256(text).hexdigest(),
    )


class WebhookFiles:
    """Writes the files, for the command line."""

    def __init__(self, config_path: Path) -> None:
        self._config_path = config_path
        self._directory = directory(config_path)

    def get(self, name: str) -> Webhook:
        """Return a webhook; WebhookError when there is none, ConfigError for a broken file."""
        path = self._path(name)
        if not path.exists():
            raise WebhookError(f"there is no webhook {name!r}")
        return read(path)

    def add(self, name: str, url: str, group_uuid: str, types: str) -> Webhook:
        """Make a webhook with a new secret. Raises WebhookError."""
        if self._path(name).exists():
            raise WebhookError(f"there is a webhook {name!r} already")
        try:
            made = Webhook(name, _url(url), group_uuid, signing.new_secret(), types=types_of(types))
        except ValueError as error:
            raise WebhookError(str(error)) from None
        self.write(made)
        return made

    def rotated(self, name: str, now: datetime) -> Webhook:
        """Give a webhook a new secret; for a day messages are signed with both."""
        old = self.get(name)
        new = replace(
            old,
            secret=signing.new_secret(),
            previous_secret=old.secret,
            previous_until=now + _ROTATION,
        )
        self.write(new)
        return new

    def remove(self, name: str) -> None:
        """Remove a webhook."""
        self.get(name)
        try:
            self._path(name).unlink()
        except OSError as error:
            raise WebhookError(f"{self._path(name)}: {error.strerror}") from None

    def write(self, webhook: Webhook) -> None:
        """Write a webhook's file, whole and readable by the service's group alone."""
        values = {
            "url": webhook.url,
            "group_uuid": webhook.group_uuid,
            "enable": "yes" if webhook.enabled else "no",
            "types": ", ".join(kind for kind in TYPES if kind in webhook.types),
            "secret": webhook.secret,
            "timeout": f"{webhook.timeout:g}",
            "previous_secret": webhook.previous_secret,
            "previous_until": webhook.previous_until.isoformat() if webhook.previous_until else "",
        }
        lines = (f"{key} = {value}\n" for key, value in values.items() if value)
        # The time makes the file another one: what was switched off by a 410 is tried again.
        text = f"# Written {datetime.now().astimezone().isoformat()}\n[webhook]\n{''.join(lines)}"
        replace_file(self._path(webhook.name), text)

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise WebhookError(f"name {name!r} can't be used: letters, digits and ._- alone")
        return self._directory / f"{name}.conf"


def types_of(raw: str) -> frozenset[str]:
    """Return the event types between commas or white space; ValueError for an unknown one."""
    kinds = frozenset(re.split(r"[\s,]+", raw.strip())) if raw.strip() else frozenset()
    unknown = kinds - set(TYPES)
    if unknown:
        raise ValueError(f"there is no event type {min(unknown)!r}; there are {', '.join(TYPES)}")
    return kinds


def _files(config_path: Path) -> list[Path]:
    try:
        found = sorted(directory(config_path).iterdir())
    except OSError:
        return []
    return [path for path in found if path.suffix == ".conf" and not path.name.startswith(".")]


def _value(
    path: Path, values: dict[str, str], key: str, read_: Callable[[str], _T], default: str = ""
) -> _T:
    try:
        return read_(values.get(key, default).strip())
    except ValueError as error:
        raise ConfigError(f"{path}: [webhook] {key}: {error}") from None


def _present(raw: str) -> str:
    if not raw:
        raise ValueError("is required")
    return raw


def _url(raw: str) -> str:
    try:
        parts = urlsplit(raw)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
    except ValueError:
        usable = False
    # What http.client would refuse in a request line.
    if not usable or not raw.isascii() or re.search(r"[\x00-\x20\x7f]", raw):
        raise ValueError("url must be http://… or https://… in ASCII, without spaces")
    if "@" in parts.netloc:
        raise ValueError("url must hold no user or password: messages are signed instead")
    return raw


def _secret(raw: str) -> str:
    signing.key_of(raw)
    return raw


def _optional_secret(raw: str) -> str:
    return _secret(raw) if raw else ""


def _yes_or_no(raw: str) -> bool:
    if raw not in ("yes", "no"):
        raise ValueError("must be yes or no")
    return raw == "yes"


def _seconds(raw: str) -> float:
    value = float(raw) if re.fullmatch(r"\d{1,3}(\.\d+)?", raw) else 0.0
    if not 1 <= value <= 120:
        raise ValueError("must be a number of seconds from 1 to 120")
    return value


def _moment(raw: str) -> datetime | None:
    if not raw:
        return None
    moment = datetime.fromisoformat(raw)
    if moment.tzinfo is None:
        raise ValueError("must be a time with its zone")
    return moment
