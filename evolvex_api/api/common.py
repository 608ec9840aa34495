"""What every resource needs: the services, the request's parameters, its user, a JSON answer."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any

from flask import Response, current_app

from evolvex_api import journal
from evolvex_api.api.exports import Exports
from evolvex_api.api.waiting import Waiting
from evolvex_api.backends.access_store import AccessStore
from evolvex_api.backends.ami.client import Ami
from evolvex_api.backends.audio.transcoder import Transcoder
from evolvex_api.backends.call_counts import CallCounts
from evolvex_api.backends.cdr.client import Cdr
from evolvex_api.backends.health import Health
from evolvex_api.backends.recordings import Recordings
from evolvex_api.backends.sounds import Sounds
from evolvex_api.config import Config
from evolvex_api.core.access import Group, Scope, User
from evolvex_api.core.refusals import ApiError, invalid_parameter
from evolvex_api.params import Params

EXTENSION = "evolvex"
_JSON = json.JSONEncoder(ensure_ascii=False)
_JSON_HEADERS = (
    ("Content-Type", "application/json; charset=utf-8"),
    ("Cache-Control", "no-store"),
)


@dataclass(frozen=True)
class Services:
    """Everything that a request may use, made once by create_app."""

    config: Config
    access: AccessStore
    ami: Ami
    call_counts: CallCounts
    cdr: Cdr
    health: Health
    recordings: Recordings
    transcoder: Transcoder
    sounds: Sounds
    waiting: Waiting
    exports: Exports
    stats_places: Exports


@dataclass(frozen=True)
class Caller:
    """Who makes the request, with the key as presented."""

    user: User
    group: Group
    api_key: str

    @property
    def scope(self) -> Scope:
        """What the caller's group may see."""
        return self.group.scope


def services() -> Services:
    """The services of the application that answers this request."""
    found: Services = current_app.extensions[EXTENSION]
    return found


def authorise(params: Params, right: str | None) -> Caller:
    """The caller behind the request's key, whose group has the right (one of access.RIGHTS).

    With None no right is needed.

    Raises ApiError: 401 missing_key or unknown_key; 403 user_disabled, user_expired,
    address_denied or right_denied. A key in the header or query string is checked before the body
    is read, so that a stranger can't make the service take an upload.
    """
    api_key = _presented_key(params)
    book, user = services().access.of_key(api_key)
    if user is None:
        raise ApiError(401, "unknown_key", "No API user has this key.")
    group = book.group_of(user)
    entry = journal.entry()
    entry.user, entry.group = user.name, group.name or "-"
    _check_user(user, params.request.remote_addr)
    if user.group_uuid not in book.groups:
        raise ApiError(
            403,
            "right_denied",
            "The file of this API user's group is missing or has a fault, so nothing is granted;"
            " `evolvex-api check-config` names the fault.",
        )
    if right is not None and right not in group.rights:
        raise ApiError(
            403,
            "right_denied",
            f"The group of this API user lacks the right `{right}`; an administrator grants it by"
            " `rights` in the group's file.",
        )
    return Caller(user, group, api_key)


def _check_user(user: User, address: str | None) -> None:
    if not user.enabled:
        raise ApiError(403, "user_disabled", "This API user is disabled.")
    # Local time, as the date in the file is the administrator's.
    if user.has_expired(date.today()):
        raise ApiError(
            403,
            "user_expired",
            f"This API user was valid until {user.expires}; an administrator changes `expires` in"
            " the user's file.",
        )
    if not user.admits(address):
        raise ApiError(
            403,
            "address_denied",
            f"This API user's key may not be used from the address {address or '(unknown)'}; an"
            " administrator sets `allowed_from` in the user's file.",
        )


def has_key(params: Params) -> bool:
    """True when the request carries a key, be it a good one or not."""
    return bool(_early_key(params) or _bearer(params) or params.optional("api_key"))


def _presented_key(params: Params) -> str:
    """The key of a request; ApiError(401, missing_key) without one.

    A proxy may add a Bearer token of its own: it counts only when no other key is given. The body
    is read only when no key in front of it is good.
    """
    api_key = _early_key(params)
    if api_key is None:
        api_key = _bearer(params)
        if api_key is None or services().access.of_key(api_key)[1] is None:
            api_key = _stripped(params.optional("api_key")) or api_key
    if api_key is None:
        raise ApiError(
            401,
            "missing_key",
            "An API key is required: the parameter api_key, the header X-API-Key, or a Bearer token"
            " in the header Authorization. In an upload's form api_key stands before the file.",
        )
    return api_key


def _early_key(params: Params) -> str | None:
    """The key in X-API-Key or the query string; ApiError(400) when they differ."""
    keys = {_stripped(params.header("X-API-Key")), _stripped(params.early("api_key"))} - {None}
    if len(keys) > 1:
        raise invalid_parameter("api_key", "X-API-Key and api_key are different keys.")
    return keys.pop() if keys else None


def _bearer(params: Params) -> str | None:
    scheme, _, token = (params.header("Authorization") or "").partition(" ")
    return _stripped(token) if scheme.lower() == "bearer" else None


def _stripped(key: str | None) -> str | None:
    return (key or "").strip() or None


def json_answer(data: Any) -> Response:
    """`{"data": …}` with non-ASCII text as it is."""
    return json_text(_JSON.encode({"data": data}))


def json_text(body: str | bytes | Iterable[bytes]) -> Response:
    """An answer whose JSON text is ready, or comes in pieces."""
    return Response(body, headers=_JSON_HEADERS)
