"""Uploaded audio → files that Playback() takes.

Asterisk's format_wav plays PCM of 16 bits, mono, 8 kHz as `.wav` and 16 kHz as `.wav16`, nothing
else; it chooses the better one for the call by itself.
"""

from __future__ import annotations

import os
import re
import shutil
import unicodedata
import wave
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from evolvex_api import config
from evolvex_api.backends.audio import decoders
from evolvex_api.backends.audio.content import examine
from evolvex_api.backends.failures import (
    FileTooLarge,
    StorageUnavailable,
    UnsupportedAudio,
    UploadNotFound,
)
from evolvex_api.backends.slots import Slots
from evolvex_api.backends.sound_files import RATES, Draft, Sound, SoundFiles, Stored
from evolvex_api.core.refusals import too_many

_COPY = 1 << 18
# Bytes of one second as stored: 16 bits at 8 kHz, and at 16 kHz too where the source has it.
_NARROW, _WIDE = 16_000, 48_000
_HEADER = 44
# Encoders fill their last frame: so many seconds may come out more than went in.
_PADDING = 0.1
# sox's temporary file is larger than its output, see decoders.Output.
_ALLOWANCE = 4
_DECODINGS, _WAITING, _PATIENCE = 2, 16, 30.0
_BUSY = "Too many sounds are being stored. Try again in a few seconds."
_UNWRITABLE = "The folder of sounds can't be written."


@dataclass(frozen=True)
class Owner:
    """The group that uploads, and the bytes that it may store; None: only the folder's quota."""

    group_uuid: str
    quota: int | None = None


class Sounds:
    """The folder of uploaded sounds."""

    def __init__(self, settings: config.Uploads) -> None:
        self._settings = settings
        self._files = SoundFiles(settings.directory, settings.playback_prefix)
        self._decodings = Slots("evolvex-uploads", _DECODINGS, _WAITING, _PATIENCE)

    def store(self, upload: IO[bytes], name: str, owner: Owner) -> Sound:
        """Decode an upload and store it under a name of its own.

        Given the open upload, the name that the client gave it, and the group; returns the Sound.
        Raises UnsupportedAudio, FileTooLarge, StorageUnavailable, and ApiError(429): quota_exceeded
        or too_many_waiting. Then nothing stays behind.
        """
        try:
            return self._store(upload, name, owner)
        except OSError as error:
            raise StorageUnavailable(_UNWRITABLE) from error

    def list(self, group_uuid: str | None = None) -> list[Stored]:
        """The sounds of a group, or all of them, oldest first. Raises StorageUnavailable."""
        try:
            found = self._files.all()
        except OSError as error:
            raise StorageUnavailable("The folder of sounds can't be read.") from error
        return [one for one in found if group_uuid in (None, one.group_uuid)]

    def remove(self, sound_id: str, group_uuid: str | None = None) -> Sound:
        """Remove a sound of a group, or of any; returns what it was.

        Raises UploadNotFound when the group has none of that uuid, and StorageUnavailable.
        """
        try:
            with self._files.locked():
                for one in self.list(group_uuid):
                    if one.sound.uuid == sound_id:
                        self._files.remove(sound_id)
                        return one.sound
        except OSError as error:
            raise StorageUnavailable(_UNWRITABLE) from error
        raise UploadNotFound("There is no uploaded sound of this uuid.")

    def _store(self, upload: IO[bytes], name: str, owner: Owner) -> Sound:
        # Before anything is written, so that what can't be kept is not decoded either.
        room = self._room(owner)
        with ExitStack() as stack:
            source = _open_file(upload, self._settings.max_size)
            stack.callback(os.close, source)
            stack.enter_context(self._decodings.taken(_BUSY))
            self._files.remove_leftovers()
            made = stack.enter_context(self._files.draft())
            self._decode(source, Path(name).suffix[1:], room, made)
            duration = _duration(made.paths[0])
            if duration > self._settings.max_duration + _PADDING:
                raise self._too_long()
            with self._files.locked():
                self._demand_room(owner, made.size)
                return made.publish(sanitised(name), owner.group_uuid, round(duration, 3))

    def _decode(self, source: int, extension: str, room: int, made: Draft) -> None:
        content = examine(source, os.fstat(source), extension)
        wide = decoders.probe(content).rate >= RATES[".wav16"]
        seconds = min(self._settings.max_duration, room / (_WIDE if wide else _NARROW)) + 1
        for suffix, rate in RATES.items():
            if rate > RATES[".wav"] and not wide:
                continue
            limit = int(2 * rate * seconds) * _ALLOWANCE + _HEADER
            output = decoders.Output(limit, rate, 1, seconds, guard=True)
            target = made.add(suffix)
            try:
                decoders.decode(content, target, output)
            except decoders.TooLong as error:
                raise self._too_long() from error
            if target.stat().st_size <= _HEADER:
                raise UnsupportedAudio("This audio file holds no audio.")

    def _too_long(self) -> FileTooLarge:
        most = self._settings.max_duration
        return FileTooLarge(
            f"A sound may be {most} seconds long. [uploads] max_duration sets this limit."
        )

    def _room(self, owner: Owner) -> int:
        """The bytes that a group may still store.

        Raises ApiError(429, quota_exceeded) when there are none, StorageUnavailable when the disk
        has less free than must stay free.
        """
        return self._demand_room(owner, 1)

    def _demand_room(self, owner: Owner, size: int) -> int:
        stored = self._files.all()
        left = self._settings.quota - sum(one.stored for one in stored)
        setting = "[uploads] quota of evolvex.conf"
        if owner.quota is not None:
            own = sum(one.stored for one in stored if one.group_uuid == owner.group_uuid)
            if owner.quota - own < left:
                left, setting = owner.quota - own, "[uploads] quota of the group's file"
        if left < size:
            detail = (
                f"The sounds would exceed their quota. Remove some by DELETE uploads; {setting}"
                " sets this limit."
            )
            raise too_many("quota_exceeded", detail, None)
        if shutil.disk_usage(self._settings.directory).free < self._settings.keep_free:
            raise StorageUnavailable("The disk has less free space than [uploads] keep_free.")
        return left


def _open_file(upload: IO[bytes], most: int) -> int:
    """The upload as an open file of its own, without a name; FileTooLarge when it is too large."""
    size = upload.seek(0, os.SEEK_END)
    upload.seek(0)
    if size > most:
        raise FileTooLarge(f"A file may have {most} bytes. [uploads] max_size sets this limit.")
    if hasattr(upload, "rollover"):
        upload.rollover()
        upload.flush()
        return os.dup(upload.fileno())
    descriptor = os.memfd_create("upload")
    with os.fdopen(os.dup(descriptor), "wb") as copy:
        shutil.copyfileobj(upload, copy, _COPY)
    return descriptor


def _duration(path: Path) -> float:
    with wave.open(str(path)) as file:
        return float(file.getnframes() / file.getframerate())


def sanitised(name: str) -> str:
    """A client's file name as a bare name: no folders, no control characters, 255 at most."""
    bare = re.split(r"[/\\]", name)[-1]
    kept = "".join(c for c in bare if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp"))
    return kept.strip()[:255]
