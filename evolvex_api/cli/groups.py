"""group add|allow|deny|list|remove."""

from __future__ import annotations

from pathlib import Path

import click

from evolvex_api.backends import access_store
from evolvex_api.backends.access_files import AccessFiles
from evolvex_api.cli.common import config_option, report_problems


@click.group()
def group() -> None:
    """Groups of API users, and the routing contexts granted to them."""


@group.command()
@click.argument("name")
@click.option("--description", default="", help="A note for people.")
@config_option
def add(name: str, description: str, config_path: Path) -> None:
    """Make a group that grants nothing yet; prints its uuid."""
    click.echo(AccessFiles(config_path).add_group(name, description).uuid)


@group.command()
@click.argument("group_name", metavar="GROUP")
@click.argument("context")
@click.option("--description", default="", help="A note for people.")
@config_option
def allow(group_name: str, context: str, description: str, config_path: Path) -> None:
    """Grant a routing context to a group; * grants every context."""
    AccessFiles(config_path).allow(group_name, context, description)


@group.command()
@click.argument("group_name", metavar="GROUP")
@click.argument("context")
@config_option
def deny(group_name: str, context: str, config_path: Path) -> None:
    """Take a routing context away from a group."""
    AccessFiles(config_path).deny(group_name, context)


@group.command("list")
@config_option
def list_(config_path: Path) -> None:
    """List the groups with their contexts; exit 78 if a file is broken."""
    for _, found in AccessFiles(config_path).groups():
        contexts = ", ".join(granted.name for granted in found.accesses) or "(no context)"
        click.echo(f"{found.name}\t{contexts}\t{found.description}")
    report_problems(access_store.load(config_path))


@group.command()
@click.argument("group_name", metavar="GROUP")
@config_option
def remove(group_name: str, config_path: Path) -> None:
    """Remove a group that no user is in."""
    AccessFiles(config_path).remove_group(group_name)
