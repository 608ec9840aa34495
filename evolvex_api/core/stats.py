"""What `stats` counts: its buckets and their figures. docs/api.ru.md has the definitions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Literal, get_args

from evolvex_api.core.access import Scope

By = Literal["day", "hour", "weekday", "agent", "queue"]
BY: tuple[By, ...] = get_args(By)
MOST_DAYS = 92

# What a dialplan may write into a column `direction`, in lower case.
DIRECTIONS: Mapping[str, tuple[str, ...]] = {
    "in": ("in", "inbound", "incoming"),
    "out": ("out", "outbound", "outgoing"),
    "internal": ("internal", "local"),
}


@dataclass(frozen=True)
class Question:
    """The calls of a period that a group may see, and what they are counted by.

    `start` and `end` are local times, both included. A call's direction follows from
    `inbound_contexts` (shell patterns) and `internal_numbers`, as in `[events]`.
    """

    start: datetime
    end: datetime
    scope: Scope
    by: By
    inbound_contexts: tuple[str, ...]
    internal_numbers: re.Pattern[str]


@dataclass(frozen=True)
class Counts:
    """The figures of a bucket that add up, in the order in which the database returns them."""

    calls: int
    inbound: int
    outbound: int
    internal: int
    answered: int
    missed: int
    not_called_back: int
    talk_seconds: int
    waits: int
    wait_seconds: int
    longest_wait_seconds: int

    def plus(self, other: Counts) -> Counts:
        """Both together."""
        values = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        values["longest_wait_seconds"] = max(self.longest_wait_seconds, other.longest_wait_seconds)
        return Counts(**values)

    def as_json(self, key: str) -> dict[str, str | int | float]:
        """The bucket as clients get it; averages are rounded to tenths, 0 of nothing."""
        values: dict[str, str | int | float] = {"key": key}
        values |= {f.name: getattr(self, f.name) for f in fields(self)}
        waits, wait_seconds = self.waits, self.wait_seconds
        del values["waits"], values["wait_seconds"]
        longest = values.pop("longest_wait_seconds")
        values["average_talk_seconds"] = _average(self.talk_seconds, self.answered)
        values["average_wait_seconds"] = _average(wait_seconds, waits)
        values["longest_wait_seconds"] = longest
        return values


def _average(total: int, count: int) -> float:
    return round(total / count, 1) if count else 0


def buckets(
    found: Iterable[tuple[str, Counts]], question: Question
) -> list[dict[str, str | int | float]]:
    """The answer's `data`: one object a bucket, ordered by key.

    By agent, `found` is by the names of endpoints; those of one number are put together, and those
    that have no number of this PBX (trunks) are left out.
    """
    together: dict[str, Counts] = {}
    for name, counts in found:
        key = agent(name, question.internal_numbers) if question.by == "agent" else name
        if key:
            together[key] = together[key].plus(counts) if key in together else counts
    return [together[key].as_json(key) for key in sorted(together, key=_in_order)]


def _in_order(key: str) -> tuple[int, str]:
    return (int(key) if key.isascii() and key.isdigit() and len(key) < 20 else 0, key)


def agent(endpoint: str, internal_numbers: re.Pattern[str]) -> str | None:
    """The extension of an endpoint: its name (`101`) or the number within it (`user-101-sales`)."""
    for part in (endpoint, *re.findall(r"[0-9]+", endpoint)):
        if internal_numbers.fullmatch(part):
            return str(part)
    return None
