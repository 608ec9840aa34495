"""Recordings as the field stores them: under wrong names, in other folders, with lying headers."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from evolvex_api.backends.audio import wav
from tests.integration.conftest import Pbx
from tests.integration.test_recordings import METHODS, duration, get, insert_row, write_tone
from tests.lab.server import wait_until
from tests.lab.service import Service

SECONDS = 3


def converted(path: Path, *form: str) -> None:
    """Make a tone of SECONDS with ffmpeg; `form` is what stands before the file's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = f"sine=frequency=440:sample_rate=8000:duration={SECONDS}"
    command = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", tone, *form, str(path)]
    subprocess.run(command, check=True)


def samples() -> bytes:
    """Linear samples of a tone of SECONDS."""
    form = ["-t", "raw", "-e", "signed", "-b", "16"]
    command = ["sox", "-n", "-r", "8000", "-c", "1", *form, "-"]
    effect = ["synth", str(SECONDS), "sine", "440", "gain", "-6"]
    return subprocess.run([*command, *effect], check=True, capture_output=True).stdout


def with_sizes(size: int, before: bytes = b"") -> bytes:
    """A WAV whose header says a size, with chunks before its samples."""
    body = samples()
    head = wav.pcm16_header(8000, 1, 0)
    return head[:36] + before + head[36:40] + struct.pack("<I", size) + body


FORMS: dict[str, tuple[str, ...]] = {
    "mp3 named wav.wav": ("-c:a", "libmp3lame", "-f", "mp3"),
    "wav named mp3.mp3": ("-f", "wav"),
    "mp3 in wav.wav": ("-c:a", "libmp3lame", "-f", "wav"),
    "opus in ogg.ogg": ("-c:a", "libopus", "-f", "ogg"),
    "opus.opus": ("-c:a", "libopus"),
    "flac in ogg.ogg": ("-c:a", "flac", "-f", "ogg"),
    "flac.flac": (),
    "m4a.m4a": ("-c:a", "aac"),
    "webm.webm": ("-c:a", "libopus"),
    "rf64.wav": ("-rf64", "always"),
    "mulaw in wav.wav": ("-c:a", "pcm_mulaw"),
    "24 bits.wav": ("-c:a", "pcm_s24le"),
    "float.wav": ("-c:a", "pcm_f32le"),
    "adpcm.wav": ("-c:a", "adpcm_ms"),
    "g722.g722": ("-ar", "16000", "-c:a", "g722"),
    "au.au": (),
    "upper case.WAV": ("-f", "wav"),
    "mixed case.Mp3": ("-c:a", "libmp3lame", "-f", "mp3"),
    "slin.slin": ("-f", "s16le"),
}


@pytest.mark.parametrize("form", FORMS)
def test_whatever_lies_there_is_heard(pbx: Pbx, form: str, tmp_path: Path) -> None:
    uniqueid = f"1700000800.{list(FORMS).index(form)}"
    path = pbx.asterisk.monitor / f"{uniqueid}.{form.rpartition('.')[2]}"
    converted(path, *FORMS[form])
    os.utime(path, (0, 1_700_000_000))
    assert pbx.service.get("check", pbx.keys["all"], uniqueid=uniqueid).data["file"] is True
    wav_, mp3 = (get(pbx, method, uniqueid) for method in METHODS)
    assert wav_.body[:4] == b"RIFF"
    assert mp3.body[:3] == b"ID3" or mp3.body[:2] in (b"\xff\xfb", b"\xff\xf3", b"\xff\xe3")
    for answer in (wav_, mp3):
        assert abs(duration(answer.body, tmp_path) - SECONDS) < 0.2
        assert answer.headers["Cache-Control"] == "private, no-cache"
    head = wav.read_header(lambda at, size: wav_.body[at : at + size], len(wav_.body))
    assert (head.pcm16, head.honest) == (True, True)


@pytest.mark.parametrize("size", [2147479552, 0x7FFFFFFF, 100, 10_000_000])
@pytest.mark.parametrize("before", [b"", b"LIST" + struct.pack("<I", 70_000) + bytes(70_000)])
def test_a_header_that_lies_is_put_right(
    pbx: Pbx, size: int, before: bytes, tmp_path: Path
) -> None:
    uniqueid = f"1700000810.{size % 1000}{len(before)}"
    path = pbx.asterisk.monitor / f"{uniqueid}.wav"
    path.write_bytes(with_sizes(size, before))
    os.utime(path, (0, 1_700_000_000))
    answer = get(pbx, "get_file_wav", uniqueid)
    head = wav.read_header(lambda at, size: answer.body[at : at + size], len(answer.body))
    assert (head.honest, head.size) == (True, SECONDS * 16_000)
    assert abs(duration(get(pbx, "get_file_mp3", uniqueid).body, tmp_path) - SECONDS) < 0.2


