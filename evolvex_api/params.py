"""Request values as typed values, or ApiError(400).

Parameters come in the query string, as a form, or as a JSON object; given in several of them
they must agree.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from flask import Request, request

from evolvex_api.core.refusals import ApiError, invalid_parameter

_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off", ""})
# The categories Cc and Cs of Unicode.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class Params:
    """The parameters of one request. The body is parsed only when a value of it is asked for."""

    def __init__(self) -> None:
        # What flask's proxy stands for: asked some ten times, the proxy itself costs.
        self.request: Request = request._get_current_object()  # type: ignore[attr-defined]

    def optional(self, name: str) -> str | None:
        """The text of a parameter, or None when it is missing or empty.

        Raises ApiError(400) when it is given twice with different values, or holds a control
        character (which no value of this API can need, and AMI must never see).
        """
        values = [*self.request.args.getlist(name), *self._body_values(name)]
        if not values:
            return None
        value = values[0]
        if any(other != value for other in values):
            raise invalid_parameter(name, f"{name} is given twice, with different values.")
        if _CONTROL.search(value):
            raise invalid_parameter(name, f"{name} holds a control character.")
        return value or None

    def required(self, name: str) -> str:
        """The text of a parameter; ApiError(400, missing_parameter) without it."""
        value = self.optional(name)
        if value is None:
            raise ApiError(400, "missing_parameter", f"{name} is required.", parameter=name)
        return value

    def flag(self, name: str) -> bool:
        """A Boolean parameter: true/1/yes/on or false/0/no/off, in any case; missing is false."""
        value = (self.optional(name) or "").lower()
        if value not in _TRUE | _FALSE:
            raise invalid_parameter(name, f"{name} must be true or false.")
        return value in _TRUE

    def integer(self, name: str, low: int, high: int) -> int | None:
        """A whole number from low to high, or None when missing."""
        value = self.optional(name)
        if value is None:
            return None
        # Judged by its length first: int() refuses thousands of digits with an error of its own.
        digits = value.isascii() and value.isdigit() and len(value) <= 20
        if not digits or not low <= int(value) <= high:
            raise invalid_parameter(name, f"{name} must be a whole number from {low} to {high}.")
        return int(value)

    def pairs(self, name: str) -> Sequence[tuple[str | None, str]]:
        """The values of a parameter that may hold several, in the order of the query string.

        Each is (key, text): key is what stands in brackets, as PHP and axios write it
        (`name[key]=text`); None for `name=text`, `name[]=text` and a list's `name[0]=text`. Empty
        texts without a key are left out. Raises ApiError(400) on a control character.
        """
        found: list[tuple[str | None, str]] = []
        for given, text in self.request.args.items(multi=True):
            key = given.removeprefix(name).removeprefix("[").removesuffix("]")
            if given not in (name, f"{name}[{key}]"):
                continue
            if _CONTROL.search(given) or _CONTROL.search(text):
                raise invalid_parameter(name, f"{name} holds a control character.")
            if key and not key.isdecimal():
                found.append((key, text))
            elif text:
                found.append((None, text))
        return found

    def _body_values(self, name: str) -> Sequence[str]:
        if self.request.method != "POST":
            return ()
        if self.request.is_json:
            body = self._json_object()
            return (_as_text(name, body[name]),) if body.get(name) is not None else ()
        return self.request.form.getlist(name)

    def _json_object(self) -> dict[str, Any]:
        body = self.request.get_json(silent=True)
        if not isinstance(body, dict):
            raise ApiError(400, "invalid_parameter", "The body is not a JSON object.")
        return body


def _as_text(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int)):
        return str(value)
    raise invalid_parameter(name, f"{name} must be a string, a number or a Boolean.")
