"""What nginx and Apache have in common: who may use the route, and the proof that it works."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from evolvex_api.setup import SetupError, probe
from evolvex_api.setup.changes import Changes, text
from evolvex_api.setup.steps.base import proven

# Loopback, RFC 1918, link-local, RFC 4193 and fe80::/10: not routed from outside.
_PRIVATE = (
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
)
_HEAD = (
    "# Who may use the API's route: {who}.\n"
    "# Written by the package and by `evolvex-api setup --public` or `--private`.\n"
)


@dataclass(frozen=True)
class Clients:
    """The file that the web server includes into the route: private addresses alone, or all."""

    path: Path
    private: str
    public: str

    def wrong(self, public: bool) -> bool:
        """Whether the file has yet to be written."""
        return text(self.path) != self.wanted(public)

    def is_public(self) -> bool:
        """Whether every address is let through."""
        return text(self.path) == self.public

    def wanted(self, public: bool) -> str:
        """The file's text."""
        return self.public if public else self.private

    def plan(self, public: bool) -> list[str]:
        """What is to be done, a line each."""
        who = "everybody" if public else "private addresses and this host"
        return [f"{self.path}: the route answers {who}"] if self.wrong(public) else []

    def apply(self, changes: Changes, public: bool) -> None:
        """Write it."""
        if self.wrong(public):
            changes.write(self.path, self.wanted(public), owner=(0, 0))


def nginx_clients(folder: Path) -> Clients:
    """nginx's file, beside evolvex.conf."""
    allowed = "".join(f"allow {network};\n" for network in _PRIVATE)
    return Clients(
        folder / "nginx-clients.conf",
        _HEAD.format(who="private addresses and this host") + allowed + "deny all;\n",
        _HEAD.format(who="everybody") + "allow all;\n",
    )


def apache_clients(folder: Path) -> Clients:
    """Apache's file, beside evolvex.conf."""
    networks = " ".join(_PRIVATE)
    return Clients(
        folder / "apache-clients.conf",
        _HEAD.format(who="private addresses and this host") + f"Require ip {networks}\n",
        _HEAD.format(who="everybody") + "Require all granted\n",
    )


def prove_route(candidates: Iterable[tuple[str, str]]) -> str:
    """The first (URL, address) that leads to the service, as a URL.

    Waits until the web server has taken its new configuration. Raises SetupError, which says what
    each of them answered.
    """
    found: list[str] = []
    pairs = list(candidates)

    def fault() -> str:
        answers = [probe.ask(url, address) for url, address in pairs]
        found.extend(answer.url for answer in answers if answer.is_the_service)
        return "" if found else "; ".join(answer.text for answer in answers)

    if not pairs:
        raise SetupError("the site listens on no address that this host can ask")
    proven(fault)
    return found[0]
