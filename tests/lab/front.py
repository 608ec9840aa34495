"""nginx before both services, with the configuration that the package ships."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Sequence
from pathlib import Path

from tests.lab import packages
from tests.lab.server import Server, free_ports
from tests.lab.service import PREFIX

_SHIPPED = Path(__file__).parents[2] / "etc" / "nginx"
# As Debian's nginx.conf, but as root, whose the lab's files are.
_MAIN = """
user root; worker_processes 1; daemon off; pid @DIR@/nginx.pid; error_log @DIR@/error.log;
events { worker_connections 256; }
http {
    access_log off;
    client_body_temp_path @DIR@/body; proxy_temp_path @DIR@/proxy;
    include @DIR@/http.conf;
    server { listen 127.0.0.1:@PORT@; include @DIR@/locations.conf; }
}
"""


class Front(Server):
    """One address for the service at `service_port` and the one of live calls at `events_port`."""

    name = "front"

    def __init__(self, service_port: int, events_port: int) -> None:
        packages.ensure(*packages.WEB)
        super().__init__()
        self.port = free_ports()
        self.url = f"http://127.0.0.1:{self.port}{PREFIX}"
        self._values = {
            "unix:/run/evolvex-api/gunicorn.sock": f"127.0.0.1:{service_port}",
            "unix:/run/evolvex-api/events.sock": f"127.0.0.1:{events_port}",
            "/etc/evolvex/nginx-clients.conf": str(_SHIPPED / "nginx-clients.conf"),
            "/var/log/nginx/": f"{self.directory}/",
            "@DIR@": str(self.directory),
            "@PORT@": str(self.port),
        }

    def _prepare(self) -> None:
        texts = {
            "nginx.conf": _MAIN,
            "http.conf": (_SHIPPED / "conf.d" / "evolvex-api.conf").read_text(),
            "locations.conf": (_SHIPPED / "snippets" / "evolvex-api.conf").read_text(),
        }
        places = re.compile("|".join(map(re.escape, self._values)))
        for name, text in texts.items():
            filled = places.sub(lambda place: self._values[place[0]], text)
            (self.directory / name).write_text(filled)

    def _command(self) -> Sequence[str]:
        return ["nginx", "-e", f"{self.directory}/error.log", "-c", f"{self.directory}/nginx.conf"]

    def _environment(self) -> dict[str, str]:
        return super()._environment() | {"PATH": f"{os.environ['PATH']}:/usr/sbin"}

    def _is_ready(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True
