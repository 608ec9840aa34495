"""The races of encoders and listeners, and forms of audio that no telephone makes."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from evolvex_api import config
from evolvex_api.backends.audio import cache, growing, wav
from evolvex_api.backends.audio.encoders import Encoders
from evolvex_api.backends.audio.transcoder import Stream, Transcoder
from evolvex_api.backends.failures import RecordingNotFound, StorageUnavailable
from evolvex_api.backends.recordings import Recording, Recordings
from evolvex_api.core.calllog import CallRow
from tests.lab.server import wait_until
from tests.options import section

SAMPLES = 80_000
UNIQUEID = "1700000000.1"


def transcoder(folder: Path) -> Transcoder:
    """A transcoder whose cache is a folder of that one."""
    cache = folder / "cache"
    cache.mkdir(exist_ok=True)
    return Transcoder(section(config.Mp3, quality=9, cache_dir=cache))


def recording(folder: Path, patterns: Sequence[str] = ()) -> Recording:
    """The recording of UNIQUEID in a folder, found there alone."""
    return Recordings(section(config.Recordings, root=folder, patterns=tuple(patterns))).find(
        UNIQUEID, lambda: [], lambda: []
    )


def write_wav(path: Path, rate: int = 8000) -> None:
    """Make a WAV of SAMPLES samples of silence."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(wav.pcm16_header(rate, 1, 2 * SAMPLES) + bytes(2 * SAMPLES))


def listen(stream: Stream) -> bytes:
    """Read a stream to its end."""
    heard = b""
    while piece := stream.read(100_000):
        heard += piece
    stream.close()
    return heard


def part_of(folder: Path, stream: Stream) -> Path:
    """Where an MP3 would grow that is not there: encode it by that stream, and forget it."""
    listen(stream)
    cached = folder / "cache"
    wait_until(lambda: bool(list(cached.glob("*.mp3"))), 10, "published")
    (finished,) = cached.glob("*.mp3")
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]
    finished.unlink()
    return finished.with_name(f"{finished.name}.{boot}.part")


def test_an_abandoned_part_is_written_again(tmp_path: Path) -> None:
    write_wav(tmp_path / f"{UNIQUEID}.wav")
    service = transcoder(tmp_path)
    part = part_of(tmp_path, service.mp3(recording(tmp_path)).stream)
    part.write_bytes(b"what a killed encoder left")
    audio = service.mp3(recording(tmp_path))
    heard = listen(audio.stream)
    assert len(heard) == audio.length
    assert b"killed" not in heard[30:]
    wait_until(lambda: not part.exists(), 10, "published")


def test_a_listener_whose_part_failed_is_told_though_another_grows(tmp_path: Path) -> None:
    write_wav(tmp_path / f"{UNIQUEID}.wav")
    service = transcoder(tmp_path)
    part = part_of(tmp_path, service.mp3(recording(tmp_path)).stream)
    with part.open("wb") as encoder:
        fcntl.flock(encoder, fcntl.LOCK_EX)
        stream = service.mp3(recording(tmp_path)).stream
        encoder.write(b"first")
        encoder.flush()
        assert stream.read(100) == b"first"
        part.unlink()
        part.touch()  # the next attempt's
    with pytest.raises(StorageUnavailable):
        listen(stream)
    stream.close()


def test_a_listener_never_writes_to_what_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is free once a part has its final name: that is no death of its encoder."""
    write_wav(tmp_path / f"{UNIQUEID}.wav")
    service = transcoder(tmp_path)
    part = part_of(tmp_path, service.mp3(recording(tmp_path)).stream)
    final = part.with_name(part.name.partition(".mp3")[0] + ".mp3")
    lock = cache.lock
    with part.open("wb", buffering=0) as encoder:
        fcntl.flock(encoder, fcntl.LOCK_EX)
        audio = service.mp3(recording(tmp_path))
        encoder.write(b"a" * (audio.length - 1))
        assert len(audio.stream.read(audio.length)) == audio.length - 1

        def published_just_before(descriptor: int) -> bool:
            encoder.write(b"z")
            part.rename(final)
            fcntl.flock(encoder, fcntl.LOCK_UN)
            return lock(descriptor)

        monkeypatch.setattr(growing, "lock", published_just_before)
        monkeypatch.setattr(Encoders, "submit", lambda *_: final.write_bytes(b"spoilt"))
        assert audio.stream.read(100) == b"z"
    audio.stream.close()
    assert final.read_bytes() == b"a" * (audio.length - 1) + b"z"


@pytest.mark.parametrize("name", ["wav", "sln96", "sln192"])
def test_rates_that_mpeg_lacks_are_resampled(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{UNIQUEID}.{name}"
    write_wav(path, 96_000)
    if name != "wav":
        os.utime(path, (0, 1_700_000_000))
    audio = transcoder(tmp_path).mp3(recording(tmp_path))
    heard = listen(audio.stream)
    assert len(heard) == audio.length
    assert heard[1] & 0x18 == 0x18  # MPEG-1
    assert heard[2] & 0x0C == 0x04  # 48 kHz


@pytest.mark.parametrize("pattern", ["{uniqueid}/call.{ext}", "{YYYY}/*-{uniqueid}.{ext}"])
def test_patterns_may_name_the_id_anywhere(tmp_path: Path, pattern: str) -> None:
    where = pattern.replace("{YYYY}", "2023").replace("*", "out-100")
    write_wav(tmp_path / where.format(uniqueid=UNIQUEID, ext="wav"))
    found = recording(tmp_path, [pattern])
    os.close(found.descriptor)
    assert found.path.endswith(".wav")


@pytest.mark.parametrize("told", ["*", "17?????*", "\0"])
def test_an_id_told_by_the_call_log_is_no_pattern(tmp_path: Path, told: str) -> None:
    write_wav(tmp_path / f"x-{UNIQUEID}.wav")
    row = CallRow(told, UNIQUEID, "incoming", "", "", "")
    recordings = Recordings(
        section(config.Recordings, root=tmp_path, patterns=("*-{uniqueid}.{ext}",))
    )
    with pytest.raises(RecordingNotFound):
        recordings.find("1700000009.9", lambda: [row], lambda: [])


def test_a_longer_id_is_another_call(tmp_path: Path) -> None:
    write_wav(tmp_path / f"x-{UNIQUEID}.7.wav")
    with pytest.raises(RecordingNotFound):
        recording(tmp_path, ["*-{uniqueid}.{ext}"])