@pytest.mark.parametrize("extension", ["wav", "mp3", "ogg", "gsm", "m4a", "flac"])
def test_check_is_true_only_of_what_plays(pbx: Pbx, extension: str) -> None:
    uniqueid = f"1700000820.{len(extension)}{ord(extension[0])}"
    heads = {"wav": b"RIFF\0\0\0\0WAVEfmt ", "ogg": b"OggS\0\2" + bytes(20) + b"\1\x1e\1vorbis",
             "m4a": b"\0\0\0\x20ftypM4A ", "flac": b"fLaC"}  # fmt: skip
    content = heads.get(extension, b"") + b"this is no audio" * 100
    (pbx.asterisk.monitor / f"{uniqueid}.{extension}").write_bytes(content)
    for method in METHODS:
        assert get(pbx, method, uniqueid).code == "unsupported_audio"
    assert pbx.service.get("check", pbx.keys["all"], uniqueid=uniqueid).data["file"] is False


def test_a_bad_file_does_not_hide_a_good_one(pbx: Pbx) -> None:
    uniqueid = "1700000830.1"
    (pbx.asterisk.monitor / f"{uniqueid}.wav").write_bytes(b"what a full disk left" * 100)
    good = pbx.asterisk.monitor / f"{uniqueid}.mp3"
    write_tone(good, 1, "-t", "mp3")
    assert get(pbx, "get_file_mp3", uniqueid).body == good.read_bytes()
    wait_until(lambda: "is not used: This is not audio" in pbx.service.log(), 5, "a line")


def test_a_call_of_hundreds_of_rows(pbx: Pbx) -> None:
    now = int(time.time())
    call = f"{now}.900"
    path = pbx.asterisk.monitor / "queue" / f"q-{call}.wav"
    write_tone(path, 1, "-b", "16")
    values = [f"(NOW(), '{now}.{1000 + number}', '{call}', 'outgoing')" for number in range(600)]
    columns = "(start, uniqueid, linkedid, dcontext)"
    pbx.database.execute(f"INSERT INTO cdr {columns} VALUES {', '.join(values)}")
    insert_row(pbx, call, linkedid=call, userfield=f"audio:{path}")
    for uniqueid in (call, f"{now}.1000", f"{now}.1599"):
        for key in ("all", "sales"):
            assert get(pbx, "get_file_wav", uniqueid, key).body == path.read_bytes()


@pytest.fixture
def stand(pbx: Pbx, tmp_path: Path) -> Iterator[tuple[Pbx, Path]]:
    """The service with a root that is a symbolic link, a further folder, and the root's link."""
    root, disk = tmp_path / "root", tmp_path / "disk"
    for folder in ("monitor", "other"):
        (tmp_path / folder).mkdir()
    disk.mkdir()
    root.symlink_to(tmp_path / "monitor")
    patterns = "{YYYY}/{MM}/{DD}/*-{uniqueid}.{ext}\n {uniqueid}*.{ext}"
    options = {"recordings": {"root": str(root), "also": str(disk), "patterns": patterns}}
    service = Service(pbx.asterisk, pbx.database, options)
    groups = {"all": service.add_group("all", ["*"])}
    keys = {"all": service.add_user("all", groups["all"])}
    with contextlib.closing(service):
        yield Pbx(pbx.asterisk, pbx.database, service.start(), groups, keys), root


def test_folders_that_links_lead_to(stand: tuple[Pbx, Path], tmp_path: Path) -> None:
    pbx, root = stand
    day = time.strftime("%Y/%m/%d", time.localtime(1_700_000_000))
    year, rest = day.split("/", 1)
    for number, folder in ((1, "disk"), (2, "other")):
        name = f"out-1-2-20231114-221320-1700000000.{number}.wav"
        write_tone(tmp_path / folder / rest / name, 1)
    (root / year).symlink_to(tmp_path / "disk")
    assert get(pbx, "get_file_wav", "1700000000.1").status == 200
    (root / year).unlink()
    (root / year).symlink_to(tmp_path / "other")
    assert get(pbx, "get_file_wav", "1700000000.2").code == "recording_not_found"
    said = re.compile(r"1700000000\.2\.wav.* leads outside \[recordings\] root and also")
    wait_until(lambda: bool(said.search(pbx.service.log())), 5, "the reason is logged")


