"""Request values as typed values, or ApiError(400).

Parameters come in the query string, as a form, or as a JSON object; given in several of them they
must agree. The body is read only when a value of it is asked for, so after the key where that
stands in a header or in the query string, and it is parsed once.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any

from flask import Request, request

from evolvex_api import bodies, encoding
from evolvex_api.bodies import Upload
from evolvex_api.core.refusals import ApiError, invalid_parameter

_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off", ""})
_SURROGATE = re.compile(r"[\ud800-\udfff]")
# The categories Cc and Cs of Unicode.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class Params:
    """The parameters of one request.

    `file_limit` is the size in bytes of a file that the request may carry, 0 for none.
    """

    def __init__(self, file_limit: int = 0) -> None:
        # What flask's proxy stands for: asked some ten times, the proxy itself costs.
        self.request: Request = request._get_current_object()  # type: ignore[attr-defined]
        self._file_limit = file_limit
        raw = self.request.environ.get("QUERY_STRING", "")
        self._query = encoding.form(raw.encode("latin-1"), "The query string") if raw else ()

    def optional(self, name: str) -> str | None:
        """The text of a parameter, or None when it is missing or empty.

        Raises ApiError(400) when it is given twice with different values, or holds a control
        character (which no value of this API can need, and AMI must never see).
        """
        return _single(name, [*self._values(name, self._query), *self._values(name, self._body)])

    def early(self, name: str) -> str | None:
        """The text of a parameter in the query string; the body is not read. As `optional`."""
        return _single(name, self._values(name, self._query))

    def header(self, name: str) -> str | None:
        """The text of a header, None when missing or empty; ApiError(400, invalid_encoding)."""
        value = self.request.environ.get(f"HTTP_{name.upper().replace('-', '_')}")
        return encoding.header_text(value, name) if value else None

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
        # Its length first: int() rejects thousands of digits with an error of its own.
        digits = value.isascii() and value.isdigit() and len(value) <= 20
        if not digits or not low <= int(value) <= high:
            raise invalid_parameter(name, f"{name} must be a whole number from {low} to {high}.")
        return int(value)

    def pairs(self, name: str) -> Sequence[tuple[str | None, str]]:
        """The values of a parameter that may hold several, in the order of the request.

        Each is (key, text): key is what stands in brackets, as PHP and axios write it
        (`name[key]=text`, in JSON a member of an object); None for `name=text`, `name[]=text` and
        a list's `name[0]=text`. Empty texts without a key are left out. Raises ApiError(400) on a
        control character.
        """
        found: list[tuple[str | None, str]] = []
        for given, value in (*self._query, *self._body):
            key = given.removeprefix(name).removeprefix("[").removesuffix("]")
            if given not in (name, f"{name}[{key}]"):
                continue
            for inner, text in _texts(name, value):
                chosen = inner if inner is not None else key if given != name else ""
                if chosen and not chosen.isdecimal():
                    found.append((_clean(name, chosen), _clean(name, text)))
                elif text:
                    found.append((None, _clean(name, text)))
        return found

    def file(self, name: str) -> Upload:
        """The file of a multipart form.

        Raises ApiError: 400 missing_parameter, saying how a file is sent, 413, 415; OSError when
        it can't be stored.
        """
        return bodies.file(self.request.environ, name, self._file_limit)

    @functools.cached_property
    def _body(self) -> encoding.Pairs:
        return bodies.pairs(self.request.environ, self._file_limit)

    @staticmethod
    def _values(name: str, pairs: encoding.Pairs) -> list[str]:
        if not pairs:
            return []
        names = (name, f"{name}[]")
        return [text for given, value in pairs if given in names for text in _plain(name, value)]


def _single(name: str, values: Sequence[str]) -> str | None:
    if not values:
        return None
    value = values[0]
    if any(other != value for other in values):
        raise invalid_parameter(name, f"{name} is given twice, with different values.")
    return _clean(name, value) or None


def _clean(name: str, text: str) -> str:
    """The text; ApiError(400) when it holds a character that no value may have."""
    if _CONTROL.search(text):
        if _SURROGATE.search(text):
            raise encoding.not_utf8(f"The parameter {name}")
        raise invalid_parameter(name, f"{name} holds a control character, such as a line end.")
    return text


def _plain(name: str, value: object) -> list[str]:
    """The text of a value that is a single one; null is none."""
    if value is None:
        return []
    return [value if isinstance(value, str) else _as_text(name, value)]


def _texts(name: str, value: object) -> list[tuple[str | None, str]]:
    """A value of the query string, a form or JSON as (member's name or None, text)."""
    if isinstance(value, str):
        return [(None, value)]
    if value is None:
        return []
    if encoding.is_object(value):
        members: Any = value
        return [(key, _as_text(name, inner)) for key, inner in members if inner is not None]
    if isinstance(value, list):
        return [(None, _as_text(name, inner)) for inner in value if inner is not None]
    return [(None, _as_text(name, value))]


def _as_text(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, (str, int, float)):
        return str(value)
    raise invalid_parameter(name, f"{name} must be a string, a number or a Boolean.")
