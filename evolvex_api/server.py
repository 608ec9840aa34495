"""gunicorn, embedded: the process that `evolvex-api serve` becomes.

The configuration is read before gunicorn starts, and again at SIGHUP; a broken one then leaves the
running service as it is.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
from pathlib import Path
from typing import Any

import gunicorn
import gunicorn.util
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.workers.gthread import TConn, ThreadWorker

from evolvex_api import config as configuration
from evolvex_api import logs
from evolvex_api.app import create_app
from evolvex_api.config import Config, ConfigError
from evolvex_api.core.refusals import ApiError
from evolvex_api.errors import problem

log = logging.getLogger(__name__)

# Streams of recordings may be under way when the service is told to end.
_GRACEFUL_TIMEOUT = 30
# Over nginx's own keepalive_timeout of 60 s, so that nginx is the one that closes.
_KEEPALIVE = 75


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no type information
    """The gunicorn application of one configuration file."""

    def __init__(self, config_path: Path) -> None:
        self._config_path = config_path
        self._config = configuration.load(config_path)
        gunicorn.util.write_error = write_error
        super().__init__()

    def load_config(self) -> None:
        """Give gunicorn its settings; called by gunicorn."""
        for name, value in settings(self._config).items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Any:
        """The WSGI application; called by gunicorn, once before the workers are forked."""
        return create_app(self._config)

    def reload(self) -> None:
        """At SIGHUP: take the new configuration, or keep the old one when the new one is broken."""
        try:
            self._config = configuration.load(self._config_path)
        except ConfigError as error:
            log.error("reload refused, the running configuration stays: %s", error)
            return
        self.do_load_config()
        # Without this gunicorn would go on with the application that it loaded first.
        self.callable = None


def serve(config_path: Path) -> None:
    """Serve until told to end; raises ConfigError before anything is opened."""
    logs.configure()
    Master(Server(config_path)).run()


def settings(config: Config) -> dict[str, Any]:
    """gunicorn's settings for a configuration; one that a gunicorn version lacks is left out."""
    return {
        "bind": config.server.bind,
        "workers": config.server.workers,
        "threads": config.server.threads,
        "worker_class": worker_class(),
        # The workers share the memory of what is loaded once; nothing connects before a request.
        "preload_app": True,
        "worker_tmp_dir": next((d for d in ("/run", "/dev/shm") if _writable(d)), None),  # noqa: S108
        "graceful_timeout": _GRACEFUL_TIMEOUT,
        "keepalive": _KEEPALIVE,
        "umask": 0o027,
        "limit_request_line": 8190,
        "loglevel": "warning",
        "proc_name": "evolvex-api",
        # A socket for commands, new in gunicorn 25: systemd's signals suffice.
        "control_socket_disable": True,
    }


# What tells a worker to end.
_ENDING = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}


class Master(Arbiter):  # type: ignore[misc]  # gunicorn has no type information
    """gunicorn's master, whose workers hear every signal to end.

    Between fork and its own handlers a worker has the master's, which would swallow the signal: it
    then served on until it was killed after the graceful timeout, requests and all.
    """

    def spawn_worker(self) -> Any:
        """Fork a worker with signals held back until it can handle them; called by gunicorn."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
        try:
            return super().spawn_worker()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no type information
    """gunicorn's threaded worker, which heeds early signals (see Master) and shares connections."""

    def accept(self, *listener: Any) -> None:
        """Take a connection; called by gunicorn.

        Then another worker may have the processor, and so the next connection. Without this one
        worker, being awake, often took all that came at once, and kept them: docs/performance.md.
        """
        self._take(*listener)
        os.sched_yield()

    def _take(self, *listener: Any) -> None:
        super().accept(*listener)

    def init_signals(self) -> None:
        """Set the handlers, then hear what came in the meantime; called by gunicorn."""
        super().init_signals()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)


def worker_class() -> str:
    """The worker's dotted name; a class itself is more than gunicorn 20 takes."""
    patient = 21 <= gunicorn.version_info[0] <= 23
    return f"{__name__}.{(PatientWorker if patient else Worker).__name__}"


class PatientWorker(Worker):
    """A threaded worker that answers every connection it has accepted, also when told to end.

    gunicorn 21 to 23 let a new connection wait for its first byte outside the threads, and close
    it without an answer when the worker ends in that moment: a 502 at each reload.
    """

    def _take(self, *listener: Any) -> None:
        """Take a connection and give it to a thread at once."""
        server, listening = listener
        try:
            sock, client = listening.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # Another worker took it, or the client left.
        self.nr_conns += 1
        self.enqueue_req(TConn(self.cfg, sock, client, server))


def _writable(directory: str) -> bool:
    return os.access(directory, os.W_OK | os.X_OK)


def write_error(sock: socket.socket, status_int: int, reason: str, mesg: str) -> None:
    """Answer what gunicorn itself refuses, before there is a request, in the API's own shape.

    Takes the place of gunicorn.util.write_error, which answers in HTML.
    """
    answer = problem(ApiError(status_int, "bad_request", "This is not a request that HTTP allows."))
    answer.headers["Connection"] = "close"
    answer.headers["X-Request-ID"] = request_id = secrets.token_hex(8)
    log.info("%s %d refused before it was a request", request_id, status_int)
    head = "".join(f"{name}: {value}\r\n" for name, value in answer.headers)
    sock.sendall(f"HTTP/1.1 {status_int} {reason}\r\n{head}\r\n".encode() + answer.get_data())
