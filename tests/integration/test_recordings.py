"""Recordings of real calls: every way to find them, both forms, ranges, conditions, the scope."""

from __future__ import annotations

import contextlib
import http.client
import io
import os
import shutil
import signal
import subprocess
import time
import wave
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.conftest import Pbx
from tests.lab.mariadb import FREEPBX
from tests.lab.server import wait_until
from tests.lab.service import Answer, Service

METHODS = ["get_file_wav", "get_file_mp3"]


def get(pbx: Pbx, method: str, uniqueid: str, key: str = "all", **headers: str) -> Answer:
    """Ask for a recording; header names are given with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return pbx.service.request(
        "GET", method, pbx.keys[key], params={"uniqueid": uniqueid}, headers=named
    )


def duration(audio: bytes, tmp_path: Path) -> float:
    """Seconds of audio that a player plays, as ffmpeg decodes it."""
    path, decoded = tmp_path / "audio", tmp_path / "decoded.wav"
    path.write_bytes(audio)
    command = ["ffmpeg", "-v", "error", "-y", "-i", str(path), str(decoded)]
    subprocess.run(command, check=True)
    with wave.open(str(decoded)) as file:
        return float(file.getnframes() / file.getframerate())


def write_tone(path: Path, seconds: float, *form: str) -> None:
    """Make an audio file with sox; `form` is what stands before its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    source = ["sox", "-n", "-r", "8000", "-c", "1"]
    effect = ["synth", str(seconds), "sine", "300-900", "gain", "-3"]
    subprocess.run([*source, *form, str(path), *effect], check=True, capture_output=True)


@pytest.fixture(scope="module")
def call(pbx: Pbx) -> str:
    """A finished, recorded call."""
    return pbx.recorded_call()


def test_the_whole_story_of_a_call(any_pbx: Pbx, tmp_path: Path) -> None:
    """Click-to-call, live channels, growing recording, finished WAV and MP3, CDR rows."""
    uniqueid = any_pbx.originate()
    any_pbx.wait_recorded(uniqueid, 30000)
    growing = get(any_pbx, "get_file_wav", uniqueid)
    assert growing.headers["Cache-Control"] == "no-store"
    with wave.open(io.BytesIO(growing.body)) as file:
        assert file.getnframes() * 2 + 44 == len(growing.body) > 30000
    live = get(any_pbx, "get_file_mp3", uniqueid)
    assert live.headers["Cache-Control"] == "no-store"
    assert int(live.headers["Content-Length"]) == len(live.body)
    assert duration(live.body, tmp_path) > 1
    any_pbx.asterisk.hang_up_all()
    any_pbx.wait_rows(uniqueid, 3)
    path = any_pbx.asterisk.monitor / f"{uniqueid}.wav"
    wav = get(any_pbx, "get_file_wav", uniqueid)
    assert wav.body == path.read_bytes()
    mp3 = get(any_pbx, "get_file_mp3", uniqueid)
    assert abs(duration(mp3.body, tmp_path) - duration(wav.body, tmp_path)) < 0.001
    rows = any_pbx.service.get("get_log_cdr", any_pbx.keys["all"]).data
    assert {row["dcontext"] for row in rows if row["linkedid"] == uniqueid} >= {"outgoing"}


