"""HTTP as bytes, for what no HTTP library would send."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from tests.lab.service import PREFIX, Answer, Service

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
BOUNDARY = "0123456789abcdef"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"


@dataclass
class Wire:
    """A connection to a service."""

    service: Service

    def __post_init__(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", self.service.port), 60)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def answer(self) -> Answer:
        """The next answer; interim ones (1xx) are skipped."""
        response = http.client.HTTPResponse(self.socket)
        response.begin()
        while response.status == 100:
            response.begin()
        return Answer(response.status, response.headers, response.read())

    def closed(self) -> bool:
        """True when the service closes the connection; waits for that, or for more bytes."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionError:
            return True


def exchange(service: Service, data: bytes) -> Answer:
    """Send bytes on a new connection; its first answer."""
    with Wire(service) as wire:
        wire.send(data)
        return wire.answer()


def request(
    line: bytes | str,
    body: bytes = b"",
    kind: str = "",
    *,
    fields: Mapping[str, str | int] | None = None,
    **headers: str | int,
) -> bytes:
    """A request of that line (without the version); a body gets its Content-Length.

    Headers are keywords, `_` standing for `-`, or a mapping.
    """
    raw = line if isinstance(line, bytes) else line.encode()
    all_fields = {"Host": "x", **({"Content-Type": kind} if kind else {})}
    if body:
        all_fields["Content-Length"] = str(len(body))
    for name, value in {**headers, **(fields or {})}.items():
        all_fields[name.replace("_", "-")] = str(value)
    text = "".join(f"{name}: {value}\r\n" for name, value in all_fields.items())
    return raw + b" HTTP/1.1\r\n" + text.encode("latin-1") + b"\r\n" + body


def line(verb: str, method: str, **query: str) -> str:
    """The beginning of a request line."""
    return f"{verb} {PREFIX}/{method}{'?' if query else ''}{urlencode(query)}"


def form_part(name: str, content: bytes, filename: bytes | None = None) -> bytes:
    """A part of a multipart body."""
    file = b"" if filename is None else b'; filename="' + filename + b'"'
    disposition = b'Content-Disposition: form-data; name="' + name.encode() + b'"' + file
    return f"--{BOUNDARY}\r\n".encode() + disposition + b"\r\n\r\n" + content + b"\r\n"


FORM_END = f"--{BOUNDARY}--\r\n".encode()


def chunked(content: bytes, size: int = 5000) -> bytes:
    """A body in chunks, with an extension and a trailer."""
    pieces = (content[at : at + size] for at in range(0, len(content), size))
    body = b"".join(b"%x;ext=1\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return body + b"0\r\nX-Trailer: 1\r\n\r\n"
