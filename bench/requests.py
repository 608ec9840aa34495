"""The small requests: `check` and `originate`."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterator

from bench.bare import Bare
from bench.measure import Client, Row, at_least, at_most_over, in_turns, per_second
from bench.stand import Stand
from bench.status import PlainAmi
from evolvex_api.backends.call_counts import CallCounts
from evolvex_api.core.limits import Limits
from tests.lab.server import wait_until
from tests.lab.service import Service

_STARTS, _ROUNDS = 7, 3
_CALLS = 40
_BEFORE = 5_000
_LIMITS = """[originate]
channels = PJSIP/1??, PJSIP/*@trunk, Local/*@answer
numbers = _7XXXXXXXXXX, _XXX
forbidden_numbers = _7809., _810.
caller_ids = _7495XXXXXXX
accounts = crm
variables = file, idcall, crm_*
max_calls = 10000
calls_per_minute = 10000
calls_per_day = 10000
calls_per_number_per_day = 1000
hours = *,*,*,*
"""
_CALL = (
    "channel=Local/600@answer&context=hold&exten=600&priority=1&async=true"
    "&account=crm&variable=file=1"
)


def rows(stand: Stand) -> Iterator[Row]:
    """check beside a bare route, originate beside the bare exchange."""
    yield _check(stand)
    yield _originate(stand)


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


def _originate(stand: Stand) -> Row:
    """By a key with every rule and limit, whose group has made 5,000 calls today."""
    stand.asterisk.hang_up_all()
    service = stand.service
    group = service.add_group("limited", ["*"], _LIMITS)
    key = service.add_user("limited", group)
    _fill(service, group)
    with PlainAmi(stand) as ami, contextlib.closing(Client(service.port, key)) as client:
        client.get(stand.path("check"))
        ours, peer = in_turns(
            _CALLS,
            lambda: client.time(stand.path("originate", _CALL)),
            lambda: ami.originate("Local/600@answer", "hold", "600") * 1000,
        )
    # Queued calls that begin after the hang-up would stay; each of both sides' has two channels.
    wait_until(lambda: stand.asterisk.channels() == 4 * _CALLS, 60, "all calls begun")
    stand.asterisk.hang_up_all()
    what = "originate async, all limits on, median; the raw AMI exchange"
    return at_most_over(what, "ms", ours, peer, 3)


def _fill(service: Service, group: str) -> None:
    counts = CallCounts(service.state, frozenset)
    limits = Limits(_BEFORE, _BEFORE)
    for number in range(_BEFORE):
        with counts.admitted(group, limits, f"bench.{number}", [str(number)]) as flight:
            flight.ended()
