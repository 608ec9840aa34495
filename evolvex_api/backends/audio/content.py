"""What an open file really holds: the only way from a file to what plays, decodes or encodes it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace

from evolvex_api.backends.audio import wav
from evolvex_api.backends.failures import UnsupportedAudio
from evolvex_api.core import formats
from evolvex_api.core.formats import Format, Read

# A file whose end is not marked may still grow for so many seconds after its last change;
# MixMonitor writes more often.
STILL_GROWING = 60.0
_UNKNOWN = f"This is not audio that can be decoded. Known formats: {formats.ACCEPTED}."
# How sox reads samples that lie in a WAV, by coding and bits.
_RAW = {
    (wav.PCM, 8): "-e unsigned-integer -b 8",
    (wav.PCM, 16): "-e signed-integer -b 16",
    (wav.PCM, 24): "-e signed-integer -b 24",
    (wav.PCM, 32): "-e signed-integer -b 32",
    (wav.FLOAT, 32): "-e floating-point -b 32",
    (wav.FLOAT, 64): "-e floating-point -b 64",
    (wav.ALAW, 8): "-e a-law -b 8",
    (wav.MULAW, 8): "-e mu-law -b 8",
}


@dataclass(frozen=True)
class Content:
    """The audio of an open file: the bytes `start` to `start + size`, in a format.

    `rate` (Hz) and `channels` are set when these bytes are linear samples of 16 bits, and 0 when
    they must be decoded, with sox's options `sox` or ffmpeg's demuxer `ffmpeg`; an empty one can't.
    `growing` is True while the recording may go on. `intact` is True when the file as a whole is
    a correct one of its format. A decoder is given the whole file when `whole`, else those bytes.
    """

    descriptor: int
    format: Format
    start: int
    size: int
    sox: str = ""
    ffmpeg: str = ""
    rate: int = 0
    channels: int = 0
    growing: bool = False
    intact: bool = True
    whole: bool = True

    @property
    def is_linear(self) -> bool:
        """True when the bytes are linear samples of 16 bits, mono or stereo."""
        return self.rate > 0

    @property
    def is_mp3(self) -> bool:
        """True when the bytes are an MP3."""
        return self.format is formats.MP3


def examine(descriptor: int, status: os.stat_result, extension: str) -> Content:
    """The content of an open file with audio.

    Given its descriptor, its status, and the extension of its name. Raises UnsupportedAudio when
    it holds nothing that is known, OSError when it can't be read.
    """

    def read(position: int, size: int) -> bytes:
        return os.pread(descriptor, size, position)

    found = formats.recognise(read, extension)
    if found is None:
        raise UnsupportedAudio(_UNKNOWN)
    recent = time.time() - status.st_mtime < STILL_GROWING
    if found is formats.WAV and read(0, 4) != b"RIFX":
        return _in_wav(descriptor, wav.read_header(read, status.st_size), read, recent)
    size = status.st_size - (status.st_size % 2 if found.rate else 0)
    return Content(
        descriptor=descriptor,
        format=found,
        start=0,
        size=size,
        sox=found.sox,
        ffmpeg=found.ffmpeg,
        rate=found.rate,
        channels=1 if found.rate else 0,
        growing=found.unmarked and recent,
    )


def _in_wav(descriptor: int, head: wav.Header, read: Read, recent: bool) -> Content:
    content = Content(
        descriptor,
        formats.WAV,
        head.start,
        head.size,
        growing=not head.closed or (not head.honest and recent),
        intact=head.honest,
        whole=False,
    )
    raw = _RAW.get((head.tag, head.bits))
    if raw:
        sox = f"-t raw {raw} -L -r {head.rate} -c {head.channels}"
        if head.pcm16:
            return replace(content, sox=sox, rate=head.rate, channels=head.channels)
        return replace(content, sox=sox)
    if head.tag in (wav.MP3, wav.MPEG):
        inner = formats.recognise(lambda at, size: read(head.start + at, size), "mp3")
        if inner is not formats.MP3:
            raise UnsupportedAudio(_UNKNOWN)
        return replace(content, format=inner, sox=inner.sox, intact=False)
    # Codings in blocks, GSM and ADPCM among them, need the header.
    sox = formats.WAV.sox if head.honest else f"--ignore-length {formats.WAV.sox}"
    return replace(content, sox=sox, ffmpeg=formats.WAV.ffmpeg, whole=True)
