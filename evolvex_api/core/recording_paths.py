"""Patterns of recordings' paths: `{YYYY}/{MM}/{DD}/*-{uniqueid}.{ext}` → what to look for.

Pure: the names of folders and files come from the caller.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

_PLACEHOLDER = re.compile(r"\{(YYYY|MM|DD|uniqueid|ext)\}|\[!?\]?[^\]]*\]|[*?]")
_DATE = re.compile(r"\{(?:YYYY|MM|DD)\}")
_SHELL = {"*": "[^/]*", "?": "[^/]"}
_DATE_FORMATS = {"YYYY": "%Y", "MM": "%m", "DD": "%d"}


@dataclass(frozen=True)
class Part:
    """One step of a path: a `name` as it is, or what a name must match.

    `literal` is a text that occurs in each matching name, for a cheap first look.
    """

    name: str | None
    matcher: re.Pattern[str]
    literal: str


def is_dated(pattern: str) -> bool:
    """True when a pattern names a part of the date."""
    return _DATE.search(pattern) is not None


@lru_cache(maxsize=256)
def parts(pattern: str, uniqueid: str, day: datetime | None) -> tuple[Part, ...]:
    """The steps of a pattern for an id, with the date of a day.

    The last one matches a file's whole name; its group `ext` is the extension. No digit may follow
    the id, which would be another call's.
    """
    return tuple(_part(text, uniqueid, day) for text in pattern.split("/"))


def _part(text: str, uniqueid: str, day: datetime | None) -> Part:
    matcher, name, position = "", "", 0
    is_name = True
    for found in _PLACEHOLDER.finditer(text):
        before = text[position : found.start()]
        matcher += re.escape(before)
        name += before
        position = found.end()
        field = found[1]
        if field == "ext":
            matcher += r"(?P<ext>[^./]+)"
            is_name = False
        elif field == "uniqueid":
            matcher += re.escape(uniqueid) + r"(?![0-9])"
            name += uniqueid
        elif field:
            value = day.strftime(_DATE_FORMATS[field]) if day else ""
            matcher += re.escape(value)
            name += value
        else:
            matcher += _SHELL.get(found[0]) or _character_class(found[0])
            is_name = False
    matcher += re.escape(text[position:])
    name += text[position:]
    literal = uniqueid if "{uniqueid}" in text else ""
    return Part(name if is_name else None, re.compile(matcher, re.DOTALL), literal)


def _character_class(text: str) -> str:
    """A shell's `[a-z]` or `[!a-z]` as a regular expression."""
    inner = text[1:-1].replace("\\", "\\\\").replace("[", "\\[")
    return f"[^{inner[1:]}]" if inner.startswith("!") else f"[{inner}]"
