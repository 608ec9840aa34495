"""What is stopped, frozen, restarted or killed: clear errors in time, and recovery by itself."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.conftest import Pbx, make_pbx
from tests.lab.asterisk import Asterisk
from tests.lab.mariadb import MariaDB
from tests.lab.server import wait_until
from tests.lab.service import Answer, Service

CALL = {"channel": "Local/110@answer", "context": "outgoing", "exten": "120", "priority": "1"}
# Over the configured timeout of 2 s twice (one exchange under way, then one's own).
BOUND = 8.0


@pytest.fixture(scope="module", params=[22, 16])
def fragile(request: pytest.FixtureRequest) -> Iterator[Pbx]:
    """Servers of this module's own, to be broken."""
    with MariaDB() as database, Asterisk(request.param, database) as asterisk:
        service = Service(asterisk, database, {"ami": {"timeout": "2"}})
        with contextlib.closing(service):
            yield make_pbx(asterisk, database, service)


def status(pbx: Pbx) -> Answer:
    """The live channels, for whom everything is open."""
    return pbx.service.get("status", pbx.keys["all"])


def fails_soon(pbx: Pbx, method: str, code: str, **params: object) -> Answer:
    """Ask for what can't be had now: a 503 of that code, well before a client gives up."""
    started = time.monotonic()
    answer = pbx.service.get(method, pbx.keys["all"], **params)
    assert (answer.status, answer.code) == (503, code), answer.body
    assert answer.headers["Retry-After"]
    assert time.monotonic() - started < BOUND
    return answer


def recovers(pbx: Pbx, method: str = "status") -> None:
    """It works again without anybody's help."""
    wait_until(lambda: pbx.service.get(method, pbx.keys["all"]).status == 200, 15, "recovery")


def test_asterisk_stopped_and_started(fragile: Pbx) -> None:
    assert status(fragile).status == 200
    fragile.asterisk.stop()
    fails_soon(fragile, "status", "pbx_unavailable")
    fails_soon(fragile, "originate", "pbx_unavailable", **CALL)
    assert fragile.service.get("get_log_cdr", fragile.keys["all"]).status == 200
    fragile.asterisk.start()
    recovers(fragile)


def test_asterisk_killed_and_restarted_is_asked_again_at_once(fragile: Pbx) -> None:
    assert status(fragile).status == 200
    fragile.asterisk.kill()
    fragile.asterisk.start()
    # The session is broken, but nobody noticed yet: a question is simply asked again.
    assert [status(fragile).status for _ in range(8)] == [200] * 8
    fragile.originate()


def test_asterisk_frozen(fragile: Pbx) -> None:
    assert status(fragile).status == 200
    fragile.asterisk.freeze()
    try:
        fails_soon(fragile, "status", "pbx_unavailable")
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: status(fragile), range(8)))
        assert {answer.code for answer in answers} == {"pbx_unavailable"}
        assert fragile.service.get("check", fragile.keys["all"]).status == 200
    finally:
        fragile.asterisk.thaw()
    recovers(fragile)


def test_a_call_in_doubt_is_told_and_never_dialled_twice(fragile: Pbx) -> None:
    """Asterisk dies while a click-to-call waits for its outcome."""
    assert status(fragile).status == 200
    with ThreadPoolExecutor(1) as pool:
        params = {**CALL, "channel": "Local/310@answer", "timeout": 20}
        waiting = pool.submit(fragile.service.get, "originate", fragile.keys["all"], **params)
        wait_until(lambda: fragile.asterisk.channels() > 0, 5, "it rings")
        fragile.asterisk.kill()
        fragile.asterisk.start()
        answer = waiting.result()
    assert (answer.status, answer.code) == (502, "outcome_unknown")
    assert "." in answer.json["Uniqueid"]
    recovers(fragile)
    assert fragile.asterisk.channels() == 0


def test_a_frozen_pbx_leaves_a_call_in_doubt(fragile: Pbx) -> None:
    assert fragile.service.get("originate", fragile.keys["all"], **CALL).status == 200
    for _ in range(8):
        status(fragile)  # every worker has its session
    fragile.asterisk.freeze()
    try:
        answer = fragile.service.get("originate", fragile.keys["all"], **CALL, async_="true")
    finally:
        fragile.asterisk.thaw()
    assert (answer.status, answer.code) == (502, "outcome_unknown")
    recovers(fragile)
    fragile.asterisk.hang_up_all()


def test_database_stopped_and_frozen(fragile: Pbx) -> None:
    fragile.database.stop()
    fails_soon(fragile, "get_log_cdr", "cdr_unavailable")
    refused = fragile.service.get("get_file_wav", fragile.keys["sales"], uniqueid="1.1")
    assert refused.code == "cdr_unavailable"
    assert status(fragile).status == 200
    fragile.database.start()
    recovers(fragile, "get_log_cdr")
    fragile.database.freeze()
    try:
        fails_soon(fragile, "get_log_cdr", "cdr_unavailable")
    finally:
        fragile.database.thaw()
    recovers(fragile, "get_log_cdr")


