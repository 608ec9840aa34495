"""Uploads that the dialplan really plays, and what is refused."""

from __future__ import annotations

import io
import subprocess
import sys
import time
import uuid
import wave
from array import array
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Pbx
from tests.lab import packages
from tests.lab.server import wait_until
from tests.lab.service import Answer

PHP = """<?php
$curl_file = curl_file_create($argv[2]);
$post = array("file" => $curl_file);
$ch = curl_init();
curl_setopt($ch, CURLOPT_URL, $argv[1]);
curl_setopt($ch, CURLOPT_POST, true);
curl_setopt($ch, CURLOPT_POSTFIELDS, $post);
curl_setopt($ch, CURLOPT_RETURNTRANSFER, true);
echo curl_exec($ch);
curl_close($ch);
"""


def make(path: Path, *form: str, seconds: float = 1) -> Path:
    """Make an audio file with sox."""
    command = ["sox", "-n", *form, str(path), "synth", str(seconds), "sine", "440", "gain", "-6"]
    subprocess.run(command, check=True, capture_output=True)
    return path


def upload(pbx: Pbx, content: bytes, name: str = "a.wav", key: str | None = None) -> Answer:
    """Upload as a browser's form does."""
    boundary = uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
    body = f"{head}\r\n".encode() + content + f"\r\n--{boundary}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return pbx.service.request(
        "POST", "uploads", key or pbx.keys["all"], headers=headers, body=body
    )


def stored(pbx: Pbx) -> set[str]:
    """The names in the folder of sounds, hidden ones too."""
    return {path.name for path in pbx.service.uploads.iterdir()}


def test_the_php_client_of_the_original_document_is_played(any_pbx: Pbx, tmp_path: Path) -> None:
    packages.ensure(*packages.PHP)
    script = tmp_path / "upload.php"
    script.write_text(PHP)
    sound = make(tmp_path / "test.wav", "-r", "44100", "-c", "2", "-b", "24")
    url = f"{any_pbx.service.url}/uploads?api_key={any_pbx.keys['all']}"
    said = subprocess.run(
        ["php", str(script), url, str(sound)], capture_output=True, check=True, text=True
    ).stdout
    file = said.partition('"file": "')[2].partition('"')[0]
    assert file.startswith("evolvex/"), said
    any_pbx.originate(
        channel="Local/610@answer", context="evolvex-playback", exten="1", variable=f"file={file}"
    )
    wait_until(
        lambda: any_pbx.asterisk.global_variable("PLAYED") == f"{file} SUCCESS", 15, "it was played"
    )


@pytest.mark.parametrize(
    ("name", "form", "rate"),
    [
        ("a.wav", ("-r", "8000", "-b", "8"), 8000),
        ("a.wav", ("-r", "48000", "-c", "2", "-e", "float", "-b", "32"), 16000),
        ("a.mp3", ("-r", "44100", "-c", "2", "-t", "mp3"), 16000),
        ("a.ogg", ("-r", "22050", "-t", "ogg"), 16000),
        ("a.gsm", ("-r", "8000", "-c", "1", "-t", "gsm"), 8000),
        ("a.flac", ("-r", "16000", "-t", "flac"), 16000),
    ],
)
def test_any_common_audio_is_stored_as_asterisk_plays_it(
    pbx: Pbx, tmp_path: Path, name: str, form: tuple[str, ...], rate: int
) -> None:
    content = make(tmp_path / name, *form, seconds=2).read_bytes()
    data = upload(pbx, content, name).data
    assert list(data) == ["uuid", "name", "file", "size", "duration", "samplerate"]
    assert data["file"] == f"evolvex/{data['uuid']}"
    assert abs(data["duration"] - 2) < 0.1
    assert data["samplerate"] == rate
    made = {path.suffix: path for path in pbx.service.uploads.glob(f"{data['uuid']}.*")}
    assert set(made) == ({".wav"} if rate == 8000 else {".wav", ".wav16"})
    for suffix, path in made.items():
        with wave.open(str(path)) as file:
            form_of = (file.getnchannels(), file.getsampwidth(), file.getframerate())
        assert form_of == (1, 2, 8000 if suffix == ".wav" else 16000)
        assert path.stat().st_mode & 0o777 == 0o644
    assert made[".wav"].stat().st_size == data["size"]


def test_names_are_sanitised_and_cyrillic_stays(pbx: Pbx, tmp_path: Path) -> None:
    content = make(tmp_path / "a.wav", "-r", "8000").read_bytes()
    assert upload(pbx, content, "../../Привет мир.wav").data["name"] == "Привет мир.wav"


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"RIFF\0\0\0\0WAVEjunk", b"#EXTM3U\n/etc/passwd\n", b"\xff\xfb", b"OggS" * 9],
)
def test_not_audio_is_415_and_leaves_nothing(pbx: Pbx, content: bytes) -> None:
    before = stored(pbx)
    for name in ("a.wav", "a.m3u", "|id.gsm", "-x.gsm"):
        answer = upload(pbx, content, name)
        assert (answer.status, answer.code) == (415, "unsupported_audio")
    assert stored(pbx) == before


