"""Whether the PBX, the call log and the recordings can be used: asked in time, and not too often.

A load balancer asks without a key, so an answer costs the host next to nothing however often it is
asked for: it is kept for a second, and a dependency that hangs is asked by one thread alone.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future

from evolvex_api.backends.failures import BackendFailure
from evolvex_api.core.health import Check, Word

_KEPT = 1.0
# Below a second as a whole, with what the request itself takes.
_PATIENCE = 0.8


class Health:
    """The checks of one process; `asks` are functions that raise BackendFailure or OSError."""

    def __init__(self, asks: Mapping[Check, Callable[[], object]]) -> None:
        self._probes = {name: _Probe(ask) for name, ask in asks.items()}
        self._lock = threading.Lock()
        self._kept: tuple[float, Mapping[Check, Word]] | None = None

    def checks(self) -> Mapping[Check, Word]:
        """A word for each dependency, at most a second old."""
        with self._lock:
            now = time.monotonic()
            if self._kept is None or now - self._kept[0] > _KEPT:
                deadline = now + _PATIENCE
                runs = {name: probe.start() for name, probe in self._probes.items()}
                words: dict[Check, Word] = {
                    name: _word(run, deadline) for name, run in runs.items()
                }
                self._kept = (time.monotonic(), words)
            return self._kept[1]


class _Probe:
    """One question, which never runs twice at once."""

    def __init__(self, ask: Callable[[], object]) -> None:
        self._ask = ask
        self._run: Future[None] | None = None
        self._owner = 0

    def start(self) -> Future[None]:
        """The question that is under way, or a new one."""
        if self._run is None or self._run.done() or self._owner != os.getpid():
            self._run, self._owner = Future(), os.getpid()
            threading.Thread(target=self._answer, args=(self._run,), daemon=True).start()
        return self._run

    def _answer(self, run: Future[None]) -> None:
        try:
            self._ask()
        except Exception as error:  # noqa: BLE001  # the future raises it where it is waited for
            run.set_exception(error)
        else:
            run.set_result(None)


def _word(run: Future[None], deadline: float) -> Word:
    try:
        run.result(max(0.0, deadline - time.monotonic()))
    except TimeoutError:
        return "slow" if not run.done() else "unavailable"
    except (BackendFailure, OSError):
        return "unavailable"
    return "ok"
