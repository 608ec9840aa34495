"""The open event streams: who listens, what each gets, and when a stream ends.

A thread a listener, which waits at a queue of its own. `Hub.publish` fills the queues and waits for
nobody; a listener that does not read is ended when its queue is full.
"""

from __future__ import annotations

import contextlib
import queue
import select
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from evolvex_api.core.access import Group, User
from evolvex_api.core.refusals import too_many
from evolvex_api.events.envelope import Links, Stored

COMMENT_SECONDS = 15.0
# Events that may wait for one listener; more than a minute of a very busy PBX.
_MOST_WAITING = 20_000
_RETRY_AFTER = 5


@dataclass(eq=False)
class Stream:
    """One listener. `types` is empty for all, `linkedid` None for every call."""

    user: User
    group: Group
    types: frozenset[str]
    linkedid: str | None
    waiting: queue.SimpleQueue[bytes | None] = field(default_factory=queue.SimpleQueue)
    sock: socket.socket | None = None
    ended: bool = False

    def wants(self, event: Stored) -> bool:
        """True when the event passes the filters and the group may see it."""
        return (
            (not self.types or event.type in self.types)
            and (self.linkedid is None or event.linkedid == self.linkedid)
            and event.visible_to(self.group.scope)
        )

    def end(self) -> None:
        """Have the listener's thread end the stream after what waits for it."""
        self.ended = True
        self.waiting.put(None)


class Hub:
    """All streams of the service."""

    def __init__(self, most: int, most_per_user: int) -> None:
        self._most = most
        self._most_per_user = most_per_user
        self._lock = threading.Lock()
        self._streams: set[Stream] = set()
        self._closed = False
        self.links: Links | None = None
        # The newest event that was published.
        self.last = 0

    @property
    def count(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    def open(self, stream: Stream) -> int:
        """Let a stream listen from now on; returns the number of the last event before that.

        Raises ApiError(429, too_many_streams).
        """
        with self._lock:
            if len(self._streams) >= self._most:
                raise too_many(
                    "too_many_streams",
                    f"{self._most} event streams are open, the limit of this service"
                    " ([events] max_streams).",
                    _RETRY_AFTER,
                )
            own = sum(other.user.uuid == stream.user.uuid for other in self._streams)
            if own >= self._most_per_user:
                raise too_many(
                    "too_many_streams",
                    f"This API user has {own} event streams open, the limit of a user"
                    " ([events] streams_per_user).",
                    _RETRY_AFTER,
                )
            self._streams.add(stream)
            if self._closed:
                stream.end()
            return self.last

    def leave(self, stream: Stream) -> None:
        """Forget a stream that has ended."""
        with self._lock:
            self._streams.discard(stream)

    def publish(self, events: Sequence[Stored]) -> None:
        """Give events to every stream that wants them."""
        with self._lock:
            streams = [stream for stream in self._streams if not stream.ended]
            self.last = max(self.last, events[-1].n)
            for event in events:
                shared = frame(event, event.body)
                for stream in streams:
                    if stream.wants(event):
                        stream.waiting.put(self._frame_for(event, stream.group, shared))
        for stream in streams:
            if stream.waiting.qsize() > _MOST_WAITING:
                self._cut(stream)

    def supervise(self, current: Callable[[Stream], Group | None]) -> None:
        """End the streams of withdrawn keys and of clients that have gone; to be called often.

        `current` returns the group of a stream's user as it is now, None when the key is withdrawn.
        """
        with self._lock:
            streams = list(self._streams)
        for stream in streams:
            if stream.ended:
                self._cut(stream)
                continue
            group = current(stream)
            if group is None:
                stream.end()
            else:
                stream.group = group
        for stream in _left(streams):
            self._cut(stream)

    def close(self) -> None:
        """End all streams, and any that is still to be opened."""
        with self._lock:
            self._closed = True
            streams = list(self._streams)
        for stream in streams:
            stream.end()

    def _frame_for(self, event: Stored, group: Group, shared: bytes) -> bytes:
        body = self.body_for(event, group)
        return shared if body is event.body else frame(event, body)

    def body_for(self, event: Stored, group: Group) -> str:
        """Return the envelope for a group, with links where it may hear a recording."""
        return self.links.body(event, group) if self.links else event.body

    def _cut(self, stream: Stream) -> None:
        """End a stream whose thread may be busy with sending to a client that does not read."""
        if not stream.ended:
            stream.end()
        if stream.sock is not None:
            with contextlib.suppress(OSError):
                stream.sock.shutdown(socket.SHUT_RDWR)


def frame(event: Stored, body: str) -> bytes:
    """Return an event as a stream has it (WHATWG HTML, 9.2.5)."""
    return f"id: {event.id}\nevent: {event.type}\ndata: {body}\n\n".encode()


def _left(streams: Iterable[Stream]) -> list[Stream]:
    """The streams whose clients have closed the connection."""
    poll = select.poll()
    by_descriptor: dict[int, Stream] = {}
    for stream in streams:
        descriptor = -1 if stream.sock is None else stream.sock.fileno()
        if descriptor >= 0:
            by_descriptor[descriptor] = stream
            poll.register(descriptor, select.POLLRDHUP)
    return [by_descriptor[descriptor] for descriptor, _ in poll.poll(0)]
