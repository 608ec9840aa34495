"""sounds list|remove."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from evolvex_api import config as configuration
from evolvex_api.backends.access_files import AccessFiles
from evolvex_api.backends.failures import BackendFailure
from evolvex_api.backends.sounds import Sounds
from evolvex_api.cli.common import config_option, fail


@click.group()
def sounds() -> None:
    """Uploaded sounds."""


@sounds.command("list")
@click.option("--group", "group_name", help="Only those of a group, by name or uuid.")
@config_option
def list_(group_name: str | None, config_path: Path) -> None:
    """List the sounds, oldest first: uuid, group, time, seconds, bytes on disk, name."""
    files = AccessFiles(config_path)
    names = {group.uuid: group.name for _, group in files.groups()}
    group_uuid = files.group(group_name)[1].uuid if group_name else None
    try:
        found = _sounds(config_path).list(group_uuid)
    except BackendFailure as error:
        fail(str(error), 1)
    for one in found:
        group = names.get(one.group_uuid, one.group_uuid or "-")
        created = datetime.fromtimestamp(one.created).isoformat(" ", "seconds")
        sound = one.sound
        click.echo(
            f"{sound.uuid}\t{group}\t{created}\t{sound.duration}\t{one.stored}\t{sound.name}"
        )


@sounds.command()
@click.argument("uuid")
@config_option
def remove(uuid: str, config_path: Path) -> None:
    """Remove a sound by its uuid, as list prints it."""
    try:
        _sounds(config_path).remove(uuid)
    except BackendFailure as error:
        fail(str(error), 1)


def _sounds(config_path: Path) -> Sounds:
    return Sounds(configuration.load(config_path).uploads)
