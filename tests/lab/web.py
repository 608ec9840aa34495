"""nginx and Apache with the configuration that the package ships, and the service behind them."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.lab.asterisk import Asterisk
from tests.lab.mariadb import MariaDB
from tests.lab.server import Server, free_ports
from tests.lab.service import PREFIX, Service

_SHIPPED = Path(__file__).parents[2] / "etc"
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

# What Debian switches on, and what `setup` adds. -X, one process with threads, suffices here.
_APACHE = """
ServerRoot /usr/lib/apache2
ServerName localhost
Listen 127.0.0.1:@PORT@
PidFile @DIR@/apache.pid
DefaultRuntimeDir @DIR@
ErrorLog @DIR@/error.log
LoadModule mpm_event_module modules/mod_mpm_event.so
LoadModule authz_core_module modules/mod_authz_core.so
LoadModule authz_host_module modules/mod_authz_host.so
LoadModule headers_module modules/mod_headers.so
LoadModule proxy_module modules/mod_proxy.so
LoadModule proxy_http_module modules/mod_proxy_http.so
LoadModule reqtimeout_module modules/mod_reqtimeout.so
LoadModule setenvif_module modules/mod_setenvif.so
RequestReadTimeout header=20-40,minrate=500 body=10,minrate=500
ServerLimit 1
ThreadLimit 150
ThreadsPerChild 150
MaxRequestWorkers 150
Include @DIR@/evolvex-api.conf
"""


class SocketService(Service):
    """The service at a unix socket, as the package runs it behind a web server."""

    def __init__(
        self,
        asterisk: Asterisk,
        database: MariaDB,
        options: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        super().__init__(asterisk, database)
        self.socket = self.directory / "gunicorn.sock"
        server = {**(options or {}).get("server", {}), "bind": f"unix:{self.socket}"}
        self._options = {**(options or {}), "server": server}

    def _is_ready(self) -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(str(self.socket))
            except OSError:
                return False
            connection.sendall(f"GET {PREFIX}/check HTTP/1.0\r\n\r\n".encode())
            return connection.recv(16).startswith(b"HTTP/1.")


class WebServer(Server):
    """A web server before a service, at a port of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.port = free_ports()

    def _environment(self) -> dict[str, str]:
        return super()._environment() | {"PATH": f"{os.environ['PATH']}:/usr/sbin"}

    def _is_ready(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True


class Apache(WebServer):
    """Apache before a service."""

    name = "apache"

    def __init__(self, service: SocketService) -> None:
        super().__init__()
        self._socket = service.socket

    def _prepare(self) -> None:
        places = {
            "/run/evolvex-api/gunicorn.sock": str(self._socket),
            "/etc/evolvex/": f"{_SHIPPED}/apache2/",
        }
        shipped = (_SHIPPED / "apache2" / "evolvex-api.conf").read_text()
        (self.directory / "evolvex-api.conf").write_text(_replaced(shipped, places))
        main = {"@DIR@": str(self.directory), "@PORT@": str(self.port)}
        (self.directory / "apache.conf").write_text(_replaced(_APACHE, main))

    def _command(self) -> Sequence[str]:
        return ["apache2", "-X", "-f", f"{self.directory}/apache.conf"]


class Nginx(WebServer):
    """nginx before a service and, when it is given, that of live calls.

    Recordings and cache lie also at /recordings/ and /cache/.
    """

    name = "nginx"

    def __init__(self, service: Service, monitor: Path, events: Service | None = None) -> None:
        super().__init__()
        self._places = {
            "/etc/evolvex/": f"{_SHIPPED}/nginx/",
            "unix:/run/evolvex-api/gunicorn.sock": _upstream(service),
            "/var/spool/asterisk/monitor/": f"{monitor}/",
            "/var/cache/evolvex-api/": f"{service.cache}/",
            "/var/log/nginx/": f"{self.directory}/",
        }
        if events:
            self._places["unix:/run/evolvex-api/events.sock"] = _upstream(events)
        self._main = {
            "@DIR@": str(self.directory),
            "@MONITOR@": str(monitor),
            "@CACHE@": str(service.cache),
        }

    def _prepare(self) -> None:
        parts = {"http.conf": "conf.d", "locations.conf": "snippets"}
        for name, folder in parts.items():
            shipped = (_SHIPPED / "nginx" / folder / "evolvex-api.conf").read_text()
            (self.directory / name).write_text(_replaced(shipped, self._places))
        main = {**self._main, "@PORT@": str(self.port)}
        (self.directory / "nginx.conf").write_text(_replaced(_MAIN, main))

    def _command(self) -> Sequence[str]:
        return ["nginx", "-e", f"{self.directory}/error.log", "-c", f"{self.directory}/nginx.conf"]


def _upstream(service: Service) -> str:
    """Where nginx finds a service."""
    if isinstance(service, SocketService):
        return f"unix:{service.socket}"
    return f"127.0.0.1:{service.port}"


def _replaced(text: str, values: Mapping[str, str]) -> str:
    for old, new in values.items():
        text = text.replace(old, new)
    return text
