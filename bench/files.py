"""Recordings that are ready: `get_file_wav`, and an MP3 asked again, beside nginx."""

from __future__ import annotations

from collections.abc import Iterator

from bench.measure import CLIENTS, Client, Row, at_least, in_turns, per_second
from bench.stand import Stand
from tests.lab.server import wait_until


def rows(stand: Stand) -> Iterator[Row]:
    """Requests/s from the service alone and behind the shipped nginx, of a 1 min recording."""
    uniqueid, _ = stand.recording(1)
    query = f"uniqueid={uniqueid}"
    base = f"http://127.0.0.1:{stand.nginx.port}"
    with stand.client() as alone, Client(stand.nginx.port, stand.key) as behind:
        for client in (alone, behind):
            client.get(stand.path("get_file_mp3", query))
    wait_until(lambda: any(stand.behind.cache.glob("*.mp3")), 10, "the MP3 in the cache")
    cached = next(stand.behind.cache.glob("*.mp3")).name
    for method, file in (
        ("get_file_wav", f"recordings/{uniqueid}.wav"),
        ("get_file_mp3", f"cache/{cached}"),
    ):
        path = stand.path(method, query)
        alone_rate, behind_rate, nginx = in_turns(
            3,
            per_second(f"http://127.0.0.1:{stand.service.port}{path}", stand.key, duration=2),
            per_second(f"{base}{path}", stand.key, duration=2),
            per_second(f"{base}/{file}", duration=2),
        )
        what = f"{method} of what is ready, {CLIENTS} clients"
        yield at_least(f"{what}, service alone; nginx", "requests/s", alone_rate, nginx, 0.5)
        yield at_least(f"{what}, behind nginx; nginx", "requests/s", behind_rate, nginx, 0.9)
