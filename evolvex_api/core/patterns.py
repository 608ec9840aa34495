"""Patterns of a group's file: Asterisk's extension patterns, and shell patterns of channels.

Source of the first: Asterisk's main/pbx.c, `_extension_match_core` (what matches) and `ext_strncpy`
(which spaces and hyphens the dialplan drops when it is loaded).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

_DIGITS = {"X": "[0-9]", "Z": "[1-9]", "N": "[2-9]"}
_PATTERN = re.compile(r"_[A-Za-z0-9*#+_.!\[\]^-]{1,79}")
_LITERAL = re.compile(r"[A-Za-z0-9*#+_.-]{1,79}")
# What a pattern whose underscore was forgotten looks like: 7XXX, 810., 8[0-5]5.
_FORGOTTEN = re.compile(r".*(?:[0-9][XNZxnz]|[XNZ][0-9XNZ]|\.$).*")
_ANY_IN_CLASS = tuple(map(chr, range(32, 127)))


def matches(pattern: str, extension: str) -> bool:
    """True when Asterisk's dialplan would take `extension` by `exten => pattern`.

    Given the pattern as written in extensions.conf (without `/callerid`) and the dialled
    extension, both ASCII.
    """
    if not pattern.startswith("_"):
        return _without_hyphens(pattern) == _without_hyphens(extension)
    if _without_hyphens(extension) == _without_hyphens(pattern):
        return True  # Asterisk compares an extension that begins with _ as a pattern first
    return _compiled(pattern).fullmatch(_without_hyphens(extension)) is not None


def dialled(number: str) -> str:
    """A number as numbers and patterns are compared: without `+`, hyphens and dots."""
    return re.sub(r"[+.-]", "", number)


def any_matches(patterns: Iterable[str], number: str) -> bool:
    """True when one of the patterns that `number_pattern` returned matches the number."""
    compared = dialled(number)
    return any(matches(pattern, compared) for pattern in patterns)


def number_pattern(text: str) -> str:
    """A pattern for numbers, ready for `any_matches`.

    `+` is dropped, as it is from numbers. Raises ValueError with the reason for what Asterisk
    would ignore, or match otherwise than it looks.
    """
    if not text.startswith("_"):
        return _literal(text)
    if not _PATTERN.fullmatch(text):
        raise ValueError(f"{text!r} is no extension pattern of Asterisk, such as _7XXXXXXXXXX")
    without_classes, classes = re.sub(r"\[[^\]]*\]", "", text), re.findall(r"\[([^\]]*)\]", text)
    if "[" in without_classes or "]" in without_classes or "" in classes:
        raise ValueError(f"{text!r}: a bracket is not closed, or holds nothing")
    if re.search(r"[.!].", without_classes) or re.search(r"[.!]\[", text):
        raise ValueError(f"{text!r}: nothing may follow . or !")
    parts = re.split(r"(\[[^\]]*\])", text)
    pattern = "".join(part if part.startswith("[") else part.replace("+", "") for part in parts)
    if _without_hyphens(pattern) == "_":
        raise ValueError(f"{text!r} matches nothing")
    return pattern


def _literal(text: str) -> str:
    if not _LITERAL.fullmatch(text):
        raise ValueError(f"{text!r} is no number; a pattern begins with _, such as _7XXXXXXXXXX")
    if _FORGOTTEN.fullmatch(text):
        raise ValueError(f"{text!r} would be taken as it stands; a pattern begins with _")
    return dialled(text)


def shell_matches(pattern: str, text: str) -> bool:
    """True when a shell pattern matches the whole text; `*` and `?` match no `@` and no `/`.

    `[abc]`, `[a-z]` and `[!a-z]` match one character, never `@` nor `/`.
    """
    return _shell_compiled(pattern).fullmatch(text) is not None


@functools.lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    """A pattern that begins with `_` as a regular expression over an extension without hyphens."""
    found, rest = "", pattern[1:]
    while rest:
        character, rest = rest[0], rest[1:]
        if character == "[":
            inside, bracket, rest = rest.partition("]")
            if not bracket:
                return re.compile("(?!)")  # Asterisk: "Wrong usage of [] in the extension"
            if inside:
                found += _class(inside)
        elif character == ".":
            return re.compile(found + ".+", re.DOTALL)
        elif character == "!":
            return re.compile(found + ".*", re.DOTALL)
        elif character not in " -":
            found += _DIGITS.get(character.upper(), re.escape(character))
    return re.compile(found, re.DOTALL)


def _class(inside: str) -> str:
    """What stands in brackets: single characters, and ranges of which both ends are there."""
    allowed = set()
    position = 0
    while position < len(inside):
        first = inside[position]
        if inside[position + 1 : position + 2] == "-" and position + 2 < len(inside):
            last = inside[position + 2]
            allowed |= {character for character in _ANY_IN_CLASS if first <= character <= last}
            position += 3
        else:
            allowed.add(first)
            position += 1
    # A range that runs backwards matches nothing.
    return (
        "[" + "".join(re.escape(character) for character in sorted(allowed)) + "]"
        if allowed
        else "(?!)"
    )


@functools.lru_cache(maxsize=4096)
def _shell_compiled(pattern: str) -> re.Pattern[str]:
    found = ""
    for part in re.findall(r"\[!?[^\]]+\]|.", pattern, re.DOTALL):
        if part == "*":
            found += "[^@/]*"
        elif part == "?":
            found += "[^@/]"
        elif len(part) > 1:
            inside = part[1:-1].removeprefix("!").replace("\\", r"\\").replace("^", r"\^")
            inside = inside.replace("[", r"\[")
            found += f"(?![@/])[{'^' if part[1] == '!' else ''}{inside}]"
        else:
            found += re.escape(part)
    return re.compile(found)


def _without_hyphens(text: str) -> str:
    return text.replace("-", "")
