"""The only way from a uniqueid to a recording's file.

Nothing is opened that does not lie below the root after symlinks are resolved, whatever the
dialplan or a CDR row says.
"""

from __future__ import annotations

import functools
import glob
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path

from evolvex_api import config
from evolvex_api.backends.audio import wav
from evolvex_api.backends.failures import (
    CdrUnavailable,
    RecordingEmpty,
    RecordingNotFound,
    StorageUnavailable,
    UnsupportedAudio,
)
from evolvex_api.core import uniqueid as uniqueids
from evolvex_api.core.calllog import CallRow

# In the order in which they are looked for; the names are those of Asterisk's format modules.
WAV_EXTENSIONS = ("wav", "WAV", "wav16", "wav49")
SLN_RATES = {"sln": 8000, "raw": 8000} | {
    f"sln{rate}": rate * 1000 for rate in (12, 16, 24, 32, 44, 48, 96, 192)
}
SLN_RATES["sln44"] = 44100
EXTENSIONS = (
    *WAV_EXTENSIONS,
    *("mp3", "ogg", "gsm"),
    *("ulaw", "ul", "mu", "ulw", "pcm"),
    *("alaw", "al", "alw"),
    *SLN_RATES,
    "g722",
)

# FreePBX: <type>-<dst>-<from>-YYYYMMDD-HHMMSS-<uniqueid>; the first parts may hold hyphens.
_DATE_IN_NAME = re.compile(r"-(\d{4})(\d{2})(\d{2})-\d{6}-[^/]*$")
_DATE_FIELD = re.compile(r"\{(YYYY|MM|DD)\}")
# Also for a recording that is not the caller's: no word may tell the two apart.
NOT_FOUND = "There is no recording of this call."
_EMPTY = "The recording of this call holds no audio."
_UNREADABLE = "The folder of recordings can't be read."


@dataclass(frozen=True)
class Recording:
    """An open recording; whoever gets it closes the descriptor."""

    descriptor: int
    path: str  # the real one
    status: os.stat_result
    extension: str

    @functools.cached_property
    def wav_header(self) -> wav.Header:
        """The header of a WAV file, read once; UnsupportedAudio when it is none."""
        return wav.read_header(self.descriptor, self.status.st_size)