@pytest.mark.parametrize("method", METHODS)
def test_headers_ranges_conditions_and_head(pbx: Pbx, call: str, method: str) -> None:
    whole = get(pbx, method, call)
    kind, ending = ("audio/mpeg", "mp3") if method.endswith("mp3") else ("audio/wav", "wav")
    assert whole.headers["Content-Type"] == kind
    assert whole.headers["Content-Disposition"] == f'inline; filename="{call}.{ending}"'
    assert whole.headers["Accept-Ranges"] == "bytes"
    size = int(whole.headers["Content-Length"])
    assert size == len(whole.body)
    for asked, start, stop in (
        ("bytes=0-1", 0, 2), ("bytes=100-199", 100, 200), (f"bytes={size - 5}-", size - 5, size),
        ("bytes=-7", size - 7, size), (f"bytes=10-{size * 2}", 10, size),
    ):  # fmt: skip
        part = get(pbx, method, call, Range=asked)
        assert (part.status, part.body) == (206, whole.body[start:stop])
        assert part.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{size}"
    beyond = get(pbx, method, call, Range=f"bytes={size}-")
    assert (beyond.status, beyond.code) == (416, "range_not_satisfiable")
    assert beyond.headers["Content-Range"] == f"bytes */{size}"
    for ignored in ("bytes=0-1,5-6", "lines=1-2", "nonsense"):
        assert get(pbx, method, call, Range=ignored).body == whole.body
    etag, modified = whole.headers["ETag"], whole.headers["Last-Modified"]
    assert get(pbx, method, call, If_None_Match=etag).status == 304
    assert get(pbx, method, call, If_Modified_Since=modified).status == 304
    assert get(pbx, method, call, If_Match='"other"').code == "precondition_failed"
    assert get(pbx, method, call, If_Match=etag).status == 200
    old = "Mon, 01 Jan 2001 00:00:00 GMT"
    assert get(pbx, method, call, If_Unmodified_Since=old).status == 412
    assert get(pbx, method, call, Range="bytes=0-1", If_Range=etag).status == 206
    assert get(pbx, method, call, Range="bytes=0-1", If_Range='"other"').status == 200
    head = pbx.service.request("HEAD", method, pbx.keys["all"], params={"uniqueid": call})
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == str(size)


def test_ids_of_other_legs_find_the_same_recording(pbx: Pbx, call: str) -> None:
    sql = "SELECT uniqueid FROM cdr WHERE linkedid = %s"
    ids = {row["uniqueid"] for row in pbx.database.execute(sql, (call,))}
    assert len(ids) >= 3
    recording = get(pbx, "get_file_wav", call).body
    for uniqueid in ids:
        assert get(pbx, "get_file_wav", uniqueid).body == recording
        assert get(pbx, "get_file_wav", uniqueid, "sales").body == recording
        assert pbx.service.get("check", pbx.keys["sales"], uniqueid=uniqueid).data["file"] is True


@pytest.mark.parametrize("key", ["other", "nobody"])
def test_another_groups_recording_is_not_there(pbx: Pbx, call: str, key: str) -> None:
    nothing = get(pbx, "get_file_mp3", "1234567890.1", key)
    for method in METHODS:
        hidden = get(pbx, method, call, key)
        assert (hidden.status, hidden.body) == (nothing.status, nothing.body)
    assert pbx.service.get("check", pbx.keys[key], uniqueid=call).data["file"] is False


def test_a_live_call_is_fenced_by_its_channels(pbx: Pbx) -> None:
    uniqueid = pbx.originate()
    pbx.wait_recorded(uniqueid)
    assert get(pbx, "get_file_wav", uniqueid, "sales").status == 200
    assert get(pbx, "get_file_wav", uniqueid, "other").code == "recording_not_found"
    assert get(pbx, "get_file_wav", f"{uniqueid};2", "sales").status == 200


def test_a_row_marked_with_the_group_opens_it(pbx: Pbx) -> None:
    uniqueid = f"{int(time.time())}.771"
    write_tone(pbx.asterisk.monitor / f"{uniqueid}.wav", 1)
    insert_row(pbx, uniqueid, dcontext="secret", group_uuid=pbx.groups["other"])
    assert get(pbx, "get_file_wav", uniqueid, "other").status == 200
    assert get(pbx, "get_file_wav", uniqueid, "sales").status == 404


def insert_row(pbx: Pbx, uniqueid: str, **values: str) -> None:
    """Put a row into the original's table, begun now."""
    row = {"uniqueid": uniqueid, "linkedid": uniqueid, "dcontext": "outgoing", **values}
    columns = ", ".join(row)
    marks = ", ".join(["%s"] * len(row))
    sql = f"INSERT INTO cdr (start, duration, billsec, {columns}) VALUES (NOW(), 1, 1, {marks})"
    pbx.database.execute(sql, tuple(row.values()))


def test_freepbx_tree_by_name_and_date(pbx: Pbx) -> None:
    uniqueid = pbx.originate(context="freepbx", exten="5551000")
    pattern = f"*/*/*/*-{uniqueid}.wav"

    def found() -> list[Path]:
        return list(pbx.asterisk.monitor.glob(pattern))

    wait_until(lambda: bool(found()) and found()[0].stat().st_size > 1000, 20, "it records")
    pbx.asterisk.hang_up_all()
    assert get(pbx, "get_file_wav", uniqueid).body == found()[0].read_bytes()


