"""The MP3 encoder: the only import of lameenc.

A long recording is encoded on two processors at once, which halves the time. The recording is cut
into spans of five minutes. One run of the encoder, A, works on the first span while a second run,
B, works on the next one. B starts eight seconds early, because what LAME writes for a moment
depends on what it heard just before; after those seconds ("warm-up") B writes the same frames as A.

    recording   |---------- span ----------|---------- span ----------|-- …
    run A       [==========================#==]
    run B                          [warm-up#===========================#==]
    run C                                                      [warm-up#=== …
    output      AAAAAAAAAAAAAAAAAAAAAAAAAAABBBBBBBBBBBBBBBBBBBBBBBBBBBB …
                                           ^ seam

Around each seam (#) 16 frames of A are compared with 16 of B. If the frames' heads are equal, both
make the same sound there, and the output continues with B, which then becomes the next A. If they
differ, A encodes the rest alone, so that a seam is never heard. The bytes depend on the recording
alone, not on which run was faster.

Only what no decoder reads may differ between the runs: the bits that fill gaps. But a frame's sound
may begin inside the frames before it (main_data_begin, the "bit reservoir"), so at a seam B's bytes
are copied into the free ends of A's last frames: see `_Run.joined_to`.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import lameenc

from evolvex_api.backends.audio.mp3_form import Form

log = logging.getLogger(__name__)

# A span of the recording, much longer than a piece, and how long before its begin LAME listens.
_SPAN_SECONDS, _WARM_UP_SECONDS = 300, 8
# So many frames before a seam and after it must agree.
_COMPARED = 16
# Small pieces first, so that a listener hears something at once; then few large ones.
_FIRST_PIECE = 8 * 1024
_LARGEST_PIECE = 256 * 1024

# Bytes of the recording's samples: from a position, so many.
Read = Callable[[int, int], bytes]


@functools.cache
def encoder_version() -> str:
    """What made a cached file; another build of the library may make other bytes."""
    status = Path(lameenc.__file__).stat()
    return f"{status.st_size}-{status.st_mtime_ns}"


def encode(form: Form, quality: int, read: Read) -> Generator[bytes]:
    """Encode the recording whose samples, of 16 bits, `read` returns.

    Yields MP3 as it comes, at first a frame that gives players the exact duration. Raises what
    `read` raises. Whoever stops before the end closes the generator, which ends the second run.
    """
    current = _Run(form, quality, read, 0)
    while not current.held:
        current.feed()
    yield form.info_frame(bytes(current.held[:4]))
    span, warm_up = _frames(form, _SPAN_SECONDS), _frames(form, _WARM_UP_SECONDS)
    seam = span
    # Not worth its while for the last bit; nor for padded frames, which telephony has not.
    while not form.padded and seam + span // 4 < form.frames:
        ahead = _Run(form, quality, read, seam - warm_up)
        with ahead.running_to(seam + span):
            yield from current.until(seam + _COMPARED, hold=seam - _COMPARED)
        if not ahead.agrees(current, seam):
            break
        yield ahead.joined_to(current, seam)
        current = ahead
        seam += 2 * span
    yield from current.rest()


def _frames(form: Form, seconds: int) -> int:
    return seconds * form.rate // form.samples_per_frame


class _Run:
    """One run of the encoder, from a frame of the recording on.

    `held` is what it has made and not yet returned; it begins with frame `first`.
    """

    def __init__(self, form: Form, quality: int, read: Read, first: int) -> None:
        self.held = bytearray()
        self.first = first
        self._form = form
        self._read = read
        self._position = first * form.samples_per_frame * form.sample_size
        self._piece = _FIRST_PIECE
        self._ended = False
        self._stopped = False
        self._encoder = lameenc.Encoder()
        self._encoder.set_channels(form.channels)
        self._encoder.set_in_sample_rate(form.rate)
        self._encoder.set_out_sample_rate(form.rate)
        self._encoder.set_bit_rate(form.bitrate)
        self._encoder.set_quality(quality)
        self._encoder.silence()

    def feed(self) -> None:
        """Encode one more piece; at the recording's end, what the encoder still has."""
        size = min(self._piece, self._form.samples * self._form.sample_size - self._position)
        if size:
            piece = self._read(self._position, size)
            self.held += self._encoder.encode(piece)
            self._position += len(piece)
            self._piece = min(self._piece * 2, _LARGEST_PIECE)
        else:
            self.held += self._encoder.flush()
            self._ended = True

    def until(self, frame: int, *, hold: int) -> Iterator[bytes]:
        """Encode until that frame is reached; yield what is made, but hold all from `hold` on."""
        while True:
            if piece := self._take(hold):
                yield piece
            if self._made >= frame or self._ended:
                return
            self.feed()

    def rest(self) -> Iterator[bytes]:
        """Yield what is held, and everything up to the end."""
        while True:
            if self.held:
                yield bytes(self.held)
                self.held.clear()
            if self._ended:
                return
            self.feed()

    @contextlib.contextmanager
    def running_to(self, frame: int) -> Iterator[None]:
        """Encode up to a frame meanwhile, in a thread of the same priority, and wait for it.

        When the block is left early, the thread stops after the piece that it is at.
        """
        thread = threading.Thread(
            target=self._run_to, args=(frame,), name="mp3-second-run", daemon=True
        )
        thread.start()
        try:
            yield
        except BaseException:
            self._stopped = True
            raise
        finally:
            thread.join()

    def _run_to(self, frame: int) -> None:
        try:
            while self._made < frame and not self._ended and not self._stopped:
                self.feed()
        except Exception:
            # The frames are missing, so the other run goes on alone, and fails where this one did.
            log.exception("the second run of the encoder failed")

    def agrees(self, other: _Run, seam: int) -> bool:
        """True when around a frame both runs make the same sound, so that this one can go on."""
        if self._made < seam + _COMPARED:
            return False
        needed = self._form.main_data_begin(self._frame(seam))
        room = _COMPARED * (self._form.frame_size - self._form.head_size)
        return needed <= room and all(
            self._frame(number)[: self._form.head_size]
            == other._frame(number)[: self._form.head_size]
            for number in range(seam - _COMPARED, seam + _COMPARED)
        )

    def joined_to(self, other: _Run, seam: int) -> bytes:
        """The other's frames before the seam, and from there on all that this one has made.

        The main data of the frame at the seam begins in the frames before it, in bytes that belong
        to no other frame (ISO/IEC 11172-3, main_data_begin). There this run's bytes are taken:

            other's frames     |head data....|head data..bb|        b: of the frame at the seam
            this one's frames                             |head data....|
        """
        needed = self._form.main_data_begin(self._frame(seam))
        before = []
        for number in range(seam - 1, seam - _COMPARED - 1, -1):
            own = min(needed, self._form.frame_size - self._form.head_size)
            kept = self._form.frame_size - own
            before.append(other._frame(number)[:kept] + self._frame(number)[kept:])
            needed -= own
        self._take(seam)
        return b"".join(reversed(before)) + self._take(self._made)

    @property
    def _made(self) -> int:
        return self.first + len(self.held) // self._form.frame_size

    def _frame(self, number: int) -> bytes:
        start = (number - self.first) * self._form.frame_size
        return bytes(self.held[start : start + self._form.frame_size])

    def _take(self, frame: int) -> bytes:
        """Return the whole frames that are held before a frame, and hold them no more."""
        frames = max(min(frame, self._made) - self.first, 0)
        size = frames * self._form.frame_size
        given = bytes(self.held[:size])
        del self.held[:size]
        self.first += frames
        return given
