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
from urllib.parse import urlencode

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


@contextlib.contextmanager
def _stalled(pbx: Pbx, key: str, **more: object) -> Iterator[int]:
    """A client that asks for the whole log and reads the status alone, which is given."""
    with socket.create_connection(("127.0.0.1", pbx.service.port), timeout=30) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        query = urlencode({"start": "2002-01-01", **more})
        target = f"/pbx/api/index/get_log_cdr?{query}"
        head = f"GET {target} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n\r\n"
        client.sendall(head.encode())
        yield int(client.recv(12).split()[1])


def test_a_user_has_four_exports_and_the_service_sixteen(own: Pbx) -> None:
    group = own.service.add_group("crowd", ["*"])
    users = [own.service.add_user(f"crowd-{number}", group) for number in range(32)]
    with contextlib.ExitStack() as readers:
        alone = [readers.enter_context(_stalled(own, users[0])) for _ in range(6)]
        assert alone == [200] * 4 + [429] * 2
        # 128 readers that stop reading: each user's four, until all places are taken.
        rest = [readers.enter_context(_stalled(own, key)) for key in users[1:] for _ in range(4)]
        assert (rest.count(200), rest.count(429)) == (12, len(rest) - 12)
        refused = _get(own)
        assert (refused.status, refused.code) == (429, "too_many_exports")
        assert refused.headers["Retry-After"]
        large = own.service.get("get_log_cdr", users[0], start="2001-01-01", limit=10_000)
        assert (large.status, large.code) == (429, "too_many_exports")
        # What is small is answered all the same.
        for method, asked in (("check", {}), ("get_log_cdr", {"limit": 1000}), ("stats", {})):
            assert own.service.get(method, own.keys["all"], **asked).status == 200
    wait_until(lambda: _get(own).status == 200, 10, "a place is free again")
    wait_until(lambda: not _connections(own), 10, "no connection is left")


def test_large_pages_are_exports_until_they_are_sent(own: Pbx) -> None:
    with contextlib.ExitStack() as readers:
        found = [
            readers.enter_context(_stalled(own, own.keys["sales"], limit=limit))
            for limit in (10_000, 10_000, 10_000, 10_000, 10_000, 1000)
        ]
        assert found == [200, 200, 200, 200, 429, 200]
        assert not _connections(own)  # what is being sent needs the database no longer


def test_a_fault_of_the_service_itself_is_not_the_databases(
    own: Pbx, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(cdr, "_walk", fails)
    with pytest.raises(RuntimeError, match="a bug"):
        _backend(own).export(Selection(*DAY, OPEN))
    assert not _connections(own)
