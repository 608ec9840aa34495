"""Uploads: what a real service can't be made to show."""

from __future__ import annotations

import errno
import io
import os
import wave
from pathlib import Path
from typing import Any

import pytest

from evolvex_api import config
from evolvex_api.backends.failures import FileTooLarge, StorageUnavailable, UnsupportedAudio
from evolvex_api.backends.sounds import Sounds, sanitised
from tests.options import section


def recording(rate: int) -> io.BytesIO:
    """Half a second of silence as WAV."""
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(bytes(rate))
    return io.BytesIO(made.getvalue())


@pytest.fixture
def sounds(tmp_path: Path) -> Sounds:
    """A folder of sounds that takes 100 kB."""
    return Sounds(section(config.Uploads, directory=tmp_path, max_size=100_000))


@pytest.mark.parametrize(("rate", "extensions"), [(8000, [".wav"]), (16000, [".wav", ".wav16"])])
def test_both_rates_where_the_source_has_them(
    sounds: Sounds, tmp_path: Path, rate: int, extensions: list[str]
) -> None:
    sound = sounds.store(recording(rate), "/tmp/Приветствие.wav")
    assert sorted(path.name for path in tmp_path.iterdir()) == [sound.uuid + e for e in extensions]
    assert (sound.name, sound.file) == ("Приветствие.wav", f"evolvex/{sound.uuid}")
    assert (sound.duration, sound.samplerate) == (0.5, rate)
    assert sound.size == (tmp_path / f"{sound.uuid}.wav").stat().st_size
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in tmp_path.iterdir())


def test_both_files_or_none(
    sounds: Sounds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def full(source: Any, target: Path) -> None:
        if target.suffix == ".wav16":
            raise OSError(errno.ENOSPC, "No space left on device")
        link(source, target)

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(StorageUnavailable):
        sounds.store(recording(16000), "x.wav")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"#EXTM3U\n/etc/passwd\n", b"[playlist]\nFile1=/etc\n"])
@pytest.mark.parametrize("name", ["x.m3u", "x.pls", "|id", "@list", "-n", "x.wav"])
def test_what_is_not_audio_leaves_nothing(
    sounds: Sounds, tmp_path: Path, content: bytes, name: str
) -> None:
    with pytest.raises(UnsupportedAudio):
        sounds.store(io.BytesIO(content), name)
    assert not list(tmp_path.iterdir())


def test_too_large_leaves_nothing(sounds: Sounds, tmp_path: Path) -> None:
    with pytest.raises(FileTooLarge):
        sounds.store(io.BytesIO(b"RIFF" + bytes(100_000)), "x.wav")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("C:\\Звуки\\a.wav", "a.wav"),
        ("../../etc/passwd", "passwd"),
        ("a\r\n\x00b\u202e.wav", "ab.wav"),
        ("", ""),
        ("я" * 300, "я" * 255),
    ],
)
def test_names_are_bare(given: str, kept: str) -> None:
    assert sanitised(given) == kept
