"""gunicorn's threaded worker with a loop of its own; the same on every gunicorn from 20 on."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from gunicorn.http.errors import NoMoreData, ParseException
from gunicorn.http.parser import RequestParser
from gunicorn.workers.gthread import ThreadWorker

from evolvex_api.core.refusals import ApiError
from evolvex_api.worker import refusals
from evolvex_api.worker.awaiting import ENVIRON_KEY, AwaitBody, raise_await
from evolvex_api.worker.connection import Connection
from evolvex_api.worker.loop import BREAK, CLOSE, KEEP, Loop, Outcome

log = logging.getLogger(__name__)

# The signals that end a worker.
ENDING = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}
# The share of threads that only quick requests get: one in so many.
_QUICK_SHARE = 8
_NO_REQUEST = ApiError(400, "bad_request", "The request is not as HTTP defines it.")
_FAILED = ApiError(500, "internal_error", "The service failed; its journal has the details.")


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no type information
    """Receives in its loop, answers in threads, and heeds signals that come early.

    Of gunicorn's own worker it uses the start, the signals, and handle_request: a request object
    in, an answer written to the connection.
    """

    # Last parts of paths whose answer waits for no other client: they have threads of their own.
    quick: frozenset[bytes] = frozenset()

    def init_signals(self) -> None:
        """Set the handlers, then hear what came in the meantime; called by gunicorn."""
        super().init_signals()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)

    def run(self) -> None:
        """Serve until a signal ends it, then finish what has begun; called by gunicorn."""
        threads = self.cfg.threads
        quick = max(1, threads // _QUICK_SHARE) if self.quick else 0
        self._local = threading.local()
        self._application = self.app.wsgi()
        self.wsgi = self._call
        self._quick = ThreadPoolExecutor(quick, "quick") if quick else self.tpool
        self._slow = ThreadPoolExecutor(max(1, threads - quick), "slow")
        loop = Loop(self.sockets, self._answer, self._lane)
        loop.wake_on(self.PIPE[0])
        while self.alive and self.is_parent_alive():
            self.notify()
            loop.step(1.0)
        loop.stop_accepting()
        deadline = time.monotonic() + self.cfg.graceful_timeout
        while not loop.empty and time.monotonic() < deadline:
            self.notify()
            loop.step(0.1)
        for pool in (self._quick, self._slow, self.tpool):
            pool.shutdown(wait=False)
        loop.close()
        for listener in self.sockets:
            listener.close()

    def _lane(self, path: bytes) -> ThreadPoolExecutor:
        lane: ThreadPoolExecutor = (
            self._quick if path.rpartition(b"/")[2] in self.quick else self._slow
        )
        return lane

    def _answer(self, connection: Connection) -> Outcome:
        """Let the application answer; runs in a thread."""
        source = _Source(connection.request_text())
        self._local.connection = connection
        try:
            request = next(RequestParser(self.cfg, source, connection.client))
            return KEEP if self.handle_request(request, connection) else CLOSE
        except AwaitBody as awaited:
            return awaited
        except (ParseException, NoMoreData):
            return self._refuse(connection, _NO_REQUEST)
        except (StopIteration, OSError):
            return BREAK  # in the middle of the answer, or the client has gone
        except Exception:  # the application answers its own failures: this one is the server's
            # Not the request's URI, as gunicorn would: a key may stand in it.
            log.exception("a request can't be answered")
            return self._refuse(connection, _FAILED)

    def _refuse(self, connection: Connection, error: ApiError) -> Outcome:
        refusals.refuse(connection.sock, error)
        return CLOSE

    def _call(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Call the application with the body that has arrived; gunicorn's handle_request does."""
        body = self._local.connection.body
        environ["wsgi.input"] = body.stream()
        if not body.complete:
            environ[ENVIRON_KEY] = raise_await
        answer: Iterable[bytes] = self._application(environ, start_response)
        return answer


class _Source:
    """A request's head, as gunicorn's parser reads it from a socket."""

    def __init__(self, head: bytes) -> None:
        self._head = head

    def recv(self, size: int) -> bytes:
        """The next bytes of the head, then none."""
        data, self._head = self._head[:size], self._head[size:]
        return data
