"""The only way from a uniqueid to a recording's file.

Nothing is opened that does not lie below the root, or a folder that [recordings] also names, after
symbolic links are resolved, whatever the dialplan or a CDR row says.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from evolvex_api import config
from evolvex_api.backends.audio.content import Content, examine
from evolvex_api.backends.failures import (
    CdrUnavailable,
    RecordingEmpty,
    RecordingNotFound,
    StorageUnavailable,
    UnsupportedAudio,
)
from evolvex_api.core import formats, recording_paths
from evolvex_api.core import uniqueid as uniqueids
from evolvex_api.core.calllog import CallRow

log = logging.getLogger(__name__)

# FreePBX: <type>-<dst>-<from>-YYYYMMDD-HHMMSS-<uniqueid>; the first parts may hold hyphens.
_DATE_IN_NAME = re.compile(r"-(\d{4})(\d{2})(\d{2})-\d{6}-[^/]*$")
# Of an absolute path below another root so many last parts at most are looked for below this one.
_LAST_PARTS = 6
# What only says that nothing lies there.
_NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO}
# A header that is not yet written: nothing has been recorded.
_SHORTEST_WAV = 44
_SPELLINGS = {extension: tuple(formats.spellings(extension)) for extension in formats.BY_EXTENSION}
_ORDER = {extension: number for number, extension in enumerate(formats.BY_EXTENSION)}
# Every other spelling of every extension.
_ODD_SPELLINGS = tuple(
    dict.fromkeys(
        other
        for extension, spellings in _SPELLINGS.items()
        for other in spellings
        if other != extension
    )
)
_EXTENSIONS = (*_SPELLINGS, *_ODD_SPELLINGS)

# Also for a recording that is not the caller's: no word may tell the two apart.
NOT_FOUND = "There is no recording of this call."
_EMPTY = "The recording of this call holds no audio."
_UNREADABLE = "A recording, or its folder, can't be read."


@dataclass(frozen=True)
class Live:
    """The file that a live channel records into: its path as Asterisk has it.

    `since` is when the channel was created, in seconds since the epoch.
    """

    path: str
    uniqueid: str
    since: float


@dataclass(frozen=True)
class Recording:
    """An open recording; whoever gets it closes the descriptor."""

    descriptor: int
    path: str  # the real one
    status: os.stat_result
    content: Content
    below_root: bool = True  # False in a folder of [recordings] also


@dataclass(frozen=True)
class _Candidate:
    """A path where the recording can be; `since` is the earliest time of its last change."""

    path: str
    since: float = 0.0


class Recordings:
    """The folder into which MixMonitor writes."""

    def __init__(self, settings: config.Recordings) -> None:
        self._root = str(settings.root)
        self._also = settings.also
        self._patterns = settings.patterns

    def find(
        self,
        uniqueid: str,
        rows: Callable[[], Iterable[CallRow]],
        live: Callable[[], Iterable[Live]],
    ) -> Recording:
        """The recording of a call, opened.

        Given the asked id, and ways to ask for the call's CDR rows and for what its live channels
        record, which are used only when the folder alone does not show it. A candidate that can't
        be used does not hide a good one. Raises StorageUnavailable, UnsupportedAudio,
        RecordingEmpty, RecordingNotFound, and what `rows` and `live` raise.
        """
        search = _Search(self._root, self._also)
        unavailable: CdrUnavailable | None = None
        try:
            for candidate in self._candidates(uniqueid, rows, live, search):
                found = search.open(candidate)
                if found is not None:
                    return found
        except CdrUnavailable as error:
            unavailable = error
        search.raise_failure(unavailable)
        raise RecordingNotFound(NOT_FOUND)

    def relative_path(self, recording: Recording) -> str:
        """The real path of a recording below the root, for the web server to serve it."""
        return os.path.relpath(recording.path, os.path.realpath(self._root))

    def _candidates(
        self,
        uniqueid: str,
        rows: Callable[[], Iterable[CallRow]],
        live: Callable[[], Iterable[Live]],
        search: _Search,
    ) -> Iterator[_Candidate]:
        yield from self._by_id(uniqueid, search)
        unavailable: CdrUnavailable | None = None
        try:
            yield from self._by_rows(uniqueid, rows, search)
        except CdrUnavailable as error:
            unavailable = error
        for one in live():
            for path in self._by_name(one.path, one.uniqueid):
                yield _Candidate(path, one.since)
        if unavailable is not None:
            raise unavailable

    def _by_rows(
        self, uniqueid: str, rows: Callable[[], Iterable[CallRow]], search: _Search
    ) -> Iterator[_Candidate]:
        """The asked leg's own rows first: each leg may have been recorded by itself."""
        names: dict[tuple[str, str], None] = {}
        own: dict[tuple[str, str], None] = {}
        ids: dict[str, None] = {}
        for row in rows():
            mine = row.uniqueid == uniqueid
            for name in _names(row):
                (own if mine else names)[name, row.uniqueid] = None
            if not mine:
                ids[row.uniqueid] = None
        for name, of in own | names:
            yield from map(_Candidate, self._by_name(name, of))
        for other in ids:
            yield from self._by_id(other, search)

    def _by_id(self, uniqueid: str, search: _Search) -> Iterator[_Candidate]:
        if not uniqueid or "/" in uniqueid:
            return
        for extension in _SPELLINGS:
            yield _Candidate(f"{self._root}/{uniqueid}.{extension}")
        for pattern in self._patterns:
            days = _days(uniqueid) if recording_paths.is_dated(pattern) else (None,)
            for day in days:
                steps = recording_paths.parts(pattern, uniqueid, day)
                yield from map(_Candidate, search.matching(steps))
        # Many and rare, so last.
        for extension in _ODD_SPELLINGS:
            yield _Candidate(f"{self._root}/{uniqueid}.{extension}")

    def _by_name(self, name: str, uniqueid: str) -> Iterator[str]:
        """Where a file that is known by name can be, under any extension known.

        The named one comes first; a nightly job may have made another of it.
        """
        for name_ in dict.fromkeys((name, _repaired(name))):
            stem, dot, named = name_.rpartition(".")
            if not dot or named.lower() not in formats.BY_EXTENSION:
                stem, named = name_, ""
            extensions = dict.fromkeys((named, *_EXTENSIONS) if named else _EXTENSIONS)
            for place in self._places(stem, uniqueid):
                for extension in extensions:
                    yield f"{place}.{extension}"

    def _places(self, stem: str, uniqueid: str) -> Iterator[str]:
        """Paths without an extension: of a bare name in the root and its day's folders."""
        folders, slash, bare = stem.rpartition("/")
        if slash:
            absolute = stem.startswith("/")
            yield stem if absolute else f"{self._root}/{stem}"
            # A path of an older root: its last parts below this one.
            steps = [*filter(None, folders.split("/")), bare]
            for count in range(min(_LAST_PARTS, len(steps)), 0, -1) if absolute else ():
                yield "/".join((self._root, *steps[-count:]))
        else:
            yield f"{self._root}/{bare}"
        dated = _DATE_IN_NAME.search(bare)
        if dated:
            yield f"{self._root}/{dated[1]}/{dated[2]}/{dated[3]}/{bare}"
        if not slash:
            for day in _days(uniqueid):
                yield f"{self._root}/{day:%Y/%m/%d}/{bare}"


