"""Counts of calls in SQLite: exact over threads, workers, reloads and restarts.

A call that is let through is written before it is sent to Asterisk, in the transaction that looked
at the limits. Calls in flight are only looked up in Asterisk when a group's number of them is
reached, so that an originate below its limits costs two short transactions and nothing else.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from evolvex_api.backends.failures import PbxRejected, PbxUnavailable, StorageUnavailable
from evolvex_api.backends.state import StateFile, reading
from evolvex_api.core.limits import DAY, MINUTE, Limits, countable, flight_refusal, rate_refusal
from evolvex_api.core.refusals import ApiError

FILE_NAME = "calls.sqlite3"
_SCHEMA = """
-- One row for the group (number '') and one for each number of a call that was let through.
CREATE TABLE IF NOT EXISTS attempts (
    group_uuid TEXT NOT NULL, number TEXT NOT NULL, at REAL NOT NULL, uniqueid TEXT NOT NULL,
    PRIMARY KEY (group_uuid, number, at, uniqueid)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS attempts_at ON attempts (at);
-- Calls that have not ended, as far as is known. sent: when Asterisk had taken it; seen: whether
-- its channel has been there.
CREATE TABLE IF NOT EXISTS flights (
    uniqueid TEXT PRIMARY KEY, group_uuid TEXT NOT NULL, at REAL NOT NULL, sent REAL,
    seen INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS flights_group ON flights (group_uuid);
"""
_PRUNED_AT_ONCE = 20
# An Originate is answered before its thread has made the channel (main/manager.c,
# `fast_originate`), under load by some tenths of a second.
_UNTIL_SEEN = 3.0
# A worker that was killed never notes that Asterisk has taken a call.
_UNTIL_SENT = 60.0


@dataclass(frozen=True)
class Usage:
    """What a group has used of its limits."""

    in_flight: int
    last_minute: int
    last_day: int
    numbers: Sequence[tuple[str, int]]  # the most called of the last day, with their calls


class CallCounts:
    """The calls of all groups; safe between threads and processes."""

    def __init__(self, state_dir: Path, live_ids: Callable[[], Collection[str]]) -> None:
        """Given the folder of the file, and what returns every live Uniqueid and Linkedid."""
        self._state = StateFile(state_dir / FILE_NAME, _SCHEMA)
        self._live_ids = live_ids

    def check(self, group_uuid: str, limits: Limits, numbers: Sequence[str]) -> None:
        """Raise ApiError (429 too_many_calls) if a call would be refused now; counts nothing."""
        self._admit(group_uuid, limits, countable(numbers), uniqueid=None)

    @contextmanager
    def admitted(
        self, group_uuid: str, limits: Limits, uniqueid: str, numbers: Sequence[str]
    ) -> Iterator[Flight]:
        """Count a call and let the block send it to Asterisk.

        Raises ApiError (429 too_many_calls) instead when a limit is reached. A call that Asterisk
        never got (PbxUnavailable) is not counted, one that it refused (PbxRejected) not in flight.
        The block reports what became of the call to the Flight.
        """
        at = self._admit(group_uuid, limits, countable(numbers), uniqueid)
        try:
            yield Flight(self._state, uniqueid)
        except PbxUnavailable:
            _after_the_fact(lambda: self._uncount(group_uuid, at, uniqueid))
            raise
        except PbxRejected:
            Flight(self._state, uniqueid).ended()
            raise

    def _uncount(self, group_uuid: str, at: float, uniqueid: str) -> None:
        with self._state.transaction() as connection:
            connection.execute(
                "DELETE FROM attempts WHERE group_uuid = ? AND at = ? AND uniqueid = ?",
                (group_uuid, at, uniqueid),
            )
            connection.execute("DELETE FROM flights WHERE uniqueid = ?", (uniqueid,))

    def _admit(
        self, group_uuid: str, limits: Limits, numbers: Sequence[str], uniqueid: str | None
    ) -> float:
        at, refusal, is_full = self._try(group_uuid, limits, numbers, uniqueid)
        if is_full:
            self._remove_ended(group_uuid)
            at, refusal, _ = self._try(group_uuid, limits, numbers, uniqueid)
        if refusal is not None:
            raise refusal
        return at

    def _try(
        self, group_uuid: str, limits: Limits, numbers: Sequence[str], uniqueid: str | None
    ) -> tuple[float, ApiError | None, bool]:
        """When the call was counted, its refusal, and whether that is for calls in flight."""
        with self._state.transaction() as connection:
            now = time.time()
            _heal_clock(connection, now)
            history = _History(connection, group_uuid)
            refusal = rate_refusal(limits, numbers, history, now)
            if refusal is not None:
                return now, refusal, False
            refusal = flight_refusal(limits, history)
            if refusal is None and uniqueid is not None:
                _count(connection, group_uuid, now, uniqueid, numbers)
            return now, refusal, refusal is not None

    def _remove_ended(self, group_uuid: str) -> None:
        """Forget the calls of a group that Asterisk has no channel of any more."""
        with self._state.transaction() as connection:
            known = _flights(connection, group_uuid)
        asked_at = time.time()
        live = self._live_ids()
        ended = [(flight[0],) for flight in known if _has_ended(flight, live, asked_at)]
        seen_now = [(uniqueid,) for uniqueid, _, _, seen in known if uniqueid in live and not seen]
        with self._state.transaction() as connection:
            connection.executemany("DELETE FROM flights WHERE uniqueid = ?", ended)
            connection.executemany("UPDATE flights SET seen = 1 WHERE uniqueid = ?", seen_now)


class Flight:
    """A call that was let through, and what is known of it.

    The call has been sent by now, so a failure of the state is only logged: an error would make
    the client call again.
    """

    def __init__(self, state: StateFile, uniqueid: str) -> None:
        self._state = state
        self._uniqueid = uniqueid

    def sent(self) -> None:
        """Asterisk has taken the call; its channel is about to be made."""
        self._execute("UPDATE flights SET sent = ? WHERE uniqueid = ?", time.time(), self._uniqueid)

    def answered(self) -> None:
        """The first leg has answered, so the call lives as long as Asterisk has a channel of it."""
        self._execute("UPDATE flights SET seen = 1 WHERE uniqueid = ?", self._uniqueid)

    def ended(self) -> None:
        """The call is over."""
        self._execute("DELETE FROM flights WHERE uniqueid = ?", self._uniqueid)

    def _execute(self, sql: str, *values: str | float) -> None:
        def change() -> None:
            with self._state.transaction() as connection:
                connection.execute(sql, values)

        _after_the_fact(change)


def _after_the_fact(change: Callable[[], None]) -> None:
    """Change what is known of a call that was sent; StateFile has logged why it failed."""
    with suppress(StorageUnavailable):
        change()


def usage(
    state_dir: Path, group_uuid: str, live_ids: Collection[str] | None, numbers: int = 5
) -> Usage:
    """What a group has used, for a process other than the service; changes nothing.

    Given every live Uniqueid and Linkedid; without them (None) calls in flight include those whose
    end the service has not noticed yet. Raises StorageUnavailable.
    """
    with reading(state_dir / FILE_NAME) as connection:
        if connection is None:
            return Usage(0, 0, 0, ())
        now = time.time()
        since = "SELECT COUNT(*) FROM attempts WHERE group_uuid = ? AND number = '' AND at > ?"
        (minute,) = connection.execute(since, (group_uuid, now - MINUTE)).fetchone()
        (day,) = connection.execute(since, (group_uuid, now - DAY)).fetchone()
        most = connection.execute(
            "SELECT number, COUNT(*) AS calls FROM attempts"
            " WHERE group_uuid = ? AND number != '' AND at > ?"
            " GROUP BY number ORDER BY calls DESC, number LIMIT ?",
            (group_uuid, now - DAY, numbers),
        ).fetchall()
        flights = [
            flight
            for flight in _flights(connection, group_uuid)
            if live_ids is None or not _has_ended(flight, live_ids, now)
        ]
        return Usage(len(flights), minute, day, most)


# uniqueid, at, sent, seen
_Row = tuple[str, float, "float | None", int]


def _flights(connection: sqlite3.Connection, group_uuid: str) -> list[_Row]:
    sql = "SELECT uniqueid, at, sent, seen FROM flights WHERE group_uuid = ?"
    return connection.execute(sql, (group_uuid,)).fetchall()


def _has_ended(flight: _Row, live_ids: Collection[str], asked_at: float) -> bool:
    """True for a call without a channel at a moment when it would have one if it lived."""
    uniqueid, at, sent, seen = flight
    return uniqueid not in live_ids and (
        bool(seen)
        or (sent is not None and sent < asked_at - _UNTIL_SEEN)
        or at < asked_at - _UNTIL_SENT
    )


class _History:
    """A group's calls as limits.History, within a transaction."""

    def __init__(self, connection: sqlite3.Connection, group_uuid: str) -> None:
        self._connection = connection
        self._group_uuid = group_uuid

    def in_flight(self) -> int:
        sql = "SELECT COUNT(*) FROM flights WHERE group_uuid = ?"
        found: int = self._connection.execute(sql, (self._group_uuid,)).fetchone()[0]
        return found

    def nth_last(self, n: int, since: float) -> float | None:
        return self.nth_last_to("", n, since)

    def nth_last_to(self, number: str, n: int, since: float) -> float | None:
        found = self._connection.execute(
            "SELECT at FROM attempts WHERE group_uuid = ? AND number = ? AND at > ?"
            " ORDER BY at DESC LIMIT 1 OFFSET ?",
            (self._group_uuid, number, since, n - 1),
        ).fetchone()
        return found[0] if found else None


def _heal_clock(connection: sqlite3.Connection, now: float) -> None:
    """After the clock was set back, what it dates in the future has just been."""
    for table in ("attempts", "flights"):
        connection.execute(f"UPDATE {table} SET at = ? WHERE at > ?", (now, now))  # noqa: S608  # a constant


def _count(
    connection: sqlite3.Connection,
    group_uuid: str,
    now: float,
    uniqueid: str,
    numbers: Sequence[str],
) -> None:
    connection.executemany(
        "INSERT INTO attempts VALUES (?, ?, ?, ?)",
        [(group_uuid, number, now, uniqueid) for number in ("", *numbers)],
    )
    connection.execute(
        "INSERT INTO flights (uniqueid, group_uuid, at) VALUES (?, ?, ?)",
        (uniqueid, group_uuid, now),
    )
    connection.execute(
        "DELETE FROM attempts WHERE (group_uuid, number, at, uniqueid) IN"
        " (SELECT group_uuid, number, at, uniqueid FROM attempts WHERE at < ? LIMIT ?)",
        (now - DAY, _PRUNED_AT_ONCE),
    )
