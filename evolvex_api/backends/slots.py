"""A number of places shared by all worker processes, for work that few may do at once."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator

from evolvex_api.backends import ofd
from evolvex_api.core.refusals import too_many

_POLL = 0.05
_RETRY_AFTER = 5


class Slots:
    """`count` places. Made before gunicorn forks, they are the same ones in every worker.

    Each place is a lock on one byte of a file without a name, which the kernel releases when its
    holder dies.
    """

    def __init__(self, name: str, count: int, most_waiting: int, patience: float) -> None:
        """`most_waiting` threads of a process may wait for a place, `patience` seconds at most."""
        self._file = os.memfd_create(name)
        self._count = count
        self._most_waiting = most_waiting
        self._patience = patience
        self._lock = threading.Lock()
        self._waiting = 0

    @contextlib.contextmanager
    def taken(self, busy: str) -> Iterator[None]:
        """Hold a place, after waiting for one.

        Raises ApiError(429, too_many_waiting), with the detail `busy`, when too many wait already
        or none becomes free in time.
        """
        with self._queued(busy):
            # A lock belongs to an opening, which forked processes would share.
            descriptor = ofd.reopened(self._file)
            try:
                until = time.monotonic() + self._patience
                while not self._take(descriptor):
                    if time.monotonic() > until:
                        raise too_many("too_many_waiting", busy, _RETRY_AFTER)
                    time.sleep(_POLL)
            except BaseException:
                os.close(descriptor)
                raise
        try:
            yield
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _queued(self, busy: str) -> Iterator[None]:
        with self._lock:
            if self._waiting >= self._most_waiting:
                raise too_many("too_many_waiting", busy, _RETRY_AFTER)
            self._waiting += 1
        try:
            yield
        finally:
            with self._lock:
                self._waiting -= 1

    def _take(self, descriptor: int) -> bool:
        return any(ofd.exclude(descriptor, number) for number in range(self._count))
