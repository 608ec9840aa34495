"""Faults of an AMI connection that a real Asterisk can't be made to show on demand."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from evolvex_api import config
from evolvex_api.backends.ami.client import Ami
from evolvex_api.backends.failures import OutcomeUnknown, PbxRejected, PbxUnavailable
from evolvex_api.core.access import Scope
from evolvex_api.core.dialling import Call

Action = dict[str, str]
Script = Callable[["Server", socket.socket, Action], None]

CALL = Call("Local/1@a", "b", "2", "1", timeout=1)
OK = "Response: Success\r\nActionID: {ActionID}\r\nMessage: fine\r\n\r\n"


class Server:
    """A scripted AMI server: answers logins and events masks itself, and counts everything."""

    def __init__(self, script: Script, greeting: bytes = b"Asterisk Call Manager/11.0\r\n") -> None:
        self.script = script
        self.greeting = greeting
        self.actions: list[Action] = []
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def asked(self, name: str) -> list[Action]:
        """The actions of that name so far."""
        return [action for action in self.actions if action["Action"] == name]

    def close(self) -> None:
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                self._open.append(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError):
            client.sendall(self.greeting)
            lines = client.makefile("rb")
            while True:
                action = _read_action(lines)
                self.actions.append(action)
                if action["Action"] in ("Login", "Events"):
                    client.sendall(OK.format_map(action).encode())
                else:
                    self.script(self, client, action)


def _read_action(lines: Iterator[bytes]) -> Action:
    action: Action = {}
    for line in lines:
        if line == b"\r\n":
            return action
        name, _, value = line.decode().rstrip("\r\n").partition(": ")
        action[name] = value
    raise EOFError


@contextlib.contextmanager
def serving(
    script: Script, greeting: bytes = b"Asterisk Call Manager/11.0\r\n"
) -> Iterator[Server]:
    server = Server(script, greeting)
    with contextlib.closing(server):
        yield server


def connected(server: Server, timeout: float = 0.4) -> Ami:
    return Ami(config.Ami("127.0.0.1", server.port, "user", "secret", timeout))


def say(text: str) -> Script:
    """Answer every action with this; its {ActionID} is the action's."""
    return lambda _server, client, action: client.sendall(text.format_map(action).encode())


def silence(_server: Server, _client: socket.socket, _action: Action) -> None:
    """Answer nothing."""


def hang_up(_server: Server, client: socket.socket, _action: Action) -> None:
    """Close the connection instead of an answer."""
    client.shutdown(socket.SHUT_RDWR)


def first(one: Script, then: Script) -> Script:
    """One script for the first action that is not a login, another from then on."""
    scripts = iter([one])

    def script(server: Server, client: socket.socket, action: Action) -> None:
        next(scripts, then)(server, client, action)

    return script


NO_CHANNELS = say(
    "Response: Success\r\nActionID: {ActionID}\r\nEventList: start\r\n\r\n"
    "Event: StatusComplete\r\nActionID: {ActionID}\r\nEventList: Complete\r\nItems: 0\r\n\r\n"
)
OUTCOME = (
    "Event: OriginateResponse\r\nActionID: {ActionID}\r\nResponse: Failure\r\nReason: 5\r\n\r\n"
)


def test_events_are_off_from_the_login_on() -> None:
    with serving(NO_CHANNELS) as server:
        connected(server).status()
        assert server.asked("Login")[0]["Events"] == "off"


@pytest.mark.parametrize("wait", [False, True])
def test_a_call_is_never_dialled_twice(wait: bool) -> None:
    with serving(hang_up) as server:
        with pytest.raises(OutcomeUnknown) as caught:
            connected(server).originate(CALL, wait)
        assert caught.value.uniqueid == CALL.uniqueid
        assert len(server.asked("Originate")) == 1


def test_a_call_that_gets_no_answer_is_in_doubt_and_the_session_given_up() -> None:
    with serving(first(silence, NO_CHANNELS)) as server:
        ami = connected(server)
        with pytest.raises(OutcomeUnknown):
            ami.originate(CALL, wait=False)
        ami.status()
        assert server.connections == 2


def test_an_outcome_that_never_comes_is_unknown_while_the_session_lives_on() -> None:
    with serving(first(say(OK), NO_CHANNELS)) as server:
        ami = connected(server)
        with pytest.raises(OutcomeUnknown):
            ami.originate(CALL, wait=True)
        ami.status()
        assert server.connections == 1
        assert [action["EventMask"] for action in server.asked("Events")] == ["call", "off"]


def test_an_outcome_may_come_before_its_answer_is_read() -> None:
    with serving(say(OK + OUTCOME)) as server:
        answer = connected(server).originate(CALL, wait=True)
        assert (answer["Response"], answer["Reason"], answer["Message"]) == (
            "Failure",
            "5",
            "Busy.",
        )


