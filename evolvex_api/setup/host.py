"""What runs on this host: Asterisk or FreePBX, and the web server."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from evolvex_api.setup import SetupError
from evolvex_api.setup.commands import run, succeeds
from evolvex_api.setup.databases import ETC, FREEPBX
from evolvex_api.setup.files import peek

_ANY_ADDRESS = {"0.0.0.0", "::", "[::]"}  # noqa: S104  # what Asterisk says for all addresses


@dataclass(frozen=True)
class Pbx:
    """Asterisk as it runs: where AMI listens and takes users, and where its files are."""

    manager: Path
    ami_file: Path
    ami_enabled: bool
    ami_host: str
    ami_port: str
    recordings: Path
    sounds: Path
    is_freepbx: bool


def asterisk_runs() -> bool:
    """Whether Asterisk answers on its console's socket."""
    return succeeds("asterisk", "-rx", "core show version")


def find_pbx() -> Pbx:
    """Asterisk on this host; SetupError when there is none, or it does not run."""
    manager = ETC / "manager.conf"
    if not manager.is_file():
        raise SetupError(
            f"{manager}: there is no Asterisk here; set up [ami] of evolvex.conf by hand"
        )
    if not asterisk_runs():
        raise SetupError(
            "Asterisk does not run; start it (systemctl start asterisk, FreePBX: fwconsole start), "
            "then run setup again"
        )
    ami = _shown("manager show settings")
    core = _shown("core show settings")
    host, _, port = ami.get("TCP Bindaddress", "").rpartition(":")
    data = Path(core.get("Data directory", "/var/lib/asterisk"))
    return Pbx(
        manager=manager,
        ami_file=_ami_file(manager),
        ami_enabled=ami.get("Manager (AMI)", "No") == "Yes",
        ami_host="127.0.0.1" if not host or host in _ANY_ADDRESS else host.strip("[]"),
        ami_port=port if port.isdigit() and port != "0" else "5038",
        recordings=Path(core.get("Spool directory", "/var/spool/asterisk")) / "monitor",
        sounds=data / "sounds",
        is_freepbx=FREEPBX.is_file(),
    )


def _shown(command: str) -> dict[str, str]:
    """What a console command prints as `Name:   value` lines."""
    printed = run("asterisk", "-rx", command)
    return dict(re.findall(r"^\s*([^:\n]+?):[ \t]+(\S.*?)\s*$", printed, re.MULTILINE))


def _ami_file(manager: Path) -> Path:
    """The file of AMI users that upgrades and FreePBX leave alone, else manager.conf itself."""
    includes = re.findall(r'^\s*#(?:try)?include\s+"?([^"\n;]+?)"?\s*$', peek(manager), re.M)
    for name in includes:
        if name.endswith("manager_custom.conf"):
            return ETC / "manager_custom.conf"
    for name in includes:
        if re.search(r"manager\.d/\*(\.conf)?$", name):
            return ETC / "manager.d" / "evolvex-api.conf"
    return manager


def find_web_server() -> str:
    """`nginx`, `apache2`, or '' when neither runs."""
    for unit in ("nginx", "apache2"):
        if succeeds("systemctl", "--quiet", "is-active", unit):
            return unit
    return ""
