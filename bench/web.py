"""nginx with the configuration that the package ships, and the service behind it."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.lab.asterisk import Asterisk
from tests.lab.mariadb import MariaDB
from tests.lab.server import Server, free_ports
from tests.lab.service import PREFIX, Service

_SHIPPED = Path(__file__).parents[1] / "etc" / "nginx"
# As Debian's nginx.conf, but as root, whose the lab's files are.
_MAIN = """
user root; worker_processes auto; daemon off; pid @DIR@/nginx.pid; error_log @DIR@/error.log;
events { worker_connections 768; }
http {
    sendfile on; tcp_nopush on; default_type application/octet-stream;
    access_log @DIR@/access.log;
    client_body_temp_path @DIR@/body; proxy_temp_path @DIR@/proxy;
    include @DIR@/http.conf;
    server {
        listen 127.0.0.1:@PORT@;
        location /recordings/ { alias @MONITOR@/; }
        location /cache/ { alias @CACHE@/; }
        include @DIR@/locations.conf;
    }
}
"""


class SocketService(Service):
    """The service at a unix socket, as the package runs it behind a web server."""

    def __init__(self, asterisk: Asterisk, database: MariaDB) -> None:
        super().__init__(asterisk, database)
        self.socket = self.directory / "gunicorn.sock"
        self._options = {"server": {"bind": f"unix:{self.socket}"}}

    def _is_ready(self) -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(str(self.socket))
            except OSError:
                return False
            connection.sendall(f"GET {PREFIX}/check HTTP/1.0\r\n\r\n".encode())
            return connection.recv(16).startswith(b"HTTP/1.")


class Nginx(Server):
    """nginx before a service; recordings and cache lie also at /recordings/ and /cache/."""

    name = "nginx"

    def __init__(self, service: SocketService, monitor: Path) -> None:
        super().__init__()
        self.port = free_ports()
        self._places = {
            "/run/evolvex-api/gunicorn.sock": str(service.socket),
            "/var/spool/asterisk/monitor/": f"{monitor}/",
            "/var/cache/evolvex-api/": f"{service.cache}/",
            "/var/log/nginx/": f"{self.directory}/",
        }
        self._main = {
            "@DIR@": str(self.directory),
            "@PORT@": str(self.port),
            "@MONITOR@": str(monitor),
            "@CACHE@": str(service.cache),
        }

    def _prepare(self) -> None:
        parts = {"http.conf": "conf.d", "locations.conf": "snippets"}
        for name, folder in parts.items():
            shipped = (_SHIPPED / folder / "evolvex-api.conf").read_text()
            (self.directory / name).write_text(_replaced(shipped, self._places))
        (self.directory / "nginx.conf").write_text(_replaced(_MAIN, self._main))

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


def _replaced(text: str, values: Mapping[str, str]) -> str:
    for old, new in values.items():
        text = text.replace(old, new)
    return text
