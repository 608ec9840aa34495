"""Parts of live calls without a PBX: ids, links, signatures, webhook files, the database."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from evolvex_api.config import ConfigError
from evolvex_api.core.access import Access, Group, Scope
from evolvex_api.events import envelope, signing, webhooks
from evolvex_api.events.call import Change
from evolvex_api.events.envelope import Ids, Links, Stored
from evolvex_api.events.store import Batch, Failure, Pending, Store
from evolvex_api.events.webhooks import WebhookError, WebhookFiles

GROUP = Group("g", "sales", accesses=(Access("a", "outgoing", "", "g"),))


def event(n: int, at: float = 1000.0, recording: object = None) -> Stored:
    call = {"Linkedid": "1.1", "Recording": recording, "State": "ended"}
    kind = "call.recorded" if recording else "call.ended"
    change = Change(kind, n, at, call, frozenset({"outgoing"}), {})
    return envelope.stored(n, Ids("0a1b2c3d").make(n), change)


@pytest.mark.parametrize("foreign", ["", "evt_", "evt_ffffffff000000000001", "evt_0a1b2c3d1"])
def test_ids_of_elsewhere_are_not_read(foreign: str) -> None:
    ids = Ids("0a1b2c3d")
    assert ids.read(ids.make(5)) == 5
    assert ids.read(foreign) is None


def test_a_group_sees_events_of_its_contexts_alone() -> None:
    assert event(1).visible_to(GROUP.scope)
    assert event(1).visible_to(Scope(None, "x"))
    assert not event(1).visible_to(Scope(frozenset({"other"}), "x"))


def test_links_are_a_groups_own_and_always_the_same() -> None:
    links = Links("https://pbx/api/index", b"0123456789abcdef")
    stored = event(1, recording={"Uniqueid": "1.1", "Duration": 2.0, "Size": 9})
    body = links.body(stored, GROUP)
    assert body == links.body(stored, GROUP)
    link = json.loads(body)["data"]["Recording"]["link"]
    assert link["mp3"].startswith("https://pbx/api/index/get_file_mp3?uniqueid=1.1&group=g&")
    deaf = Group("h", "deaf", given_rights=frozenset({"events"}))
    assert "link" not in links.body(stored, deaf)


def test_a_signature_is_that_of_the_specification() -> None:
    secret = signing.new_secret()
    headers = signing.headers("evt_1", 1700000000, b"{}", [signing.key_of(secret)])
    key = base64.b64decode(secret.removeprefix("whsec_"))
    expected = hmac.new(key, b"evt_1.1700000000.{}", hashlib.sha256).digest()
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(expected).decode()}"


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_AAAA", "whsec_!!!!", "x" * 200])
def test_secrets_that_are_none(secret: str) -> None:
    with pytest.raises(ValueError, match="24 to 64 bytes"):
        signing.key_of(secret)


def test_a_webhook_is_read_as_written_and_rotated(tmp_path: Path) -> None:
    files = WebhookFiles(tmp_path / "evolvex.conf")
    made = files.add("crm", "https://crm.example.com/x?y=1", "g", "call.ended")
    assert files.get("crm") == made
    now = datetime.now(UTC)
    rotated = files.rotated("crm", now)
    assert len(rotated.keys(now)) == 2
    assert len(rotated.keys(now + timedelta(hours=25))) == 1
    with pytest.raises(WebhookError, match="already"):
        files.add("crm", "https://x/", "g", "")
    for name in ("", "../x", "a b", ".x"):
        with pytest.raises(WebhookError, match="can't be used"):
            files.get(name)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("url = ftp://x", "url must be http"),
        ("timeout = 0", "from 1 to 120"),
        ("enable = maybe", "yes or no"),
        ("types = call.exploded", "no event type"),
        ("colour = red", "unknown key"),
        ("secret = whsec_AAAA", "24 to 64 bytes"),
    ],
)
def test_a_broken_file_says_why_and_never_the_secret(
    tmp_path: Path, line: str, reason: str
) -> None:
    secret = signing.new_secret()
    values = {"url": "https://x/", "group_uuid": "g", "secret": secret}
    values |= dict([line.split(" = ", 1)])
    path = tmp_path / "crm.conf"
    path.write_text("[webhook]\n" + "".join(f"{k} = {v}\n" for k, v in values.items()))
    with pytest.raises(ConfigError, match=reason) as raised:
        webhooks.read(path)
    assert secret not in str(raised.value)


def test_pruning_keeps_what_is_still_to_be_delivered(tmp_path: Path) -> None:
    store = Store(tmp_path)
    _, first = store.begin()
    events = [event(first), event(first + 1), event(first + 2, at=5000.0)]
    store.write(Batch(events=events, new=[Pending("crm", events[1])]))
    assert store.prune(before=2000.0) == []
    assert [kept.n for kept in store.events(0, 1 << 60)] == [first + 1, first + 2]
    assert [pending.event.n for pending in store.pending()] == [first + 1]
    failure = Failure("crm", events[1].id, "call.ended", "1.1", 1000.0, 10, "given up")
    store.write(Batch(failed=[(Pending("crm", events[1]), failure)]))
    assert store.pending() == []
    assert store.failures("crm") == [failure]


def test_numbers_never_repeat_and_the_generation_stays(tmp_path: Path) -> None:
    generation, first = Store(tmp_path).begin()
    again, second = Store(tmp_path).begin()
    assert again == generation
    assert second > first + 10_000
