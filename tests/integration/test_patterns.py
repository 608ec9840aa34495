"""Extension patterns and hours, compared with what a real Asterisk makes of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from evolvex_api.core.hours import read_hours
from evolvex_api.core.patterns import matches
from tests.integration.conftest import Pbx
from tests.lab.asterisk import Asterisk
from tests.lab.manager import Manager
from tests.lab.server import wait_until
from tests.unit.test_patterns import EXAMPLES

# Characters of an extension, digits the most likely; no underscore at the start.
NUMBERS = st.text("0123456789" * 4 + "*#+-aXnz", min_size=1, max_size=8)
_INSIDE = st.lists(
    st.sampled_from(["1", "5", "9", "0-4", "3-7", "7-3", "a-f", "*", "-", "5-", "+", "x"]),
    min_size=1,
    max_size=3,
).map("".join)
_PIECE = st.one_of(
    st.sampled_from(["X", "Z", "N", "x", "z", "n", "1", "7", "0", "-", "*", "+", "a", "#"]),
    _INSIDE.map(lambda inside: f"[{inside}]"),
)
PATTERNS = st.builds(
    lambda pieces, end, first: first + "".join(pieces) + end,
    st.lists(_PIECE, min_size=1, max_size=5),
    st.sampled_from(["", "", ".", "!"]),
    st.sampled_from(["_", "_", "_", ""]),
).filter(lambda pattern: pattern.replace("-", "") not in ("", "_", "_.", "_!"))


@contextlib.contextmanager
def dialplan(asterisk: Asterisk, patterns: Sequence[str]) -> Iterator[Manager]:
    """An AMI session with one context a pattern, oracle0, oracle1 and so on."""
    path = asterisk.etc / "extensions.conf"
    before = path.read_text()
    contexts = (
        f"[oracle{number}]\nexten => {pattern},1,NoOp()\n"
        for number, pattern in enumerate([*patterns, "here"])
    )
    path.write_text(f"{before}\n{''.join(contexts)}")
    try:
        asterisk.cli("dialplan reload")
        with asterisk.manager() as manager:
            last = f"DIALPLAN_EXISTS(oracle{len(patterns)},here,1)"
            wait_until(lambda: _ask(manager, last) == "1", 10, "the dialplan is loaded")
            yield manager
    finally:
        path.write_text(before)
        asterisk.cli("dialplan reload")


def _ask(manager: Manager, function: str) -> str:
    return manager.action("Getvar", Variable=function)["Value"]


def _disagreements(
    asterisk: Asterisk, patterns: Sequence[str], numbers: Sequence[str]
) -> list[tuple[str, str, str]]:
    with dialplan(asterisk, patterns) as manager:
        return [
            (pattern, number, said)
            for index, pattern in enumerate(patterns)
            for number in numbers
            if (said := _ask(manager, f"DIALPLAN_EXISTS(oracle{index},{number},1)"))
            != str(int(matches(pattern, number)))
        ]


def test_the_examples(any_pbx: Pbx) -> None:
    # An empty set of characters is refused in a group's file; Asterisk 16 and 22 differ over it.
    patterns = [pattern for pattern, _, _ in EXAMPLES if "[]" not in pattern]
    numbers = {number for _, good, bad in EXAMPLES for number in (*good, *bad)} - {"", "-", "-100-"}
    plain = [number for number in sorted(numbers) if number[0] not in "_["]
    assert _disagreements(any_pbx.asterisk, patterns, plain) == []


@settings(
    max_examples=8,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking would take minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    patterns=st.lists(PATTERNS, min_size=20, max_size=40, unique=True),
    numbers=st.lists(NUMBERS, min_size=20, max_size=40, unique=True),
)
def test_whatever_is_generated(
    asterisk: Asterisk, patterns: Sequence[str], numbers: Sequence[str]
) -> None:
    assert _disagreements(asterisk, patterns, numbers) == []


_TIMES = st.builds("{:02}:{:02}-{:02}:{:02}".format, *(st.integers(0, n) for n in (23, 59, 23, 59)))
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def _ranges(names: Sequence[str]) -> st.SearchStrategy[str]:
    name = st.sampled_from(names)
    part = st.one_of(name, st.builds("{}-{}".format, name, name))
    return st.one_of(st.just("*"), part, st.builds("{}&{}".format, part, part))


@settings(max_examples=10, deadline=None)
@given(
    st.lists(
        st.builds(
            "{},{},{},{}".format,
            st.one_of(_TIMES, st.builds("{}&{}".format, _TIMES, _TIMES), st.just("*")),
            _ranges(_DAYS),
            _ranges([str(day) for day in range(1, 32)]),
            _ranges(_MONTHS),
        ),
        min_size=40,
        max_size=40,
    )
)
def test_hours_are_those_of_asterisk(asterisk: Asterisk, specifications: Sequence[str]) -> None:
    with asterisk.manager() as manager:
        for text in specifications:
            hours = read_hours(text, ZoneInfo)
            before = hours.hold(datetime.now(UTC))
            said = _ask(manager, f"IFTIME({text}?1:0)") == "1"
            # A minute may begin between the two.
            assert said in (before, hours.hold(datetime.now(UTC))), text


@pytest.mark.parametrize("zone", ["Europe/Moscow", "America/New_York", "Pacific/Auckland"])
def test_hours_of_another_zone(asterisk: Asterisk, zone: str) -> None:
    with asterisk.manager() as manager:
        for hour in range(24):
            text = f"{hour:02}:00-{hour:02}:59,*,*,*,{zone}"
            hours = read_hours(text, ZoneInfo)
            before = hours.hold(datetime.now(UTC))
            said = _ask(manager, f"IFTIME({text}?1:0)") == "1"
            assert said in (before, hours.hold(datetime.now(UTC))), text
