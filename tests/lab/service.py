"""The service itself, as gunicorn runs it, on loopback with users and groups of its own."""

import hashlib
import http.client
import json
import re
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.lab.asterisk import Asterisk
from tests.lab.mariadb import ORIGINAL, MariaDB
from tests.lab.server import Server, free_ports

PREFIX = "/pbx/api/index"
_CHECKOUT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Answer:
    """An answer of the service."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def data(self) -> Any:
        """What a successful answer carries; AssertionError, showing it, for any other."""
        assert self.status == 200, (self.status, self.body[:500])
        return self.json["data"]

    @property
    def code(self) -> str:
        """The code of a failure, whose shape is checked here for every test."""
        kind = self.headers["Content-Type"]
        assert kind.startswith("application/problem+json"), (self.status, kind, self.body[:500])
        problem = self.json
        assert problem["status"] == self.status
        assert {"type", "title", "detail", "code"} <= problem.keys()
        return str(problem["code"])


class Service(Server):
    """`evolvex-api serve` for a lab's Asterisk and MariaDB.

    `options` override the configuration: {"ami": {"timeout": "2"}}. `port` 0 takes a free one.
    `on_answer` is given method, target and answer of every request.
    """

    name = "service"

    def __init__(
        self,
        asterisk: Asterisk,
        database: MariaDB,
        options: Mapping[str, Mapping[str, str]] | None = None,
        port: int = 0,
        schema: str = ORIGINAL,
    ) -> None:
        super().__init__()
        self.port = port or free_ports()
        self.url = f"http://127.0.0.1:{self.port}{PREFIX}"
        self.config = self.directory / "evolvex.conf"
        self.cache = self.directory / "cache"
        self.state = self.directory / "state"
        self.uploads = asterisk.sounds / "evolvex"
        self.state = self.directory / "state"
        self.events_port = free_ports()
        self._asterisk = asterisk
        self._database = database
        self._schema = schema
        self._options = options or {}
        # The interpreter, and with it the versions of the libraries.
        self.python = sys.executable
        self.on_answer: Callable[[str, str, Answer], None] = lambda *_: None

    def add_group(self, name: str, contexts: Sequence[str], rules: str = "") -> str:
        """Make a group that may use these contexts; returns its uuid.

        `rules` stand in its file after [group]: further keys of it, or sections.
        """
        group = str(uuid.uuid4())
        text = f"[group]\nuuid = {group}\nname = {name}\n{rules}\n"
        for context in contexts:
            text += f"[context {context}]\nuuid = {uuid.uuid4()}\ndescription = Контекст\n"
        self._write(f"groups.d/{name}.conf", text)
        return group

    def add_user(self, name: str, group: str, enabled: bool = True, **further: str) -> str:
        """Make a user in the group of that uuid, with further keys of its file; returns its key."""
        key = str(uuid.uuid4())
        values = {
            "uuid": str(uuid.uuid4()),
            "name": name,
            "description": "Тест",
            "enable": "yes" if enabled else "no",
            "api_key_sha256": hashlib.sha256(key.encode()).hexdigest(),
            "group_uuid": group,
            **further,
        }
        lines = (f"{option} = {value}\n" for option, value in values.items())
        self._write(f"users.d/{name}.conf", "[user]\n" + "".join(lines))
        return key

    def request(
        self,
        method: str,
        path: str,
        key: str | None = None,
        *,
        params: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float = 60.0,
    ) -> Answer:
        """Send one request; `path` is the method's name, or a whole path from `/` on."""
        target = path if path.startswith("/") else f"{PREFIX}/{path}"
        if params:
            target += "?" + urlencode(params)
        sent = dict(headers or {})
        if key:
            sent["X-API-Key"] = key
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, target, body, sent)
            response = connection.getresponse()
            answer = Answer(response.status, response.headers, response.read())
        finally:
            connection.close()
        self.on_answer(method, target, answer)
        return answer

    def get(self, path: str, key: str | None = None, **params: object) -> Answer:
        """GET a method with parameters; a trailing underscore of a name (`async_`) is dropped."""
        named = {name.removesuffix("_"): value for name, value in params.items()}
        return self.request("GET", path, key, params=named)

    def worker_pids(self) -> list[int]:
        """The process ids of gunicorn's workers."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(child) for child in children.split()]

    def write_config(self, options: Mapping[str, Mapping[str, str]] | None = None) -> None:
        """Write evolvex.conf anew, with further options; what runs has it after a reload."""
        values = {**self._values()}
        for chosen in (self._options, options or {}):
            for section, given in chosen.items():
                values[section] = {**values.get(section, {}), **given}
        text = ""
        for section, given in values.items():
            text += f"[{section}]\n" + "".join(f"{k} = {v}\n" for k, v in given.items())
        self._write("evolvex.conf", text)

    def _values(self) -> dict[str, dict[str, str]]:
        user, password = self._database.reader
        return {
            "server": {"bind": f"127.0.0.1:{self.port}", "state_dir": str(self.state)},
            "ami": {
                "port": str(self._asterisk.ami_port),
                "username": self._asterisk.ami_username,
                "secret": self._asterisk.ami_secret,
            },
            "cdr": {
                "port": str(self._database.port),
                "user": user,
                "password": password,
                "database": self._schema,
            },
            "recordings": {"root": str(self._asterisk.monitor)},
            "mp3": {"cache_dir": str(self.cache)},
            "uploads": {"directory": str(self.uploads)},
            "events": {
                "bind": f"127.0.0.1:{self.events_port}",
                "username": "evolvex-events",
                "secret": self._asterisk.ami_secret,
            },
        }

    def _prepare(self) -> None:
        self.cache.mkdir(exist_ok=True)
        self.state.mkdir(exist_ok=True)
        self.uploads.mkdir(exist_ok=True)
        self.state.mkdir(exist_ok=True)
        if not self.config.exists():
            self.write_config()

    def _write(self, name: str, text: str) -> None:
        path = self.directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def _command(self) -> Sequence[str]:
        return [self.python, "-m", "evolvex_api", "serve", "--config", str(self.config)]

    def _environment(self) -> dict[str, str]:
        unit = (_CHECKOUT / "systemd" / "evolvex-api.service").read_text()
        shipped = dict(re.findall(r"^Environment=(\w+)=(.*)$", unit, re.MULTILINE))
        return super()._environment() | shipped | {"PYTHONPATH": str(_CHECKOUT)}

    def _is_ready(self) -> bool:
        try:
            return self.get("check").status == 401
        except OSError:
            return False
