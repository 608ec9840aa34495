"""Limits of a group's calls, exact over two workers, reloads and restarts, on a real Asterisk."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration import contract
from tests.lab.asterisk import Asterisk
from tests.lab.mariadb import MariaDB
from tests.lab.server import wait_until
from tests.lab.service import Answer, Service

HELD = {"channel": "Local/610@answer", "context": "hold", "exten": "1", "priority": "1"}
RINGING = {**HELD, "channel": "Local/310@answer"}


class Limited:
    """The service with groups that have limits."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def key(self, **rules: object) -> str:
        """The key of a new group with every context and these keys in [originate]."""
        name = uuid.uuid4().hex[:12]
        text = "[originate]\n" + "".join(f"{key} = {value}\n" for key, value in rules.items())
        return self.service.add_user(name, self.service.add_group(name, ["*"], text))

    def call(self, key: str, call: Mapping[str, str] = HELD, **changed: str) -> Answer:
        """Make a call without waiting for its outcome."""
        return self.service.get("originate", key, **{**call, "async": "true", **changed})

    def calls_at_once(self, key: str, count: int) -> Counter[str]:
        """The codes ("" for success) of so many requests at once."""
        with ThreadPoolExecutor(count) as pool:
            answers = list(pool.map(lambda _: self.call(key), range(count)))
        return Counter(answer.code if answer.status != 200 else "" for answer in answers)


@pytest.fixture(scope="module")
def limited(asterisk: Asterisk, database: MariaDB) -> Iterator[Limited]:
    """A service of its own, as its limits and state are."""
    service = Service(asterisk, database, {"ami": {"timeout": "3"}})
    service.on_answer = contract.assert_conforms
    with contextlib.closing(service):
        yield Limited(service.start())


@pytest.fixture(autouse=True)
def no_calls_left_here(asterisk: Asterisk) -> Iterator[None]:
    """End every call after a test."""
    yield
    asterisk.hang_up_all()


def refused(answer: Answer, low: int, high: int) -> bool:
    """True for a 429 whose Retry-After is within bounds."""
    assert answer.code == "too_many_calls", answer.body
    return low <= int(answer.headers["Retry-After"]) <= high


def test_calls_in_flight_are_exact_over_workers(limited: Limited, asterisk: Asterisk) -> None:
    key = limited.key(max_calls=10)
    assert limited.calls_at_once(key, 50) == {"": 10, "too_many_calls": 40}
    wait_until(lambda: asterisk.channels() == 20, 10, "ten calls")
    assert refused(limited.call(key), 1, 10)
    asterisk.hang_up_all()
    assert limited.calls_at_once(key, 30) == {"": 10, "too_many_calls": 20}


def test_ringing_calls_are_in_flight_and_ended_ones_are_not(
    limited: Limited, asterisk: Asterisk
) -> None:
    key = limited.key(max_calls=1)
    assert limited.call(key, RINGING).status == 200
    wait_until(lambda: asterisk.channels() == 2, 10, "it rings")
    assert refused(limited.call(key, RINGING), 1, 10)
    asterisk.hang_up_all()
    # A call that was waited for has ended when its failure is answered, an answered one has not.
    for _ in range(3):
        busy = limited.service.get("originate", key, **{**HELD, "channel": "Local/210@answer"})
        assert busy.data["Response"] == "Failure"
    assert limited.service.get("originate", key, **HELD).data["Response"] == "Success"
    assert refused(limited.call(key), 1, 10)
    asterisk.hang_up_all()
    assert limited.call(key).status == 200


def test_a_call_goes_on_when_its_first_channel_is_optimised_away(
    limited: Limited, asterisk: Asterisk
) -> None:
    """Local channels leave a call as soon as its ends can be joined; its Linkedid stays."""
    key = limited.key(max_calls=1)
    call = {**HELD, "channel": "Local/110@outgoing", "exten": "610"}
    uniqueid = limited.service.get("originate", key, **call).data["Uniqueid"]
    legs = limited.service.get("status", key).data
    assert uniqueid in {leg["Linkedid"] for leg in legs}
    assert refused(limited.call(key), 1, 10)
    asterisk.hang_up_all()
    assert limited.call(key).status == 200


def test_a_minute_is_exact_over_workers_reload_and_restart(limited: Limited) -> None:
    key = limited.key(calls_per_minute=7)
    assert limited.calls_at_once(key, 50) == {"": 7, "too_many_calls": 43}
    os.kill(limited.service.pid, signal.SIGHUP)
    old = set(limited.service.worker_pids())
    wait_until(lambda: not old & set(limited.service.worker_pids()), 20, "new workers")
    assert refused(limited.call(key), 1, 60)
    limited.service.restart()
    assert refused(limited.call(key), 1, 60)
    assert "`calls_per_minute`" in limited.call(key).json["detail"]
    # Another group has counts of its own.
    assert limited.call(limited.key(calls_per_minute=1)).status == 200


