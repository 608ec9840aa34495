"""What a group's file says in [originate] and [uploads]: typed values, or RuleError."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any

from evolvex_api.core.hours import Hours, read_hours
from evolvex_api.core.patterns import number_pattern
from evolvex_api.option_types import size, whole_number, words

_CHANNEL = re.compile(r"[A-Za-z][A-Za-z0-9]{0,19}/[A-Za-z0-9_.+*#?@/\[\]!-]{1,200}")
_NAME = re.compile(r"[\w.+*?\[\]!-]{1,80}")
# More than an originate a second for a day and a half, and fewer than would fill a disk.
_MOST_CALLS = 100_000


class RuleError(ValueError):
    """A key of a group's file that is unknown, or has a value that can't be used."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key}: {reason}")


@dataclass(frozen=True)
class CallRules:
    """[originate]: what a group may dial, and how often. None: the file has no such key.

    Patterns of `numbers`, `forbidden_numbers` and `caller_ids` are for `patterns.any_matches`,
    the others for `patterns.shell_matches`.
    """

    channels: tuple[str, ...] | None = None
    numbers: tuple[str, ...] | None = None
    forbidden_numbers: tuple[str, ...] | None = None
    caller_ids: tuple[str, ...] | None = None
    accounts: tuple[str, ...] | None = None
    variables: tuple[str, ...] | None = None
    max_calls: int | None = None
    calls_per_minute: int | None = None
    calls_per_day: int | None = None
    calls_per_number_per_day: int | None = None
    hours: Hours | None = None


@dataclass(frozen=True)
class UploadRules:
    """[uploads]: `quota` in bytes as stored; None: the group has no limit of its own."""

    quota: int | None = None


@dataclass(frozen=True)
class Rules:
    """Both sections of a group's file."""

    calls: CallRules = field(default_factory=CallRules)
    uploads: UploadRules = field(default_factory=UploadRules)


def read_call_rules(values: Mapping[str, str], zone_of: Callable[[str], tzinfo]) -> CallRules:
    """The section [originate], given as its keys and texts; `zone_of` as for `read_hours`.

    Raises RuleError.
    """
    count = whole_number(1, _MOST_CALLS)
    numbers = _each(number_pattern)
    return CallRules(
        **_read(
            values,
            {
                "channels": _each(_channel_pattern),
                "numbers": numbers,
                "forbidden_numbers": numbers,
                "caller_ids": numbers,
                "accounts": _each(_name_pattern),
                "variables": _each(_name_pattern),
                "max_calls": count,
                "calls_per_minute": count,
                "calls_per_day": count,
                "calls_per_number_per_day": count,
                "hours": lambda text: read_hours(text, zone_of),
            },
        )
    )


def read_upload_rules(values: Mapping[str, str]) -> UploadRules:
    """The section [uploads], given as its keys and texts. Raises RuleError."""
    return UploadRules(**_read(values, {"quota": size}))


def _read(values: Mapping[str, str], readers: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
    found = {}
    for key, text in values.items():
        if key not in readers:
            raise RuleError(key, "unknown key")
        if not text.strip():
            raise RuleError(key, "is empty; leave the line out where nothing is limited")
        try:
            found[key] = readers[key](text.strip())
        except ValueError as error:
            raise RuleError(key, str(error)) from None
    return found


def _each(read: Callable[[str], str]) -> Callable[[str], tuple[str, ...]]:
    return lambda text: tuple(read(word) for word in words(text))


def _channel_pattern(text: str) -> str:
    if not _CHANNEL.fullmatch(text):
        raise ValueError(f"{text!r} is no channel such as PJSIP/1??, PJSIP/*@trunk or Local/*@out")
    return text


def _name_pattern(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(f"{text!r} is no name, and no shell pattern of names")
    return text