def test_neighbouring_days_are_looked_at(pbx: Pbx) -> None:
    midnight = time.mktime((2024, 3, 10, 0, 0, 5, 0, 0, -1))
    uniqueid = f"{int(midnight)}.5"
    name = f"out-1-2-20240309-235959-{uniqueid}.wav"
    write_tone(pbx.asterisk.monitor / "2024" / "03" / "09" / name, 1)
    assert get(pbx, "get_file_wav", uniqueid).status == 200


def test_userfield_names_the_file_even_after_a_nightly_conversion(pbx: Pbx) -> None:
    uniqueid = f"{int(time.time())}.772"
    path = pbx.asterisk.monitor / "elsewhere" / "call.mp3"
    write_tone(path, 1, "-t", "mp3")
    insert_row(pbx, uniqueid, userfield=f"audio:{path.with_suffix('.wav')}")
    assert get(pbx, "get_file_mp3", uniqueid).body == path.read_bytes()
    assert get(pbx, "get_file_wav", uniqueid).body[:4] == b"RIFF"


@pytest.mark.parametrize("form", ["bare", "absolute"])
def test_freepbx_recordingfile_is_found_for_every_leg(pbx: Pbx, form: str) -> None:
    now = time.localtime()
    made = int(time.time())
    name = f"in-100-a-b-{time.strftime('%Y%m%d-%H%M%S', now)}-{made}.881"
    path = pbx.asterisk.monitor / time.strftime("%Y/%m/%d", now) / f"{name}.mp3"
    write_tone(path, 1, "-t", "mp3")
    told = f"{name}.wav" if form == "bare" else str(path)
    service = Service(pbx.asterisk, pbx.database, schema=FREEPBX)
    key = service.add_user("crm", service.add_group("any", ["*"]))
    sql = "INSERT INTO cdr (calldate, uniqueid, linkedid, recordingfile) VALUES (NOW(), %s, %s, %s)"
    call = f"{made}.{880 if form == 'bare' else 890}"
    for leg, file in ((call, ""), (f"{call}1", told)):
        pbx.database.execute(sql, (leg, call, file), FREEPBX)
    with contextlib.closing(service):
        service.start()
        for leg in (call, f"{call}1"):
            assert service.get("get_file_mp3", key, uniqueid=leg).body == path.read_bytes()


@pytest.mark.parametrize("outside", ["/etc/hostname", "../../log/full.log", "/etc/passwd.wav"])
def test_nothing_outside_the_root_is_opened(pbx: Pbx, outside: str) -> None:
    uniqueid = f"{int(time.time())}.{9000 + len(outside)}"
    insert_row(pbx, uniqueid, userfield=f"audio:{outside}")
    assert get(pbx, "get_file_wav", uniqueid).code == "recording_not_found"


def test_symlinks_out_of_the_root_and_fifos_are_not_there(pbx: Pbx, tmp_path: Path) -> None:
    secret = tmp_path / "secret.wav"
    write_tone(secret, 1)
    link = pbx.asterisk.monitor / "1700000000.1.wav"
    link.symlink_to(secret)
    os.mkfifo(pbx.asterisk.monitor / "1700000000.2.wav")
    (pbx.asterisk.monitor / "1700000000.3.wav").mkdir()
    inside = pbx.asterisk.monitor / "1700000000.4.wav"
    shutil.copy(secret, pbx.asterisk.monitor / "target.wav")
    inside.symlink_to("target.wav")
    for number in (1, 2, 3):
        assert get(pbx, "get_file_wav", f"1700000000.{number}").code == "recording_not_found"
    assert get(pbx, "get_file_wav", "1700000000.4").status == 200


@pytest.mark.parametrize(
    "uniqueid", ["../x", "a/b", "..", ".hidden", "a..b", "x" * 151, "a b", "a%00", "я"]
)
def test_what_is_no_id_is_refused(pbx: Pbx, uniqueid: str) -> None:
    assert get(pbx, "get_file_wav", uniqueid).code == "invalid_parameter"


