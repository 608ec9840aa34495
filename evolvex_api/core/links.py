"""Signed links to recordings: what is signed, and when a link is good.

A link plays without a key: `uniqueid`, `group` (a group's uuid), `expires` (seconds since the
epoch) and `signature`, the HMAC-SHA256 (RFC 2104) of the three with the host's secret, in
hexadecimal. Who may still hear the recording is checked when the link is used.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from urllib.parse import urlencode

from evolvex_api.core.refusals import ApiError

DEFAULT_TTL = 7 * 86400
LONGEST_TTL = 366 * 86400

_SECONDS = re.compile(r"[0-9]{1,11}")


@dataclass(frozen=True)
class Link:
    """What is signed, each as text in the URL; `expires` is in seconds since the epoch."""

    uniqueid: str
    group: str
    expires: str

    def query(self, secret: bytes) -> str:
        """Return the query string of the link."""
        return urlencode({**self.__dict__, "signature": self._signature(secret)})

    def check(self, secret: bytes, signature: str, now: float) -> None:
        """Return when the signature is ours and the link good at `now`, seconds since the epoch.

        Raises ApiError: 403 link_invalid, 410 link_expired.
        """
        given = signature.encode("utf-8", "replace")
        ours = hmac.compare_digest(self._signature(secret).encode(), given)
        if not ours or not _SECONDS.fullmatch(self.expires):
            raise ApiError(403, "link_invalid", "This link was not made here, or was changed.")
        if int(self.expires) < now:
            detail = "This link is too old; ask for a new one by `link`."
            raise ApiError(410, "link_expired", detail)

    def _signature(self, secret: bytes) -> str:
        # A line end can stand in none of the three, so no other three have the same text.
        signed = f"{self.uniqueid}\n{self.group}\n{self.expires}".encode("utf-8", "replace")
        return hmac.new(secret, signed, hashlib.sha256).hexdigest()


def base_of(public_url: str, prefix: str = "/pbx/api/index") -> str:
    """Return the address before a method's name.

    `public_url` may name the host alone or the API's own path. When it is empty, what is returned
    is a path, good for a page of the same host.
    """
    return public_url if public_url.endswith("/api/index") else f"{public_url}{prefix}"
