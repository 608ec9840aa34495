"""Tables whose text is in another character set than they declare."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest

from evolvex_api.backends.cdr.client import Cdr
from evolvex_api.core.access import Scope
from evolvex_api.core.calllog import Selection
from tests.integration.calllog import DAY, OPEN, Scratch, settings

NINE = "2024-10-30 09:00:00"
CLID, CONTEXT, FILE = '"Сергей" <101>', "контекст", "запись-1.wav"


def mislabelled(scratch: Scratch, encoding: str, declared: str = "latin1") -> None:
    """A row of that encoding's bytes in columns that declare another character set."""
    scratch.sql(f"ALTER TABLE cdr CONVERT TO CHARACTER SET {declared}")
    names = {"clid": CLID, "dcontext": CONTEXT, "recordingfile": FILE, "dst": "тест", "src": "101"}
    literals = [f"_{declared} X'{text.encode(encoding).hex()}'" for text in names.values()]
    scratch.sql(
        f"INSERT INTO cdr (calldate, uniqueid, {', '.join(names)})"
        f" VALUES ('{NINE}', '1.1', {', '.join(literals)})"
    )
    scratch.sql("INSERT INTO cdr (calldate, clid, dst) VALUES (%s, 'plain', 'x')", (NINE,))


def with_charset(scratch: Scratch, charset: str) -> Cdr:
    return Cdr(settings(scratch.database, charset=charset))


def found(cdr: Cdr, scope: Scope = OPEN, **filters: str) -> list[dict[str, Any]]:
    with contextlib.closing(cdr.export(Selection(*DAY, scope, filters))) as export:
        rows: list[dict[str, Any]] = json.loads(b"".join(export))
    return rows


@pytest.mark.parametrize(
    ("encoding", "charset", "declared"),
    [
        ("utf-8", "utf8mb4", "latin1"),
        ("utf-8", "utf8mb4", "koi8r"),
        ("cp1251", "cp1251", "latin1"),
        ("koi8-r", "koi8r", "cp1251"),
    ],
)
def test_text_is_read_as_it_was_written(
    freepbx: Scratch, encoding: str, charset: str, declared: str
) -> None:
    mislabelled(freepbx, encoding, declared)
    assert found(freepbx.cdr)[0]["clid"] != CLID
    cdr = with_charset(freepbx, charset)
    row, plain = sorted(found(cdr), key=lambda row: str(row["clid"]))
    assert (row["clid"], row["dcontext"], row["recordingfile"]) == (CLID, CONTEXT, FILE)
    assert plain["clid"] == "plain"
    assert [row.recordingfile for row in cdr.call("1.1")] == [FILE]
    mine = Scope(frozenset({CONTEXT}), "g")
    for filters in ({"dst": "тест"}, {"number": "тест"}, {"uniqueid": "1.1"}, {}):
        assert [row["clid"] for row in found(cdr, mine, **filters)] == [CLID]
    assert found(cdr, Scope(frozenset({CONTEXT.upper()}), "g")) == []
    assert found(cdr, dst="Тест") == found(cdr, dst="漢字") == []


def test_a_column_that_declares_utf8_is_believed(freepbx: Scratch) -> None:
    freepbx.insert(calldate=NINE, clid=CLID, dcontext=CONTEXT)
    assert [row["clid"] for row in found(with_charset(freepbx, "utf8mb4"))] == [CLID]
    assert [row["clid"] for row in found(with_charset(freepbx, "cp1251"))] == [CLID]


def test_it_is_recognised(freepbx: Scratch) -> None:
    assert freepbx.cdr.describe().stored is None
    mislabelled(freepbx, "utf-8")
    assert freepbx.cdr.describe().stored == "utf8mb4"
    assert with_charset(freepbx, "utf8mb4").describe().stored is None


@pytest.mark.parametrize(
    ("declared", "texts"),
    [
        ("latin1", ["café", "naïve", "Ÿÿ þ", "plain"]),
        ("cp1251", ["Сергей", "ёж", "Щука"]),
        ("utf8mb4", ["Сергей", "Ð¡ÐµÑ€"]),
    ],
)
def test_text_in_its_declared_character_set_is_not_suspected(
    freepbx: Scratch, declared: str, texts: list[str]
) -> None:
    freepbx.sql(f"ALTER TABLE cdr CONVERT TO CHARACTER SET {declared}")
    for text in texts:
        freepbx.insert(calldate=NINE, clid=text, cnam=text)
    assert freepbx.cdr.describe().stored is None
