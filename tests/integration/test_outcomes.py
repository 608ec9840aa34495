"""What a waiting originate reports: phones that refuse, clients that leave, a PBX that stops."""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import pytest

from tests.integration.conftest import Pbx, make_pbx
from tests.lab.asterisk import Asterisk
from tests.lab.mariadb import MariaDB
from tests.lab.server import wait_until
from tests.lab.service import PREFIX, Service
from tests.lab.softphone import RefusingPhone

CALL = {"context": "outgoing", "exten": "120", "priority": 1}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (486, ("5", "17", "Busy.")),
        (600, ("5", "17", "Busy.")),
        (603, ("1", "21", "Declined.")),
        (403, ("1", "21", "Declined.")),
        (404, ("0", "1", "No such number.")),
        (480, ("3", "19", "No answer.")),
        (503, ("8", "34", "Congestion: no channel is free.")),
    ],
)
@pytest.mark.parametrize("channel", ["PJSIP/phone1", "Local/phone1@outgoing/n"])
def test_a_phone_that_refuses(
    any_pbx: Pbx, channel: str, code: int, expected: tuple[str, str, str]
) -> None:
    with RefusingPhone(any_pbx.asterisk, code):
        params = {**CALL, "channel": channel, "timeout": 10}
        data = any_pbx.service.get("originate", any_pbx.keys["all"], **params).data
    assert data["Response"] == "Failure"
    assert (data["Reason"], data["Cause"], data["Message"]) == expected
    assert data["Cause-txt"]


def test_an_endpoint_that_does_not_exist_was_never_dialled(any_pbx: Pbx) -> None:
    params = {**CALL, "channel": "PJSIP/nobody"}
    data = any_pbx.service.get("originate", any_pbx.keys["all"], **params).data
    assert (data["Response"], data["Reason"]) == ("Failure", "0")
    assert "not registered" in data["Message"]
    assert "Cause" not in data


@contextlib.contextmanager
def waiting(pbx: Pbx, key: str, number: str = "310") -> Iterator[http.client.HTTPConnection]:
    """An originate that waits for an answer that does not come."""
    params = {**CALL, "channel": f"Local/{number}@answer", "timeout": 60}
    connection = http.client.HTTPConnection("127.0.0.1", pbx.service.port, timeout=90)
    target = f"{PREFIX}/originate?{urlencode(params)}"
    connection.request("GET", target, headers={"X-API-Key": pbx.keys[key]})
    with contextlib.closing(connection):
        yield connection


def test_a_user_may_wait_eight_times_and_leaving_makes_room(pbx: Pbx) -> None:
    params = {**CALL, "channel": "Local/310@answer", "timeout": 60}
    with contextlib.ExitStack() as clients:
        for _ in range(8):
            clients.enter_context(waiting(pbx, "sales"))
        wait_until(lambda: pbx.asterisk.channels() >= 16, 10, "eight calls ring")
        refused = pbx.service.get("originate", pbx.keys["sales"], **params)
        assert (refused.status, refused.code) == (429, "too_many_waiting")
        assert int(refused.headers["Retry-After"]) > 0
        assert pbx.service.get("check", pbx.keys["sales"]).status == 200
        queued = pbx.service.get("originate", pbx.keys["sales"], **params, async_="true")
        assert queued.data["Message"] == "Originate successfully queued"
    # The clients are gone, their calls go on; their places are free within a second.
    assert pbx.asterisk.channels() >= 16

    def waits() -> bool:
        asked = {**params, "timeout": 1}
        return pbx.service.get("originate", pbx.keys["sales"], **asked).status == 200

    wait_until(waits, 10, "a place is free again")


@pytest.fixture
def own(database: MariaDB) -> Iterator[Pbx]:
    """An Asterisk and a service that a test may stop."""
    with Asterisk(22, database) as asterisk:
        service = Service(asterisk, database, {"ami": {"timeout": "3"}})
        with contextlib.closing(service):
            yield make_pbx(asterisk, database, service)


def test_a_pbx_that_stops_or_starts_is_unavailable_and_never_rejects(own: Pbx) -> None:
    """Under steady calls through a stop and a start: what passes by itself is 503, never 422."""
    answers: list[tuple[int, str]] = []
    done = threading.Event()

    def call_on() -> None:
        params = {**CALL, "channel": "Local/610@answer", "async": "true"}
        while not done.is_set():
            answer = own.service.get("originate", own.keys["all"], **params)
            answers.append((answer.status, "" if answer.status == 200 else answer.code))
            time.sleep(0.01)

    with ThreadPoolExecutor(2) as pool:
        callers = [pool.submit(call_on) for _ in range(2)]
        try:
            wait_until(lambda: (200, "") in answers, 10, "calls are made")
            own.asterisk.restart()
            answers.clear()
            wait_until(lambda: (200, "") in answers, 20, "calls are made again")
        finally:
            done.set()
        for caller in callers:
            caller.result()
    assert {status for status, _ in answers} <= {200, 502, 503}


def test_an_extension_that_does_not_exist_is_rejected_also_just_after_the_start(own: Pbx) -> None:
    wrong = {**CALL, "channel": "Local/610@answer", "exten": "nowhere"}
    answer = own.service.get("originate", own.keys["all"], **wrong)
    assert (answer.status, answer.code) == (422, "rejected_by_pbx")
    assert answer.json["detail"] == "Extension does not exist."
