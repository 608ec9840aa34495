"""The tracker on a lab's Asterisk, without the service around it; and CEL, its oracle."""

from __future__ import annotations

import csv
import threading
import time
from collections import defaultdict
from typing import Self

from evolvex_api.events.call import Change, Event
from evolvex_api.events.directions import Directions
from evolvex_api.events.tracker import Tracker
from tests.lab.amievents import EventStream
from tests.lab.asterisk import Asterisk
from tests.lab.server import wait_until


class LiveTracker:
    """Feeds a tracker from AMI; `cut` and `connect` make a gap, which Status closes."""

    def __init__(self, pbx: Asterisk, directions: Directions) -> None:
        self.tracker = Tracker(directions)
        self.changes: list[Change] = []
        self.channels: defaultdict[str, set[str]] = defaultdict(set)
        self._pbx = pbx
        self._lock = threading.RLock()
        self._buffer: list[tuple[Event, float]] = []
        self._status: list[Event] = []
        self._is_current = False
        self._stream: EventStream | None = None

    def connect(self) -> None:
        """Receive events from now on; returns when the calls are those that the PBX has."""
        self._buffer, self._status, self._is_current = [], [], False
        self._stream = EventStream(self._pbx, self._take)
        self._stream.send({"Action": "Status", "ActionID": "status"})
        wait_until(lambda: self._is_current, 10, "the answer of Status")

    def cut(self) -> None:
        """Lose the connection."""
        if self._stream:
            self._stream.close()
            self._stream = None

    def tick(self) -> None:
        """Let time pass for the tracker."""
        with self._lock:
            self.changes += self.tracker.tick(time.time())

    def ended(self) -> dict[str, int]:
        """Return how often each call ended."""
        return self._count("call.ended")

    def started(self) -> dict[str, int]:
        """Return how often each call started."""
        return self._count("call.started")

    def calls_of(self, endpoints: set[str], uniqueids: set[str]) -> list[Change]:
        """Return the changes of calls that had one of these phones, or one of these ids."""
        prefixes = tuple(f"PJSIP/{endpoint}-" for endpoint in endpoints)
        mine = {
            linkedid
            for linkedid, names in self.channels.items()
            if linkedid in uniqueids or any(name.startswith(prefixes) for name in names)
        }
        return [change for change in self.changes if change.call["Linkedid"] in mine]

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()

    def _count(self, kind: str) -> dict[str, int]:
        counts: defaultdict[str, int] = defaultdict(int)
        for change in self.changes:
            if change.type == kind:
                counts[change.call["Linkedid"]] += 1
        return dict(counts)

    def _take(self, event: Event, at: float) -> None:
        with self._lock:
            fields = dict(event)
            if {"Linkedid", "Channel"} <= fields.keys():
                self.channels[fields["Linkedid"]].add(fields["Channel"])
            if fields["Event"] == "Status":
                self._status.append(event)
            elif fields["Event"] == "StatusComplete":
                self.changes += self.tracker.rebuild(self._status, at)
                for kept, then in self._buffer:
                    self.changes += self.tracker.feed(kept, then)
                self._is_current = True
            elif self._is_current:
                self.changes += self.tracker.feed(event, at)
            else:
                self._buffer.append((event, at))


def cel_ends(pbx: Asterisk) -> dict[str, int]:
    """Return how often CEL wrote LINKEDID_END for each Linkedid."""
    counts: defaultdict[str, int] = defaultdict(int)
    path = pbx.full_log.parent / "cel-custom" / "cel.csv"
    if path.exists():
        with path.open(newline="") as lines:
            for row in csv.reader(lines):
                if row and row[0] == "LINKEDID_END":
                    counts[row[1]] += 1
    return dict(counts)
