"""A table of calls of their own for the tests of the call log."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from evolvex_api import config
from evolvex_api.backends.cdr.client import Cdr
from evolvex_api.core.access import Scope
from evolvex_api.core.calllog import Selection
from tests.lab.mariadb import MariaDB
from tests.options import section

SCRATCH = "cdrscratch"
SHAPES = Path(__file__).parents[1] / "lab" / "sql"
OPEN = Scope(None, "my-group")
DAY = (datetime(2024, 10, 30), datetime(2024, 10, 30, 23, 59, 59))
# The row of the original document.
SAMPLE = {
    "accountcode": None,
    "src": "79123456789",
    "dst": "110",
    "dcontext": "local-evolvex",
    "clid": '"Сергей" <79123456789>',
    "channel": "Local/110@local-evolvex-00000167;2",
    "dstchannel": "PJSIP/user-110-evolvex-000002a0",
    "lastapp": "Dial",
    "lastdata": "PJSIP/user-110-evolvex/sip:user-110-evolvex@1.1.1.1:10110,60,t",
    "start": "2024-10-30 09:59:15",
    "answer": None,
    "end": "2024-10-30 09:59:22",
    "duration": "7",
    "billsec": "0",
    "disposition": "NO ANSWER",
    "amaflags": "DOCUMENTATION",
    "userfield": None,
    "uniqueid": "1730267955.2409",
    "linkedid": "1730267935.2405",
    "peeraccount": None,
    "sequence": "1923",
    "source": None,
    "destination": None,
    "direction": None,
    "group_uuid": None,
}


@dataclass
class Scratch:
    """A table of calls that a test may shape as it likes, and the backend that reads it."""

    database: MariaDB
    cdr: Cdr

    def sql(self, statement: str, arguments: Sequence[object] = ()) -> list[dict[str, Any]]:
        return self.database.execute(statement, arguments, SCRATCH)

    def insert(self, **values: object) -> None:
        names = ", ".join(f"`{name}`" for name in values)
        holders = ", ".join(["%s"] * len(values))
        self.sql(f"INSERT INTO cdr ({names}) VALUES ({holders})", tuple(values.values()))

    def rows(
        self, start: datetime = DAY[0], end: datetime = DAY[1], scope: Scope = OPEN
    ) -> list[dict[str, str | None]]:
        with contextlib.closing(self.cdr.export(Selection(start, end, scope))) as export:
            rows: list[dict[str, str | None]] = json.loads(b"".join(export))
            assert export.count == len(rows)
        return rows

    def many(self, count: int) -> None:
        """Fill the table with rows of DAY, a few of them in each second."""
        self.sql(
            "INSERT INTO cdr (start, dcontext, clid, sequence) SELECT %s + INTERVAL seq * 80000"
            f" DIV {count} SECOND, 'inner', REPEAT('x', 60), seq FROM seq_1_to_{count}",
            (str(DAY[0]),),
        )


def settings(server: MariaDB, **changes: Any) -> config.Cdr:
    user, password = server.reader
    values: dict[str, Any] = {
        **{"host": "127.0.0.1", "port": server.port, "unix_socket": "", "user": user},
        **{"password": password, "database": SCRATCH, "table": "cdr"},
    }
    return section(config.Cdr, **{**values, **changes})
