"""The small requests: `check` and `originate`."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from bench.bare import Bare
from bench.measure import Client, Row, at_least, at_most_over, in_turns, per_second
from bench.stand import Stand
from bench.status import PlainAmi
from tests.lab.server import wait_until
from tests.lab.service import Service

_STARTS, _ROUNDS = 7, 3
_CALLS = 40
_CALL = "channel=Local/600@answer&context=hold&exten=600&priority=1&async=true"


def rows(stand: Stand) -> Iterator[Row]:
    """check beside a bare route, originate beside the bare exchange."""
    yield _check(stand)
    with stand.client() as client:
        yield _originate(stand, client)


def _check(stand: Stand) -> Row:
    """Of servers started anew several times, as each pair of processes has a pace of its own."""
    started = [_of_new_servers(stand) for _ in range(_STARTS)]
    ours, peer = (statistics.median(column) for column in zip(*started, strict=True))
    what = "check, 16 clients; a bare Flask route under the same gunicorn"
    return at_least(what, "requests/s", ours, peer, 0.7)


def _of_new_servers(stand: Stand) -> list[float]:
    service = Service(stand.asterisk, stand.database)
    key = service.add_user("bench", service.add_group("bench", ["*"]))
    with service, Bare(service.config) as bare:
        check = per_second(f"{service.url}/check", key, duration=1)
        return in_turns(_ROUNDS, check, per_second(bare.url, duration=1))


def _originate(stand: Stand, client: Client) -> Row:
    stand.asterisk.hang_up_all()
    with PlainAmi(stand) as ami:
        ours, peer = in_turns(
            _CALLS,
            lambda: client.time(stand.path("originate", _CALL)),
            lambda: ami.originate("Local/600@answer", "hold", "600") * 1000,
        )
    # Queued calls that begin after the hang-up would stay; each of both sides' has two channels.
    wait_until(lambda: stand.asterisk.channels() == 4 * _CALLS, 60, "all calls begun")
    stand.asterisk.hang_up_all()
    return at_most_over("originate async, median; the raw AMI exchange", "ms", ours, peer, 3)