def test_database_killed_in_mid_answer_breaks_the_connection(fragile: Pbx) -> None:
    """What was sent so far can never be read as whole JSON."""
    sql = (
        "INSERT INTO cdr (start, src, lastdata, uniqueid)"
        " SELECT NOW(), seq, REPEAT('x', 180), seq FROM seq_1_to_300000"
    )
    fragile.database.execute(sql)
    connection = http.client.HTTPConnection("127.0.0.1", fragile.service.port, timeout=30)
    connection.request("GET", "/api/index/get_log_cdr", headers={"X-API-Key": fragile.keys["all"]})
    response = connection.getresponse()
    assert response.status == 200
    assert response.read(10)[:9] == b'{"data":['
    fragile.database.kill()
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        response.read()
    fragile.database.start()
    fragile.database.execute("DELETE FROM cdr WHERE lastdata LIKE 'xxx%%'")
    recovers(fragile, "get_log_cdr")


def test_killed_workers_come_back(fragile: Pbx) -> None:
    for pid in fragile.service.worker_pids():
        os.kill(pid, signal.SIGKILL)
    recovers(fragile)


def test_a_broken_configuration_does_not_replace_a_running_one(fragile: Pbx) -> None:
    fragile.service.config.write_text("[ami]\nnonsense = 1\n")
    os.kill(fragile.service.pid, signal.SIGHUP)
    try:
        wait_until(lambda: "[ami] nonsense: unknown key" in fragile.service.log(), 5, "it is told")
        recovers(fragile)
    finally:
        fragile.service.write_config()


def test_a_reload_takes_the_new_configuration_and_loses_no_request(fragile: Pbx) -> None:
    fragile.service.write_config({"originate": {"technologies": "PJSIP"}})
    old = set(fragile.service.worker_pids())
    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(_ask_on, fragile, 60) for _ in range(4)]
        os.kill(fragile.service.pid, signal.SIGHUP)
        assert {status for job in asking for status in job.result()} == {200}
    wait_until(lambda: not old & set(fragile.service.worker_pids()), 20, "new workers")
    assert fragile.service.get("originate", fragile.keys["all"], **CALL).code == "invalid_parameter"
    fragile.service.write_config()
    os.kill(fragile.service.pid, signal.SIGHUP)


def test_workers_told_to_end_while_they_begin_do_end(fragile: Pbx) -> None:
    """Between fork and its own handlers a worker must not lose the signal (see server.Master)."""
    for _ in range(6):
        before = set(fragile.service.worker_pids())
        os.kill(fragile.service.pid, signal.SIGHUP)
        wait_until(lambda old=before: set(fragile.service.worker_pids()) - old, 10, "a new worker")  # type: ignore[misc]
    # A worker that has lost its signal stays for the graceful timeout of 30 s.
    wait_until(lambda: len(fragile.service.worker_pids()) == 2, 15, "only the last two are left")
    recovers(fragile)


def _ask_on(pbx: Pbx, count: int) -> list[int]:
    return [pbx.service.get("check", pbx.keys["all"]).status for _ in range(count)]


@pytest.mark.parametrize(
    "sent", [b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /x" + b"y" * 9000 + b"\r\n\r\n"]
)
def test_what_is_no_http_is_a_problem_too(fragile: Pbx, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", fragile.service.port), 10) as connection:
        connection.sendall(sent)
        answer = b""
        while more := connection.recv(65536):
            answer += more
    assert answer.startswith(b"HTTP/1.1 4") or answer.startswith(b"HTTP/1.1 5")
    assert b"application/problem+json" in answer
    assert b"X-Request-ID: " in answer


def test_health_names_what_is_down(fragile: Pbx) -> None:
    """Without a key; a PBX or a database that is frozen holds up nobody who asks."""

    def checks() -> tuple[int, dict[str, str]]:
        answer = fragile.service.get("health")
        return answer.status, answer.json["checks"]

    good = {"pbx": "ok", "cdr": "ok", "recordings": "ok"}
    wait_until(lambda: checks() == (200, good), 20, "all is well")
    for server, name in ((fragile.asterisk, "pbx"), (fragile.database, "cdr")):
        server.freeze()
        wait_until(lambda name=name: checks() == (503, good | {name: "slow"}), 10, name)  # type: ignore[misc]  # mypy can't infer a lambda's default
        server.thaw()
        wait_until(lambda: checks() == (200, good), 20, "all is well again")
    fragile.database.stop()
    wait_until(lambda: checks() == (503, good | {"cdr": "unavailable"}), 10, "the database is down")
    fragile.database.start()
    wait_until(lambda: checks() == (200, good), 20, "all is well again")
