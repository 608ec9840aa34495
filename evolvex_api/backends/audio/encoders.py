"""Who encodes: at most two recordings at once in a process, the others wait in order."""

from __future__ import annotations

import collections
import contextlib
import logging
import os
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from evolvex_api.backends.audio import mp3
from evolvex_api.backends.audio.mp3_form import Form
from evolvex_api.core.refusals import too_many

log = logging.getLogger(__name__)

_AT_ONCE = 2
_LOWEST_PRIORITY = 19
# How often an encoder looks whether anybody listens, and how long it goes on when nobody does: a
# player that moves to another place closes one request and sends the next.
_LOOK_SECONDS, _PATIENCE_SECONDS = 0.25, 2.0
_RETRY_AFTER = 5


@dataclass(frozen=True)
class Samples:
    """Linear samples of 16 bits inside an open file: bytes `start` to `start + size`."""

    descriptor: int
    start: int
    size: int
    rate: int
    channels: int

    @property
    def count(self) -> int:
        """How many samples each channel has."""
        return self.size // (2 * self.channels)

    def own(self) -> Samples:
        """The same samples through a descriptor of their own."""
        return replace(self, descriptor=os.dup(self.descriptor))


class Encoding:
    """One MP3 to be made: its samples, its form, and LAME's quality."""

    def __init__(self, samples: Samples, form: Form, quality: int) -> None:
        self.samples = samples
        self.length = form.length
        self._form = form
        self._quality = quality

    def run(self) -> Generator[bytes]:
        """Yield the MP3; RuntimeError at its end if it is not as long as promised.

        Who gives up before the end closes it, before the recording.
        """
        made = 0
        with contextlib.closing(mp3.encode(self._form, self._quality, self._read)) as pieces:
            for piece in pieces:
                made += len(piece)
                yield piece
        if made != self.length:
            raise RuntimeError(f"an MP3 has {made} bytes, {self.length} were promised")

    def own(self) -> Encoding:
        """The same encoding with a descriptor of its own."""
        return Encoding(self.samples.own(), self._form, self._quality)

    def close(self) -> None:
        """Close the recording."""
        os.close(self.samples.descriptor)

    def _read(self, position: int, size: int) -> bytes:
        piece = os.pread(self.samples.descriptor, size, self.samples.start + position)
        if not piece:
            raise RuntimeError("the recording became shorter while it was read")
        return piece


class Target(Protocol):
    """Where an MP3 is written to while others read it."""

    def write(self, piece: bytes, position: int) -> None:
        """Write a piece at a position."""

    def finish(self) -> None:
        """All is written."""

    def is_heard(self) -> bool:
        """True while somebody listens."""

    def abandon(self) -> bool:
        """Remove the target if nobody listens; False, and nothing is done, if somebody does."""

    def fail(self) -> None:
        """Remove the target, as the encoding failed."""

    def close(self) -> None:
        """Nothing more will be written."""


class Encoders:
    """The queue of encodings of this process."""

    def __init__(self, most_waiting: int) -> None:
        """`most_waiting` listeners may wait for an encoder; further ones are refused."""
        self._most_waiting = most_waiting
        self._waiting = 0
        self._lock = threading.Lock()
        self._jobs: collections.deque[tuple[Encoding, Target]] = collections.deque()
        self._threads = 0

    def submit(self, encoding: Encoding, target: Target) -> None:
        """Encode into a target when it is its turn. Takes over both."""
        with self._lock:
            self._jobs.append((encoding, target))
            if self._threads >= _AT_ONCE:
                return
            self._threads += 1
        threading.Thread(target=self._work, name="mp3-encoder", daemon=True).start()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Count a listener whose encoding has not begun.

        Raises ApiError(429) when there are too many: each one holds a thread that others need.
        """
        with self._lock:
            if self._waiting >= self._most_waiting:
                detail = "Too many recordings wait to be encoded. Try again in a few seconds."
                raise too_many("too_many_waiting", detail, _RETRY_AFTER)
            self._waiting += 1
        try:
            yield
        finally:
            with self._lock:
                self._waiting -= 1

    def _work(self) -> None:
        # On Linux a priority is a thread's own: calls in progress and quick answers go first.
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
        while True:
            with self._lock:
                if not self._jobs:
                    self._threads -= 1
                    return
                encoding, target = self._jobs.popleft()
            try:
                _encode(encoding, target)
            except Exception:
                log.exception("encoding failed")
                target.fail()
            finally:
                encoding.close()
                target.close()


def _encode(encoding: Encoding, target: Target) -> None:
    """Encode to the end, or until nobody has listened for a while."""
    if target.abandon():
        return
    position = 0
    looked = heard = time.monotonic()
    with contextlib.closing(encoding.run()) as pieces:
        for piece in pieces:
            target.write(piece, position)
            position += len(piece)
            now = time.monotonic()
            if now - looked < _LOOK_SECONDS:
                continue
            looked = now
            if target.is_heard():
                heard = now
            elif now - heard > _PATIENCE_SECONDS and target.abandon():
                return
    target.finish()
