"""setup: connect the service to the PBX on this host, and take that back."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import click

from evolvex_api import config as configuration
from evolvex_api.backends import access_store
from evolvex_api.backends.access_files import AccessFileError, AccessFiles
from evolvex_api.cli.common import config_option, fail
from evolvex_api.config import Config
from evolvex_api.setup import SetupError, record
from evolvex_api.setup.changes import Changes
from evolvex_api.setup.plan import Choices, Found, look
from evolvex_api.setup.record import Record
from evolvex_api.setup.steps import UNDO
from evolvex_api.setup.steps.base import Step

# Exit code of --dry-run when there is work to do.
_WORK = 2


@dataclass(frozen=True)
class Mode:
    """How to do it: only look, ask nothing, print JSON; and where a first key comes from."""

    dry_run: bool = False
    yes: bool = False
    as_json: bool = False
    key_file: Path | None = None
    contexts: tuple[str, ...] = ("*",)


@click.command(short_help="Set the service up on a PBX host.")
@click.option("--dry-run", is_flag=True, help="Only show what would be done; exit 2 if anything.")
@click.option("--remove", is_flag=True, help="Undo what an earlier setup did to other programs.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print the steps as JSON; implies --yes.")
@click.option(
    "--web",
    type=click.Choice(["nginx", "apache2", "none"]),
    help="The web server to use; found by itself when not given.",
)
@click.option(
    "--site",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="nginx's file of the site that is to serve the API.",
)
@click.option(
    "--public/--private",
    default=None,
    help="Answer all addresses, or private ones alone (the default; later: as it is).",
)
@click.option(
    "--context",
    "contexts",
    multiple=True,
    default=("*",),
    show_default=True,
    help="A context that the first key may use; may be repeated.",
)
@click.option(
    "--api-key-file",
    "key_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True),
    help="A file that holds the first user's key (- for standard input); else one is made.",
)
@config_option
def setup(  # noqa: PLR0913, PLR0917  # click passes every option
    dry_run: bool,
    remove: bool,
    yes: bool,
    as_json: bool,
    web: str | None,
    site: Path | None,
    public: bool | None,
    contexts: tuple[str, ...],
    key_file: Path | None,
    config_path: Path,
) -> None:
    """Find Asterisk, its call log and the web server on this host, and connect the service to them.

    Shows what it will do and asks first. May be run again at any time. Whatever fails, the host
    stays as it was. Ends with `doctor`, and with a first key when there is no API user yet.
    """
    if os.geteuid() != 0:
        fail("setup must be run as root", 1)
    mode = Mode(dry_run, yes or as_json, as_json, key_file, contexts)
    config = configuration.load(config_path)
    _end_on_signals()
    try:
        if remove:
            _remove(config, mode)
            return
        _set_up(config, Choices(web, site.absolute() if site else None, public), mode)
    except SetupError as error:
        fail(str(error), 1)
    except (OSError, subprocess.SubprocessError) as error:
        fail(f"setup failed: {error}", 1)


def _set_up(config: Config, choices: Choices, mode: Mode) -> None:
    found = look(config, choices)
    plans = [(step, step.plan()) for step in found.steps]
    work = any(plan for _, plan in plans)
    _show(plans, found.remarks, mode)
    if mode.dry_run:
        raise SystemExit(_WORK if work else 0)
    if work:
        if not mode.yes and sys.stdin.isatty():
            click.confirm("Do it?", default=True, abort=True)
        _apply(config, plans)
    if mode.as_json:
        _print_json(plans, done=True)
    elif work:
        click.echo("Done.")
    _finish(config, found, mode)


def _apply(config: Config, plans: list[tuple[Step, list[str]]]) -> None:
    with _all_or_nothing() as changes:
        records = record.load(config.path.parent)
        for step, plan in plans:
            if plan:
                step.apply(changes)
            records += step.records()
        changes.write(config.path.parent / record.NAME, record.as_text(records), owner=(0, 0))


def _remove(config: Config, mode: Mode) -> None:
    records = record.load(config.path.parent)
    if mode.dry_run:
        for one in reversed(records):
            click.echo(f"would undo: {one.kind} {one.value}")
        raise SystemExit(_WORK if records else 0)
    with _all_or_nothing() as changes:
        for one in reversed(records):
            _undo(one, changes)
        for name in record.NAMES:
            if (config.path.parent / name).exists():
                changes.write(config.path.parent / name, None)
    click.echo("Done. Configuration, keys and sounds are kept.")


def _undo(one: Record, changes: Changes) -> None:
    try:
        click.echo(UNDO[one.kind](one.value, changes))
    except KeyError:
        raise SetupError(f"{record.NAME}: {one.kind!r} is of another version") from None
    except OSError as error:
        raise SetupError(f"{one.value}: {error.strerror}") from None


@contextlib.contextmanager
def _all_or_nothing() -> Iterator[Changes]:
    """Changes that are kept when the block ends well, and else taken back, whatever happened."""
    changes = Changes()
    try:
        yield changes
    except BaseException:
        _ignore_signals()
        click.echo("Failed; taking everything back.", err=True)
        for failure in changes.roll_back():
            click.echo(f"  not taken back: {failure}", err=True)
        raise
    changes.keep()


_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _end_on_signals() -> None:
    """A closed terminal or a kill ends setup as an exception does: everything is taken back."""

    def end(number: int, _frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    for one in _ENDING:
        signal.signal(one, end)


def _ignore_signals() -> None:
    for one in _ENDING:
        signal.signal(one, signal.SIG_IGN)


def _show(plans: list[tuple[Step, list[str]]], remarks: Sequence[str], mode: Mode) -> None:
    if mode.as_json:
        if mode.dry_run:
            _print_json(plans, done=False)
        return
    lines = [line for _, plan in plans for line in plan]
    click.echo("To do:" if lines else "Everything is set up already.")
    for line in lines:
        click.echo(f"  {line}")
    for remark in remarks:
        click.echo(f"  note: {remark}")


def _print_json(plans: list[tuple[Step, list[str]]], done: bool) -> None:
    steps = [{"step": step.name, "plan": plan, "done": done or not plan} for step, plan in plans]
    click.echo(json.dumps(steps, ensure_ascii=False))


def _finish(config: Config, found: Found, mode: Mode) -> NoReturn:
    """A first key, a first request to try, and doctor."""
    key = first_key(config, mode)
    if mode.as_json:
        raise SystemExit(0)
    url = found.url or "http://localhost/pbx/api/index/check"
    if key:
        click.echo(f"API user `first`; its key, shown only now: {key}")
    socket = "" if found.url else "--unix-socket /run/evolvex-api/gunicorn.sock "
    click.echo(f"URL: {url.removesuffix('/check')}")
    click.echo(f"Try: curl {socket}-H 'X-API-Key: {key or 'KEY'}' {url}")
    command = [sys.argv[0], "doctor", "--config", str(config.path)]
    if found.url:
        command += ["--url", url]
    sys.stdout.flush()
    raise SystemExit(subprocess.run(command, check=False).returncode)


def first_key(config: Config, mode: Mode) -> str:
    """Make a first API user when there is none, and return its key; '' when there is one."""
    files = AccessFiles(config.path)
    # A broken file is somebody's too; doctor, at the end, reports it.
    if files.users() or access_store.load(config.path).problems:
        return ""
    given = _given_key(mode.key_file)
    try:
        if not files.groups():
            files.add_group("default", "made by setup")
            for context in mode.contexts:
                files.allow("default", context, "")
        group = files.groups()[0][1]
        return files.add_user("first", group, "made by setup", given)
    except AccessFileError as error:
        fail(str(error), 1)


def _given_key(file: Path | None) -> str | None:
    if file is None:
        return None
    if str(file) == "-":
        return sys.stdin.readline().strip()
    return file.read_text(encoding="utf-8").strip()
