"""The one place that runs decoders, sox and ffmpeg: hostile files, no shell, bounded time and size.

sox and not a library: it reads what Asterisk writes (gsm, ulaw, alaw, MS-GSM in WAV) and what
clients send (mp3, ogg, flac, any WAV), Debian keeps it, and a crash of it is no crash of ours.
ffmpeg reads what sox can't (Opus, WebM, M4A, AMR, G.722). It is told the format and the codecs that
it may use, and opens no other file: nothing in a file makes it follow a playlist or an address.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evolvex_api.backends.audio import wav
from evolvex_api.backends.audio.content import Content
from evolvex_api.backends.failures import StorageUnavailable, UnsupportedAudio

# An hour of audio takes about two seconds.
_TIMEOUT = 60.0
_PATH = "/usr/local/bin:/usr/bin:/bin"
_ENV = {"PATH": _PATH, "LC_ALL": "C.UTF-8"}
# Live calls go first, and a file made to be hostile gets neither the processor nor the memory.
_LIMITS = ("nice", "-n", "19", "prlimit", "--cpu=60", f"--as={1 << 30}")
_NO_SPACE = ("No space left", "Read-only file system", "File size limit exceeded")
_NOT_AUDIO = "This is not audio that can be decoded."
_CODECS = (
    "aac,alac,mp3,mp3float,opus,libopus,vorbis,libvorbis,flac,amrnb,amrwb,libopencore_amrnb,"
    "libopencore_amrwb,g722,gsm,libgsm,gsm_ms,libgsm_ms,pcm_u8,pcm_s16le,pcm_s24le,pcm_s32le,"
    "pcm_s16be,pcm_s24be,pcm_f32le,pcm_f64le,pcm_mulaw,pcm_alaw,adpcm_ms,adpcm_ima_wav"
)
_PIECE = 64 * 1024
# What is decoded to find out whether a file can be, and the most bytes of it that are looked at.
_PROBED_SECONDS = 0.1
_PROBED_BYTES = 1 << 20


class TooLong(UnsupportedAudio):
    """Decoded, the audio is larger than the caller allows."""


@dataclass(frozen=True)
class Output:
    """What is to come out: a WAV of PCM of 16 bits.

    `rate` in Hz and `channels` of None are those of the input; `seconds` is where the output ends
    at the latest. No file that the decoder writes may exceed `limit` bytes. `guard` makes
    resampled peaks fit by lowering the volume (sox -G, which keeps the sound in a temporary file
    of twice the output's size).
    """

    limit: int
    rate: int | None = None
    channels: int | None = None
    seconds: float | None = None
    guard: bool = False


@dataclass(frozen=True)
class Probe:
    """What the first samples of a file show: Hz and channels."""

    rate: int
    channels: int


def has_ffmpeg() -> bool:
    """True when ffmpeg is installed."""
    return shutil.which("ffmpeg", path=_PATH) is not None


def decode(content: Content, target: Path, output: Output) -> None:
    """Decode the audio of an open file into a file of that name.

    Raises UnsupportedAudio when no decoder can read it or it takes too long, TooLong, and
    StorageUnavailable when sox is missing or the disk is full.
    """
    limits = [*_LIMITS, f"--fsize={output.limit}"]
    _first_that_can(
        content,
        [*limits, *_sox(content, output, str(target))],
        [*limits, *_ffmpeg(content, output, f"file:{target}")],
    )


def probe(content: Content) -> Probe:
    """Decode the first moment of an open file.

    Raises UnsupportedAudio when there is no sound that can be decoded, and StorageUnavailable.
    """
    if content.is_linear:
        return Probe(content.rate, content.channels)
    output = Output(_PROBED_BYTES, seconds=_PROBED_SECONDS)
    made = _first_that_can(
        content,
        [*_LIMITS, *_sox(content, output, "-")],
        [*_LIMITS, *_ffmpeg(content, output, "pipe:1")],
    )
    head = wav.read_header(lambda at, size: made[at : at + size], len(made))
    if not head.size:
        raise UnsupportedAudio("There is no sound in this audio.")
    return Probe(head.rate, head.channels)


def _sox(content: Content, output: Output, target: str) -> Sequence[str]:
    guard = ["-G"] if output.guard else []
    rate = ["-r", str(output.rate)] if output.rate else []
    channels = ["-c", str(output.channels)] if output.channels else []
    form = ["-t", "wav", "-e", "signed-integer", "-b", "16", *rate, *channels]
    trim = ["trim", "0", str(output.seconds)] if output.seconds else []
    return ["sox", "-V1", "-D", *guard, *content.sox.split(), "-", *form, target, *trim]


def _ffmpeg(content: Content, output: Output, target: str) -> Sequence[str]:
    rate = ["-ar", str(output.rate)] if output.rate else []
    channels = ["-ac", str(output.channels)] if output.channels else []
    end = ["-t", str(output.seconds)] if output.seconds else []
    return [
        *("ffmpeg", "-nostdin", "-v", "error", "-threads", "1"),
        *("-protocol_whitelist", "file", "-codec_whitelist", _CODECS),
        # Opened by a name, as files of some formats must be read back and forth.
        *("-f", content.ffmpeg, "-i", "file:/proc/self/fd/0"),
        *("-map", "0:a:0", "-vn", "-sn", "-dn", "-map_metadata", "-1", "-fflags", "+bitexact"),
        *("-threads", "1", "-c:a", "pcm_s16le", *rate, *channels, *end, "-f", "wav", "-y", target),
    ]


def _first_that_can(content: Content, sox: Sequence[str], ffmpeg: Sequence[str]) -> bytes:
    """Run sox, then ffmpeg where sox can't read the file; returns what was printed."""
    if content.sox:
        try:
            return _run(sox, content)
        except TooLong:
            raise
        except UnsupportedAudio:
            if not content.ffmpeg or not has_ffmpeg():
                raise
    if not content.ffmpeg:
        raise UnsupportedAudio(_NOT_AUDIO)
    if not has_ffmpeg():
        raise UnsupportedAudio(
            f"Audio of the format {content.format.name} needs ffmpeg, which is not installed on"
            " the PBX."
        )
    return _run(ffmpeg, content)


def _run(command: Sequence[str], content: Content) -> bytes:
    try:
        with _Input(content) as source:
            done = subprocess.run(
                command, stdin=source, capture_output=True, env=_ENV, timeout=_TIMEOUT, check=False
            )
    except FileNotFoundError as error:
        raise StorageUnavailable("The audio decoder is not installed.") from error
    except subprocess.TimeoutExpired as error:
        raise UnsupportedAudio("Decoding this audio takes too long.") from error
    _check(done)
    return done.stdout


def _check(done: subprocess.CompletedProcess[bytes]) -> None:
    if done.returncode == 0:
        return
    said = done.stderr[-2000:].decode(errors="replace")
    cause = RuntimeError(f"the decoder ended with {done.returncode}: {said.strip()}")
    if done.returncode in (-signal.SIGXFSZ, -signal.SIGXCPU) or "File too large" in said:
        raise TooLong("This audio is too long when decoded.") from cause
    if any(words in said for words in _NO_SPACE):
        raise StorageUnavailable("The disk is full or can't be written.") from cause
    raise UnsupportedAudio(_NOT_AUDIO) from cause


class _Input:
    """A decoder's standard input: the open file, or a pipe with the part of it that is audio."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self._feeder: threading.Thread | None = None
        self._read = -1

    def __enter__(self) -> int:
        if self._content.whole:
            os.lseek(self._content.descriptor, 0, os.SEEK_SET)
            return self._content.descriptor
        self._read, write = os.pipe2(os.O_CLOEXEC)
        self._feeder = threading.Thread(target=self._feed, args=(write,), daemon=True)
        self._feeder.start()
        return self._read

    def __exit__(self, *_: object) -> None:
        if self._feeder is not None:
            os.close(self._read)
            self._feeder.join()

    def _feed(self, write: int) -> None:
        position, end = self._content.start, self._content.start + self._content.size
        # A decoder that has enough, or has failed, reads no further.
        with contextlib.suppress(OSError), open(write, "wb", buffering=0) as pipe:
            while position < end:
                size = min(_PIECE, end - position)
                piece = os.pread(self._content.descriptor, size, position)
                if not piece:
                    return
                position += pipe.write(piece) or 0


_playable: set[tuple[int, int, int, int]] = set()
_MOST_REMEMBERED = 10_000


def can_decode(content: Content, status: os.stat_result) -> bool:
    """True when the first moment of an open file can be decoded; remembered for its version.

    Raises StorageUnavailable when the decoder is missing.
    """
    version = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    if version in _playable:
        return True
    try:
        probe(content)
    except UnsupportedAudio:
        return False
    if len(_playable) >= _MOST_REMEMBERED:
        _playable.clear()
    _playable.add(version)
    return True
