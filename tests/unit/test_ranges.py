"""Ranges and conditions of RFC 9110."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from werkzeug.exceptions import RequestedRangeNotSatisfiable
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from evolvex_api.api.ranges import parse, select
from evolvex_api.core.refusals import ApiError

MODIFIED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DATE, EARLIER, LATER = (
    f"Fri, 02 Jan 2026 03:04:0{second} GMT" for second in (5, 4, 6)
)  # fmt: skip


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=0-", (0, 1000)),
        ("bytes=10-19", (10, 20)),
        ("bytes=999-", (999, 1000)),
        ("bytes=990-5000", (990, 1000)),
        ("bytes=-1", (999, 1000)),
        ("bytes=-1000", (0, 1000)),
        ("bytes=-65536", (0, 1000)),
        ("Bytes = 5-6 ", (5, 7)),
        ("bytes=20-10", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("bytes=0-1,5-6", None),
        ("bytes=+1-2", None),
        ("items=0-5", None),
        ("", None),
    ],
)
def test_a_range(header: str, expected: tuple[int, int] | None) -> None:
    assert parse(header, 1000) == expected


@pytest.mark.parametrize("header", ["bytes=-0", "bytes=1000-", "bytes=5000-6000"])
def test_a_range_that_is_not_there(header: str) -> None:
    with pytest.raises(RequestedRangeNotSatisfiable):
        parse(header, 1000)


def status(method: str = "GET", etag: str | None = "e", **headers: str) -> int:
    named = [(name.replace("_", "-"), value) for name, value in headers.items()]
    request = Request(EnvironBuilder(method=method, headers=named).get_environ())
    modified = MODIFIED if etag else None
    return select(request, 1000, etag, modified).status


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 206),
        ({"If_Range": "", "If_Match": "", "If_None_Match": ""}, 206),
        ({"If_Range": '"e"'}, 206),
        ({"If_Range": 'W/"e"'}, 200),
        ({"If_Range": '"other"'}, 200),
        ({"If_Range": DATE}, 206),
        ({"If_Range": EARLIER}, 200),
        ({"If_Range": LATER}, 200),
        ({"If_Range": "nonsense"}, 200),
        ({"If_None_Match": '"e"'}, 304),
        ({"If_None_Match": 'W/"e"'}, 304),
        ({"If_None_Match": "*"}, 304),
        ({"If_None_Match": '"other"', "If_Modified_Since": DATE}, 206),
        ({"If_Modified_Since": DATE}, 304),
        ({"If_Modified_Since": EARLIER}, 206),
        ({"If_Match": '"e"'}, 206),
        ({"If_Match": "*"}, 206),
        ({"If_Match": '"e"', "If_Unmodified_Since": EARLIER}, 206),
        ({"If_Unmodified_Since": DATE}, 206),
    ],
)
def test_a_range_on_a_condition(headers: dict[str, str], expected: int) -> None:
    assert status(Range="bytes=0-9", **headers) == expected


@pytest.mark.parametrize(
    "headers",
    [{"If_Match": '"other"'}, {"If_Match": 'W/"e"'}, {"If_Unmodified_Since": EARLIER}],
)
def test_a_precondition_that_fails(headers: dict[str, str]) -> None:
    with pytest.raises(ApiError) as refused:
        status(**headers)
    assert refused.value.code == "precondition_failed"


def test_head_has_no_ranges() -> None:
    assert status("HEAD", Range="bytes=0-9") == 200


def test_without_validators_a_condition_never_holds() -> None:
    assert status(etag=None, Range="bytes=0-9") == 206
    assert status(etag=None, Range="bytes=0-9", If_Range='"e"') == 200
    assert status(etag=None, If_None_Match='"e"') == 200
    with pytest.raises(ApiError):
        status(etag=None, If_Match='"e"')
