"""The database server as its administrator sees it, and the service's own user there."""

from __future__ import annotations

import configparser
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pymysql

from evolvex_api import config
from evolvex_api.setup import SetupError

_SOCKETS = ("/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock", "/tmp/mysql.sock")  # noqa: S108
# Where administrators keep root's password, and where Debian kept it.
_PASSWORD_FILES = (Path("/root/.my.cnf"), Path("/etc/mysql/debian.cnf"))
_HOST = "localhost"
# What the service may open at once: its exports, and a short look-up for each request beside them.
_MOST_CONNECTIONS = 60


def local_socket() -> str:
    """The socket of this host's server; '' when none runs."""
    return next((path for path in _SOCKETS if Path(path).is_socket()), "")


def is_installed() -> bool:
    """Whether this host has a server, running or not."""
    return any(shutil.which(name, path="/usr/sbin:/usr/bin") for name in ("mariadbd", "mysqld"))


class Administrator:
    """An administrator's session with this host's MariaDB or MySQL, over its socket.

    root's socket login is tried first, then the passwords of /root/.my.cnf and
    /etc/mysql/debian.cnf. Raises SetupError, which says what to do.
    """

    def __init__(self) -> None:
        self._connection = _connect()

    def has_table(self, database: str, table: str) -> bool:
        """Whether a table is there."""
        query = "SELECT 1 FROM information_schema.tables WHERE table_schema=%s AND table_name=%s"
        return bool(self._execute(query, (database, table)))

    def has_user(self, user: str) -> bool:
        """Whether there is a user of that name for this host."""
        query = "SELECT 1 FROM mysql.user WHERE user=%s AND host=%s"
        return bool(self._execute(query, (user, _HOST)))

    def make_reader(self, user: str, password: str, database: str, tables: Sequence[str]) -> None:
        """Make a user, or give it a new password, that may read the tables and nothing else."""
        self._execute("CREATE USER IF NOT EXISTS %s@%s", (user, _HOST))
        self._execute(
            f"ALTER USER %s@%s IDENTIFIED BY %s WITH MAX_USER_CONNECTIONS {_MOST_CONNECTIONS}",
            (user, _HOST, password),
        )
        for table in tables:
            self._execute(
                f"GRANT SELECT ON {quoted(database)}.{quoted(table)} TO %s@%s", (user, _HOST)
            )

    def drop_user(self, user: str) -> None:
        """Remove a user."""
        self._execute("DROP USER IF EXISTS %s@%s", (user, _HOST))

    def recipe(self, user: str) -> list[str]:
        """The statements that make a user as it is now, password and grants included."""
        made = self._execute("SHOW CREATE USER %s@%s", (user, _HOST))
        grants = self._execute("SHOW GRANTS FOR %s@%s", (user, _HOST))
        return [row[0] for row in (*made, *grants)]

    def restore(self, user: str, recipe: Sequence[str]) -> None:
        """Make a user as `recipe` returned it, in place of what there is now."""
        self.drop_user(user)
        for statement in recipe:
            self._execute(statement, None)

    def _execute(self, sql: str, values: tuple[str, ...] | None) -> Any:
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(sql, values)
                return cursor.fetchall()
        except pymysql.MySQLError as error:
            raise SetupError(f"the database refused: {reason(error)}") from None


def _connect() -> Any:
    socket = local_socket()
    if not socket:
        raise SetupError(
            "the database server of this host does not run; start it: systemctl start mariadb "
            "(or mysql)"
        )
    refusals = []
    for login in _logins():
        try:
            connection = pymysql.connect(unix_socket=socket, connect_timeout=5, **login)
            # Else MySQL prints a password's digest as raw bytes; MariaDB has no such variable.
            with connection.cursor() as cursor:
                _quietly(cursor, "SET SESSION print_identified_with_as_hex = ON")
            return connection
        except pymysql.MySQLError as error:
            refusals.append(reason(error))
        except (configparser.Error, OSError, UnicodeDecodeError) as error:
            refusals.append(f"{login.get('read_default_file')}: {error}".splitlines()[0])
    raise SetupError(
        f"{socket}: root may not log in to the local database ({'; '.join(refusals)}). If root has "
        "a password there, put it into /root/.my.cnf: [client], user = root, password = …. Or make "
        "a user with SELECT on the call log and name it in [cdr] of evolvex.conf"
    )


def _logins() -> Iterator[dict[str, Any]]:
    yield {"user": "root"}
    for file in _PASSWORD_FILES:
        if file.is_file():
            yield {"read_default_file": str(file)}


def _quietly(cursor: Any, sql: str) -> None:
    try:
        cursor.execute(sql)
    except pymysql.MySQLError:
        return


def read_fault(cdr: config.Cdr) -> str:
    """Why the credentials of [cdr] do not open the table; '' when they do."""
    try:
        with pymysql.connect(
            user=cdr.user,
            password=cdr.password,
            host=cdr.host,
            port=cdr.port,
            unix_socket=cdr.unix_socket or None,
            database=cdr.database,
            connect_timeout=5,
        ) as connection:
            connection.cursor().execute(f"SELECT 1 FROM {quoted(cdr.table)} LIMIT 1")  # noqa: S608
    except (pymysql.MySQLError, RuntimeError) as error:
        return reason(error)
    return ""


def quoted(name: str) -> str:
    """A name of a database or table, quoted; SetupError for one that setup does not use."""
    if not re.fullmatch(r"[A-Za-z0-9_$-]{1,64}", name):
        raise SetupError(f"{name!r} is no name of a database or table that setup can use")
    return f"`{name}`"


def reason(error: Exception) -> str:
    """What the server said."""
    return str(error.args[1]) if len(error.args) > 1 else str(error)
