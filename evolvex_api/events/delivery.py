"""Webhooks on their way: in order within a call, each receiver on its own, tried again for days.

A `Courier` per webhook has a few threads. A call's next event is sent only after the one before it
was delivered, has lapsed or was given up; other calls do not wait for that. What became of each
attempt goes to `report`, whose owner stores it; what is lost by kill -9 is at most such a report,
so an event may be sent again, with the same id.
"""

from __future__ import annotations

import heapq
import logging
import random
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from evolvex_api import __version__
from evolvex_api.core.access import Group
from evolvex_api.events import signing
from evolvex_api.events.envelope import LASTING, Stored
from evolvex_api.events.post import DeliveryError, Receiver, Reply
from evolvex_api.events.store import Failure, Pending
from evolvex_api.events.webhooks import Webhook

log = logging.getLogger(__name__)

# Seconds after each attempt but the last, as the Standard Webhooks specification proposes.
SCHEDULE = (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
_JITTER = 0.2
# What a CRM can do without after this many seconds is sent no more.
LAPSE = 60.0
_THREADS = 4
# Beyond so many deliveries that wait, what is to be sent is not kept in memory.
_MOST_BODIES = 1000
_IDLE = 30.0
_GONE = 410


@dataclass(frozen=True)
class Report:
    """What became of a delivery; exactly one of the last three says it.

    `retry` is the delivery with its next due time and `reason` why; `failure` gave it up. `gone` is
    True when the receiver wants no more of anything.
    """

    pending: Pending
    delivered: bool = False
    retry: Pending | None = None
    failure: Failure | None = None
    reason: str = ""
    gone: bool = False


@dataclass(frozen=True)
class Surroundings:
    """What couriers need of the service.

    `group` returns a group by its uuid as it is now, None when it is gone or may have no events;
    `load` an event by its number, None when it is kept no more; `body` the envelope that a group is
    sent; `report` takes reports. All are called by the couriers' threads.
    """

    group: Callable[[str], Group | None]
    load: Callable[[int], Stored | None]
    body: Callable[[Stored, Group], str]
    report: Callable[[Report], None]
    trusted: ssl.SSLContext | None = None


class Courier:
    """The deliveries of one webhook. A paused one sends nothing and keeps what it has."""

    def __init__(self, webhook: Webhook, surroundings: Surroundings) -> None:
        self.webhook = webhook
        self.paused = False
        self._surroundings = surroundings
        self._changed = threading.Condition()
        self._calls: dict[str, deque[Pending]] = {}
        # (due, number, linkedid): calls whose first delivery nobody has in hand.
        self._ready: list[tuple[float, int, str]] = []
        self._count = 0
        self._threads = 0
        self._idle = 0
        self._stopped = False

    @property
    def oldest(self) -> float | None:
        """When the oldest event happened that is not delivered yet; None when all are."""
        with self._changed:
            return min((waiting[0].event.at for waiting in self._calls.values()), default=None)

    def add(self, deliveries: Iterable[Pending]) -> None:
        """Take deliveries, in the order of their events."""
        with self._changed:
            for pending in deliveries:
                waiting = self._calls.setdefault(pending.event.linkedid, deque())
                self._count += 1
                waiting.append(pending if self._count < _MOST_BODIES else _light(pending))
                if len(waiting) == 1:
                    self._put(pending)
            self._wake()

    def update(self, webhook: Webhook, paused: bool) -> None:
        """Go on as the webhook's file says now."""
        with self._changed:
            self.webhook, self.paused = webhook, paused
            self._wake()

    def take_all(self) -> list[Pending]:
        """Give back all deliveries that nobody has in hand."""
        with self._changed:
            free = {linkedid for _, _, linkedid in self._ready}
            self._ready.clear()
            taken = [pending for linkedid in free for pending in self._calls.pop(linkedid)]
            self._count -= len(taken)
            return taken

    def stop(self) -> None:
        """Send nothing more; what is in hand is finished."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _put(self, pending: Pending) -> None:
        heapq.heappush(self._ready, (_due(pending), pending.event.n, pending.event.linkedid))

    def _wake(self) -> None:
        self._changed.notify(len(self._ready))
        if self._stopped or self.paused:
            return
        while self._idle < len(self._ready) and self._threads < _THREADS:
            self._threads += 1
            self._idle += 1
            threading.Thread(target=self._run, name="webhook", daemon=True).start()

    def _run(self) -> None:
        receiver: Receiver | None = None
        made_for: Webhook | None = None
        while (pending := self._next()) is not None:
            webhook = self.webhook
            if receiver is None or made_for is not webhook:
                if receiver is not None:
                    receiver.close()
                trusted = self._surroundings.trusted
                receiver, made_for = Receiver(webhook.url, webhook.timeout, trusted), webhook
            self._finish(self._guarded(receiver, pending))
        if receiver is not None:
            receiver.close()

    def _next(self) -> Pending | None:
        """Wait for a delivery that is due; None when there was none for a while."""
        with self._changed:
            until = time.monotonic() + _IDLE
            while not self._stopped and not self.paused:
                now = time.time()
                if self._ready and self._ready[0][0] <= now:
                    self._idle -= 1
                    return self._calls[heapq.heappop(self._ready)[2]][0]
                if not self._ready and time.monotonic() >= until:
                    break
                soon = self._ready[0][0] - now if self._ready else _IDLE
                # In steps, for a clock that is set ahead.
                self._changed.wait(min(soon, 5.0))
            self._threads -= 1
            self._idle -= 1
            return None

    def _finish(self, report: Report) -> None:
        event = report.pending.event
        with self._changed:
            self._idle += 1
            waiting = self._calls[event.linkedid]
            if report.retry is not None:
                waiting[0] = _light(report.retry)
            else:
                waiting.popleft()
                self._count -= 1
            if waiting:
                self._put(waiting[0])
                self._changed.notify()
            else:
                del self._calls[event.linkedid]
        self._surroundings.report(report)

    def _guarded(self, receiver: Receiver, pending: Pending) -> Report:
        try:
            return self._attempt(receiver, pending)
        except Exception:
            # A fault of ours must not end the thread: the event would wait for ever.
            log.exception("webhook %s: %s", self.webhook.name, pending.event.id)
            return self._failed(pending, "the service failed; its journal has the details", None)

    def _attempt(self, receiver: Receiver, pending: Pending) -> Report:
        lapsed = time.time() - pending.event.at > LAPSE
        if lapsed and pending.event.type not in LASTING:
            return given_up(pending, "lapsed: it was not delivered within a minute")
        event = pending.event if pending.event.body else self._surroundings.load(pending.event.n)
        if event is None:
            return given_up(pending, "it is not kept any more")
        group = self._surroundings.group(self.webhook.group_uuid)
        if group is None or not event.visible_to(group.scope):
            return given_up(pending, "the webhook's group may not see it any more")
        return self._sent(receiver, pending, event.id, self._surroundings.body(event, group))

    def _sent(self, receiver: Receiver, pending: Pending, event_id: str, text: str) -> Report:
        body = text.encode()
        try:
            reply = receiver.post(body, _headers(self.webhook, event_id, body))
        except DeliveryError as error:
            return self._failed(pending, str(error), None)
        if 200 <= reply.status < 300:
            return Report(pending, delivered=True)
        if reply.status == _GONE:
            return replace(given_up(pending, "the receiver answered 410 Gone"), gone=True)
        return self._failed(pending, f"the receiver answered {reply.status}", reply)

    def _failed(self, pending: Pending, reason: str, reply: Reply | None) -> Report:
        log.warning("webhook %s: %s: %s", self.webhook.name, pending.event.id, reason)
        attempts = pending.attempts + 1
        if attempts > len(SCHEDULE):
            return given_up(pending, f"given up: {reason}")
        pause = SCHEDULE[attempts - 1] * random.uniform(1, 1 + _JITTER)  # noqa: S311 - no secret
        if reply is not None and reply.retry_after is not None:
            pause = max(pause, reply.retry_after)
        retry = replace(pending, attempts=attempts, due=time.time() + pause)
        return Report(pending, retry=retry, reason=reason)


def test_message(webhook: Webhook, event_id: str, body: bytes) -> Reply:
    """Send a message now, once. Raises DeliveryError."""
    receiver = Receiver(webhook.url, webhook.timeout)
    try:
        return receiver.post(body, _headers(webhook, event_id, body))
    finally:
        receiver.close()


def _headers(webhook: Webhook, event_id: str, body: bytes) -> dict[str, str]:
    now = datetime.now().astimezone()
    return {
        "Content-Type": "application/json",
        "User-Agent": f"evolvex-api/{__version__}",
        **signing.headers(event_id, int(now.timestamp()), body, webhook.keys(now)),
    }


def _light(pending: Pending) -> Pending:
    return replace(pending, event=replace(pending.event, body=""))


def _due(pending: Pending) -> float:
    """When to look at a delivery: when it is due, or lapses."""
    if pending.event.type in LASTING:
        return pending.due
    return min(pending.due, pending.event.at + LAPSE)


def given_up(pending: Pending, reason: str) -> Report:
    """Return the report of a delivery that will not be tried again."""
    event = pending.event
    failure = Failure(
        *(pending.webhook, event.id, event.type, event.linkedid, event.at, pending.attempts),
        reason,
    )
    return Report(pending, failure=failure, reason=reason)
