"""Uploads: what a real service can't be made to show."""

from __future__ import annotations

import errno
import io
import os
import time
import wave
from pathlib import Path
from typing import Any

import pytest

from evolvex_api import config
from evolvex_api.backends.failures import (
    FileTooLarge,
    StorageUnavailable,
    UnsupportedAudio,
    UploadNotFound,
)
from evolvex_api.backends.sounds import Owner, Sounds, sanitised
from evolvex_api.core.refusals import ApiError
from tests.options import section


def recording(rate: int) -> io.BytesIO:
    """Half a second of silence as WAV."""
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(bytes(rate))
    return io.BytesIO(made.getvalue())


OWNER = Owner("group")


def folder_of(tmp_path: Path, **limits: int) -> Sounds:
    """A folder of sounds with other limits than the usual ones."""
    return Sounds(section(config.Uploads, directory=tmp_path, **limits))


@pytest.fixture
def sounds(tmp_path: Path) -> Sounds:
    """A folder of sounds that takes 100 kB."""
    return Sounds(section(config.Uploads, directory=tmp_path, max_size=100_000))


@pytest.mark.parametrize(("rate", "extensions"), [(8000, [".wav"]), (16000, [".wav", ".wav16"])])
def test_both_rates_where_the_source_has_them(
    sounds: Sounds, tmp_path: Path, rate: int, extensions: list[str]
) -> None:
    sound = sounds.store(recording(rate), "/tmp/Приветствие.wav", OWNER)
    made = sorted(tmp_path.glob(f"{sound.uuid}*"))
    assert [path.name for path in made] == [sound.uuid + e for e in extensions]
    assert (sound.name, sound.file) == ("Приветствие.wav", f"evolvex/{sound.uuid}")
    assert (sound.duration, sound.samplerate) == (0.5, rate)
    assert sound.size == (tmp_path / f"{sound.uuid}.wav").stat().st_size
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in made)


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
        sounds.store(recording(16000), "x.wav", OWNER)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"#EXTM3U\n/etc/passwd\n", b"[playlist]\nFile1=/etc\n"])
@pytest.mark.parametrize("name", ["x.m3u", "x.pls", "|id", "@list", "-n", "x.wav"])
def test_what_is_not_audio_leaves_nothing(
    sounds: Sounds, tmp_path: Path, content: bytes, name: str
) -> None:
    with pytest.raises(UnsupportedAudio):
        sounds.store(io.BytesIO(content), name, OWNER)
    assert not list(tmp_path.iterdir())


def test_too_large_leaves_nothing(sounds: Sounds, tmp_path: Path) -> None:
    with pytest.raises(FileTooLarge):
        sounds.store(io.BytesIO(b"RIFF" + bytes(100_000)), "x.wav", OWNER)
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


def test_a_group_sees_and_removes_its_own(sounds: Sounds, tmp_path: Path) -> None:
    first = sounds.store(recording(8000), "a.wav", OWNER)
    second = sounds.store(recording(16000), "Б.wav", Owner("other"))
    (tmp_path / "hello.wav").write_bytes(recording(8000).getvalue())  # no upload
    assert [one.sound for one in sounds.list("group")] == [first]
    assert [one.sound for one in sounds.list()] == [first, second]
    for sound_id in (second.uuid, "nothing", ""):
        with pytest.raises(UploadNotFound):
            sounds.remove(sound_id, "group")
    assert sounds.remove(first.uuid, "group") == first
    assert sounds.remove(second.uuid) == second
    assert [path.name for path in tmp_path.iterdir()] == ["hello.wav"]


def test_a_sound_without_a_note_is_nobodys(sounds: Sounds, tmp_path: Path) -> None:
    sound = sounds.store(recording(8000), "a.wav", OWNER)
    (tmp_path / f".{sound.uuid}.json").unlink()
    assert sounds.list("group") == []
    (found,) = sounds.list()
    assert (found.sound.uuid, found.sound.name, found.group_uuid) == (sound.uuid, "", "")


@pytest.mark.parametrize(
    ("limits", "quota", "stored"),
    [
        ({}, 30_000, 1),  # half a second at both rates is 24 kB
        ({"quota": 30_000}, None, 1),
        ({"quota": 1 << 30}, 50_000, 2),
        ({}, 24_000, 0),  # the headers
    ],
)
def test_a_quota_ends_it(
    tmp_path: Path, limits: dict[str, int], quota: int | None, stored: int
) -> None:
    sounds = folder_of(tmp_path, **limits)
    with pytest.raises(ApiError) as refused:
        for _ in range(stored + 1):
            sounds.store(recording(16000), "a.wav", Owner("group", quota))
    assert (refused.value.status, refused.value.code) == (429, "quota_exceeded")
    assert len(sounds.list("group")) == stored
    assert len(list(tmp_path.iterdir())) == 3 * stored


def test_another_groups_sounds_do_not_count(tmp_path: Path) -> None:
    sounds = folder_of(tmp_path)
    for group in ("a", "b", "c"):
        sounds.store(recording(16000), "a.wav", Owner(group, 30_000))
    assert len(sounds.list()) == 3


@pytest.mark.parametrize("seconds", [3, 600])
def test_a_sound_longer_than_the_limit_leaves_nothing(tmp_path: Path, seconds: int) -> None:
    sounds = folder_of(tmp_path, max_duration=2)
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(16000 * seconds))
    with pytest.raises(FileTooLarge, match="2 seconds"):
        sounds.store(made, "a.wav", OWNER)
    assert not list(tmp_path.iterdir())


def test_space_is_kept_free(tmp_path: Path) -> None:
    sounds = folder_of(tmp_path, keep_free=1 << 60)
    with pytest.raises(StorageUnavailable, match="keep_free"):
        sounds.store(recording(8000), "a.wav", OWNER)
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_goes(sounds: Sounds, tmp_path: Path) -> None:
    for name, age in ((".old.wav", 3600), (".young.wav", 5)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, time.time() - age))
    sounds.store(recording(8000), "a.wav", OWNER)
    assert not (tmp_path / ".old.wav").exists()
    assert (tmp_path / ".young.wav").exists()
