"""A call log that is stopped, frozen, refused, missing, or killed in mid-answer."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from evolvex_api.backends.cdr import client as cdr
from evolvex_api.backends.cdr.client import Cdr
from evolvex_api.backends.failures import CdrUnavailable
from evolvex_api.core.access import Scope
from evolvex_api.core.calllog import Selection
from tests.integration.calllog import settings
from tests.integration.conftest import Pbx, make_pbx
from tests.lab.asterisk import Asterisk
from tests.lab.mariadb import ORIGINAL, MariaDB
from tests.lab.server import wait_until
from tests.lab.service import Service

OPEN = Scope(None, "g")
DAY = (datetime(2002, 1, 1), datetime(2002, 1, 1, 23, 59, 59))
ROWS = 100_000


@pytest.fixture(scope="module")
def own(asterisk: Asterisk) -> Iterator[Pbx]:
    """A service with a MariaDB of its own that holds far more rows than sockets can."""
    with MariaDB() as database:
        _fill(database)
        with contextlib.closing(Service(asterisk, database)) as service:
            yield make_pbx(asterisk, database, service)


@pytest.fixture(autouse=True)
def mended(own: Pbx) -> Iterator[None]:
    """After each test MariaDB runs again, and the service answers by itself."""
    yield
    if own.database.running:
        own.database.thaw()
    else:
        own.database.start()
    assert _get(own).status == 200
    secrets = [*own.keys.values(), own.database.reader[1]]
    assert not any(secret in own.service.log() for secret in secrets)


def _fill(database: MariaDB) -> None:
    database.execute(
        "INSERT INTO cdr (start, dcontext, clid)"
        " SELECT '2002-01-01' + INTERVAL seq DIV 2 SECOND, 'outgoing', REPEAT('x', 60)"
        f" FROM seq_1_to_{ROWS}"
    )


def _backend(pbx: Pbx, **changes: Any) -> Cdr:
    return Cdr(settings(pbx.database, **{"database": ORIGINAL, **changes}))


def _get(pbx: Pbx) -> Any:
    return pbx.service.get("get_log_cdr", pbx.keys["all"], start="2001-01-01", end="2001-01-01")


def _assert_unavailable(pbx: Pbx) -> None:
    answer = _get(pbx)
    assert (answer.status, answer.code) == (503, "cdr_unavailable")
    assert answer.headers["Retry-After"]
    for secret in ("SELECT", "reader-secret", "127.0.0.1", "asteriskcdrdb", "evolvex'", "/"):
        assert secret not in answer.json["detail"]


def test_stopped(own: Pbx) -> None:
    own.database.stop()
    _assert_unavailable(own)
    assert own.service.get("check", own.keys["all"]).status == 200


def test_frozen(own: Pbx) -> None:
    own.database.freeze()
    _assert_unavailable(own)
    assert own.service.get("check", own.keys["all"]).status == 200


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"password": "wrong"}, "refuses"),
        ({"user": "nobody"}, "refuses"),
        ({"database": "mysql", "table": "user"}, "refuses"),
        ({"table": "none"}, "refuses"),  # MariaDB hides what is not there behind the right
        ({"user": "root", "password": "", "table": "none"}, "missing"),
        ({"host": "127.0.0.1", "port": 1}, "does not answer"),
        ({"unix_socket": "/nowhere.sock"}, "does not answer"),
    ],
)
def test_what_the_administrator_got_wrong(own: Pbx, changes: dict[str, Any], told: str) -> None:
    changes = dict(changes)
    if changes.get("user") == "root":
        changes["unix_socket"] = str(own.database.socket)
    for ask in (
        lambda: _backend(own, **changes).export(Selection(*DAY, OPEN)),
        lambda: _backend(own, **changes).call("1.1"),
        lambda: _backend(own, **changes).describe(),
    ):
        with pytest.raises(CdrUnavailable, match=told) as raised:
            ask()
        assert raised.value.__cause__ is not None


def _connections(pbx: Pbx) -> list[int]:
    """The ids of the service's connections."""
    sql = "SELECT id FROM information_schema.processlist WHERE user = %s"
    return [int(row["id"]) for row in pbx.database.execute(sql, pbx.database.reader[:1])]


@contextlib.contextmanager
def _broken(pbx: Pbx, how: str) -> Iterator[None]:
    """A database whose next page will fail: the client has stalled in the middle of an answer."""
    if how == "kill -9":
        pbx.database.kill()
    elif how == "KILL CONNECTION":
        pbx.database.execute(f"KILL CONNECTION {_connections(pbx)[0]}")
    else:
        pbx.database.execute("RENAME TABLE cdr TO gone")
    yield
    if how == "RENAME TABLE":
        pbx.database.execute("RENAME TABLE gone TO cdr")


HOW = ["kill -9", "KILL CONNECTION", "RENAME TABLE"]


@pytest.mark.parametrize("how", HOW)
def test_a_fault_in_mid_answer_breaks_the_connection(own: Pbx, how: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", own.service.port, timeout=30)
    with contextlib.closing(connection):
        path = "/pbx/api/index/get_log_cdr?start=2002-01-01"
        connection.request("GET", path, headers={"X-API-Key": own.keys["all"]})
        response = connection.getresponse()
        assert response.status == 200
        assert response.headers["Transfer-Encoding"] == "chunked"
        head = response.read(1000)
        assert head.startswith(b'{"data":[{"accountcode":null')
        with _broken(own, how), pytest.raises((http.client.IncompleteRead, ConnectionError)):
            response.read()


@pytest.mark.parametrize("how", HOW)
def test_a_fault_in_mid_answer_cuts_the_json_of_http_1_0(own: Pbx, how: str) -> None:
    with socket.create_connection(("127.0.0.1", own.service.port), timeout=30) as client:
        client.sendall(
            b"GET /pbx/api/index/get_log_cdr?start=2002-01-01 HTTP/1.0\r\n"
            b"X-API-Key: " + own.keys["all"].encode() + b"\r\n\r\n"
        )
        received = client.recv(1000)
        with _broken(own, how), contextlib.suppress(ConnectionResetError):
            while more := client.recv(1 << 16):
                received += more
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.split()[1] == b"200"
    assert b"transfer-encoding" not in head.lower()
    assert body.startswith(b'{"data":[')
    with pytest.raises(json.JSONDecodeError):
        json.loads(body)


def test_frozen_in_mid_answer(own: Pbx, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cdr, "_ANSWER_TIMEOUT", 0.5)
    export = _backend(own).export(Selection(*DAY, OPEN))
    with contextlib.closing(export):
        chunks = iter(export)
        next(chunks)
        own.database.freeze()
        with pytest.raises(CdrUnavailable, match="does not answer"):
            list(chunks)


def test_a_worker_killed_in_mid_answer_leaves_no_connection(own: Pbx) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", own.service.port, timeout=30)
    with contextlib.closing(connection):
        path = "/pbx/api/index/get_log_cdr?start=2002-01-01"
        connection.request("GET", path, headers={"X-API-Key": own.keys["all"]})
        response = connection.getresponse()
        response.read(1000)
        assert len(_connections(own)) == 1
        for pid in own.service.worker_pids():
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not _connections(own), 10, "the connection has ended")
