"""How the text of an option becomes a value: one function a kind, ValueError with the reason."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

UNIX = "unix:"
_SIZE = re.compile(r"(\d+)\s*([KMG]?)B?", re.IGNORECASE)
_SIZE_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_DURATION = re.compile(r"(\d+)\s*([smhd])")
_DURATION_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_ORIGIN = re.compile(
    r"https?://[A-Za-z0-9.-]+(?::\d{1,5})?|https?://\[[0-9A-Fa-f:.]+\](?::\d{1,5})?"
)
_URL = re.compile(r"https?://[^\s\"'<>?#]+")


def text(raw: str) -> str:
    """A single line, as it stands."""
    if "\n" in raw:
        raise ValueError("must be a single line")
    return raw


def required_text(raw: str) -> str:
    """A single line that is not empty."""
    if not raw:
        raise ValueError("must not be empty")
    return text(raw)


def port(raw: str) -> int:
    """A TCP port, 1 to 65535."""
    return whole_number(1, 65535)(raw)


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """A reader of whole numbers from low to high, both included."""

    def read(raw: str) -> int:
        if not raw.isascii() or not raw.isdigit() or not low <= int(raw) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(raw)

    return read


def seconds(raw: str) -> float:
    """A duration in seconds, 0.1 to 3600, decimals allowed."""
    try:
        value = float(raw)
    except ValueError:
        value = -1.0
    if not 0.1 <= value <= 3600:
        raise ValueError("must be a number of seconds from 0.1 to 3600")
    return value


def size(raw: str) -> int:
    """A size in bytes; K, M and G multiply by 1024, 1024², 1024³."""
    match = _SIZE.fullmatch(raw)
    if not match or int(match[1]) == 0:
        raise ValueError("must be a size above zero such as 500K, 32M or 1G")
    return int(match[1]) * _SIZE_UNITS[match[2].upper()]


def folder(raw: str) -> Path:
    """An absolute path; whether it exists is for `doctor` and for the request that needs it."""
    path = Path(raw)
    if not path.is_absolute():
        raise ValueError("must be an absolute path")
    return path


def lines(raw: str) -> tuple[str, ...]:
    """One value a line; empty lines do not count."""
    return tuple(line.strip() for line in raw.splitlines() if line.strip())


def words(raw: str) -> tuple[str, ...]:
    """Values between commas or white space."""
    return tuple(re.split(r"[\s,]+", raw.strip())) if raw.strip() else ()


def recording_patterns(raw: str) -> tuple[str, ...]:
    """Shell patterns below the recordings' root, one a line, each naming {uniqueid} and {ext}."""
    patterns = lines(raw)
    for pattern in patterns:
        if pattern.startswith("/") or ".." in Path(pattern).parts:
            raise ValueError(f"{pattern!r} must lie below root")
        if "{uniqueid}" not in pattern or not pattern.endswith(".{ext}"):
            raise ValueError(f"{pattern!r} must hold {{uniqueid}} and end in .{{ext}}")
        if set(re.findall(r"\{(\w*)\}", pattern)) - {"uniqueid", "ext", "YYYY", "MM", "DD"}:
            raise ValueError(f"{pattern!r} knows only {{YYYY}} {{MM}} {{DD}} {{uniqueid}} {{ext}}")
    return patterns


def mp3_bitrate(raw: str) -> int:
    """A bit rate in kbit/s that layer III of both MPEG-1 (ISO 11172-3) and MPEG-2 (13818-3) has."""
    common = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160)
    if raw not in map(str, common):
        raise ValueError(f"must be one of {', '.join(map(str, common))}")
    return int(raw)


def bind_address(raw: str) -> str:
    """`unix:/path` or `host:port`."""
    if raw.startswith(UNIX):
        folder(raw.removeprefix(UNIX))
        return raw
    host, colon, number = raw.rpartition(":")
    if not colon or not host:
        raise ValueError("must be unix:/path or host:port")
    port(number)
    return raw


def table_name(raw: str) -> str:
    """A name of a database or table, safe to quote in SQL."""
    if not re.fullmatch(r"[A-Za-z0-9_$-]{1,64}", raw):
        raise ValueError("must be letters, digits, _, $ or -")
    return raw


def switch(raw: str) -> bool:
    """`yes` or `no`."""
    if raw not in ("yes", "no"):
        raise ValueError("must be yes or no")
    return raw == "yes"


def duration(raw: str) -> int:
    """A duration in seconds, written with its unit: 30s, 10m, 24h, 7d."""
    match = _DURATION.fullmatch(raw)
    if not match or int(match[1]) == 0:
        raise ValueError("must be a duration above zero such as 30s, 10m, 24h or 7d")
    return int(match[1]) * _DURATION_UNITS[match[2]]


def origins(raw: str) -> frozenset[str]:
    """Origins of browser pages (RFC 6454): scheme, host, and a port unless it is the usual one."""
    found = words(raw)
    for origin in found:
        if not _ORIGIN.fullmatch(origin):
            raise ValueError(f"{origin!r} must be an origin such as https://crm.example.com")
    return frozenset(found)


def base_url(raw: str) -> str:
    """An http or https URL without query and fragment, or empty; a slash at its end is dropped."""
    if raw and not _URL.fullmatch(raw):
        raise ValueError("must be a URL such as https://pbx.example.com/pbx/api/index")
    return raw.rstrip("/")


def expression(raw: str) -> re.Pattern[str]:
    """A regular expression of Python's re."""
    try:
        return re.compile(raw)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None


def folders(raw: str) -> tuple[Path, ...]:
    """Absolute paths, one a line."""
    return tuple(folder(line) for line in lines(raw))


def encoding(raw: str) -> str:
    """The name of one of MySQL's character sets, or empty."""
    if raw and not re.fullmatch(r"[a-z0-9_]{1,32}", raw):
        raise ValueError("must be the name of a character set such as utf8mb4 or latin1")
    return raw
