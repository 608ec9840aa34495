"""GET link: addresses that play without a key, as long as the group may hear the call."""

from __future__ import annotations

import json
import subprocess
from datetime import datetime
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from tests.integration.conftest import Pbx
from tests.lab.server import wait_until
from tests.lab.service import PREFIX, Answer

_SHUT = {404: "recording_not_found"}


@pytest.fixture(scope="module")
def recorded(pbx: Pbx) -> str:
    """A recorded call that the group `sales` may hear."""
    return pbx.recorded_call()


def made(pbx: Pbx, uniqueid: str, key: str = "sales", **params: object) -> dict[str, str]:
    """What `link` answers."""
    answer: dict[str, str] = pbx.service.get(
        "link", pbx.keys[key], uniqueid=uniqueid, **params
    ).data
    return answer


def followed(pbx: Pbx, link: str, **changed: str) -> Answer:
    """Follow a link without a key, with parts of its query changed."""
    parts = urlsplit(link)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()} | changed
    return pbx.service.request("GET", f"{parts.path}?{urlencode(query)}")


def outcome(pbx: Pbx, link: str) -> dict[int, str]:
    """What several requests meet, whichever of the service's processes answers: status → code."""
    answers = [followed(pbx, link) for _ in range(8)]
    return {answer.status: "" if answer.status == 200 else answer.code for answer in answers}


@pytest.mark.parametrize(("kind", "codec"), [("mp3", "mp3"), ("wav", "pcm_s16le")])
def test_a_link_plays_without_a_key(pbx: Pbx, recorded: str, kind: str, codec: str) -> None:
    link = made(pbx, recorded)
    assert link[kind].startswith(f"http://127.0.0.1:{pbx.service.port}{PREFIX}/get_file_{kind}?")
    probe = ["ffprobe", "-v", "error", "-show_streams", "-of", "json", link[kind]]
    said = subprocess.run(probe, capture_output=True, text=True, check=True).stdout
    assert json.loads(said)["streams"][0]["codec_name"] == codec


def test_expires_is_a_week_ahead_or_as_asked(pbx: Pbx, recorded: str) -> None:
    now = datetime.now().astimezone()
    week = datetime.fromisoformat(made(pbx, recorded)["expires"])
    assert abs((week - now).total_seconds() - 7 * 86400) < 60
    link = made(pbx, recorded, ttl=100)
    asked = datetime.fromisoformat(link["expires"])
    assert abs((asked - now).total_seconds() - 100) < 60
    in_url = parse_qs(urlsplit(link["mp3"]).query)["expires"][0]
    assert int(in_url) == int(asked.timestamp())


@pytest.mark.parametrize("ttl", ["0", "-1", "x", "31622401"])
def test_a_ttl_out_of_bounds_is_refused(pbx: Pbx, recorded: str, ttl: str) -> None:
    answer = pbx.service.get("link", pbx.keys["sales"], uniqueid=recorded, ttl=ttl)
    assert (answer.status, answer.code, answer.json["parameter"]) == (
        400,
        "invalid_parameter",
        "ttl",
    )


def test_no_link_to_what_the_group_can_not_hear(pbx: Pbx, recorded: str) -> None:
    for key, uniqueid in (("other", recorded), ("sales", "1.1")):
        answer = pbx.service.get("link", pbx.keys[key], uniqueid=uniqueid)
        assert (answer.status, answer.code) == (404, "recording_not_found")


@pytest.mark.parametrize(
    "changed",
    [
        {"signature": "0" * 64},
        {"signature": "é"},
        {"expires": "99999999999"},
        {"expires": "never"},
        {"group": "4c343af6-4a91-469a-a717-f682e52c830f"},
        {"uniqueid": "1.1"},
    ],
)
def test_a_changed_link_is_refused(pbx: Pbx, recorded: str, changed: dict[str, str]) -> None:
    answer = followed(pbx, made(pbx, recorded)["mp3"], **changed)
    assert (answer.status, answer.code) == (403, "link_invalid")


def test_an_old_link_is_gone(pbx: Pbx, recorded: str) -> None:
    link = made(pbx, recorded, ttl=1)["mp3"]
    wait_until(lambda: followed(pbx, link).status != 200, 10, "the link expires")
    answer = followed(pbx, link)
    assert (answer.status, answer.code) == (410, "link_expired")


def test_a_link_dies_with_the_group_and_with_its_context(pbx: Pbx, recorded: str) -> None:
    group = pbx.service.add_group("leaving", ["outgoing", "answer"])
    key = pbx.service.add_user("leaving", group)
    wait_until(lambda: pbx.service.get("check", key).status == 200, 5, "the key is known")
    link = pbx.service.get("link", key, uniqueid=recorded).data["wav"]
    wait_until(lambda: outcome(pbx, link) == {200: ""}, 5, "the group is known")
    file = pbx.service.directory / "groups.d" / "leaving.conf"
    text = file.read_text(encoding="utf-8")
    for left in (text.replace("outgoing", "elsewhere").replace("answer", "nowhere"), None):
        if left is None:
            file.unlink()
        else:
            file.write_text(left, encoding="utf-8")
        wait_until(lambda: outcome(pbx, link) == _SHUT, 5, "the link is shut")
        if left is not None:
            file.write_text(text, encoding="utf-8")
            wait_until(lambda: outcome(pbx, link) == {200: ""}, 5, "the link works again")
    (pbx.service.directory / "users.d" / "leaving.conf").unlink()


def test_the_journal_names_the_group_and_no_signature(pbx: Pbx, recorded: str) -> None:
    link = made(pbx, recorded)["mp3"]
    request_id = followed(pbx, link).headers["X-Request-ID"]
    wait_until(lambda: request_id in pbx.service.log(), 5, "the journal's line")
    lines = [line for line in pbx.service.log().splitlines() if request_id in line]
    assert len(lines) == 1
    assert "group=sales" in lines[0]
    assert "link=signed" in lines[0]
    assert "signature" not in pbx.service.log()
