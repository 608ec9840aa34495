"""Logging to standard error, and so to systemd's journal, off the threads that answer requests."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import TextIO, TypeAlias

# Lines of this time are written at once; a person reads no faster.
_PAUSE = 0.01
# What pipe(7) promises not to mix with what another process writes (PIPE_BUF).
_WHOLE = 4096
# What becomes a line: logging's record, or a time and any object.
_Waiting: TypeAlias = logging.LogRecord | tuple[float, object]
# When nobody reads the lines, who logs waits, as with any other handler.
_MOST_WAITING = 10_000

log = logging.getLogger(__name__)


def configure() -> None:
    """Log to standard error, with a time only where systemd's journal does not add its own."""
    stamp = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
    # A line a request: what no format shows is not gathered (logging HOWTO, "Optimization").
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.basicConfig(
        handlers=[LineHandler(sys.stderr)],
        level=logging.INFO,
        format=f"{stamp}%(levelname)s %(message)s",
    )


def info(line: object) -> None:
    """Log an object, whose text is made when it is written.

    For the line of each request: after `configure` a thread only leaves the object, and makes no
    record of it.
    """
    handlers = logging.root.handlers
    if handlers and isinstance(handlers[0], LineHandler):
        handlers[0].put(line)
    else:
        log.info("%s", line)


class LineHandler(logging.Handler):
    """Makes and writes lines in a thread of its own, in order, several at once when they come fast.

    A write lets other threads of the process run, and under load the one that wrote then waits
    for its turn: far longer than the write itself takes (docs/performance.md, "check"). So what a
    record's text is made of must not change any more when it is logged. The interpreter's end
    (logging.shutdown) writes what is left; only a killed process loses its last moment's lines.
    """

    _waiting: deque[_Waiting]
    _writer: threading.Thread | None
    _wake: threading.Event

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._writing = threading.Lock()
        self._begin()
        # Nothing is half written when a process forks, and its child has other lines to write.
        os.register_at_fork(
            before=self._writing.acquire,
            after_in_parent=self._writing.release,
            after_in_child=self._begin_in_child,
        )

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record; called by logging."""
        self._take(record)

    def put(self, line: object) -> None:
        """Take an object, which becomes the record of a line in the writing thread only."""
        self._take((time.time(), line))

    def _take(self, waiting: _Waiting) -> None:
        self._waiting.append(waiting)
        if self._writer is None:
            self._start_writer()
        if not self._wake.is_set():
            self._wake.set()
        if len(self._waiting) > _MOST_WAITING:
            self.flush()

    def _start_writer(self) -> None:
        with self._writing:
            if self._writer is None:
                self._writer = threading.Thread(target=self._write_on, name="log", daemon=True)
                self._writer.start()

    def flush(self) -> None:
        """Write what is waiting."""
        with self._writing, contextlib.suppress(OSError):
            for piece in self._pieces():
                self._stream.write(piece)
                self._stream.flush()

    def _pieces(self) -> Iterator[str]:
        """What is waiting, as lines together that are not too long for one write."""
        piece, size = "", 0
        while self._waiting:
            line = self._line(self._waiting.popleft())
            added = len(line.encode("utf-8", "replace"))
            if piece and size + added > _WHOLE:
                yield piece
                piece, size = "", 0
            piece, size = piece + line, size + added
        yield piece

    def _line(self, waiting: _Waiting) -> str:
        record = waiting if isinstance(waiting, logging.LogRecord) else _record(*waiting)
        try:
            return self.format(record) + "\n"
        except Exception:  # noqa: BLE001 - as in every handler: a wrong line keeps no other back
            self.handleError(record)
            return ""

    def _write_on(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            self.flush()
            time.sleep(_PAUSE)

    def _begin(self) -> None:
        self._waiting = deque()
        self._writer = None
        self._wake = threading.Event()

    def _begin_in_child(self) -> None:
        self._begin()
        self._writing.release()


def _record(at: float, line: object) -> logging.LogRecord:
    record = logging.LogRecord(__name__, logging.INFO, "", 0, "%s", (line,), None)
    record.created, record.msecs = at, at % 1 * 1000
    return record
