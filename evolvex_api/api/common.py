"""What every resource needs: the services, the request's parameters, its user, a JSON answer."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from flask import Response, current_app

from evolvex_api import journal
from evolvex_api.backends.access_store import AccessStore
from evolvex_api.backends.ami.client import Ami
from evolvex_api.backends.audio.transcoder import Transcoder
from evolvex_api.backends.cdr.client import Cdr
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
    cdr: Cdr
    recordings: Recordings
    transcoder: Transcoder
    sounds: Sounds


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

    Raises ApiError: 401 missing_key or unknown_key, 403 user_disabled or right_denied. A key in
    the header or query string is checked before the body is read, so that a stranger can't make
    the service take an upload.
    """
    api_key = _presented_key(params)
    book = services().access.current()
    user = book.user_of(api_key)
    if user is None:
        raise ApiError(401, "unknown_key", "No API user has this key.")
    group = book.group_of(user)
    entry = journal.entry()
    entry.user, entry.group = user.name, group.name or "-"
    if not user.enabled:
        raise ApiError(403, "user_disabled", "This API user is disabled.")
    if right is not None and right not in group.rights:
        raise ApiError(
            403,
            "right_denied",
            f"The group of this API user lacks the right `{right}`; an administrator grants it by"
            " `rights` in the group's file.",
        )
    return Caller(user, group, api_key)


def has_key(params: Params) -> bool:
    """True when the request carries a key, be it a good one or not."""
    return bool(_header_key(params) or params.optional("api_key"))


def _presented_key(params: Params) -> str:
    early = {key for key in (_header_key(params), *params.request.args.getlist("api_key")) if key}
    if len(early) > 1:
        raise invalid_parameter("api_key", "Different keys are given.")
    api_key = early.pop() if early else params.optional("api_key")
    if not api_key:
        raise ApiError(
            401, "missing_key", "An API key is required: api_key, X-API-Key or a Bearer token."
        )
    return api_key


def _header_key(params: Params) -> str | None:
    headers = params.request.headers
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else None
    header = headers.get("X-API-Key")
    if bearer and header and bearer != header:
        raise invalid_parameter("api_key", "Different keys are given.")
    return bearer or header


def json_answer(data: Any) -> Response:
    """`{"data": …}` with non-ASCII text as it is."""
    return json_text(_JSON.encode({"data": data}))


def json_text(body: str | bytes | Iterable[bytes]) -> Response:
    """An answer whose JSON text is ready, or comes in pieces."""
    return Response(body, headers=_JSON_HEADERS)
