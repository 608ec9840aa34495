"""Signed links: each part is signed, and time decides."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import parse_qs

import pytest

from evolvex_api.core.links import Link
from evolvex_api.core.refusals import ApiError

SECRET = b"0123456789abcdef"
LINK = Link("1711279935.61", "4c343af6", "1764626281")


def signature() -> str:
    return parse_qs(LINK.query(SECRET))["signature"][0]


def refusal(link: Link, secret: bytes = SECRET, now: float = 1764626281.0) -> tuple[int, str]:
    with pytest.raises(ApiError) as raised:
        link.check(secret, signature(), now)
    return raised.value.status, raised.value.code


def test_a_link_is_good_until_its_last_second() -> None:
    LINK.check(SECRET, signature(), 1764626281.0)
    assert refusal(LINK, now=1764626281.1) == (410, "link_expired")


@pytest.mark.parametrize("part", ["uniqueid", "group", "expires"])
def test_each_part_is_signed(part: str) -> None:
    assert refusal(replace(LINK, **{part: "1764626282"})) == (403, "link_invalid")
    assert refusal(replace(LINK, **{part: ""})) == (403, "link_invalid")


def test_another_secret_makes_other_signatures() -> None:
    assert refusal(LINK, b"another secret..") == (403, "link_invalid")


def test_parts_can_not_be_moved_into_each_other() -> None:
    assert refusal(Link("1711279935.614", "c343af6", LINK.expires)) == (403, "link_invalid")
