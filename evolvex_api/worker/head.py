"""The head of an HTTP/1 request: what is accepted, and how gunicorn gets to see it.

Bytes in, values out, no I/O. gunicorn 20 to 27 disagree on what they accept (folded headers,
repeated Host, bytes above 127 in the request line), and so would the service's answers. The head is
therefore validated here, by RFC 9112, and rewritten to what all of them read alike.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from evolvex_api.core.refusals import ApiError

# As gunicorn's own limits; the whole head is what one connection may keep in memory.
MAX_LINE = 8190
MAX_FIELD = 8000
MAX_FIELDS = 100
MAX_HEAD = 32 * 1024

_LINE = re.compile(rb"(?P<method>[A-Z][A-Z-]{2,19}) (?P<target>[!-~]+) HTTP/1\.(?P<minor>[01])")
# RFC 9110, 5.1 and 5.5: a token, a colon, and a value without control characters.
_FIELD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*")
_LENGTH = re.compile(rb"[0-9]{1,15}")
_HIGH = re.compile(rb"[\x80-\xff]")
# RFC 9110, 5.3: a second one would leave it open which of the two counts.
_SINGLE = frozenset({b"host", b"content-type", b"content-length", b"transfer-encoding"})
# The worker itself acts on these; gunicorn gets a body of known length.
_OWN = frozenset({b"content-length", b"transfer-encoding", b"expect"})


@dataclass(frozen=True)
class Head:
    """A validated request head.

    `length` is the declared length of the body in bytes, None when the body is chunked. `expects`
    is true when the client waits for "100 Continue" before it sends the body.
    """

    line: bytes
    fields: tuple[bytes, ...]
    path: bytes
    length: int | None
    expects: bool

    def text(self, length: int, close: bool) -> bytes:
        """The head as bytes for gunicorn, with that Content-Length.

        `close` makes gunicorn end the connection after the answer.
        """
        fields = self.fields
        if close:
            kept = [field for field in fields if not field.lower().startswith(b"connection:")]
            fields = (*kept, b"Connection: close")
        if length or self.length != 0:
            fields = (*fields, b"Content-Length: %d" % length)
        return b"\r\n".join((self.line, *fields, b"", b""))


def check_size(received: bytes | bytearray) -> None:
    """Raise ApiError 414 or 431 when a head that has not ended yet is already too long."""
    line_end = received.find(b"\r\n")
    if line_end > MAX_LINE or (line_end < 0 and len(received) > MAX_LINE):
        raise ApiError(
            414,
            "uri_too_long",
            f"The request line has more than {MAX_LINE} bytes. Send parameters of a POST in its"
            " body.",
        )
    if len(received) > MAX_HEAD:
        raise _too_large(f"The headers have more than {MAX_HEAD} bytes.")


def parse(raw: bytes) -> Head:
    """The head whose bytes, without the empty line at its end, are given.

    Raises ApiError 400 (bad_request, invalid_encoding), 414 or 431.
    """
    check_size(raw)
    if not raw.isascii():
        try:
            raw.decode("utf-8")
        except UnicodeDecodeError:
            raise ApiError(
                400, "invalid_encoding", "The request line or a header is not UTF-8."
            ) from None
    line, *fields = raw.split(b"\r\n")
    # RFC 3986 has no bytes above 127: encoded as a client should have done.
    line = _HIGH.sub(lambda byte: b"%%%02X" % byte[0][0], line)
    match = _LINE.fullmatch(line)
    if not match:
        raise _bad("The request line is not METHOD /path HTTP/1.1.")
    found, kept = _fields(fields)
    length = _body_length(found, http10=match["minor"] == b"0")
    expects = found.get(b"expect", b"").lower() == b"100-continue" and match["minor"] == b"1"
    return Head(line, tuple(kept), match["target"].partition(b"?")[0], length, expects)


def _fields(fields: list[bytes]) -> tuple[dict[bytes, bytes], list[bytes]]:
    """The single and own fields by their names in lower case, and the fields for gunicorn."""
    if len(fields) > MAX_FIELDS:
        raise _too_large(f"The request has more than {MAX_FIELDS} headers.")
    found: dict[bytes, bytes] = {}
    kept = []
    for field in fields:
        if len(field) > MAX_FIELD:
            raise _too_large(f"A header has more than {MAX_FIELD} bytes.")
        if not _FIELD.fullmatch(field):
            raise _bad("A header is not `Name: value` on one line.")
        name, _, value = field.partition(b":")
        lower = name.lower()
        if lower in _SINGLE and lower in found:
            raise _bad(f"The header {name.decode('ascii')} is given twice.")
        if lower in _SINGLE or lower in _OWN:
            found[lower] = value.strip(b" \t")
        # WSGI cannot tell X_Forwarded_For from X-Forwarded-For, which the web server has set.
        if lower not in _OWN and b"_" not in lower:
            kept.append(field)
    return found, kept


def _body_length(found: dict[bytes, bytes], http10: bool) -> int | None:
    """The body's declared length, None for a chunked body (RFC 9112, 6.3)."""
    coding, length = found.get(b"transfer-encoding"), found.get(b"content-length")
    if coding is not None:
        if coding.lower() != b"chunked" or length is not None or http10:
            raise _bad(
                "Transfer-Encoding must be `chunked` alone, in HTTP/1.1, without Content-Length."
            )
        return None
    if length is not None and not _LENGTH.fullmatch(length):
        raise _bad("Content-Length is not a whole number.")
    return int(length or 0)


def _bad(detail: str) -> ApiError:
    return ApiError(400, "bad_request", detail)


def _too_large(detail: str) -> ApiError:
    return ApiError(431, "headers_too_large", detail)
