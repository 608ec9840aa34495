"""What is printed, and how a thing is measured."""

from __future__ import annotations

import http.client
import os
import re
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

CLIENTS = 16
_TICKS = os.sysconf("SC_CLK_TCK")
_CHUNK = 256 * 1024


@dataclass(frozen=True)
class Row:
    """A line of the table; `peer` is None where the target is a plain number."""

    what: str
    ours: float
    peer: float | None
    unit: str
    target: str
    held: bool

    @property
    def ratio(self) -> float | None:
        """Ours in terms of the peer."""
        return self.ours / self.peer if self.peer else None


@dataclass(frozen=True)
class Growth:
    """How a thing grows with its size: size → figure."""

    what: str
    unit: str
    points: Mapping[str, float]


def at_most(what: str, unit: str, ours: float, peer: float, factor: float) -> Row:
    """A row that is held when ours is at most so many times the peer."""
    return Row(what, ours, peer, unit, f"≤ {factor:g} ×", ours <= factor * peer)


def at_least(what: str, unit: str, ours: float, peer: float, factor: float) -> Row:
    """A row that is held when ours is at least so many times the peer."""
    return Row(what, ours, peer, unit, f"≥ {factor:g} ×", ours >= factor * peer)


def at_most_over(what: str, unit: str, ours: float, peer: float, more: float) -> Row:
    """A row that is held when ours is at most so much over the peer."""
    return Row(what, ours, peer, unit, f"+ ≤ {more:g} {unit}", ours <= peer + more)


def limit(what: str, unit: str, ours: float, most: float) -> Row:
    """A row that is held when ours is at most a number."""
    return Row(what, ours, None, unit, f"≤ {most:g} {unit}", ours <= most)


def in_turns(rounds: int, *measures: Callable[[], float]) -> list[float]:
    """The median of each measure, all of them taken once a round."""
    taken = [[measure() for measure in measures] for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*taken, strict=True)]


def seconds(action: Callable[[], object]) -> float:
    """How long an action takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


@dataclass(frozen=True)
class Fetched:
    """An answer read to its end: seconds until its first byte and its last, and its size."""

    first: float
    total: float
    size: int


class Client:
    """A client on one kept connection."""

    def __init__(self, port: int, key: str = "", timeout: float = 300) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        self._headers = {"X-API-Key": key} if key else {}
        self._buffer = memoryview(bytearray(_CHUNK))

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Fetched:
        """GET a path and read the answer; RuntimeError when it is not a success."""
        started = time.perf_counter()
        self._connection.request("GET", path, headers={**self._headers, **(headers or {})})
        answer = self._connection.getresponse()
        size = answer.readinto(self._buffer[:1])
        first = time.perf_counter() - started
        while more := answer.readinto(self._buffer):
            size += more
        if answer.status not in (200, 206):
            raise RuntimeError(f"{path}: {answer.status}")
        return Fetched(first, time.perf_counter() - started, size)

    def time(self, path: str) -> float:
        """Milliseconds until the last byte."""
        return self.get(path).total * 1000

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def per_second(
    url: str, key: str = "", clients: int = CLIENTS, duration: int = 3
) -> Callable[[], float]:
    """A measure: requests/s of clients that ask without a pause, by wrk."""

    def measure() -> float:
        headers = ["-H", f"X-API-Key: {key}"] if key else []
        command = ["wrk", "-t1", f"-c{clients}", f"-d{duration}s", *headers, url]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found = re.search(r"Requests/sec:\s+([\d.]+)", said)
        if not found or "Non-2xx" in said:
            raise RuntimeError(f"wrk {url}:\n{said}")
        return float(found[1])

    return measure


def stream(port: int, path: str, key: str) -> Fetched:
    """GET a path over a plain socket, reading as fast as that goes; the size includes the head.

    A client that parses what it gets would take the processor from what is measured.
    """
    buffer = memoryview(bytearray(1 << 20))
    with socket.create_connection(("127.0.0.1", port), 300) as connection:
        asked = f"GET {path} HTTP/1.1\r\nHost: bench\r\nX-API-Key: {key}\r\nConnection: close\r\n"
        started = time.perf_counter()
        connection.sendall(f"{asked}\r\n".encode())
        size = connection.recv_into(buffer)
        first = time.perf_counter() - started
        if not bytes(buffer[:12]).endswith(b" 200"):
            raise RuntimeError(f"{path}: {bytes(buffer[:200])!r}")
        end = bytes(buffer[:size][-8:])
        while more := connection.recv_into(buffer):
            size += more
            end = (end + bytes(buffer[:more][-8:]))[-8:]
        if not end.endswith(b"0\r\n\r\n"):
            raise RuntimeError(f"{path}: broke off")
        return Fetched(first, time.perf_counter() - started, size)


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return []
    return [pid, *(each for child in children for each in family(int(child)))]


def cpu_seconds(pids: Iterable[int]) -> float:
    """The processor time that processes, and children they have seen end, have taken so far."""
    return sum(_cpu_ticks(pid) for pid in pids) / _TICKS


def _cpu_ticks(pid: int) -> int:
    # proc(5): the fields after the command's name in brackets; utime, stime, cutime, cstime.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15]))


@dataclass(frozen=True)
class Memory:
    """Memory of processes in MiB: PSS counts a page that n processes share as 1/n in each."""

    pss: float
    rss: float


def memory(pids: Iterable[int]) -> Memory:
    """The memory of processes now."""
    pss = rss = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        sizes = dict(re.findall(r"^(Pss|Rss):\s+(\d+) kB", text, re.MULTILINE))
        pss, rss = pss + int(sizes.get("Pss", 0)), rss + int(sizes.get("Rss", 0))
    return Memory(pss / 1024, rss / 1024)


class Peak:
    """Watches processes' memory in the background and keeps the largest figures."""

    def __init__(self, pids: Callable[[], Sequence[int]], interval: float) -> None:
        self._pids = pids
        self._interval = interval
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.most = memory(pids())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(self._interval):
            now = memory(self._pids())
            self.most = Memory(max(now.pss, self.most.pss), max(now.rss, self.most.rss))
