"""The cache's folder: files made from recordings, least recently used go first.

A name has two parts, `<version of the recording>-<how it was made>`, so the same recording always
leads to the same file and a changed one to another. Beside each file lies `<name>.of`, which holds
the path of its recording: when that is deleted or changed, the file is deleted too.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import io
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from evolvex_api.backends.failures import StorageUnavailable

log = logging.getLogger(__name__)

_FINISHED = (".mp3", ".wav")
_ORIGIN = ".of"
# Parts and locks that are not locked and older than so many seconds belong to a dead process.
_ORPHANED = 60.0
_SWEEP_SECONDS = 30.0


@dataclass(frozen=True)
class Origin:
    """The version of a recording from which a file is made: its path and status."""

    path: str
    status: os.stat_result

    def name(self, extension: str, *how: str | int) -> str:
        """The cached file's name for this version, made in one way."""
        return f"{_digest(*_version(self.status))}-{_digest(*how)}.{extension}"


class Cache:
    """The folder of cached files, shared by all worker processes."""

    def __init__(self, directory: Path, limit: int) -> None:
        self.directory = directory
        self._limit = limit
        self._sweeping = threading.Lock()
        self._sweeper: int | None = None  # the process in which it runs

    def get(self, name: str, length: int | None = None) -> io.FileIO | None:
        """A finished file, opened, and marked as used now; None when it is not there."""
        self._start_sweeping()
        path = self.directory / name
        try:
            file = io.FileIO(path)
        except OSError:
            return None
        status = os.fstat(file.fileno())
        if length is not None and status.st_size != length:
            log.error("cached file %s has %d bytes, not %d", name, status.st_size, length)
            file.close()
            self.forget(name)
            return None
        with contextlib.suppress(OSError):
            os.utime(path, ns=(time.time_ns(), status.st_mtime_ns))
        return file

    def forget(self, name: str) -> None:
        """Remove a file; who has it open goes on reading it."""
        for path in (self.directory / name, self._origin(name)):
            with contextlib.suppress(OSError):
                path.unlink()

    def make(self, name: str, write: Callable[[Path], None], origin: Origin) -> io.FileIO:
        """Make a file by a function that is given where to write it; one at a time by name.

        Raises StorageUnavailable, and what the function raises.
        """
        try:
            with self._locked(name):
                made = self.get(name)
                if made is not None:
                    return made
                descriptor, temporary = tempfile.mkstemp(".part", "make-", self.directory)
                os.close(descriptor)
                try:
                    write(Path(temporary))
                    self.publish(Path(temporary), name, origin)
                finally:
                    Path(temporary).unlink(missing_ok=True)
            return io.FileIO(self.directory / name)
        except OSError as error:
            raise StorageUnavailable("The cache can't be written.") from error

    def part(self, name: str) -> Path:
        """Where a file of that name grows. A part of before a crash of the host is another."""
        return self.directory / f"{name}.{_boot_id()}.part"

    def publish(self, part: Path, name: str, origin: Origin) -> None:
        """Give a complete part its name, and its recording's time of change.

        nginx makes its ETag of that time and the size, as this service does, so it stays the same
        whoever serves the file.
        """
        with part.open("rb") as file:
            os.fdatasync(file.fileno())
        part.chmod(0o640)
        os.utime(part, ns=(time.time_ns(), origin.status.st_mtime_ns))
        self._origin(name).write_bytes(os.fsencode(origin.path))
        part.rename(self.directory / name)
        self._evict()

    def sweep(self) -> None:
        """Remove the files whose recording is deleted or changed, and what dead processes left."""
        for path in self._files():
            with contextlib.suppress(OSError):
                if path.suffix in _FINISHED and not self._is_current(path):
                    self.forget(path.name)
                elif path.suffix in (".part", ".lock") or _has_lost_its_file(path):
                    _remove_orphan(path)

    def _origin(self, name: str) -> Path:
        return self.directory / f"{name}{_ORIGIN}"

    def _is_current(self, path: Path) -> bool:
        """True while the recording of a cached file lies where it lay, and is the same version."""
        try:
            recording = Path(os.fsdecode(self._origin(path.name).read_bytes()))
            version = _digest(*_version(recording.stat()))
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True  # not known: the disk of recordings may be away for a moment
        return path.name.startswith(f"{version}-")

    def _start_sweeping(self) -> None:
        """Sweep from now on, in a thread of this process; gunicorn forks after loading."""
        if self._sweeper == os.getpid():
            return
        with self._sweeping:
            if self._sweeper != os.getpid():
                self._sweeper = os.getpid()
                threading.Thread(target=self._sweep_on, name="cache-sweeper", daemon=True).start()

    def _sweep_on(self) -> None:
        while True:
            try:
                with self._locked("sweep", wait=False):
                    self.sweep()
            except BlockingIOError:
                pass  # another process is at it
            except OSError as error:
                log.warning("the cache can't be swept: %s", error)
            time.sleep(_SWEEP_SECONDS)

    @contextlib.contextmanager
    def _locked(self, name: str, wait: bool = True) -> Iterator[None]:
        lock = self.directory / f"{name}.lock"
        with lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)

    def _evict(self) -> None:
        files = []
        for path in self._files():
            with contextlib.suppress(OSError):
                if path.suffix in _FINISHED:
                    status = path.stat()
                    files.append((status.st_atime_ns, status.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self._limit:
                break
            self.forget(path.name)
            total -= size

    def _files(self) -> list[Path]:
        return list(self.directory.iterdir())


def lock(descriptor: int) -> bool:
    """Lock an open file for its writer alone; False when another has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_named(descriptor: int, path: Path) -> bool:
    """True when an open file still has that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _has_lost_its_file(path: Path) -> bool:
    return path.suffix == _ORIGIN and not path.with_suffix("").exists()


def _remove_orphan(path: Path) -> None:
    """Remove a part or a lock that a dead process left; one that is held or young stays."""
    if time.time() - path.stat().st_mtime < _ORPHANED:
        return
    with path.open("rb") as file:
        if lock(file.fileno()):
            path.unlink()


def _version(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _digest(*what: str | int) -> str:
    return hashlib.sha256(repr(what).encode()).hexdigest()[:32]


@functools.cache
def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]
