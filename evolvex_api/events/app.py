"""create_app() of the service of live calls, and how gunicorn serves it: one process, threads."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from types import FrameType
from typing import Any

from flask import Flask

from evolvex_api.app import assemble
from evolvex_api.backends.access_store import AccessStore
from evolvex_api.config import Config, ConfigError
from evolvex_api.events import views
from evolvex_api.events.engine import Engine
from evolvex_api.server import Service, common_settings

# Threads beside those of the streams: `calls`, and what is refused.
_SHORT_REQUESTS = 16


@dataclass(frozen=True)
class EventServices:
    """What a request of this service may use."""

    config: Config
    access: AccessStore


def create_app(config: Config) -> Flask:
    """The WSGI application; its engine is started in the process that serves."""
    access = AccessStore(config.path)
    app = assemble(config, EventServices(config, access), (views,))
    app.extensions[views.ENGINE] = Engine(config, access)
    return app


def require_secret(config: Config) -> None:
    """Raise ConfigError when the service has no AMI user."""
    if not config.events.secret:
        raise ConfigError(
            f"{config.path}: [events] secret: is required by this service;"
            " `evolvex-api setup` writes it, and the AMI user"
        )


def settings(config: Config) -> dict[str, Any]:
    """gunicorn's settings of this service."""
    threads = config.events.max_streams + _SHORT_REQUESTS
    return common_settings() | {
        "bind": config.events.bind,
        # One: the calls are in its memory, and it alone writes the database.
        "workers": 1,
        "threads": threads,
        "worker_connections": 1000 + threads,
        "proc_name": "evolvex-api-events",
        "post_worker_init": _begin,
        "worker_exit": _end,
    }


SERVICE = Service(create_app, settings)


def _begin(worker: Any) -> None:
    """Start the engine, and have streams end as soon as a signal ends the process."""
    engine = _engine(worker)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        handler = signal.getsignal(number)

        def end(number: int, stack: FrameType | None, handler: Any = handler) -> None:
            engine.end_streams()
            handler(number, stack)

        signal.signal(number, end)
    engine.start()


def _end(_server: Any, worker: Any) -> None:
    _engine(worker).stop()


def _engine(worker: Any) -> Engine:
    found: Engine = worker.app.wsgi().extensions[views.ENGINE]
    return found
