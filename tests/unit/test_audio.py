"""WAV headers and the lengths of MP3, held against the real encoder."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolvex_api.backends import mp3, sox, wav
from evolvex_api.backends.failures import UnsupportedAudio

NOISE = random.Random(1).randbytes(1 << 20)


@settings(max_examples=150, deadline=None)
@given(
    samples=st.integers(1, 40_000),
    rate=st.sampled_from(mp3.MPEG_RATES),
    channels=st.sampled_from([1, 2]),
    wanted=st.sampled_from([32, 40, 64, 96, 160]),
    piece=st.integers(1, 20_000),
)
def test_the_length_is_known_beforehand(
    samples: int, rate: int, channels: int, wanted: int, piece: int
) -> None:
    bitrate = mp3.bitrate_at(rate, wanted)
    pcm = NOISE[: samples * 2 * channels]
    step = piece * 2 * channels
    pieces = [pcm[start : start + step] for start in range(0, len(pcm), step)]
    made = b"".join(mp3.encode(pieces, samples, rate, channels, bitrate=bitrate, quality=7))
    assert len(made) == mp3.length(samples, rate, bitrate)


@pytest.mark.parametrize("rate", mp3.MPEG_RATES)
@pytest.mark.parametrize("boundary", [576, 1152, 1728, 2304, 3456])
def test_lengths_at_every_boundary(rate: int, boundary: int) -> None:
    for samples in (boundary - 1, boundary, boundary + 1):
        made = b"".join(mp3.encode([NOISE[: samples * 2]], samples, rate, 1, bitrate=32, quality=7))
        assert len(made) == mp3.length(samples, rate, 32)


def test_encoding_is_deterministic() -> None:
    """A part file may be written twice, by two processes: the bytes must be the same."""
    runs = [
        b"".join(mp3.encode(pieces, 100_000, 8000, 1, bitrate=32, quality=5))
        for pieces in ([NOISE[:200_000]], [NOISE[:8192], NOISE[8192:200_000]])
    ]
    assert runs[0] == runs[1]


def read(tmp_path: Path, content: bytes) -> wav.Header:
    """Read the header of a file with this content."""
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return wav.read_header(descriptor, len(content))
    finally:
        os.close(descriptor)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    head = read(tmp_path, wav.pcm16_header(16000, 2, 400) + bytes(400))
    assert head == wav.Header(True, 16000, 2, 44, 400, True)


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


@given(st.binary(max_size=200))
def test_hostile_headers_do_no_harm(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    for content in (data, b"RIFF\0\0\0\0WAVE" + data, wav.pcm16_header(8000, 1, 9)[:30] + data):
        try:
            head = read(tmp_path_factory.getbasetemp(), content)
        except UnsupportedAudio:
            continue
        assert 0 <= head.size <= len(content)


@pytest.mark.parametrize(
    ("head", "name", "kind"),
    [
        (b"RIFF....WAVEfmt ", "x", "wav"),
        (b"fLaC" + bytes(20), "x.txt", "flac"),
        (b"ID3\x03" + bytes(20), "", "mp3"),
        (b"\xff\xfb\x90\x00" + bytes(20), "", "mp3"),
        (b"\xff\xd8\xff\xe0" + bytes(20), "x.jpg", None),
        (b"\0\0\0\x20ftypM4A " + bytes(20), "x.m4a", None),
        (b"#EXTM3U\n", "x.m3u", None),
        (bytes(33), "x.GSM", "gsm"),
        (b"", "", None),
    ],
)
def test_sniffing(head: bytes, name: str, kind: str | None) -> None:
    assert sox.sniff(head, name) == kind
