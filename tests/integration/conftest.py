"""The real servers that the integration tests share, and ways to make a call on them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from evolvex_api.backends.cdr.client import Cdr
from tests.integration import calllog, contract
from tests.lab import packages
from tests.lab.asterisk import Asterisk
from tests.lab.mariadb import MariaDB
from tests.lab.server import wait_until
from tests.lab.service import Service


@dataclass(frozen=True)
class Pbx:
    """A PBX with the service beside it, and keys: `all` may everything, `sales` two contexts.

    `other` belongs to a group that may only `incoming`; `nobody`'s group grants nothing.
    """

    asterisk: Asterisk
    database: MariaDB
    service: Service
    groups: dict[str, str]
    keys: dict[str, str]

    def originate(self, key: str = "all", **params: object) -> str:
        """Make a call by click-to-call, not waiting for its outcome; returns its Uniqueid."""
        asked = {"channel": "Local/110@answer", "context": "outgoing", "exten": "120"}
        call: dict[str, object] = {**asked, "priority": 1, "async": "true", **params}
        answer = self.service.request("GET", "originate", self.keys[key], params=call)
        return str(answer.data["Uniqueid"])

    def wait_recorded(self, uniqueid: str, size: int = 1000, extension: str = "wav") -> None:
        """Wait until Asterisk has written some of a recording to disk."""
        path = self.asterisk.monitor / f"{uniqueid}.{extension}"
        wait_until(lambda: path.exists() and path.stat().st_size > size, 20, f"{path.name} grows")

    def wait_rows(self, uniqueid: str, count: int = 1) -> None:
        """Wait until a call's rows are in the call log."""
        sql = "SELECT COUNT(*) AS n FROM cdr WHERE linkedid = %s"
        wait_until(lambda: self.database.execute(sql, (uniqueid,))[0]["n"] >= count, 10, "CDR rows")

    def recorded_call(self, **params: object) -> str:
        """A finished call with a recording of about two seconds, in the call log."""
        uniqueid = self.originate("all", exten="5551000", **params)
        self.wait_recorded(uniqueid, extension=str(params.get("format", "wav")))
        self.asterisk.hang_up_all()
        self.wait_rows(uniqueid, 3)
        return uniqueid


def make_pbx(asterisk: Asterisk, database: MariaDB, service: Service) -> Pbx:
    """Give a service its groups and users, and start it."""
    contexts = {"all": ["*"], "sales": ["outgoing", "answer"], "other": ["incoming"], "nobody": []}
    groups = {name: service.add_group(name, granted) for name, granted in contexts.items()}
    keys = {name: service.add_user(name, group) for name, group in groups.items()}
    service.on_answer = contract.assert_conforms
    keys["disabled"] = service.add_user("disabled", groups["all"], enabled=False)
    return Pbx(asterisk, database, service.start(), groups, keys)


@pytest.fixture(scope="session")
def database() -> Iterator[MariaDB]:
    """MariaDB with the call log in both shapes."""
    packages.ensure(*packages.PBX, *packages.AUDIO)
    with MariaDB() as server:
        yield server


@pytest.fixture(scope="session")
def asterisk(database: MariaDB) -> Iterator[Asterisk]:
    """Asterisk 22."""
    with Asterisk(22, database) as server:
        yield server


@pytest.fixture(scope="session")
def pbx(asterisk: Asterisk, database: MariaDB) -> Iterator[Pbx]:
    """Asterisk 22, MariaDB and the service, for tests that leave them running."""
    service = Service(asterisk, database, {"ami": {"timeout": "3"}})
    with contextlib.closing(service):
        yield make_pbx(asterisk, database, service)


@pytest.fixture(scope="session", params=[22, 16])
def any_pbx(request: pytest.FixtureRequest, database: MariaDB) -> Iterator[Pbx]:
    """The same with Asterisk 22, then with Asterisk 16."""
    if request.param == 22:
        yield request.getfixturevalue("pbx")
        return
    with Asterisk(request.param, database) as asterisk:
        service = Service(asterisk, database, {"ami": {"timeout": "3"}})
        with contextlib.closing(service):
            yield make_pbx(asterisk, database, service)


@pytest.fixture(autouse=True)
def no_calls_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """End every call after a test."""
    yield
    for name in ("pbx", "any_pbx"):
        if name in request.fixturenames:
            request.getfixturevalue(name).asterisk.hang_up_all()


@pytest.fixture
def scratch(database: MariaDB) -> Iterator[calllog.Scratch]:
    """A table of the original's shape, empty."""
    database.execute(f"CREATE DATABASE {calllog.SCRATCH} CHARACTER SET utf8mb4", database=None)
    database.execute(f"GRANT SELECT ON {calllog.SCRATCH}.* TO %s", database.reader[:1])
    made = calllog.Scratch(database, Cdr(calllog.settings(database)))
    made.sql((calllog.SHAPES / "original.sql").read_text())
    yield made
    database.execute(f"DROP DATABASE {calllog.SCRATCH}", database=None)
    database.execute(f"REVOKE SELECT ON {calllog.SCRATCH}.* FROM %s", database.reader[:1])


@pytest.fixture
def freepbx(scratch: calllog.Scratch) -> calllog.Scratch:
    """The same with FreePBX's table."""
    scratch.sql("DROP TABLE cdr")
    scratch.sql((calllog.SHAPES / "freepbx.sql").read_text())
    return scratch
