"""The cache of what was made from recordings."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from evolvex_api.backends.audio.cache import Cache, Origin
from tests.lab.server import wait_until


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """An empty cache that takes a kilobyte."""
    folder = tmp_path / "cache"
    folder.mkdir()
    return Cache(folder, 1024)


def made(cache: Cache, recording: Path, size: int = 100) -> Path:
    """Put a file of that recording into the cache."""
    origin = Origin(str(recording), recording.stat())
    name = origin.name("mp3", 32)
    cache.make(name, lambda target: _write(target, size), origin).close()
    return cache.directory / name


def _write(target: Path, size: int) -> None:
    target.write_bytes(bytes(size))


def recorded(folder: Path, name: str = "call.wav") -> Path:
    """A recording."""
    path = folder / name
    path.write_bytes(b"sound")
    return path


def names(cache: Cache) -> list[str]:
    """What lies in the cache but for locks."""
    return sorted(path.name for path in cache.directory.iterdir() if path.suffix != ".lock")


def test_what_is_made_of_a_recording_goes_with_it(cache: Cache, tmp_path: Path) -> None:
    kept, gone = recorded(tmp_path, "kept.wav"), recorded(tmp_path, "gone.wav")
    first, second = made(cache, kept), made(cache, gone)
    cache.sweep()
    assert first.exists()
    assert second.exists()
    gone.unlink()
    cache.sweep()
    assert names(cache) == [first.name, f"{first.name}.of"]


@pytest.mark.parametrize("change", ["longer", "touched", "replaced", "folder", "unknown"])
def test_what_is_made_of_another_version_goes(cache: Cache, tmp_path: Path, change: str) -> None:
    folder = tmp_path / "2024"
    folder.mkdir()
    recording = recorded(folder)
    path = made(cache, recording)
    if change == "longer":
        recording.write_bytes(b"more sound")
    elif change == "touched":
        os.utime(recording, (0, 1))
    elif change == "replaced":
        recording.unlink()
        recorded(folder, "placeholder")
        recorded(folder)
    elif change == "folder":
        folder.rename(tmp_path / "moved")
    else:
        path.with_name(f"{path.name}.of").unlink()  # of an older version of this service
    cache.sweep()
    # The cache's own thread may be sweeping at the same time, and be half done.
    wait_until(lambda: names(cache) == [], 5, "nothing is left")


def test_what_dead_processes_left_goes(cache: Cache) -> None:
    for name, age in (("a.mp3.x.part", 100), ("b.mp3.x.part", 1), ("c.mp3.of", 100)):
        path = cache.directory / name
        path.touch()
        os.utime(path, (0, time.time() - age))
    cache.sweep()
    assert names(cache) == ["b.mp3.x.part"]


def test_the_sweep_goes_on_by_itself(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evolvex_api.backends.audio.cache._SWEEP_SECONDS", 0.05)
    recording = recorded(tmp_path)
    path = made(cache, recording)
    recording.unlink()
    until = time.monotonic() + 10
    while path.exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert not path.exists()


def test_the_longest_unused_goes_first(cache: Cache, tmp_path: Path) -> None:
    paths = []
    for number in range(4):
        paths.append(made(cache, recorded(tmp_path, f"{number}.wav"), 400))
        os.utime(paths[-1], (number, paths[-1].stat().st_mtime))
    assert [path.exists() for path in paths] == [False, False, True, True]
    assert len(names(cache)) == 4
