"""Whether a URL leads to this service: asked without a key, it answers in a way of its own."""

from __future__ import annotations

import http.client
import socket
import ssl
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

SOCKET = "/run/evolvex-api/gunicorn.sock"
PATH = "/pbx/api/index/check"
_TIMEOUT = 5
_REDIRECTS = {301, 302, 307, 308}


@dataclass(frozen=True)
class Answer:
    """What came back: `text` says it in a few words, for people."""

    text: str
    is_the_service: bool = False
    url: str = ""
    refused: bool = False  # no connection at all


def ask(url: str, address: str = "", verify: bool = False) -> Answer:
    """Ask a URL for `check`, by way of another address than its host's if one is given.

    A redirect to TLS on the same host is followed. `verify` checks the certificate.
    """
    target = urlsplit(url)
    for _ in range(4):
        try:
            status, location, body = _get(target, address, verify)
        except ssl.SSLCertVerificationError as error:
            return Answer(f"{_plain(target)}: certificate: {error.verify_message}")
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            return Answer(f"nothing answers at {_plain(target)} ({reason})", refused=True)
        if _is_ours(status, body):
            return Answer(f"{_plain(target)} leads to the service", True, _plain(target))
        onward = urlsplit(location)
        if status in _REDIRECTS and onward.scheme in {"http", "https"} and onward.hostname:
            target = onward
            continue
        return Answer(f"{_plain(target)} answers {status}, not as this service does")
    return Answer(f"{url} redirects in a circle")


def ask_socket(path: str = SOCKET) -> Answer:
    """Ask the service itself, at its unix socket."""
    connection = http.client.HTTPConnection("localhost", timeout=_TIMEOUT)
    try:
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(_TIMEOUT)
        connection.sock.connect(path)
        connection.request("GET", PATH)
        response = connection.getresponse()
        if _is_ours(response.status, response.read(2000)):
            return Answer(f"{path} leads to the service", True)
        return Answer(f"{path} answers {response.status}")
    except (OSError, http.client.HTTPException) as error:
        return Answer(f"{path}: {getattr(error, 'strerror', None) or error}", refused=True)
    finally:
        connection.close()


def _get(target: SplitResult, address: str, verify: bool) -> tuple[int, str, bytes]:
    host = target.hostname or ""
    secure = target.scheme == "https"
    connection = http.client.HTTPConnection(host, timeout=_TIMEOUT)
    port = target.port or (443 if secure else 80)
    try:
        plain = socket.create_connection((address or host, port), _TIMEOUT)
        connection.sock = _tls(verify).wrap_socket(plain, server_hostname=host) if secure else plain
        connection.request("GET", target.path, headers={"Host": target.netloc})
        response = connection.getresponse()
        return response.status, response.getheader("Location", ""), response.read(2000)
    finally:
        connection.close()


def _tls(verify: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _is_ours(status: int, body: bytes) -> bool:
    return status == 401 and b'"missing_key"' in body


def _plain(target: SplitResult) -> str:
    return f"{target.scheme}://{target.netloc}{target.path}"
