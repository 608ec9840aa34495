"""The things that setup does. Each looks, tells its plan, does it, and can undo it later.

A step's plan is empty when there is nothing to do, so setup can be run again and again.
"""

from __future__ import annotations

import grp
import pwd
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from evolvex_api.config import Config
from evolvex_api.setup import SetupError, host
from evolvex_api.setup.changes import Changes, block_in, marked_block, run, text
from evolvex_api.setup.database import SOCKET, Administrator, can_read
from evolvex_api.setup.host import Database, Pbx

SERVICE_USER = "evolvex"
PBX_GROUP = "asterisk"
_WEB_USER = "www-data"
_SERVICE = "evolvex-api.service"

Settings = dict[tuple[str, str], str]


class Step(Protocol):
    """One thing to do."""

    def plan(self) -> list[str]:
        """What is to be done, a line each; nothing when it is done already."""

    def apply(self, changes: Changes) -> None:
        """Do it; raises SetupError."""

    def undo(self, changes: Changes) -> list[str]:
        """Undo what an earlier setup did, and tell it, a line each."""


@dataclass
class AmiUser:
    """The AMI user, in Asterisk's own configuration."""

    pbx: Pbx
    username: str
    secret: str

    def plan(self) -> list[str]:
        if block_in(self.pbx.ami_file) == self._block() and self._is_known():
            return []
        self._refuse_foreign_user()
        lines = [f"{self.pbx.ami_file}: AMI user {self.username}, from this host alone"]
        if not self.pbx.ami_enabled:
            lines.append(f"{self.pbx.ami_file}: switch AMI on, on 127.0.0.1 alone")
        return [*lines, "reload Asterisk's manager"]

    def apply(self, changes: Changes) -> None:
        changes.on_rollback(_reload_manager)
        changes.put_block(self.pbx.ami_file, self._block())
        _reload_manager()

    def undo(self, changes: Changes) -> list[str]:
        if not block_in(self.pbx.ami_file):
            return []
        changes.on_rollback(_reload_manager)
        changes.remove_block(self.pbx.ami_file)
        _reload_manager()
        return [f"{self.pbx.ami_file}: AMI user {self.username} removed"]

    def _block(self) -> str:
        switch_on = "[general](+)\nenabled = yes\nbindaddr = 127.0.0.1\n\n"
        written = block_in(self.pbx.ami_file)
        general = switch_on if not self.pbx.ami_enabled or "[general](+)" in written else ""
        return marked_block(
            f"{general}[{self.username}]\n"
            f"secret = {self.secret}\n"
            "deny = 0.0.0.0/0.0.0.0\n"
            "permit = 127.0.0.1/255.255.255.255\n"
            "write = reporting,originate\n"
            "read = call\n"
            "eventfilter = Event: OriginateResponse\n"
            "writetimeout = 5000",
            comment=";",
        )

    def _is_known(self) -> bool:
        return self.username in run("asterisk", "-rx", "manager show users").split()

    def _refuse_foreign_user(self) -> None:
        foreign = text(self.pbx.ami_file).replace(block_in(self.pbx.ami_file), "")
        if re.search(rf"^\[{re.escape(self.username)}\]", foreign, re.MULTILINE):
            raise SetupError(
                f"{self.pbx.ami_file}: has an AMI user {self.username} already; remove it, or name "
                "another in [ami] of evolvex.conf"
            )


@dataclass
class CallLogReader:
    """A database user that may read the call log, unless evolvex.conf names one that works."""

    config: Config
    database: Database

    def plan(self) -> list[str]:
        if self._works():
            return []
        where = f"{self.database.name}.{self.database.table}"
        if not self.database.is_local:
            self._settings_of_pbx()
            return [f"call log: {where} on {self.database.host}, with the PBX's own database user"]
        if not Administrator().has_table(self.database):
            raise SetupError(
                f"the local database has no table {where}; name the call log's in [cdr] of "
                "evolvex.conf"
            )
        return [f"database: user {self.config.cdr.user}@localhost with SELECT on {where}"]

    def apply(self, changes: Changes) -> None:
        if self._works() or not self.database.is_local:
            return
        administrator, user = Administrator(), self.config.cdr.user
        if not administrator.has_user(user):
            changes.on_rollback(lambda: Administrator().drop_user(user))
        administrator.make_reader(user, self.config.cdr.password, self.database)

    def undo(self, changes: Changes) -> list[str]:
        user = self.config.cdr.user
        if self.config.cdr.unix_socket != SOCKET or not Administrator().has_user(user):
            return []
        Administrator().drop_user(user)
        return [f"database: user {user}@localhost removed"]

    def settings(self) -> Settings:
        """What evolvex.conf has to say for it."""
        if self._works():
            return {}
        found = {
            ("cdr", "database"): self.database.name,
            ("cdr", "table"): self.database.table,
        }
        if self.database.is_local:
            return found | {("cdr", "unix_socket"): SOCKET}
        return found | self._settings_of_pbx()

    def _settings_of_pbx(self) -> Settings:
        known = self.database
        if not can_read(known.user, known.password, "", known):
            raise SetupError(
                f"the call log's database at {known.host} does not let the PBX's user "
                f"{known.user or '(none)'} read it from here; set [cdr] of evolvex.conf by hand"
            )
        values = {"host": known.host, "port": known.port or "3306"}
        values |= {"user": known.user, "password": known.password}
        return {("cdr", key): value for key, value in values.items()}

    def _works(self) -> bool:
        cdr = self.config.cdr
        configured = Database(cdr.database, cdr.table, cdr.host, str(cdr.port))
        return can_read(cdr.user, cdr.password, cdr.unix_socket, configured)


