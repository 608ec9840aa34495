"""`get_log_cdr`: a million rows beside MariaDB's own client, a day beside PHP."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from functools import partial
from urllib.parse import quote

from bench.measure import (
    Client,
    Growth,
    Peak,
    Row,
    at_least,
    at_most,
    in_turns,
    limit,
    memory,
    seconds,
    stream,
)
from bench.stand import Stand
from tests.lab.mariadb import ORIGINAL, MariaDB
from tests.lab.server import Server, free_ports

FIRST_DAY = date(2024, 1, 1)
_ROWS_A_DAY = 5000
LARGEST = 1_000_000
_SIZES = (10_000, 100_000, LARGEST)
_FILL = """
INSERT INTO cdr
SELECT 'acc', CONCAT('7495', LPAD(seq %% 9973, 7, '0')), CONCAT(100 + seq %% 90), 'incoming',
  CONCAT('"Иван ', seq, '" <7495', LPAD(seq %% 9973, 7, '0'), '>'),
  CONCAT('PJSIP/trunk-', LPAD(HEX(seq), 8, '0')), CONCAT('PJSIP/', 100 + seq %% 90, '-0000ab12'),
  'Dial', CONCAT('PJSIP/', 100 + seq %% 90, ',60,tT'),
  @at := '2024-01-01' + INTERVAL FLOOR((seq - 1) * 86400 / 5000) SECOND,
  IF(seq %% 4, @at + INTERVAL 7 SECOND, NULL), @at + INTERVAL 90 SECOND, 90, IF(seq %% 4, 83, 0),
  IF(seq %% 4, 'ANSWERED', 'NO ANSWER'), 'DOCUMENTATION', '',
  CONCAT(1704067200 + seq, '.', seq), CONCAT(1704067200 + seq, '.', seq), '', seq,
  CONCAT('7495', LPAD(seq %% 9973, 7, '0')), CONCAT(100 + seq %% 90), 'incoming',
  '4c343af6-0000-4000-8000-5f3759df0001'
FROM seq_%d_to_%d
"""
_PHP = """<?php
$db = new mysqli('localhost', '%s', '%s', '%s', 0, '%s');
$db->set_charset('utf8mb4');
$query = $db->prepare('SELECT * FROM cdr WHERE start >= ? AND start <= ? ORDER BY start');
$query->bind_param('ss', $_GET['start'], $_GET['end']);
$query->execute();
header('Content-Type: application/json; charset=utf-8');
$rows = $query->get_result()->fetch_all(MYSQLI_ASSOC);
echo json_encode(['data' => $rows], JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES);
"""


def rows(stand: Stand) -> Iterator[Row | Growth]:
    """Throughput, first byte and memory of long answers, and the time of a day's."""
    fill(stand.database)
    with stand.client():
        pass
    yield from _long(stand)
    yield from _day(stand)


def fill(database: MariaDB) -> None:
    """Put a million calls into the table, 5,000 a day, unless they are there."""
    if database.execute("SELECT 1 FROM cdr WHERE start = %s LIMIT 1", (FIRST_DAY,)):
        return
    step = 100_000
    for first in range(1, LARGEST, step):
        database.execute(_FILL % (first, first + step - 1))
    database.execute("ANALYZE TABLE cdr")


def _long(stand: Stand) -> Iterator[Row | Growth]:
    rates: dict[str, float] = {}
    firsts: dict[str, float] = {}
    grown: dict[str, float] = {}
    for size in _SIZES:
        before = memory(stand.pids()).pss
        with Peak(stand.pids, 0.02) as peak:
            first = stream(stand.service.port, _path(stand, size), stand.key).first
        firsts[str(size)], grown[str(size)] = first * 1000, peak.most.pss - before
    for size in _SIZES:
        taken = in_turns(
            3,
            partial(fetched, stand, size),
            partial(_mariadb, stand.database, size, "ORDER BY start"),
            partial(_mariadb, stand.database, size),
        )
        sides = ("", ", mariadb --quick, sorted", ", mariadb --quick, unsorted")
        rates |= {f"{size}{side}": size / each for side, each in zip(sides, taken, strict=True)}
    largest = str(LARGEST)
    for side in sides[1:]:
        what = f"get_log_cdr, 1,000,000 rows{side.replace(',', ';', 1)}"
        yield at_least(what, "rows/s", rates[largest], rates[largest + side], 0.5)
    yield limit("its first byte", "ms", firsts[largest], 300)
    yield limit("its memory growth, 1,000,000 rows", "MiB", grown[largest], 24)
    yield limit("its memory growth, 10,000 rows", "MiB", grown[str(_SIZES[0])], 24)
    yield Growth("get_log_cdr by rows", "rows/s", rates)
    yield Growth("its first byte", "ms", firsts)
    yield Growth("its memory growth", "MiB", grown)


def fetched(stand: Stand, count: int) -> float:
    """Seconds in which the first `count` calls are read to their end."""
    return stream(stand.service.port, _path(stand, count), stand.key).total


def _day(stand: Stand) -> Iterator[Row]:
    php = Php(stand.database)
    with php:
        ours, peer = in_turns(
            20,
            lambda: _asked_anew(stand.service.port, _path(stand, _ROWS_A_DAY), stand.key),
            lambda: _asked_anew(php.port, f"/?{_query(_ROWS_A_DAY)}", ""),
        )
    what = "get_log_cdr, a day of 5,000 rows, median; PHP mysqli + json_encode"
    yield at_most(what, "ms", ours, peer, 1)


def _asked_anew(port: int, path: str, key: str) -> float:
    """Milliseconds for a request on a new connection; PHP's own server keeps none."""
    with Client(port, key) as client:
        return client.time(path)


def _query(count: int) -> str:
    last = FIRST_DAY + timedelta(days=count // _ROWS_A_DAY - 1)
    return f"start={FIRST_DAY}&end={quote(f'{last} 23:59:59')}"


def _path(stand: Stand, count: int) -> str:
    return stand.path("get_log_cdr", _query(count))


def _mariadb(database: MariaDB, count: int, order: str = "") -> float:
    """Seconds in which MariaDB's client prints the same rows, by itself in the fastest order."""
    last = FIRST_DAY + timedelta(days=count // _ROWS_A_DAY)
    sql = f"SELECT * FROM cdr WHERE start >= '{FIRST_DAY}' AND start < '{last}' {order}"
    user, password = database.reader
    login = [f"--user={user}", f"--password={password}", f"--socket={database.socket}"]
    command = ["mariadb", "--no-defaults", *login, "--quick", ORIGINAL]
    return seconds(
        lambda: subprocess.run([*command, "-e", sql], stdout=subprocess.DEVNULL, check=True)
    )


class Php(Server):
    """PHP's own web server with a script that does what get_log_cdr does."""

    name = "php"

    def __init__(self, database: MariaDB) -> None:
        super().__init__()
        self.port = free_ports()
        login = (*database.reader, ORIGINAL, database.socket)
        (self.directory / "index.php").write_text(_PHP % login)

    def _command(self) -> Sequence[str]:
        return ["php", "-S", f"127.0.0.1:{self.port}", "-t", str(self.directory)]

    def _is_ready(self) -> bool:
        try:
            return _asked_anew(self.port, f"/?{_query(_ROWS_A_DAY)}", "") > 0
        except OSError:
            return False
