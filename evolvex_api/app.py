"""create_app(): the only wiring. Nothing happens at import, nothing connects before a request."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from flask import Flask

from evolvex_api import config as configuration
from evolvex_api import errors
from evolvex_api.api import (
    calls,
    cdr,
    check,
    console,
    health,
    links,
    openapi,
    recordings,
    rights,
    stats,
    uploads,
)
from evolvex_api.api.common import EXTENSION, Services
from evolvex_api.api.exports import Exports
from evolvex_api.api.waiting import Waiting
from evolvex_api.backends.access_store import AccessStore
from evolvex_api.backends.ami.client import Ami
from evolvex_api.backends.audio.transcoder import Transcoder
from evolvex_api.backends.call_counts import CallCounts
from evolvex_api.backends.cdr.client import Cdr
from evolvex_api.backends.health import Health
from evolvex_api.backends.recordings import Recordings
from evolvex_api.backends.sounds import Sounds
from evolvex_api.config import Config
from evolvex_api.cors import Cors
from evolvex_api.front import Front
from evolvex_api.journal import Journal, WsgiApp

# The path that clients use, and the one of the original document's text.
PREFIXES = ("/pbx/api/index", "/api/index")


def create_app(config: Config | None = None) -> Flask:
    """The WSGI application; reads the configuration file when none is given.

    Raises config.ConfigError.
    """
    config = config or configuration.load()
    own = (check, rights, recordings, links, calls, uploads, cdr, stats)
    return assemble(config, _services(config), (*own, health, openapi, console))


def assemble(config: Config, services: object, resources: Sequence[Any]) -> Flask:
    """An application of these resources' blueprints, with what all services have in common."""
    app = Flask(__name__, static_folder=None)
    app.url_map.strict_slashes = False
    # Front does it in place: a redirect would carry the query string, and so a key.
    app.url_map.merge_slashes = False
    app.extensions[EXTENSION] = services
    errors.register(app)
    for resource in resources:
        for number, prefix in enumerate(PREFIXES):
            blueprint = resource.blueprint
            app.register_blueprint(blueprint, url_prefix=prefix, name=f"{blueprint.name}{number}")
    app.wsgi_app = in_front(app.wsgi_app, config)  # type: ignore[method-assign, assignment]  # flask's way
    return app


def in_front(app: WsgiApp, config: Config) -> WsgiApp:
    """An application with the middleware of every service: address, path, origins, journal."""
    if config.server.cors_origins:
        app = Cors(app, config.server.cors_origins)
    return Front(Journal(app))


def _services(config: Config) -> Services:
    ami = Ami(config.ami)
    cdr = Cdr(config.cdr)
    return Services(
        config=config,
        access=AccessStore(config.path),
        ami=ami,
        call_counts=CallCounts(config.server.state_dir, lambda: ami.status().ids()),
        cdr=cdr,
        health=Health(
            {
                "pbx": ami.ping,
                "cdr": cdr.ping,
                "recordings": lambda: os.scandir(config.recordings.root).close(),
            }
        ),
        recordings=Recordings(config.recordings),
        transcoder=Transcoder(config.mp3, most_waiting=config.server.threads // 2),
        sounds=Sounds(config.uploads),
        waiting=Waiting(config.server.threads),
        exports=Exports(per_user=4, in_all=16),
        # A page of figures asks for several at once.
        stats_places=Exports(per_user=8, in_all=16),
    )
