"""What the service of live calls keeps: events, calls, and deliveries that are due. SQLite.

One thread writes, in one transaction a batch, before anything of it is sent: what a stream or a
webhook has seen is there after kill -9. Other threads only read.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evolvex_api.backends.state import StateFile
from evolvex_api.events.envelope import Stored

FILE = "events.db"
LARGEST = 1 << 30
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS events (n INTEGER PRIMARY KEY, id TEXT NOT NULL, type TEXT NOT NULL,
    linkedid TEXT NOT NULL, at REAL NOT NULL, contexts TEXT NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS events_at ON events (at);
CREATE TABLE IF NOT EXISTS calls (linkedid TEXT PRIMARY KEY, at REAL NOT NULL,
    ended INTEGER NOT NULL, contexts TEXT NOT NULL, body TEXT NOT NULL, dump TEXT);
CREATE INDEX IF NOT EXISTS calls_at ON calls (at);
CREATE TABLE IF NOT EXISTS legs (uniqueid TEXT NOT NULL, linkedid TEXT NOT NULL,
    PRIMARY KEY (uniqueid, linkedid)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS legs_call ON legs (linkedid);
CREATE TABLE IF NOT EXISTS deliveries (webhook TEXT NOT NULL, n INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL DEFAULT 0, error TEXT,
    PRIMARY KEY (webhook, n)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS deliveries_n ON deliveries (n);
CREATE TABLE IF NOT EXISTS failures (webhook TEXT NOT NULL, id TEXT NOT NULL, type TEXT NOT NULL,
    linkedid TEXT NOT NULL, at REAL NOT NULL, attempts INTEGER NOT NULL, reason TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS gone (webhook TEXT PRIMARY KEY, fingerprint TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS replays (webhook TEXT NOT NULL, since REAL NOT NULL);
"""
_EVENT = (
    "events.n, events.id, events.type, events.linkedid, events.at, events.contexts, events.body"
)
# Numbers that are skipped at each start: more than could be sent while the disk was full.
_SKIP = 1 << 24
_PAGE = 500
_MOST_FAILURES = 10_000


@dataclass(frozen=True)
class CallRecord:
    """A call as it stands after a batch; `dump` is what the tracker restores it from."""

    linkedid: str
    at: float
    ended: bool
    contexts: frozenset[str]
    body: Mapping[str, Any]
    dump: Mapping[str, Any] | None


@dataclass(frozen=True)
class Pending:
    """A delivery that is due at `due`, seconds since the epoch, after so many attempts."""

    webhook: str
    event: Stored
    attempts: int = 0
    due: float = 0.0


@dataclass(frozen=True)
class Failure:
    """A delivery that was given up, or lapsed."""

    webhook: str
    id: str
    type: str
    linkedid: str
    at: float
    attempts: int
    reason: str


@dataclass
class Batch:
    """What one transaction writes."""

    events: list[Stored] = field(default_factory=list)
    calls: dict[str, CallRecord] = field(default_factory=dict)
    new: list[Pending] = field(default_factory=list)
    retried: list[tuple[Pending, str]] = field(default_factory=list)
    done: list[Pending] = field(default_factory=list)
    failed: list[tuple[Pending, Failure]] = field(default_factory=list)
    gone: list[tuple[str, str]] = field(default_factory=list)
    # What is being recorded, JSON-able, when that has changed.
    watched: list[Any] | None = None

    @property
    def empty(self) -> bool:
        """True when there is nothing to write."""
        return self.watched is None and not any(self.__dict__.values())


