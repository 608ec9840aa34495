"""When a recording is finished: MixMonitor's stop does not say so, so the file is looked at.

A path comes from the channel (AMI Getvar), which no caller can write; still only a regular file
below the recordings' folders counts, and only one written since the call began.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evolvex_api import config
from evolvex_api.backends.audio import wav
from evolvex_api.backends.failures import UnsupportedAudio
from evolvex_api.events.call import Recorder

log = logging.getLogger(__name__)

# A file without a header that says so is finished when it has not grown for so long.
_QUIET = 2.0
# A file that has not come to be, or holds no audio, so long after the call's end never will.
_GIVEN_UP = 300.0
# The clock of a file system may be behind the one that made the channel's id.
_TOLERANCE = 5.0
# Bytes a second of files without a header (Asterisk's formats/format_*.c).
_RATES = {
    **{"gsm": 1650, "ulaw": 8000, "ul": 8000, "alaw": 8000, "al": 8000, "g722": 8000},
    **{"sln": 16000, "raw": 16000, "sln16": 32000, "sln32": 64000, "sln48": 96000},
}
_WAV = frozenset({"wav", "wav16", "wav49"})


@dataclass
class _Watched:
    recorder: Recorder
    path: Path
    began: float
    size: int = -1
    since: float = 0.0  # when `size` was first seen
    ended: float | None = None  # when the call was first seen to have ended


@dataclass(frozen=True)
class _Look:
    """What a file says now: its size, whether its header is complete, seconds if it tells."""

    size: int
    closed: bool
    seconds: float | None


class RecordingWatch:
    """The files that are being recorded. For one thread at a time."""

    def __init__(self, settings: config.Recordings) -> None:
        folders = (settings.root, *getattr(settings, "also", ()))
        self._folders = tuple(folder.resolve() for folder in folders)
        self._watched: dict[tuple[str, Path], _Watched] = {}

    def add(self, recorder: Recorder, path: str, now: float) -> None:
        """Watch the file that a channel records into."""
        if path.startswith("/") and "\0" not in path:
            key = (recorder.linkedid, Path(path))
            self._watched.setdefault(key, _Watched(recorder, Path(path), now))

    def dump(self) -> list[Any]:
        """Return what is watched, JSON-able, for `restore`."""
        return [[*w.recorder, str(w.path), w.began] for w in self._watched.values()]

    def restore(self, dumped: list[Any]) -> None:
        """Take up what an earlier process watched."""
        for linkedid, uniqueid, channel, path, began in dumped:
            self.add(Recorder(linkedid, uniqueid, channel), path, began)

    @property
    def empty(self) -> bool:
        """True when nothing is being recorded."""
        return not self._watched

    def poll(
        self, now: float, linkedid_of: Callable[[str], str | None]
    ) -> list[tuple[str, dict[str, Any]]]:
        """Return what has been finished since, as (linkedid, recording).

        `linkedid_of` returns the call that a leg belongs to now (it may have been merged into
        another one), None when it lives no more. To be called several times a second.
        """
        finished = []
        for key, watched in list(self._watched.items()):
            linkedid = linkedid_of(watched.recorder.uniqueid)
            if linkedid is None and watched.ended is None:
                watched.ended = now
            seen = self._look(watched)
            if seen is not None and self._is_finished(watched, seen, now):
                del self._watched[key]
                finished.append((linkedid or watched.recorder.linkedid, _as_json(watched, seen)))
            elif watched.ended is not None and now - watched.ended > _GIVEN_UP:
                del self._watched[key]
                log.warning("the recording %s was never finished", watched.path.name)
        return finished

    def _is_finished(self, watched: _Watched, seen: _Look, now: float) -> bool:
        if seen.size != watched.size or now < watched.since:
            watched.size, watched.since = seen.size, now
        if seen.closed:
            return True
        # Its header says nothing: it must be quiet, and nobody be there to go on with it.
        quiet = watched.ended is not None and now - watched.since >= _QUIET
        return quiet and seen.size > wav.HEADER_SIZE

    def _look(self, watched: _Watched) -> _Look | None:
        """Look at the file, or at what a nightly job or a script of the dialplan made of it."""
        for path in (watched.path, *(watched.path.with_suffix(end) for end in (".mp3", ".ogg"))):
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError:
                continue
            try:
                if self._is_recording(descriptor, watched):
                    return _looked_at(descriptor, path.suffix[1:].lower())
            finally:
                os.close(descriptor)
        return None

    def _is_recording(self, descriptor: int, watched: _Watched) -> bool:
        status = os.fstat(descriptor)
        # The kernel's own word on what was opened, after symlinks.
        real = Path(f"/proc/self/fd/{descriptor}").readlink()
        below = any(folder in real.parents for folder in self._folders)
        written = status.st_mtime >= watched.began - _TOLERANCE
        return stat.S_ISREG(status.st_mode) and below and written


def _looked_at(descriptor: int, extension: str) -> _Look:
    size = os.fstat(descriptor).st_size
    if extension not in _WAV:
        rate = _RATES.get(extension)
        return _Look(size, closed=False, seconds=size / rate if rate else None)
    with contextlib.suppress(UnsupportedAudio):
        header = wav.read_header(lambda at, length: os.pread(descriptor, length, at), size)
        whole = header.closed and header.size > 0 and header.start + header.size <= size
        seconds = header.size / (2 * header.channels * header.rate) if header.pcm16 else None
        return _Look(size, whole, seconds)
    return _Look(size, closed=False, seconds=None)


def _as_json(watched: _Watched, seen: _Look) -> dict[str, Any]:
    return {
        "Uniqueid": watched.recorder.uniqueid,
        "Duration": None if seen.seconds is None else round(seen.seconds, 3),
        "Size": seen.size,
    }
