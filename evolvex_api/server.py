"""gunicorn, embedded: the process that `evolvex-api serve` becomes.

The configuration is read before gunicorn starts, and again at SIGHUP; a broken one then leaves the
running service as it is.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import resource
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger

from evolvex_api import config as configuration
from evolvex_api import logs
from evolvex_api.app import create_app
from evolvex_api.config import Config, ConfigError
from evolvex_api.worker.connection import KEEPALIVE_SECONDS
from evolvex_api.worker.thread_worker import ENDING, Worker

log = logging.getLogger(__name__)

# Streams of recordings may be under way when the service is stopped.
_GRACEFUL_TIMEOUT = 30
# Each connection takes a descriptor, and so does each file and each connection to a backend.
_DESCRIPTORS = 8192


class ApiWorker(Worker):
    """The worker of the API: `check` gets a thread whatever the others wait for."""

    quick = frozenset({b"check", b"health", b"openapi.json"})


@dataclass(frozen=True)
class Service:
    """What is served: how its application is made, and what gunicorn has to know."""

    application: Callable[[Config], Any]
    settings: Callable[[Config], dict[str, Any]]


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no type information
    """The gunicorn application of one configuration file. Raises ConfigError."""

    def __init__(self, config_path: Path, service: Service | None = None) -> None:
        self._config_path = config_path
        self._service = service or API
        self._config = self._read()
        # gunicorn forgets systemd's socket when a reload brings another address, closes it, and
        # binds the new one; so the address stays what it was.
        self._bind = self._bound() if _given_sockets() else None
        super().__init__()

    @property
    def public(self) -> bool:
        """True when the configuration permits an address that other hosts reach."""
        return self._config.server.public

    def load_config(self) -> None:
        """Give gunicorn its settings; called by gunicorn."""
        wanted = self._service.settings(self._config)
        if self._bind is not None:
            wanted["bind"] = self._bind
        for name, value in wanted.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Any:
        """The WSGI application; called by gunicorn, once before the workers are forked."""
        return self._service.application(self._config)

    def reload(self) -> None:
        """At SIGHUP: take the new configuration, or keep the old one when the new one is broken."""
        try:
            self._config = self._read()
        except ConfigError as error:
            log.error("reload refused, the running configuration stays: %s", error)
            return
        self.do_load_config()
        # Without this gunicorn would go on with the application that it loaded first.
        self.callable = None

    def _bound(self) -> str:
        bind: str = self._service.settings(self._config)["bind"]
        return bind

    def _read(self) -> Config:
        config = configuration.load(self._config_path)
        for bind in self._service.settings(config)["bind"].split(","):
            host, _, port = bind.rpartition(":")
            if not bind.startswith("unix:") and port.isdigit():
                _check_address(host, config.server.public)
        return config


def _given_sockets() -> bool:
    """Whether systemd passed sockets to this process (sd_listen_fds(3))."""
    mine = os.environ.get("LISTEN_PID") == str(os.getpid())
    return mine and os.environ.get("LISTEN_FDS", "0") != "0"


def serve(config_path: Path, service: Service | None = None) -> None:
    """Serve the API, or another service, until a signal ends it.

    Raises ConfigError before anything is opened.
    """
    logs.configure()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    Master(Server(config_path, service)).run()


def settings(config: Config) -> dict[str, Any]:
    """gunicorn's settings of the API; one that a gunicorn version lacks is left out."""
    return common_settings() | {
        "bind": config.server.bind,
        "workers": config.server.workers,
        "threads": config.server.threads,
        # The name: a class itself is more than gunicorn 20 takes.
        "worker_class": f"{__name__}.{ApiWorker.__name__}",
        "proc_name": "evolvex-api",
    }


def common_settings() -> dict[str, Any]:
    """gunicorn's settings that do not depend on the configuration or the service."""
    return {
        "worker_class": f"{Worker.__module__}.{Worker.__name__}",
        "logger_class": f"{__name__}.{Log.__name__}",
        # The workers share the memory of what is loaded once; nothing connects before a request.
        "preload_app": True,
        "worker_tmp_dir": next((d for d in ("/run", "/dev/shm") if _writable(d)), None),  # noqa: S108
        "graceful_timeout": _GRACEFUL_TIMEOUT,
        # The worker's loop has the time; gunicorn only has to know that connections are kept.
        "keepalive": int(KEEPALIVE_SECONDS),
        "umask": 0o027,
        # The worker has validated the head already, within limits of its own.
        "limit_request_line": 0,
        "limit_request_fields": 200,
        # Over TCP nobody is believed to be the host's web server.
        "forwarded_allow_ips": "",
        "loglevel": "warning",
        # A socket for commands, new in gunicorn 25: systemd's signals suffice.
        "control_socket_disable": True,
    }


API = Service(create_app, settings)


class Log(Logger):  # type: ignore[misc]  # gunicorn has no type information
    """gunicorn's log, written like the service's own.

    gunicorn's formats name the process, which logs.configure() has switched off.
    """

    def setup(self, cfg: Any) -> None:
        """Let the root logger write; called by gunicorn."""
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True


class Master(Arbiter):  # type: ignore[misc]  # gunicorn has no type information
    """gunicorn's master, whose workers hear every signal to end.

    Between fork and its own handlers a worker has the master's, which would swallow the signal: it
    then served on until it was killed after the graceful timeout, requests and all.
    """

    def start(self) -> None:
        """Open the sockets, or take those of systemd; called by gunicorn. Raises ConfigError."""
        super().start()
        for listener in self.LISTENERS:
            if listener.sock.family != socket.AF_UNIX:
                _check_address(listener.sock.getsockname()[0], self.app.public)

    def spawn_worker(self) -> Any:
        """Fork a worker with signals held back until it can handle them; called by gunicorn."""
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        try:
            return super().spawn_worker()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


def _check_address(host: str, public: bool) -> None:
    """Raise ConfigError for an address that other hosts reach, unless that is permitted."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except OSError:
        return  # gunicorn reports it when it binds
    addresses = {str(address[4][0]) for address in found}
    if public or all(ipaddress.ip_address(address).is_loopback for address in addresses):
        return
    raise ConfigError(
        f"[server] bind: {host} can be reached from other hosts, where headers that never end and"
        " keys in clear text need a web server in front. Bind a unix socket or 127.0.0.1, or set"
        " `public = yes` in [server]."
    )


def _writable(directory: str) -> bool:
    return os.access(directory, os.W_OK | os.X_OK)
