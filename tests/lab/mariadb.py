"""A private MariaDB with the call table in both shapes."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import pymysql
from pymysql.cursors import DictCursor

from tests.lab import packages
from tests.lab.server import LabError, Server, free_ports

ORIGINAL = "asteriskcdrdb"
FREEPBX = "freepbxcdrdb"

_SQL = Path(__file__).parent / "sql"
_TABLES = {ORIGINAL: _SQL / "original.sql", FREEPBX: _SQL / "freepbx.sql"}
# As the owner of its folder; small files, so that a new database is made in half a second.
_OPTIONS = ("--no-defaults", "--user=root", "--skip-name-resolve", "--innodb-log-file-size=4M")


class MariaDB(Server):
    """MariaDB on 127.0.0.1:`port` and on `socket`, with a table `cdr` in two databases.

    ORIGINAL has the original's 25 columns, FREEPBX has FreePBX's; ORIGINAL has a table `cel` of
    Asterisk's channel events too. User `reader` may only SELECT (the service's), `writer` may
    INSERT too (Asterisk's); each is a pair of name and password.
    """

    name = "mariadb"
    reader = ("evolvex", "reader-secret")
    writer = ("asterisk", "writer-secret")

    def __init__(self, timezone: str | None = None) -> None:
        packages.ensure("mariadb-server-core")
        super().__init__(timezone)
        self.port = free_ports()
        self.socket = self.directory / "mariadb.sock"
        self._data = self.directory / "data"

    def start(self) -> Self:
        is_new = not self._data.exists()
        super().start()
        if is_new:
            self._create_tables()
            self._create_users()
        return self

    def connect(self, database: str | None = ORIGINAL) -> "pymysql.Connection[DictCursor]":
        """Return a new connection as root, with autocommit and dict rows."""
        return pymysql.connect(
            unix_socket=str(self.socket),
            user="root",
            database=database,
            charset="utf8mb4",
            autocommit=True,
            cursorclass=DictCursor,
            connect_timeout=5,
        )

    def execute(
        self, sql: str, arguments: Sequence[object] = (), database: str | None = ORIGINAL
    ) -> list[dict[str, Any]]:
        """Run one statement as root and return its rows as dicts."""
        with self.connect(database) as connection, connection.cursor() as cursor:
            cursor.execute(sql, arguments or None)
            return list(cursor.fetchall())

    def _prepare(self) -> None:
        if self._data.exists():
            return
        install = ("mariadb-install-db", *_OPTIONS, f"--datadir={self._data}", "--skip-test-db")
        authentication = "--auth-root-authentication-method=normal"
        done = subprocess.run(
            [*install, authentication], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise LabError(f"mariadb-install-db failed:\n{done.stdout}{done.stderr}")

    def _command(self) -> Sequence[str]:
        return [
            *("mariadbd", *_OPTIONS, f"--datadir={self._data}"),
            *(f"--socket={self.socket}", f"--pid-file={self.directory}/pid"),
            *(f"--port={self.port}", "--bind-address=127.0.0.1"),
            # A server that starts deletes the temporary tables of all others in the same folder.
            f"--tmpdir={self.directory}",
            *("--innodb-buffer-pool-size=128M", "--skip-log-bin"),
        ]

    def _is_ready(self) -> bool:
        try:
            self.connect(database=None).close()
        except pymysql.err.OperationalError:
            return False
        return True

    def _create_tables(self) -> None:
        for database, table in _TABLES.items():
            self.execute(f"CREATE DATABASE {database} CHARACTER SET utf8mb4", database=None)
            self.execute(table.read_text(), database=database)
        self.execute((_SQL / "cel.sql").read_text())

    def _create_users(self) -> None:
        for (user, password), rights in (self.reader, "SELECT"), (self.writer, "SELECT, INSERT"):
            self.execute("CREATE USER %s IDENTIFIED BY %s", (user, password))
            for database in _TABLES:
                self.execute(f"GRANT {rights} ON {database}.cdr TO %s", (user,))
            self.execute(f"GRANT {rights} ON {ORIGINAL}.cel TO %s", (user,))
