"""Users, groups and contexts: who may do what."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from evolvex_api.backends import access_store
from evolvex_api.backends.access_store import AccessStore
from evolvex_api.config import ConfigError
from evolvex_api.core.access import Access, AccessBook, Group, key_digest

KEY = "84f8fc34-82ad-46b0-b5f3-3cfd0462beeb"
USER = f"""[user]
uuid = u1
name = crm
description = Битрикс24
enable = yes
api_key_sha256 = {key_digest(KEY)}
group_uuid = g1
"""
GROUP = """[group]
uuid = g1
name = sales

[context incoming]
uuid = c1
description = Входящая маршрутизация
"""


@pytest.fixture
def config_path(tmp_path: Path) -> Path:
    """Where a configuration would lie, with one user and one group beside it."""
    for folder, text in (("users.d", USER), ("groups.d", GROUP)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "one.conf").write_text(text, encoding="utf-8")
    return tmp_path / "evolvex.conf"


def test_a_key_finds_its_user_and_group(config_path: Path) -> None:
    book = access_store.load(config_path)
    assert book.problems == ()
    assert book.user_of("another") is None
    user = book.user_of(KEY)
    assert user is not None
    assert (user.name, user.description, user.enabled) == ("crm", "Битрикс24", True)
    assert key_digest(KEY) not in repr(user)
    granted = book.group_of(user).access_to("incoming")
    assert granted == Access("c1", "incoming", "Входящая маршрутизация", "g1")


def test_the_fence_of_named_contexts() -> None:
    group = Group("g", "sales", accesses=(Access("c", "incoming", "", "g"),))
    assert group.scope.allows("incoming")
    assert not group.scope.allows("outgoing")
    assert not group.scope.allows(None)
    assert not group.scope.open
    assert group.access_to("outgoing") is None


def test_the_star_grants_every_context_under_its_own_name() -> None:
    group = Group("g", "all", accesses=(Access("c", "*", "all", "g"),))
    assert group.scope.open
    assert group.scope.allows("anything")
    assert group.access_to("anything") == Access("c", "anything", "all", "g")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("enable = yes", "enable = 1", r"\[user\] enable: must be yes or no"),
        ("uuid = u1\n", "", r"\[user\] uuid: is required"),
        ("name = crm", "name = crm\nrole = x", r"\[user\] role: unknown key"),
        ("[user]", "[person]", r"\[user\]: is missing"),
        (key_digest(KEY), KEY, "must be 64 hexadecimal digits"),
        ("[user]", "name", r"line 1 stands before any \[section\]"),
    ],
)
def test_a_broken_user_file_is_told(config_path: Path, old: str, new: str, told: str) -> None:
    path = access_store.users_dir(config_path) / "one.conf"
    path.write_text(USER.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError, match=told):
        access_store.read_user(path)
    book = access_store.load(config_path)
    assert len(book.problems) == 1
    assert KEY not in book.problems[0]


def test_a_group_without_a_file_grants_nothing(config_path: Path) -> None:
    (access_store.groups_dir(config_path) / "one.conf").unlink()
    book = access_store.load(config_path)
    user = book.user_of(KEY)
    assert user is not None
    assert book.group_of(user).scope.contexts == frozenset()
    assert "no such group" in book.problems[0]


def test_a_request_beside_the_one_that_looks_waits_for_what_it_finds(
    config_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_store, "_LOOK_INTERVAL", 0.3)
    store = AccessStore(config_path)
    (config_path.parent / "users.d" / "one.conf").unlink()
    time.sleep(0.3)
    load, looking, go_on = access_store.load, threading.Event(), threading.Event()

    def slow_load(path: Path) -> AccessBook:
        looking.set()
        assert go_on.wait(10)
        return load(path)

    monkeypatch.setattr(access_store, "load", slow_load)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(store.current)
        assert looking.wait(10)
        second = pool.submit(store.current)
        time.sleep(0.05)
        go_on.set()
        assert first.result().users == {}
        assert second.result().users == {}


def test_a_changed_file_counts_at_the_next_look(
    config_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = AccessStore(config_path)
    assert store.current().user_of(KEY) is not None
    (access_store.users_dir(config_path) / "one.conf").unlink()
    now = time.monotonic() + 1
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert store.current().user_of(KEY) is None


def test_rights_are_those_of_the_file_or_follow_from_the_contexts(config_path: Path) -> None:
    path = config_path.parent / "groups.d" / "rights.conf"
    head = "[group]\nuuid = r\nname = rights\n"
    path.write_text(head)
    assert access_store.read_group(path).rights == {"check"}
    path.write_text(head + "[context out]\n")
    assert "originate" in access_store.read_group(path).rights
    assert "metrics" not in access_store.read_group(path).rights
    path.write_text(head + "rights = cdr, metrics\n")
    assert access_store.read_group(path).rights == {"cdr", "metrics"}
    path.write_text(head + "rights = cdr, everything\n")
    with pytest.raises(ConfigError, match=r"\[group\] rights: 'everything' is none of"):
        access_store.read_group(path)
