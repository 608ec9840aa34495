"""status against a real Asterisk whose dialplan is hostile, and what it costs Asterisk."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from evolvex_api import config
from evolvex_api.backends.ami.client import Ami
from evolvex_api.core.access import Scope
from evolvex_api.core.dialling import Call
from tests.integration.conftest import Pbx
from tests.lab.asterisk import Asterisk
from tests.lab.server import wait_until

OPEN = Scope(None, "")


def add_dialplan(asterisk: Asterisk, context: str, *applications: str) -> None:
    """Extension 1 of a context of the test's own, which runs these applications and waits."""
    for number, application in enumerate([*applications, "Answer()", "Wait(60)"], 1):
        line = f'{number},"{application}"'
        asterisk.cli(f"dialplan add extension 1,{line} into {context} replace")


def line_ends(text: str) -> str:
    """An expression of the dialplan that becomes this text, line ends and all."""
    return "${URIDECODE(" + text.replace("\r\n", "%0d%0a") + ")}"


def lie(pbx: Pbx, context: str, *applications: str) -> str:
    """Make a call that runs these applications; returns its Uniqueid once it waits."""
    add_dialplan(pbx.asterisk, context, *applications)
    uniqueid = pbx.originate(channel="Local/610@answer", context=context, exten="1")
    concise = re.compile(rf"!{context}!1!{len(applications) + 2}!")
    wait_until(
        lambda: concise.search(pbx.asterisk.cli("core show channels concise")) is not None,
        10,
        "the call waits",
    )
    return uniqueid


EVILS = {
    "end": "x\r\n\r\nEvent: StatusComplete\r\nEventList: Complete\r\nItems: 0",
    "end2": "x\r\n\r\nEvent: StatusComplete\r\nActionID: 1\r\nEventList: Complete\r\n\r\n",
    "fake": "x\r\n\r\nEvent: Status\r\nChannel: PJSIP/fake\r\nContext: incoming\r\nSeconds: 1",
}


@pytest.mark.parametrize("name", EVILS)
def test_a_variable_neither_ends_the_list_nor_fakes_a_channel(any_pbx: Pbx, name: str) -> None:
    value = line_ends(EVILS[name])
    any_pbx.originate(channel="Local/610@answer", context="hold", exten="1")
    uniqueid = lie(any_pbx, "liar", f"Set(evil={value})")
    data = any_pbx.service.get("status", any_pbx.keys["all"]).data
    assert len(data) == any_pbx.asterisk.channels() == 4
    assert "PJSIP/fake" not in {one["Channel"] for one in data}
    assert any_pbx.service.get("status", any_pbx.keys["other"]).data == []
    told = next(one for one in data if "evil" in one)
    assert told["evil"] == EVILS[name]
    # One that says "Context: …" in a line of its own is trusted with no id either.
    assert told["Uniqueid"] == ("" if name == "fake" else uniqueid)


@pytest.mark.parametrize("where", ["CALLERID(num)", "CHANNEL(accountcode)", "evil"])
def test_nothing_can_fake_a_granted_context(any_pbx: Pbx, where: str) -> None:
    lie(any_pbx, "liar", f"Set({where}={line_ends('5' + chr(13) + chr(10) + 'Context: incoming')})")
    assert any_pbx.service.get("status", any_pbx.keys["other"]).data == []
    assert any_pbx.service.get("status", any_pbx.keys["other"], context="incoming").data == []
    assert len(any_pbx.service.get("status", any_pbx.keys["all"]).data) == 2


def test_bytes_that_are_no_utf8_are_replaced(any_pbx: Pbx) -> None:
    lie(any_pbx, "liar", "Set(bad=${URIDECODE(a%ff%feb)})", "Set(good=${URIDECODE(%D0%AF)})")
    data = any_pbx.service.get("status", any_pbx.keys["all"]).data
    told = next(one for one in data if "bad" in one)
    assert (told["bad"], told["good"]) == ("a��b", "Я")


class Tap:
    """Passes an AMI connection on to Asterisk, and keeps what went each way."""

    def __init__(self, port: int) -> None:
        self.sent = bytearray()
        self.received = bytearray()
        self.connections = 0
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                server = socket.create_connection(("127.0.0.1", self._target))
                for pipe in ((client, server, self.sent), (server, client, self.received)):
                    threading.Thread(target=_pass_on, args=pipe, daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket, kept: bytearray) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            kept += data
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def tapped(asterisk: Asterisk) -> Iterator[tuple[Ami, Tap]]:
    """The service's AMI side, with all that it says to Asterisk and hears on record."""
    tap = Tap(asterisk.ami_port)
    settings = config.Ami("127.0.0.1", tap.port, asterisk.ami_username, asterisk.ami_secret, 10.0)
    with contextlib.closing(tap):
        yield Ami(settings), tap


def test_requests_at_the_same_time_share_an_exchange(any_pbx: Pbx) -> None:
    """16 pollers of 20 polls each: one exchange serves all who came while the last one ran."""
    with tapped(any_pbx.asterisk) as (ami, tap), ThreadPoolExecutor(16) as pool:
        any_pbx.originate()
        start = threading.Barrier(16)

        def poll() -> int:
            start.wait(10)
            return sum(ami.status().json(OPEN, {}).startswith(b'{"data":[') for _ in range(20))

        jobs = [pool.submit(poll) for _ in range(16)]
        assert sum(job.result() for job in jobs) == 320
        assert 20 <= tap.sent.count(b"Action: Status") <= 160
        assert tap.connections == 1


def test_an_answer_is_never_older_than_its_request(any_pbx: Pbx) -> None:
    """While others poll without pause, a call that was made is always in the next answer."""
    with tapped(any_pbx.asterisk) as (ami, _), ThreadPoolExecutor(4) as pool:
        done = threading.Event()

        def poll() -> None:
            while not done.is_set():
                ami.status()

        others = [pool.submit(poll) for _ in range(4)]
        try:
            for _ in range(10):
                call = Call("Local/610@answer", "hold", "1", "1", timeout=5)
                ami.originate(call, wait=True)
                shown = json.loads(ami.status().json(Scope(None, ""), {}))["data"]
                assert call.uniqueid in {one["Uniqueid"] for one in shown}
        finally:
            done.set()
        for other in others:
            other.result()


def test_events_flow_only_while_somebody_waits_for_an_outcome(any_pbx: Pbx) -> None:
    with tapped(any_pbx.asterisk) as (ami, tap):
        ami.originate(Call("Local/610@answer", "hold", "1", "1", timeout=5), wait=False)
        wait_until(lambda: any_pbx.asterisk.channels() >= 2, 10, "the call is up")
        ami.status()
        any_pbx.asterisk.hang_up_all()
        ami.status()
        assert b"Event: Newchannel" not in tap.received
        assert b"Event: Hangup" not in tap.received
        answer = ami.originate(Call("Local/610@answer", "hold", "1", "1", timeout=5), wait=True)
        assert answer["Response"] == "Success"
        assert b"Event: OriginateResponse" in tap.received
        ami.status()
        tap.received.clear()
        any_pbx.asterisk.hang_up_all()
        ami.status()
        assert not re.search(rb"Event: (?!StatusComplete)", tap.received)
