"""Receivers of webhooks that behave as a test wants, and the official verifiers of signatures."""

import json
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from tests.lab import packages
from tests.lab.packages import PackagesMissing
from tests.lab.server import LabError, wait_until

_VERIFY = """
const { Webhook } = require("standardwebhooks");
const messages = JSON.parse(require("fs").readFileSync(0, "utf8"));
const webhook = new Webhook(process.argv[1]);
for (const { body, headers } of messages) webhook.verify(body, headers);
console.log(messages.length);
"""


@dataclass(frozen=True)
class Message:
    """A message that a receiver got."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> Any:
        return json.loads(self.body)


class Receiver:
    """Answers every POST as `answer` says: (status, headers, body); the default is 204.

    `answer` may wait, and may write to the handler's socket itself and return None.
    """

    def __init__(self, certificate: Path | None = None) -> None:
        self.messages: list[Message] = []
        self.answer: Callable[[Message, BaseHTTPRequestHandler], Any] = lambda *_: (204, {}, b"")
        self._changed = threading.Condition()
        self._server = _Http(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            scheme = "https"
        self.port = self._server.server_address[1]
        self.url = f"{scheme}://127.0.0.1:{self.port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def take(self, message: Message) -> None:
        with self._changed:
            self.messages.append(message)

    def wait(self, count: int, timeout: float = 20) -> list[Message]:
        """Return the messages once there are at least so many."""
        wait_until(lambda: len(self.messages) >= count, timeout, f"{count} messages")
        return list(self.messages)

    def ids(self) -> list[str]:
        """The ids of the messages, in the order in which they came."""
        return [message.headers["webhook-id"] for message in list(self.messages)]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Http(ThreadingHTTPServer):
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves is no error here."""


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            body = self.rfile.read(length)
            if len(body) < length:  # the sender was killed in the middle
                self.close_connection = True
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            message = Message(self.path, headers, body)
            receiver.take(message)
            answer = receiver.answer(message, self)
            if answer is None:
                self.close_connection = True
                return
            status, extra, content = answer
            self.send_response(status)
            for name, value in extra.items():
                self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Nothing is logged."""

    return Handler


def drip(handler: BaseHTTPRequestHandler, pieces: Sequence[bytes], pause: float) -> None:
    """Send an answer in pieces, with pauses, for as long as the client stays."""
    stop = threading.Event()
    try:
        for piece in pieces:
            handler.connection.sendall(piece)
            if stop.wait(pause):
                return
    except OSError:
        return


def make_certificate(directory: Path, name: str) -> Path:
    """Return a file with a key and a certificate for a host's name, signed by itself."""
    path = directory / f"{name}.pem"
    command = [
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
        *("-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"),
        *("-keyout", str(path), "-out", f"{path}.crt"),
    ]
    packages.run_quietly("openssl", command, LabError)
    path.write_bytes(path.read_bytes() + Path(f"{path}.crt").read_bytes())
    return path


def verify_with_javascript(secret: str, messages: Sequence[Message], directory: Path) -> int:
    """Verify messages by the official library for JavaScript; returns how many were good."""
    if shutil.which("npm") is None:
        packages.ensure(*packages.NODE)
    install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(directory)]
    packages.run_quietly("npm install", [*install, "standardwebhooks"], PackagesMissing)
    given = [{"body": m.body.decode(), "headers": m.headers} for m in messages]
    done = subprocess.run(
        ["node", "-e", _VERIFY, secret],
        cwd=directory,
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LabError(done.stderr)
    return int(done.stdout)


def closed_port() -> int:
    """Return a port at which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
