"""Drop-ins of the services' units: addresses outside this host that their sandbox lets through."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evolvex_api.setup import SetupError, commands, files
from evolvex_api.setup.changes import Changes, text
from evolvex_api.setup.record import Record
from evolvex_api.setup.steps.base import EVENTS_SERVICE, SERVICE

_UNITS = Path("/etc/systemd/system")
_NAME = "evolvex-api-setup.conf"


@dataclass
class Sandbox:
    """Lets the services reach hosts (names or addresses) that are not this one."""

    hosts: Sequence[str]
    name = "sandbox"

    def plan(self) -> list[str]:
        return [
            f"{path}: let {', '.join(self._addresses())} through" for path in self._wrong_files()
        ]

    def apply(self, changes: Changes) -> None:
        changes.on_rollback(_reload)
        for path in self._wrong_files():
            _make_folder(path.parent, changes)
            changes.write(path, self._content(), owner=(0, 0))
        _reload()

    def records(self) -> list[Record]:
        return [Record("unit", str(path)) for path in _files()] if self._content() else []

    def _wrong_files(self) -> list[Path]:
        wanted = self._content()
        return [path for path in _files() if text(path) != wanted] if wanted else []

    def _content(self) -> str:
        addresses = self._addresses()
        if not addresses:
            return ""
        return (
            "# Written by `evolvex-api setup`: where the call log or AMI is.\n"
            "[Service]\n" + "".join(f"IPAddressAllow={address}\n" for address in addresses)
        )

    def _addresses(self) -> list[str]:
        found: set[str] = set()
        for host in self.hosts:
            try:
                found |= {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
            except OSError as error:
                raise SetupError(f"{host}: {error.strerror}") from None
        return sorted(address for address in found if not ipaddress.ip_address(address).is_loopback)


def _files() -> list[Path]:
    return [_UNITS / f"{unit}.d" / _NAME for unit in (SERVICE, EVENTS_SERVICE)]


def _make_folder(folder: Path, changes: Changes) -> None:
    if not files.exists(folder):
        folder.mkdir(mode=0o755)
        changes.on_rollback(folder.rmdir)


def _reload() -> None:
    commands.run("systemctl", "daemon-reload")


def undo(file: str, changes: Changes) -> str:
    """Remove a drop-in."""
    changes.on_rollback(_reload)
    path = Path(file)
    if files.exists(path):
        changes.write(path, None)
    _reload()
    return f"{file}: removed"
