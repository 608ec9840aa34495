"""What a scenario of `scenarios.py` plays on: the PBX, phones of its own, a look at channels."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from tests.lab.asterisk import Asterisk
from tests.lab.manager import Message
from tests.lab.server import wait_until
from tests.lab.softphone import SipCall, Softphone

_FIRST_OWN_ID = 1 << 32


class Stage:
    """What a scenario plays on: the PBX and phones that leave when it is over."""

    def __init__(self, pbx: Asterisk) -> None:
        self.pbx = pbx
        self.phones: dict[str, Softphone] = {}
        self.uniqueids: set[str] = set()
        self.responses = 0  # how many OriginateResponse events there will be
        self._leaving = contextlib.ExitStack()
        self._watch = self._leaving.enter_context(pbx.manager())
        self._watch.action("Events", EventMask="off")

    def phone(self, endpoint: str, **behaviour: Any) -> Softphone:
        """Return a phone at that endpoint; `behaviour` as for Softphone."""
        phone = self._leaving.enter_context(Softphone(self.pbx, endpoint, **behaviour))
        self.phones[endpoint] = phone
        return phone

    def call(self, caller: str, number: str, callee: str, **behaviour: Any) -> SipCall:
        """Return the call of the phone `caller` to `number`; `callee` has answered it."""
        self.phone(callee, **{"answer": 0.2, **behaviour})
        call = self.phone(caller).dial(number).wait("answered")
        self.wait_bridged(caller, callee)
        return call

    def answered_at(self, endpoint: str) -> SipCall:
        """Return the first call of a phone, once it is answered."""
        return self.phones[endpoint].wait_call("answered")

    def originate(self, channel: str, context: str, exten: str, **headers: str) -> str:
        """Originate by AMI with an id of the service's kind; returns it when AMI has answered."""
        uniqueid = f"{int(time.time())}.{_FIRST_OWN_ID + time.monotonic_ns() % (1 << 40)}"
        self.uniqueids.add(uniqueid)
        self.responses += "Async" in headers
        place = {"Channel": channel, "Context": context, "Exten": exten, "Priority": "1"}
        with self.pbx.manager(timeout=40) as manager:
            manager.action("Originate", **place, ChannelId=uniqueid, **headers)
        return uniqueid

    def channel_of(self, endpoint: str) -> str:
        """Return the name of the live channel of an endpoint."""
        names = (event["Channel"] for event in self._channels())
        return next(name for name in names if name.startswith(f"PJSIP/{endpoint}-"))

    def has_local(self, number: str) -> bool:
        """Return whether a Local channel to that number lives."""
        return any(event["Channel"].startswith(f"Local/{number}@") for event in self._channels())

    def wait_bridged(self, *endpoints: str) -> None:
        """Return when these phones are in bridges."""
        self._wait_channels(endpoints, lambda event: event["BridgeId"] != "", "in bridges")

    def wait_ringing(self, *endpoints: str) -> None:
        """Return when Asterisk knows that these phones ring."""
        self._wait_channels(endpoints, lambda event: event["ChannelStateDesc"] == "Ringing", "ring")

    def manager_action(self, name: str, **headers: str) -> None:
        """Do an AMI action that must succeed."""
        with self.pbx.manager() as manager:
            answer = manager.action(name, **headers)
        assert answer["Response"] == "Success", answer

    def wait_gone(self, *endpoints: str) -> None:
        """Return when no channel of these phones (all: and of the originates) is left."""
        gone = tuple(f"PJSIP/{endpoint}-" for endpoint in endpoints or self.phones)
        ids = frozenset() if endpoints else self.uniqueids

        def is_over() -> bool:
            return not any(
                event["Channel"].startswith(gone) or event["Uniqueid"] in ids
                for event in self._channels()
            )

        wait_until(is_over, 20, f"calls of {gone} over")

    def close(self) -> None:
        """Take the phones away."""
        self._leaving.close()

    def _wait_channels(
        self, endpoints: tuple[str, ...], is_so: Callable[[Message], bool], what: str
    ) -> None:
        def are_so() -> bool:
            names = [event["Channel"] for event in self._channels() if is_so(event)]
            return all(any(f"PJSIP/{one}-" in name for name in names) for one in endpoints)

        wait_until(are_so, 10, f"{endpoints} {what}")

    def _channels(self) -> list[Message]:
        """The live channels as AMI lists them."""
        self._watch.events.clear()
        self._watch.action("CoreShowChannels")
        self._watch.wait_event("CoreShowChannelsComplete")
        return list(self._watch.events)


@contextlib.contextmanager
def stage(pbx: Asterisk) -> Iterator[Stage]:
    """Give a scenario its stage and clear it away."""
    made = Stage(pbx)
    try:
        yield made
    finally:
        made.close()
