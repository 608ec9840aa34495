"""A client that stops reading never keeps Asterisk from writing a call."""

from __future__ import annotations

import contextlib
import json

import pytest

from evolvex_api.core.calllog import Selection
from tests.integration.calllog import DAY, OPEN, SCRATCH, Scratch

ROWS = 30_000

ENGINES = {
    "MyISAM": ("ALTER TABLE cdr ENGINE = MyISAM",),
    "Aria": ("ALTER TABLE cdr ENGINE = Aria TRANSACTIONAL = 0",),
    "InnoDB": ("ALTER TABLE cdr ENGINE = InnoDB",),
    "view over MyISAM": (
        "ALTER TABLE cdr ENGINE = MyISAM",
        "RENAME TABLE cdr TO base",
        "CREATE VIEW cdr AS SELECT * FROM base",
    ),
    "MyISAM without an index": ("ALTER TABLE cdr ENGINE = MyISAM, DROP INDEX start",),
    "two columns of time": (
        "ALTER TABLE cdr ENGINE = MyISAM, ADD COLUMN calldate DATETIME, ADD INDEX (calldate)",
        "UPDATE cdr SET calldate = start, start = NULL WHERE sequence % 3 = 0",
    ),
}


def prepare(scratch: Scratch, statements: tuple[str, ...]) -> None:
    """Rows enough for many pages, and a hole in the table's file.

    With a hole MyISAM and Aria write the next row into it, so no longer beside readers.
    """
    scratch.many(ROWS)
    for statement in statements:
        scratch.sql(statement)
    scratch.sql("DELETE FROM cdr WHERE sequence IN (5, 15000)")


def insert(scratch: Scratch, number: int) -> None:
    """Write a call as Asterisk does; OperationalError when a reader's lock is in the way."""
    with scratch.database.connect(SCRATCH) as connection, connection.cursor() as cursor:
        cursor.execute("SET SESSION lock_wait_timeout = 5")
        cursor.execute(
            "INSERT INTO cdr (start, sequence) VALUES (%s, %s)", ("2024-10-30 23:59:00", number)
        )


@pytest.mark.parametrize("engine", ENGINES)
def test_asterisk_writes_while_the_reader_sleeps(scratch: Scratch, engine: str) -> None:
    prepare(scratch, ENGINES[engine])
    with contextlib.closing(scratch.cdr.export(Selection(*DAY, OPEN))) as export:
        read = b""
        for number, chunk in enumerate(export):
            read += chunk
            if number in (0, 5, 20):
                # The reader sleeps here: it has asked for nothing further.
                insert(scratch, ROWS + 1 + number)
    assert export.count == ROWS - 2 + 3
    numbers = sorted(int(row["sequence"]) for row in json.loads(read))
    written = {ROWS + 1, ROWS + 6, ROWS + 21}
    assert numbers == sorted({*range(1, ROWS + 1)} - {5, 15000} | written)


def test_no_lock_of_definitions_is_left_either(scratch: Scratch) -> None:
    """An ALTER TABLE that waits for a reader would have every INSERT wait behind it."""
    prepare(scratch, ENGINES["InnoDB"])
    with contextlib.closing(scratch.cdr.export(Selection(*DAY, OPEN))) as export:
        next(iter(export))
        with scratch.database.connect(SCRATCH) as connection, connection.cursor() as cursor:
            cursor.execute("SET SESSION lock_wait_timeout = 5")
            cursor.execute("ALTER TABLE cdr ADD COLUMN did VARCHAR(50)")
        insert(scratch, 0)