def test_too_large_is_413(pbx: Pbx) -> None:
    answer = upload(pbx, b"\0" * (32 << 20 | 1))
    assert (answer.status, answer.code) == (413, "file_too_large")


@pytest.mark.parametrize("seconds", [603, 30000])
def test_a_bomb_is_refused(pbx: Pbx, tmp_path: Path, seconds: int) -> None:
    """A small file that unpacks to many hours, and one that is just too long."""
    quiet = tmp_path / "long.flac"
    shape = ["-r", "8000", "-c", "1", "-b", "16"]
    command = ["sox", "-D", "-n", *shape, str(quiet), "trim", "0", str(seconds)]
    subprocess.run(command, check=True, capture_output=True)
    before = stored(pbx)
    answer = upload(pbx, quiet.read_bytes(), "long.flac")
    assert (answer.status, answer.code) == (413, "file_too_large")
    assert "max_duration" in answer.json["detail"]
    assert stored(pbx) == before


FFMPEG = {
    "voice.oga": ("-c:a", "libopus", "-f", "ogg"),
    "voice.opus": ("-c:a", "libopus"),
    "telegram.ogg": ("-c:a", "flac", "-f", "ogg"),
    "browser.webm": ("-c:a", "libopus"),
    "iphone.m4a": ("-c:a", "aac"),
    "android.3gp": ("-c:a", "aac", "-f", "3gp"),
    "radio.aac": ("-c:a", "aac"),
    "large.wav": ("-rf64", "always"),
    "wide.wav": ("-c:a", "pcm_s24le", "-rf64", "always"),
    "mp3.wav": ("-c:a", "libmp3lame"),
    "adpcm.wav": ("-c:a", "adpcm_ima_wav"),
    "sound.g722": ("-c:a", "g722"),
}


@pytest.mark.parametrize(
    ("name", "named"),
    # What has no header is known by its name alone.
    [(name, named) for name in FFMPEG for named in (True, False) if named or "g722" not in name],
)
def test_what_phones_and_browsers_record_is_taken(
    pbx: Pbx, tmp_path: Path, name: str, named: bool
) -> None:
    sound = make(tmp_path / "tone.wav", "-r", "16000", "-c", "1", "-b", "16", seconds=2)
    path = tmp_path / name
    command = ["ffmpeg", "-v", "error", "-y", "-i", str(sound), *FFMPEG[name], str(path)]
    subprocess.run(command, check=True)
    data = upload(pbx, path.read_bytes(), name if named else "blob").data
    assert data["samplerate"] == 16000
    assert abs(data["duration"] - 2) < 0.2
    with wave.open(str(pbx.service.uploads / f"{data['uuid']}.wav")) as file:
        samples = array("h", file.readframes(file.getnframes()))
    middle = samples[4000:12000]
    crossings = sum(a < 0 <= b for a, b in pairwise(middle))
    assert abs(crossings - 440) < 10  # a second of the tone


def test_amr_of_a_phone_is_taken(pbx: Pbx) -> None:
    content = b"#!AMR\n" + (b"\x04" + bytes(12)) * 100
    assert upload(pbx, content, "x.amr").data["duration"] == 2.0