class _Search:
    """One search: opens candidates, and remembers why those that lie there can't be used."""

    def __init__(self, root: str, also: Iterable[Path]) -> None:
        self._root = root
        # At each request, as the root may be a link that is led elsewhere meanwhile.
        self._real_root = os.path.realpath(root)
        self._also = also
        self._listed: dict[str, list[str]] = {}
        self._tried: set[str] = set()
        self._unreadable: OSError | None = None
        self._unsupported: UnsupportedAudio | None = None
        self._is_empty = False

    def open(self, candidate: _Candidate) -> Recording | None:
        """The recording at a path; None when there is none that can be used."""
        path = candidate.path
        if path in self._tried:
            return None
        self._tried.add(path)
        try:
            # O_NONBLOCK: a FIFO put there must not hold us.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            self._note(path, error)
            return None
        except ValueError:  # a NUL in what a CDR row says
            return None
        recording: Recording | None = None
        try:
            recording = self._judged(descriptor, candidate)
        except OSError as error:
            self._note(path, error)
        except UnsupportedAudio as error:
            log.warning("recording %r is not used: %s", path, error)
            self._unsupported = error
        finally:
            if recording is None:
                os.close(descriptor)
        return recording

    def matching(self, steps: tuple[recording_paths.Part, ...]) -> list[str]:
        """The files that the steps of a pattern lead to, in the order of their extensions."""
        folders = [self._root]
        for step in steps[:-1]:
            folders = [
                f"{folder}/{name}" for folder in folders for name in self._names(folder, step)
            ]
        found = []
        for folder in folders:
            for entry in self._names(folder, steps[-1]):
                match = steps[-1].matcher.fullmatch(entry)
                order = _ORDER.get(match["ext"].lower()) if match else None
                if order is not None:
                    found.append((order, f"{folder}/{entry}"))
        return [path for _, path in sorted(found)]

    def raise_failure(self, unavailable: CdrUnavailable | None) -> None:
        """Raise what explains best that no candidate can be used; nothing if none lay there."""
        if self._unreadable is None:
            try:
                os.scandir(self._root).close()
            except OSError as error:
                self._unreadable = error
                log.warning("the folder of recordings %s: %s", self._root, error.strerror)
        if self._unreadable is not None:
            raise StorageUnavailable(_UNREADABLE) from self._unreadable
        if unavailable is not None:
            raise unavailable
        if self._unsupported is not None:
            raise self._unsupported
        if self._is_empty:
            raise RecordingEmpty(_EMPTY)

    def _names(self, folder: str, step: recording_paths.Part) -> list[str]:
        """The names in a folder that a step matches, each folder read once for all steps."""
        if step.name is not None:
            return [step.name]
        entries = self._listed.get(folder)
        if entries is None:
            try:
                entries = os.listdir(folder)  # noqa: PTH208 - thousands, of which one becomes a path
            except OSError as error:
                self._note(folder, error)
                entries = []
            self._listed[folder] = entries
        # A day's folder has thousands of files; most are skipped by the cheapest look there is.
        literal, matches = step.literal, step.matcher.fullmatch
        return [entry for entry in entries if literal in entry and matches(entry)]

    def _note(self, path: str, error: OSError) -> None:
        if error.errno in _NOT_THERE:
            return
        log.warning("recording %r can't be read: %s", path, error.strerror)
        self._unreadable = error

    def _judged(self, descriptor: int, candidate: _Candidate) -> Recording | None:
        """The open file as a recording; None when it may not be, or holds no audio."""
        # The kernel's own word on what was opened: no race between a check and the opening.
        real = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 - Path makes it dearer
        status = os.fstat(descriptor)
        below_root = real.startswith(f"{self._real_root}/")
        reason = ""
        if not stat.S_ISREG(status.st_mode):
            reason = "it is not a regular file"
        elif not below_root and not self._is_allowed(real):
            reason = "it leads outside [recordings] root and also"
        elif status.st_mtime < candidate.since:
            reason = "it was written before the channel began"
        if reason:
            log.warning("recording %r is not used: %s", candidate.path, reason)
            return None
        extension = candidate.path.rpartition(".")[2]
        content = self._content(descriptor, status, extension)
        if content is None:
            self._is_empty = True
            return None
        return Recording(descriptor, real, status, content, below_root)

    def _content(self, descriptor: int, status: os.stat_result, extension: str) -> Content | None:
        if status.st_size == 0:
            return None
        try:
            content = examine(descriptor, status, extension)
        except UnsupportedAudio:
            if formats.BY_EXTENSION.get(extension.lower()) is formats.WAV and (
                status.st_size <= _SHORTEST_WAV
            ):
                return None
            raise
        return content if content.size else None

    def _is_allowed(self, real: str) -> bool:
        return any(real.startswith(f"{os.path.realpath(folder)}/") for folder in self._also)


