"""The database user that setup makes: SELECT on the call log's table, and nothing else."""

from __future__ import annotations

import re
from typing import Any

import pymysql

from evolvex_api.setup import SetupError
from evolvex_api.setup.host import Database

SOCKET = "/run/mysqld/mysqld.sock"
_HOST = "localhost"


class Administrator:
    """root's session with this host's MariaDB or MySQL, over its socket."""

    def __init__(self) -> None:
        try:
            self._connection = pymysql.connect(user="root", unix_socket=SOCKET, connect_timeout=5)
        except pymysql.MySQLError as error:
            raise SetupError(
                f"{SOCKET}: root may not log in to the local database ({_reason(error)}); "
                "make a user with SELECT on the call log and name it in [cdr] of evolvex.conf"
            ) from None

    def has_table(self, database: Database) -> bool:
        """Whether the call log's table is there."""
        query = "SELECT 1 FROM information_schema.tables WHERE table_schema=%s AND table_name=%s"
        return bool(self._execute(query, (database.name, database.table)))

    def has_user(self, user: str) -> bool:
        """Whether there is a user of that name for this host."""
        return bool(
            self._execute("SELECT 1 FROM mysql.user WHERE user=%s AND host=%s", (user, _HOST))
        )

    def make_reader(self, user: str, password: str, database: Database) -> None:
        """Make a user, or give it a new password, that may read the table."""
        self._execute("CREATE USER IF NOT EXISTS %s@%s", (user, _HOST))
        self._execute("ALTER USER %s@%s IDENTIFIED BY %s", (user, _HOST, password))
        self._execute(
            f"GRANT SELECT ON {_quoted(database.name)}.{_quoted(database.table)} TO %s@%s",
            (user, _HOST),
        )

    def drop_user(self, user: str) -> None:
        """Remove a user."""
        self._execute("DROP USER IF EXISTS %s@%s", (user, _HOST))

    def _execute(self, sql: str, values: tuple[str, ...]) -> Any:
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(sql, values)
                return cursor.fetchall()
        except pymysql.MySQLError as error:
            raise SetupError(f"the database refused: {_reason(error)}") from None


def can_read(user: str, password: str, unix_socket: str, database: Database) -> bool:
    """Whether these credentials open the call log's table."""
    try:
        with pymysql.connect(
            user=user,
            password=password,
            host=database.host or "127.0.0.1",
            port=int(database.port or 3306),
            unix_socket=unix_socket or None,
            database=database.name,
            connect_timeout=5,
        ) as connection:
            connection.cursor().execute(f"SELECT 1 FROM {_quoted(database.table)} LIMIT 1")  # noqa: S608
    except (pymysql.MySQLError, ValueError):
        return False
    return True


def _quoted(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_$-]{1,64}", name):
        raise SetupError(f"{name!r} is no name of a database or table that setup can use")
    return f"`{name}`"


def _reason(error: pymysql.MySQLError) -> str:
    return str(error.args[1]) if len(error.args) > 1 else str(error)
