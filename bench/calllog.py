"""`stats` beside one statement in MariaDB's client, and the first page of a large call log."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from functools import partial

from bench.cdr import FIRST_DAY, fill
from bench.measure import Row, at_most, in_turns, limit, seconds
from bench.stand import Stand
from tests.lab.mariadb import ORIGINAL, MariaDB

_MONTH = "start=2024-01-01&end=2024-01-20"  # 5,000 calls a day
_ALL = f"start={FIRST_DAY}&end=2024-12-31&order=desc&limit=100"
# What an administrator would write by hand for the same figures.
_STATEMENT = """
SELECT DATE_FORMAT(begun, '%Y-%m-%d %H:00') AS bucket, COUNT(*), SUM(way = 'in'),
  SUM(way = 'out'), SUM(way = 'internal'), SUM(answered), SUM(way = 'in' AND NOT answered),
  SUM(way = 'in' AND NOT answered AND (reached IS NULL OR reached <= begun)), SUM(talk),
  SUM(talk) / SUM(answered), AVG(wait), MAX(wait)
FROM (
  SELECT calls.*, MAX(IF(answered, begun, NULL)) OVER (PARTITION BY number) AS reached FROM (
    SELECT linkedid, MIN(start) AS begun, MAX(src) AS number,
      MAX(disposition = 'ANSWERED' AND dstchannel <> '') AS answered,
      SUM(IF(disposition = 'ANSWERED' AND dstchannel <> '', billsec, 0)) AS talk,
      TIMESTAMPDIFF(SECOND, MIN(start), COALESCE(MIN(answer), MAX(end))) AS wait,
      CASE MAX(direction) WHEN 'incoming' THEN 'in' WHEN 'outgoing' THEN 'out'
        ELSE 'internal' END AS way
    FROM cdr WHERE start >= '2024-01-01' AND start < '2024-01-21' GROUP BY linkedid
  ) AS calls
) AS numbered GROUP BY bucket
"""


def rows(stand: Stand) -> Iterator[Row]:
    """A month of 100,000 rows, and the newest of 1,000,000 with and without a filter."""
    fill(stand.database)
    with stand.client() as client:
        for by in ("hour", "day"):
            path = stand.path("stats", f"{_MONTH}&by={by}")
            ours, peer = in_turns(5, partial(client.time, path), partial(_by_hand, stand.database))
            what = f"stats by {by}, 100,000 rows, median; the same as one statement in mariadb"
            yield at_most(what, "ms", ours, peer, 1.5)
        for what, filters in (
            ("", ""),
            (" by dst", "&dst=105"),
            (" by number and disposition", "&number=105&disposition=ANSWERED"),
            (" by linkedid", "&linkedid=1704567200.500000"),
        ):
            path = stand.path("get_log_cdr", _ALL + filters)
            (ours,) = in_turns(20, partial(client.time, path))
            yield limit(f"get_log_cdr, newest 100 of 1,000,000 rows{what}, median", "ms", ours, 50)


def _by_hand(database: MariaDB) -> float:
    """Milliseconds that MariaDB's client takes for the statement."""
    user, password = database.reader
    login = [f"--user={user}", f"--password={password}", f"--socket={database.socket}"]
    command = ["mariadb", "--no-defaults", *login, ORIGINAL, "-e", _STATEMENT]
    return 1000 * seconds(lambda: subprocess.run(command, stdout=subprocess.DEVNULL, check=True))
