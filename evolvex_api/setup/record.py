"""What setup did to other programs, so that it can be undone later, also without those programs.

A text file beside evolvex.conf, a line a thing: `KIND VALUE`. The package's purge (postrm, a shell
script) reads it too, when this code is gone already.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from evolvex_api.setup.changes import text

NAME = "setup.state"
# Version 1.0 noted the files that hold its lines, and nothing else.
_OLD_NAME = "setup.files"
NAMES = (NAME, _OLD_NAME)

HEADER = "# What `evolvex-api setup` did; `setup --remove` and the package's purge undo it.\n"


@dataclass(frozen=True)
class Record:
    """One thing that was done: its kind, a key of steps.UNDO, and what it was done to."""

    kind: str
    value: str


def load(folder: Path) -> list[Record]:
    """The records of earlier setups, in the order in which they were made."""
    found = text(folder / NAME)
    if not found:
        return _of_version_1_0(folder)
    return [
        Record(*line.split(" ", 1))
        for line in found.splitlines()
        if " " in line and not line.startswith("#")
    ]


def as_text(records: Iterable[Record]) -> str:
    """The file's text: each record once."""
    return HEADER + "".join(f"{one.kind} {one.value}\n" for one in dict.fromkeys(records))


def _of_version_1_0(folder: Path) -> list[Record]:
    files = [line for line in text(folder / _OLD_NAME).splitlines() if line]
    records = [Record("nginx" if "/nginx/" in file else "ami", file) for file in files]
    if Path("/etc/apache2/conf-enabled/evolvex-api.conf").is_symlink():
        records.append(Record("apacheconf", "evolvex-api"))
    if files and "unix_socket = /" in text(folder / "evolvex.conf"):
        records.append(Record("dbuser", "evolvex"))
    return records
