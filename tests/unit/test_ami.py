"""The AMI session against a scripted server: faults that a real Asterisk can't be made to show."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from evolvex_api import config
from evolvex_api.backends.ami import Ami, Manager
from evolvex_api.backends.ami_messages import Call, encode
from evolvex_api.backends.failures import OutcomeUnknown, PbxUnavailable

Script = Callable[[dict[str, str], "FakeAsterisk", socket.socket], None]


def message(*lines: str) -> bytes:
    """An AMI message of these lines."""
    return "\r\n".join([*lines, "", ""]).encode()


class FakeAsterisk:
    """Greets, lets everybody in, and leaves every other action to the script."""

    def __init__(self, script: Script) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.actions: list[dict[str, str]] = []
        self.connections = 0
        self._script = script
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Listen no more."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.sendall(b"Asterisk Call Manager/9.0.0\r\n")
        rest = b""
        try:
            while more := connection.recv(4096):
                *texts, rest = (rest + more).split(b"\r\n\r\n")
                for text in texts:
                    lines = text.decode().split("\r\n")
                    self._answer(dict(line.split(": ", 1) for line in lines), connection)
        except OSError:
            connection.close()

    def _answer(self, action: dict[str, str], connection: socket.socket) -> None:
        if action["Action"] in ("Login", "Events"):
            connection.sendall(message("Response: Success", f"ActionID: {action['ActionID']}"))
            return
        self.actions.append(action)
        self._script(action, self, connection)


@pytest.fixture
def fake() -> Iterator[Callable[[Script], tuple[FakeAsterisk, Ami]]]:
    """Start a scripted server and an Ami that speaks to it."""
    made: list[FakeAsterisk] = []

    def start(script: Script) -> tuple[FakeAsterisk, Ami]:
        server = FakeAsterisk(script)
        made.append(server)
        settings = config.Ami("127.0.0.1", server.port, "u", "s", timeout=1.0)
        return server, Ami(settings)

    yield start
    for server in made:
        server.close()


def answer_status(action: dict[str, str], _: FakeAsterisk, connection: socket.socket) -> None:
    """One channel, sent in two halves."""
    last = f"ActionID: {action['ActionID']}"
    text = message("Response: Success", last, "EventList: start")
    text += message("Event: Status", "Channel: A/1", "Context: c", "Variable: a=1", last)
    text += message("Event: StatusComplete", last, "EventList: Complete")
    connection.sendall(text[:50])
    time.sleep(0.01)
    connection.sendall(text[50:])


def cut(_: dict[str, str], __: FakeAsterisk, connection: socket.socket) -> None:
    """Hang up without an answer."""
    connection.shutdown(socket.SHUT_RDWR)


def silence(*_: object) -> None:
    """Say nothing at all."""


Fake = Callable[[Script], tuple[FakeAsterisk, Ami]]
CALL = Call("Local/1@a", "b", "2", "1", timeout=1)


def test_messages_in_pieces(fake: Fake) -> None:
    _, ami = fake(answer_status)
    assert [channel["Channel"] for channel in ami.status().channels] == ["A/1"]


def test_a_status_is_asked_again_once(fake: Fake) -> None:
    server, ami = fake(cut)
    with pytest.raises(PbxUnavailable):
        ami.status()
    assert len(server.actions) == 2


@pytest.mark.parametrize("wait", [True, False])
def test_an_originate_is_never_asked_again(fake: Fake, wait: bool) -> None:
    server, ami = fake(cut)
    with pytest.raises(OutcomeUnknown) as error:
        ami.originate(CALL, wait)
    assert error.value.uniqueid == CALL.uniqueid
    assert [action["Action"] for action in server.actions] == ["Originate"]


@pytest.mark.parametrize("wait", [True, False])
def test_silence_leaves_a_call_in_doubt(fake: Fake, wait: bool) -> None:
    _, ami = fake(silence)
    with pytest.raises(OutcomeUnknown):
        ami.originate(CALL, wait)


def test_silence_ends_a_status_in_time(fake: Fake) -> None:
    server, ami = fake(silence)
    with pytest.raises(PbxUnavailable):
        ami.status()
    assert len(server.actions) == 1


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with pytest.raises(PbxUnavailable):
        Ami(config.Ami("127.0.0.1", port, "u", "s", timeout=1.0)).ping()


def test_callers_at_the_same_time_share_an_exchange_begun_after_they_came(fake: Fake) -> None:
    gate = threading.Event()

    def gated(action: dict[str, str], server: FakeAsterisk, connection: socket.socket) -> None:
        gate.wait(0.9)
        answer_status(action, server, connection)

    server, ami = fake(gated)
    with ThreadPoolExecutor(17) as pool:
        first = pool.submit(ami.status)
        while not server.actions:
            time.sleep(0.001)
        others = [pool.submit(ami.status) for _ in range(16)]
        while ami._shared_status._next is None:
            time.sleep(0.001)
        time.sleep(0.1)
        gate.set()
        snapshots = {id(other.result()) for other in others}
        assert id(first.result()) not in snapshots
    assert len(snapshots) == 1
    assert len(server.actions) == 2
    assert server.connections == 1


def test_foreign_messages_and_garbage_are_passed_over(fake: Fake) -> None:
    def noisy(action: dict[str, str], server: FakeAsterisk, connection: socket.socket) -> None:
        connection.sendall(message("Event: StatusComplete", "ActionID: other"))
        connection.sendall(b"\xff\xfe garbage \r\n\r\n" + message("Event: FullyBooted"))
        answer_status(action, server, connection)

    _, ami = fake(noisy)
    assert len(ami.status().channels) == 1


@pytest.mark.parametrize("value", ["a\r\nAction: x", "a\n", "a\0", "x" * 2000])
def test_no_header_can_carry_another(value: str) -> None:
    with pytest.raises(ValueError, match=r"control character|longer"):
        encode([("Exten", value)])


def test_a_closed_session_says_so_at_once() -> None:
    manager = Manager(1.0)
    manager.close()
    assert not manager.connected()
