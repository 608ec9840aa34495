"""WAV headers, read and written: RIFF with a `fmt ` and a `data` chunk, little-endian.

Source: "Multimedia Programming Interface and Data Specifications 1.0" (IBM, Microsoft, 1991); what
Asterisk writes while a recording goes on: formats/format_wav.c, sizes of 0 until the file closes.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

from evolvex_api.backends.failures import UnsupportedAudio

HEADER_SIZE = 44
_PCM = 1
_EXTENSIBLE = 0xFFFE
_HEAD_TO_READ = 64 * 1024


@dataclass(frozen=True)
class Header:
    """What a WAV file says of itself, held against its real size.

    `start` and `size` are bytes: where the samples begin, how many there are. `closed` is False
    while the recorder has not yet written the sizes.
    """

    pcm16: bool
    rate: int
    channels: int
    start: int
    size: int
    closed: bool


def read_header(descriptor: int, file_size: int) -> Header:
    """Read the header of an open WAV file; UnsupportedAudio when it is none."""
    head = os.pread(descriptor, _HEAD_TO_READ, 0)
    if len(head) < 12 or head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        raise UnsupportedAudio("The recording is not a WAV file.")
    fmt: tuple[int, ...] | None = None
    position = 12
    while position + 8 <= len(head):
        name, size = struct.unpack_from("<4sI", head, position)
        position += 8
        if name == b"fmt " and position + 16 <= len(head):
            fmt = struct.unpack_from("<HHIIHH", head, position)
        if name == b"data":
            return _header(fmt, position, size, file_size)
        position += size + size % 2
    raise UnsupportedAudio("The recording's WAV file has no audio.")


def _header(fmt: tuple[int, ...] | None, start: int, said: int, file_size: int) -> Header:
    if fmt is None or not fmt[1] or not fmt[2]:
        raise UnsupportedAudio("The recording's WAV file does not tell its format.")
    tag, channels, rate, _, _, bits = fmt
    there = max(file_size - start, 0)
    closed = said not in (0, 0xFFFFFFFF) or there == 0
    size = min(said, there) if closed else there
    pcm16 = tag in (_PCM, _EXTENSIBLE) and bits == 16 and channels in (1, 2)
    return Header(pcm16, rate, channels, start, size - size % (2 * channels), closed)


def pcm16_header(rate: int, channels: int, size: int) -> bytes:
    """The 44 bytes before `size` bytes of PCM samples of 16 bits at `rate` Hz."""
    frame = 2 * channels
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", size + HEADER_SIZE - 8, b"WAVE"),
        *(b"fmt ", 16, _PCM, channels, rate, rate * frame, frame, 16),
        *(b"data", size),
    )
