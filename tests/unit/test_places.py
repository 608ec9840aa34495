"""Places that processes share: counted exactly, and free when their holder is gone."""

from __future__ import annotations

import contextlib
import os
import signal

import pytest

from evolvex_api.api.waiting import Waiting
from evolvex_api.backends.places import Places
from evolvex_api.core.refusals import ApiError


def test_so_many_and_no_more_of_each_name() -> None:
    places = Places(3)
    with contextlib.ExitStack() as held:
        taken = [held.enter_context(places.hold("crm")) for _ in range(5)]
        assert taken == [True, True, True, False, False]
        assert held.enter_context(places.hold("other"))
    with places.hold("crm") as free:
        assert free


def test_a_place_in_the_middle_can_be_taken_again() -> None:
    places = Places(2)
    first, second = contextlib.ExitStack(), contextlib.ExitStack()
    with first, second:
        assert first.enter_context(places.hold("a"))
        assert second.enter_context(places.hold("a"))
        first.close()
        with places.hold("a") as free, places.hold("a") as none:
            assert (free, none) == (True, False)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_dead_process_holds_nothing(how: signal.Signals) -> None:
    places = Places(1)
    holding, told = os.pipe()
    child = os.fork()
    if child == 0:
        with places.hold("crm") as held:
            os.write(told, b"1" if held else b"0")
            signal.pause()
    assert os.read(holding, 1) == b"1"
    with places.hold("crm") as free:
        assert not free
    os.kill(child, how)
    os.waitpid(child, 0)
    with places.hold("crm") as free:
        assert free


def test_a_user_waits_eight_times_and_all_users_in_a_quarter_of_the_threads() -> None:
    waiting = Waiting(threads=40)
    with contextlib.ExitStack() as held:
        for _ in range(8):
            held.enter_context(waiting.place("one"))
        with pytest.raises(ApiError) as of_user:
            held.enter_context(waiting.place("one"))
        for _ in range(2):
            held.enter_context(waiting.place("two"))
        with pytest.raises(ApiError) as of_all:
            held.enter_context(waiting.place("two"))
    for caught in (of_user, of_all):
        assert (caught.value.status, caught.value.code) == (429, "too_many_waiting")
        assert caught.value.retry_after
    with waiting.place("one"):
        pass
