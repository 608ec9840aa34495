"""A bare Flask route that answers JSON, under the very gunicorn settings of the service.

python -m bench.bare CONFIG PORT
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flask import Flask, jsonify
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter

from bench.measure import Client
from evolvex_api import config, server
from tests.lab.server import Server, free_ports

app = Flask(__name__)


@app.get("/")
def answer() -> Any:
    """A small object."""
    return jsonify({"data": {"api_user": None, "access": None, "file": None}})


class _Application(BaseApplication):  # type: ignore[misc]  # gunicorn has no type information
    def load_config(self) -> None:
        path, port = sys.argv[1:]
        for name, value in server.settings(config.load(Path(path))).items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)
        self.cfg.set("bind", f"127.0.0.1:{port}")

    def load(self) -> Flask:
        return app


class Bare(Server):
    """The bare route on a port of its own."""

    name = "bare"

    def __init__(self, configuration: Path) -> None:
        super().__init__()
        self.port = free_ports()
        self.url = f"http://127.0.0.1:{self.port}/"
        self._configuration = configuration

    def _command(self) -> Sequence[str]:
        return [sys.executable, "-m", "bench.bare", str(self._configuration), str(self.port)]

    def _is_ready(self) -> bool:
        try:
            with Client(self.port) as client:
                return client.get("/").size > 0
        except OSError:
            return False


if __name__ == "__main__":
    Arbiter(_Application()).run()
