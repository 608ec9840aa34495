"""What is on this host: Asterisk or FreePBX, the call log's database, the web server."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from evolvex_api.setup import SetupError
from evolvex_api.setup.changes import succeeds, text

ETC = Path("/etc/asterisk")
FREEPBX = Path("/etc/freepbx.conf")
_NGINX_SITES = Path("/etc/nginx/sites-enabled")
_LOCAL = ("", "localhost", "127.0.0.1", "::1")

Sections = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Pbx:
    """Asterisk as configured: where AMI listens and takes users, and where its files are."""

    ami_file: Path
    ami_enabled: bool
    ami_host: str
    ami_port: str
    recordings: Path
    data: Path
    is_freepbx: bool


@dataclass(frozen=True)
class Database:
    """The call log's database, and the credentials that Asterisk or FreePBX uses for it."""

    name: str
    table: str
    host: str = ""
    port: str = ""
    user: str = ""
    password: str = ""

    @property
    def is_local(self) -> bool:
        """True when it is this host's own server."""
        return self.host in _LOCAL


def find_pbx() -> Pbx:
    """Asterisk on this host; SetupError when there is none."""
    manager = ETC / "manager.conf"
    if not manager.is_file():
        raise SetupError(
            f"{manager}: there is no Asterisk here; set up [ami] of evolvex.conf by hand"
        )
    if not succeeds("asterisk", "-rx", "core show version"):
        raise SetupError("Asterisk is not running; start it, then run setup again")
    general = asterisk_sections(manager).get("general", {})
    folders = asterisk_sections(ETC / "asterisk.conf").get("directories", {})
    bound = general.get("bindaddr", "0.0.0.0")  # noqa: S104  # Asterisk's default
    return Pbx(
        ami_file=_ami_file(manager),
        ami_enabled=general.get("enabled", "no").lower() in ("yes", "true", "on", "1", "y", "t"),
        ami_host="127.0.0.1" if bound in ("0.0.0.0", "::") else bound,  # noqa: S104
        ami_port=general.get("port", "5038"),
        recordings=Path(folders.get("astspooldir", "/var/spool/asterisk")) / "monitor",
        data=Path(folders.get("astdatadir", "/var/lib/asterisk")),
        is_freepbx=FREEPBX.is_file(),
    )


def _ami_file(manager: Path) -> Path:
    """The file of AMI users that upgrades and FreePBX leave alone, else manager.conf itself."""
    includes = re.findall(r'^\s*#(?:try)?include\s+"?([^"\n;]+?)"?\s*$', text(manager), re.M)
    for name in includes:
        if name.endswith("manager_custom.conf"):
            return ETC / "manager_custom.conf"
    for name in includes:
        if re.search(r"manager\.d/\*(\.conf)?$", name):
            return ETC / "manager.d" / "evolvex-api.conf"
    return manager


def find_database() -> Database:
    """Where the call log is, from FreePBX's or Asterisk's configuration, else the usual names."""
    return _freepbx_database() or _asterisk_database() or Database("asteriskcdrdb", "cdr")


def _freepbx_database() -> Database | None:
    if not FREEPBX.is_file():
        return None
    found = dict(
        re.findall(r"""\$amp_conf\[['"](\w+)['"]\]\s*=\s*['"]([^'"]*)['"]\s*;""", text(FREEPBX))
    )
    return Database(
        name=found.get("CDRDBNAME") or "asteriskcdrdb",
        table=found.get("CDRDBTABLENAME") or "cdr",
        host=found.get("CDRDBHOST") or found.get("AMPDBHOST", ""),
        port=found.get("CDRDBPORT") or found.get("AMPDBPORT", ""),
        user=found.get("CDRDBUSER") or found.get("AMPDBUSER", ""),
        password=found.get("CDRDBPASS") or found.get("AMPDBPASS", ""),
    )


def _asterisk_database() -> Database | None:
    """The first table of cdr_adaptive_odbc.conf, through res_odbc.conf and odbc.ini."""
    connections = asterisk_sections(ETC / "res_odbc.conf")
    sources = asterisk_sections(Path("/etc/odbc.ini"))
    for tables in asterisk_sections(ETC / "cdr_adaptive_odbc.conf").values():
        connection = connections.get(tables.get("connection", ""), {})
        source = {
            key.lower(): value for key, value in sources.get(connection.get("dsn", ""), {}).items()
        }
        if source.get("database"):
            return Database(
                name=source["database"],
                table=tables.get("table", "cdr"),
                host=source.get("server", ""),
                port=source.get("port", ""),
                user=connection.get("username") or source.get("user", ""),
                password=connection.get("password") or source.get("password", ""),
            )
    return None


def find_web_server() -> str:
    """`nginx`, `apache2`, or '' when neither runs."""
    for unit in ("nginx", "apache2"):
        if succeeds("systemctl", "--quiet", "is-active", unit):
            return unit
    return ""


def find_nginx_site() -> Path:
    """The file whose server blocks answer for this host; SetupError when that is not plain."""
    sites = sorted(path for path in _NGINX_SITES.glob("*") if _SERVER.search(text(path)))
    with_snippet = [path for path in sites if "snippets/evolvex-api" in text(path)]
    defaults = [path for path in sites if path.name == "default"]
    for choice in (with_snippet, defaults, sites):
        if len(choice) == 1:
            return choice[0].resolve()
    names = ", ".join(path.name for path in sites) or "none"
    raise SetupError(
        f"{_NGINX_SITES}: which site is to serve the API? There are: {names}. "
        "Name its file with --site"
    )


def into_servers(site: str, block: str) -> str:
    """An nginx file's text with `block` as the first thing of each of its server blocks."""
    return _SERVER.sub(lambda found: f"{found[0]}{block}", site)


def asterisk_sections(path: Path) -> Sections:
    """A file in Asterisk's or odbc.ini's format as {section: {key: value}}; the last one counts."""
    sections: dict[str, dict[str, str]] = {}
    for name, key, value in _settings(text(path)):
        sections.setdefault(name, {})
        if key:
            sections[name][key] = value
    return sections


def _settings(content: str) -> Iterator[tuple[str, str, str]]:
    """Each section (with no key) and each setting, as section, key, value."""
    section = ""
    for raw in content.splitlines():
        line = re.split(r"(?<!\\);", raw, maxsplit=1)[0].strip()
        if line.startswith("#"):
            continue
        if named := re.match(r"\[([^\]]+)\]", line):
            section = named[1]
            yield section, "", ""
        elif "=" in line and section:
            key, value = line.split("=", 1)
            yield section, key.strip(), value.removeprefix(">").strip()


_SERVER = re.compile(r"^[ \t]*server\s*\{[ \t]*\n", re.MULTILINE)
