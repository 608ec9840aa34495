"""Which steps this host needs, in their order."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evolvex_api.config import Config
from evolvex_api.setup import host
from evolvex_api.setup.databases import find_database
from evolvex_api.setup.steps import nginx, recordings
from evolvex_api.setup.steps.ami import AmiUsers, events_account, service_account
from evolvex_api.setup.steps.apache import Apache
from evolvex_api.setup.steps.base import Settings, Step
from evolvex_api.setup.steps.calllog import CallLogReader
from evolvex_api.setup.steps.configuration import Configuration
from evolvex_api.setup.steps.membership import Membership
from evolvex_api.setup.steps.nginx import Nginx
from evolvex_api.setup.steps.recordings import ReadableRecordings
from evolvex_api.setup.steps.sounds import SoundsFolder
from evolvex_api.setup.steps.unit import Sandbox
from evolvex_api.setup.steps.web import Clients, apache_clients, nginx_clients


@dataclass(frozen=True)
class Choices:
    """What the administrator said: the web server, nginx's site, and who may use the route.

    None: to be found out, or to be left as it is.
    """

    web: str | None = None
    site: Path | None = None
    public: bool | None = None


@dataclass(frozen=True)
class Found:
    """The steps of this host, and what is worth a word to the administrator."""

    steps: Sequence[Step]
    remarks: Sequence[str]

    @property
    def url(self) -> str:
        """Where the route was seen to work; '' when there is none."""
        return next((one.url for one in self.steps if isinstance(one, Nginx | Apache)), "")


def look(config: Config, choices: Choices) -> Found:
    """Look at the host; nothing is changed. Raises SetupError when a piece is missing."""
    pbx = host.find_pbx()
    reader = CallLogReader(config, find_database())
    sounds = SoundsFolder(config.uploads, pbx)
    wanted = _pbx_settings(config, pbx) | reader.settings() | sounds.settings()
    settings = {key: value for key, value in wanted.items() if _value(config, key) != value}
    ami = replace(config.ami, host=pbx.ami_host, port=int(pbx.ami_port))
    events = replace(
        ami, username=config.events.username, secret=_wanted(config, wanted, "events", "secret")
    )
    sandbox = Sandbox(_outside_hosts(config, wanted))
    web, remarks = _web_steps(config, choices, Path(_wanted(config, wanted, "recordings", "root")))
    # The unit's sandbox takes in a new folder or address only when the service starts.
    restart = bool(sounds.plan() or sandbox.plan() or Membership().plan())
    steps: list[Step] = [
        AmiUsers(pbx, [service_account(ami), events_account(events)]),
        Membership(),
        reader,
        sounds,
        sandbox,
        Configuration(config.path, settings, restart),
        *web,
    ]
    return Found(steps, remarks)


def _pbx_settings(config: Config, pbx: host.Pbx) -> Settings:
    settings = {("ami", "host"): pbx.ami_host, ("ami", "port"): pbx.ami_port}
    if not config.recordings.root.is_dir():
        settings["recordings", "root"] = str(pbx.recordings)
    if not config.events.secret:
        settings["events", "secret"] = secrets.token_hex(24)
    return settings


def _value(config: Config, key: tuple[str, str]) -> str:
    return str(getattr(getattr(config, key[0]), key[1]))


def _wanted(config: Config, wanted: Settings, section: str, key: str) -> str:
    return wanted.get((section, key), _value(config, (section, key)))


def _outside_hosts(config: Config, wanted: Settings) -> list[str]:
    """Hosts that the service connects to over TCP."""
    hosts = [_wanted(config, wanted, "ami", "host")]
    if not _wanted(config, wanted, "cdr", "unix_socket"):
        hosts.append(_wanted(config, wanted, "cdr", "host"))
    return hosts


def _web_steps(config: Config, choices: Choices, root: Path) -> tuple[list[Step], list[str]]:
    web = choices.web or host.find_web_server()
    folder = config.path.parent
    if web == "nginx":
        clients = nginx_clients(folder)
        step = Nginx(nginx.find_site(choices.site), clients, _is_public(choices, clients))
        if recordings.supported(root):
            cache = ReadableRecordings(config.mp3.cache_dir, "cache")
            return [ReadableRecordings(root), cache, step], []
        remark = f"{root}: no ACLs here (package acl, file system): the service sends recordings"
        return [step], [remark]
    if web == "apache2":
        clients = apache_clients(folder)
        return [Apache(clients, _is_public(choices, clients))], []
    if not web:
        return [], ["neither nginx nor Apache runs here: the API is reachable by its socket only"]
    return [], []


def _is_public(choices: Choices, clients: Clients) -> bool:
    return clients.is_public() if choices.public is None else choices.public
