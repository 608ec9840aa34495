"""The AMI users of the service, in Asterisk's own configuration."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evolvex_api import config
from evolvex_api.backends.ami.client import Ami
from evolvex_api.backends.failures import BackendFailure
from evolvex_api.setup import SetupError, commands
from evolvex_api.setup.blocks import block_in, marked_block
from evolvex_api.setup.changes import Changes, text
from evolvex_api.setup.files import peek
from evolvex_api.setup.host import Pbx, asterisk_runs
from evolvex_api.setup.record import Record
from evolvex_api.setup.steps.base import pbx_group_id, proven

_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Account:
    """An AMI user: who it is, and the least rights that serve it.

    `read` and `write` are classes of manager.conf(5); `events` are the only events that it gets.
    """

    settings: config.Ami
    read: str
    write: str
    events: tuple[str, ...] = ()

    @property
    def username(self) -> str:
        """Its name."""
        return self.settings.username


def service_account(settings: config.Ami) -> Account:
    """The account of the first service: Status and Originate, and the outcome of its own calls."""
    return Account(settings, "call", "reporting,originate", ("OriginateResponse", "Hangup"))


def events_account(settings: config.Ami) -> Account:
    """The account of the service of live calls: it reads events and asks for channels."""
    return Account(settings, "call,agent", "reporting")


@dataclass
class AmiUsers:
    """The accounts as a marked block of one file; each is proved by logging in."""

    pbx: Pbx
    accounts: Sequence[Account]
    name = "ami"

    def plan(self) -> list[str]:
        if block_in(text(self.pbx.ami_file)) == self._block() and not self._fault():
            return []
        lines = []
        for account in self.accounts:
            self._refuse_foreign_user(account.username)
            lines.append(f"{self.pbx.ami_file}: AMI user {account.username}, from this host alone")
        if not self.pbx.ami_enabled:
            lines.append(f"{self.pbx.ami_file}: switch AMI on, on {_LOOPBACK} alone")
        return [*lines, "reload Asterisk's manager"]

    def apply(self, changes: Changes) -> None:
        file = self.pbx.ami_file
        owner = (0, pbx_group_id())
        changes.on_rollback(reload_manager)
        before = text(file)
        if before and before == block_in(before):
            # A file of our own, which an earlier version may have made unreadable to Asterisk.
            changes.write(file, None)
        changes.put_block(file, self._block(), owner)
        reload_manager()
        proven(self._fault)

    def records(self) -> list[Record]:
        return [Record("ami", str(self.pbx.ami_file))]

    def _fault(self) -> str:
        """Why a login does not work; '' when all do."""
        for account in self.accounts:
            try:
                Ami(account.settings).describe()
            except BackendFailure as error:
                cause = error.__cause__ or error
                return (
                    f"{self.pbx.ami_file}: AMI user {account.username} can't log in at "
                    f"{account.settings.host}:{account.settings.port} ({cause}); can Asterisk "
                    "read that file, and does manager.conf include it?"
                )
        return ""

    def _block(self) -> str:
        # Whoever switched AMI on earlier was this block, as long as it says so.
        written = block_in(text(self.pbx.ami_file))
        general = f"[general](+)\nenabled = yes\nbindaddr = {_LOOPBACK}\n\n"
        switch_on = not self.pbx.ami_enabled or "[general](+)" in written
        users = "\n".join(
            "\n".join(account_lines(account, self.pbx.ami_host)) + "\n" for account in self.accounts
        )
        return marked_block(f"{general if switch_on else ''}{users}", comment=";")

    def _refuse_foreign_user(self, username: str) -> None:
        for file in manager_files(self.pbx.manager):
            content = peek(file)
            foreign = content.replace(block_in(content), "")
            if re.search(rf"^\s*\[{re.escape(username)}\]", foreign, re.MULTILINE):
                raise SetupError(
                    f"{file}: has an AMI user {username} already; remove it, or name another in "
                    "evolvex.conf"
                )


def account_lines(account: Account, ami_host: str) -> list[str]:
    """The section of manager.conf that makes an AMI user; `ami_host` is where AMI listens."""
    permitted = dict.fromkeys((_LOOPBACK, ami_host))
    return [
        f"[{account.username}]",
        f"secret = {account.settings.secret}",
        "deny = 0.0.0.0/0.0.0.0",
        *(f"permit = {address}/255.255.255.255" for address in permitted if ":" not in address),
        f"write = {account.write}",
        f"read = {account.read}",
        *(f"eventfilter = Event: {event}" for event in account.events),
        # Milliseconds; the default of 100 is short for the Status of hundreds of channels.
        "writetimeout = 5000",
    ]


def manager_files(manager: Path) -> list[Path]:
    """manager.conf and the files that it includes, directly."""
    found = [manager]
    for name in re.findall(r'^\s*#(?:try)?include\s+"?([^"\n;]+?)"?\s*$', peek(manager), re.M):
        found += map(Path, sorted(glob.glob(str(manager.parent / name))))  # noqa: PTH207  # absolute too
    return found


def reload_manager() -> None:
    """Make Asterisk read its AMI users again, if it runs. Raises SetupError."""
    if asterisk_runs():
        commands.run("asterisk", "-rx", "manager reload")


def undo(file: str, changes: Changes) -> str:
    """Take the accounts out of a file; Asterisk may be stopped or gone."""
    changes.on_rollback(reload_manager)
    # Of manager.d, Asterisk includes what is there; any other file is included by its name.
    changes.remove_block(Path(file), drop_empty=Path(file).parent.name == "manager.d")
    reload_manager()
    return f"{file}: AMI users removed"
