"""Where a recording is looked for, and why a candidate is not used."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evolvex_api import config
from evolvex_api.backends.audio import wav
from evolvex_api.backends.failures import (
    CdrUnavailable,
    RecordingEmpty,
    RecordingNotFound,
    StorageUnavailable,
    UnsupportedAudio,
)
from evolvex_api.backends.recordings import Live, Recordings
from evolvex_api.core.calllog import CallRow

UNIQUEID = "1700000000.1"
DAY = time.strftime("%Y/%m/%d", time.localtime(1700000000))
SOUND = wav.pcm16_header(8000, 1, 2000) + bytes(2000)
DEFAULT = "{YYYY}/{MM}/{DD}/*-{uniqueid}.{ext}"


def row(uniqueid: str = UNIQUEID, recordingfile: str = "", userfield: str = "") -> CallRow:
    """A row of the call log."""
    return CallRow(uniqueid, UNIQUEID, "incoming", "", recordingfile, userfield)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty folder of recordings."""
    folder = tmp_path / "monitor"
    folder.mkdir()
    return folder


def write(path: Path, content: bytes = SOUND) -> Path:
    """Make a file in a folder that need not exist."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def found(
    root: Path,
    uniqueid: str = UNIQUEID,
    rows: list[CallRow] | None = None,
    *,
    live: list[Live] | None = None,
    patterns: tuple[str, ...] = (DEFAULT,),
    also: tuple[Path, ...] = (),
) -> Path:
    """The real path of the recording that is found."""
    recordings = Recordings(config.Recordings(root, also, patterns))
    recording = recordings.find(uniqueid, lambda: rows or [], lambda: live or [])
    os.close(recording.descriptor)
    return Path(recording.path)


@pytest.mark.parametrize("name", ["wav", "WAV", "Wav", "wAv", "wav49", "WAV16", "slin", "ULAW"])
@pytest.mark.parametrize("where", ["", f"{DAY}/out-1-2-20231114-221320-"])
def test_any_case_of_an_extension(root: Path, name: str, where: str) -> None:
    path = write(root / f"{where}{UNIQUEID}.{name}")
    assert found(root) == path


@pytest.mark.parametrize(("told", "lies"), [
    ("x.wav", "x.mp3"), ("x.m4a", "x.wav"), ("x.WAV", "x.wav"), ("x.wav", "x.WAV"), ("x", "x.wav"),
    ("x.opus", "x.gsm"),
])  # fmt: skip
def test_another_extension_than_the_row_says(root: Path, told: str, lies: str) -> None:
    path = write(root / lies)
    assert found(root, rows=[row(recordingfile=told)]) == path
    assert found(root, rows=[row(userfield=f"audio:{told}")]) == path


@pytest.mark.parametrize("told", [
    "/mnt/old/monitor/2023/11/14/x.wav", "/mnt/old/x.wav", "2023/11/14/x.wav", "/x.wav",
    "/var/spool/asterisk/monitor/queue/2023/11/14/x.wav",
])  # fmt: skip
def test_a_path_of_an_older_root(root: Path, told: str) -> None:
    path = write(root / "/".join(told.split("/")[-4:] if "2023" in told else ["x.wav"]))
    assert found(root, rows=[row(recordingfile=told)]) == path


def test_names_whose_utf8_was_read_as_latin1(root: Path) -> None:
    path = write(root / DAY / "Иванов-ыщЀ-20231114-221320-x.wav")
    told = path.name.encode().decode("latin-1")
    windows = bytes(byte for byte in path.name.encode()).decode("cp1252", "replace")
    assert found(root, rows=[row(recordingfile=told)]) == path
    assert found(root, rows=[row(recordingfile=path.name)]) == path
    if "\ufffd" not in windows:
        assert found(root, rows=[row(recordingfile=windows)]) == path


@pytest.mark.parametrize("pattern", [
    "{uniqueid}*.{ext}", "*{uniqueid}*.{ext}", "{uniqueid}*/call.{ext}", "[cx]*-{uniqueid}?.{ext}",
])  # fmt: skip
@pytest.mark.parametrize("other", ["30", "3"])
def test_no_digit_follows_the_id(root: Path, pattern: str, other: str) -> None:
    asked = "1700000000.3"
    name = pattern.replace("{uniqueid}", f"1700000000.{other}").replace("{ext}", "wav")
    name = name.replace("[cx]*", "call").replace("?", "a").replace("*", "")
    path = write(root / name)
    if other == "3":
        assert found(root, asked, patterns=(pattern,)) == path
    else:
        with pytest.raises(RecordingNotFound):
            found(root, asked, patterns=(pattern,))


def test_a_prefix_does_not_hide_the_date(root: Path) -> None:
    uniqueid = f"mikopbx-{UNIQUEID}_ab"
    path = write(root / DAY / f"in-{uniqueid}.wav")
    assert found(root, uniqueid) == path


def test_an_id_of_the_call_log_is_no_pattern(root: Path) -> None:
    write(root / f"x-{UNIQUEID}.wav")
    for told in ("*", "17?????*", "\0", "[0-9]*"):
        with pytest.raises(RecordingNotFound):
            found(root, "1700000009.9", [row(told)], patterns=("*-{uniqueid}.{ext}",))


def test_the_root_may_be_led_elsewhere_at_any_time(tmp_path: Path) -> None:
    link = tmp_path / "root"
    for disk in ("old", "new"):
        path = write(tmp_path / disk / f"{UNIQUEID}.wav")
        link.unlink(missing_ok=True)
        link.symlink_to(tmp_path / disk)
        assert found(link) == path


def test_links_lead_only_where_they_may(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = tmp_path / "disk"
    path = write(disk / "11" / "14" / f"in-{UNIQUEID}.wav")
    (root / "2023").symlink_to(disk)
    assert DAY.startswith("2023/11/1")
    path = path.rename(write(disk / Path(*Path(DAY).parts[1:]) / path.name))
    with caplog.at_level(logging.WARNING), pytest.raises(RecordingNotFound):
        found(root)
    assert f"in-{UNIQUEID}.wav" in caplog.text
    assert "[recordings] root and also" in caplog.text
    assert found(root, also=(disk,)) == path
    with pytest.raises(RecordingNotFound):
        found(root, also=(tmp_path / "dis",))


@pytest.mark.parametrize("bad", ["directory", "fifo", "text", "empty", "head"])
def test_a_bad_candidate_does_not_hide_a_good_one(root: Path, bad: str) -> None:
    path = root / f"{UNIQUEID}.wav"
    makers: dict[str, Callable[[], Any]] = {
        "directory": path.mkdir,
        "fifo": lambda: os.mkfifo(path),
        "text": lambda: path.write_bytes(b"no audio at all" * 100),
        "empty": path.touch,
        "head": lambda: path.write_bytes(SOUND[:44]),
    }
    failures = {"text": UnsupportedAudio, "empty": RecordingEmpty, "head": RecordingEmpty}
    makers[bad]()
    with pytest.raises(failures.get(bad, RecordingNotFound)):
        found(root)
    good = write(root / f"{UNIQUEID}.gsm", b"\xd1" + bytes(32))
    assert found(root) == good


@pytest.mark.parametrize("number", [
    errno.EACCES, errno.EIO, errno.ESTALE, errno.ENOMEM, errno.EMFILE, errno.ETIMEDOUT,
])  # fmt: skip
def test_what_cannot_be_read_is_no_missing_recording(
    root: Path, number: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(root / f"{UNIQUEID}.wav")
    open_ = os.open

    def broken(name: Any, *arguments: Any, **named: Any) -> int:
        if name == str(path):
            raise OSError(number, os.strerror(number))
        return open_(name, *arguments, **named)

    monkeypatch.setattr(os, "open", broken)
    with caplog.at_level(logging.WARNING), pytest.raises(StorageUnavailable):
        found(root)
    assert path.name in caplog.text
    assert os.strerror(number) in caplog.text
    good = write(root / f"{UNIQUEID}.gsm", b"\xd1" + bytes(32))
    assert found(root) == good


@pytest.mark.parametrize("number", [
    errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO,
])  # fmt: skip
def test_what_is_not_there_is_no_failure(
    root: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_ = os.open

    def absent(name: Any, *arguments: Any, **named: Any) -> int:
        if UNIQUEID in str(name):
            raise OSError(number, os.strerror(number))
        return open_(name, *arguments, **named)

    monkeypatch.setattr(os, "open", absent)
    with pytest.raises(RecordingNotFound):
        found(root)


def test_a_read_error_behind_an_open_file_is_a_failure(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(root / f"{UNIQUEID}.wav")

    def broken(*_: Any) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pread", broken)
    with pytest.raises(StorageUnavailable):
        found(root)


def test_a_missing_root_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable):
        found(tmp_path / "nothing")


def test_a_live_recording_is_as_young_as_its_channel(root: Path) -> None:
    path = write(root / "other.wav")
    os.utime(path, (0, 1_700_000_000))
    for since, good in ((1_700_000_001, False), (1_699_999_999, True)):
        live = [Live(str(path), UNIQUEID, since)]
        if good:
            assert found(root, live=live) == path
        else:
            with pytest.raises(RecordingNotFound):
                found(root, live=live)


def test_a_call_of_thousands_of_rows(root: Path) -> None:
    path = write(root / DAY / f"q-{UNIQUEID}.wav")
    rows = [row(f"1700000{number:03}.{number}") for number in range(900)]
    rows.append(row(UNIQUEID, path.name))
    assert found(root, "1700000500.500", rows) == path


def test_a_database_that_is_away_hides_no_file(root: Path) -> None:
    def away() -> list[CallRow]:
        raise CdrUnavailable("away")

    recordings = Recordings(config.Recordings(root, (), (DEFAULT,)))
    with pytest.raises(CdrUnavailable):
        recordings.find(UNIQUEID, away, lambda: [])
    write(root / f"{UNIQUEID}.wav")
    os.close(recordings.find(UNIQUEID, away, lambda: []).descriptor)