def test_events_stay_on_as_long_as_anybody_waits() -> None:
    go_on = threading.Barrier(2)

    def script(_server: Server, client: socket.socket, action: Action) -> None:
        client.sendall(OK.format_map(action).encode())
        if action["Exten"] == "slow":
            threading.Thread(target=finish, args=(client, action), daemon=True).start()
        else:
            client.sendall(OUTCOME.format_map(action).encode())

    def finish(client: socket.socket, action: Action) -> None:
        go_on.wait(10)
        client.sendall(OUTCOME.format_map(action).encode())

    with serving(script) as server, ThreadPoolExecutor(1) as pool:
        ami = connected(server, timeout=10)
        slow = pool.submit(ami.originate, Call("Local/1@a", "b", "slow", "1", 1), True)
        for _ in range(3):
            ami.originate(CALL, wait=True)
        go_on.wait(10)
        slow.result()
        masks = [action["EventMask"] for action in server.asked("Events")]
        assert masks[-1] == "off"
        assert masks == ["call", "off"] * (len(masks) // 2)


def test_an_async_call_wants_no_events() -> None:
    with serving(say(OK)) as server:
        assert connected(server).originate(CALL, wait=False)["Response"] == "Success"
        assert not server.asked("Events")


def test_what_asterisk_refuses_is_told_in_its_words() -> None:
    refusal = say("Response: Error\r\nActionID: {ActionID}\r\nMessage: No such thing.\r\n\r\n")
    with serving(refusal) as server:
        for wait in (False, True):
            with pytest.raises(PbxRejected, match="No such thing"):
                connected(server).originate(CALL, wait)
        with pytest.raises(PbxUnavailable, match="not permit"):
            connected(server).status()


def test_a_question_is_asked_once_more_on_a_new_connection() -> None:
    with serving(first(hang_up, NO_CHANNELS)) as server:
        assert connected(server).status().json(Scope(None, ""), {}) == b'{"data":[]}'
        assert (server.connections, len(server.asked("Status"))) == (2, 2)


def test_a_question_is_not_asked_a_third_time() -> None:
    with serving(hang_up) as server:
        with pytest.raises(PbxUnavailable):
            connected(server).status()
        assert len(server.asked("Status")) == 2


HALF = "Response: Success\r\nActionID: {ActionID}\r\nEventList: start\r\n\r\nEvent: Status\r\nCha"


@pytest.mark.parametrize("answer", ["", "Response: Succ", HALF, "garbage\r\n\r\n\r\n\r\n\0\xff"])
def test_no_whole_answer_in_time_is_unavailable_and_the_next_try_works(answer: str) -> None:
    with serving(first(say(answer), NO_CHANNELS)) as server:
        ami = connected(server)
        with pytest.raises(PbxUnavailable):
            ami.status()
        assert len(server.asked("Status")) == 1
        assert ami.status().json(Scope(None, ""), {}) == b'{"data":[]}'
        assert server.connections == 2


def test_an_endless_message_ends_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evolvex_api.backends.ami.session._LARGEST_ANSWER", 100_000)
    with serving(say("x" * 200_000)) as server, pytest.raises(PbxUnavailable):
        connected(server, timeout=10).status()


@pytest.mark.parametrize("greeting", [b"", b"x" * 5000, b"Asterisk"])
def test_a_server_that_greets_otherwise_is_no_pbx(greeting: bytes) -> None:
    with serving(NO_CHANNELS, greeting) as server, pytest.raises(PbxUnavailable):
        connected(server).status()


def test_nobody_listens() -> None:
    with serving(NO_CHANNELS) as server:
        ami = connected(server)
    with pytest.raises(PbxUnavailable):
        ami.originate(CALL, wait=True)


def test_many_at_once_share_one_connection_attempt() -> None:
    with serving(NO_CHANNELS, greeting=b"") as server, ThreadPoolExecutor(16) as pool:
        ami = connected(server, timeout=1.0)
        all_here = threading.Barrier(16)

        def ping() -> None:
            all_here.wait(10)
            ami.status()

        jobs = [pool.submit(ping) for _ in range(16)]
        assert all(isinstance(job.exception(), PbxUnavailable) for job in jobs)
        assert server.connections == 1


def test_answers_go_to_those_who_asked_whatever_their_order() -> None:
    """The second action is answered first."""
    waiting: list[Action] = []

    def script(_server: Server, client: socket.socket, action: Action) -> None:
        waiting.append(action)
        if len(waiting) == 2:
            for one in reversed(waiting):
                text = f"Response: Error\r\nActionID: {{ActionID}}\r\nMessage: {one['Exten']}"
                client.sendall(f"{text}\r\n\r\n".format_map(one).encode())

    with serving(script) as server, ThreadPoolExecutor(2) as pool:
        ami = connected(server, timeout=10)
        calls = [Call("Local/1@a", "b", exten, "1", 1) for exten in ("11", "22")]
        jobs = [pool.submit(ami.originate, call, False) for call in calls]
        assert [str(job.exception()) for job in jobs] == ["11", "22"]


def test_a_forked_child_connects_itself_and_leaves_the_parent_its_session() -> None:
    with serving(NO_CHANNELS) as server:
        ami = connected(server, timeout=10)
        ami.status()
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                ami.status()
                os._exit(0)
            os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        ami.status()
        assert server.connections == 2


def test_describe_tells_the_version_and_the_rights() -> None:
    def script(server: Server, client: socket.socket, action: Action) -> None:
        refused = "Message: Permission denied" if action["Action"] == "Originate" else "Message: x"
        text = f"Response: Error\r\nActionID: {{ActionID}}\r\n{refused}\r\n\r\n"
        say(text)(server, client, action)

    with serving(script) as server:
        facts = connected(server).describe()
    assert facts.version == "Asterisk Call Manager 11.0"
    assert facts.rights["originate"] is False
    assert facts.rights["reporting (status)"] is True
