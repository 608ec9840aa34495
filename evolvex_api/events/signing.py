"""Signatures of webhooks, as Standard Webhooks 1.0.0 has them.

Source: the Standard Webhooks specification 1.0.0, "Signature scheme": HMAC-SHA256 over
"id.timestamp.body" with the bytes that the secret holds in base64, itself written in base64 after
the scheme's version.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence

_PREFIX = "whsec_"
_NEW_BYTES = 32


def new_secret() -> str:
    """Return a random secret."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_NEW_BYTES)).decode()


def key_of(secret: str) -> bytes:
    """Return the key that a secret holds; ValueError for what is none (24 to 64 bytes)."""
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not 24 <= len(key) <= 64:
        raise ValueError("must be whsec_ and 24 to 64 bytes in base64")
    return key


def headers(event_id: str, timestamp: int, body: bytes, keys: Sequence[bytes]) -> dict[str, str]:
    """Return the three headers of a message, signed with each of the keys."""
    signed = f"{event_id}.{timestamp}.".encode() + body
    signatures = (hmac.new(key, signed, hashlib.sha256).digest() for key in keys)
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(s).decode()}" for s in signatures),
    }
