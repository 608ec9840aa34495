"""user add|list|show|enable|disable|rotate-key|remove."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from evolvex_api.backends import access_store
from evolvex_api.backends.access_files import AccessFiles
from evolvex_api.cli.common import config_option, report_problems


@click.group()
def user() -> None:
    """API users and their keys."""


@user.command()
@click.argument("name")
@click.option("--group", "group_name", required=True, help="The group, by name or uuid.")
@click.option("--description", default="", help="A note for people.")
@click.option("--api-key", help="Use this key instead of a new one (for clients that have it).")
@config_option
def add(
    name: str, group_name: str, description: str, api_key: str | None, config_path: Path
) -> None:
    """Make a user; its key, alone on standard output, is shown this once."""
    files = AccessFiles(config_path)
    click.echo(files.add_user(name, files.group(group_name)[1], description, api_key))


@user.command("list")
@config_option
def list_(config_path: Path) -> None:
    """List the users: name, enabled, group, description; exit 78 if a file is broken."""
    files = AccessFiles(config_path)
    groups = {group.uuid: group.name for _, group in files.groups()}
    for _, found in files.users():
        enabled = "enabled" if found.enabled else "disabled"
        group = groups.get(found.group_uuid, "(no such group)")
        click.echo(f"{found.name}\t{enabled}\t{group}\t{found.description}")
    report_problems(access_store.load(config_path))


@user.command()
@click.argument("name")
@config_option
def show(name: str, config_path: Path) -> None:
    """Show a user (by name or uuid); the key itself is stored nowhere."""
    files = AccessFiles(config_path)
    path, found = files.user(name)
    click.echo(f"name: {found.name}\nuuid: {found.uuid}\ndescription: {found.description}")
    click.echo(f"enabled: {'yes' if found.enabled else 'no'}\ngroup: {found.group_uuid}")
    click.echo(f"file: {path}")


@user.command()
@click.argument("name")
@config_option
def enable(name: str, config_path: Path) -> None:
    """Let a user in again."""
    _set_enabled(name, config_path, True)


@user.command()
@click.argument("name")
@config_option
def disable(name: str, config_path: Path) -> None:
    """Shut a user out; its key is kept."""
    _set_enabled(name, config_path, False)


@user.command("rotate-key")
@click.argument("name")
@config_option
def rotate_key(name: str, config_path: Path) -> None:
    """Give a user a new key, alone on standard output; the old one is void at once."""
    click.echo(AccessFiles(config_path).rotate_key(name))


@user.command()
@click.argument("name")
@config_option
def remove(name: str, config_path: Path) -> None:
    """Remove a user."""
    AccessFiles(config_path).remove_user(name)


def _set_enabled(name: str, config_path: Path, enabled: bool) -> None:
    files = AccessFiles(config_path)
    path, found = files.user(name)
    files.write_user(path, replace(found, enabled=enabled))
