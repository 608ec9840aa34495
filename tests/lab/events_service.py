"""The service of live calls, `evolvex-api events`, and a client of its streams."""

import http.client
import json
import queue
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

from tests.lab.server import LabError
from tests.lab.service import PREFIX, Service

_CHECKOUT = Path(__file__).parents[2]


class EventsService(Service):
    """Has configuration, users, groups and state of a `Service`, which need not run."""

    name = "events"

    def __init__(self, beside: Service) -> None:
        super().__init__(beside._asterisk, beside._database)
        self.beside = beside
        self.port = beside.events_port
        self.url = f"http://127.0.0.1:{self.port}{PREFIX}"
        self.config = beside.config
        self.state = beside.state
        self.on_answer = beside.on_answer

    def stream(self, key: str, last_id: str | None = None, **params: object) -> "Stream":
        """Open an event stream."""
        headers = {"Last-Event-ID": last_id} if last_id else {}
        return Stream(self.port, key, params, headers)

    def _prepare(self) -> None:
        self.beside._prepare()

    def _command(self) -> Sequence[str]:
        return [sys.executable, "-m", "evolvex_api", "events", "--config", str(self.config)]

    def _environment(self) -> dict[str, str]:
        unit = (_CHECKOUT / "systemd" / "evolvex-api-events.service").read_text()
        shipped = dict(re.findall(r"^Environment=(\w+)=(.*)$", unit, re.MULTILINE))
        return super()._environment() | shipped

    def _is_ready(self) -> bool:
        try:
            return self.get("calls").status == 401
        except OSError:
            return False


@dataclass(frozen=True)
class ServerSentEvent:
    """An event of a stream."""

    id: str
    type: str
    data: Any


class Stream:
    """A listener whose thread keeps what comes. Raises LabError when the stream is refused."""

    def __init__(
        self, port: int, key: str, params: Mapping[str, object], headers: Mapping[str, str]
    ) -> None:
        query = f"?{urlencode(params)}" if params else ""
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._connection.request(
            "GET", f"{PREFIX}/events{query}", headers={"X-API-Key": key, **headers}
        )
        self.answer = self._connection.getresponse()
        if self.answer.status != 200:
            body = self.answer.read()
            self._connection.close()
            raise LabError(f"{self.answer.status} {json.loads(body)['code']}")
        self.events: list[ServerSentEvent] = []
        self.comments = 0
        self.retry = 0
        self.ended = threading.Event()
        self._arrived: queue.SimpleQueue[ServerSentEvent | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._read, name="stream", daemon=True)
        self._thread.start()

    def wait(
        self, kind: str, matches: Callable[[Any], bool] = lambda _: True, timeout: float = 15
    ) -> ServerSentEvent:
        """Return the first event of a type, of those not yet waited for, whose data matches."""
        while True:
            try:
                event = self._arrived.get(timeout=timeout)
            except queue.Empty:
                event = None
            if event is None:
                seen = [one.type for one in self.events]
                raise LabError(f"no {kind} came; there were {seen}")
            if event.type == kind and matches(event.data):
                return event

    def close(self) -> None:
        """Leave."""
        if self._connection.sock is not None:
            self._connection.sock.shutdown(2)
        self._thread.join(5)
        self.answer.close()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> None:
        try:
            for event in self._parsed():
                self.events.append(event)
                self._arrived.put(event)
        except (OSError, http.client.HTTPException, ValueError, AttributeError):
            pass
        self.ended.set()
        self._arrived.put(None)

    def _parsed(self) -> Iterator[ServerSentEvent]:
        fields: dict[str, str] = {}
        for raw in self.answer:
            line = raw.decode().rstrip("\n")
            if line.startswith(":"):
                self.comments += 1
            elif line:
                name, _, value = line.partition(": ")
                fields[name] = value
            else:
                self.retry = int(fields.get("retry", self.retry))
                if "data" in fields:
                    yield ServerSentEvent(fields["id"], fields["event"], json.loads(fields["data"]))
                fields = {}
