"""What evolvex.conf has to say for this host, and the service that reads it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evolvex_api import config
from evolvex_api.setup import SetupError, commands, probe
from evolvex_api.setup.changes import Changes, text
from evolvex_api.setup.record import Record
from evolvex_api.setup.steps.base import EVENTS_SERVICE, SERVICE, Settings, proven


@dataclass
class Configuration:
    """Settings of evolvex.conf; with `restart`, the services are restarted in any case."""

    path: Path
    settings: Settings
    restart: bool
    name = "configuration"

    def plan(self) -> list[str]:
        lines = [f"{self.path}: [{section}] {key}" for section, key in self.settings]
        return [*lines, f"restart {SERVICE}"] if lines or self.restart else []

    def apply(self, changes: Changes) -> None:
        changes.on_rollback(_restart)
        if self.settings:
            changes.write(self.path, with_settings(text(self.path), self.settings))
            self._refuse_overruled()
        _restart()
        proven(_fault)

    def records(self) -> list[Record]:
        """None: the configuration is kept, as the package's removal keeps it."""
        return []

    def _refuse_overruled(self) -> None:
        """A drop-in may set the same key to something else."""
        loaded = config.load(self.path)
        for (section, key), value in self.settings.items():
            if str(getattr(getattr(loaded, section), key)) != value:
                folder = f"{self.path}.d"
                raise SetupError(f"{folder}: [{section}] {key} is set to another value there")


def _restart() -> None:
    try:
        commands.run("systemctl", "restart", SERVICE)
    except SetupError:
        command = ("journalctl", "--unit", SERVICE, "--lines", "2", "--output", "cat")
        raise SetupError(f"{SERVICE} does not start: {commands.run(*command).strip()}") from None
    if commands.succeeds("systemctl", "--quiet", "is-enabled", EVENTS_SERVICE):
        commands.run("systemctl", "restart", EVENTS_SERVICE)


def _fault() -> str:
    answer = probe.ask_socket()
    if answer.is_the_service:
        return ""
    return f"{SERVICE} does not answer at its socket ({answer.text}); see: journalctl -u {SERVICE}"


def with_settings(before: str, settings: Settings) -> str:
    """evolvex.conf's text with values set: over the key's line, commented or not, else anew."""
    for (section, key), value in settings.items():
        before = _with_setting(before, section, key, value)
    return before


def _with_setting(before: str, section: str, key: str, value: str) -> str:
    head, header, rest = _split(before, re.escape(section))
    if not header:
        # Of an earlier version, which did not have the section yet.
        gap = "" if not before or before.endswith("\n") else "\n"
        return f"{before}{gap}\n[{section}]\n{key} = {value}\n"
    body, next_header, tail = _split(rest)
    line = f"{key} = {value}"
    found = re.compile(rf"^{re.escape(key)}\s*=.*$", re.MULTILINE)
    if not found.search(body):
        found = re.compile(rf"^#{re.escape(key)}\s*=.*$", re.MULTILINE)
    set_, there = found.subn(lambda _: line, body, count=1)
    body = set_ if there else f"{line}\n{body}"
    return f"{head}{header}{body}{next_header}{tail}"


def _split(content: str, section: str = r"[^\]]+") -> Sequence[str]:
    """Text before a section's header line, that line, and what comes after it."""
    found = re.search(rf"^\[{section}\]\s*\n", content, re.MULTILINE)
    if not found:
        return content, "", ""
    return content[: found.start()], found[0], content[found.end() :]
