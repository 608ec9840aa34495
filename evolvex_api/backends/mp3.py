"""MP3 at a constant bit rate: the only import of lameenc, and the arithmetic of its lengths.

Constant, so that the length and every byte range are exact before the encoding has finished.
Sources: ISO/IEC 11172-3 and 13818-3 (frames); LAME 3.100, encoder.c (padding, delay).
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

import lameenc

MPEG_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
# LAME needs these samples more than it is given, for its own delay and the last overlap.
_DELAY = 1152
# The samples of silence that LAME puts before the first one (lame.h, lame_get_encoder_delay).
_ENCODER_DELAY = 576


@functools.cache
def encoder_version() -> str:
    """What made a cached file; another build of the library may make other bytes."""
    status = Path(lameenc.__file__).stat()
    return f"{status.st_size}-{status.st_mtime_ns}"


def bitrate_at(rate: int, wanted: int) -> int:
    """The bit rate in kbit/s that MPEG has at a sample rate: MPEG-2.5 ends at 64."""
    return min(wanted, 64) if rate <= 12000 else wanted


def length(samples: int, rate: int, bitrate: int) -> int:
    """The bytes of the MP3 of `samples` samples a channel at `rate` Hz and `bitrate` kbit/s."""
    frames = _frames(samples, rate)
    whole, rest = divmod(_samples_per_frame(rate) // 8 * bitrate * 1000, rate)
    # LAME pads a frame whenever the fractions passed over, after the first, fill another byte.
    padding = -(-((frames - 1) * rest) // rate)
    return whole + frames * whole + padding  # the first for the frame of `_info_frame`


def encode(  # noqa: PLR0913 - what an MP3 is made of
    pcm: Iterable[bytes], samples: int, rate: int, channels: int, *, bitrate: int, quality: int
) -> Iterator[bytes]:
    """Encode `samples` samples a channel of 16 bits, which `pcm` brings in pieces of whole ones.

    Yields MP3 as it comes, at first a frame that tells players the exact duration.
    """
    encoder = lameenc.Encoder()
    encoder.set_channels(channels)
    encoder.set_in_sample_rate(rate)
    encoder.set_out_sample_rate(rate)
    encoder.set_bit_rate(bitrate)
    encoder.set_quality(quality)
    encoder.silence()
    encoded = _not_empty(encoder, pcm)
    first = next(encoded)
    yield _info_frame(first[:4], samples, rate, channels, bitrate)
    yield first
    yield from encoded


def _not_empty(encoder: lameenc.Encoder, pcm: Iterable[bytes]) -> Iterator[bytes]:
    for piece in pcm:
        encoded = encoder.encode(piece)
        if encoded:
            yield bytes(encoded)
    yield bytes(encoder.flush())


def _samples_per_frame(rate: int) -> int:
    return 576 if rate <= 24000 else 1152


def _frames(samples: int, rate: int) -> int:
    return -(-(samples + _DELAY) // _samples_per_frame(rate))


def _info_frame(head: bytes, samples: int, rate: int, channels: int, bitrate: int) -> bytes:
    """A silent frame that tells how many frames and bytes follow and what of them is padding.

    Without it a player takes the encoder's delay and padding, up to 0.2 s, for part of the
    recording. Source: the "Info" form of Xing's header with LAME's extension, "Mp3 Info Tag
    rev 1 specifications" by Gabriel Bouvigne.
    """
    frames = _frames(samples, rate)
    size = _samples_per_frame(rate) // 8 * bitrate * 1000 // rate
    side_info = {(True, 1): 9, (True, 2): 17, (False, 1): 17, (False, 2): 32}
    body = bytes((head[0], head[1] | 1, head[2] & ~2, head[3]))  # no checksum, no padding
    body += bytes(side_info[rate <= 24000, channels])
    body += struct.pack(">4sIII", b"Info", 3, frames, length(samples, rate, bitrate))
    padding = frames * _samples_per_frame(rate) - samples - _ENCODER_DELAY
    gap = (_ENCODER_DELAY << 12 | padding).to_bytes(3, "big")
    body += b"LAME3.100" + bytes(12) + gap
    return body.ljust(size, b"\0")
