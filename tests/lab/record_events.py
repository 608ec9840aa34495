"""`make record-events`: plays every scenario on both Asterisks and writes the events anew."""

from __future__ import annotations

from pathlib import Path

from evolvex_api.events.call import Event
from tests.lab import eventfile, packages, scenarios
from tests.lab.amievents import EventStream
from tests.lab.asterisk import Asterisk
from tests.lab.server import wait_until

DIRECTORY = Path(__file__).parents[1] / "unit" / "events"


def main() -> None:
    """Write tests/unit/events/<scenario>-<version>.txt."""
    packages.ensure(*packages.PBX)
    DIRECTORY.mkdir(exist_ok=True)
    for version in (22, 16):
        with Asterisk(version) as pbx:
            for name in scenarios.SCENARIOS:
                eventfile.write(DIRECTORY / f"{name}-{version}.txt", _record(pbx, name))
                print(f"{name} on Asterisk {version}", flush=True)


def _record(pbx: Asterisk, name: str) -> list[tuple[Event, float]]:
    """Play a scenario and return its events, down to the Hangup of every channel."""
    events: list[tuple[Event, float]] = []
    with EventStream(pbx, lambda event, at: events.append((event, at))):
        stage = scenarios.play(pbx, name)
        wait_until(lambda: _is_over(events, stage.responses), 10, f"the events of {name}")
    return events


def _is_over(events: list[tuple[Event, float]], responses: int) -> bool:
    kinds = [event[0][1] for event, _ in list(events)]
    are_all_gone = kinds.count("Newchannel") == kinds.count("Hangup") > 0
    return are_all_gone and kinds.count("OriginateResponse") == responses


if __name__ == "__main__":
    main()
