"""Recordings that are ready: `get_file_wav`, and an MP3 asked again, beside nginx."""

from __future__ import annotations

from collections.abc import Iterator

from bench.measure import CLIENTS, Client, Growth, Row, at_least, in_turns, per_second
from bench.stand import Stand
from tests.lab.server import wait_until

# The recording of the row, as in the other groups; the shorter ones are in the growth.
_HOUR = 60
_MINUTES = (1, 5, _HOUR)


def rows(stand: Stand) -> Iterator[Row | Growth]:
    """Requests/s from the service alone and behind the shipped nginx, for a call of one hour."""
    for method in ("get_file_wav", "get_file_mp3"):
        points: dict[str, float] = {}
        for minutes in _MINUTES:
            alone, behind, nginx = _measured(stand, method, minutes)
            points |= {f"{minutes}": alone, f"{minutes}, behind nginx": behind}
            points |= {f"{minutes}, nginx": nginx}
            if minutes == _HOUR:
                what = f"{method}, ready, 1 h, {CLIENTS} clients"
                yield at_least(f"{what}, service alone; nginx", "requests/s", alone, nginx, 0.5)
                yield at_least(f"{what}, behind nginx; nginx", "requests/s", behind, nginx, 0.9)
        yield Growth(f"{method}, ready, by minutes", "requests/s", points)


def _measured(stand: Stand, method: str, minutes: int) -> list[float]:
    """Requests/s of the service alone, of it behind nginx, and of nginx."""
    uniqueid, _ = stand.recording(minutes)
    path = stand.path(method, f"uniqueid={uniqueid}")
    with stand.client() as alone, Client(stand.nginx.port, stand.key) as behind:
        alone.get(path)
        behind.get(path)
    file = f"recordings/{uniqueid}.wav" if method == "get_file_wav" else _cached(stand)
    base = f"http://127.0.0.1:{stand.nginx.port}"
    taken = in_turns(
        5,
        per_second(f"http://127.0.0.1:{stand.service.port}{path}", stand.key, duration=2),
        per_second(f"{base}{path}", stand.key, duration=2),
        per_second(f"{base}/{file}", duration=2),
    )
    stand.settle()
    return taken


def _cached(stand: Stand) -> str:
    """The only MP3 in the cache of the service behind nginx, once it is whole."""
    wait_until(lambda: any(stand.behind.cache.glob("*.mp3")), 30, "the MP3 in the cache")
    return f"cache/{next(stand.behind.cache.glob('*.mp3')).name}"
