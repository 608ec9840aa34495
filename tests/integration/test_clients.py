"""The clients that integrators use, as they send by default: Node's fetch and Python's requests."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.integration.conftest import Pbx
from tests.integration.test_recordings import write_tone
from tests.lab import packages

_NO_TYPE = "unsupported_media_type"
_DAY = {"start": "2024-10-30", "end": "2024-10-31"}
# Each expression is the second argument of fetch(), after the URL.
_FETCH = """
const [url, key, options] = process.argv.slice(1);
const answer = await fetch(url, {headers: {'X-API-Key': key}, ...eval(`(${options})`)});
console.log(JSON.stringify([answer.status, await answer.json()]));
"""


def fetch(pbx: Pbx, method: str, options: str) -> tuple[int, dict[str, Any]]:
    """Status and JSON of a request that Node's fetch makes."""
    if shutil.which("node") is None:
        packages.ensure("nodejs")
    arguments = [f"{pbx.service.url}/{method}", pbx.keys["all"], options]
    done = subprocess.run(
        ["node", "--input-type=module", "-e", _FETCH, "--", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    status, body = json.loads(done.stdout)
    return status, body


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        (f"{{method: 'POST', body: new URLSearchParams({json.dumps(_DAY)})}}", 200, None),
        (f"{{method: 'POST', body: JSON.stringify({json.dumps(_DAY)})}}", 415, _NO_TYPE),
        ("{method: 'POST'}", 200, None),
        ("{method: 'POST', body: new Blob(['<x/>'], {type: 'text/xml'})}", 415, _NO_TYPE),
        (
            "{method: 'POST', body: new URLSearchParams({x: 'x'.repeat(7e4)})}",
            413,
            "body_too_large",
        ),
    ],
)
def test_a_call_log_that_fetch_asks_for(
    pbx: Pbx, options: str, status: int, code: str | None
) -> None:
    found, body = fetch(pbx, "get_log_cdr", options)
    assert (found, body.get("code")) == (status, code)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"data": _DAY}, 200),
        ({"json": _DAY}, 200),
        ({"files": {"start": (None, "2024-10-30")}}, 200),
        ({"data": "start=2024-10-30"}, 415),
        ({"data": {**_DAY, "start": ["2024-10-30", "2024-10-29"]}}, 400),
    ],
)
def test_a_call_log_that_requests_asks_for(pbx: Pbx, sent: dict[str, Any], status: int) -> None:
    url = f"{pbx.service.url}/get_log_cdr"
    answer = requests.post(url, headers={"X-API-Key": pbx.keys["all"]}, timeout=30, **sent)
    assert answer.status_code == status, answer.text


def test_both_upload_a_file(pbx: Pbx, tmp_path: Path) -> None:
    sound = tmp_path / "tone.wav"
    write_tone(sound, 1)
    url = f"{pbx.service.url}/uploads"
    with sound.open("rb") as file:
        answer = requests.post(
            url, params={"api_key": pbx.keys["all"]}, files={"file": file}, timeout=30
        )
    assert answer.json()["data"]["name"] == "tone.wav"
    form = "const form = new FormData(); form.append('file[]', new Blob(['not audio']), 'x.wav');"
    options = f"{{method: 'POST', body: (() => {{ {form} return form; }})()}}"
    status, body = fetch(pbx, "uploads", options)
    assert (status, body["code"]) == (415, "unsupported_audio")
