"""Query strings, forms and JSON objects as pairs of name and value, in strict UTF-8."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from evolvex_api.core.refusals import ApiError

# More names than any client of this API sends; each costs time before the key is known.
MAX_FIELDS = 1000
_HIGH = re.compile(rb"[\x80-\xff]")

Pairs = Sequence[tuple[str, Any]]


def form(raw: bytes, where: str) -> Pairs:
    """The pairs of a query string or an urlencoded form; empty values are kept.

    `where` names it in a message. Raises ApiError(400): invalid_encoding, bad_request.
    """
    # Unencoded UTF-8 is what a client should have encoded.
    text = _HIGH.sub(lambda byte: b"%%%02X" % byte[0][0], raw).decode("ascii")
    try:
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except UnicodeDecodeError:
        raise not_utf8(where) from None
    except ValueError:
        raise ApiError(
            400, "bad_request", f"{where} has more than {MAX_FIELDS} parameters."
        ) from None


def json_object(raw: bytes) -> Pairs:
    """The members of a JSON object; one given twice is there twice.

    Raises ApiError(400): invalid_encoding, bad_request.
    """
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise not_utf8("The body") from None
    try:
        found = json.loads(text, object_pairs_hook=_Object, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise ApiError(400, "bad_request", "The body is not valid JSON.") from None
    if not isinstance(found, _Object):
        raise ApiError(
            400, "bad_request", 'The body is JSON, but not an object: {"name": "value", …}.'
        )
    return found


def text_of(raw: bytes, where: str) -> str:
    """Bytes as text; ApiError(400, invalid_encoding) when they are not UTF-8."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise not_utf8(where) from None


def header_text(value: str, name: str) -> str:
    """The value of a header, which WSGI passes as Latin-1, as UTF-8; ApiError(400)."""
    return value if value.isascii() else text_of(value.encode("latin-1"), f"The header {name}")


def not_utf8(where: str) -> ApiError:
    """What is not UTF-8."""
    return ApiError(
        400, "invalid_encoding", f"{where} is not UTF-8. Encode the text as UTF-8 before sending."
    )


class _Object(list[tuple[str, Any]]):
    """A JSON object, with its members in order."""


def is_object(value: object) -> bool:
    """True for a member of json_object() that is an object itself."""
    return isinstance(value, _Object)


def _no_number(name: str) -> NoReturn:
    raise ValueError(name)
