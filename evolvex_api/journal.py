"""Request ids and the access journal: one line a request, after its last byte.

The line says who (user, group), method, status, milliseconds, bytes, request id, and what was
touched; never a key, nor a query string. It goes to standard error, so to systemd's journal.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from flask import has_request_context, request

from evolvex_api import logs

_ENVIRON_KEY = "evolvex_api.journal"
_GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

# No browser may take an answer for another type than it says (Fetch standard, "nosniff").
_NOSNIFF = ("X-Content-Type-Options", "nosniff")

StartResponse = Callable[..., Any]
WsgiApp = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


@dataclass
class Entry:
    """What the journal will say of one request; as text, its line."""

    request_id: str
    method: str
    path: str  # as WSGI has it: the bytes of UTF-8 as Latin-1
    peer: str
    started: float = field(default_factory=time.monotonic)
    ended: float = 0.0
    status: str = "-"
    user: str = "-"
    group: str = "-"
    headers: Sequence[tuple[str, str]] = ()
    bytes: int = 0
    touched: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        path = self.path.encode("latin-1").decode("utf-8", "replace").translate(_PLAIN)
        touched = "".join(f" {name}={value}" for name, value in self.touched.items())
        return (
            f"{self.request_id} {self.status} {self.method} {path}"
            f" {(self.ended - self.started) * 1000:.1f}ms {self.bytes}B"
            f" user={self.user} group={self.group} from={self.peer}{touched}"
        )

    def write(self) -> None:
        """Write the line, as the request has ended; its text is made where lines are written."""
        self.ended = time.monotonic()
        logs.info(self)


def entry() -> Entry:
    """The journal entry of the request being answered."""
    found: Entry = request.environ[_ENVIRON_KEY]
    return found


def touch(**what: str | int) -> None:
    """Note what the request touches: uniqueid="…", channel="…", rows=12."""
    entry().touched.update({name: str(value) for name, value in what.items()})


def refused(code: str) -> None:
    """Note the code of the refusal, where there is a journal."""
    if has_request_context() and (found := request.environ.get(_ENVIRON_KEY)):
        found.touched["code"] = code


class Journal:
    """WSGI middleware that gives each request its id and writes its line when it has ended."""

    def __init__(self, app: WsgiApp) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        made = Entry(
            _request_id(environ),
            environ["REQUEST_METHOD"],
            environ.get("PATH_INFO", ""),
            environ.get("REMOTE_ADDR") or "-",
        )
        environ[_ENVIRON_KEY] = made

        def start(status: str, headers: list[tuple[str, str]], *args: Any) -> Any:
            made.status = status[:3]
            made.headers = headers
            headers += [("X-Request-ID", made.request_id), _NOSNIFF]
            return start_response(status, headers, *args)

        body = self._app(environ, start)
        if hasattr(body, "filelike"):
            return _follow_file(body, made)
        return _Followed(body, made)


class _Followed:
    """A response body that counts its bytes and reports its end."""

    def __init__(self, body: Iterable[bytes], made: Entry) -> None:
        self._body = body
        self._entry = made

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._body:
            yield chunk
            # Counted once the server asks for more, so when this chunk has been sent.
            self._entry.bytes += len(chunk)

    def close(self) -> None:
        try:
            if hasattr(self._body, "close"):
                self._body.close()
        finally:
            self._entry.write()


def _follow_file(wrapper: Any, made: Entry) -> Iterable[bytes]:
    """Follow a wsgi.file_wrapper, which must stay what it is for gunicorn to use sendfile(2).

    The file's position shows what was sent when the client went away; when all was sent, gunicorn
    has put it back to where it was.
    """
    file, close = wrapper.filelike, wrapper.close
    start = file.tell()

    def close_and_tell() -> None:
        made.bytes = (file.tell() - start) or _content_length(made.headers)
        close()
        made.write()

    wrapper.close = close_and_tell
    followed: Iterable[bytes] = wrapper
    return followed


def _content_length(headers: Sequence[tuple[str, str]]) -> int:
    return next((int(value) for name, value in headers if name.lower() == "content-length"), 0)


def _request_id(environ: dict[str, Any]) -> str:
    given: str = environ.get("HTTP_X_REQUEST_ID", "")
    if _GIVEN_ID.fullmatch(given):
        return given
    # Unique, not secret: the system's own random numbers cost more than the rest of this function.
    return f"{random.getrandbits(64):016x}"


# A hostile path must not write lines of its own into the journal.
_PLAIN = dict.fromkeys((*range(32), 127, *range(128, 160), 0x2028, 0x2029), "?")
