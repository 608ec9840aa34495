"""Asterisk's extension patterns and shell patterns; integration/test_patterns.py asks Asterisk."""

from __future__ import annotations

import pytest

from evolvex_api.core.patterns import any_matches, matches, number_pattern, shell_matches

# pattern, what it matches, what it does not
EXAMPLES = [
    ("100", ("100", "1-00", "-100-"), ("10", "1000", "")),
    ("1-00", ("100",), ("1-0",)),
    ("_X", ("0", "9"), ("", "10", "a", "*")),
    ("_Z", ("1", "9"), ("0", "#")),
    ("_N", ("2", "9"), ("0", "1")),
    ("_xzn", ("012", "999"), ("002", "011")),
    ("_1XX", ("100", "199", "1-9-9"), ("10", "1000", "200")),
    ("_7XXXXXXXXXX", ("79161234567",), ("7916123456", "791612345678", "89161234567")),
    ("_810.", ("8101", "81000"), ("810", "810-", "81")),
    ("_810!", ("810", "8101"), ("81",)),
    ("_.", ("1", "a", "*#"), ("", "-")),
    ("_!", ("", "1", "abc"), ()),
    ("_[1-5]X", ("10", "59"), ("60", "5")),
    ("_[135-7]", ("1", "3", "6"), ("2", "4", "-", "8")),
    ("_[7-5]", (), ("5", "6", "7", "-")),
    ("_[a-]", ("a",), ("-", "b")),
    ("_[]1", ("1",), ("11", "")),
    ("_[1", (), ("1", "[1")),
    ("_8-495-X", ("84951", "8-4951"), ("8495",)),
    ("_8 495X", ("84951",), ("8495",)),
    ("_+7X", ("+71",), ("71",)),
    ("_*72X.", ("*7211",), ("*721", "7211")),
    ("_X.9", ("12", "1234"), ("1",)),
    ("_pho[n]e[12]", ("phone1",), ("pho2e1", "phone3")),
    ("_phone", ("pho2e",), ("phone",)),
    ("_ph2", ("ph2",), ("pH2",)),
    ("_1X", ("_1X", "_1-X"), ("_1Y",)),
]


@pytest.mark.parametrize(("pattern", "good", "bad"), EXAMPLES)
def test_what_asterisk_matches(pattern: str, good: tuple[str, ...], bad: tuple[str, ...]) -> None:
    assert [text for text in good if not matches(pattern, text)] == []
    assert [text for text in bad if matches(pattern, text)] == []


@pytest.mark.parametrize(
    "text",
    [
        "_7XXXXXXXXXX",
        "_XXX",
        "_[2-9]XX!",
        "_810.",
        "112",
        "s",
        "phone1",
        "*72",
        "start",
        "_+7.",
        "h",
    ],
)
def test_patterns_that_a_group_may_have(text: str) -> None:
    assert number_pattern(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("7XXX", "a pattern begins with _"),
        ("810.", "a pattern begins with _"),
        ("N11", "a pattern begins with _"),
        ("8[0-5]", "a pattern begins with _"),
        ("810!", "a pattern begins with _"),
        ("_", "is no extension pattern"),
        ("_+", "matches nothing"),
        ("_[1-5", "bracket"),
        ("_1]", "bracket"),
        ("_[]", "bracket"),
        ("_1.2", "nothing may follow"),
        ("_1![23]", "nothing may follow"),
        ("_1/2", "no extension pattern"),
        ("_1(2)", "no extension pattern"),
        ("_" + "X" * 80, "no extension pattern"),
        ("a b", "no number"),
        ("_é", "no extension pattern"),
    ],
)
def test_patterns_that_would_not_do_what_they_seem_to(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        number_pattern(text)


@pytest.mark.parametrize("pattern", ["_+7X.", "_7X.", "_7-X."])
@pytest.mark.parametrize("number", ["7123", "+7123", "7-1-2-3", "7.123", "+7.1-23"])
def test_plus_hyphens_and_dots_are_nothing_on_both_sides(pattern: str, number: str) -> None:
    assert any_matches([number_pattern("1"), number_pattern(pattern)], number)
    assert not any_matches([], number)


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        ("*", ("", "101", "a.b"), ("a@b", "a/b", "@", "/")),
        ("1??", ("101",), ("10", "1011", "1@1", "1/1")),
        ("*@trunk", ("1@trunk", "@trunk"), ("1@trunk2", "1@2@trunk", "1/2@trunk")),
        ("[ab]*", ("a", "b1"), ("c", "[ab]")),
        ("[!a]", ("b",), ("a", "@", "/", "")),
        ("[0-9]", ("5",), ("a",)),
        ("[.-z]", ("a",), ("@", "/")),
        ("a.c", ("a.c",), ("abc",)),
        ("[a", ("[a",), ("a",)),
        ("[^a]", ("^", "a"), ("b",)),
    ],
)
def test_shell_patterns(pattern: str, good: tuple[str, ...], bad: tuple[str, ...]) -> None:
    assert [text for text in good if not shell_matches(pattern, text)] == []
    assert [text for text in bad if shell_matches(pattern, text)] == []
