"""The arithmetic of an MP3 of constant bit rate: its frames, their sizes, its length.

Constant, so that the length and every byte range are exact before the encoding has finished.
Sources: ISO/IEC 11172-3 and 13818-3 (frames); LAME 3.100, encoder.c (padding, delay).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property

MPEG_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
# LAME needs these samples more than it is given, for its own delay and the last overlap.
_DELAY = 1152
# The samples of silence that LAME puts before the first one (lame.h, lame_get_encoder_delay).
_ENCODER_DELAY = 576
_HEADER = 4
# Bytes of side information after the header, by MPEG-1 or later, and channels.
_SIDE_INFO = {(True, 1): 17, (True, 2): 32, (False, 1): 9, (False, 2): 17}


def bitrate_at(rate: int, wanted: int) -> int:
    """The bit rate in kbit/s that MPEG has at a sample rate: MPEG-2.5 ends at 64."""
    return min(wanted, 64) if rate <= 12000 else wanted


@dataclass(frozen=True)
class Form:
    """What an MP3 will be: samples a channel, Hz, channels, kbit/s."""

    samples: int
    rate: int
    channels: int
    bitrate: int

    @cached_property
    def samples_per_frame(self) -> int:
        """Samples a channel in one frame."""
        return 1152 if self._mpeg1 else 576

    @property
    def sample_size(self) -> int:
        """The bytes of a sample of all channels in the recording, 16 bits each."""
        return 2 * self.channels

    @cached_property
    def frames(self) -> int:
        """The frames of sound, without the first one of `info_frame`."""
        return -(-(self.samples + _DELAY) // self.samples_per_frame)

    @cached_property
    def frame_size(self) -> int:
        """The bytes of a frame that is not padded."""
        return self._bits_per_frame // self.rate

    @property
    def padded(self) -> bool:
        """True when some frames have a byte more, as the bit rate makes no whole ones."""
        return self._bits_per_frame % self.rate > 0

    @property
    def length(self) -> int:
        """The bytes of the whole MP3."""
        # LAME pads a frame whenever the fractions passed over, after the first, fill another byte.
        padding = -(-((self.frames - 1) * (self._bits_per_frame % self.rate)) // self.rate)
        return self.frame_size + self.frames * self.frame_size + padding

    @cached_property
    def head_size(self) -> int:
        """The bytes of a frame's header and side information, before its main data."""
        return _HEADER + _SIDE_INFO[self._mpeg1, self.channels]

    def main_data_begin(self, frame: bytes) -> int:
        """How many bytes of main data before its header a frame's own begin."""
        return frame[4] << 1 | frame[5] >> 7 if self._mpeg1 else frame[4]

    def info_frame(self, header: bytes) -> bytes:
        """A silent frame that holds how many frames and bytes follow, and what of them is padding.

        `header` is that of the first frame of sound. Without it a player takes the encoder's delay
        and padding, up to 0.2 s, for part of the recording. Source: the "Info" form of Xing's
        header with LAME's extension, "Mp3 Info Tag rev 1 specifications" by Gabriel Bouvigne.
        """
        body = bytes((header[0], header[1] | 1, header[2] & ~2, header[3]))  # no checksum, padding
        body += bytes(_SIDE_INFO[self._mpeg1, self.channels])
        body += struct.pack(">4sIII", b"Info", 3, self.frames, self.length)
        padding = self.frames * self.samples_per_frame - self.samples - _ENCODER_DELAY
        gap = (_ENCODER_DELAY << 12 | padding).to_bytes(3, "big")
        body += b"LAME3.100" + bytes(12) + gap
        return body.ljust(self.frame_size, b"\0")

    @property
    def _mpeg1(self) -> bool:
        return self.rate > 24000

    @property
    def _bits_per_frame(self) -> int:
        """Bytes per frame × sample rate: divided by the rate, a frame's bytes."""
        return self.samples_per_frame // 8 * self.bitrate * 1000
