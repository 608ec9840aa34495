"""WAV headers and the lengths of MP3, held against the real encoder."""

from __future__ import annotations

import contextlib
import os
import random
import struct
import subprocess
from array import array
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolvex_api.backends.audio import mp3, mp3_form, wav
from evolvex_api.backends.audio.mp3_form import Form
from evolvex_api.backends.failures import UnsupportedAudio

NOISE = random.Random(1).randbytes(1 << 20)


def encoded(form: Form, pcm: bytes, quality: int = 7) -> bytes:
    """The whole MP3 of some samples."""
    return b"".join(mp3.encode(form, quality, lambda start, size: pcm[start : start + size]))


def test_side_information_is_where_it_is_looked_for() -> None:
    """At a seam the encoder's frames are compared by it: ISO/IEC 11172-3, 2.4.1.7."""
    assert Form(1, 48000, 1, 32).head_size == 4 + 17
    assert Form(1, 32000, 2, 32).head_size == 4 + 32
    assert Form(1, 8000, 1, 32).head_size == 4 + 9
    assert Form(1, 24000, 2, 32).head_size == 4 + 17
    frame = bytes((255, 0, 0, 0, 0b10000001, 0b10000000))
    assert Form(1, 48000, 1, 32).main_data_begin(frame) == 0b100000011
    assert Form(1, 8000, 1, 32).main_data_begin(frame) == 0b10000001


@settings(max_examples=150, deadline=None)
@given(
    samples=st.integers(1, 40_000),
    rate=st.sampled_from(mp3_form.MPEG_RATES),
    channels=st.sampled_from([1, 2]),
    wanted=st.sampled_from([32, 40, 64, 96, 160]),
)
def test_the_length_is_known_beforehand(
    samples: int, rate: int, channels: int, wanted: int
) -> None:
    form = Form(samples, rate, channels, mp3_form.bitrate_at(rate, wanted))
    assert len(encoded(form, NOISE)) == form.length


@pytest.mark.parametrize("rate", mp3_form.MPEG_RATES)
@pytest.mark.parametrize("boundary", [576, 1152, 1728, 2304, 3456])
def test_lengths_at_every_boundary(rate: int, boundary: int) -> None:
    for samples in (boundary - 1, boundary, boundary + 1):
        form = Form(samples, rate, 1, 32)
        assert len(encoded(form, NOISE)) == form.length


@pytest.mark.usefixtures("short_spans")
def test_encoding_is_deterministic() -> None:
    """A part file may be written twice, by two processes: the bytes must be the same."""
    form = Form(500_000, 8000, 1, 32)
    assert encoded(form, NOISE) == encoded(form, NOISE)


@pytest.fixture
def short_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the second run of the encoder begin after seconds, not minutes."""
    monkeypatch.setattr(mp3, "_SPAN_SECONDS", 12)
    monkeypatch.setattr(mp3, "_LARGEST_PIECE", 16 * 1024)  # a run passes its end by less than one


@pytest.fixture
def seams(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each seam, whether the second run went on there."""
    found: list[bool] = []
    agrees = mp3._Run.agrees

    def noted(run: mp3._Run, other: mp3._Run, seam: int) -> bool:
        found.append(agrees(run, other, seam))
        return found[-1]

    monkeypatch.setattr(mp3._Run, "agrees", noted)
    return found


