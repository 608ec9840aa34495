"""Which webhooks there are, what each is to get, and what became of it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from evolvex_api.events import webhooks
from evolvex_api.events.delivery import Courier, Report, Surroundings, given_up
from evolvex_api.events.envelope import RESET, Stored
from evolvex_api.events.store import Batch, Pending, Store
from evolvex_api.events.webhooks import Webhook

log = logging.getLogger(__name__)


class Outbox:
    """The webhooks of webhooks.d, each with its courier. For one thread at a time."""

    def __init__(self, config_path: Path, store: Store, surroundings: Surroundings) -> None:
        self._config_path = config_path
        self._store = store
        self._surroundings = surroundings
        self._seen: object = None
        self._couriers: dict[str, Courier] = {}
        self._gone: dict[str, str] = {}

    def begin(self) -> None:
        """Take up what an earlier process had not delivered. Raises StorageUnavailable."""
        self._gone = self._store.gone()
        self.scan()
        by_webhook: dict[str, list[Pending]] = {}
        for pending in self._store.pending():
            by_webhook.setdefault(pending.webhook, []).append(pending)
        for name, deliveries in by_webhook.items():
            if name in self._couriers:
                self._couriers[name].add(deliveries)
        known = self._store.known_webhooks() - self._couriers.keys()
        removed = [name for name in known if not self._is_there(name)]
        if removed:
            self._store.drop_webhooks(removed)

    def scan(self) -> None:
        """Look whether a file has changed; to be called about once a second."""
        seen = webhooks.signature(self._config_path)
        if seen == self._seen:
            return
        self._seen = seen
        found, problems = webhooks.load(self._config_path)
        for problem in problems:
            log.warning("%s", problem)
        for name, webhook in found.items():
            if name not in self._couriers:
                self._couriers[name] = Courier(webhook, self._surroundings)
            self._couriers[name].update(webhook, paused=not self._is_on(webhook))
        for name in self._couriers.keys() - found.keys():
            courier = self._couriers[name]
            if self._is_there(name):
                courier.update(courier.webhook, paused=True)
            else:
                courier.stop()
                del self._couriers[name]
                self._store.drop_webhooks([name])
        on = [name for name, courier in self._couriers.items() if not courier.paused]
        log.info("webhooks in use: %s", ", ".join(on) or "none")

    def address(self, events: Sequence[Stored]) -> list[Pending]:
        """Return who is to get which of the events."""
        found = []
        for name, courier in self._couriers.items():
            if courier.paused:
                continue
            group = self._surroundings.group(courier.webhook.group_uuid)
            if group is not None:
                found += [
                    Pending(name, event)
                    for event in events
                    if courier.webhook.wants(event.type) and event.visible_to(group.scope)
                ]
        return found

    def send(self, deliveries: Iterable[Pending]) -> None:
        """Hand over deliveries that are stored."""
        by_webhook: dict[str, list[Pending]] = {}
        for pending in deliveries:
            by_webhook.setdefault(pending.webhook, []).append(pending)
        for name, own in by_webhook.items():
            if name in self._couriers:
                self._couriers[name].add(own)

    def take(self, report: Report, batch: Batch) -> None:
        """Note in a batch what became of a delivery."""
        if report.delivered:
            batch.done.append(report.pending)
        elif report.retry is not None:
            batch.retried.append((report.retry, report.reason))
        elif report.failure is not None:
            batch.failed.append((report.pending, report.failure))
        if report.gone:
            self._switch_off(report.pending.webhook, batch)

    def replay(self) -> list[Pending]:
        """Return what the command line asked to have sent again. Raises StorageUnavailable."""
        found = []
        for name, since in self._store.take_replays():
            courier = self._couriers.get(name)
            if courier is None or courier.paused:
                continue
            group = self._surroundings.group(courier.webhook.group_uuid)
            if group is not None:
                found += [
                    Pending(name, event)
                    for event in self._store.events_since(since)
                    if event.type != RESET
                    and courier.webhook.wants(event.type)
                    and event.visible_to(group.scope)
                ]
        return found

    def oldest(self) -> float | None:
        """When the oldest event happened that some webhook has not got yet."""
        found = (courier.oldest for courier in self._couriers.values())
        return min((at for at in found if at is not None), default=None)

    def stop(self) -> None:
        """Send nothing more."""
        for courier in self._couriers.values():
            courier.stop()

    def _switch_off(self, name: str, batch: Batch) -> None:
        courier = self._couriers.get(name)
        if courier is None or courier.paused:
            return
        log.warning(
            "webhook %s: the receiver answered 410 Gone: switched off until"
            " `evolvex-api webhook enable %s`",
            *(name, name),
        )
        fingerprint = courier.webhook.fingerprint
        self._gone[name] = fingerprint
        batch.gone.append((name, fingerprint))
        courier.update(courier.webhook, paused=True)
        for pending in courier.take_all():
            report = given_up(pending, "the webhook is switched off by 410 Gone")
            if report.failure is not None:
                batch.failed.append((pending, report.failure))

    def _is_on(self, webhook: Webhook) -> bool:
        return webhook.enabled and self._gone.get(webhook.name) != webhook.fingerprint

    def _is_there(self, name: str) -> bool:
        """True when the webhook has a file, be it a usable one or not."""
        return (webhooks.directory(self._config_path) / f"{name}.conf").exists()
