"""setup: connect the service to the PBX on this host, and take that back."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from evolvex_api import config as configuration
from evolvex_api.backends import access_store
from evolvex_api.backends.access_files import AccessFileError, AccessFiles
from evolvex_api.cli.common import config_option, fail
from evolvex_api.config import Config
from evolvex_api.setup import SetupError, host, steps
from evolvex_api.setup.changes import Changes
from evolvex_api.setup.steps import Step

_TOUCHED = "setup.files"


@click.command()
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@click.option("--remove", is_flag=True, help="Undo what an earlier setup did to other programs.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--web",
    type=click.Choice(["nginx", "apache2", "none"]),
    help="The web server to use; found by itself when not given.",
)
@click.option(
    "--site",
    type=click.Path(path_type=Path, exists=True, dir_okay=False, resolve_path=True),
    help="nginx's file of the site that is to serve the API.",
)
@click.option(
    "--context",
    "contexts",
    multiple=True,
    default=("*",),
    show_default=True,
    help="A context that the first key may use; may be repeated.",
)
@config_option
def setup(  # noqa: PLR0913, PLR0917  # click passes every option
    dry_run: bool,
    remove: bool,
    yes: bool,
    web: str | None,
    site: Path | None,
    contexts: tuple[str, ...],
    config_path: Path,
) -> None:
    """Find Asterisk, its call log and the web server on this host, and connect the service to them.

    Shows what it will do and asks first. May be run again at any time. Whatever fails, the host
    stays as it was. Ends with `doctor`, and with a first key when there is no API user yet.
    """
    if os.geteuid() != 0:
        fail("setup must be run as root", 1)
    config = configuration.load(config_path)
    try:
        found = _steps(config, web, site)
        if remove:
            _remove(config, found, dry_run)
            return
        _set_up(config, found, dry_run, yes)
    except SetupError as error:
        fail(str(error), 1)
    if not dry_run:
        _first_key(config, contexts)
        _end_with_doctor(config_path)


def _steps(config: Config, web: str | None, site: Path | None) -> list[Step]:
    """Look at the host; what there is to do, in order. SetupError when a piece is missing."""
    pbx = host.find_pbx()
    reader = steps.CallLogReader(config, host.find_database())
    uploads = steps.UploadsFolder(config.uploads.directory)
    settings = {
        key: value
        for key, value in (_pbx_settings(config, pbx) | reader.settings()).items()
        if str(getattr(getattr(config, key[0]), key[1])) != value
    }
    # The unit's sandbox takes in a new folder only when the service starts.
    restart = bool(uploads.plan())
    found: list[Step] = [
        steps.AmiUser(pbx, config.ami.username, config.ami.secret),
        reader,
        uploads,
        steps.Configuration(config.path, settings, restart),
    ]
    return [*found, *_web_step(web or host.find_web_server(), site)]


def _pbx_settings(config: Config, pbx: host.Pbx) -> steps.Settings:
    settings = {("ami", "host"): pbx.ami_host, ("ami", "port"): pbx.ami_port}
    if not config.recordings.root.is_dir():
        settings["recordings", "root"] = str(pbx.recordings)
    if config.uploads.directory.parent != pbx.data / "sounds":
        # Asterisk looks for sounds elsewhere, but takes an absolute path too.
        settings["uploads", "playback_prefix"] = str(config.uploads.directory)
    return settings


def _web_step(web: str, site: Path | None) -> list[Step]:
    if web == "nginx":
        return [steps.Nginx(site or host.find_nginx_site())]
    if web == "apache2":
        return [steps.Apache()]
    if not web:
        click.echo("neither nginx nor Apache runs here: the API stays reachable by its socket only")
    return []


def _set_up(config: Config, found: list[Step], dry_run: bool, yes: bool) -> None:
    plans = [(step, step.plan()) for step in found]
    lines = [line for _, plan in plans for line in plan]
    click.echo("To do:" if lines else "Everything is set up already.")
    for line in lines:
        click.echo(f"  {line}")
    if dry_run or not lines:
        return
    if not yes and sys.stdin.isatty():
        click.confirm("Do it?", default=True, abort=True)
    changes = Changes()
    with _all_or_nothing(changes):
        for step, plan in plans:
            if plan:
                step.apply(changes)
        _note_touched(config, changes, found)
    click.echo("Done.")


def _remove(config: Config, found: list[Step], dry_run: bool) -> None:
    if dry_run:
        click.echo("setup --remove would undo what setup did; run it without --dry-run")
        return
    changes = Changes()
    with _all_or_nothing(changes):
        for step in reversed(found):
            for line in step.undo(changes):
                click.echo(line)
        (config.path.parent / _TOUCHED).unlink(missing_ok=True)
    click.echo("Done. Configuration, keys and sounds are kept.")


@contextlib.contextmanager
def _all_or_nothing(changes: Changes) -> Iterator[None]:
    try:
        yield
    except BaseException:
        click.echo("Failed; taking everything back.", err=True)
        for failure in changes.roll_back():
            click.echo(f"  not taken back: {failure}", err=True)
        raise


def _note_touched(config: Config, changes: Changes, found: list[Step]) -> None:
    """List the other programs' files for the package's purge, when setup can't run any more."""
    files = [step.pbx.ami_file for step in found if isinstance(step, steps.AmiUser)]
    files += [step.site for step in found if isinstance(step, steps.Nginx)]
    changes.write(config.path.parent / _TOUCHED, "".join(f"{file}\n" for file in files))


def _first_key(config: Config, contexts: tuple[str, ...]) -> None:
    files = AccessFiles(config.path)
    # A broken file is somebody's too; doctor, at the end, tells of it.
    if files.users() or access_store.load(config.path).problems:
        return
    try:
        if not files.groups():
            files.add_group("default", "made by setup")
            for context in contexts:
                files.allow("default", context, "")
        group = files.groups()[0][1]
        key = files.add_user("first", group, "made by setup", None)
    except AccessFileError as error:
        fail(str(error), 1)
    click.echo(f"API user `first` of group `{group.name}`; its key, shown only now: {key}")


def _end_with_doctor(config_path: Path) -> None:
    command = [sys.argv[0], "doctor", "--config", str(config_path)]
    raise SystemExit(subprocess.run(command, check=False).returncode)
