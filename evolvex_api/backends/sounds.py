"""Uploaded audio → files that Playback() takes.

Asterisk's format_wav plays PCM of 16 bits, mono, 8 kHz as `.wav` and 16 kHz as `.wav16`, nothing
else; it chooses the better one for the call by itself.
"""

from __future__ import annotations

import os
import re
import unicodedata
import uuid
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from evolvex_api import config
from evolvex_api.backends.audio import sox
from evolvex_api.backends.failures import FileTooLarge, StorageUnavailable, UnsupportedAudio

_RATES = {".wav": 8000, ".wav16": 16000}
# What a sound may grow to when decoded: 2 hours at 16 kHz, against small files that unpack to days.
_MAX_DECODED = 2 * 3600 * 16000 * 2
_COPY = 1 << 18


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


class Sounds:
    """The folder of uploaded sounds."""

    def __init__(self, settings: config.Uploads) -> None:
        self._settings = settings

    def store(self, upload: BinaryIO, name: str) -> Sound:
        """Decode an upload and store it under a name of its own.

        Given the open upload and the name the client gave it; returns the Sound.
        Raises UnsupportedAudio, FileTooLarge, StorageUnavailable; then nothing stays behind.
        """
        try:
            return self._store(upload, name, str(uuid.uuid4()))
        except OSError as error:
            raise StorageUnavailable("The folder of sounds can't be written.") from error

    def _store(self, upload: BinaryIO, name: str, sound_id: str) -> Sound:
        made = [self._settings.directory / f".{sound_id}"]
        try:
            kind = self._receive(upload, name, made[0])
            # sox trusts the end of a name; it opens no other file than this one for these types.
            source = made[0].rename(made[0].with_name(f"{made[0].name}.in.{kind}"))
            made = [source]
            for extension, rate in _wanted_rates(source):
                made.append(self._settings.directory / f".{sound_id}{extension}")
                _convert(source, kind, rate, made[-1])
            return self._publish(sound_id, sanitised(name), made[1:])
        finally:
            for path in made:
                path.unlink(missing_ok=True)

    def _receive(self, upload: BinaryIO, name: str, target: Path) -> str:
        """Copy the upload into the folder and return its sox type."""
        received = 0
        head = b""
        with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            while chunk := upload.read(_COPY):
                received += len(chunk)
                if received > self._settings.max_size:
                    raise FileTooLarge(f"A file may have {self._settings.max_size} bytes.")
                head = head or chunk[:64]
                file.write(chunk)
        kind = sox.sniff(head, name)
        if kind is None:
            raise UnsupportedAudio("This is not audio that can be decoded.")
        return kind

    def _publish(self, sound_id: str, name: str, decoded: list[Path]) -> Sound:
        """Give the finished files their names; Asterisk, another user, may read them."""
        with wave.open(str(decoded[0])) as file:
            duration = file.getnframes() / file.getframerate()
        size = decoded[0].stat().st_size
        published: list[Path] = []
        try:
            for path in decoded:
                path.chmod(0o644)
                target = path.with_name(path.name.removeprefix("."))
                os.link(path, target)  # unlike rename, never over another file
                published.append(target)
        except OSError:
            for target in published:
                target.unlink(missing_ok=True)
            raise
        prefix = self._settings.playback_prefix.rstrip("/")
        return Sound(
            uuid=sound_id,
            name=name,
            file=f"{prefix}/{sound_id}" if prefix else sound_id,
            size=size,
            duration=round(duration, 3),
            samplerate=max(_RATES[path.suffix] for path in decoded),
        )


def sanitised(name: str) -> str:
    """A client's file name as a bare name: no folders, no control characters, 255 at most."""
    bare = re.split(r"[/\\]", name)[-1]
    kept = "".join(c for c in bare if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp"))
    return kept.strip()[:255]


def _wanted_rates(source: Path) -> list[tuple[str, int]]:
    rate = sox.sample_rate(source)
    return [(ext, wanted) for ext, wanted in _RATES.items() if wanted == 8000 or rate >= wanted]


def _convert(source: Path, kind: str, rate: int, target: Path) -> None:
    """Decode to PCM of 16 bits, mono, at a rate in Hz; `-G` keeps resampled peaks from clipping."""
    output = ["-t", "wav", "-r", str(rate), "-c", "1", "-e", "signed-integer", "-b", "16"]
    with source.open("rb") as file:
        sox.run(["-G", "-t", kind, "-", *output, str(target)], file.fileno(), _MAX_DECODED)
    if target.stat().st_size <= 44:
        raise UnsupportedAudio("This audio file holds no audio.")
