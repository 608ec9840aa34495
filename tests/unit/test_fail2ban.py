"""The filters for fail2ban against lines of the journal; tests/deb runs fail2ban itself."""

from __future__ import annotations

import re
from configparser import RawConfigParser
from pathlib import Path

import pytest

from evolvex_api.journal import Entry

FILTERS = Path(__file__).parents[2] / "etc" / "fail2ban" / "filter.d"
ADDRESS = "192.0.2.7"
FAKE = "203.0.113.9"


def banned(name: str, line: str) -> str | None:
    """The address that a filter finds in a line."""
    parser = RawConfigParser()
    parser.read(FILTERS / f"{name}.conf", encoding="utf-8")
    pattern = parser["Definition"]["failregex"]
    # What fail2ban puts in place of these, as far as it matters here.
    pattern = pattern.replace("%(__prefix_line)s", r"(?:\S+ evolvex-api\[\d+\]: )?")
    found = re.search(pattern.replace("<ADDR>", r"(?P<address>[0-9a-fA-F:.]+)"), line)
    return found["address"] if found else None


def line(status: str, code: str, path: str = "/api/index/check", **touched: str) -> str:
    """The journal's line of a refusal."""
    entry = Entry("0a1b", "GET", path, ADDRESS, started=0.0, ended=0.1, status=status)
    if status != "401":
        entry.user, entry.group = "Our CRM", "sales"
    entry.touched.update(touched | {"code": code})
    return f"host evolvex-api[17]: INFO {entry}"


@pytest.mark.parametrize("code", ["missing_key", "unknown_key"])
def test_wrong_keys(code: str) -> None:
    assert banned("evolvex-api", line("401", code)) == ADDRESS
    assert banned("evolvex-api-calls", line("401", code)) is None


@pytest.mark.parametrize(
    "code", ["channel_denied", "number_denied", "callerid_denied", "context_denied"]
)
def test_calls_that_are_denied(code: str) -> None:
    refused = line("403", code, "/api/index/originate", channel="PJSIP/0088@trunk", exten="1")
    assert banned("evolvex-api-calls", refused) == ADDRESS
    assert banned("evolvex-api", refused) is None


def test_calls_beyond_a_limit() -> None:
    assert banned("evolvex-api-calls", line("429", "too_many_calls", call="1.2")) == ADDRESS
    assert banned("evolvex-api-calls", line("403", "right_denied")) is None
    assert banned("evolvex-api-calls", line("429", "too_many_waiting")) is None


@pytest.mark.parametrize("name", ["evolvex-api", "evolvex-api-calls"])
def test_no_path_passes_for_an_address(name: str) -> None:
    fake = f"/x 1.0ms 1B user=- group=- from={FAKE} code=unknown_key"
    for text in (line("401", "unknown_key", fake), line("403", "number_denied", fake)):
        assert banned(name, text) in (ADDRESS, None)
    assert banned(name, line("404", "unknown_method", fake)) is None
