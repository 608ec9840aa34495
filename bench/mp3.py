"""`get_file_mp3` of recordings that nobody has asked for before, beside `lame`."""

from __future__ import annotations

import os
import statistics
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.measure import Client, Fetched, Growth, Row, at_most, cpu_seconds, limit, seconds
from bench.stand import Stand

_LAME = ("lame", "--quiet", "-q", "5", "-b", "32")
_LISTENERS = 12
_ROUNDS = 3


def rows(stand: Stand) -> Iterator[Row | Growth]:
    """Time to the last byte and to the first, ranges, and many listeners at once."""
    with stand.client() as client:
        yield from _whole(stand, client)
        yield from _ranges(stand, client)
    yield from _crowd(stand)


def _whole(stand: Stand, client: Client) -> Iterator[Row | Growth]:
    fetched: dict[int, list[Fetched]] = {minutes: [] for minutes in (1, 10, 60, 180)}
    lame = []
    for _ in range(_ROUNDS):
        for minutes, taken in fetched.items():
            uniqueid, path = stand.recording(minutes)
            taken.append(client.get(stand.path("get_file_mp3", f"uniqueid={uniqueid}")))
            if minutes == 60:
                lame.append(seconds(lambda path=path: _lame(path)))  # type: ignore[misc]
            stand.settle()
    totals = {size: statistics.median(f.total for f in taken) for size, taken in fetched.items()}
    firsts = {
        size: statistics.median(f.first for f in taken) * 1000 for size, taken in fetched.items()
    }
    peer = statistics.median(lame)
    yield at_most("get_file_mp3, new 1 h recording; lame -q 5 -b 32", "s", totals[60], peer, 0.8)
    yield at_most("its first byte: 3 h; 1 min", "ms", firsts[180], firsts[1], 2)
    yield limit("its first byte: 3 h", "ms", firsts[180], 30)
    yield Growth("get_file_mp3, new, by minutes", "s", {str(k): v for k, v in totals.items()})
    yield Growth("its first byte", "ms", {str(k): v for k, v in firsts.items()})


def _ranges(stand: Stand, client: Client) -> Iterator[Row]:
    ours, peer = [], []
    for _ in range(2):
        uniqueid, _ = stand.recording(180)
        path = stand.path("get_file_mp3", f"uniqueid={uniqueid}")
        middle = 180 * 60 * 4000 // 2
        ours.append(client.get(path, {"Range": f"bytes={middle}-{middle + 99999}"}).first)
        stand.settle()
        _, half = stand.recording(90)
        peer.append(seconds(lambda half=half: _lame(half)))  # type: ignore[misc]
        stand.settle()
    what = "Range in the middle of a new 3 h recording, first byte; lame up to there"
    yield at_most(what, "s", statistics.median(ours), statistics.median(peer), 1)


def _crowd(stand: Stand) -> Iterator[Row]:
    uniqueid, path = stand.recording(60)
    target = stand.path("get_file_mp3", f"uniqueid={uniqueid}")

    def listen(_: int) -> int:
        with Client(stand.service.port, stand.key) as client:
            return client.get(target).size

    before = cpu_seconds(stand.pids())
    with ThreadPoolExecutor(_LISTENERS) as pool:
        assert len(set(pool.map(listen, range(_LISTENERS)))) == 1
    ours = cpu_seconds(stand.pids()) - before
    peer = _lame(path)
    stand.settle()
    yield at_most(
        f"{_LISTENERS} clients on a new 1 h recording; lame once", "CPU s", ours, peer, 1.3
    )


def _lame(path: Path) -> float:
    """Encode a recording; returns the processor time that took."""
    with subprocess.Popen([*_LAME, str(path), f"{path}.mp3"]) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError("lame failed")
    return used.ru_utime + used.ru_stime
