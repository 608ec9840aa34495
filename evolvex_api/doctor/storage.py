"""Folders that the service reads and writes, and the decoder."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from evolvex_api.backends.audio.decoders import has_ffmpeg
from evolvex_api.config import Config
from evolvex_api.doctor.findings import Finding

SERVICE_USER = "evolvex"
_LEAST_SPACE = 100 << 20


def check_recordings(config: Config) -> Iterator[Finding]:
    """Whether the folders of recordings can be read."""
    roots = (config.recordings.root, *config.recordings.also)
    for root, key in zip(roots, ("root", *["also"] * (len(roots) - 1)), strict=True):
        if os.access(root, os.R_OK | os.X_OK):
            yield Finding("recordings", "ok", f"{root} can be read")
        else:
            fix = (
                f"run evolvex-api setup, which puts {SERVICE_USER} into Asterisk's group, or "
                f"correct [recordings] {key}; below /home the unit needs a drop-in, ProtectHome=no"
            )
            yield Finding("recordings", "fail", f"the service can't read {root}", fix)


def check_folders(config: Config) -> Iterator[Finding]:
    """Whether cache, sounds and state can be written, and have room."""
    yield _writable("cache", config.mp3.cache_dir, "[mp3] cache_dir")
    yield _writable("uploads", config.uploads.directory, "[uploads] directory")
    yield _writable("state", config.server.state_dir, "[server] state_dir")


def _writable(name: str, folder: Path, option: str) -> Finding:
    fix = (
        f"run evolvex-api setup, or make {folder} a folder that {SERVICE_USER} may write and name "
        f"it in ReadWritePaths= of a drop-in of the unit, or correct {option}"
    )
    try:
        with tempfile.NamedTemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        return Finding(name, "fail", f"the service can't write {folder}: {error.strerror}", fix)
    if free < _LEAST_SPACE:
        room = f"{folder}: {free >> 20} MiB are free"
        return Finding(name, "fail", room, "make room on the disk")
    return Finding(name, "ok", f"{folder} can be written, {free >> 20} MiB free")


def check_decoder(_config: Config) -> Iterator[Finding]:
    """Whether sox is there and reads what recordings are made of, and ffmpeg for the rest."""
    fix = "apt install sox libsox-fmt-mp3"
    path = shutil.which("sox")
    if path is None:
        yield Finding("decoder", "fail", "sox is not installed", fix)
        return
    said = subprocess.run([path, "--help"], capture_output=True, text=True, check=False).stdout
    formats = next((line for line in said.splitlines() if "FILE FORMATS" in line), "").split()
    missing = [name for name in ("mp3", "ogg", "gsm", "flac") if name not in formats]
    if missing:
        yield Finding("decoder", "fail", f"sox can't read {', '.join(missing)}", fix)
    else:
        yield Finding("decoder", "ok", "sox reads mp3, ogg, gsm and flac")
    if has_ffmpeg():
        yield Finding("further formats", "ok", "ffmpeg is installed")
    else:
        found = "no ffmpeg, so Opus, M4A, WebM, AMR, 3GP and G.722 are refused"
        yield Finding("further formats", "warn", found, "apt install ffmpeg")
