"""Recordings as MP3 or WAV, with a cache of what was encoded or decoded."""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from evolvex_api import config
from evolvex_api.backends.audio import decoders, mp3, mp3_form, wav
from evolvex_api.backends.audio.cache import Cache, Origin
from evolvex_api.backends.audio.content import Content, examine
from evolvex_api.backends.audio.encoders import Encoders, Encoding, Samples
from evolvex_api.backends.audio.growing import PrivateListener, SharedListener
from evolvex_api.backends.failures import UnsupportedAudio
from evolvex_api.backends.recordings import Recording

_MAX_DECODED = 4 << 30
_DECODINGS_AT_ONCE = 2
# What a rate that MPEG does not have becomes.
_HIGHEST_RATE = 48000


class Stream(Protocol):
    """What can be read from a position: a file, or one that is still being made."""

    def read(self, size: int, /) -> bytes: ...
    def seek(self, position: int, /) -> int: ...
    def close(self) -> None: ...


@dataclass
class Audio:
    """An answer: a stream, its length in bytes, and where it can be had without us.

    `modified` is the recording's time of change in seconds; None for what must not be cached.
    `file` is True when the stream is a real, finished file: the recording itself when `whole`, or
    the one of the name `cached` in the cache.
    """

    stream: Stream
    length: int
    modified: float | None
    file: bool = False
    whole: bool = False
    cached: str | None = None


class Transcoder:
    """Turns a recording into MP3 or WAV."""

    def __init__(self, settings: config.Mp3, most_waiting: int = 32) -> None:
        """`most_waiting` is how many listeners of a process may wait for an encoder."""
        self._settings = settings
        self._cache = Cache(settings.cache_dir, settings.cache_size)
        self._encoders = Encoders(most_waiting)
        self._decodings = threading.BoundedSemaphore(_DECODINGS_AT_ONCE)

    def wav(self, recording: Recording) -> Audio:
        """The recording as WAV of PCM 16 bits; a correct WAV that is such goes out byte for byte.

        Takes over the recording's descriptor. Raises UnsupportedAudio, StorageUnavailable.
        """
        with _closed_unless_kept(recording) as kept:
            content = recording.content
            if not content.is_linear:
                return self._decoded(recording)
            if content.intact and not content.growing and not content.format.headerless:
                kept.pop_all()
                return _whole_file(recording)
            return _with_header(recording)

    def mp3(self, recording: Recording) -> Audio:
        """The recording as MP3 of constant bit rate; an MP3 goes out untouched.

        Takes over the recording's descriptor. Raises UnsupportedAudio, StorageUnavailable.
        """
        with _closed_unless_kept(recording) as kept:
            content = recording.content
            if content.is_mp3 and content.intact:
                kept.pop_all()
                return _whole_file(recording)
            if content.is_mp3:
                return _slice(recording, b"")
            if content.rate in mp3_form.MPEG_RATES:
                return self._encoded(recording, content)
            known = decoders.probe(content).rate in mp3_form.MPEG_RATES
            decoded = self._decoded(recording, None if known else _HIGHEST_RATE)
            with contextlib.closing(decoded.stream):
                return self._encoded(recording, _decoded_content(decoded))

    def can_play(self, recording: Recording) -> bool:
        """True when `mp3` and `wav` can answer; StorageUnavailable when sox is missing.

        The recording stays the caller's.
        """
        content = recording.content
        return content.is_linear or decoders.can_decode(content, recording.status)

    def _encoded(self, recording: Recording, content: Content) -> Audio:
        samples = Samples(
            content.descriptor, content.start, content.size, content.rate, content.channels
        )
        bitrate = mp3_form.bitrate_at(content.rate, self._settings.bitrate)
        form = mp3_form.Form(samples.count, content.rate, content.channels, bitrate)
        quality = self._settings.quality
        origin = Origin(recording.path, recording.status)
        name = origin.name("mp3", form.bitrate, quality, mp3.encoder_version())
        modified = recording.status.st_mtime
        finished = None if content.growing else self._cache.get(name, form.length)
        if finished is not None:
            return Audio(finished, form.length, modified, file=True, cached=name)
        encoding = Encoding(samples.own(), form, quality)
        if content.growing:
            return Audio(PrivateListener(self._cache, self._encoders, encoding), form.length, None)
        listener = SharedListener(self._cache, name, origin, self._encoders, encoding)
        return Audio(listener, form.length, modified)

    def _decoded(self, recording: Recording, rate: int | None = None) -> Audio:
        """The recording decoded, as a file of the cache; at `rate` Hz where given."""
        origin = Origin(recording.path, recording.status)
        name = origin.name("wav", *([rate] if rate else []))
        output = decoders.Output(_MAX_DECODED, rate)

        def decode(target: Path) -> None:
            with self._decodings:
                decoders.decode(recording.content, target, output)

        file = self._cache.get(name) or self._cache.make(name, decode, origin)
        length = os.fstat(file.fileno()).st_size
        if recording.content.growing:
            self._cache.forget(name)
            return Audio(file, length, None, file=True)
        return Audio(file, length, recording.status.st_mtime, file=True, cached=name)


class _Slice(io.RawIOBase):
    """A header and, after it, a part of another file."""

    def __init__(self, content: Content, header: bytes) -> None:
        self._descriptor = os.dup(content.descriptor)
        self._content = content
        self._head = header
        self._position = 0

    def seek(self, position: int, whence: int = os.SEEK_SET, /) -> int:
        self._position = position
        return position

    def read(self, size: int = -1, /) -> bytes:
        if self._position < len(self._head):
            piece = self._head[self._position : self._position + size]
        else:
            offset = self._position - len(self._head)
            size = min(size, self._content.size - offset)
            piece = os.pread(self._descriptor, size, self._content.start + offset)
        self._position += len(piece)
        return piece

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()


@contextlib.contextmanager
def _closed_unless_kept(recording: Recording) -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, recording.descriptor)
        yield stack


def _decoded_content(decoded: Audio) -> Content:
    """The samples of what was decoded; they grow when the recording does."""
    assert isinstance(decoded.stream, io.FileIO)  # noqa: S101  # as _decoded returns it
    descriptor = decoded.stream.fileno()
    content = examine(descriptor, os.fstat(descriptor), "wav")
    if content.rate not in mp3_form.MPEG_RATES:
        raise UnsupportedAudio("The recording has a form that MP3 does not know.")
    return replace(content, growing=decoded.modified is None)


def _whole_file(recording: Recording) -> Audio:
    file = io.FileIO(recording.descriptor)
    status = recording.status
    return Audio(file, status.st_size, status.st_mtime, file=True, whole=True)


def _with_header(recording: Recording) -> Audio:
    content = recording.content
    return _slice(recording, wav.pcm16_header(content.rate, content.channels, content.size))


def _slice(recording: Recording, header: bytes) -> Audio:
    content = recording.content
    modified = None if content.growing else recording.status.st_mtime
    return Audio(_Slice(content, header), len(header) + content.size, modified)
