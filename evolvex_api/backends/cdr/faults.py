"""The failures of the call log's database, as the service's own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from pymysql.err import MySQLError

from evolvex_api.backends.failures import CdrUnavailable

# Errors of server (mysqld_error) and client (errmsg): the login or a right is refused; the table or
# database is missing; nobody is there, or not for long; a user's connections are all in use.
_REFUSED = {1044, 1045, 1142, 1143, 1698}
_MISSING = {1049, 1146}
_UNREACHABLE = {1040, 1053, 2002, 2003, 2006, 2013}
_TOO_MANY = {1203, 1226}
# The table is no longer as it was found: a column, a table, an index, a part of a view is gone.
CHANGED = {1054, 1146, 1176, 1356}
# A table that a query may do without: it is missing, or the user may not read it.
ABSENT = {1142, 1143, 1146}


@contextlib.contextmanager
def translated(*further: type[Exception]) -> Iterator[None]:
    """PyMySQL's errors, and those of `further` classes, as CdrUnavailable.

    The cause is for the journal alone.
    """
    kinds: tuple[type[Exception], ...] = (MySQLError, OSError, *further)
    try:
        yield
    except kinds as error:
        raise CdrUnavailable(_text(error)) from error


def _text(error: Exception) -> str:
    number = error.args[0] if isinstance(error, MySQLError) and error.args else 0
    if number in _REFUSED:
        return "The call log's database refuses the service's user."
    if number in _MISSING:
        return "The call log's database or table is missing."
    if number in _TOO_MANY:
        return "The call log's database has no connection left for the service's user."
    if isinstance(error, OSError) or number in _UNREACHABLE:
        return "The call log's database does not answer."
    return "The call log's database failed; the service's journal has the details."
