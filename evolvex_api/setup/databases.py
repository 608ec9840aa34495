"""Where the PBX keeps its call log: FreePBX's settings, or Asterisk's own configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pymysql

from evolvex_api.setup.asterisk_conf import sections
from evolvex_api.setup.files import peek

ETC = Path("/etc/asterisk")
FREEPBX = Path("/etc/freepbx.conf")
_LOCAL = {"", "localhost", "127.0.0.1", "::1"}
_CDR_KEYS = ("CDRDBNAME", "CDRDBTABLENAME", "CDRDBHOST", "CDRDBPORT", "CDRDBUSER", "CDRDBPASS")


@dataclass(frozen=True)
class Database:
    """The call log's database, and the credentials that Asterisk or FreePBX uses for it."""

    name: str
    table: str
    host: str = ""
    port: str = ""
    user: str = ""
    password: str = ""
    found_in: str = "the usual names"

    @property
    def is_local(self) -> bool:
        """True when it is this host's own server."""
        return self.host in _LOCAL


def find_database() -> Database:
    """Where the call log is, from FreePBX's or Asterisk's configuration, else the usual names."""
    return _freepbx() or _odbc() or _mysql() or Database("asteriskcdrdb", "cdr")


def _freepbx() -> Database | None:
    if not FREEPBX.is_file():
        return None
    found = dict(
        re.findall(r"""\$amp_conf\[['"](\w+)['"]\]\s*=\s*['"]([^'"]*)['"]\s*;""", peek(FREEPBX))
    )
    found |= _freepbx_settings(found)
    return Database(
        name=found.get("CDRDBNAME") or "asteriskcdrdb",
        table=found.get("CDRDBTABLENAME") or "cdr",
        host=found.get("CDRDBHOST") or found.get("AMPDBHOST", ""),
        port=found.get("CDRDBPORT") or found.get("AMPDBPORT", ""),
        user=found.get("CDRDBUSER") or found.get("AMPDBUSER", ""),
        password=found.get("CDRDBPASS") or found.get("AMPDBPASS", ""),
        found_in="FreePBX's settings",
    )


def _freepbx_settings(known: Mapping[str, str]) -> dict[str, str]:
    """The call log's settings in FreePBX's own database, which count before freepbx.conf's.

    FreePBX keeps them in the table freepbx_settings (framework, libraries/config.functions.php).
    """
    socket = known.get("AMPDBSOCK", "")
    marks = ", ".join(["%s"] * len(_CDR_KEYS))
    try:
        with (
            pymysql.connect(
                user=known.get("AMPDBUSER", ""),
                password=known.get("AMPDBPASS", ""),
                host=known.get("AMPDBHOST") or "localhost",
                port=int(known.get("AMPDBPORT") or 3306),
                unix_socket=socket or None,
                database=known.get("AMPDBNAME") or "asterisk",
                connect_timeout=5,
            ) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(
                f"SELECT keyword, value FROM freepbx_settings WHERE keyword IN ({marks})",  # noqa: S608
                _CDR_KEYS,
            )
            return {key: str(value) for key, value in cursor.fetchall() if value}
    except (pymysql.MySQLError, ValueError, RuntimeError):
        # FreePBX's database is away, or this is not FreePBX's shape: freepbx.conf alone counts.
        return {}


def _odbc() -> Database | None:
    """The first table of cdr_adaptive_odbc.conf, through res_odbc.conf and odbc.ini."""
    connections = sections(ETC / "res_odbc.conf")
    sources = sections(Path("/etc/odbc.ini"))
    for tables in sections(ETC / "cdr_adaptive_odbc.conf").values():
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
                found_in="cdr_adaptive_odbc.conf",
            )
    return None


def _mysql() -> Database | None:
    """cdr_mysql.conf, of Asterisk before version 19."""
    found = sections(ETC / "cdr_mysql.conf").get("global", {})
    if not found.get("dbname"):
        return None
    return Database(
        name=found["dbname"],
        table=found.get("table", "cdr"),
        host=found.get("hostname", ""),
        port=found.get("port", ""),
        user=found.get("user", ""),
        password=found.get("password", ""),
        found_in="cdr_mysql.conf",
    )