class Store:
    """The database below `[server] state_dir`. All methods raise StorageUnavailable."""

    def __init__(self, directory: Path) -> None:
        self._file = StateFile(directory / FILE, _SCHEMA)
        self._path = directory / FILE

    def begin(self) -> tuple[str, int]:
        """Return the database's generation, made when there is none, and the first free number."""
        with self._file.transaction() as db:
            db.execute(
                "INSERT OR IGNORE INTO meta VALUES ('generation', ?)", (secrets.token_hex(4),)
            )
            generation = _one(db, "SELECT value FROM meta WHERE key = 'generation'")
            kept = max(
                int(_one(db, "SELECT MAX(n) FROM events") or 0),
                int(_one(db, "SELECT value FROM meta WHERE key = 'next'") or 0),
            )
            first = (kept // _SKIP + 1) * _SKIP
            db.execute("INSERT OR REPLACE INTO meta VALUES ('next', ?)", (str(first),))
        return str(generation), first

    def write(self, batch: Batch) -> None:
        """Write a batch, all of it or nothing."""
        with self._file.transaction() as db:
            _write_events(db, batch)
            _write_deliveries(db, batch)
            if batch.watched is not None:
                text = json.dumps(batch.watched)
                db.execute("INSERT OR REPLACE INTO meta VALUES ('watched', ?)", (text,))

    def dumps(self, ended_since: float) -> list[dict[str, Any]]:
        """Return the dumps of the calls that lived when last written, or ended since then."""
        sql = "SELECT dump FROM calls WHERE dump IS NOT NULL AND (NOT ended OR at > ?) ORDER BY at"
        with self._file.transaction() as db:
            return [json.loads(dump) for (dump,) in db.execute(sql, (ended_since,))]

    def watched(self) -> list[Any]:
        """Return what was being recorded when that was last written."""
        with self._file.transaction() as db:
            text = _one(db, "SELECT value FROM meta WHERE key = 'watched'")
        return list(json.loads(text)) if text else []

    def call(self, uniqueid: str) -> tuple[frozenset[str], dict[str, Any]] | None:
        """Return contexts and JSON of the last call that had a leg of that id."""
        sql = (
            "SELECT contexts, body FROM calls WHERE linkedid = ?1 OR linkedid IN"
            " (SELECT linkedid FROM legs WHERE uniqueid = ?1) ORDER BY at DESC LIMIT 1"
        )
        with self._file.transaction() as db:
            row = db.execute(sql, (uniqueid,)).fetchone()
        return (_set(row[0]), json.loads(row[1])) if row else None

    def event(self, n: int) -> Stored | None:
        """Return the event of that number, None when it is not kept any more."""
        with self._file.transaction() as db:
            row = db.execute(f"SELECT {_EVENT} FROM events WHERE n = ?", (n,)).fetchone()  # noqa: S608 - constants
        return _event(row) if row else None

    def events(self, after: int, until: int) -> Iterator[Stored]:
        """Yield the events with after < n <= until, in order, read in small pieces."""
        sql = f"SELECT {_EVENT} FROM events WHERE n > ? AND n <= ? ORDER BY n LIMIT {_PAGE}"  # noqa: S608 - constants
        while True:
            with self._file.transaction() as db:
                page = [_event(row) for row in db.execute(sql, (after, until))]
            yield from page
            if len(page) < _PAGE:
                return
            after = page[-1].n

    def events_since(self, since: float) -> Iterator[Stored]:
        """Yield the events from a time on."""
        with self._file.transaction() as db:
            first = _one(db, "SELECT MIN(n) FROM events WHERE at >= ?", since)
        if first is not None:
            yield from (e for e in self.events(int(first) - 1, 1 << 62) if e.at >= since)

    def pending(self) -> list[Pending]:
        """Return all deliveries, oldest event first."""
        sql = (
            f"SELECT {_EVENT}, webhook, attempts, due FROM deliveries JOIN events USING (n)"  # noqa: S608 - constants
            " ORDER BY n"
        )
        with self._file.transaction() as db:
            return [Pending(row[7], _event(row), row[8], row[9]) for row in db.execute(sql)]

    def gone(self) -> dict[str, str]:
        """Return the webhooks that answered 410, each with the fingerprint of its file then."""
        with self._file.transaction() as db:
            return dict(db.execute("SELECT webhook, fingerprint FROM gone"))

    def failures(self, webhook: str) -> list[Failure]:
        """Return what was given up, and what is being tried again, oldest first."""
        given_up = "SELECT webhook, id, type, linkedid, at, attempts, reason FROM failures"
        retried = (
            "SELECT webhook, id, type, linkedid, at, attempts, error FROM deliveries"
            " JOIN events USING (n)"
        )
        with self._file.transaction() as db:
            rows = [
                *db.execute(f"{given_up} WHERE webhook = ?", (webhook,)),
                *db.execute(f"{retried} WHERE webhook = ? AND error IS NOT NULL", (webhook,)),
            ]
        return sorted((Failure(*row) for row in rows), key=lambda failure: failure.at)

    def ask_replay(self, webhook: str, since: float) -> None:
        """Have the service deliver again what happened since then; for the command line."""
        with self._file.transaction() as db:
            db.execute("INSERT INTO replays VALUES (?, ?)", (webhook, since))

    def take_replays(self) -> list[tuple[str, float]]:
        """Return the replays that were asked for since this was last called."""
        with self._file.transaction() as db:
            asked = db.execute("SELECT webhook, since FROM replays").fetchall()
            if asked:
                db.execute("DELETE FROM replays")
        return asked

    def drop_webhooks(self, names: Iterable[str]) -> None:
        """Forget webhooks that were removed."""
        with self._file.transaction() as db:
            for table in ("deliveries", "failures", "gone"):
                sql = f"DELETE FROM {table} WHERE webhook = ?"  # noqa: S608 - constants
                db.executemany(sql, [(name,) for name in names])

    def known_webhooks(self) -> set[str]:
        """Return the webhooks of which anything is kept."""
        sql = (
            "SELECT webhook FROM deliveries UNION SELECT webhook FROM failures"
            " UNION SELECT webhook FROM gone"
        )
        with self._file.transaction() as db:
            return {name for (name,) in db.execute(sql)}

    def prune(self, before: float) -> list[Pending]:
        """Remove what is older than `before`, but not what is still to be delivered.

        Beyond the largest size a tenth of the events goes whatever is due; returns the deliveries
        that are lost by it. Gives free pages back to the file system when most of the file is free.
        """
        with self._file.transaction() as db:
            db.execute(
                "DELETE FROM events WHERE at < ? AND n NOT IN (SELECT n FROM deliveries)", (before,)
            )
            db.execute("DELETE FROM calls WHERE at < ? AND ended", (before,))
            db.execute("DELETE FROM legs WHERE linkedid NOT IN (SELECT linkedid FROM calls)")
            db.execute("DELETE FROM failures WHERE at < ?", (before - 7 * 86400,))
            over = "DELETE FROM failures WHERE rowid <= (SELECT MAX(rowid) FROM failures) - ?"
            db.execute(over, (_MOST_FAILURES,))
            lost = _shrink(db) if _used(db) > LARGEST else []
            wasteful = _one(db, "PRAGMA freelist_count") * 2 > _one(db, "PRAGMA page_count") > 4096
        if wasteful:
            self._file.vacuum()
        return lost

    def size(self) -> int:
        """Return the bytes that the database takes on disk."""
        parts = (self._path.with_name(self._path.name + part) for part in ("", "-wal"))
        return sum(part.stat().st_size for part in parts if part.exists())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def may_write(directory: Path) -> bool:
    """True when the database can be made or written there by this process."""
    return os.access(directory, os.W_OK | os.X_OK)


def _write_events(db: sqlite3.Connection, batch: Batch) -> None:
    db.executemany(
        "INSERT OR REPLACE INTO events VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (e.n, e.id, e.type, e.linkedid, e.at, "\n".join(sorted(e.contexts)), e.body)
            for e in batch.events
        ],
    )
    db.executemany(
        "INSERT OR REPLACE INTO calls VALUES (?, ?, ?, ?, ?, ?)",
        [
            (
                *(c.linkedid, c.at, c.ended, "\n".join(sorted(c.contexts))),
                json.dumps(c.body, ensure_ascii=False),
                json.dumps(c.dump) if c.dump is not None else None,
            )
            for c in batch.calls.values()
        ],
    )
    db.executemany(
        "INSERT OR IGNORE INTO legs VALUES (?, ?)",
        [(leg, c.linkedid) for c in batch.calls.values() for leg in c.body["Uniqueids"]],
    )