class Recordings:
    """The folder into which MixMonitor writes."""

    def __init__(self, settings: config.Recordings) -> None:
        self._root = settings.root
        self._real_root = os.path.realpath(settings.root)
        self._patterns = settings.patterns

    def find(
        self,
        uniqueid: str,
        rows: Callable[[], Sequence[CallRow]],
        legs: Callable[[], Sequence[Mapping[str, str]]],
    ) -> Recording:
        """The recording of a call, opened.

        Given the asked id, and ways to ask for the call's CDR rows and live channels, which are
        used only when the folder alone does not tell. Raises RecordingNotFound, RecordingEmpty,
        StorageUnavailable, and what `rows` and `legs` raise.
        """
        empty = False
        for path in self._candidates(uniqueid, rows, legs):
            recording = self._open(path)
            if recording is None:
                continue
            if not _is_empty(recording):
                return recording
            os.close(recording.descriptor)
            empty = True
        if not os.access(self._root, os.R_OK | os.X_OK):
            raise StorageUnavailable(_UNREADABLE)
        raise RecordingEmpty(_EMPTY) if empty else RecordingNotFound(NOT_FOUND)

    def relative_path(self, recording: Recording) -> str:
        """The recording's real path below the root, for the web server to serve it."""
        return os.path.relpath(recording.path, self._real_root)

    def _candidates(
        self,
        uniqueid: str,
        rows: Callable[[], Sequence[CallRow]],
        legs: Callable[[], Sequence[Mapping[str, str]]],
    ) -> Iterator[str]:
        yield from self._by_id(uniqueid)
        unavailable: CdrUnavailable | None = None
        try:
            # The asked leg's own rows first: each leg may have been recorded by itself.
            ordered = sorted(rows(), key=lambda row: row.uniqueid != uniqueid)
        except CdrUnavailable as error:
            unavailable, ordered = error, []
        for row in ordered:
            yield from self._by_row(row)
        for other in dict.fromkeys(row.uniqueid for row in ordered if row.uniqueid != uniqueid):
            yield from self._by_id(other)
        for leg in legs():
            yield from self._by_name(leg.get("MIXMONITOR_FILENAME", ""), leg.get("Uniqueid", ""))
        if unavailable is not None:
            raise unavailable

    def _by_id(self, uniqueid: str) -> Iterator[str]:
        if not uniqueid or "/" in uniqueid:
            return
        for extension in EXTENSIONS:
            yield f"{self._root}/{uniqueid}.{extension}"
        for pattern in self._patterns:
            dated = _DATE_FIELD.search(pattern)
            days = _days(uniqueid) if dated else ("",)
            for filled in dict.fromkeys(_filled(pattern, day, uniqueid) for day in days):
                yield from self._by_pattern(filled, uniqueid)

    def _by_pattern(self, pattern: str, uniqueid: str) -> list[str]:
        """The files of one pattern, each of whose folders is read once for all extensions."""
        below, _, name = pattern.rpartition("/")
        # A day's folder has thousands of files; most are passed over by the cheapest look there is.
        part = uniqueid if glob.escape(uniqueid) in name else ""
        found = []
        for folder in self._root.glob(below) if below else (self._root,):
            for entry in _entries(folder):
                if part not in entry:
                    continue
                extension = entry.rpartition(".")[2]
                wanted = name.replace("{ext}", extension)
                if extension in EXTENSIONS and fnmatchcase(entry, wanted):
                    found.append((EXTENSIONS.index(extension), f"{folder}/{entry}"))
        return [path for _, path in sorted(found)]

    def _by_row(self, row: CallRow) -> Iterator[str]:
        yield from self._by_name(row.recordingfile, row.uniqueid)
        if row.userfield.startswith("audio:"):
            yield from self._by_name(row.userfield.removeprefix("audio:"), row.uniqueid)

    def _by_name(self, name: str, uniqueid: str) -> Iterator[str]:
        """Where a file that is told by name can be, under any extension known.

        The told one comes first; a nightly job may have made another of it.
        """
        name = name.strip()
        if not name:
            return
        stem, dot, told = name.rpartition(".")
        if not dot or told not in EXTENSIONS:
            stem, told = name, ""
        for folder in self._folders(name, uniqueid):
            for extension in dict.fromkeys((told, *EXTENSIONS) if told else EXTENSIONS):
                # An absolute name, joined to a folder, stays what it is.
                yield os.path.join(folder, f"{stem}.{extension}")  # noqa: PTH118 - tried by dozens

    def _folders(self, name: str, uniqueid: str) -> Iterator[str]:
        yield f"{self._root}"
        if "/" in name:
            return
        dated = _DATE_IN_NAME.search(name)
        if dated:
            yield f"{self._root}/{dated[1]}/{dated[2]}/{dated[3]}"
        for day in _days(uniqueid):
            yield f"{self._root}/{day:%Y/%m/%d}"

    def _open(self, path: str) -> Recording | None:
        """Open a candidate; None when there is no regular file below the root."""
        try:
            # O_NONBLOCK: a FIFO put there must not hold us.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except PermissionError as error:
            raise StorageUnavailable(_UNREADABLE) from error
        except (OSError, ValueError):  # the latter for a NUL in what a CDR row tells
            return None
        # The kernel's own word on what was opened: no race between a check and the opening.
        real = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 - Path makes it dearer
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and real.startswith(f"{self._real_root}/"):
            return Recording(descriptor, real, status, path.rpartition(".")[2])
        os.close(descriptor)
        return None


def epoch_of(uniqueid: str) -> datetime | None:
    """When the channel of that id was made, in the host's time zone; None when it does not tell."""
    created = uniqueids.created(uniqueid)
    return None if created is None else datetime.fromtimestamp(created)


def _days(uniqueid: str) -> tuple[datetime, ...]:
    """The day of an id and its neighbours: a recording may start over midnight."""
    made = epoch_of(uniqueid)
    return (made, made - timedelta(days=1), made + timedelta(days=1)) if made else ()


def _filled(pattern: str, day: datetime | str, uniqueid: str) -> str:
    if isinstance(day, datetime):
        for name, form in (("{YYYY}", "%Y"), ("{MM}", "%m"), ("{DD}", "%d")):
            pattern = pattern.replace(name, day.strftime(form))
    return pattern.replace("{uniqueid}", glob.escape(uniqueid))


def _entries(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - thousands, of which one becomes a path
    except OSError:
        return []


def _is_empty(recording: Recording) -> bool:
    if recording.extension not in WAV_EXTENSIONS:
        return recording.status.st_size == 0
    try:
        return recording.wav_header.size == 0
    except UnsupportedAudio:
        # A header not yet written out is no audio; anything else is for the decoder to judge.
        return recording.status.st_size <= wav.HEADER_SIZE