def test_the_roots_link_may_be_led_elsewhere(stand: tuple[Pbx, Path], tmp_path: Path) -> None:
    pbx, root = stand
    for folder in ("monitor", "other"):
        write_tone(tmp_path / folder / f"1700000001.{folder}.wav", 1)
        root.unlink()
        root.symlink_to(tmp_path / folder)
        assert get(pbx, "get_file_wav", f"1700000001.{folder}").status == 200


def test_a_pattern_serves_no_longer_id(stand: tuple[Pbx, Path]) -> None:
    pbx, root = stand
    write_tone(root / "1700000002.30-sales.wav", 1)
    assert get(pbx, "get_file_wav", "1700000002.30").status == 200
    assert get(pbx, "get_file_wav", "1700000002.3").code == "recording_not_found"


def test_a_path_of_an_older_root(stand: tuple[Pbx, Path]) -> None:
    pbx, root = stand
    path = root / "2023" / "11" / "14" / "old.mp3"
    write_tone(path, 1, "-t", "mp3")
    uniqueid = f"{int(time.time())}.7001"
    insert_row(pbx, uniqueid, userfield="audio:/mnt/old/monitor/2023/11/14/old.wav")
    assert get(pbx, "get_file_mp3", uniqueid).body == path.read_bytes()


def test_a_cyrillic_name_that_became_mojibake(stand: tuple[Pbx, Path]) -> None:
    pbx, root = stand
    write_tone(root / "Иванов-1.wav", 1)
    uniqueid = f"{int(time.time())}.7002"
    told = "Иванов-1.wav".encode().decode("latin-1")
    insert_row(pbx, uniqueid, userfield=f"audio:{told}")
    assert get(pbx, "get_file_wav", uniqueid).status == 200


def test_what_was_made_of_a_recording_goes_with_it(stand: tuple[Pbx, Path]) -> None:
    pbx, root = stand
    path = root / "1700000003.1.wav"
    write_tone(path, 5, "-b", "16")
    assert get(pbx, "get_file_mp3", "1700000003.1").status == 200
    wait_until(lambda: bool(list(pbx.service.cache.glob("*.mp3"))), 10, "it is cached")
    path.unlink()
    assert get(pbx, "get_file_mp3", "1700000003.1").code == "recording_not_found"
    wait_until(lambda: not list(pbx.service.cache.glob("*.mp3*")), 60, "it is gone")


def encoders(service: Service) -> list[int]:
    """The threads that each worker has at the lowest priority: its encoders."""
    counts = []
    for pid in service.worker_pids():
        lowest = 0
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                stat = (task / "stat").read_text()
                lowest += stat.rpartition(")")[2].split()[16] == "19"
        counts.append(lowest)
    return counts


def test_sixty_who_hang_up_leave_no_encoders(pbx: Pbx) -> None:
    source = pbx.asterisk.monitor / "1700000900.0.wav"
    write_tone(source, 3600, "-b", "16")
    for number in range(1, 60):
        shutil.copy(source, pbx.asterisk.monitor / f"1700000900.{number}.wav")
    connections = []
    most = 0
    for number in range(60):
        connection = socket.create_connection(("127.0.0.1", pbx.service.port))
        path = f"/pbx/api/index/get_file_mp3?uniqueid=1700000900.{number}"
        head = f"GET {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {pbx.keys['all']}\r\n\r\n"
        connection.sendall(head.encode())
        connections.append(connection)
        most = max(most, *encoders(pbx.service))
    assert connections[0].recv(12) == b"HTTP/1.1 200"
    assert pbx.service.get("check", pbx.keys["all"]).status == 200
    most = max(most, *encoders(pbx.service))
    for connection in connections:
        connection.close()
    wait_until(lambda: sum(encoders(pbx.service)) == 0, 15, "the encoders end")
    assert 0 < most <= 4  # two recordings a process, each by two runs
    wait_until(lambda: not list(pbx.service.cache.glob("*.part")), 15, "no part stays")
