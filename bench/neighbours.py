"""Who suffers: quick requests beside encoders at work, and beside clients that stall."""

from __future__ import annotations

import contextlib
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from bench import cdr
from bench.measure import Client, Row, at_most
from bench.stand import Stand

_STALLED = 100
_ROUNDS = 40
_ENCODINGS = 4
_EXPORTS = 2
# Long enough for the recording to be encoded, and for nginx to take it for each listener.
_WATCHED = 5


def rows(stand: Stand) -> Iterator[Row]:
    """Medians: status beside encoders and beside exports, check beside stalled listeners."""
    cdr.fill(stand.database)
    stand.hold_channels(400)
    listeners = [partial(_listen, stand, stand.recording(60)[0]) for _ in range(_ENCODINGS)]
    yield _status_while(stand, f"{_ENCODINGS} new 1 h recordings are encoded", listeners)
    exports = [partial(cdr.fetched, stand, cdr.LARGEST)] * _EXPORTS
    yield _status_while(stand, f"{_EXPORTS} clients take {cdr.LARGEST:,} rows each", exports)
    stand.asterisk.hang_up_all()
    stand.settle()
    yield _beside_stalled(stand)


def _status_while(stand: Stand, what: str, works: Sequence[Callable[[], object]]) -> Row:
    """The median of status while all the work is done, at the same time, and before."""
    with stand.client() as client:
        path = stand.path("status")
        idle = _median(client, path)
        at_work = [threading.Thread(target=work) for work in works]
        for each in at_work:
            each.start()
        taken = []
        while all(each.is_alive() for each in at_work):
            taken.append(client.time(path))
        for each in at_work:
            each.join()
    median = statistics.median(taken)
    return at_most(f"status, median, while {what}; while idle", "ms", median, idle, 3)


def _listen(stand: Stand, uniqueid: str) -> None:
    with Client(stand.service.port, stand.key) as client:
        client.get(stand.path("get_file_mp3", f"uniqueid={uniqueid}"))


def _beside_stalled(stand: Stand) -> Row:
    uniqueid, _ = stand.recording(60)
    with Client(stand.nginx.port, stand.key) as client, contextlib.ExitStack() as stalled:
        path = stand.path("check")
        _median(client, path)  # every worker has answered once
        alone = _median(client, path)
        for _ in range(_STALLED):
            stalled.enter_context(_stalled(stand, uniqueid))
        taken = []
        until = time.monotonic() + _WATCHED
        while time.monotonic() < until:
            taken.append(client.time(path))
    stand.settle()
    what = f"check behind nginx, beside {_STALLED} listeners that read nothing; alone"
    return at_most(what, "ms", statistics.median(taken), alone, 2)


def _stalled(stand: Stand, uniqueid: str) -> socket.socket:
    """A listener that has its answer's first byte, and wants no more."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    listener.settimeout(30)
    listener.connect(("127.0.0.1", stand.nginx.port))
    path = stand.path("get_file_mp3", f"uniqueid={uniqueid}&api_key={stand.key}")
    listener.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
    if not listener.recv(12).endswith(b" 200"):
        raise RuntimeError("a listener was refused")
    return listener


def _median(client: Client, path: str) -> float:
    return statistics.median(client.time(path) for _ in range(_ROUNDS))