def _names(row: CallRow) -> Iterator[str]:
    for name in (row.recordingfile, _after_audio(row.userfield)):
        if name.strip():
            yield name.strip()


def _after_audio(userfield: str) -> str:
    return userfield.removeprefix("audio:") if userfield.startswith("audio:") else ""


def _repaired(name: str) -> str:
    """A name whose UTF-8 was read as MySQL's latin1 (Windows-1252), as it was; else as it is.

    Old Elastix and FreePBX tables declare latin1 and hold UTF-8.
    """
    if name.isascii():
        return name
    raw = bytearray()
    for character in name:
        try:
            raw += character.encode("cp1252")
        except UnicodeEncodeError:
            if ord(character) > 0xFF:
                return name
            raw.append(ord(character))  # five bytes that Windows-1252 leaves undefined
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return name


def epoch_of(uniqueid: str) -> datetime | None:
    """When the channel of that id was made, in the host's time zone; None when it does not show."""
    created = uniqueids.created(uniqueid)
    return None if created is None else datetime.fromtimestamp(created)


def _days(uniqueid: str) -> tuple[datetime, ...]:
    """The day of an id and its neighbours: a recording may start over midnight."""
    made = epoch_of(uniqueid)
    if made is None:
        return ()
    midnight = made.replace(hour=0, minute=0, second=0)
    return (midnight, midnight - timedelta(days=1), midnight + timedelta(days=1))
