"""The body of a request: which types are taken, how large it may be, and when it is read.

Everything but an uploaded file has at most 64 KiB, decided by its declared length. A form with a
file may arrive while its key is checked (see worker/awaiting.py): then only what stands before the
file has been read.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, BinaryIO

from evolvex_api import encoding, multipart
from evolvex_api.core.refusals import ApiError
from evolvex_api.encoding import Pairs
from evolvex_api.multipart import Incomplete, Part, Reader
from evolvex_api.worker.awaiting import await_body, is_partial

LIMIT = 64 * 1024
# What a form with a file may have beside it: boundaries, heads, other fields.
FORM_ALLOWANCE = 64 * 1024

_FORM = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"
_JSON = "application/json"
_HOW = "Send the file as multipart/form-data, field `file`."


@dataclass(frozen=True)
class Upload:
    """An uploaded file, to be read from its beginning, and the name that its sender gives it."""

    stream: BinaryIO
    filename: str


def pairs(environ: dict[str, Any], file_limit: int) -> Pairs:
    """The parameters in a request's body; empty without one.

    With a `file_limit` the body may be a form with a file of that many bytes: then the fields
    before the file. Raises ApiError 400, 413 body_too_large or file_too_large, 415
    unsupported_media_type; AwaitBody.
    """
    if not _has_body(environ):
        return ()
    kind = _kind(environ)
    if kind == _MULTIPART and file_limit:
        return [(part.name, part.text) for part in _fields_before_file(environ, file_limit)]
    _check_length(environ)
    raw = environ["wsgi.input"].read(LIMIT + 1)
    environ["wsgi.input"] = io.BytesIO(raw)
    if kind == _JSON:
        return encoding.json_object(raw)
    if kind == _FORM:
        return encoding.form(raw, "The body")
    boundary = multipart.boundary_of(environ["CONTENT_TYPE"])
    try:
        parts = Reader(io.BytesIO(raw), boundary, frozenset()).parts()
        return [(part.name, part.text) for part in parts]
    except Incomplete:
        raise _cut_off() from None


def file(environ: dict[str, Any], name: str, limit: int) -> Upload:
    """The file of a form's field; raises ApiError as `pairs` does, or 400 missing_parameter."""
    if not _has_body(environ) or _kind(environ) != _MULTIPART:
        raise _missing(name, "The request has no file.")
    _check_file_length(environ, limit)
    await_body(environ, limit + FORM_ALLOWANCE)
    found: Upload | None = None
    others = []
    for part in _all_parts(environ, name):
        if part.file is None:
            others.append(part.name)
        elif found is not None:
            raise ApiError(400, "invalid_parameter", f"{name} is given twice.", parameter=name)
        else:
            found = Upload(part.file, part.filename or "")
    if found is None:
        why = "The form has no file in this field."
        if name in others:
            why = f"The form's field `{name}` is text: it lacks a file name."
        raise _missing(name, why)
    return found


def _fields_before_file(environ: dict[str, Any], file_limit: int) -> list[Part]:
    boundary = multipart.boundary_of(environ["CONTENT_TYPE"])
    _check_file_length(environ, file_limit)
    stream = environ["wsgi.input"]
    raw = stream.read(LIMIT)
    environ["wsgi.input"] = _Rejoined(raw, stream)
    try:
        return list(Reader(io.BytesIO(raw), boundary, frozenset()).parts(files=False))
    except Incomplete:
        if len(raw) >= LIMIT:
            raise ApiError(
                413,
                "body_too_large",
                f"What stands before the file in the form has more than {LIMIT} bytes.",
            ) from None
        await_body(environ, LIMIT)
        raise _cut_off() from None


def _all_parts(environ: dict[str, Any], name: str) -> Iterator[Part]:
    boundary = multipart.boundary_of(environ["CONTENT_TYPE"])
    reader = Reader(environ["wsgi.input"], boundary, frozenset({name, f"{name}[]"}))
    try:
        yield from reader.parts()
    except Incomplete:
        raise _cut_off() from None


def _has_body(environ: dict[str, Any]) -> bool:
    return _length(environ) > 0 or is_partial(environ)


def _length(environ: dict[str, Any]) -> int:
    declared = environ.get("CONTENT_LENGTH") or "0"
    return int(declared) if declared.isascii() and declared.isdigit() else 0


def _kind(environ: dict[str, Any]) -> str:
    """The media type of the body; ApiError(415) when it is not one that is taken."""
    declared = environ.get("CONTENT_TYPE", "")
    kind: str = declared.partition(";")[0].strip().lower()
    if kind.endswith("+json"):
        kind = _JSON
    encoded = environ.get("HTTP_CONTENT_ENCODING", "identity").strip().lower()
    if kind not in (_FORM, _MULTIPART, _JSON) or encoded != "identity":
        what = f"A body of the type {kind[:100]!r}" if kind else "A body without Content-Type"
        if encoded != "identity":
            what = "A compressed body (Content-Encoding)"
        raise ApiError(
            415,
            "unsupported_media_type",
            f"{what} is not taken. Send {_FORM}, {_MULTIPART} or {_JSON}; a file as {_MULTIPART},"
            " field `file`.",
        )
    return kind


def _check_length(environ: dict[str, Any]) -> None:
    if _length(environ) > LIMIT:
        raise ApiError(
            413, "body_too_large", f"The body has more than {LIMIT} bytes, which is the limit."
        )


def _check_file_length(environ: dict[str, Any], limit: int) -> None:
    if _length(environ) > limit + FORM_ALLOWANCE:
        raise ApiError(
            413,
            "file_too_large",
            f"A file may have {limit} bytes; an administrator changes `max_size` in [uploads] of"
            " evolvex.conf.",
        )


def _missing(name: str, why: str) -> ApiError:
    return ApiError(400, "missing_parameter", f"{name} is required. {why} {_HOW}", parameter=name)


def _cut_off() -> ApiError:
    return ApiError(
        400, "bad_request", "The form ends before its last boundary: it was cut off, or is broken."
    )


class _Rejoined:
    """A stream whose beginning has been read already, from that beginning."""

    def __init__(self, begun: bytes, rest: IO[bytes]) -> None:
        self._begun = io.BytesIO(begun)
        self._rest = rest

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; none at the end."""
        return self._begun.read(size) or self._rest.read(size)
