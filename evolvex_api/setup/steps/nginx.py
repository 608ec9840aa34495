"""The API's locations in a site of nginx."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from evolvex_api.setup import SetupError, commands, files, probe
from evolvex_api.setup.blocks import block_in, marked_block, with_block
from evolvex_api.setup.changes import Changes, text
from evolvex_api.setup.nginx_conf import (
    Server,
    breaks_line,
    files_of_dump,
    servers,
    with_inserted,
)
from evolvex_api.setup.record import Record
from evolvex_api.setup.steps.web import Clients, prove_route

INCLUDE = "include snippets/evolvex-api*.conf;"
_SNIPPET = "snippets/evolvex-api"


@dataclass
class Nginx:
    """Includes the snippet into each server block of a site's file."""

    site: Path
    clients: Clients
    public: bool
    name = "web server"
    url: str = field(default="", init=False)

    def plan(self) -> list[str]:
        lines = self.clients.plan(self.public)
        if self._left_out():
            lines.append(f"{self.site}: {INCLUDE.removesuffix(';')}")
        if not lines and not self._answers():
            lines.append("the route does not answer yet")
        return [*lines, "reload nginx"] if lines else []

    def apply(self, changes: Changes) -> None:
        changes.on_rollback(reload)
        self.clients.apply(changes, self.public)
        content = text(self.site)
        for server in reversed(self._left_out()):
            block = marked_block(INCLUDE, inline=breaks_line(content, server.start))
            if not block.startswith("\n"):
                block = f"\n{block}".removesuffix("\n")
            content = with_inserted(content, server.start, block)
        if content != text(self.site):
            changes.write(self.site, content)
        reload()
        self.url = prove_route(site_urls(self.site))

    def records(self) -> list[Record]:
        return [Record("nginx", str(self.site))]

    def _left_out(self) -> list[Server]:
        return [
            server
            for server in servers(text(self.site))
            if not any(_SNIPPET in name for name in server.includes)
        ]

    def _answers(self) -> bool:
        answers = [probe.ask(url, address) for url, address in site_urls(self.site)]
        self.url = next((answer.url for answer in answers if answer.is_the_service), "")
        return bool(self.url)


def site_urls(site: Path) -> list[tuple[str, str]]:
    """(URL, address) pairs by which this host can ask a site for the route."""
    found = servers(text(site))
    return [pair for server in found for pair in server.urls(probe.PATH)]


def find_site(named: Path | None) -> Path:
    """The file whose server blocks answer for this host; SetupError when that is not plain."""
    if named is not None:
        if not servers(text(named)):
            raise SetupError(
                f"{named}: no server block of nginx is in it; by hand: put `{INCLUDE}` into one"
            )
        return files.resolved(named)
    dump = files_of_dump(commands.run("nginx", "-T", "-q"))
    sites = {Path(name): content for name, content in dump.items() if servers(content)}
    with_snippet = [path for path, content in sites.items() if _SNIPPET in content]
    defaults = [path for path in sites if path.name == "default"]
    for choice in (with_snippet, defaults, list(sites)):
        if len(choice) == 1:
            return files.resolved(choice[0])
    if not sites:
        raise SetupError(
            "nginx has no site (server block) yet. /usr/share/doc/evolvex-api/examples/site.conf "
            f"is one; or put `{INCLUDE}` into a server block by hand"
        )
    names = ", ".join(map(str, sites))
    raise SetupError(f"which site is to serve the API? There are: {names}. Name one with --site")


def reload() -> None:
    """Make a running nginx take its configuration; SetupError when that is wrong."""
    if commands.succeeds("systemctl", "--quiet", "is-active", "nginx"):
        commands.run("nginx", "-t", "-q")
        commands.run("systemctl", "reload", "nginx")


def undo(file: str, changes: Changes) -> str:
    """Take the locations out of a site; nginx may be stopped or gone."""
    path = Path(file)
    changes.on_rollback(reload)
    if block_in(text(path)):
        changes.write(path, with_block(text(path), ""))
    reload()
    return f"{file}: locations removed"
