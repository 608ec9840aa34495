"""The one place that runs sox, the decoder: hostile files, no shell, bounded in time and size.

sox and not a library: it reads what Asterisk writes (gsm, ulaw, alaw, sln, MS-GSM in WAV) and what
clients send (mp3, ogg, flac, any WAV), Debian keeps it, and a crash of it is no crash of ours.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from evolvex_api.backends.failures import StorageUnavailable, UnsupportedAudio

# An hour of audio takes about two seconds.
_TIMEOUT = 60.0
_ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
# Live calls go first, and a file made to be hostile gets neither the processor nor the memory.
_LIMITS = ("nice", "-n", "19", "prlimit", "--cpu=60", f"--as={1 << 30}")
_NO_SPACE = ("No space left", "Read-only file system", "File size limit exceeded")


def run(arguments: Sequence[str], source: int, max_output: int) -> None:
    """Run sox with an open file as its standard input.

    Given sox's arguments (the input is named `-`, with its type before it), the file descriptor to
    read from, and the bytes that the output file may have at most.
    Raises UnsupportedAudio when sox can't read it or it takes too long, StorageUnavailable when
    sox is missing or the disk is full.
    """
    _run([*_LIMITS, f"--fsize={max_output}", "sox", "-V1", "-D", *arguments], source)


def sample_rate(path: Path) -> int:
    """The sample rate in Hz of a file whose name ends in its sox type.

    Raises UnsupportedAudio when it is not audio of that type.
    """
    with path.open("rb") as source:
        said = _run([*_LIMITS, "sox", "--info", "-V1", "-r", str(path)], source.fileno())
    try:
        return int(said)
    except ValueError as error:
        raise UnsupportedAudio("This is not audio that can be decoded.") from error


def _run(command: Sequence[str], source: int) -> bytes:
    os.lseek(source, 0, os.SEEK_SET)
    try:
        done = subprocess.run(
            command, stdin=source, capture_output=True, env=_ENV, timeout=_TIMEOUT, check=False
        )
    except FileNotFoundError as error:
        raise StorageUnavailable("The audio decoder is not installed.") from error
    except subprocess.TimeoutExpired as error:
        raise UnsupportedAudio("Decoding this audio takes too long.") from error
    _judge(done)
    return done.stdout


def _judge(done: subprocess.CompletedProcess[bytes]) -> None:
    if done.returncode == 0:
        return
    said = done.stderr[-2000:].decode(errors="replace")
    cause = RuntimeError(f"sox ended with {done.returncode}: {said.strip()}")
    if done.returncode in (-signal.SIGXFSZ, -signal.SIGXCPU) or "File too large" in said:
        raise UnsupportedAudio("This audio is too long when decoded.") from cause
    if any(words in said for words in _NO_SPACE):
        raise StorageUnavailable("The disk is full or can't be written.") from cause
    raise UnsupportedAudio("This is not audio that can be decoded.") from cause


def sniff(head: bytes, name: str) -> str | None:
    """The sox type of a file by its first bytes, or by its name where the format has no header.

    Given at least the first 12 bytes; returns None for what is surely not audio that sox may see.
    """
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[4:8] == b"ftyp":
        return None
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 in (0xE2, 0xE4, 0xE6):
        return "mp3"  # an MPEG audio frame: 11 bits of sync, layer I to III
    return _HEADERLESS.get(Path(name).suffix.lower())


_MAGIC = (
    (b"RIFF", "wav"),
    (b"RIFX", "wav"),
    (b"fLaC", "flac"),
    (b"OggS", "ogg"),
    (b"ID3", "mp3"),
    (b".snd", "au"),
    (b"FORM", "aiff"),
)
_HEADERLESS = {".gsm": "gsm"}
