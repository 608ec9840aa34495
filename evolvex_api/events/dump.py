"""A call with its channels as JSON, so that it survives the service."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from evolvex_api.events.call import Call, Leg
from evolvex_api.events.channels import Channel

_CALL = tuple(field.name for field in fields(Call))
_CALL_SETS = ("contexts", "channels", "dialling", "waiting", "holders", "outcomes")
_CHANNEL = tuple(field.name for field in fields(Channel))


def dump(call: Call, channels: Iterable[Channel]) -> dict[str, Any]:
    """Return JSON-able values of a call and its live channels."""
    values = {name: getattr(call, name) for name in _CALL}
    values |= {name: sorted(values[name]) for name in _CALL_SETS}
    values["ringing"] = [list(leg) for leg in call.ringing.values()]
    values["answered_by"] = list(call.answered_by) if call.answered_by else None
    return {"call": values, "channels": [_dump_channel(channel) for channel in channels]}


def load(dumped: dict[str, Any]) -> tuple[Call, list[Channel]]:
    """Return what `dump` was given, but for the bridges, which Status finds.

    Raises KeyError or TypeError for anything else.
    """
    values = dict(dumped["call"])
    values |= {name: set(values[name]) for name in _CALL_SETS}
    legs = [Leg(*leg) for leg in values["ringing"]]
    values["ringing"] = {leg.uniqueid: leg for leg in legs}
    values["answered_by"] = Leg(*values["answered_by"]) if values["answered_by"] else None
    return Call(**values), [_load_channel(channel) for channel in dumped["channels"]]


def _dump_channel(channel: Channel) -> dict[str, Any]:
    values = {name: getattr(channel, name) for name in _CHANNEL}
    return values | {"place": list(channel.place), "left": sorted(channel.left), "bridge": None}


def _load_channel(values: dict[str, Any]) -> Channel:
    context, exten = values["place"]
    return Channel(**{**values, "place": (context, exten), "left": set(values["left"])})
