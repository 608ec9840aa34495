"""The rows of one call, found by the id of any of its legs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from pymysql.err import MySQLError

from evolvex_api.backends.cdr import rows
from evolvex_api.backends.cdr.faults import ABSENT
from evolvex_api.backends.cdr.queries import call_rows
from evolvex_api.backends.cdr.rows import Connection
from evolvex_api.backends.cdr.table import Table, quoted
from evolvex_api.core import uniqueid as uniqueids
from evolvex_api.core.calllog import CallRow

# A call's rows begin while it lasts, which is nearly always less than this.
_BEFORE, _AFTER = timedelta(days=1), timedelta(days=2)


def rows_of(connection: Connection, table: Table, cel_table: str, uniqueid: str) -> list[CallRow]:
    """Different rows of a call: with this uniqueid or linkedid, or the linkedid of such a row.

    The id of a leg that has no row (one that was dialled) leads to its call through the channel
    events in `cel_table`, where there are some. Raises MySQLError, OSError.

    With indexes the queries are the same three for every id: whoever may not see a call can't tell
    it, by the time that the answer takes, from one that does not exist.
    """
    own = _having(connection, table, "uniqueid", [uniqueid])
    by_rows = {uniqueid, *(row.linkedid for row in own if row.linkedid)}
    by_events = _linked_by_events(connection, cel_table, uniqueid)
    linked = _having(connection, table, "linkedid", sorted({*by_rows, *by_events}))
    found = own + [row for row in linked if row.linkedid in by_rows]
    # A call that the events alone name counts only for a leg that has no row of its own.
    return list(dict.fromkeys(found or linked))


def _having(connection: Connection, table: Table, key: str, ids: Sequence[str]) -> list[CallRow]:
    """The rows with one of the ids in a column.

    Without an index on it, those around the times in the ids; if there are none, those since then:
    the channel of an agent who stays logged in may be days older than a row of its call.
    """
    for since, until in ((None, None),) if key in table.indexes else _periods(ids):
        found = rows.select(connection, call_rows(table, key, ids, since, until))
        if found:
            return [CallRow(*map(rows.decoded, values)) for values in found]
    return []


def _periods(ids: Iterable[str]) -> list[tuple[str | None, str | None]]:
    """Periods in which rows of these ids are looked for, in turn; local times, as in the table."""
    created = [uniqueids.created(uniqueid) for uniqueid in ids]
    times = [datetime.fromtimestamp(moment) for moment in created if moment is not None]
    if len(times) < len(created) or not times:
        return [(None, None)]
    first, last = min(times) - _BEFORE, max(times) + _AFTER
    return [(str(first), str(last)), (str(last), None)]


def _linked_by_events(connection: Connection, cel_table: str, uniqueid: str) -> list[str]:
    """The linkedids that a channel had, by Asterisk's table of channel events."""
    sql = (
        f"SELECT DISTINCT CAST(linkedid AS BINARY) FROM {quoted(cel_table)}"  # noqa: S608
        " WHERE uniqueid = %s AND CAST(uniqueid AS BINARY) = %s AND linkedid <> ''"
    )
    try:
        found = rows.select(connection, (sql, (uniqueid, uniqueid.encode())))
    except MySQLError as error:
        if error.args[0] in ABSENT:
            return []
        raise
    return sorted({rows.decoded(value) for (value,) in found} - {uniqueid})
