"""upgrade-host: what an upgrade from version 1.0 changes on the host; run by the package."""

from __future__ import annotations

import grp
from pathlib import Path

import click

from evolvex_api import config as configuration
from evolvex_api.cli.common import config_option
from evolvex_api.setup import SetupError, commands, files, record
from evolvex_api.setup.changes import Changes
from evolvex_api.setup.steps import nginx, recordings, sounds
from evolvex_api.setup.steps.base import PBX_GROUP, WEB_USER
from evolvex_api.setup.steps.web import apache_clients, nginx_clients


@click.command("upgrade-host", hidden=True)
@config_option
def upgrade_host(config_path: Path) -> None:
    """Move the sounds of version 1.0, take www-data out of Asterisk's group, keep the route open.

    What fails is reported and left as it was; the service runs without it.
    """
    config = configuration.load(config_path)
    old = record.load(config_path.parent)
    for change in (_move_sounds, _keep_clients, _leave_group):
        changes = Changes()
        try:
            change(config, old, changes)
        except (SetupError, OSError) as error:
            click.echo(f"evolvex-api: {error}; run: evolvex-api setup", err=True)
            changes.roll_back()
        else:
            changes.keep()


def _move_sounds(config: configuration.Config, _old: list[record.Record], changes: Changes) -> None:
    """Into the new folder; a link stays where they were, for dialplans that name the path."""
    folder, place = sounds.DEFAULT_FOLDER, sounds.OLD_FOLDER
    configured = config.uploads.directory
    if configured not in {folder, place} or not files.exists(place):
        return
    if files.link_target(place) is not None:
        return
    sounds.make_folder(folder, changes)
    sounds.move_sounds(place, folder, sounds.service_owner(), changes)
    changes.replaced(files.set_aside(place))
    changes.replaced(files.make_link(place, str(folder.parent / sounds.ALIAS)))


def _keep_clients(config: configuration.Config, old: list[record.Record], changes: Changes) -> None:
    """Version 1.0's route answered everybody, and somebody may rely on it."""
    folder = config.path.parent
    for clients, kind in ((nginx_clients(folder), "nginx"), (apache_clients(folder), "apacheconf")):
        if any(one.kind == kind for one in old):
            clients.apply(changes, public=True)


def _leave_group(config: configuration.Config, old: list[record.Record], changes: Changes) -> None:
    """www-data reads recordings by an ACL from now on, and Asterisk's secrets no more."""
    by_setup = any(one.kind == "nginx" for one in old)
    try:
        if not by_setup or WEB_USER not in grp.getgrnam(PBX_GROUP).gr_mem:
            return
    except KeyError:
        return
    back = ("gpasswd", "--add", WEB_USER, PBX_GROUP)
    changes.run("gpasswd", "--delete", WEB_USER, PBX_GROUP, undo=back)
    records = [*old]
    for root in (config.recordings.root, config.mp3.cache_dir):
        if root.is_dir() and recordings.supported(root):
            step = recordings.ReadableRecordings(root)
            if step.plan():
                step.apply(changes)
            records += step.records()
    changes.write(config.path.parent / record.NAME, record.as_text(records), owner=(0, 0))
    if commands.succeeds("systemctl", "--quiet", "is-active", "nginx"):
        nginx.reload()
