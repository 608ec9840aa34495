"""The ids of channels: the one place that knows their shape.

Asterisk makes `[systemname-]<epoch>.<counter>` (main/channel_internal_api.c,
`ast_channel_internal_set_fake_ids` and channel.c, `__ast_channel_alloc_ap`); the second half of a
Local channel gets `;2` behind it. An originate with `ChannelId` may give an id of any shape, so an
id is valid that has the characters of a file's name and is no path.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterable

_VALID = re.compile(r"(?!\.)(?!.*\.\.)[A-Za-z0-9._;-]{1,150}")
# What precedes the epoch is the systemname and a hyphen; what follows the counter is a suffix that
# a dialplan or a recording's name may have added.
_EPOCH = re.compile(r"(?:^|[^0-9])([0-9]{9,10})\.[0-9]+(?![0-9])")
_MENTIONED = re.compile(r"[0-9]{9,10}\.[0-9]+")
_LEADING_DIGITS = re.compile("[0-9]{1,30}")
# Asterisk's counter has 32 bits, so no id of its own is equal to one of ours. With `;2` behind it,
# for a Local channel's other half, it still fits the CDR's varchar(32).
_FIRST_OWN_NUMBER = 1 << 32
_OWN_NUMBERS = 1 << 48


def is_valid(text: str) -> bool:
    """True when a channel may have this id, and so a recording this name: never a path."""
    return _VALID.fullmatch(text) is not None


def created(uniqueid: str) -> int | None:
    """When the channel of this id was created, in seconds since the epoch; None without a time."""
    found = _EPOCH.search(uniqueid)
    return int(found[1]) if found else None


def mentioned(text: str) -> frozenset[str]:
    """Everything in a text that could be the id of a channel."""
    return frozenset(_MENTIONED.findall(text))


def new() -> str:
    """An id for a channel that is about to be dialled, in the shape of Asterisk's own."""
    return f"{int(time.time())}.{_FIRST_OWN_NUMBER + secrets.randbelow(_OWN_NUMBERS)}"


def oldest(linkedids: Iterable[str]) -> str:
    """Return the one that Asterisk gives to all channels of a bridge; `linkedids` is not empty.

    Source: `oldest_linkedid` in main/channel.c. It reads numbers by atoi() into 32 bits, so an own
    counter (see `new`) is compared by its low half.
    """
    return min(linkedids, key=_age)


def _age(linkedid: str) -> tuple[int, int]:
    epoch, _, counter = linkedid.rpartition("-")[2].partition(".")
    return _atoi(epoch), _atoi(counter)


def _atoi(text: str) -> int:
    digits = _LEADING_DIGITS.match(text)
    return min(int(digits[0]), (1 << 63) - 1) & 0xFFFFFFFF if digits else 0
