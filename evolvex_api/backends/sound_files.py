"""The files of uploaded sounds.

A sound is `<uuid>.wav`, `<uuid>.wav16` where it has the rate, and `.<uuid>.json`: its name, group
and time. Audio that is being made has a name with a dot before it, which Asterisk never plays.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
import uuid
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Extension → Hz.
RATES = {".wav": 8000, ".wav16": 16000}
# What an upload that was interrupted left is this many seconds old at least.
_LEFT_OVER = 600.0


@dataclass(frozen=True)
class Sound:
    """A stored sound.

    `file` is what Playback() takes; `size` the bytes of the 8 kHz file; `duration` in seconds;
    `samplerate` the best rate stored, 8000 or 16000.
    """

    uuid: str
    name: str
    file: str
    size: int
    duration: float
    samplerate: int


@dataclass(frozen=True)
class Stored:
    """A sound with its group ("" for one of before there were notes), time and bytes on disk.

    `created` is in seconds since the epoch.
    """

    sound: Sound
    group_uuid: str
    created: float
    stored: int


class SoundFiles:
    """The folder, whose path is `prefix` below Asterisk's own folder of sounds."""

    def __init__(self, directory: Path, prefix: str) -> None:
        self._directory = directory
        self._prefix = prefix.rstrip("/")

    def all(self) -> list[Stored]:
        """Every sound, oldest first. Raises OSError."""
        found = []
        for path in self._directory.glob("*.wav"):
            with contextlib.suppress(FileNotFoundError):  # removed just now
                one = self._stored(path)
                if one is not None:
                    found.append(one)
        # glob() is silent about a folder that can't be read.
        os.scandir(self._directory).close()
        return sorted(found, key=lambda one: (one.created, one.sound.uuid))

    def remove(self, sound_id: str) -> None:
        """Remove a sound's files. Raises OSError."""
        for extension in RATES:
            (self._directory / f"{sound_id}{extension}").unlink(missing_ok=True)
        self._note(sound_id).unlink(missing_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Only one at a time, in any process, may count and publish. Raises OSError."""
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def draft(self) -> Iterator[Draft]:
        """A sound that is being made; what is not published is removed."""
        made = Draft(self, str(uuid.uuid4()))
        try:
            yield made
        finally:
            for path in made.paths:
                path.unlink(missing_ok=True)

    def remove_leftovers(self) -> None:
        """Remove what a killed process left half-made."""
        for path in self._directory.glob(".*"):
            with contextlib.suppress(OSError):
                if path.suffix in RATES and time.time() - path.stat().st_mtime > _LEFT_OVER:
                    path.unlink()

    def path(self, name: str) -> Path:
        """A file of the folder."""
        return self._directory / name

    def publish(self, paths: list[Path], sound: Sound, group_uuid: str) -> None:
        """Give the finished files their names; Asterisk, another user, may read them."""
        note = self._note(sound.uuid)
        published: list[Path] = []
        try:
            with note.open("x", encoding="utf-8") as file:
                published.append(note)
                values = {"name": sound.name, "group_uuid": group_uuid, "created": time.time()}
                json.dump(values, file, ensure_ascii=False)
            for path in paths:
                path.chmod(0o644)
                target = path.with_name(path.name.removeprefix("."))
                os.link(path, target)  # unlike rename, never over another file
                published.append(target)
        except BaseException:
            for target in published:
                target.unlink(missing_ok=True)
            raise

    def sound(self, sound_id: str, name: str, paths: list[Path], duration: float) -> Sound:
        """The description of a sound by its files, of which the first one has 8 kHz."""
        return Sound(
            uuid=sound_id,
            name=name,
            file=f"{self._prefix}/{sound_id}" if self._prefix else sound_id,
            size=paths[0].stat().st_size,
            duration=duration,
            samplerate=max(RATES[path.suffix] for path in paths),
        )

    def _note(self, sound_id: str) -> Path:
        return self._directory / f".{sound_id}.json"

    def _stored(self, path: Path) -> Stored | None:
        """The sound whose file of 8 kHz this is; None for a file that is no upload."""
        sound_id = path.stem
        try:
            uuid.UUID(sound_id)
            with wave.open(str(path)) as file:
                duration = round(file.getnframes() / file.getframerate(), 3)
        except (ValueError, wave.Error, EOFError):
            return None
        paths = [
            one for one in (path.with_suffix(ext) for ext in RATES) if one == path or one.exists()
        ]
        note = self._read_note(sound_id)
        sound = self.sound(sound_id, str(note.get("name", "")), paths, duration)
        created = note.get("created")
        if not isinstance(created, (int, float)):
            created = path.stat().st_mtime
        stored = sum(one.stat().st_size for one in paths)
        return Stored(sound, str(note.get("group_uuid", "")), float(created), stored)

    def _read_note(self, sound_id: str) -> dict[str, Any]:
        try:
            note = json.loads(self._note(sound_id).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return note if isinstance(note, dict) else {}


class Draft:
    """The files of a sound that is being made."""

    def __init__(self, files: SoundFiles, sound_id: str) -> None:
        self.paths: list[Path] = []
        self._files = files
        self._sound_id = sound_id

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(path.stat().st_size for path in self.paths)

    def add(self, extension: str) -> Path:
        """Where to write the file of an extension."""
        self.paths.append(self._files.path(f".{self._sound_id}{extension}"))
        return self.paths[-1]

    def publish(self, name: str, group_uuid: str, duration: float) -> Sound:
        """Give the files their names; all of them or none. Raises OSError."""
        sound = self._files.sound(self._sound_id, name, self.paths, duration)
        self._files.publish(self.paths, sound, group_uuid)
        return sound
