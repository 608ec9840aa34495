"""Browser pages of other origins, who a peer is, and what the journal says of accidents."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

import pytest

from tests.integration.conftest import Pbx, make_pbx
from tests.integration.wire import exchange, line, request
from tests.lab.asterisk import Asterisk
from tests.lab.mariadb import MariaDB
from tests.lab.server import wait_until
from tests.lab.service import Answer, Service

ALLOWED = "https://crm.example.com"


@pytest.fixture(scope="module")
def pbx(asterisk: Asterisk, database: MariaDB) -> Iterator[Pbx]:
    """The service, which two origins may use."""
    origins = f"{ALLOWED}, http://localhost:3000"
    service = Service(asterisk, database, {"server": {"cors_origins": origins}})
    with contextlib.closing(service):
        yield make_pbx(asterisk, database, service)


def from_page(pbx: Pbx, origin: str, verb: str = "GET", method: str = "check") -> Answer:
    """A page's request."""
    return pbx.service.request(verb, method, pbx.keys["all"], headers={"Origin": origin})


def preflight(pbx: Pbx, origin: str, method: str = "check") -> Answer:
    """What a browser asks before a request with a key in a header."""
    sent = request(
        line("OPTIONS", method),
        Origin=origin,
        Access_Control_Request_Method="GET",
        Access_Control_Request_Headers="x-api-key",
    )
    return exchange(pbx.service, sent)


@pytest.mark.parametrize("origin", [ALLOWED, "http://localhost:3000"])
def test_an_allowed_page_may_ask_and_read(pbx: Pbx, origin: str) -> None:
    for method in ("check", "get_log_cdr", "uploads", "originate"):
        answer = preflight(pbx, origin, method)
        assert answer.status == 204
        assert answer.headers["Access-Control-Allow-Origin"] == origin
        assert "X-API-Key" in answer.headers["Access-Control-Allow-Headers"]
        assert "POST" in answer.headers["Access-Control-Allow-Methods"]
        assert "Origin" in answer.headers["Vary"]
        assert answer.headers["X-Request-ID"]
    for method, status in (("check", 200), ("unknown", 404), ("get_file_mp3", 400)):
        read = from_page(pbx, origin, method=method)
        assert read.status == status
        assert read.headers["Access-Control-Allow-Origin"] == origin
        assert "Access-Control-Allow-Credentials" not in read.headers


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", f"{ALLOWED}.evil.example", "http://crm.example.com"]
)
def test_no_other_page_may_read(pbx: Pbx, origin: str) -> None:
    for answer in (from_page(pbx, origin), preflight(pbx, origin)):
        assert not [name for name in answer.headers if name.startswith("Access-Control")]
        assert answer.headers["Vary"] == "Origin"


def test_without_origins_there_is_nothing_of_it(pbx: Pbx) -> None:
    answer = pbx.service.request("GET", "check", pbx.keys["all"])
    assert not [name for name in answer.headers if name.startswith("Access-Control")]


def test_nobody_is_the_web_server_over_tcp(pbx: Pbx) -> None:
    uniqueid = pbx.recorded_call()
    headers = {"X-Forwarded-For": "192.0.2.77", "X-Evolvex-Accel": "1"}
    answer = pbx.service.request(
        "GET", "get_file_wav", pbx.keys["all"], params={"uniqueid": uniqueid}, headers=headers
    )
    assert "X-Accel-Redirect" not in answer.headers
    assert answer.body.startswith(b"RIFF")
    told = answer.headers["X-Request-ID"]
    wait_until(lambda: told in pbx.service.log(), 5, "the journal's line")
    assert "192.0.2.77" not in pbx.service.log()


def test_a_worker_that_is_killed_is_told_in_a_line(pbx: Pbx) -> None:
    os.kill(pbx.service.worker_pids()[0], signal.SIGKILL)
    wait_until(lambda: "SIGKILL" in pbx.service.log(), 10, "the master tells")
    assert "Traceback" not in pbx.service.log()
    assert "Logging error" not in pbx.service.log()
    assert pbx.service.get("check", pbx.keys["all"]).status == 200
