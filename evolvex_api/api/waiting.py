"""Requests that wait for an outcome: how many may, and whether their client is still there."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Iterator
from typing import Any

from evolvex_api.backends.places import Places
from evolvex_api.core.refusals import ApiError, too_many

# Waiting requests of one user, over all worker processes.
_PER_USER = 8
# A waiting originate ends after half a minute as a rule.
_RETRY_AFTER = 5
_ADVICE = "try again later, or make the call with async=true, which does not wait."


class Waiting:
    """The waiting requests of a service: a quarter of a worker's threads, and 8 a user."""

    def __init__(self, threads: int) -> None:
        """Given the threads of each worker process; to be made before the workers are forked."""
        self._threads = threading.BoundedSemaphore(max(1, threads // 4))
        self._users = Places(_PER_USER)

    @contextlib.contextmanager
    def place(self, user_uuid: str) -> Iterator[None]:
        """Hold a place while a request waits; ApiError(429, too_many_waiting) when none is free."""
        if not self._threads.acquire(blocking=False):
            raise _full("As many requests wait for an outcome as this service permits")
        try:
            with self._users.hold(user_uuid) as free:
                if not free:
                    raise _full(
                        f"{_PER_USER} requests of this API user wait for an outcome already"
                    )
                yield
        finally:
            self._threads.release()


def client_gone(environ: dict[str, Any]) -> bool:
    """True when the client of a request has closed its connection; never waits.

    A thread that waits for something else asks this now and then. False under a WSGI server that
    does not pass its socket.
    """
    sock = environ.get("gunicorn.socket")
    if not isinstance(sock, socket.socket):
        return False
    poll = select.poll()
    try:
        # Only that the other side has shut its end, or an error; a further request is no end.
        poll.register(sock, select.POLLRDHUP)
        return bool(poll.poll(0))
    except (OSError, ValueError):
        return True


def _full(what: str) -> ApiError:
    return too_many("too_many_waiting", f"{what}; {_ADVICE}", _RETRY_AFTER)