def _write_deliveries(db: sqlite3.Connection, batch: Batch) -> None:
    db.executemany(
        "INSERT OR REPLACE INTO deliveries (webhook, n) VALUES (?, ?)",
        [(p.webhook, p.event.n) for p in batch.new],
    )
    db.executemany(
        "UPDATE deliveries SET attempts = ?, due = ?, error = ? WHERE webhook = ? AND n = ?",
        [(p.attempts, p.due, error, p.webhook, p.event.n) for p, error in batch.retried],
    )
    over = [*batch.done, *(pending for pending, _ in batch.failed)]
    db.executemany(
        "DELETE FROM deliveries WHERE webhook = ? AND n = ?",
        [(p.webhook, p.event.n) for p in over],
    )
    db.executemany(
        "INSERT INTO failures VALUES (?, ?, ?, ?, ?, ?, ?)",
        [tuple(failure.__dict__.values()) for _, failure in batch.failed],
    )
    db.executemany("INSERT OR REPLACE INTO gone VALUES (?, ?)", batch.gone)


def _shrink(db: sqlite3.Connection) -> list[Pending]:
    last = _one(
        db, "SELECT n FROM events ORDER BY n LIMIT 1 OFFSET (SELECT COUNT(*) / 10 FROM events)"
    )
    if last is None:
        return []
    sql = (
        f"SELECT {_EVENT}, webhook, attempts, due FROM deliveries JOIN events USING (n)"  # noqa: S608 - constants
        " WHERE n <= ?"
    )
    lost = [Pending(row[7], _event(row), row[8], row[9]) for row in db.execute(sql, (last,))]
    db.execute("DELETE FROM events WHERE n <= ?", (last,))
    db.execute("DELETE FROM deliveries WHERE n <= ?", (last,))
    return lost


def _used(db: sqlite3.Connection) -> int:
    pages = _one(db, "PRAGMA page_count") - _one(db, "PRAGMA freelist_count")
    return int(pages * _one(db, "PRAGMA page_size"))


def _one(db: sqlite3.Connection, sql: str, *values: object) -> Any:
    row = db.execute(sql, values).fetchone()
    return row[0] if row else None


def _event(row: Sequence[Any]) -> Stored:
    n, event_id, kind, linkedid, at, contexts, body = row[:7]
    return Stored(n, event_id, kind, linkedid, at, _set(contexts), body)


def _set(lines: str) -> frozenset[str]:
    return frozenset(lines.split("\n")) if lines else frozenset()