def test_a_wav_without_samples_is_no_recording(pbx: Pbx) -> None:
    path = pbx.asterisk.monitor / "1700000001.1.wav"
    write_tone(path, 1)
    path.write_bytes(path.read_bytes()[:44])
    for method in METHODS:
        assert get(pbx, method, "1700000001.1").code == "recording_empty"


_FORMS = {
    "wav": ("-b", "16"), "wav16": ("-t", "wav", "-r", "16000", "-b", "16"),
    "WAV": ("-t", "wav", "-e", "gsm-full-rate"), "gsm": ("-t", "gsm"),
    "ulaw": ("-t", "ul"), "alaw": ("-t", "al"), "sln": ("-t", "raw", "-e", "signed", "-b", "16"),
    "sln16": ("-t", "raw", "-e", "signed", "-b", "16", "-r", "16000"),
    "mp3": ("-t", "mp3"), "ogg": ("-t", "ogg"),
}  # fmt: skip


@pytest.mark.parametrize("extension", _FORMS)
@pytest.mark.parametrize("method", METHODS)
def test_both_methods_answer_whatever_lies_there(
    pbx: Pbx, extension: str, method: str, tmp_path: Path
) -> None:
    uniqueid = f"1700000100.{list(_FORMS).index(extension)}"
    path = pbx.asterisk.monitor / f"{uniqueid}.{extension}"
    write_tone(path, 3, *_FORMS[extension])
    answer = get(pbx, method, uniqueid)
    assert answer.status == 200
    assert abs(duration(answer.body, tmp_path) - 3) < 0.2
    if method == "get_file_wav":
        with wave.open(io.BytesIO(answer.body)) as file:
            assert (file.getsampwidth(), file.getnchannels()) == (2, 1)
            assert file.getframerate() == (16000 if extension.endswith("16") else 8000)
    if (method, extension) in (("get_file_mp3", "mp3"), ("get_file_wav", "wav")):
        assert answer.body == path.read_bytes()


@pytest.mark.parametrize("extension", ["gsm", "ulaw", "alaw", "sln", "wav16", "WAV"])
def test_formats_that_asterisk_itself_records(pbx: Pbx, extension: str, tmp_path: Path) -> None:
    uniqueid = pbx.originate(exten="5551000", variable=f"format={extension}")
    path = pbx.asterisk.monitor / f"{uniqueid}.{extension}"
    wait_until(path.exists, 10, "recording")
    wait_until(lambda: pbx.asterisk.channels() == 0, 20, "the call ends by itself")
    for method in METHODS:
        assert duration(get(pbx, method, uniqueid).body, tmp_path) > 1


@pytest.mark.parametrize("kind", ["g722", "wav"])
def test_what_cannot_be_decoded_is_415(pbx: Pbx, kind: str) -> None:
    uniqueid = f"1700000200.{len(kind)}"
    (pbx.asterisk.monitor / f"{uniqueid}.{kind}").write_bytes(b"no audio at all" * 100)
    for method in METHODS:
        assert get(pbx, method, uniqueid).code == "unsupported_audio"


def test_stereo_stays_stereo(pbx: Pbx, tmp_path: Path) -> None:
    write_tone(pbx.asterisk.monitor / "1700000300.1.wav", 2, "-c", "2", "-b", "16")
    mp3 = tmp_path / "stereo.mp3"
    mp3.write_bytes(get(pbx, "get_file_mp3", "1700000300.1").body)
    said = subprocess.run(["soxi", "-c", str(mp3)], capture_output=True, check=True).stdout
    assert said.strip() == b"2"


def long_recording(pbx: Pbx, uniqueid: str, seconds: int = 1200) -> str:
    """A long recording that nobody has asked for yet; returns its id."""
    write_tone(pbx.asterisk.monitor / f"{uniqueid}.wav", seconds, "-b", "16")
    return uniqueid


