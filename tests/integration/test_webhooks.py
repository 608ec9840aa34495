"""Webhooks: what a receiver gets, also one that misbehaves, and what a crash changes: nothing."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from tests.integration.conftest import Pbx
from tests.lab.events_service import EventsService
from tests.lab.receiver import (
    Message,
    Receiver,
    closed_port,
    drip,
    make_certificate,
    verify_with_javascript,
)
from tests.lab.server import wait_until
from tests.lab.service import Service


@dataclass(frozen=True)
class Post:
    """A service of live calls with webhooks of its own, and the PBX."""

    pbx: Pbx
    service: Service
    events: EventsService
    key: str

    def cli(self, *arguments: str, code: int = 0) -> str:
        """Run `evolvex-api webhook …`; returns what it prints."""
        command = [sys.executable, "-m", "evolvex_api", "webhook", *arguments]
        done = subprocess.run(
            [*command, "--config", str(self.service.config)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return (done.stdout or done.stderr).strip()

    @contextlib.contextmanager
    def webhook(self, name: str, url: str, group: str = "all", types: str = "") -> Iterator[str]:
        """A webhook that the service knows; yields its secret."""
        with self.taken_up():
            secret = self.cli("add", name, "--group", group, "--url", url, "--types", types)
        try:
            yield secret
        finally:
            with self.taken_up():
                self.cli("remove", name)

    @contextlib.contextmanager
    def taken_up(self) -> Iterator[None]:
        """Change a file within the block; returns when the service has seen it."""
        before = self.events.log().count("webhooks in use")
        yield
        wait_until(lambda: self.events.log().count("webhooks in use") > before, 10, "it is seen")

    def set_timeout(self, name: str, seconds: str) -> None:
        path = self.service.directory / "webhooks.d" / f"{name}.conf"
        text = path.read_text()
        with self.taken_up():
            path.write_text(text.replace("timeout = 15", f"timeout = {seconds}"))

    def calls(self, count: int = 1) -> None:
        """Make calls that live for a moment, in the context `hold`."""
        with self.pbx.asterisk.manager() as manager:
            for _ in range(count):
                manager.originate("Local/1@hold", "hold", "1")
        wait_until(lambda: self.pbx.asterisk.channels() >= 2 * count, 30, "the calls live")
        self.pbx.asterisk.hang_up_all()


@pytest.fixture(scope="module")
def post(pbx: Pbx) -> Iterator[Post]:
    service = Service(pbx.asterisk, pbx.database)
    groups = {"all": ["*"], "none": ["incoming"]}
    for name, contexts in groups.items():
        uuid = service.add_group(name, contexts)
        key = service.add_user(name, uuid)
        if name == "all":
            all_key = key
    with contextlib.closing(service), EventsService(service) as events:
        made = Post(pbx, service, events, all_key)
        wait_until(lambda: events.get("calls", all_key).status == 200, 10, "in line")
        yield made


def by_call(messages: list[Message]) -> dict[str, list[Any]]:
    """The events of each call, in the order in which they came."""
    found: dict[str, list[Any]] = defaultdict(list)
    for message in messages:
        found[message.event["data"]["Linkedid"]].append(message.event)
    return found


def ended(receiver: Receiver) -> int:
    return sum(message.event["type"] == "call.ended" for message in list(receiver.messages))


def test_signatures_are_verified_by_the_official_libraries(post: Post, tmp_path: Path) -> None:
    with Receiver() as receiver, post.webhook("signed", receiver.url) as secret:
        post.calls()
        wait_until(lambda: ended(receiver) == 1, 10, "the end of the call")
        for message in receiver.messages:
            assert Webhook(secret).verify(message.body, message.headers) == message.event
            assert message.headers["webhook-id"] == message.event["id"]
            with pytest.raises(WebhookVerificationError):
                Webhook(secret).verify(message.body + b" ", message.headers)
        count = len(receiver.messages)
        assert verify_with_javascript(secret, receiver.messages, tmp_path) == count
        seqs = [message.event["seq"] for message in receiver.messages]
        assert seqs == list(range(1, count + 1))


def test_two_signatures_while_a_secret_is_rotated(post: Post) -> None:
    with Receiver() as receiver, post.webhook("rotated", receiver.url) as old:
        with post.taken_up():
            new = post.cli("rotate-secret", "rotated")
        post.calls()
        message = receiver.wait(1)[0]
        assert len(message.headers["webhook-signature"].split()) == 2
        for secret in (old, new):
            Webhook(secret).verify(message.body, message.headers)


def test_types_and_contexts_choose_what_is_sent(post: Post) -> None:
    with (
        Receiver() as ends,
        Receiver() as foreign,
        post.webhook("ends", ends.url, types="call.ended"),
        post.webhook("foreign", foreign.url, group="none"),
    ):
        post.calls(3)
        wait_until(lambda: ended(ends) == 3, 10, "three ends")
        assert {message.event["type"] for message in ends.messages} == {"call.ended"}
        assert foreign.messages == []


def test_what_fails_is_sent_again_in_order_with_the_same_id(post: Post) -> None:
    def refuse_once(message: Message, _: BaseHTTPRequestHandler) -> Any:
        first = receiver.ids().count(message.headers["webhook-id"]) == 1
        return (500, {}, b"no") if first else (204, {}, b"")

    with Receiver() as receiver, post.webhook("again", receiver.url):
        receiver.answer = refuse_once
        post.calls()
        wait_until(lambda: ended(receiver) == 2, 60, "the end, twice")
        seqs = [message.event["seq"] for message in receiver.messages]
        assert seqs == sorted(seqs)
        assert all(seqs.count(seq) == 2 for seq in seqs)
        ids = receiver.ids()
        assert len(set(ids)) == len(ids) // 2


def test_retry_after_is_heeded_and_redirects_are_not_followed(post: Post) -> None:
    with Receiver() as target, Receiver() as receiver, post.webhook("later", receiver.url):
        receiver.answer = lambda *_: (302, {"Location": target.url, "Retry-After": "600"}, b"")
        post.calls()
        receiver.wait(1)
        shown = _failures(post, "later")
        assert "the receiver answered 302" in shown
        assert target.messages == []


def _failures(post: Post, name: str) -> str:
    wait_until(lambda: post.cli("failures", name) != "", 40, "the failure is kept")
    return post.cli("failures", name)


def test_gone_switches_it_off_until_it_is_enabled(post: Post) -> None:
    with Receiver() as receiver, post.webhook("gone", receiver.url):
        receiver.answer = lambda *_: (410, {}, b"")
        post.calls()
        receiver.wait(1)
        wait_until(lambda: "410" in post.cli("show", "gone"), 10, "it is switched off")
        count = len(receiver.messages)
        receiver.answer = lambda *_: (204, {}, b"")
        post.calls()
        assert len(receiver.messages) == count
        with post.taken_up():
            post.cli("enable", "gone")
        post.calls()
        wait_until(lambda: ended(receiver) >= 1, 10, "it is sent to again")


def test_replay_sends_again_what_happened(post: Post) -> None:
    with Receiver() as receiver, post.webhook("replayed", receiver.url, types="call.ended"):
        post.calls(2)
        before = {m.headers["webhook-id"] for m in receiver.wait(2)}
        post.cli("replay", "replayed", "--since", "5s")
        wait_until(lambda: all(receiver.ids().count(one) == 2 for one in before), 10, "twice")


def test_test_shows_the_answer(post: Post) -> None:
    with Receiver() as receiver, post.webhook("tested", receiver.url) as secret:
        assert post.cli("test", "tested").endswith(": 204")
        message = receiver.messages[0]
        assert Webhook(secret).verify(message.body, message.headers)["type"] == "webhook.test"
        receiver.answer = lambda *_: (500, {}, b"")
        assert post.cli("test", "tested", code=1).endswith(": 500")


def test_a_slow_receiver_delays_nobody_else(post: Post) -> None:
    release = threading.Event()
    with (
        Receiver() as slow,
        Receiver() as quick,
        post.webhook("slow", slow.url),
        post.webhook("quick", quick.url),
    ):
        slow.answer = lambda *_: release.wait(30) and (204, {}, b"")
        post.calls(10)
        wait_until(lambda: ended(quick) == 10, 10, "all ends at the quick one")
        assert ended(slow) == 0
        release.set()
        wait_until(lambda: ended(slow) == 10, 20, "and at the slow one")


@pytest.mark.parametrize("kind", ["gigabytes", "a byte at a time", "no HTTP", "silence"])
def test_a_receiver_that_misbehaves_is_left(post: Post, kind: str) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 8000000000\r\n\r\n"
    answers = {
        "gigabytes": lambda _, h: drip(h, [head, *[b"x" * 65536] * 100_000], 0),
        "a byte at a time": lambda _, h: drip(h, [bytes([byte]) for byte in head * 10], 0.3),
        "no HTTP": lambda _, h: drip(h, [b"SSH-2.0-x\r\n"], 0),
        "silence": lambda _, h: drip(h, [b""], 30),
    }
    with Receiver() as receiver, post.webhook("bad", receiver.url, types="call.ended"):
        post.set_timeout("bad", "2")
        receiver.answer = answers[kind]
        post.calls()
        receiver.wait(1)
        if kind == "gigabytes":  # its status has come: it is delivered
            post.calls()
            receiver.wait(2)
            assert post.cli("failures", "bad") == ""
            assert len(set(receiver.ids())) == len(receiver.messages)
        else:
            reason = "its answer is not HTTP" if kind == "no HTTP" else "no answer in time"
            assert reason in _failures(post, "bad")


def test_a_certificate_of_another_name_is_refused(post: Post, tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path, "elsewhere.example.org")
    with Receiver(certificate) as receiver, post.webhook("tls", receiver.url, types="call.ended"):
        post.calls()
        assert "its certificate is refused" in _failures(post, "tls")
        assert "webhook tls" in post.events.log()
        assert receiver.messages == []


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--url", "ftp://x/y"], "url must be http"),
        (["--url", "http://"], "url must be http"),
        (["--url", "http://a b/"], "url must be http"),
        (["--url", "http://user:word@host/"], "no user or password"),
        (["--url", "http://x/", "--types", "call.exploded"], "no event type 'call.exploded'"),
        (["--url", "http://x/", "--group", "nobody"], "no group"),
    ],
)
def test_bad_webhooks_are_refused(post: Post, arguments: list[str], reason: str) -> None:
    group = [] if "--group" in arguments else ["--group", "all"]
    assert reason in post.cli("add", "broken", *group, *arguments, code=1)


def test_a_broken_file_is_reported_and_harms_no_other(post: Post) -> None:
    broken = post.service.directory / "webhooks.d" / "broken.conf"
    with Receiver() as receiver, post.webhook("whole", receiver.url):
        broken.write_text("[webhook]\nurl = gopher://x\ngroup_uuid = y\nsecret = whsec_z\n")
        try:
            wait_until(lambda: "broken.conf: [webhook] url" in post.events.log(), 10, "reported")
            post.calls()
            wait_until(lambda: ended(receiver) == 1, 10, "the other one gets its events")
        finally:
            broken.unlink()


def test_a_thousand_pending_survive_kill_9(post: Post) -> None:
    """None is lost, what comes twice has the same id, and each call's events come in order."""
    hold = threading.Event()
    with contextlib.ExitStack() as stack:
        receivers = [stack.enter_context(Receiver()) for _ in range(3)]
        for number, receiver in enumerate(receivers):
            receiver.answer = lambda *_: hold.wait(60) and (204, {}, b"")
            stack.enter_context(post.webhook(f"many{number}", receiver.url))
        with post.events.stream(post.key) as stream:
            post.calls(170)
            wait_until(lambda: _ends(stream.events) == 170, 30, "all calls have ended")
            sent = [event.id for event in stream.events]
        assert 3 * len(sent) >= 1000
        post.events.kill()
        hold.set()
        post.events.start()
        for receiver in receivers:
            wait_until(lambda r=receiver: set(sent) <= set(r.ids()), 60, "every event")  # type: ignore[misc]
            for events in by_call(receiver.messages).values():
                seqs = [event["seq"] for event in events]
                assert seqs == sorted(seqs)


