"""health: one word a dependency, in time, and not asked more often than once a second."""

from __future__ import annotations

import threading

from evolvex_api.backends.failures import CdrUnavailable, PbxUnavailable
from evolvex_api.backends.health import Health
from evolvex_api.core.health import unhealthy
from tests.lab.server import wait_until


def _fail(error: Exception) -> None:
    raise error


def test_a_word_for_each_dependency() -> None:
    health = Health(
        {
            "pbx": lambda: _fail(PbxUnavailable("x")),
            "cdr": lambda: None,
            "recordings": lambda: _fail(FileNotFoundError(2, "x")),
        }
    )
    assert health.checks() == {"pbx": "unavailable", "cdr": "ok", "recordings": "unavailable"}


def test_the_answer_is_kept_for_a_second() -> None:
    asked: list[int] = []
    health = Health({"pbx": lambda: asked.append(1)})
    assert health.checks() is health.checks()
    assert asked == [1]


def test_what_hangs_is_slow_and_not_asked_again_meanwhile() -> None:
    release, asked = threading.Event(), []

    def hang() -> None:
        asked.append(1)
        release.wait(30)

    health = Health({"pbx": hang, "cdr": lambda: None})
    first = health.checks()
    assert first == {"pbx": "slow", "cdr": "ok"}
    wait_until(lambda: health.checks() is not first, 5, "a new answer")
    assert health.checks()["pbx"] == "slow"
    assert asked == [1]
    release.set()


def test_a_failure_has_the_code_of_what_failed_and_all_words() -> None:
    assert unhealthy({"pbx": "ok", "cdr": "ok"}) is None
    failure = unhealthy({"pbx": "ok", "cdr": "slow", "recordings": "unavailable"})
    assert failure is not None
    assert (failure.status, failure.code) == (503, "cdr_unavailable")
    assert failure.extra == {"checks": {"pbx": "ok", "cdr": "slow", "recordings": "unavailable"}}


def test_a_driver_that_times_out_is_unavailable_and_no_failure_of_ours() -> None:
    health = Health(
        {"cdr": lambda: _fail(CdrUnavailable("x")), "pbx": lambda: _fail(TimeoutError())}
    )
    assert health.checks() == {"cdr": "unavailable", "pbx": "unavailable"}
