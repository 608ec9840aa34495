"""Places that all processes share."""

from __future__ import annotations

import os
import signal

import pytest

from evolvex_api.backends.slots import Slots
from evolvex_api.core.refusals import ApiError
from tests.lab.server import wait_until


def holder(slots: Slots) -> int:
    """A forked process that holds a place until it is killed; returns its id."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with slots.taken("busy"):
                os.write(write, b"1")
                signal.pause()
        finally:
            os._exit(1)
    os.close(write)
    assert os.read(read, 1) == b"1"
    os.close(read)
    return pid


def test_places_are_of_all_processes_and_end_with_their_holder() -> None:
    slots = Slots("test", 2, most_waiting=4, patience=0.2)
    pids = [holder(slots), holder(slots)]
    try:
        with pytest.raises(ApiError) as refused, slots.taken("busy"):
            pass
        assert (refused.value.status, refused.value.code) == (429, "too_many_waiting")
        os.kill(pids[0], signal.SIGKILL)
        os.waitpid(pids.pop(0), 0)
        with slots.taken("busy"), pytest.raises(ApiError), slots.taken("busy"):
            pass
        with slots.taken("busy"):
            pass
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def test_no_more_wait_than_may() -> None:
    slots = Slots("test", 1, most_waiting=0, patience=60)
    with pytest.raises(ApiError), slots.taken("busy"):
        pass


def test_a_place_that_becomes_free_is_taken() -> None:
    slots = Slots("test", 1, most_waiting=1, patience=20)
    pid = holder(slots)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    taken = []
    with slots.taken("busy"):
        taken.append(True)
    wait_until(lambda: bool(taken), 1, "taken")
