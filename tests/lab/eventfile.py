"""AMI events in a file: a line an event, so that recordings are small and can be compared.

@Newstate Event Privilege Channel …      the headers of the Newstate events that follow
0.213<tab>Newstate<tab>call,all<tab>…    seconds since the first event, and the values
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from evolvex_api.events.call import Event

# Nothing that concerns a call, and most of a recording.
_NOISE = ("DeviceStateChange", "QueueMemberStatus", "ExtensionStatus")


def write(path: Path, events: Iterable[tuple[Event, float]]) -> None:
    """Write events and their times."""
    lines: list[str] = []
    layouts: dict[str, str] = {}
    start: float | None = None
    for event, at in events:
        kind = event[0][1]
        if kind in _NOISE:
            continue
        start = at if start is None else start
        layout = f"@{kind} {' '.join(name for name, _ in event)}"
        if layouts.get(kind) != layout:
            layouts[kind] = layout
            lines.append(layout)
        lines.append("\t".join([f"{at - start:.3f}", *(value for _, value in event)]))
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def read(path: Path) -> list[tuple[Event, float]]:
    """Return the events of a file with their times."""
    layouts: dict[str, list[str]] = {}
    events = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("@"):
            kind, *names = line[1:].split(" ")
            layouts[kind] = names
            continue
        at, *values = line.split("\t")
        events.append((tuple(zip(layouts[values[0]], values, strict=True)), float(at)))
    return events
