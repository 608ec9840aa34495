"""nginx's configuration as text: where its server blocks are, however they are written.

Grammar: nginx's own ngx_conf_read_token (ngx_conf_file.c): words between white space, `;`, `{` and
`}`; quotes and backslashes bind; `#` begins a comment where a word could begin.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""(?P<skip>\s+|\#[^\n]*)
      | (?P<word>"(?:\\.|[^"\\])*"
               | '(?:\\.|[^'\\])*'
               | (?:\\.|\$\{|[^\s;{}\\"'])(?:\\.|\$\{[^}]*\}|[^\s;{}\\])*)
      | (?P<mark>[;{}])""",
    re.VERBOSE | re.DOTALL,
)


@dataclass
class Server:
    """A server block of the http module: where its body begins, and what it says of itself."""

    start: int
    listens: list[tuple[str, ...]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    includes: list[str] = field(default_factory=list)

    def urls(self, path: str) -> list[tuple[str, str]]:
        """(URL, address) pairs by which this host itself can ask the server for a path."""
        found = []
        for listen in self.listens or [("80",)]:
            address, port = _endpoint(listen[0])
            if not address:
                continue
            secure = "ssl" in listen[1:]
            usual = port == ("443" if secure else "80")
            where = self.host() if usual else f"{self.host()}:{port}"
            found.append((f"{'https' if secure else 'http'}://{where}{path}", address))
        return found

    def host(self) -> str:
        """The first plain name of the server, else `localhost`."""
        plain = (name for name in self.names if re.fullmatch(r"[A-Za-z0-9.-]+", name))
        return next(plain, "localhost")


def servers(text: str) -> list[Server]:
    """The server blocks of a file, in their order."""
    found: list[Server] = []
    blocks: list[Server | str] = []
    words: list[str] = []
    for token, end in _tokens(text):
        if token == "{":  # noqa: S105  # a brace
            name = words[0] if words else ""
            inner: Server | str = name
            if name == "server" and all(block in ("http",) for block in blocks):
                inner = Server(end)
                found.append(inner)
            blocks.append(inner)
            words = []
        elif token in {";", "}"}:
            if token == ";" and words and blocks and isinstance(blocks[-1], Server):  # noqa: S105
                _take(blocks[-1], words)
            if token == "}" and blocks:  # noqa: S105  # a brace
                blocks.pop()
            words = []
        else:
            words.append(token.strip("\"'"))
    return found


def with_inserted(text: str, at: int, block: str) -> str:
    """The text with a block put where a server's body begins."""
    return f"{text[:at]}{block}{text[at:]}"


def breaks_line(text: str, at: int) -> bool:
    """Whether something but a comment's or line's end follows on the same line."""
    return not re.match(r"[ \t]*\n", text[at:])


def files_of_dump(dump: str) -> dict[str, str]:
    """The files that `nginx -T` prints, by path."""
    parts = re.split(r"^# configuration file (.+):\n", dump, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _take(server: Server, words: list[str]) -> None:
    if words[0] == "listen" and len(words) > 1:
        server.listens.append(tuple(words[1:]))
    elif words[0] == "server_name":
        server.names += words[1:]
    elif words[0] == "include":
        server.includes += words[1:]


def _tokens(text: str) -> Iterator[tuple[str, int]]:
    position = 0
    while found := _TOKEN.match(text, position):
        position = found.end()
        if found.lastgroup != "skip":
            yield found[0], position


def _endpoint(listen: str) -> tuple[str, str]:
    """(address, port) by which this host reaches what a `listen` says; ('', '') for a socket."""
    if listen.startswith("unix:"):
        return "", ""
    if listen.isdigit():
        return "127.0.0.1", listen
    if found := re.fullmatch(r"\[([0-9a-fA-F:]*)\](?::(\d+))?", listen):
        return "::1" if found[1] in {"", "::"} else found[1], found[2] or "80"
    address, _, port = listen.partition(":")
    return "127.0.0.1" if address in {"*", "0.0.0.0"} else address, port or "80"  # noqa: S104
