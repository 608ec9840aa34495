"""multipart/form-data (RFC 7578), read from a stream in pieces: memory does not grow with a file.

Not the parser of Werkzeug: its versions differ in what they accept, none decodes strictly, and
those of Debian 12 take quadratic time on some bodies.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from typing import BinaryIO, Protocol, cast
from urllib.parse import unquote_to_bytes

from evolvex_api.core.refusals import ApiError
from evolvex_api.encoding import text_of

# What all parts but the file may have together, heads included; a part's head; the parts.
MAX_TEXT = 64 * 1024
_MAX_HEAD = 8 * 1024
_MAX_PARTS = 200
_PIECE = 64 * 1024
# A file up to this size stays in memory.
_IN_MEMORY = 1024 * 1024
# RFC 2046, 5.1.1.
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")


class Source(Protocol):
    """Where bytes come from."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; none at the end."""


class Incomplete(Exception):
    """The stream ends before the last boundary."""


@dataclass(frozen=True)
class Part:
    """A field of the form: its text, or the file with its name."""

    name: str
    text: str = ""
    filename: str | None = None
    file: BinaryIO | None = None


def boundary_of(content_type: str) -> bytes:
    """The boundary that a Content-Type names; ApiError(400) without a valid one."""
    message = Message()
    message["Content-Type"] = content_type
    boundary = message.get_param("boundary")
    if not isinstance(boundary, str) or not _BOUNDARY.fullmatch(boundary):
        raise ApiError(
            400,
            "bad_request",
            "Content-Type multipart/form-data lacks its boundary. Let the HTTP library set this"
            " header.",
        )
    return boundary.encode("ascii")


class Reader:
    """Reads the parts of a form in their order.

    `file_names` are the fields whose file is kept; another field's file is skipped.
    """

    def __init__(self, source: Source, boundary: bytes, file_names: frozenset[str]) -> None:
        self._source = source
        # The first delimiter has no line end before it: this adds one.
        self._buffer = bytearray(b"\r\n")
        self._delimiter = b"\r\n--" + boundary
        self._file_names = file_names
        self._text_left = MAX_TEXT

    def parts(self, files: bool = True) -> Iterator[Part]:
        """The fields up to the end; without `files` only those before the first file.

        Raises Incomplete, and ApiError: 400 for what is no form, 413 for too much text.
        """
        for _ in self._until(self._delimiter):
            pass  # the preamble, which is to be ignored
        for _ in range(_MAX_PARTS):
            if self._at_end():
                return
            name, filename = self._head()
            if filename is None:
                yield Part(name, text_of(self._text(), f"The form's field {name}"))
                continue
            if not files:
                return
            if name in self._file_names:
                yield Part(name, filename=filename, file=self._file())
            else:
                for _ in self._until(self._delimiter):
                    pass
        raise ApiError(400, "bad_request", f"The form has more than {_MAX_PARTS} fields.")

    def _at_end(self) -> bool:
        """After a delimiter: true for the last one, whose line ends with two hyphens."""
        self._need(2)
        if self._buffer.startswith(b"--"):
            return True
        for padding in self._until(b"\r\n"):
            if padding.strip(b" \t"):
                raise _broken()
        return False

    def _head(self) -> tuple[str, str | None]:
        """The name of a part, and its file's name if it is one."""
        # The empty line also ends a head without a header.
        self._buffer[:0] = b"\r\n"
        raw = b"".join(self._limited(b"\r\n\r\n", _MAX_HEAD))
        for line in text_of(raw, "The head of a form's field").split("\r\n"):
            header, _, value = line.partition(":")
            if header.strip().lower() == "content-disposition":
                return _disposition(value)
        raise _broken()

    def _text(self) -> bytes:
        return b"".join(self._limited(self._delimiter, MAX_TEXT))

    def _file(self) -> BinaryIO:
        file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - its reader closes it
        for piece in self._until(self._delimiter):
            file.write(piece)
        file.seek(0)
        return cast(BinaryIO, file)

    def _limited(self, end: bytes, most: int) -> Iterator[bytes]:
        size = 0
        for piece in self._until(end):
            size += len(piece)
            self._text_left -= len(piece)
            if size > most or self._text_left < 0:
                raise ApiError(
                    413,
                    "body_too_large",
                    f"The fields of the form beside the file have more than {MAX_TEXT} bytes.",
                )
            yield piece

    def _until(self, end: bytes) -> Iterator[bytes]:
        """What comes before `end`, in pieces; `end` itself is taken too."""
        while True:
            at = self._buffer.find(end)
            # What may be the beginning of `end` stays until more is here.
            stop = at if at >= 0 else max(0, len(self._buffer) - len(end) + 1)
            if stop:
                yield bytes(self._buffer[:stop])
                del self._buffer[:stop]
            if at >= 0:
                del self._buffer[: len(end)]
                return
            self._more()

    def _need(self, size: int) -> None:
        while len(self._buffer) < size:
            self._more()

    def _more(self) -> None:
        data = self._source.read(_PIECE)
        if not data:
            raise Incomplete
        self._buffer += data


def _disposition(value: str) -> tuple[str, str | None]:
    """name and filename of a Content-Disposition, as browsers and curl write them.

    Within quotes browsers write %22 for a quote (WHATWG, multipart form data), curl a backslash.
    """
    found = {
        match["key"].lower(): match["plain"]
        if match["quoted"] is None
        else re.sub(r'\\(["\\])', r"\1", match["quoted"])
        for match in _PARAMETER.finditer(value)
    }
    name = found.get("name")
    if not value.strip().lower().startswith("form-data") or name is None:
        raise _broken()
    # Older Python clients send RFC 2231's form of a name that is not ASCII.
    charset, _, encoded = found.get("filename*", "").partition("''")
    if charset.lower() == "utf-8":
        filename = text_of(unquote_to_bytes(encoded), "The file's name")
        return name.replace("%22", '"'), filename
    return name.replace("%22", '"'), found.get("filename")


_PARAMETER = re.compile(
    r';\s*(?P<key>[\w*-]+)\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\s;]*))'
)


def _broken() -> ApiError:
    return ApiError(400, "bad_request", "The body is not valid multipart/form-data.")
