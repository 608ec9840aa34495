"""user add|list|show|set|enable|disable|rotate-key|remove."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TextIO

import click

from evolvex_api.backends import access_store
from evolvex_api.backends.access_files import AccessFileError, AccessFiles
from evolvex_api.cli.common import config_option, report_problems
from evolvex_api.core.access import Group, User

NO_GROUP = "(no such group)"


@click.group()
def user() -> None:
    """API users and their keys."""


@user.command()
@click.argument("name")
@click.option("--group", "group_name", required=True, help="The group, by name or uuid.")
@click.option("--description", default="", help="A note for people.")
@click.option("--api-key", help="A key that clients have already; other users see it in `ps`.")
@click.option(
    "--api-key-file",
    "key_file",
    type=click.File(encoding="utf-8-sig"),
    help="A file with a key that clients have already; - reads standard input.",
)
@click.option("--exist-ok", is_flag=True, help="Change nothing if the group has this user already.")
@config_option
def add(  # noqa: PLR0913, PLR0917  # click passes an argument for each option
    name: str,
    group_name: str,
    description: str,
    api_key: str | None,
    key_file: TextIO | None,
    exist_ok: bool,
    config_path: Path,
) -> None:
    """Make a user and print its key, this once."""
    if api_key and key_file:
        raise click.UsageError("--api-key and --api-key-file exclude each other.")
    files = AccessFiles(config_path)
    _, group = files.group(group_name)
    if exist_ok and any(name == found.name for _, found in files.users()):
        _, known = files.user(name)
        if known.group_uuid != group.uuid:
            raise AccessFileError(f"there is a user {name!r} already, in another group")
        click.echo(f"evolvex-api: user {name!r} is there already; its key stays", err=True)
        return
    key = _only_line(key_file) if key_file else api_key
    click.echo(files.add_user(name, group, description, key))


def _only_line(file: TextIO) -> str:
    # A key file of any length must not fill the memory; the longest key has 128 characters.
    text = file.read(1024).strip()
    if not text:
        raise AccessFileError("the file of the key is empty")
    return text


@user.command("list")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@config_option
def list_(as_json: bool, config_path: Path) -> None:
    """List the users; exit 78 if a file is broken.

    A line has name, enabled or disabled, group and description, between tabs.
    """
    files = AccessFiles(config_path)
    groups = {group.uuid: group for _, group in files.groups()}
    found = [(path, one, groups.get(one.group_uuid)) for path, one in files.users()]
    if as_json:
        shown = [_described(path, one, group) for path, one, group in found]
        click.echo(json.dumps(shown, ensure_ascii=False, indent=2))
    else:
        for _, one, group in found:
            enabled = "enabled" if one.enabled else "disabled"
            group_name = group.name if group else NO_GROUP
            click.echo(f"{one.name}\t{enabled}\t{group_name}\t{one.description}")
    report_problems(access_store.load(config_path))


@user.command()
@click.argument("name")
@config_option
def show(name: str, config_path: Path) -> None:
    """Show a user; its key is stored nowhere."""
    files = AccessFiles(config_path)
    path, found = files.user(name)
    groups = {group.uuid: group for _, group in files.groups()}
    for key, value in _described(path, found, groups.get(found.group_uuid)).items():
        click.echo(f"{key}: {value}")


def _described(path: Path, found: User, group: Group | None) -> dict[str, str]:
    return {
        "name": found.name,
        "uuid": found.uuid,
        "description": found.description,
        "enable": "yes" if found.enabled else "no",
        "group": group.name if group else NO_GROUP,
        "group_uuid": found.group_uuid,
        "allowed_from": ", ".join(str(network) for network in found.allowed_from),
        "expires": str(found.expires or ""),
        "file": str(path),
    }


@user.command("set")
@click.argument("name")
@click.argument("key")
@click.argument("value", required=False)
@click.option("--unset", is_flag=True, help="Remove the key instead.")
@config_option
def set_(name: str, key: str, value: str | None, unset: bool, config_path: Path) -> None:
    """Set description, allowed_from or expires.

    \b
    evolvex-api user set crm allowed_from 10.0.0.0/8,192.168.1.5
    evolvex-api user set crm expires 2027-01-31
    """
    AccessFiles(config_path).set_user(name, key, given_value(value, unset))


def given_value(value: str | None, unset: bool) -> str | None:
    """The value of a `set` command, None for --unset; click.UsageError unless one is given."""
    if (value is None) != unset:
        raise click.UsageError("Give a value, or --unset without one.")
    return value


@user.command()
@click.argument("name")
@config_option
def enable(name: str, config_path: Path) -> None:
    """Let a user in again."""
    AccessFiles(config_path).set_enabled(name, True)


@user.command()
@click.argument("name")
@config_option
def disable(name: str, config_path: Path) -> None:
    """Shut a user out; its key is kept."""
    AccessFiles(config_path).set_enabled(name, False)


@user.command("rotate-key")
@click.argument("name")
@config_option
def rotate_key(name: str, config_path: Path) -> None:
    """Print a new key; the old one is void at once."""
    click.echo(AccessFiles(config_path).rotate_key(name))


@user.command()
@click.argument("name")
@config_option
def remove(name: str, config_path: Path) -> None:
    """Remove a user."""
    AccessFiles(config_path).remove_user(name)
