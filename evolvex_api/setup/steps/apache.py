"""The API's locations in Apache, in all sites, and logs that leave keys out."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from evolvex_api.setup import commands, files, probe
from evolvex_api.setup.changes import Changes, text
from evolvex_api.setup.record import Record
from evolvex_api.setup.steps.web import Clients, prove_route

_ETC = Path("/etc/apache2")
_ENABLED = _ETC / "conf-enabled" / "evolvex-api.conf"
_MODULES = ("headers", "proxy", "proxy_http", "setenvif")
# A log line of the route is not written there; see etc/apache2/evolvex-api.conf.
_CONDITION = " env=!evolvex_api"
_WORD = r"(?:\"(?:\\.|[^\"\\\n])*\"|\S+)"
_CUSTOM_LOG = re.compile(
    rf"^(?P<log>[ \t]*CustomLog[ \t]+{_WORD}[ \t]+{_WORD})[ \t]*$", re.MULTILINE | re.IGNORECASE
)


@dataclass
class Apache:
    """Switches the API's configuration on, with the modules that it needs."""

    clients: Clients
    public: bool
    name = "web server"
    url: str = field(default="", init=False)
    _switched_on: list[str] = field(default_factory=list, init=False)

    def plan(self) -> list[str]:
        lines = self.clients.plan(self.public)
        if missing := self._missing_modules():
            lines.append(f"Apache: modules {', '.join(missing)}")
        if not files.exists(_ENABLED):
            lines.append("Apache: conf evolvex-api")
        lines += [f"{path}: keep the API's keys out of its log" for path in _logging_files()]
        if not lines and not self._answers():
            lines.append("the route does not answer yet")
        return [*lines, "reload apache2"] if lines else []

    def apply(self, changes: Changes) -> None:
        changes.on_rollback(reload)
        self.clients.apply(changes, self.public)
        self._switched_on = self._missing_modules()
        for module in self._switched_on:
            changes.run(
                "a2enmod", "--quiet", module, undo=("a2dismod", "--quiet", "--force", module)
            )
        if not files.exists(_ENABLED):
            off = ("a2disconf", "--quiet", "evolvex-api")
            changes.run("a2enconf", "--quiet", "evolvex-api", undo=off)
        for path in _logging_files():
            changes.write(path, _CUSTOM_LOG.sub(rf"\g<log>{_CONDITION}", text(path)))
        reload()
        self.url = prove_route(_urls())

    def records(self) -> list[Record]:
        return [
            Record("apacheconf", "evolvex-api"),
            *(Record("apachemod", module) for module in self._switched_on),
            *(Record("apachelog", str(path)) for path in _conditioned_files()),
        ]

    def _missing_modules(self) -> list[str]:
        enabled = _ETC / "mods-enabled"
        return [name for name in _MODULES if not files.exists(enabled / f"{name}.load")]

    def _answers(self) -> bool:
        answers = [probe.ask(url, address) for url, address in _urls()]
        self.url = next((answer.url for answer in answers if answer.is_the_service), "")
        return bool(self.url)


def _urls() -> list[tuple[str, str]]:
    """(URL, address) pairs of what ports.conf listens on."""
    found = []
    listens = re.findall(r"^\s*Listen\s+(?:\S*:)?(\d+)", text(_ETC / "ports.conf"), re.M | re.I)
    for port in dict.fromkeys(listens or ["80"]):
        scheme, usual = ("https", "443") if port == "443" else ("http", "80")
        where = "localhost" if port == usual else f"localhost:{port}"
        found.append((f"{scheme}://{where}{probe.PATH}", "127.0.0.1"))
    return found


def _configuration_files() -> list[Path]:
    """The files that may say where a site logs: enabled sites and snippets, and apache2.conf."""
    linked = [*_ETC.glob("sites-enabled/*.conf"), *_ETC.glob("conf-enabled/*.conf")]
    own = files.resolved(_ENABLED)
    found = {files.resolved(path) for path in linked if path.is_file()}
    return sorted((found | {_ETC / "apache2.conf"}) - {own, _ENABLED})


def _logging_files() -> list[Path]:
    return [path for path in _configuration_files() if _CUSTOM_LOG.search(text(path))]


def _conditioned_files() -> list[Path]:
    return [path for path in _configuration_files() if _CONDITION in text(path)]


def reload() -> None:
    """Make a running Apache take its configuration; SetupError when that is wrong."""
    if commands.succeeds("systemctl", "--quiet", "is-active", "apache2"):
        commands.run("apache2ctl", "configtest")
        # A module that was just switched on needs a restart when Apache's reload does not load it.
        commands.run("systemctl", "reload-or-restart", "apache2")


def undo_conf(name: str, changes: Changes) -> str:
    """Switch the API's configuration off; Apache may be stopped or gone."""
    link = _ETC / "conf-enabled" / f"{name}.conf"
    if files.exists(link):
        changes.on_rollback(reload)
        changes.replaced(files.set_aside(link))
        reload()
    return f"Apache: conf {name} off"


def undo_module(name: str, changes: Changes) -> str:
    """Switch a module off that setup switched on, unless another one has come to need it."""
    if not files.exists(_ETC / "mods-enabled" / f"{name}.load"):
        return f"Apache: module {name} is off"
    if not commands.succeeds("a2dismod", "--quiet", name):
        return f"Apache: module {name} stays on, others need it"
    changes.on_rollback(lambda: commands.run("a2enmod", "--quiet", name))
    changes.on_rollback(reload)
    if not commands.succeeds("apache2ctl", "configtest"):
        commands.run("a2enmod", "--quiet", name)
        return f"Apache: module {name} stays on, the configuration needs it"
    reload()
    return f"Apache: module {name} off"


def undo_log(file: str, changes: Changes) -> str:
    """Take the condition out of a file's CustomLog lines."""
    path = Path(file)
    if _CONDITION in text(path):
        changes.on_rollback(reload)
        changes.write(path, text(path).replace(_CONDITION, ""))
        reload()
    return f"{file}: logs as before"
