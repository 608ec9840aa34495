"""The console: its size, and how soon the call log is on the screen."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from importlib import resources

from bench.measure import Row, limit
from bench.stand import Stand
from tests.lab.browser import Browser

_ROUNDS = 7
_SIZE, _PAINTED = 100, 1000
# When the frame is drawn in which the first call stands: milliseconds since the navigation began.
_WATCH = """
const look = () => document.querySelector("tr.call") ? window.painted = performance.now()
  : requestAnimationFrame(look);
requestAnimationFrame(look);
"""


def rows(stand: Stand) -> Iterator[Row]:
    """The bytes of all files, and the time to the first call of today's log."""
    folder = resources.files("evolvex_api").joinpath("console")
    size = sum(len(entry.read_bytes()) for entry in folder.iterdir())
    yield limit("console: all its files", "kB", size / 1000, _SIZE)
    yield limit("console: first paint of the call log with data", "ms", _painted(stand), _PAINTED)


def _painted(stand: Stand) -> float:
    url = f"{stand.service.url}/console/"
    call = "channel=Local/200@answer&context=outgoing&exten=200&priority=1"
    with stand.client() as client:
        client.get(stand.path("originate", call))  # so that the log is not empty
    with Browser() as browser:
        browser.open(f"{url}csv.js")
        browser.run("sessionStorage.setItem('evolvex.key', arguments[0])", stand.key)
        browser.before_each_page(_WATCH)
        times = []
        for _ in range(_ROUNDS):
            browser.open(f"{url}#log")
            browser.wait("tr.call")
            times.append(float(browser.run("return window.painted")))
    return statistics.median(times)