def test_twelve_listeners_at_once_and_ranges_while_it_is_encoded(pbx: Pbx) -> None:
    uniqueid = long_recording(pbx, "1700000400.1")
    with ThreadPoolExecutor(13) as pool:
        whole = [pool.submit(get, pbx, "get_file_mp3", uniqueid) for _ in range(12)]
        middle = pool.submit(get, pbx, "get_file_mp3", uniqueid, Range="bytes=3000000-3000999")
        bodies = {listener.result().body for listener in whole}
    assert len(bodies) == 1
    body = bodies.pop()
    assert (middle.result().status, middle.result().body) == (206, body[3000000:3001000])
    assert get(pbx, "get_file_mp3", uniqueid).body == body
    made = [path for path in pbx.service.cache.iterdir() if path.stat().st_size == len(body)]
    assert len(made) == 1


def test_a_killed_encoder_is_taken_over(pbx: Pbx) -> None:
    """Listeners of other processes go on where they were; the bytes are the same."""
    uniqueid = long_recording(pbx, "1700000500.1", 3600)
    bodies: list[bytes] = []
    with ThreadPoolExecutor(8) as pool:
        listeners = [pool.submit(get, pbx, "get_file_mp3", uniqueid) for _ in range(8)]
        wait_until(lambda: _grown(pbx) > 500_000, 10, "encoding has begun")
        os.kill(pbx.service.worker_pids()[0], signal.SIGKILL)
        for listener in listeners:
            # Those whose own worker was killed are cut off, and told so by the missing bytes.
            with contextlib.suppress(OSError, http.client.IncompleteRead):
                bodies.append(listener.result().body)
    again = get(pbx, "get_file_mp3", uniqueid).body
    assert len(again) == 288 * (1 + 50_002)  # frames of 0.072 s, see backends/mp3_form.py
    assert all(body == again for body in bodies)


def _grown(pbx: Pbx) -> int:
    return max((path.stat().st_size for path in pbx.service.cache.glob("*.part")), default=0)


def test_the_cache_forgets_what_was_used_longest_ago(pbx: Pbx) -> None:
    pbx.service.write_config({"mp3": {"cache_size": "100K"}})
    os.kill(pbx.service.pid, signal.SIGHUP)
    old = set(pbx.service.worker_pids())
    try:
        wait_until(lambda: not old & set(pbx.service.worker_pids()), 20, "new workers")
        for number in range(6):
            uniqueid = f"1700000600.{number}"
            write_tone(pbx.asterisk.monitor / f"{uniqueid}.wav", 10, "-b", "16")
            assert get(pbx, "get_file_mp3", uniqueid).status == 200
        wait_until(lambda: _cached(pbx) <= 100 * 1024, 5, "the cache shrinks")
        assert _cached(pbx) > 0
    finally:
        pbx.service.write_config()
        os.kill(pbx.service.pid, signal.SIGHUP)


def _cached(pbx: Pbx) -> int:
    return sum(path.stat().st_size for path in pbx.service.cache.glob("*.mp3"))


def test_a_changed_recording_is_another_one(pbx: Pbx) -> None:
    path = pbx.asterisk.monitor / "1700000700.1.wav"
    write_tone(path, 2, "-b", "16")
    first = get(pbx, "get_file_mp3", "1700000700.1")
    write_tone(path, 4, "-b", "16")
    second = get(pbx, "get_file_mp3", "1700000700.1", If_None_Match=first.headers["ETag"])
    assert second.status == 200
    assert len(second.body) > len(first.body)


def test_without_a_cache_folder_plain_files_still_come(pbx: Pbx, call: str) -> None:
    hidden = pbx.service.cache.with_name("hidden")
    pbx.service.cache.rename(hidden)
    try:
        refused = get(pbx, "get_file_mp3", call)
        assert (refused.status, refused.code) == (503, "storage_unavailable")
        assert refused.headers["Retry-After"]
        assert get(pbx, "get_file_wav", call).status == 200
        assert pbx.service.get("check", pbx.keys["all"], uniqueid=call).data["file"] is True
    finally:
        hidden.rename(pbx.service.cache)
    assert get(pbx, "get_file_mp3", call).status == 200


def test_a_missing_root_is_told(pbx: Pbx) -> None:
    hidden = pbx.asterisk.monitor.with_name("hidden")
    pbx.asterisk.monitor.rename(hidden)
    try:
        assert get(pbx, "get_file_wav", "1700000700.1").code == "storage_unavailable"
    finally:
        hidden.rename(pbx.asterisk.monitor)
