"""WAV headers, read and written: RIFF or RF64 with a `fmt ` and a `data` chunk, little-endian.

Sources: "Multimedia Programming Interface and Data Specifications 1.0" (IBM, Microsoft, 1991); EBU
Tech 3306 (RF64); what Asterisk writes while a recording goes on: formats/format_wav.c, sizes of 0
until the file closes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from evolvex_api.backends.failures import UnsupportedAudio
from evolvex_api.core.formats import Read

HEADER_SIZE = 44
PCM, FLOAT, ALAW, MULAW, GSM, MPEG, MP3 = 1, 3, 6, 7, 0x31, 0x50, 0x55
_EXTENSIBLE = 0xFFFE
_UNKNOWN = 0xFFFFFFFF
_MOST_CHUNKS = 1000
# The largest sizes that a RIFF header can hold.
_LARGEST = 0xFFFFFFFF - HEADER_SIZE
_BEFORE_DATA = (b"data", b"fmt ", b"fact", b"LIST")


@dataclass(frozen=True)
class Header:
    """What a WAV file says of itself, compared with its real size.

    `tag` is the coding (PCM, FLOAT, …), `bits` those of a sample. `start` and `size` are bytes:
    where the samples begin, how many there really are; `block` those of the samples of one moment.
    `closed` is False while the recorder has
    not yet written the sizes. `honest` is True when the file's own sizes are right.
    """

    tag: int
    bits: int
    rate: int
    channels: int
    start: int
    size: int
    block: int
    closed: bool = True
    honest: bool = True

    @property
    def pcm16(self) -> bool:
        """True for PCM of 16 bits, mono or stereo."""
        return self.tag == PCM and self.bits == 16 and self.channels in (1, 2)


def read_header(read: Read, file_size: int) -> Header:
    """Read the header of a WAV file; UnsupportedAudio when it is none, or holds no samples' chunk.

    Given a function that reads the file, and the file's size in bytes.
    """
    head = read(0, 12)
    if head[:4] not in (b"RIFF", b"RF64", b"BW64") or head[8:12] != b"WAVE":
        raise UnsupportedAudio("The recording is not a WAV file.")
    fmt, ds64 = b"", 0
    position = 12
    for _ in range(_MOST_CHUNKS):
        chunk = read(position, 8)
        if len(chunk) < 8:
            break
        name, size = struct.unpack("<4sI", chunk)
        position += 8
        if name == b"data":
            said = ds64 if size == _UNKNOWN and ds64 else size
            made = _header(fmt, position, said, file_size)
            riff = struct.unpack_from("<I", head, 4)[0]
            right = head[:4] == b"RIFF" and riff + 8 == file_size
            return _trusted(made, said, file_size, read, right)
        if name == b"fmt ":
            fmt = read(position, min(size, 40))
        if name == b"ds64":
            ds64 = int.from_bytes(read(position + 8, 8), "little")
        position = _next_chunk(read, position + size, size)
    raise UnsupportedAudio("The recording's WAV file has no audio.")


def _next_chunk(read: Read, end: int, size: int) -> int:
    """Where the chunk after one begins; some writers leave the padding of an odd one out."""
    return end + 1 if size % 2 and read(end, 4) not in _BEFORE_DATA else end


def _header(fmt: bytes, start: int, said: int, file_size: int) -> Header:
    """The header that takes everything up to the file's end for samples."""
    if len(fmt) < 16:
        raise UnsupportedAudio("The recording's WAV file does not say its format.")
    tag, channels, rate, _, align, bits = struct.unpack_from("<HHIIHH", fmt)
    if tag == _EXTENSIBLE and len(fmt) >= 26:
        tag = int.from_bytes(fmt[24:26], "little")
    if not channels or not rate:
        raise UnsupportedAudio("The recording's WAV file does not say its format.")
    there = max(file_size - start, 0)
    closed = said not in (0, _UNKNOWN) or there == 0
    block = 2 * channels if tag == PCM and bits == 16 else max(align, 1)
    return Header(tag, bits, rate, channels, start, there, block, closed, honest=False)


def _trusted(head: Header, said: int, file_size: int, read: Read, riff_right: bool) -> Header:
    """The header with the size that the file itself gives, where that is right."""
    right = head.closed and said <= head.size and _ends_right(read, head.start + said, file_size)
    size = said if right else head.size
    return replace(head, size=size - size % head.block, honest=right and riff_right)


def _ends_right(read: Read, position: int, file_size: int) -> bool:
    """True when whole chunks follow the samples up to the file's end, or nothing does."""
    for _ in range(_MOST_CHUNKS):
        if file_size - position < 8:
            return True
        position += position % 2
        name, size = struct.unpack("<4sI", read(position, 8).ljust(8, b"\0"))
        if not (name.isascii() and name.decode().isprintable()):
            return False
        position += 8 + size
        if position > file_size + 1:
            return False
    return False


def pcm16_header(rate: int, channels: int, size: int) -> bytes:
    """The 44 bytes before `size` bytes of PCM samples of 16 bits at `rate` Hz.

    Samples that are too many for the header's 32 bits are declared as the largest size.
    """
    frame = 2 * channels
    size = min(size, _LARGEST)
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", size + HEADER_SIZE - 8, b"WAVE"),
        *(b"fmt ", 16, PCM, channels, rate, rate * frame, frame, 16),
        *(b"data", size),
    )
