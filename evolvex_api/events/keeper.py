"""Gives changes their ids, stores them, and has them sent; also while nothing can be stored.

What could not be stored waits in memory, within bounds, and is stored with what follows. Webhooks
get only what is stored. What had to be dropped is reported to them by a `stream.reset`.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evolvex_api.backends.failures import StorageUnavailable
from evolvex_api.events import envelope
from evolvex_api.events.call import Change, local_time
from evolvex_api.events.envelope import RESET, Ids, Stored
from evolvex_api.events.store import Batch, CallRecord, Pending, Store

log = logging.getLogger(__name__)

# Events that wait for room on the disk.
_MOST_UNSTORED = 10_000
_PAUSE_AFTER_FAILURE = 1.0


class Keeper:
    """Changes in; stored events out. For one thread at a time, but for `id_of` and `number_of`."""

    def __init__(self, store: Store, publish: Callable[[Sequence[Stored]], None]) -> None:
        self._store = store
        self._publish = publish
        # What the next transaction writes.
        self.batch = Batch()
        # False until the database was opened once.
        self.ready = False
        self._ids = Ids(secrets.token_hex(4))
        self._next = 1
        # The last number before this process's own.
        self._before = 0
        self._retry_at = 0.0
        self._unstored = 0
        # Webhook → (how many events it has lost, time of the first, of the last).
        self._lost: dict[str, tuple[int, float, float]] = {}

    def begin(self) -> int:
        """Open the database, if it can be; returns the number before the first event."""
        with contextlib.suppress(StorageUnavailable):
            generation, first = self._store.begin()
            self._ids, self._next, self.ready = Ids(generation), first, True
        self._before = self._next - 1
        return self._before

    def id_of(self, n: int) -> str:
        """Return the id of the event of that number."""
        return self._ids.make(n)

    def replayed(self, event_id: str, until: int) -> Sequence[Stored] | None:
        """Return the events after that id, up to a number; None when not all of them are kept."""
        n = self._ids.read(event_id)
        if n is None or n > until:
            return None
        try:
            if n != self._before and self._store.event(n) is None:
                return None
            return [event for event in self._store.events(n, until) if event.type != RESET]
        except StorageUnavailable:
            return None

    def keep(
        self,
        changes: Sequence[Change],
        dumps: Mapping[str, Mapping[str, Any] | None],
        address: Callable[[Sequence[Stored]], list[Pending]],
    ) -> list[Pending]:
        """Store changes and what else the batch holds, and publish the changes.

        `dumps` are the calls' as the tracker has them now; `address` returns who is to get which
        events. Returns the deliveries that are stored now.
        """
        events = [self._stored(change) for change in changes]
        for change in changes:
            self.batch.calls[change.call["Linkedid"]] = _record(change, dumps)
        self.batch.events += events
        if events:
            self.batch.new += address(events)
        deliveries = self._write()
        if events:
            self._publish(events)
        return deliveries

    def send_later(self, deliveries: Sequence[Pending]) -> None:
        """Have stored events delivered (again) with the next batch."""
        self.batch.new += deliveries

    def report_lost(self, lost: Sequence[Pending]) -> None:
        """Tell webhooks, with the next batch, that these will never come."""
        for pending in lost:
            count, first, _ = self._lost.get(pending.webhook, (0, pending.event.at, 0.0))
            self._lost[pending.webhook] = (count + 1, first, pending.event.at)

    def _stored(self, change: Change) -> Stored:
        n, self._next = self._next, self._next + 1
        return envelope.stored(n, self._ids.make(n), change)

    def _write(self) -> list[Pending]:
        if time.monotonic() < self._retry_at:
            self._bound()
            return []
        self._add_resets()
        if self.batch.empty:
            return []
        try:
            if not self.ready:
                self._open_late()
            self._store.write(self.batch)
        except StorageUnavailable:
            self._retry_at = time.monotonic() + _PAUSE_AFTER_FAILURE
            self._bound()
            return []
        if self._unstored:
            log.warning("live calls: %d events could be stored late", self._unstored)
            self._unstored = 0
        written, self.batch = self.batch, Batch()
        return written.new

    def _open_late(self) -> None:
        """Begin with a database that could not be opened before; the ids go on as they are."""
        self._store.begin()
        self.ready = True

    def _bound(self) -> None:
        """Drop the oldest events when too many wait for room; their webhooks are told."""
        self._unstored = len(self.batch.events)
        if len(self.batch.events) <= _MOST_UNSTORED:
            return
        dropped = {event.n for event in self.batch.events[: _MOST_UNSTORED // 10]}
        self.report_lost([pending for pending in self.batch.new if pending.event.n in dropped])
        self.batch.events = [event for event in self.batch.events if event.n not in dropped]
        self.batch.new = [p for p in self.batch.new if p.event.n not in dropped]
        log.error("live calls: %d events can't be stored and are lost to webhooks", len(dropped))

    def _add_resets(self) -> None:
        for webhook, (count, first, last) in self._lost.items():
            n, self._next = self._next, self._next + 1
            now, event_id = time.time(), self._ids.make(n)
            change = {"Lost": count, "Since": local_time(first), "Until": local_time(last)}
            body = envelope.reset(event_id, now, [], change)
            event = Stored(n, event_id, RESET, "", now, frozenset(), body)
            self.batch.events.append(event)
            self.batch.new.append(Pending(webhook, event))
        self._lost.clear()


def _record(change: Change, dumps: Mapping[str, Mapping[str, Any] | None]) -> CallRecord:
    call = change.call
    ended = call["State"] == "ended"
    return CallRecord(
        *(call["Linkedid"], change.timestamp, ended, change.contexts, call),
        dump=dumps.get(call["Linkedid"]),
    )
