"""Rows of the call log in pages, so that a slow client never holds a lock of the database.

A query that is being read keeps its table locked: on MyISAM, and on a view over it, Asterisk's
INSERT then waits for the slowest reader as soon as the table has a deleted row. So nothing is
handed on while a query runs. A page is a query with a LIMIT, taken off the server at the server's
speed into memory; the next one begins behind the last whole moment of it. What was measured
instead is in docs/performance.md, "Call log".
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Iterator

from evolvex_api.backends.cdr.queries import LogQueries
from evolvex_api.backends.cdr.table import RANK_LENGTH, Sql, Stream
from evolvex_api.core.calllog import Position

# Runs a query of one text column and returns its rows in batches.
Fetch = Callable[[Sql], Iterator[list[bytes]]]

_FIRST_ROWS = 1000
_MOST_ROWS = 20_000
_PAGE_BYTES = 2 << 20
# More than the longest moment of any real log; where there are more, they are read in pages too.
_MOMENT_ROWS = 5000
_START = re.compile(rb"\xffstart\xff:\xff([^\xff]*)\xff")


class Walk:
    """The rows of a selection, oldest or newest first as the queries say."""

    def __init__(self, queries: LogQueries, fetch: Fetch, descending: bool) -> None:
        self._queries = queries
        self._fetch = fetch
        self._descending = descending

    def pages(self) -> Iterator[Iterator[list[bytes]]]:
        """All rows as pages of batches.

        A page must be read to its end before anything of it is handed on. Raises MySQLError and
        OSError while a page is read.
        """
        streams = [self._of_stream(stream) for stream in self._queries.streams]
        if len(streams) == 1:
            yield from streams[0]
            return
        rows = (_rows(pages) for pages in streams)
        merged = heapq.merge(*rows, key=time_of, reverse=self._descending)
        while batch := [row for _, row in zip(range(_FIRST_ROWS), merged, strict=False)]:
            yield iter((batch,))

    def page(self, limit: int, position: Position | None) -> tuple[list[bytes], Position | None]:
        """At most `limit` rows behind a position (None: the first ones).

        Returns them, and the position behind them when there are more. Raises MySQLError, OSError.
        """
        ranked = (
            self._ranked(position.time, position.rank, limit + 1, position.seen) if position else []
        )
        if len(ranked) > limit:
            return _cut(ranked, limit, position)
        rows = [row[RANK_LENGTH:] for row in ranked]
        rows += self._behind(position.time if position else None, limit + 1 - len(rows))
        if len(rows) <= limit:
            return rows, None
        # The last moment is read again in the order of ranks: the page ends within it, or with it.
        time = time_of(rows[limit - 1])
        whole = next(n for n, row in enumerate(rows) if time_of(row) == time)
        if position and time == position.time:
            return _cut(ranked, limit, position)
        last = self._ranked(time, None, limit - whole, 0)
        if not last:  # they were deleted in this moment
            return rows[:whole], None
        cut, following = _cut(last, limit - whole, None)
        return rows[:whole] + cut, following

    def _of_stream(self, stream: Stream) -> Iterator[Iterator[list[bytes]]]:
        count, time = _FIRST_ROWS, None
        while True:
            page = _Page(self._fetch(self._queries.after(stream, time, count)), count)
            yield page.batches()
            if page.rows < count:
                return
            time = page.last
            yield from self._moment(stream, time)
            count = max(1, min(_MOST_ROWS, _PAGE_BYTES * page.rows // page.bytes))

    def _moment(self, stream: Stream, time: str) -> Iterator[Iterator[list[bytes]]]:
        """All rows of one moment, in pages."""
        rank, skip, count = None, 0, _MOMENT_ROWS
        while True:
            sql = self._queries.within(stream, time, rank, count, skip)
            rows = self._all(sql)
            yield iter(([row[RANK_LENGTH:] for row in rows],))
            if len(rows) < count:
                return
            position = _behind(rows, time, None if rank is None else Position(time, rank, skip))
            rank, skip = position.rank, position.seen

    def _behind(self, time: str | None, count: int) -> list[bytes]:
        streams = self._queries.streams
        found = [self._all(self._queries.after(stream, time, count)) for stream in streams]
        return list(heapq.merge(*found, key=time_of, reverse=self._descending))[:count]

    def _ranked(self, time: str, rank: str | None, count: int, skip: int) -> list[bytes]:
        """Rows of one moment with their ranks, from all streams, behind the first `skip`."""
        most = count + skip
        found = [
            row
            for stream in self._queries.streams
            for row in self._all(self._queries.within(stream, time, rank, most, 0))
        ]
        return sorted(found, key=_rank_of, reverse=self._descending)[skip:most]

    def _all(self, query: Sql) -> list[bytes]:
        return [row for batch in self._fetch(query) for row in batch]


class _Page:
    """A page of rows that come in batches; its last moment is held back when the page is full.

    `rows`, `bytes` and `last`, the last moment, are known when all batches have been read.
    """

    def __init__(self, batches: Iterator[list[bytes]], count: int) -> None:
        self.rows = self.bytes = 0
        self.last = ""
        self._batches = batches
        self._count = count

    def batches(self) -> Iterator[list[bytes]]:
        held: list[bytes] = []
        for batch in self._batches:
            self.rows += len(batch)
            self.bytes += sum(map(len, batch))
            self.last = time_of(batch[-1])
            held += batch
            if time_of(held[0]) != self.last:
                whole = next(
                    n for n in range(len(held), 0, -1) if time_of(held[n - 1]) != self.last
                )
                yield held[:whole]
                held = held[whole:]
        if held and self.rows < self._count:
            yield held


def _rows(pages: Iterator[Iterator[list[bytes]]]) -> Iterator[bytes]:
    for page in pages:
        for batch in list(page):
            yield from batch


def _cut(ranked: list[bytes], limit: int, before: Position | None) -> tuple[list[bytes], Position]:
    """The first rows of a moment without their ranks, and the position behind them."""
    rows = ranked[:limit]
    texts = [row[RANK_LENGTH:] for row in rows]
    return texts, _behind(rows, time_of(texts[-1]), before)


def _behind(ranked: list[bytes], time: str, before: Position | None) -> Position:
    """The position behind rows of one moment, which follow those before another position."""
    rank = _rank_of(ranked[-1])
    seen = sum(1 for row in ranked if _rank_of(row) == rank)
    if before and before.rank == rank.decode():
        seen += before.seen
    return Position(time, rank.decode(), seen)


def _rank_of(row: bytes) -> bytes:
    return row[:RANK_LENGTH]


def time_of(row: bytes) -> str:
    """When a row's call began, as the database prints it."""
    found = _START.search(row)
    if found is None:
        raise ValueError("a row without its start")
    return found[1].decode()
