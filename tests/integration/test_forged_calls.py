"""Callers who write line ends into what Asterisk prints about them: SIP INVITEs, on a real PBX."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.integration.conftest import Pbx
from tests.lab.server import wait_until
from tests.lab.softphone import Softphone

VICTIM = "1730000000.77"


@pytest.fixture
def victim(any_pbx: Pbx) -> Iterator[Path]:
    """The recording of a call of another group's context, with its row in the call log."""
    path = any_pbx.asterisk.monitor / f"{VICTIM}.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\1\2" * 8000)
    any_pbx.database.execute(
        "INSERT INTO cdr (start, dcontext, uniqueid, linkedid) VALUES (%s, 'secret', %s, %s)",
        ("2024-10-27 03:33:20", VICTIM, VICTIM),
    )
    yield path
    path.unlink()
    any_pbx.database.execute("DELETE FROM cdr WHERE uniqueid = %s", (VICTIM,))


def forgeries(path: Path) -> list[str]:
    """User parts of a SIP address that forge a variable, or headers, of the event Status."""
    recorded = f"Variable: MIXMONITOR_FILENAME={path}"
    return [
        f"1\r\n{recorded}",
        f"1\r\n{recorded}\r\nX: y",
        f"1\r\nLinkedid: {VICTIM}",
        f"1\r\nUniqueid: {VICTIM}\r\nLinkedid: {VICTIM}",
        f"1\r\nContext: secret\r\n{recorded}",
        f"1\n{recorded}\n",
    ]


@pytest.mark.parametrize("number", range(6))
def test_a_forged_invite_opens_no_other_groups_recording(
    any_pbx: Pbx, victim: Path, number: int
) -> None:
    """The caller's group may see the caller's own context, `incoming`; the victim's it may not."""
    forged = forgeries(victim)[number]
    get, key = any_pbx.service.get, any_pbx.keys["other"]
    with Softphone(any_pbx.asterisk, "phone1") as phone:
        call = phone.dial(quote(forged, safe=""))
        wait_until(lambda: any_pbx.asterisk.channels() > 0 or call.state == "ended", 10, "the call")
        channels = get("status", any_pbx.keys["all"]).data
        mine = {one["Uniqueid"] for one in channels} - {""}
        for uniqueid in {VICTIM, *mine}:
            answer = get("get_file_wav", key, uniqueid=uniqueid)
            assert answer.body != victim.read_bytes()
            assert VICTIM not in {one["Uniqueid"] for one in get("status", key).data}
        assert get("get_file_wav", key, uniqueid=VICTIM).code == "recording_not_found"
        assert get("check", key, uniqueid=VICTIM).data["file"] is False
        assert all(one["Context"] == "incoming" for one in get("status", key).data)
        call.hang_up()
