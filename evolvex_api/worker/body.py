"""The body of a request as it arrives: decoded, counted, and kept in memory or in a file."""

from __future__ import annotations

import io
import tempfile
from typing import IO

from evolvex_api.core.refusals import ApiError

# A body up to this size is kept in memory, and is complete before the application sees it.
SMALL = 64 * 1024
_CHUNK_LINE = 1024
_TRAILERS = 8 * 1024
_HEXADECIMAL = frozenset(b"0123456789abcdefABCDEF")


class Chunked:
    """Decodes Transfer-Encoding: chunked (RFC 9112, 7.1); extensions and trailers are dropped."""

    def __init__(self) -> None:
        self.ended = False
        self._received = bytearray()
        # What is left of the present chunk; None where the line of a chunk's size comes next.
        self._left: int | None = None
        self._trailers = False

    def decode(self, data: bytes) -> bytes:
        """The body's bytes in what has arrived. Raises ApiError(400)."""
        self._received += data
        decoded = bytearray()
        while not self.ended and self._step(decoded):
            pass
        return bytes(decoded)

    @property
    def rest(self) -> bytes:
        """What arrived after the end of the body."""
        return bytes(self._received)

    def _step(self, decoded: bytearray) -> bool:
        """Take one line or chunk; False when more has to arrive first."""
        if self._left is None:
            return self._take_line()
        if self._left:
            taken = self._received[: self._left]
            decoded += taken
            del self._received[: len(taken)]
            self._left -= len(taken)
            return bool(taken)
        if len(self._received) < 2:
            return False
        if self._received[:2] != b"\r\n":
            raise _broken()
        del self._received[:2]
        self._left = None
        return True

    def _take_line(self) -> bool:
        end = self._received.find(b"\r\n")
        if end > _CHUNK_LINE or (len(self._received) > _TRAILERS + _CHUNK_LINE and end < 0):
            raise _broken()
        if end < 0:
            return False
        line = bytes(self._received[:end])
        del self._received[: end + 2]
        if self._trailers:
            self.ended = not line
            return True
        size = line.partition(b";")[0].rstrip(b" \t")
        if not 1 <= len(size) <= 12 or not _HEXADECIMAL.issuperset(size):
            raise _broken()
        self._left = int(size, 16)
        if not self._left:
            self._trailers, self._left = True, None
        return True


class Body:
    """What has arrived of a body.

    `declared` is its length in bytes, None when it is chunked. Up to `wanted` bytes the body is
    collected before the application is asked; a declared length above SMALL is not collected at
    all until the application wants it.
    """

    def __init__(self, declared: int | None) -> None:
        self.declared = declared
        self.received = 0
        self.wanted = SMALL if declared is None else declared if declared <= SMALL else 0
        self._chunked = Chunked() if declared is None else None
        self._file: IO[bytes] = io.BytesIO()
        self.in_file = False

    @property
    def complete(self) -> bool:
        """True when the whole body has arrived."""
        return self._chunked.ended if self._chunked else self.received == self.declared

    @property
    def ready(self) -> bool:
        """True when the application can be asked: all or enough is here, or too much."""
        if self.complete:
            return True
        enough = self.wanted + 1 if self._chunked else self.wanted
        return self.received >= enough

    @property
    def length(self) -> int:
        """The body's length as far as it is known: the declared one, or what has arrived."""
        return self.received if self.declared is None else self.declared

    @property
    def in_memory(self) -> int:
        """How many bytes are kept in memory."""
        return 0 if self.in_file else self.received

    def feed(self, data: bytes) -> bytes:
        """Take bytes; returns those behind the end of the body.

        Raises ApiError(400) for a broken chunk, OSError when the file can't be written.
        """
        if self._chunked:
            kept = self._chunked.decode(data)
            rest = self._chunked.rest if self._chunked.ended else b""
        else:
            left = self.length - self.received
            kept, rest = data[:left], data[left:]
        if kept:
            self._file.write(kept)
            self.received += len(kept)
        return rest

    def want(self, size: int) -> None:
        """Collect up to that many bytes; what is above SMALL goes to a file. Raises OSError."""
        self.wanted = size
        if size > SMALL and not self.in_file:
            file = tempfile.TemporaryFile()  # noqa: SIM115 - close() does
            self._file.seek(0)
            file.write(self._file.read())
            self._file, self.in_file = file, True

    def stream(self) -> IO[bytes]:
        """What has arrived, from its beginning. Raises OSError."""
        self._file.seek(0)
        return self._file

    def resume(self) -> None:
        """Go on collecting after the application has read from `stream`."""
        self._file.seek(0, io.SEEK_END)

    def close(self) -> None:
        """Give back memory and file."""
        self._file.close()


def _broken() -> ApiError:
    return ApiError(400, "bad_request", "The chunks of the body are not as HTTP defines them.")
