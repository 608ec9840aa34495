"""Counted places that all worker processes share, such as 8 waiting requests a user."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator

from evolvex_api.backends import ofd


class Places:
    """So many places for each name. Made before gunicorn forks, they are the same in every worker.

    A place is a lock on one byte of a file without a name; the kernel releases it when its holder
    ends, however it ends.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._file = os.memfd_create("places", os.MFD_CLOEXEC)

    @contextlib.contextmanager
    def hold(self, name: str) -> Iterator[bool]:
        """Hold a place until the block ends; False when all of this name are taken."""
        descriptor = ofd.reopened(self._file)
        try:
            first = _number(name) * self._count
            yield any(ofd.exclude(descriptor, first + place) for place in range(self._count))
        finally:
            os.close(descriptor)


def _number(name: str) -> int:
    """A number of 40 bits for a name, so that the file's offsets stay within 63 bits."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:5], "big")
