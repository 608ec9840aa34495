"""The servers of the bench, each started when first needed."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
from functools import cached_property
from pathlib import Path
from typing import Self, TypeVar

from bench.measure import Client, family
from tests.lab import packages
from tests.lab.asterisk import Asterisk
from tests.lab.mariadb import MariaDB
from tests.lab.server import Server, wait_until
from tests.lab.service import PREFIX, Service
from tests.lab.web import Nginx, SocketService

_ServerT = TypeVar("_ServerT", bound=Server)


class Stand:
    """Asterisk 22, MariaDB and the service with its shipped settings, and what stands beside.

    `key` may everything, at the service alone and at the one behind nginx.
    """

    def __init__(self) -> None:
        packages.ensure(*packages.PBX, *packages.AUDIO, *packages.PHP, *packages.WEB, "wrk")
        # As under systemd: its journal adds the time to a line, so the service does not.
        os.environ["JOURNAL_STREAM"] = "0:0"
        self._open = contextlib.ExitStack()
        self._names = (f"bench-{number}" for number in itertools.count(1))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @cached_property
    def database(self) -> MariaDB:
        """MariaDB."""
        return self._started(MariaDB())

    @cached_property
    def asterisk(self) -> Asterisk:
        """Asterisk 22."""
        return self._started(Asterisk(22, self.database))

    @cached_property
    def service(self) -> Service:
        """The service at a TCP port, with nobody before it."""
        # The database's socket is what `evolvex-api setup` configures.
        options = {"cdr": {"unix_socket": str(self.database.socket)}}
        return self._started(Service(self.asterisk, self.database, options))

    @cached_property
    def key(self) -> str:
        """A key of a group that may everything."""
        return self.service.add_user("bench", self.service.add_group("bench", ["*"]))

    @cached_property
    def behind(self) -> SocketService:
        """The service that nginx stands before, with the same users."""
        service = SocketService(self.asterisk, self.database)
        assert self.key  # which makes the user
        for folder in ("users.d", "groups.d"):
            shutil.copytree(self.service.directory / folder, service.directory / folder)
        return self._started(service)

    @cached_property
    def nginx(self) -> Nginx:
        """nginx with the shipped configuration."""
        return self._started(Nginx(self.behind, self.asterisk.monitor))

    def client(self) -> Client:
        """A client of the service."""
        client = Client(self.service.port, self.key)
        wait_until(lambda: self.service.get("check", self.key).status == 200, 5, "the key is known")
        return client

    def path(self, method: str, query: str = "") -> str:
        """A method as path and query."""
        return f"{PREFIX}/{method}{'?' if query else ''}{query}"

    def pids(self) -> list[int]:
        """The service's processes."""
        return family(self.service.pid)

    def hold_channels(self, count: int) -> None:
        """Have `count` live channels, in calls that last."""
        self.asterisk.hang_up_all()
        with self.asterisk.manager() as manager:
            for _ in range(count // 2):
                manager.originate("Local/600@answer", "hold", "600")
        wait_until(lambda: self.asterisk.channels() == count, 60, f"{count} channels")

    def recording(self, minutes: int) -> tuple[str, Path]:
        """A new recording, which nobody has asked for: its uniqueid and its file."""
        uniqueid = next(self._names)
        path = self.asterisk.monitor / f"{uniqueid}.wav"
        shutil.copyfile(self._sample(minutes), path)
        return uniqueid, path

    def wait_encoded(self) -> None:
        """Return when no service encodes anything any more."""
        caches = self._caches()
        wait_until(lambda: not any(any(c.glob("*.part")) for c in caches), 60, "encoders at rest")

    def settle(self) -> None:
        """Wait until nothing is encoded any more, and drop what was."""
        self.wait_encoded()
        for folder in (self.asterisk.monitor, *self._caches()):
            for path in (*folder.glob("bench-*"), *folder.glob("*.mp3")):
                path.unlink(missing_ok=True)

    def _caches(self) -> list[Path]:
        behind = [self.behind.cache] if "behind" in self.__dict__ else []
        return [self.service.cache, *behind]

    def _sample(self, minutes: int) -> Path:
        """Sound like speech, 8 kHz mono: noise of a voice's band in syllables and pauses."""
        path = self.asterisk.directory / f"sample-{minutes}.wav"
        if not path.exists():
            voice = ["synth", "50", "pinknoise", "band", "-n", "800", "1200", "tremolo", "4", "95"]
            repeat = ["pad", "0", "10", "repeat", str(minutes - 1)]
            command = ["sox", "-R", "-n", "-r", "8000", "-c", "1", "-b", "16", str(path)]
            subprocess.run([*command, *voice, "gain", "-n", "-6", *repeat], check=True)
        return path

    def _started(self, server: _ServerT) -> _ServerT:
        self._open.callback(server.close)
        server.start()
        return server