def _ends(events: list[Any]) -> int:
    return sum(event.type == "call.ended" for event in events)


def test_a_full_disk_stops_no_stream_and_what_happened_is_sent_later(pbx: Pbx) -> None:
    service = Service(pbx.asterisk, pbx.database)
    key = service.add_user("all", service.add_group("all", ["*"]))
    service.state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2M", "tmpfs", service.state], check=True)
    try:
        with Receiver() as receiver, EventsService(service) as events:
            post = Post(pbx, service, events, key)
            wait_until(lambda: events.get("calls", key).status == 200, 10, "in line")
            with post.webhook("full", receiver.url), events.stream(key) as stream:
                filler = service.state / "filler"
                with contextlib.suppress(OSError), filler.open("wb", 0) as file:
                    while True:
                        file.write(b"x" * 4096)
                post.calls(20)
                wait_until(lambda: _ends(stream.events) == 20, 20, "the stream goes on")
                wait_until(lambda: "disk is full" in events.log(), 10, "it is reported")
                filler.unlink()
                wait_until(lambda: ended(receiver) == 20, 20, "the webhook gets all of it")
    finally:
        subprocess.run(["umount", service.state], check=True)
        service.close()


def test_nobody_listens(post: Post) -> None:
    url = f"http://127.0.0.1:{closed_port()}/"
    with post.webhook("absent", url, types="call.ended"):
        post.calls()
        assert "Connection refused" in _failures(post, "absent")
