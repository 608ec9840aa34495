"""The route by which clients come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from evolvex_api.config import Config
from evolvex_api.doctor.findings import Check, Finding
from evolvex_api.setup import SetupError, probe, record
from evolvex_api.setup.steps import nginx
from evolvex_api.setup.steps.web import Clients, apache_clients, nginx_clients

_MEND = "evolvex-api setup connects nginx or Apache"
# A web server that was just reloaded still answers with its old workers.
_PATIENCE = 3.0


def check_route(url: str) -> Check:
    """A check of whether a URL, or the usual ones when it is '', leads to the service."""

    def web_server(config: Config) -> Iterator[Finding]:
        if url:
            path = "" if url.rstrip("/").endswith("/check") else "/check"
            ask = lambda: [probe.ask(f"{url.rstrip('/')}{path}", verify=True)]  # noqa: E731
        else:
            ask = lambda: [probe.ask(one, address) for one, address in _usual_urls(config)]  # noqa: E731
        yield _best(_patiently(ask))

    return web_server


def _usual_urls(config: Config) -> list[tuple[str, str]]:
    """(URL, address) of the site that setup wrote into, and of this host."""
    found: list[tuple[str, str]] = []
    try:
        for one in record.load(config.path.parent):
            if one.kind == "nginx":
                found += nginx.site_urls(Path(one.value))
    except (SetupError, OSError):
        pass
    usual = [(f"{scheme}://localhost{probe.PATH}", "127.0.0.1") for scheme in ("http", "https")]
    return [*found, *usual]


def _patiently(ask: Callable[[], list[probe.Answer]]) -> list[probe.Answer]:
    deadline = time.monotonic() + _PATIENCE
    while True:
        answers = ask()
        if any(answer.is_the_service for answer in answers) or time.monotonic() > deadline:
            return answers
        if all(answer.refused for answer in answers):
            return answers
        time.sleep(0.3)


def _best(answers: list[probe.Answer]) -> Finding:
    for answer in answers:
        if answer.is_the_service:
            return Finding("web server", "ok", answer.text)
    # What answers at all tells more than what does not.
    chosen = next((answer for answer in answers if not answer.refused), answers[0])
    return Finding("web server", "warn", chosen.text, _MEND)


def check_clients(config: Config) -> Iterator[Finding]:
    """Who may use the route; keys that cross the internet need TLS."""
    folder = config.path.parent
    for name, clients in (("nginx", nginx_clients(folder)), ("apache", apache_clients(folder))):
        if not _in_use(config, name):
            continue
        yield _clients(name, clients, config.server.public_url)


def _in_use(config: Config, name: str) -> bool:
    kinds = {"nginx": "nginx", "apache": "apacheconf"}
    try:
        return any(one.kind == kinds[name] for one in record.load(config.path.parent))
    except (SetupError, OSError):
        return False


def _clients(name: str, clients: Clients, public_url: str) -> Finding:
    if not clients.is_public():
        return Finding("clients", "ok", f"{name} answers private addresses (see {clients.path})")
    found = f"{name} answers every address"
    if public_url.startswith("https://"):
        return Finding("clients", "ok", found)
    fix = (
        "serve it over TLS (docs/operations.md) and set [server] public_url = https://…, or "
        "evolvex-api setup --private"
    )
    return Finding("clients", "warn", f"{found}; keys must not cross the internet in clear", fix)
