"""A database user that may read the call log, unless evolvex.conf names one that works."""

from __future__ import annotations

from dataclasses import dataclass, replace

from evolvex_api.config import Config
from evolvex_api.setup import SetupError
from evolvex_api.setup.changes import Changes
from evolvex_api.setup.database import Administrator, is_installed, local_socket, read_fault
from evolvex_api.setup.databases import Database
from evolvex_api.setup.record import Record
from evolvex_api.setup.steps.base import Settings

# FreePBX and cel_odbc write it beside the call log.
_CEL = "cel"


@dataclass
class CallLogReader:
    """SELECT on the call log's table (and on `cel` beside it), and nothing else."""

    config: Config
    database: Database
    name = "call log"

    def plan(self) -> list[str]:
        where = f"{self.database.name}.{self.database.table}"
        if not self._fault():
            tables = self._tables_without_right()
            user = self.config.cdr.user
            return [f"database: user {user}@localhost with SELECT on {one}" for one in tables]
        if not self.database.is_local:
            self._refuse_unreadable()
            return [f"call log: {where} on {self.database.host}, with the PBX's own database user"]
        if not local_socket() and not is_installed():
            raise SetupError(
                "there is no database server here, and no call log is named in Asterisk's "
                "configuration; name it in [cdr] of evolvex.conf"
            )
        if not Administrator().has_table(self.database.name, self.database.table):
            raise SetupError(
                f"the local database has no table {where} ({self.database.found_in}); name the "
                "call log's in [cdr] of evolvex.conf"
            )
        return [f"database: user {self.config.cdr.user}@localhost with SELECT on {where}"]

    def apply(self, changes: Changes) -> None:
        if not self.database.is_local:
            return
        administrator, user = Administrator(), self.config.cdr.user
        if administrator.has_user(user):
            recipe = administrator.recipe(user)
            changes.on_rollback(lambda: Administrator().restore(user, recipe))
        else:
            changes.on_rollback(lambda: Administrator().drop_user(user))
        database = self.database
        tables = [database.table]
        if administrator.has_table(database.name, _CEL):
            tables.append(_CEL)
        administrator.make_reader(user, self.config.cdr.password, database.name, tables)
        for table in tables:
            if fault := self._own_fault(database.name, table):
                raise SetupError(f"database: user {user} can't read {table}: {fault}")

    def records(self) -> list[Record]:
        return [Record("dbuser", self.config.cdr.user)] if self.database.is_local else []

    def settings(self) -> Settings:
        """What evolvex.conf has to say for it."""
        if not self._fault():
            return {}
        known = self.database
        values = {"database": known.name, "table": known.table}
        if known.is_local:
            values["unix_socket"] = local_socket()
        else:
            values |= {"host": known.host, "port": known.port or "3306", "unix_socket": ""}
            values |= {"user": known.user, "password": known.password}
        return {("cdr", key): value for key, value in values.items()}

    def _refuse_unreadable(self) -> None:
        known = self.database
        theirs = replace(
            self.config.cdr,
            host=known.host,
            port=int(known.port) if known.port.isdigit() else 3306,
            unix_socket="",
            user=known.user,
            password=known.password,
            database=known.name,
            table=known.table,
        )
        if fault := read_fault(theirs):
            raise SetupError(
                f"the call log's database at {known.host} does not let the PBX's user "
                f"{known.user or '(none)'} read it from here ({fault}); set [cdr] of evolvex.conf "
                "by hand"
            )

    def _fault(self) -> str:
        return read_fault(self.config.cdr)

    def _own_fault(self, database: str, table: str) -> str:
        own = replace(self.config.cdr, unix_socket=local_socket(), database=database, table=table)
        return read_fault(own)

    def _tables_without_right(self) -> list[str]:
        """`cel`, when it is there and the user that setup made can't read it yet."""
        cdr = self.config.cdr
        if not cdr.unix_socket or cdr.unix_socket != local_socket():
            return []
        try:
            has_cel = Administrator().has_table(cdr.database, _CEL)
        except SetupError:
            return []
        return [_CEL] if has_cel and self._own_fault(cdr.database, _CEL) else []


def undo(user: str, changes: Changes) -> str:
    """Drop the database user; SetupError when its server is stopped."""
    if not local_socket() and not is_installed():
        return f"database: its server is gone, and the user {user} with it"
    administrator = Administrator()
    if administrator.has_user(user):
        recipe = administrator.recipe(user)
        changes.on_rollback(lambda: Administrator().restore(user, recipe))
        administrator.drop_user(user)
    return f"database: user {user}@localhost removed"
