"""SIP messages (RFC 3261) as the lab's softphones send and read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Header = tuple[str, str]
_COPIED = ("Via", "From", "To", "Call-ID", "CSeq")


@dataclass(frozen=True)
class Message:
    """A request or a response: its first line, its headers in order, its body."""

    start: str
    headers: Sequence[Header]
    body: str = ""

    @classmethod
    def parse(cls, datagram: bytes) -> Message:
        """Read a datagram. Raises ValueError when it is no SIP message."""
        head, separator, body = datagram.decode("utf-8", "replace").partition("\r\n\r\n")
        start, *lines = head.split("\r\n")
        if not separator or "SIP/2.0" not in start:
            raise ValueError(f"no SIP message: {datagram[:80]!r}")
        parts = [line.partition(":") for line in lines]
        return cls(start, [(name.strip(), value.strip()) for name, _, value in parts], body)

    def encode(self) -> bytes:
        """Return the datagram."""
        kind = [("Content-Type", "application/sdp")] if self.body else []
        length = ("Content-Length", str(len(self.body.encode())))
        lines = [f"{name}: {value}\r\n" for name, value in [*self.headers, *kind, length]]
        return f"{self.start}\r\n{''.join(lines)}\r\n{self.body}".encode()

    @property
    def status(self) -> int:
        """The code of a response, 0 for a request."""
        first, second = self.start.split(" ", 2)[:2]
        return int(second) if first == "SIP/2.0" else 0

    @property
    def method(self) -> str:
        """The method of a request, or of the request that a response answers."""
        return self["CSeq"].split()[-1]

    def __getitem__(self, name: str) -> str:
        """Return the first header of that name, "" for none."""
        return next((value for known, value in self.headers if known.lower() == name.lower()), "")

    def reply(self, status: str, tag: str, extra: Sequence[Header] = (), body: str = "") -> Message:
        """Return the response `status` ("486 Busy Here") to this request."""
        copied = [(name, value) for name, value in self.headers if name in _COPIED]
        if "tag=" not in self["To"]:
            copied = [(n, f"{v};tag={tag}" if n == "To" else v) for n, v in copied]
        return Message(f"SIP/2.0 {status}", [*copied, *extra], body)


def uri(header: str) -> str:
    """Return what stands between the angle brackets of a From, To or Contact."""
    return header.partition("<")[2].partition(">")[0] or header.partition(";")[0]


def tag(header: str) -> str:
    """Return the tag of a From or To, "" for none."""
    return header.rpartition(";tag=")[2] if ";tag=" in header else ""


def session(port: int, direction: str = "sendrecv") -> str:
    """Return an SDP (RFC 4566) that offers A-law at 127.0.0.1:`port`; `sendonly` is a hold."""
    return (
        "v=0\r\no=softphone 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        f"m=audio {port} RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na={direction}\r\n"
    )