def sound(seconds: int, rate: int, channels: int) -> bytes:
    """Noise in syllables and pauses, as a voice has them; 16 bits."""
    chance = random.Random(7)
    samples = array("h")
    while len(samples) < seconds * rate * channels:
        loud = chance.choice((0, 30, 800, 6000, 20000))
        samples.extend(int(chance.uniform(-loud, loud)) for _ in range(rate // 8 * channels))
    return samples[: seconds * rate * channels].tobytes()


def heard(made: bytes) -> bytes:
    """What a decoder makes of an MP3."""
    decode = ["sox", "-t", "mp3", "-", "-t", "raw", "-"]
    return subprocess.run(decode, input=made, capture_output=True, check=True).stdout


@pytest.mark.parametrize(
    ("rate", "channels", "bitrate"),
    [(8000, 1, 32), (8000, 2, 64), (16000, 1, 32), (48000, 1, 64), (48000, 2, 96)],
)
@pytest.mark.usefixtures("short_spans")
def test_a_seam_is_not_heard(
    rate: int,
    channels: int,
    bitrate: int,
    seams: list[bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pcm = sound(70, rate, channels)
    form = Form(70 * rate, rate, channels, bitrate)
    made = encoded(form, pcm, quality=5)
    assert seams == [True, True, True]
    monkeypatch.setattr(mp3, "_SPAN_SECONDS", 1000)
    alone = encoded(form, pcm, quality=5)
    assert len(made) == len(alone) == form.length
    assert heard(made) == heard(alone)


@pytest.mark.usefixtures("short_spans")
def test_runs_that_disagree_are_not_joined(
    seams: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mp3, "_WARM_UP_SECONDS", 2)
    monkeypatch.setattr(mp3._Run, "running_to", lambda *_: contextlib.nullcontext())
    form = Form(500_000, 8000, 1, 32)
    made = encoded(form, NOISE)
    assert seams == [False]
    monkeypatch.setattr(mp3, "_SPAN_SECONDS", 1000)
    assert made == encoded(form, NOISE)


@pytest.mark.usefixtures("short_spans")
def test_a_recording_that_cannot_be_read_further_on_fails_at_its_turn() -> None:
    def read(start: int, size: int) -> bytes:
        if start + size > 300_000:
            raise OSError("gone")
        return NOISE[start : start + size]

    made = 0
    with pytest.raises(OSError, match="gone"):
        for piece in mp3.encode(Form(500_000, 8000, 1, 32), 7, read):
            made += len(piece)
    assert made > 30_000


def read(tmp_path: Path, content: bytes) -> wav.Header:
    """Read the header of a file with this content."""
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return wav.read_header(lambda at, size: os.pread(descriptor, size, at), len(content))
    finally:
        os.close(descriptor)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    head = read(tmp_path, wav.pcm16_header(16000, 2, 400) + bytes(400))
    assert head == wav.Header(wav.PCM, 16, 16000, 2, 44, 400, 4, closed=True, honest=True)
    assert head.pcm16


@pytest.mark.parametrize("said", [0, 0xFFFFFFFF])
def test_an_unclosed_header_counts_what_is_there(tmp_path: Path, said: int) -> None:
    content = bytearray(wav.pcm16_header(8000, 1, 0) + bytes(1001))
    content[40:44] = said.to_bytes(4, "little")
    head = read(tmp_path, bytes(content))
    assert (head.closed, head.size) == (False, 1000)


def test_a_cut_file_counts_what_is_there(tmp_path: Path) -> None:
    head = read(tmp_path, wav.pcm16_header(8000, 1, 5000) + bytes(100))
    assert (head.closed, head.size) == (True, 100)


def test_chunks_before_the_samples_are_passed_over(tmp_path: Path) -> None:
    plain = wav.pcm16_header(8000, 1, 10)
    extra = b"LIST" + (3).to_bytes(4, "little") + b"abc\0"
    head = read(tmp_path, plain[:36] + extra + plain[36:] + bytes(10))
    assert (head.start, head.size) == (44 + len(extra), 10)


@pytest.mark.parametrize("size", [3, 70_000, 1 << 20])
@pytest.mark.parametrize("padded", [True, False])
def test_a_chunk_of_any_size_may_come_first(tmp_path: Path, size: int, padded: bool) -> None:
    plain = wav.pcm16_header(8000, 1, 10)
    extra = b"LIST" + size.to_bytes(4, "little") + bytes(size) + bytes(padded and size % 2)
    head = read(tmp_path, plain[:36] + extra + plain[36:] + bytes(10))
    assert (head.start, head.size) == (44 + len(extra), 10)


@pytest.mark.parametrize("said", [2147479552, 0x7FFFFFFF, 100_001, 500, 2])
def test_a_size_that_lies_is_not_believed(tmp_path: Path, said: int) -> None:
    content = bytearray(wav.pcm16_header(8000, 1, 0) + b"\1\xf0" * 50_000)
    content[40:44] = said.to_bytes(4, "little")
    head = read(tmp_path, bytes(content))
    assert (head.size, head.closed, head.honest) == (100_000, True, False)


def test_chunks_after_the_samples_are_none(tmp_path: Path) -> None:
    extra = b"LIST" + (6).to_bytes(4, "little") + b"abcdef"
    content = bytearray(wav.pcm16_header(8000, 1, 1000) + bytes(1000) + extra)
    content[4:8] = (len(content) - 8).to_bytes(4, "little")
    head = read(tmp_path, bytes(content))
    assert (head.size, head.honest) == (1000, True)


def test_rf64_is_read(tmp_path: Path) -> None:
    fmt = wav.pcm16_header(8000, 1, 0)[12:36]
    ds64 = b"ds64" + (28).to_bytes(4, "little") + struct.pack("<QQQI", 5000, 1000, 500, 0)
    content = b"RF64\xff\xff\xff\xffWAVE" + ds64 + fmt + b"data\xff\xff\xff\xff" + bytes(1000)
    head = read(tmp_path, content)
    assert (head.pcm16, head.size, head.closed, head.honest) == (True, 1000, True, False)


def test_an_extensible_header_names_its_coding(tmp_path: Path) -> None:
    guid = bytes.fromhex("000000001000800000aa00389b71")
    body = struct.pack("<HHIIHHHHIH", 0xFFFE, 1, 8000, 16000, 2, 16, 22, 16, 4, wav.PCM) + guid
    content = b"RIFF\0\0\0\0WAVEfmt " + len(body).to_bytes(4, "little") + body
    head = read(tmp_path, content + b"data" + (4).to_bytes(4, "little") + bytes(4))
    assert (head.pcm16, head.size) == (True, 4)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_hostile_headers_do_no_harm(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    for content in (data, b"RIFF\0\0\0\0WAVE" + data, wav.pcm16_header(8000, 1, 9)[:30] + data):
        try:
            head = read(tmp_path_factory.getbasetemp(), content)
        except UnsupportedAudio:
            continue
        assert 0 <= head.size <= len(content)
