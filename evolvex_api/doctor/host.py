"""Other programs of the host, which only root can look at: logs, groups, fail2ban."""

from __future__ import annotations

import grp
import os
from collections.abc import Iterator
from pathlib import Path

from evolvex_api.config import Config
from evolvex_api.doctor.findings import Finding
from evolvex_api.setup import commands

_ACCESS_LOGS = ("/var/log/nginx", "/var/log/apache2")
_LOG_TAIL = 1 << 20
_UNITS = ("evolvex-api.service", "evolvex-api-events.service")


def check_keys_in_logs(_config: Config) -> Iterator[Finding]:
    """A key in a URL is a key in the log of a web server that logs query strings."""
    found = False
    for folder in map(Path, _ACCESS_LOGS):
        for path in sorted(folder.glob("*access*.log")) if os.access(folder, os.R_OK) else ():
            if b"api_key=" in _tail(path):
                found = True
                fix = "evolvex-api setup keeps them out; remove the old lines, or rotate the keys"
                yield Finding("keys in logs", "warn", f"{path} holds keys", fix)
    if not found:
        yield Finding("keys in logs", "ok", "none in nginx's and Apache's access logs")


def _tail(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _LOG_TAIL))
            return file.read()
    except OSError:
        return b""


def check_groups(_config: Config) -> Iterator[Finding]:
    """www-data in Asterisk's group reads Asterisk's secrets, in every PHP page of the host."""
    try:
        members = grp.getgrnam("asterisk").gr_mem
    except KeyError:
        return
    if "www-data" in members:
        fix = "gpasswd --delete www-data asterisk; evolvex-api setup gives nginx an ACL instead"
        yield Finding("groups", "warn", "www-data is in group asterisk", fix)


def check_fail2ban(_config: Config) -> Iterator[Finding]:
    """fail2ban without the jail bans nobody who tries keys."""
    if not Path("/usr/bin/fail2ban-client").exists():
        return
    if commands.succeeds("fail2ban-client", "status", "evolvex-api"):
        yield Finding("fail2ban", "ok", "the jail evolvex-api is on")
        return
    fix = "write [evolvex-api] enabled = true into /etc/fail2ban/jail.d/evolvex-api.local"
    yield Finding("fail2ban", "warn", "is installed, and the jail evolvex-api is off", fix)


def check_services(_config: Config) -> Iterator[Finding]:
    """Whether the services run."""
    if not Path("/run/systemd/system").exists():
        return
    for unit in _UNITS:
        state = commands.run("systemctl", "show", "--property=ActiveState", "--value", unit).strip()
        if state == "active":
            yield Finding("service", "ok", f"{unit} runs")
        else:
            yield Finding("service", "fail", f"{unit} is {state}", f"journalctl -u {unit}")


def check_dialplan(_config: Config) -> Iterator[Finding]:
    """What a dialplan lets through can't be seen from here."""
    yield Finding(
        "dialplan",
        "ok",
        "not looked at: in the granted contexts look for `_.`, `_X.` and `_+X.`, which let any "
        "number out (asterisk -rx 'dialplan show CONTEXT')",
    )
