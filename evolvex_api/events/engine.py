"""The heart of the service of live calls: one thread that owns the tracker and the database.

    AMI ─ listener's thread ─┐                           ┌─ hub ─ a thread a stream
    webhooks' reports ───────┼─ queue ─ this one thread ─┤
    (nobody waits for it)    ┘     tracker, database     └─ outbox ─ couriers' threads

What has arrived is taken together, stored in one transaction, and only then sent. When the disk is
full, streams go on; webhooks get what happened once there is room again.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any, TextIO

from evolvex_api.backends import link_secret
from evolvex_api.backends.access_store import AccessStore
from evolvex_api.backends.failures import StorageUnavailable
from evolvex_api.config import Config
from evolvex_api.core.access import Group, Scope
from evolvex_api.core.links import base_of
from evolvex_api.events import envelope
from evolvex_api.events.call import Call, Change, Recorder
from evolvex_api.events.delivery import Report, Surroundings
from evolvex_api.events.directions import Directions
from evolvex_api.events.envelope import Links
from evolvex_api.events.feed import Feed
from evolvex_api.events.hub import Hub, Stream
from evolvex_api.events.keeper import Keeper
from evolvex_api.events.listener import Arrival, Listener, Receivers, Session
from evolvex_api.events.outbox import Outbox
from evolvex_api.events.recorded import RecordingWatch
from evolvex_api.events.store import Store
from evolvex_api.events.tracker import Tracker

log = logging.getLogger(__name__)

# How long the thread waits when nothing happens; what time alone changes is seen after that.
_TICK = 0.25
# What is taken together at most, so that a flood is stored in pieces.
_MOST_TOGETHER = 500
_SUPERVISE = 0.3
_PRUNE = 60.0
# The tracker remembers calls that have ended for so long.
_REMEMBERED = 600.0
_STOP_SECONDS = 5.0


@dataclass(frozen=True)
class Snapshot:
    """The live calls of a moment; `event_id` is the last event before it."""

    calls: list[dict[str, Any]]
    event_id: str


class Engine:
    """Everything of the service but HTTP. Made before the fork, started after it."""

    def __init__(self, config: Config, access: AccessStore) -> None:
        self._config = config
        self._access = access
        settings = config.events
        self.hub = Hub(settings.max_streams, settings.streams_per_user)
        self._store = Store(config.server.state_dir)
        self.keeper = Keeper(self._store, self.hub.publish)
        surroundings = Surroundings(
            self._group,
            self._load,
            self.hub.body_for,
            lambda report: self._post(self._take, report),
        )
        self._outbox = Outbox(config.path, self._store, surroundings)
        directions = Directions(settings.inbound_contexts, settings.internal_numbers)
        # Guards the tracker, which requests read too.
        self._lock = threading.Lock()
        self._tracker = Tracker(directions)
        self._watch = RecordingWatch(config.recordings)
        self._feed = Feed(self._tracker, self._found_path)
        self._queue: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        receivers = Receivers(
            lambda session: self._post(self._connected, session),
            lambda session, arrival: self._post(self._arrived, session, arrival),
            lambda session: self._post(self._disconnected, session),
        )
        self._listener = Listener(config.ami, settings, receivers)
        self._stopping = threading.Event()
        self._changes: list[Change] = []
        self._watch_changed = False
        self._thread = threading.Thread(target=self._run, name="live-calls", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()
        threading.Thread(target=self._supervise, name="streams", daemon=True).start()

    def end_streams(self) -> None:
        """End all streams at once, and any that is still to be opened."""
        self.hub.close()

    def stop(self) -> None:
        """Store what has arrived, and end."""
        self.end_streams()
        self._listener.stop()
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)

    def live(self, scope: Scope) -> Snapshot | None:
        """Return the live calls that a group may see; None while the PBX is out of reach."""
        # Taken before the calls are: an event between the two is told twice rather than never.
        last = self.keeper.id_of(self.hub.last)
        with self._lock:
            if not self._feed.in_line:
                return None
            now = time.time()
            calls = [
                call.as_json(now)
                for call in self._tracker.live()
                if envelope.may_see(scope, call.visible_contexts)
            ]
        return Snapshot(calls, last)

    def call(self, uniqueid: str, scope: Scope) -> dict[str, Any] | None:
        """Return the call that has or had a leg of that id, live or not; None for none to be seen.

        Raises StorageUnavailable.
        """
        with self._lock:
            for call in reversed(self._tracker.live()):
                if _has_leg(call, uniqueid):
                    visible = envelope.may_see(scope, call.visible_contexts)
                    return call.as_json(time.time()) if visible else None
        kept = self._store.call(uniqueid)
        return kept[1] if kept and envelope.may_see(scope, kept[0]) else None

    def with_links(self, call: dict[str, Any], group: Group) -> dict[str, Any]:
        """Return a call with links to its recording, where it has one that the group may hear."""
        links = self.hub.links
        return links.add(call, group, time.time()) if links else call

    def current_group(self, stream: Stream) -> Group | None:
        """Return the group of a stream's user as it is now; None when the key is withdrawn."""
        book = self._access.current()
        user = book.users.get(stream.user.api_key_sha256)
        if user is None or not user.enabled or user.has_expired(date.today()):
            return None
        group = book.group_of(user)
        return group if "events" in group.rights else None

    def _group(self, uuid: str) -> Group | None:
        group = self._access.current().groups.get(uuid)
        return group if group is not None and "events" in group.rights else None

    def _load(self, n: int) -> envelope.Stored | None:
        with contextlib.suppress(StorageUnavailable):
            return self._store.event(n)
        return None

    def _post(self, function: Callable[..., None], *arguments: Any) -> None:
        self._queue.put(lambda: function(*arguments))

    def _supervise(self) -> None:
        while not self._stopping.wait(_SUPERVISE):
            self.hub.supervise(self.current_group)

    def _run(self) -> None:
        lock = self._only_one()
        if lock is None:
            return
        with lock:
            self._begin()
            next_tick = next_prune = 0.0
            while not self._stopping.is_set():
                self._take_together()
                now = time.monotonic()
                if now >= next_tick:
                    next_tick = now + _TICK
                    self._guarded(self._tick)
                self._flush()
                if now >= next_prune:
                    next_prune = now + _PRUNE
                    self._guarded(self._prune)
            self._outbox.stop()
            self._take_together()
            self._flush()
            self._store.close()

    def _only_one(self) -> TextIO | None:
        """Wait until an earlier process, which is ending, has let go; None when told to end."""
        path = self._config.server.state_dir / "events.lock"
        while not self._stopping.is_set():
            try:
                lock = path.open("w")
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
            except OSError as error:
                log.error("[server] state_dir can't be written: %s", error.strerror)
                self._stopping.wait(1)
            else:
                return lock
            self._stopping.wait(0.02)
        return None

    def _begin(self) -> None:
        with contextlib.suppress(StorageUnavailable):
            secret = link_secret.load(self._config.path)
            self.hub.links = Links(base_of(self._config.server.public_url), secret)
        self.hub.last = self.keeper.begin()
        self._guarded(self._outbox.begin)
        self._guarded(self._restore)
        self._listener.start()

    def _restore(self) -> None:
        dumped = self._store.dumps(ended_since=time.time() - _REMEMBERED)
        try:
            with self._lock:
                self._tracker.restore(dumped)
            self._watch.restore(self._store.watched())
        except (KeyError, TypeError, ValueError) as error:
            log.error("live calls: what was stored can't be used: %r", error)

    def _take_together(self) -> None:
        try:
            self._guarded(self._queue.get(timeout=_TICK))
            for _ in range(_MOST_TOGETHER):
                self._guarded(self._queue.get_nowait())
        except queue.Empty:
            pass

    def _guarded(self, function: Callable[[], None]) -> None:
        """Run something; a fault of ours in it must not end the thread."""
        try:
            function()
        except StorageUnavailable:
            pass  # told by the database; it is tried again
        except Exception:
            log.exception("live calls: unexpected failure")

    def _connected(self, session: Session) -> None:
        with self._lock:
            self._feed.connected(session)

    def _disconnected(self, session: Session) -> None:
        with self._lock:
            self._feed.disconnected(session)

    def _arrived(self, session: Session, arrival: Arrival) -> None:
        with self._lock:
            self._changes += self._feed.take(session, arrival)

    def _found_path(self, recorder: Recorder, path: str) -> None:
        self._watch.add(recorder, path, time.time())
        self._watch_changed = True

    def _take(self, report: Report) -> None:
        self._outbox.take(report, self.keeper.batch)

    def _tick(self) -> None:
        now = time.time()
        with self._lock:
            self._changes += self._tracker.tick(now)
            self._feed.tick()
            if not self._watch.empty and self._feed.in_line:
                self._poll_recordings(now)
        self._outbox.scan()
        if self.keeper.ready:
            self.keeper.send_later(self._outbox.replay())

    def _poll_recordings(self, now: float) -> None:
        calls = self._tracker.live()

        def linkedid_of(uniqueid: str) -> str | None:
            return next((c.linkedid for c in calls if _has_leg(c, uniqueid)), None)

        for linkedid, recording in self._watch.poll(now, linkedid_of):
            self._changes += self._tracker.recorded(linkedid, recording, now)
            self._watch_changed = True

    def _flush(self) -> None:
        changes, self._changes = self._changes, []
        if self._watch_changed:
            self.keeper.batch.watched = self._watch.dump()
            self._watch_changed = False
        with self._lock:
            dumps = {c.call["Linkedid"]: self._tracker.dump(c.call["Linkedid"]) for c in changes}
        self._outbox.send(self.keeper.keep(changes, dumps, self._outbox.address))

    def _prune(self) -> None:
        if self.keeper.ready:
            lost = self._store.prune(time.time() - self._config.events.retention)
            self.keeper.report_lost(lost)


def _has_leg(call: Call, uniqueid: str) -> bool:
    return uniqueid == call.linkedid or uniqueid in call.uniqueids
