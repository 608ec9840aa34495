"""Two encoders at once, the rest in a queue, and none for nobody."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from evolvex_api import config
from evolvex_api.backends.audio import encoders, mp3, wav
from evolvex_api.backends.audio.growing import Listener
from evolvex_api.backends.audio.mp3_form import Form
from evolvex_api.backends.audio.transcoder import Transcoder
from evolvex_api.backends.recordings import Recordings
from evolvex_api.core.refusals import ApiError
from tests.lab.server import wait_until
from tests.unit.test_transcoder import listen

FRAME = 288


class Gate:
    """An encoder that makes silence of the right length, a frame each time it is let."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened = threading.Event()
        self.running = 0
        self.most = 0
        self.runs = 0
        self._lock = threading.Lock()
        monkeypatch.setattr(mp3, "encode", self._encode)

    def _encode(self, form: Form, *_: object) -> Iterator[bytes]:
        with self._lock:
            self.running += 1
            self.runs += 1
            self.most = max(self.most, self.running)
        try:
            made = 0
            while made < form.length:
                size = form.length - made if self.opened.is_set() else min(1, form.length - made)
                yield bytes(size)
                made += size
                if not self.opened.is_set():
                    time.sleep(0.01)
        finally:
            with self._lock:
                self.running -= 1


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Encoders that work only slowly until the gate is opened."""
    made = Gate(monkeypatch)
    yield made
    made.opened.set()
    wait_until(lambda: made.running == 0, 10, "encoders end")


class Stand:
    """A transcoder with recordings of ten seconds, by number."""

    def __init__(self, folder: Path, most_waiting: int = 32) -> None:
        self.cache = folder / "cache"
        self.cache.mkdir()
        self._folder = folder
        settings = config.Mp3(bitrate=32, quality=9, cache_dir=self.cache, cache_size=1 << 30)
        self._transcoder = Transcoder(settings, most_waiting)
        self._recordings = Recordings(config.Recordings(root=folder, also=(), patterns=()))

    def listener(self, number: int, unfinished: bool = False) -> Listener:
        """A listener of a recording that nobody has asked for."""
        path = self._folder / f"1700000000.{number}.wav"
        size = 160_000
        path.write_bytes(wav.pcm16_header(8000, 1, 0 if unfinished else size) + bytes(size))
        found = self._recordings.find(f"1700000000.{number}", lambda: [], lambda: [])
        stream = self._transcoder.mp3(found).stream
        assert isinstance(stream, Listener)
        return stream


@pytest.fixture
def stand(tmp_path: Path) -> Stand:
    """A transcoder of its own."""
    return Stand(tmp_path)


def started(listeners: list[Listener]) -> list[threading.Thread]:
    """Threads that read a byte each, or find that their client has gone."""

    def read(one: Listener) -> None:
        with contextlib.suppress(BrokenPipeError):
            one.read(1)

    threads = [threading.Thread(target=read, args=(one,)) for one in listeners]
    for thread in threads:
        thread.start()
    return threads


def encoder_threads() -> int:
    return sum(one.name == "mp3-encoder" for one in threading.enumerate())


@pytest.mark.parametrize("unfinished", [False, True])
def test_two_are_encoded_at_once_and_all_in_the_end(
    stand: Stand, gate: Gate, unfinished: bool
) -> None:
    listeners = [stand.listener(number, unfinished) for number in range(8)]
    threads = started(listeners)
    wait_until(lambda: gate.running == 2, 10, "two encoders")
    # A thread of the test before may be about to end.
    wait_until(lambda: encoder_threads() == 2, 10, "two encoders' threads")
    gate.opened.set()
    for thread in threads:
        thread.join(30)
    wait_until(lambda: gate.runs == 8, 10, "all are encoded")
    assert gate.most == 2
    for one in listeners:
        assert len(listen(one)) > 40_000


@pytest.mark.parametrize("unfinished", [False, True])
def test_nobody_listens_so_it_ends(stand: Stand, gate: Gate, unfinished: bool) -> None:
    listeners = [stand.listener(number, unfinished) for number in range(6)]
    threads = started(listeners)
    wait_until(lambda: gate.running == 2, 10, "two encoders")
    for one in listeners:
        one.client_gone = lambda: True
    for thread in threads[2:]:
        thread.join(5)
    for one in listeners:
        one.close()
    wait_until(lambda: gate.running == 0, 5, "both end")
    assert gate.runs == 2  # those who waited have left, so nothing was begun for them
    wait_until(lambda: not list(stand.cache.glob("*.part")), 5, "no part stays")
    assert not list(stand.cache.glob("*.mp3"))


def test_who_comes_back_is_served(stand: Stand, gate: Gate) -> None:
    first = stand.listener(1)
    assert first.read(1)
    first.close()
    wait_until(lambda: gate.running == 0, 5, "it ends")
    gate.opened.set()
    assert len(listen(stand.listener(1))) > 40_000


def test_one_of_two_listeners_is_enough(stand: Stand, gate: Gate) -> None:
    first, second = stand.listener(1), stand.listener(1)
    assert first.read(1)
    assert second.read(1)
    first.close()
    time.sleep(encoders._PATIENCE_SECONDS + 2 * encoders._LOOK_SECONDS)
    assert gate.running == 1
    gate.opened.set()
    assert len(listen(second)) > 40_000


def test_too_many_who_wait_are_refused(tmp_path: Path, gate: Gate) -> None:
    stand = Stand(tmp_path, most_waiting=3)
    busy = [stand.listener(number) for number in range(2)]
    for one in busy:
        assert one.read(1)
    waiting = [stand.listener(number) for number in range(2, 5)]
    threads = started(waiting)
    transcoder_queue = stand._transcoder._encoders
    wait_until(lambda: transcoder_queue._waiting == 3, 10, "three wait")
    late = stand.listener(9)
    with pytest.raises(ApiError) as refused:
        late.read(1)
    assert (refused.value.status, refused.value.code) == (429, "too_many_waiting")
    assert refused.value.retry_after
    late.close()
    gate.opened.set()
    for thread in threads:
        thread.join(30)
    for one in [*busy, *waiting]:
        one.close()


def test_a_client_that_leaves_while_it_waits(stand: Stand, gate: Gate) -> None:
    busy = [stand.listener(number) for number in range(2)]
    for one in busy:
        assert one.read(1)
    waiting = stand.listener(3)
    waiting.client_gone = lambda: True
    with pytest.raises(BrokenPipeError):
        waiting.read(1)
    waiting.close()
    gate.opened.set()
    for one in busy:
        one.close()


def test_a_failure_of_the_second_run_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mp3, "_SPAN_SECONDS", 12)
    monkeypatch.setattr(mp3, "_LARGEST_PIECE", 16 * 1024)
    samples = bytes(800_000)
    broken = threading.Event()

    def read(start: int, size: int) -> bytes:
        if threading.current_thread().name == "mp3-second-run" and not broken.is_set():
            broken.set()
            raise OSError(errno.EIO, "Input/output error")
        return samples[start : start + size]

    form = Form(400_000, 8000, 1, 32)
    with caplog.at_level(logging.ERROR):
        made = io.BytesIO(b"".join(mp3.encode(form, 7, read)))
    assert len(made.getvalue()) == form.length
    assert "second run" in caplog.text
    assert "Input/output error" in caplog.text


def test_who_leaves_does_not_wait_for_the_second_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mp3, "_SPAN_SECONDS", 12)
    monkeypatch.setattr(mp3, "_LARGEST_PIECE", 16 * 1024)
    second_reads = []

    def read(start: int, size: int) -> bytes:
        if threading.current_thread().name == "mp3-second-run":
            second_reads.append(start)
            time.sleep(0.02)
        return bytes(size)

    pieces = mp3.encode(Form(8000 * 3600, 8000, 1, 32), 7, read)
    while not second_reads:
        next(pieces)
    pieces.close()
    count = len(second_reads)
    assert not [one for one in threading.enumerate() if one.name == "mp3-second-run"]
    assert len(second_reads) == count < 20


def test_an_encoder_that_fails_leaves_nothing(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> Iterator[bytes]:
        yield b"first"
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(mp3, "encode", broken)
    listener = stand.listener(1)
    with pytest.raises(Exception, match="could not be encoded"):
        while listener.read(100):
            pass
    listener.close()
    assert "Input/output error" in caplog.text
    assert not [path for path in stand.cache.iterdir() if path.suffix in (".part", ".mp3")]
