"""What the lab's servers share: a folder of their own, free ports, a process and its signals.

The kernel kills a server's process when the process that started it dies. It counts the death of
the *thread* that started it, so one thread, which lives as long as the process, starts them all.
"""

import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Self

_PREFIX = "evolvex-lab-"
# Not TMPDIR: Asterisk's rootfs has this folder too, and the path must be the same in and outside.
_PLACE = Path("/tmp")
# Below the range that the kernel hands out to clients, so that a port stays free over a restart.
_PORTS = range(15000, 32000, 2)


class LabError(RuntimeError):
    """A server did not do what it should; the message carries the end of its log."""


def wait_until(done: Callable[[], bool], timeout: float, what: str) -> None:
    """Return as soon as `done()` is true; raise LabError naming `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not done():
        if time.monotonic() > deadline:
            raise LabError(f"not within {timeout:g} s: {what}")
        time.sleep(0.01)


def free_ports(count: int = 1) -> int:
    """Return the first (an even one) of `count` neighbouring ports where nothing listens."""
    for first in random.sample(_PORTS, len(_PORTS)):
        if all(is_free(port) for port in range(first, first + count)):
            return first
    raise LabError(f"no {count} free ports")


def is_free(port: int) -> bool:
    """Tell whether nothing on loopback listens at `port`, neither TCP nor UDP."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:  # connections that have just ended do not count
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


class Folder:
    """A temporary folder that says by a lock whether its owner lives; making one sweeps dead ones.

    A killed process cannot remove its folders, so the next one does.
    """

    def __init__(self, name: str) -> None:
        for lock in _PLACE.glob(f"{_PREFIX}*/.lock"):
            _sweep(lock)
        self.path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{name}-", dir=_PLACE))
        self.path.chmod(0o755)
        unlocked = self.path / ".unlocked"
        self._lock = unlocked.open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        unlocked.rename(self.path / ".lock")  # nobody ever sees a `.lock` that is not held

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def _sweep(lock: Path) -> None:
    """Remove the folder of `lock` when no living process holds it."""
    try:
        with lock.open() as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)
    except OSError:
        return


class Server(ABC):
    """A server process in the foreground: started, watched, frozen, killed and cleared away.

    `start()` returns when the server is ready; ports, folder and data stay over `restart()`.
    `close()`, or leaving the `with` block, also removes the folder.
    """

    name: str
    start_timeout = 30.0

    def __init__(self, timezone: str | None = None) -> None:
        """Take a folder; `timezone` (as in TZ) is the server's, the machine's when left out."""
        self._folder = Folder(self.name)
        self._timezone = timezone or _machine_timezone()
        self.directory = self._folder.path
        self.log_file = self.directory / f"{self.name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """Return the command that runs the server in the foreground."""

    @abstractmethod
    def _is_ready(self) -> bool:
        """Tell whether the started server serves."""

    def _prepare(self) -> None:  # noqa: B027 - most servers need nothing more
        """Make, before each start, what the server needs in its folder."""

    def _environment(self) -> dict[str, str]:
        return os.environ | {"TZ": self._timezone}

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The server's process id (a launcher replaces itself by the server)."""
        if self._process is None or not self.running:
            raise LabError(f"{self.name} is not running")
        return self._process.pid

    def start(self) -> Self:
        """Start the server and return when it serves. Raises LabError with its log if it fails."""
        if self.running:
            raise LabError(f"{self.name} is running already")
        self._prepare()
        self._process = _starter().submit(self._spawn).result()
        try:
            wait_until(self._has_settled, self.start_timeout, f"{self.name} ready")
        except LabError as error:
            self.kill()
            raise LabError(f"{error}\n{self.log_tail()}") from None
        if not self.running:
            raise LabError(f"{self.name} ended with {self._process.poll()}\n{self.log_tail()}")
        return self

    def stop(self, timeout: float = 10.0) -> None:
        """Ask the server to end (SIGTERM), and kill it if it has not within `timeout` seconds."""
        if self._process is None or not self.running:
            return
        self.thaw()
        self._process.terminate()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL, as a crash or the out-of-memory killer would; returns when it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def freeze(self) -> None:
        """SIGSTOP: connections are still accepted by the kernel, but nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def restart(self) -> None:
        """Stop and start again at the same ports with the same data."""
        self.stop()
        self.start()

    def close(self) -> None:
        self.stop()
        self._folder.remove()

    def log(self) -> str:
        """Return all that the server has written to its log so far."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def log_tail(self, characters: int = 3000) -> str:
        return self.log()[-characters:]

    def __enter__(self) -> Self:
        try:
            return self if self.running else self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def _has_settled(self) -> bool:
        return not self.running or self._is_ready()

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self.log_file.open("ab") as log:
            return subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self._command()],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the lab, which then stops its servers
            )


def _machine_timezone() -> str:
    """Return the machine's time zone by name, so that a server in a chroot can have it too."""
    localtime = Path("/etc/localtime").resolve()
    named = localtime.is_relative_to("/usr/share/zoneinfo")
    zone = str(localtime.relative_to("/usr/share/zoneinfo")) if named else "UTC"
    return os.environ.get("TZ") or zone


@cache
def _starter() -> ThreadPoolExecutor:
    """The one thread that starts servers, see the top."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="lab-starter")
