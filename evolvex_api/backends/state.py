"""Small SQLite databases below `[server] state_dir`: what must survive a restart.

Each is in WAL mode, so that readers never wait for the one writer, and commits without fsync: what
a killed process committed is kept, a power cut may lose the last transactions.
Source: SQLite's documentation, "Write-Ahead Logging", "PRAGMA synchronous", "How To Corrupt".
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from evolvex_api.backends.failures import StorageUnavailable

log = logging.getLogger(__name__)

# Transactions take well under a millisecond, so a longer wait means that something is broken.
_BUSY_SECONDS = 2.0
# The primary result code of "malformed" and "not a database" (sqlite.org/rescode.html).
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_PARTS = ("", "-wal", "-shm")
# Connections that were open before a fork: a child must neither use nor close them.
_OF_PARENTS: list[sqlite3.Connection] = []


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection | None]:
    """A connection that only reads, for processes other than the service; None without a file.

    Raises StorageUnavailable.
    """
    if not path.exists():
        yield None
        return
    try:
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", timeout=_BUSY_SECONDS, uri=True)
        with contextlib.closing(connection):
            yield connection
    except sqlite3.Error as error:
        raise StorageUnavailable(f"{path} can't be read: {error}") from error


class StateFile:
    """One database; safe between threads, over fork and between processes.

    A damaged file is set aside as `<name>.damaged-<epoch>` and a new one is made. One that was
    removed or replaced while it is open is opened anew at the next transaction.
    """

    def __init__(self, path: Path, schema: str) -> None:
        """Given the file's path and SQL that makes its tables (`CREATE TABLE IF NOT EXISTS …`).

        Opens nothing before the first transaction.
        """
        self._path = path
        self._schema = schema
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._identity = (0, 0, 0)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A connection within `BEGIN IMMEDIATE`: no other process writes until the block ends.

        Commits at the end of the block and rolls back when it raises. Never hold it while waiting
        for anything else. Raises StorageUnavailable when the file can't be used, or is busy for
        two seconds.
        """
        with self._lock:
            try:
                connection = self._begin()
                try:
                    yield connection
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                self._forget()
                log.error("%s: %s", self._path, error)
                if _is_damage(error):
                    self._set_aside()
                raise StorageUnavailable("The service's state can't be read or written.") from error

    def vacuum(self) -> None:
        """Give free pages back to the file system. Raises StorageUnavailable."""
        with self._lock:
            try:
                self._opened().execute("VACUUM")
            except sqlite3.Error as error:
                self._forget()
                log.error("%s: %s", self._path, error)
                raise StorageUnavailable("The service's state can't be written.") from error

    def close(self) -> None:
        """Close the file; a later transaction opens it again."""
        with self._lock:
            self._forget()

    def _begin(self) -> sqlite3.Connection:
        connection = self._opened()
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            self._forget()
            self._set_aside()
            connection = self._opened()
            connection.execute("BEGIN IMMEDIATE")
        return connection

    def _opened(self) -> sqlite3.Connection:
        if self._connection is not None and self._identity == self._current_identity():
            return self._connection
        self._forget()
        try:
            connection = self._open()
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            self._set_aside()
            connection = self._open()
        self._connection = connection
        self._identity = self._current_identity()
        return connection

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path,
            timeout=_BUSY_SECONDS,
            isolation_level=None,  # transactions are begun here, not by the module
            check_same_thread=False,  # the lock lets one thread at a time use it
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            # Damage within pages shows only when they are read; better now than in mid-request.
            if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise _damage("quick_check found a fault")
            connection.executescript(self._schema)
        except BaseException:
            connection.close()
            raise
        return connection

    def _current_identity(self) -> tuple[int, int, int]:
        """Changes when the file is another one, and in a forked child."""
        try:
            found = self._path.stat()
        except OSError:
            return (0, 0, os.getpid())
        return (found.st_dev, found.st_ino, os.getpid())

    def _forget(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._identity[2] == os.getpid():
            with contextlib.suppress(sqlite3.Error):
                connection.close()
        else:
            _OF_PARENTS.append(connection)

    def _set_aside(self) -> None:
        """Move a damaged file out of the way, once, however many processes find it damaged."""
        try:
            with self._path.with_name(f"{self._path.name}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if self._is_good():
                    return  # another process has made a new one meanwhile
                aside = self._path.with_name(f"{self._path.name}.damaged-{int(time.time())}")
                for part in _PARTS:
                    with contextlib.suppress(FileNotFoundError):
                        self._path.with_name(self._path.name + part).rename(f"{aside}{part}")
                log.error("%s is damaged; it is kept as %s and begun anew", self._path, aside.name)
        except OSError as error:
            log.error("%s is damaged and can't be moved: %s", self._path, error.strerror)

    def _is_good(self) -> bool:
        try:
            self._open().close()
        except sqlite3.DatabaseError as error:
            return not _is_damage(error)
        return True


def _is_damage(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED


def _damage(text: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(text)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error
