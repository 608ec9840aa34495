"""Running checks as the service runs: its user, and the sandbox of its unit.

What root can read or write says nothing about the service, and neither does what its user can:
the unit takes most of the file system away. So the checks run as a transient unit with the
service's own properties, drop-ins included. See systemd-run(1), systemd.exec(5).
"""

from __future__ import annotations

import json
import pwd
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from evolvex_api.doctor.findings import Finding
from evolvex_api.setup import SetupError, commands

_UNIT = "evolvex-api.service"
_USER = "evolvex"
# What makes a unit this service and no other: how it starts, ends and reports.
_NOT_THE_SANDBOX = re.compile(
    r"Exec(Start|StartPre|StartPost|Reload|Stop|StopPost|Condition)|Type|NotifyAccess|Restart.*"
    r"|Timeout.*|KillMode|SyslogIdentifier|Standard.*|OOMPolicy|Watchdog.*|RuntimeDirectory.*"
)


def examine(config_path: Path) -> Iterator[Finding]:
    """What the checks within the sandbox find; as the bare user when there is no such unit."""
    doctor = [*_own_command(), "doctor", "--json", "--inside", "--config", str(config_path)]
    properties = unit_properties()
    if properties:
        options = [f"--property={one}" for one in properties]
        run = ["systemd-run", "--quiet", "--wait", "--pipe", "--collect", *options, "--", *doctor]
        done = subprocess.run(run, capture_output=True, text=True, check=False, timeout=120)
        if findings := _findings(done.stdout):
            yield from findings
            return
        words = (done.stderr.strip() or "no output").splitlines()[-1]
        fix = f"systemctl status {_UNIT}; the checks below ran without its sandbox"
        yield Finding("sandbox", "warn", f"systemd-run: {words}", fix)
    yield from _as_user(doctor)


def _own_command() -> list[str]:
    """How this very program is started."""
    if Path(sys.argv[0]).name == "evolvex-api":
        return [sys.argv[0]]
    return [sys.executable, "-m", "evolvex_api"]


def unit_properties() -> list[str]:
    """The unit's settings as `Name=value`, in their order; empty when there is no such unit."""
    try:
        shown = commands.run("systemctl", "cat", _UNIT)
    except SetupError:
        return []
    return sandbox_of(shown)


def sandbox_of(unit: str) -> list[str]:
    """What a unit's text says of its sandbox, as `Name=value`."""
    section, found = "", []
    for line in unit.replace("\\\n", " ").splitlines():
        if line.startswith("["):
            section = line
        setting = re.match(r"(\w+)\s*=\s*(.*)", line)
        if setting and section == "[Service]" and not _NOT_THE_SANDBOX.fullmatch(setting[1]):
            found.append(f"{setting[1]}={setting[2]}")
    return found


def _as_user(doctor: list[str]) -> Iterator[Finding]:
    try:
        user: str | None = pwd.getpwnam(_USER).pw_name
    except KeyError:
        user = None
    done = subprocess.run(
        [*(["runuser", "-u", user, "--"] if user else []), *doctor],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    findings = _findings(done.stdout)
    if not findings:
        words = (done.stderr.strip() or "no output").splitlines()[-1]
        yield Finding("service", "fail", f"the checks could not run: {words}", "see above")
    yield from findings


def _findings(printed: str) -> list[Finding]:
    try:
        return [Finding(**one) for one in json.loads(printed)]
    except (ValueError, TypeError):
        return []
