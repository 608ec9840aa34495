"""group add|allow|deny|set|limits|list|show|remove."""

from __future__ import annotations

import json
from pathlib import Path

import click

from evolvex_api import config as configuration
from evolvex_api.backends import access_store, call_counts
from evolvex_api.backends.access_files import AccessFiles
from evolvex_api.backends.ami.client import Ami
from evolvex_api.backends.failures import PbxUnavailable, StorageUnavailable
from evolvex_api.cli.common import config_option, fail, report_problems
from evolvex_api.cli.users import given_value
from evolvex_api.core.access import Group
from evolvex_api.core.limits import limits_of


@click.group()
def group() -> None:
    """Groups of API users: contexts, rights and limits."""


@group.command()
@click.argument("name")
@click.option("--description", default="", help="A note for people.")
@click.option("--exist-ok", is_flag=True, help="Change nothing if the group is there already.")
@config_option
def add(name: str, description: str, exist_ok: bool, config_path: Path) -> None:
    """Make a group that grants nothing yet; print its uuid."""
    files = AccessFiles(config_path)
    if exist_ok and any(name == found.name for _, found in files.groups()):
        click.echo(files.group(name)[1].uuid)
        return
    click.echo(files.add_group(name, description).uuid)


@group.command()
@click.argument("group_name", metavar="GROUP")
@click.argument("context")
@click.option("--description", help="A note for people; an earlier one stays without it.")
@config_option
def allow(group_name: str, context: str, description: str | None, config_path: Path) -> None:
    """Grant a routing context; * grants every one."""
    AccessFiles(config_path).allow(group_name, context, description)


@group.command()
@click.argument("group_name", metavar="GROUP")
@click.argument("context")
@config_option
def deny(group_name: str, context: str, config_path: Path) -> None:
    """Take a routing context away."""
    AccessFiles(config_path).deny(group_name, context)


@group.command("set")
@click.argument("group_name", metavar="GROUP")
@click.argument("key")
@click.argument("value", required=False)
@click.option("--unset", is_flag=True, help="Remove the key instead.")
@config_option
def set_(group_name: str, key: str, value: str | None, unset: bool, config_path: Path) -> None:
    """Set rights, or a rule or limit of calls and uploads.

    \b
    evolvex-api group set sales originate.max_calls 10
    evolvex-api group set sales originate.numbers _7XXXXXXXXXX,_1XX
    evolvex-api group set sales uploads.quota 200M
    evolvex-api group set sales rights check,status,cdr
    evolvex-api group set sales originate.hours --unset
    """
    AccessFiles(config_path).set_group(group_name, key, given_value(value, unset))


@group.command()
@click.argument("group_name", metavar="GROUP")
@config_option
def limits(group_name: str, config_path: Path) -> None:
    """Show the limits of calls and what is used up."""
    config = configuration.load(config_path)
    _, found = AccessFiles(config_path).group(group_name)
    own = limits_of(found.rules.calls, config.originate)
    try:
        used = call_counts.usage(config.server.state_dir, found.uuid, _live_ids(config))
    except StorageUnavailable as error:
        fail(str(error), 1)
    click.echo(f"max_calls: {used.in_flight} of {own.in_flight}")
    click.echo(f"calls_per_minute: {used.last_minute} of {own.per_minute}")
    click.echo(f"calls_per_day: {used.last_day} of {own.per_day or 'any number'}")
    click.echo(f"calls_per_number_per_day: {own.per_number_per_day or 'any number'}")
    for number, calls in used.numbers:
        click.echo(f"  {number}: {calls}")
    click.echo(f"hours: {found.rules.calls.hours.text if found.rules.calls.hours else 'any'}")


def _live_ids(config: configuration.Config) -> frozenset[str] | None:
    try:
        return Ami(config.ami).status().ids()
    except PbxUnavailable as error:
        click.echo(f"evolvex-api: {error} Calls that have ended may be counted.", err=True)
        return None


@group.command("list")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@config_option
def list_(as_json: bool, config_path: Path) -> None:
    """List the groups; exit 78 if a file is broken.

    A line has name, contexts and description, between tabs.
    """
    groups = AccessFiles(config_path).groups()
    if as_json:
        shown = [_described(path, found) for path, found in groups]
        click.echo(json.dumps(shown, ensure_ascii=False, indent=2))
    else:
        for _, found in groups:
            contexts = ", ".join(granted.name for granted in found.accesses) or "(no context)"
            click.echo(f"{found.name}\t{contexts}\t{found.description}")
    report_problems(access_store.load(config_path))


@group.command()
@click.argument("group_name", metavar="GROUP")
@config_option
def show(group_name: str, config_path: Path) -> None:
    """Show a group: contexts, rights, rules, users."""
    files = AccessFiles(config_path)
    path, found = files.group(group_name)
    for key, value in _described(path, found).items():
        click.echo(f"{key}: {', '.join(value) if isinstance(value, list) else value}")
    members = [one.name for _, one in files.users() if one.group_uuid == found.uuid]
    click.echo(f"users: {', '.join(members)}")


def _described(path: Path, found: Group) -> dict[str, str | list[str]]:
    rules = {
        f"{section}.{key}": value.strip().replace("\n", " ")
        for section, values in access_store.read_rule_texts(path).items()
        for key, value in values.items()
    }
    return {
        "name": found.name,
        "uuid": found.uuid,
        "description": found.description,
        "contexts": [granted.name for granted in found.accesses],
        "rights": sorted(found.rights),
        **rules,
        "file": str(path),
    }


@group.command()
@click.argument("group_name", metavar="GROUP")
@config_option
def remove(group_name: str, config_path: Path) -> None:
    """Remove a group that no user is in."""
    AccessFiles(config_path).remove_group(group_name)
