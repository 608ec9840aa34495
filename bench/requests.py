"""The small requests: `check` and `originate`."""

from __future__ import annotations

from collections.abc import Iterator

from bench.measure import Client, Row, at_least, at_most_over, in_turns, per_second
from bench.stand import Stand
from bench.status import PlainAmi
from tests.lab.server import wait_until

_CALLS = 40
_CALL = "channel=Local/600@answer&context=hold&exten=600&priority=1&async=true"


def rows(stand: Stand) -> Iterator[Row]:
    """check beside a bare route, originate beside the bare exchange."""
    with stand.client() as client:
        ours, peer = in_turns(
            21,  # a median of fewer differed by a quarter from run to run
            per_second(f"{stand.service.url}/check", stand.key, duration=1),
            per_second(stand.bare.url, duration=1),
        )
        what = "check, 16 clients; a bare Flask route under the same gunicorn"
        yield at_least(what, "requests/s", ours, peer, 0.7)
        yield _originate(stand, client)


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
