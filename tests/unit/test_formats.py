"""The content decides what a file is; a name only where there is no header."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvex_api.core import formats

TONE = ("synth", "1", "sine", "300-900", "gain", "-3")


def recognised(content: bytes, extension: str = "txt") -> str | None:
    """The name of the format of a file with this content."""
    found = formats.recognise(lambda at, size: content[at : at + size], extension)
    return found.name if found else None


def encoded(tmp_path: Path, extension: str, *form: str) -> bytes:
    """A second of a tone, made by sox."""
    path = tmp_path / f"made.{extension}"
    command = ["sox", "-n", "-r", "8000", "-c", "1", *form, str(path), *TONE]
    subprocess.run(command, check=True, capture_output=True)
    return path.read_bytes()


@pytest.mark.parametrize("name", ["wav", "mp3", "ogg", "flac", "au", "aiff"])
def test_what_sox_writes_is_recognised_under_any_name(tmp_path: Path, name: str) -> None:
    content = encoded(tmp_path, name)
    for extension in ("txt", "wav", "mp3", "ulaw", ""):
        assert recognised(content, extension) == name


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"OggS\0\2" + bytes(20) + b"\1\x13OpusHead\1\1", "opus"),
        (b"OggS\0\2" + bytes(20) + b"\1\x33\x7fFLAC\1\0", "flac in ogg"),
        (b"\0\0\0\x20ftypM4A " + bytes(20), "m4a"),
        (b"\0\0\0\x20ftyp3gp4" + bytes(20), "m4a"),
        (b"\x1aE\xdf\xa3\x9fB\x86\x81\1B\xf7", "webm"),
        (b"#!AMR\n<" + bytes(20), "amr"),
        (b"#!AMR-WB\n" + bytes(20), "amr"),
        (b"RF64\xff\xff\xff\xffWAVEds64", "wav"),
        (b"RIFX\0\0\0\0WAVEfmt ", "wav"),
    ],
)
def test_magic_numbers(head: bytes, name: str) -> None:
    assert recognised(head) == name


def test_an_mp3_is_found_behind_its_tag_and_junk(tmp_path: Path) -> None:
    frames = encoded(tmp_path, "mp3")
    frames = frames[formats.id3_size(frames) :]
    tag = b"ID3\4\0\0" + bytes((0, 0, 2, 0)) + bytes(256)
    assert recognised(tag + frames) == "mp3"
    assert recognised(tag + bytes(1000) + frames) == "mp3"
    assert recognised(b"junk" + frames, "mp3") == "mp3"
    assert recognised(b"junk" + frames, "txt") is None


@pytest.mark.parametrize("extension", ["ulaw", "alaw", "sln16", "g722", "SLIN"])
@pytest.mark.parametrize("sample", [b"\xff", b"\xff\xfb", b"\xff\xf1", b"\xd5", b"\0"])
def test_silence_of_a_telephone_is_no_mpeg(extension: str, sample: bytes) -> None:
    expected = {"slin": "sln"}.get(extension.lower(), extension.lower())
    assert recognised(sample * 5000, extension) == expected


@pytest.mark.parametrize(
    "content",
    [
        b"", b"hello", b"#EXTM3U\n/etc/passwd\n", b"OggS" * 9, b"\xff\xfb", b"RIFF\0\0\0\0AVI ",
        b"\xff\xd8\xff\xe0" + bytes(200), b"<html>" * 20, b"%PDF-1.7\n",
    ],
)  # fmt: skip
@pytest.mark.parametrize("extension", ["wav", "mp3", "gsm", "m3u"])
def test_what_is_not_audio(content: bytes, extension: str) -> None:
    assert recognised(content, extension) is None


@pytest.mark.parametrize("extension", ["g722", "ulaw", "sln", "raw"])
def test_text_is_not_audio(extension: str) -> None:
    assert recognised(b"no audio at all" * 100, extension) is None
    assert recognised(b"U" * 5000, "alaw") == "alaw"  # silence


def test_gsm_has_a_signature_in_each_frame(tmp_path: Path) -> None:
    content = encoded(tmp_path, "gsm")
    assert recognised(content, "gsm") == "gsm"
    assert recognised(content, "GSM") == "gsm"
    assert recognised(bytes(33 * 3), "gsm") is None


def test_spellings() -> None:
    assert list(formats.spellings("wav")) == ["wav", *sorted({"wav".upper(), "Wav", "wAv", "waV",
                                                              "WAv", "WaV", "wAV"})]  # fmt: skip
    assert list(formats.spellings("sln16")) == ["sln16", "SLN16", "Sln16"]


def test_each_extension_has_one_format_and_each_format_a_decoder() -> None:
    extensions = [name for one in formats.FORMATS for name in one.extensions]
    assert len(extensions) == len(set(extensions))
    assert all(one.sox or one.ffmpeg for one in formats.FORMATS)
    assert all(name == name.lower() for name in extensions)


@given(st.binary(max_size=300), st.sampled_from(["wav", "mp3", "gsm", "ulaw", ""]))
def test_hostile_content_does_no_harm(content: bytes, extension: str) -> None:
    for head in (b"", b"ID3\4\0\0", b"OggS", b"\xff\xfb", b"\xff\xf1"):
        recognised(head + content, extension)
