"""MP3 at a constant bit rate: the only import of lameenc, and the arithmetic of its lengths.

Constant, so that the length and every byte range are exact before the encoding has finished.
Sources: ISO/IEC 11172-3 and 13818-3 (frames); LAME 3.100, encoder.c (padding, delay).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import lameenc

MPEG_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
# LAME needs these samples more than it is given, for its own delay and the last overlap.
_DELAY = 1152


def encoder_version() -> str:
    """What made a cached file; another build of the library may make other bytes."""
    status = Path(lameenc.__file__).stat()
    return f"{status.st_size}-{status.st_mtime_ns}"


def bitrate_at(rate: int, wanted: int) -> int:
    """The bit rate in kbit/s that MPEG has at a sample rate: MPEG-2.5 ends at 64."""
    return min(wanted, 64) if rate <= 12000 else wanted


def length(samples: int, rate: int, bitrate: int) -> int:
    """The bytes of the MP3 of `samples` samples a channel at `rate` Hz and `bitrate` kbit/s."""
    spf = 576 if rate <= 24000 else 1152
    frames = -(-(samples + _DELAY) // spf)
    whole, rest = divmod(spf // 8 * bitrate * 1000, rate)
    # LAME pads a frame whenever the fractions passed over, after the first, fill another byte.
    return frames * whole + -(-((frames - 1) * rest) // rate)


def encode(
    pcm: Iterable[bytes], rate: int, channels: int, bitrate: int, quality: int
) -> Iterator[bytes]:
    """Encode PCM of 16 bits, in pieces of whole samples, yielding MP3 as it comes."""
    encoder = lameenc.Encoder()
    encoder.set_channels(channels)
    encoder.set_in_sample_rate(rate)
    encoder.set_out_sample_rate(rate)
    encoder.set_bit_rate(bitrate)
    encoder.set_quality(quality)
    encoder.silence()
    for piece in pcm:
        encoded = encoder.encode(piece)
        if encoded:
            yield bytes(encoded)
    yield bytes(encoder.flush())
