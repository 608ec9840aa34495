"""Files in the format of Asterisk's configuration, and of odbc.ini."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from evolvex_api.setup.files import peek

Sections = Mapping[str, Mapping[str, str]]


def sections(path: Path) -> Sections:
    """A file as {section: {key: value}}; the last value of a key counts, includes are left out."""
    found: dict[str, dict[str, str]] = {}
    for section, key, value in _settings(peek(path)):
        found.setdefault(section, {}).update({key: value} if key else {})
    return found


def _settings(content: str) -> Iterator[tuple[str, str, str]]:
    """(section, key, value) of each line; a section's own line has neither key nor value."""
    section = ""
    for raw in content.splitlines():
        line = re.split(r"(?<!\\);", raw, maxsplit=1)[0].strip()
        if line.startswith("#"):
            continue
        if named := re.match(r"\[([^\]]+)\]", line):
            section = named[1]
            yield section, "", ""
        elif "=" in line and section:
            key, value = line.split("=", 1)
            yield section, key.strip(), value.removeprefix(">").strip()
