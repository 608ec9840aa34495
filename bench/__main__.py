"""Run the bench, or the groups of rows that are named."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from bench import calllog, cdr, console, files, mp3, neighbours, requests, status
from bench.measure import Growth, Memory, Peak, Row, limit, memory
from bench.stand import Stand

_GROUPS: Mapping[str, Callable[[Stand], Iterator[Row | Growth]]] = {
    "status": status.rows,
    "requests": requests.rows,
    "cdr": cdr.rows,
    "calllog": calllog.rows,
    "mp3": mp3.rows,
    "files": files.rows,
    "neighbours": neighbours.rows,
    "console": console.rows,
}
_RESULT = Path(__file__).parents[1] / "build" / "bench.json"
_IDLE, _BUSY = 110, 160


def main(arguments: Sequence[str]) -> int:
    """Measure, print, write; 1 when a row falls short, 2 for an unknown group."""
    unknown = set(arguments) - set(_GROUPS)
    if unknown:
        print(f"no group {', '.join(sorted(unknown))}; there are {', '.join(_GROUPS)}")
        return 2
    started = time.monotonic()
    results = []
    with Stand() as stand:
        for result in _measured(stand, arguments or list(_GROUPS)):
            print(_line(result), flush=True)
            results.append(result)
    print(f"{time.monotonic() - started:.0f} s")
    _write(results)
    return int(any(isinstance(result, Row) and not result.held for result in results))


def _measured(stand: Stand, groups: Sequence[str]) -> Iterator[Row | Growth]:
    with stand.client() as client:
        client.get(stand.path("check"))
    idle = memory(stand.pids())
    with Peak(stand.pids, 0.25) as peak:
        for name in groups:
            yield from _GROUPS[name](stand)
    yield _memory_row("idle", idle, _IDLE)
    yield _memory_row("at most while it was measured", peak.most, _BUSY)


def _memory_row(when: str, taken: Memory, most: float) -> Row:
    return limit(f"memory of all processes, {when} (RSS {taken.rss:.0f})", "MiB", taken.pss, most)


def _line(result: Row | Growth) -> str:
    if isinstance(result, Growth):
        points = ", ".join(f"{size}: {_number(value)}" for size, value in result.points.items())
        return f"  {result.what} ({result.unit}): {points}"
    verdict = "held" if result.held else "SHORT"
    peer = "" if result.peer is None else _number(result.peer)
    ratio = "" if result.ratio is None else f"{result.ratio:.2f} ×"
    figures = f"{_number(result.ours):>9} {peer:>9} {result.unit:<10} {ratio:>8}"
    return f"{result.what:<88} {figures}  {result.target:<10} {verdict}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _write(results: Sequence[Row | Growth]) -> None:
    rows = [
        asdict(result) | {"ratio": result.ratio} for result in results if isinstance(result, Row)
    ]
    growth = [asdict(result) for result in results if isinstance(result, Growth)]
    _RESULT.parent.mkdir(exist_ok=True)
    text = json.dumps({"rows": rows, "growth": growth}, ensure_ascii=False, indent=1)
    _RESULT.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