@dataclass
class UploadsFolder:
    """The folder that the service writes sounds into and Asterisk plays them from."""

    folder: Path

    def plan(self) -> list[str]:
        return [] if self._is_right() else [f"{self.folder}: folder for uploaded sounds"]

    def apply(self, changes: Changes) -> None:
        changes.make_folder(self.folder, SERVICE_USER, PBX_GROUP, 0o2750)

    def undo(self, changes: Changes) -> list[str]:
        """Kept: it holds sounds that a dialplan may play."""
        return []

    def _is_right(self) -> bool:
        if not self.folder.is_dir():
            return False
        found = self.folder.stat()
        owner = (pwd.getpwnam(SERVICE_USER).pw_uid, grp.getgrnam(PBX_GROUP).gr_gid)
        return (found.st_uid, found.st_gid) == owner and stat.S_IMODE(found.st_mode) == 0o2750


@dataclass
class Configuration:
    """What evolvex.conf has to say for this host, and the service that reads it."""

    path: Path
    settings: Settings
    restart: bool

    def plan(self) -> list[str]:
        lines = [f"{self.path}: [{section}] {key}" for section, key in self.settings]
        return [*lines, f"restart {_SERVICE}"] if lines or self.restart else []

    def apply(self, changes: Changes) -> None:
        changes.on_rollback(lambda: run("systemctl", "restart", _SERVICE))
        if self.settings:
            changes.write(self.path, with_settings(text(self.path), self.settings))
        run("systemctl", "restart", _SERVICE)

    def undo(self, changes: Changes) -> list[str]:
        """Kept, as the package's removal keeps it."""
        return []


@dataclass
class Nginx:
    """The API's locations in a site of nginx, which may then send recordings by itself."""

    site: Path

    def plan(self) -> list[str]:
        lines = []
        if not self._is_included():
            lines += [f"{self.site}: include snippets/evolvex-api.conf", "reload nginx"]
        if not _is_member(_WEB_USER, PBX_GROUP):
            lines.append(f"user {_WEB_USER} into group {PBX_GROUP}, to send recordings")
        return lines

    def apply(self, changes: Changes) -> None:
        if not _is_member(_WEB_USER, PBX_GROUP):
            leave = ("gpasswd", "--delete", _WEB_USER, PBX_GROUP)
            changes.run("gpasswd", "--add", _WEB_USER, PBX_GROUP, undo=leave)
        changes.on_rollback(_reload_nginx)
        if not self._is_included():
            block = marked_block("include snippets/evolvex-api*.conf;")
            changes.write(self.site, host.into_servers(text(self.site), block))
        _reload_nginx()

    def undo(self, changes: Changes) -> list[str]:
        if not block_in(self.site):
            return []
        changes.on_rollback(_reload_nginx)
        while block_in(self.site):
            changes.remove_block(self.site)
        if _is_member(_WEB_USER, PBX_GROUP):
            run("gpasswd", "--delete", _WEB_USER, PBX_GROUP)
        _reload_nginx()
        return [f"{self.site}: locations removed", f"{_WEB_USER} out of group {PBX_GROUP}"]

    def _is_included(self) -> bool:
        return "snippets/evolvex-api" in text(self.site)


class Apache:
    """The API's locations in Apache, all sites."""

    _enabled = Path("/etc/apache2/conf-enabled/evolvex-api.conf")

    def plan(self) -> list[str]:
        if self._enabled.exists():
            return []
        return ["Apache: modules proxy_http and headers, conf evolvex-api", "reload apache2"]

    def apply(self, changes: Changes) -> None:
        run("a2enmod", "--quiet", "proxy_http", "headers")
        changes.on_rollback(_reload_apache)
        changes.run("a2enconf", "--quiet", "evolvex-api", undo=("a2disconf", "-q", "evolvex-api"))
        _reload_apache()

    def undo(self, changes: Changes) -> list[str]:
        if not self._enabled.exists():
            return []
        run("a2disconf", "--quiet", "evolvex-api")
        _reload_apache()
        return ["Apache: conf evolvex-api off (its modules stay on)"]


def with_settings(before: str, settings: Settings) -> str:
    """evolvex.conf's text with values set: over the key's line, commented or not, else anew."""
    for (section, key), value in settings.items():
        before = _with_setting(before, section, key, value)
    return before


def _with_setting(before: str, section: str, key: str, value: str) -> str:
    head, header, rest = _split(before, section)
    body, next_header, tail = _split(rest)
    line = f"{key} = {value}"
    set_, there = re.subn(
        rf"^#?{re.escape(key)}\s*=.*$", lambda _: line, body, count=1, flags=re.MULTILINE
    )
    body = set_ if there else f"{line}\n{body}"
    return f"{head}{header}{body}{next_header}{tail}"


def _split(content: str, section: str = r"[^\]]+") -> Sequence[str]:
    """Text before a section's header line, that line, and what comes after it."""
    found = re.search(rf"^\[{section}\]\s*\n", content, re.MULTILINE)
    if not found:
        return content, "", ""
    return content[: found.start()], found[0], content[found.end() :]


def _is_member(user: str, group: str) -> bool:
    return user in grp.getgrnam(group).gr_mem


def _reload_manager() -> None:
    run("asterisk", "-rx", "manager reload")


def _reload_nginx() -> None:
    run("nginx", "-t", "-q")
    run("systemctl", "reload", "nginx")


def _reload_apache() -> None:
    run("apache2ctl", "configtest")
    # A module that was just switched on needs a restart when Apache's reload does not load it.
    run("systemctl", "reload-or-restart", "apache2")
