"""Changes of an INI file's text that leave everything else as it stands, comments included.

For the syntax that `config.read_ini` reads: `key = value`, continuation lines that are indented,
comments on lines of their own that begin with `#` or `;`. Pure text: nothing is checked here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_HEADER = re.compile(r"\[(?P<name>[^\]]*)\]")


def with_value(text: str, section: str, key: str, value: str | None) -> str:
    """The text with `key = value` in a section, without the key where the value is None.

    The key keeps its place; a new one comes after the section's last, a new section at the end.
    """
    lines = text.splitlines()
    start, end = _section(lines, section)
    if start is None:
        return text if value is None else with_section(text, section, {key: value})
    found = [n for n in range(start + 1, end) if re.match(rf"{re.escape(key)}\s*=", lines[n])]
    first = found[0] if found else _end_of_values(lines, start, end)
    last = _end_of_value(lines, first, end) if found else first
    lines[first:last] = [] if value is None else [f"{key} = {value}"]
    return _joined(lines)


def with_section(text: str, section: str, values: Mapping[str, str]) -> str:
    """The text with a further section at its end."""
    lines = text.splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    gap = [""] if lines else []
    return _joined(
        [*lines, *gap, f"[{section}]", *(f"{key} = {value}" for key, value in values.items())]
    )


def without_section(text: str, section: str) -> str:
    """The text without a section; comments in front of the next one stay, as they are its own."""
    lines = text.splitlines()
    start, end = _section(lines, section)
    if start is None:
        return text
    while end > start + 1 and end < len(lines) and not _is_value(lines[end - 1]):
        end -= 1
    del lines[start:end]
    return _joined(lines)


def _section(lines: Sequence[str], section: str) -> tuple[int | None, int]:
    """Where a section's header stands (None: nowhere), and where the next one's does."""
    headers = [
        (n, " ".join(match["name"].split()))
        for n, line in enumerate(lines)
        if (match := _HEADER.match(line))
    ]
    start = next((n for n, name in headers if name == section), None)
    if start is None:
        return None, len(lines)
    return start, next((n for n, _ in headers if n > start), len(lines))


def _end_of_values(lines: Sequence[str], start: int, end: int) -> int:
    while end > start + 1 and not _is_value(lines[end - 1]):
        end -= 1
    return end


def _end_of_value(lines: Sequence[str], first: int, end: int) -> int:
    """Where what follows a key's line is no continuation of its value any more."""
    after = first + 1
    for n in range(first + 1, end):
        if lines[n][:1].isspace() and _is_value(lines[n]):
            after = n + 1
        elif _is_value(lines[n]):
            break
    return after


def _is_value(line: str) -> bool:
    """True for a line that is neither empty nor a comment."""
    return bool(line.strip()) and line.strip()[0] not in "#;"


def _joined(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