def test_without_ffmpeg_the_answer_says_what_is_missing(pbx: Pbx, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sox", "nice", "prlimit"):
        (programs / name).symlink_to(f"/usr/bin/{name}")
    content = b"#!AMR\n" + (b"\x04" + bytes(12)) * 100
    code = (
        "import os, sys; from pathlib import Path; from evolvex_api.backends.audio import content,"
        " decoders; decoders._PATH = sys.argv[1]; f = os.open(sys.argv[2], os.O_RDONLY);"
        " decoders.probe(content.examine(f, os.fstat(f), 'amr'))"
    )
    path = tmp_path / "x.amr"
    path.write_bytes(content)
    said = subprocess.run(
        [sys.executable, "-c", code, str(programs), str(path)],
        capture_output=True, text=True, check=False,
    ).stderr  # fmt: skip
    assert "needs ffmpeg, which is not installed" in said


def test_a_group_lists_and_removes_its_own(pbx: Pbx, tmp_path: Path) -> None:
    content = make(tmp_path / "a.wav", "-r", "16000", "-b", "16").read_bytes()
    mine = upload(pbx, content, "моё.wav", pbx.keys["sales"]).data
    theirs = upload(pbx, content, "их.wav", pbx.keys["other"]).data

    def listed(key: str) -> dict[str, Any]:
        return {one["uuid"]: one for one in pbx.service.get("uploads", pbx.keys[key]).data}

    found = listed("sales")[mine["uuid"]]
    created = found.pop("created")
    assert found == mine
    assert abs(datetime.fromisoformat(created).timestamp() - time.time()) < 60
    assert theirs["uuid"] not in listed("sales")
    refused = [remove(pbx, uuid_, "sales") for uuid_ in (theirs["uuid"], str(uuid.uuid4()), "../x")]
    assert {(one.status, one.code, one.json["detail"]) for one in refused} == {
        (404, "upload_not_found", "There is no uploaded sound of this uuid.")
    }
    assert remove(pbx, None, "sales").code == "missing_parameter"
    assert remove(pbx, mine["uuid"], "sales").data == mine
    assert not [name for name in stored(pbx) if mine["uuid"] in name]
    assert mine["uuid"] not in listed("sales")
    assert theirs["uuid"] in listed("other")
    assert remove(pbx, mine["uuid"], "sales").code == "upload_not_found"


def remove(pbx: Pbx, sound: str | None, key: str) -> Answer:
    """DELETE a sound."""
    params = {"uuid": sound} if sound else {}
    return pbx.service.request("DELETE", "uploads", pbx.keys[key], params=params)


def test_the_command_line_lists_and_removes_them(pbx: Pbx, tmp_path: Path) -> None:
    content = make(tmp_path / "a.wav", "-r", "8000").read_bytes()
    sound = upload(pbx, content, "приветствие.wav", pbx.keys["sales"]).data

    def sounds(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "evolvex_api", "sounds", *arguments]
        command += ["--config", str(pbx.service.config)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    (line,) = [one for one in sounds("list").stdout.splitlines() if sound["uuid"] in one]
    assert line.split("\t")[1] == "sales"
    assert line.endswith("приветствие.wav")
    assert sound["uuid"] in sounds("list", "--group", "sales").stdout
    assert sound["uuid"] not in sounds("list", "--group", "other").stdout
    assert sounds("remove", sound["uuid"]).returncode == 0
    assert sounds("remove", sound["uuid"]).returncode == 1
    assert not [name for name in stored(pbx) if sound["uuid"] in name]


def test_quotas_of_a_group_and_of_the_folder(pbx: Pbx, tmp_path: Path) -> None:
    """Twelve at once never store more than may be."""
    content = make(tmp_path / "a.wav", "-r", "8000", "-b", "16", seconds=1).read_bytes()
    group = pbx.service.add_group("hoarders", ["incoming"])
    path = pbx.service.config.parent / "groups.d" / "hoarders.conf"
    path.write_text(path.read_text() + "\n[uploads]\nquota = 100K\n")
    key = pbx.service.add_user("hoarder", group)
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: upload(pbx, content, "a.wav", key), range(12)))
    taken = [answer for answer in answers if answer.status == 200]
    assert len(taken) == 6  # of 16,044 bytes each
    refused = {answer.code for answer in answers if answer.status != 200}
    assert refused == {"quota_exceeded"}
    first = taken[0].data["uuid"]
    pbx.service.request("DELETE", "uploads", key, params={"uuid": first})
    assert upload(pbx, content, "a.wav", key).status == 200


def test_a_stranger_is_refused_before_the_file_is_taken(pbx: Pbx) -> None:
    assert upload(pbx, b"\0" * 100, key="wrong").code == "unknown_key"


def test_no_file_is_a_missing_parameter(pbx: Pbx) -> None:
    answer = pbx.service.request("POST", "uploads", pbx.keys["all"])
    assert (answer.code, answer.json["parameter"]) == ("missing_parameter", "file")


def test_a_missing_folder_is_503(pbx: Pbx, tmp_path: Path) -> None:
    content = make(tmp_path / "a.wav", "-r", "8000").read_bytes()
    hidden = pbx.service.uploads.with_name("hidden")
    pbx.service.uploads.rename(hidden)
    try:
        answer = upload(pbx, content)
        assert (answer.status, answer.code) == (503, "storage_unavailable")
    finally:
        hidden.rename(pbx.service.uploads)


def test_a_full_disk_is_503_and_leaves_nothing(pbx: Pbx, tmp_path: Path) -> None:
    content = make(tmp_path / "a.wav", "-r", "8000", seconds=60).read_bytes()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1200k", "tmpfs", str(pbx.service.uploads)], check=True
    )
    try:
        answer = upload(pbx, content)
        assert (answer.status, answer.code) == (503, "storage_unavailable"), answer.body
        assert stored(pbx) == set()
    finally:
        subprocess.run(["umount", str(pbx.service.uploads)], check=True)


def test_a_read_only_folder_is_503(pbx: Pbx, tmp_path: Path) -> None:
    content = make(tmp_path / "a.wav", "-r", "8000").read_bytes()
    folder = str(pbx.service.uploads)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", folder], check=True)
    try:
        answer = upload(pbx, content)
        assert (answer.status, answer.code) == (503, "storage_unavailable"), answer.body
    finally:
        subprocess.run(["umount", folder], check=True)


def test_the_key_may_be_in_the_form(pbx: Pbx, tmp_path: Path) -> None:
    content = make(tmp_path / "a.wav", "-r", "8000").read_bytes()
    boundary = "x" * 20
    parts = io.BytesIO()
    for head, value in (
        ('name="api_key"', pbx.keys["all"].encode()),
        ('name="file"; filename="a.wav"', content),
    ):
        parts.write(f"--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode())
        parts.write(value + b"\r\n")
    parts.write(f"--{boundary}--\r\n".encode())
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    answer = pbx.service.request("POST", "uploads", headers=headers, body=parts.getvalue())
    assert answer.status == 200