def test_a_day_and_each_number(limited: Limited) -> None:
    key = limited.key(calls_per_day=3, calls_per_number_per_day=1)
    assert limited.call(key, exten="100").status == 200
    # Written otherwise, it is the same number, wherever it stands.
    assert refused(limited.call(key, exten="1-00"), 86000, 86400)
    assert refused(limited.call(key, channel="Local/+610@answer", exten="101"), 86000, 86400)
    assert limited.call(key, channel="Local/611@answer", exten="s").status == 200
    assert limited.call(key, channel="Local/612@answer", exten="s").status == 200
    assert refused(limited.call(key, channel="Local/613@answer", exten="s"), 86000, 86400)


def test_the_command_line_shows_what_is_used_up(limited: Limited, asterisk: Asterisk) -> None:
    key = limited.key(calls_per_day=5)
    name = limited.service.get("check", key).data["api_user"]["name"]
    for _ in range(2):
        assert limited.service.get("originate", key, **HELD).data["Response"] == "Success"

    def shown() -> list[str]:
        command = [sys.executable, "-m", "evolvex_api", "group", "limits", name]
        done = subprocess.run(
            [*command, "--config", str(limited.service.config)],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.splitlines()

    assert shown()[:3] == [
        "max_calls: 2 of 100",
        "calls_per_minute: 2 of 120",
        "calls_per_day: 2 of 5",
    ]
    asterisk.hang_up_all()
    assert shown()[0] == "max_calls: 0 of 100"


def test_what_counts_is_what_was_let_through(limited: Limited) -> None:
    key = limited.key(calls_per_minute=2, forbidden_numbers="_81.")
    for _ in range(5):
        assert limited.service.request("HEAD", "originate", key, params=HELD).status == 200
        assert limited.call(key, exten="810").code == "number_denied"
        assert limited.call(key, exten="1 0").code == "invalid_parameter"
    assert limited.call(key).status == 200
    assert limited.call(key, priority="nolabel").code == "rejected_by_pbx"
    assert refused(limited.call(key), 1, 60)
    head = limited.service.request("HEAD", "originate", key, params=HELD)
    assert (head.status, bool(head.headers["Retry-After"])) == (429, True)


def test_a_refused_number_is_not_counted_with_the_other(limited: Limited) -> None:
    key = limited.key(calls_per_number_per_day=1)
    assert limited.call(key, exten="100", channel="Local/610@answer").status == 200
    assert refused(limited.call(key, exten="101", channel="Local/610@answer"), 86000, 86400)
    assert limited.call(key, exten="101", channel="Local/611@answer").status == 200


def test_a_call_that_the_pbx_never_got_is_not_counted(limited: Limited, asterisk: Asterisk) -> None:
    key = limited.key(calls_per_day=1, max_calls=1)
    asterisk.kill()
    try:
        assert limited.call(key).code == "pbx_unavailable"
    finally:
        asterisk.start()
    wait_until(lambda: limited.call(key).status == 200, 10, "the call is let through")


def test_hours(limited: Limited) -> None:
    shut = limited.key(hours="*,*,31,feb")
    answer = limited.call(shut)
    assert (answer.status, answer.code) == (403, "outside_hours")
    assert "*,*,31,feb" in answer.json["detail"]
    assert limited.call(limited.key(hours="*,*,*,*")).status == 200


def test_the_defaults_are_those_of_evolvex_conf(limited: Limited) -> None:
    limited.service.write_config({"originate": {"calls_per_minute": "2", "max_calls": "1"}})
    os.kill(limited.service.pid, signal.SIGHUP)
    old = set(limited.service.worker_pids())
    wait_until(lambda: not old & set(limited.service.worker_pids()), 20, "new workers")
    key = limited.key()
    assert limited.call(key).status == 200
    assert "`max_calls`" in limited.call(key).json["detail"]
    own = limited.key(max_calls=2, calls_per_minute=3)
    assert [limited.call(own).status for _ in range(3)] == [200, 200, 429]
    limited.service.write_config()
    limited.service.restart()


def test_a_state_that_cannot_be_written_lets_no_call_through(
    limited: Limited, asterisk: Asterisk
) -> None:
    key = limited.key()
    state = limited.service.state
    aside = state.with_name("aside")
    state.rename(aside)
    try:
        answer = limited.call(key)
        assert (answer.status, answer.code) == (503, "storage_unavailable")
        assert asterisk.channels() == 0
    finally:
        aside.rename(state)
    assert limited.call(key).status == 200


def test_a_damaged_state_is_begun_anew(limited: Limited) -> None:
    key = limited.key(calls_per_day=1)
    assert limited.call(key).status == 200
    limited.service.stop()
    (limited.service.state / "calls.sqlite3").write_bytes(b"no database" * 1000)
    limited.service.start()
    assert limited.call(key).status == 200
    assert refused(limited.call(key), 86000, 86400)
    assert list(limited.service.state.glob("calls.sqlite3.damaged-*"))
