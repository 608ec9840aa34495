"""Listeners of an MP3 that is still being encoded.

It is encoded once, by a thread of whichever worker process was asked first, into a part file that
any number of listeners, in any process, read while it grows. The encoder holds a lock on it: when
its process dies, the next listener to miss bytes takes over and writes the same bytes again from
the start, as encoding is deterministic; listeners go on where they were. Only a complete file gets
its final name. Each listener holds a shared lock of another kind, by which the encoder sees whether
anybody still listens.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import tempfile
import time
from collections.abc import Callable

from evolvex_api.backends import ofd
from evolvex_api.backends.audio.cache import Cache, Origin, is_named, lock
from evolvex_api.backends.audio.encoders import Encoders, Encoding
from evolvex_api.backends.failures import StorageUnavailable

_POLL_SHORTEST, _POLL_LONGEST = 0.001, 0.05
# After so many seconds without a first byte the encoding counts as queued, and the listener asks
# now and then whether its client is still there.
_QUEUED_SECONDS, _GONE_SECONDS = 0.25, 0.5
_TAKEOVERS = 3
# A listener that comes just when an encoder gives up tries again.
_OPENINGS = 20
_NOT_ENCODED = "The recording could not be encoded."
_NO_CACHE = "The cache can't be written."


class Listener(io.RawIOBase):
    """Reads an MP3 that is being encoded, and sees to it that it is.

    `client_gone` is asked while the listener waits; when it returns True, reading ends with
    BrokenPipeError.
    """

    def __init__(self, encoders: Encoders, encoding: Encoding) -> None:
        self.client_gone: Callable[[], bool] = lambda: False
        self._encoders = encoders
        self._encoding = encoding
        self._position = 0
        self._file = -1  # opened, and the encoder started, only when bytes are asked for

    def seek(self, position: int, whence: int = os.SEEK_SET, /) -> int:
        self._position = position
        return position

    def read(self, size: int = -1, /) -> bytes:
        if self._file < 0:
            self._file = self._open()
        there = self._there(size)
        if there is None:
            there = self._wait(size)
        self._position += len(there)
        return there

    def close(self) -> None:
        if not self.closed:
            if self._file >= 0:
                os.close(self._file)
            self._encoding.close()
        super().close()

    def _open(self) -> int:
        """The file that grows, opened, with its encoding queued and a listener's lock on it."""
        raise NotImplementedError

    def _look_after(self) -> None:
        """Called while bytes are missing; raises StorageUnavailable when they will never come."""
        raise NotImplementedError

    def _there(self, size: int) -> bytes | None:
        """Bytes at the position, b"" at the end; None while they are missing."""
        there = os.pread(self._file, size, self._position)
        return there if there or self._position >= self._encoding.length else None

    def _wait(self, size: int) -> bytes:
        with contextlib.ExitStack() as counted:
            pause, started = _POLL_SHORTEST, time.monotonic()
            look, queued = started + _GONE_SECONDS, False
            while True:
                time.sleep(pause)
                there = self._there(size)
                if there is not None:
                    return there
                if pause >= _POLL_LONGEST:
                    self._look_after()
                pause = min(pause * 2, _POLL_LONGEST)
                now = time.monotonic()
                if now >= look:
                    look = now + _GONE_SECONDS
                    if self.client_gone():
                        raise BrokenPipeError(errno.EPIPE, "the client has gone")
                if not queued and now - started > _QUEUED_SECONDS and not self._has_begun():
                    queued = True
                    counted.enter_context(self._encoders.waiting())

    def _has_begun(self) -> bool:
        return os.fstat(self._file).st_size > 0


class SharedListener(Listener):
    """A listener of an MP3 that ends up in the cache, together with others."""

    def __init__(
        self, cache: Cache, name: str, origin: Origin, encoders: Encoders, encoding: Encoding
    ) -> None:
        super().__init__(encoders, encoding)
        self._cache = cache
        self._name = name
        self._origin = origin
        self._takeovers = 0

    def _open(self) -> int:
        part = self._cache.part(self._name)
        for _ in range(_OPENINGS):
            finished = self._cache.get(self._name, self._encoding.length)
            if finished is not None:
                with finished:
                    return os.dup(finished.fileno())
            try:
                # Once opened, it stays ours whatever becomes of its name.
                opened = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise StorageUnavailable(_NO_CACHE) from error
            if ofd.share(opened) and is_named(opened, part):
                self._file = opened
                self._look_after()
                return opened
            os.close(opened)
            time.sleep(_POLL_SHORTEST)
        raise StorageUnavailable(_NOT_ENCODED)

    def _look_after(self) -> None:
        """Have it encoded if nobody does; StorageUnavailable when it fails again and again."""
        part = self._cache.part(self._name)
        held = ofd.reopened(self._file)
        if not lock(held):
            os.close(held)
            return
        # Its holder renames a part when complete and removes it when it failed, so the name is
        # compared only now that nobody else can hold it.
        if not is_named(held, part):
            os.close(held)
            if os.fstat(self._file).st_size < self._encoding.length:
                raise StorageUnavailable(_NOT_ENCODED)
            return
        self._takeovers += 1
        if self._takeovers > _TAKEOVERS:
            os.close(held)
            raise StorageUnavailable(_NOT_ENCODED)
        target = _Part(self._cache, self._name, self._origin, held)
        self._encoders.submit(self._encoding.own(), target)


class PrivateListener(Listener):
    """The only listener of the MP3 of a recording as far as it goes now; nothing is kept."""

    def __init__(self, folder: Cache, encoders: Encoders, encoding: Encoding) -> None:
        super().__init__(encoders, encoding)
        self._folder = folder
        self._target: _Unnamed | None = None

    def _open(self) -> int:
        try:
            with tempfile.TemporaryFile(dir=self._folder.directory) as file:
                opened = os.dup(file.fileno())
        except OSError as error:
            raise StorageUnavailable(_NO_CACHE) from error
        ofd.share(opened)
        self._target = _Unnamed(ofd.reopened(opened))
        self._encoders.submit(self._encoding.own(), self._target)
        return opened

    def _look_after(self) -> None:
        if self._target is not None and self._target.failed:
            raise StorageUnavailable(_NOT_ENCODED)


class _Unnamed:
    """An open file that an encoder writes; see encoders.Target."""

    def __init__(self, descriptor: int) -> None:
        self.failed = False
        self._descriptor = descriptor

    def write(self, piece: bytes, position: int) -> None:
        os.pwrite(self._descriptor, piece, position)

    def finish(self) -> None:
        """Nothing is to be done: who has it open reads it to its end."""

    def is_heard(self) -> bool:
        return ofd.is_shared(self._descriptor)

    def abandon(self) -> bool:
        return ofd.exclude(self._descriptor)

    def fail(self) -> None:
        self.failed = True

    def close(self) -> None:
        os.close(self._descriptor)


class _Part(_Unnamed):
    """A part file of the cache, which its encoder has locked."""

    def __init__(self, cache: Cache, name: str, origin: Origin, descriptor: int) -> None:
        super().__init__(descriptor)
        self._cache = cache
        self._name = name
        self._origin = origin

    def finish(self) -> None:
        self._cache.publish(self._cache.part(self._name), self._name, self._origin)

    def abandon(self) -> bool:
        if not super().abandon():
            return False
        self._remove()
        return True

    def fail(self) -> None:
        super().fail()
        self._remove()

    def _remove(self) -> None:
        self._cache.part(self._name).unlink(missing_ok=True)
