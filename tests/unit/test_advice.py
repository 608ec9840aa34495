"""Groups whose keys can spend money, as doctor finds them."""

from __future__ import annotations

import dataclasses
from zoneinfo import ZoneInfo

import pytest

from evolvex_api.core.access import Access, AccessBook, Group, User
from evolvex_api.core.advice import groups_without_trunks, unbounded_groups
from evolvex_api.core.rules import Rules, read_call_rules


def book(contexts: str, *, enabled: bool = True, rights: str = "", **rules: str) -> AccessBook:
    """One group with one user."""
    accesses = tuple(Access("c", name, "", "g") for name in contexts.split())
    group = Group("g", "sales", accesses=accesses, rules=Rules(read_call_rules(rules, ZoneInfo)))
    if rights:
        group = dataclasses.replace(group, given_rights=frozenset(rights.split()))
    user = User("u", "crm", "", enabled, "digest", "g")
    return AccessBook({"digest": user}, {"g": group})


@pytest.mark.parametrize(
    ("found", "unbounded"),
    [
        (book("*"), True),
        (book("*", numbers="_7."), False),
        (book("*", channels="PJSIP/1??, Local/*@out"), False),
        (book("*", channels="PJSIP/*@trunk"), True),
        (book("out", channels="DAHDI/g1/*"), True),
        (book("out", channels="DAHDI/g1/*", numbers="_7."), False),
        (book("out"), False),
        (book("*", enabled=False), False),
        (book("*", rights="check cdr"), False),
    ],
)
def test_a_key_that_reaches_a_trunk_without_numbers(found: AccessBook, unbounded: bool) -> None:
    assert bool(unbounded_groups(found)) is unbounded


@pytest.mark.parametrize(
    ("found", "stricter"),
    [
        (book("out"), True),
        (book("*"), False),
        (book("out", channels="PJSIP/*"), False),
        (book(""), False),
        (book("out", rights="check"), False),
    ],
)
def test_groups_that_dialled_through_trunks_before(found: AccessBook, stricter: bool) -> None:
    assert bool(groups_without_trunks(found)) is stricter
