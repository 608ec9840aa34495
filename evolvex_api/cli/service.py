"""serve and check-config."""

from __future__ import annotations

from pathlib import Path

import click

from evolvex_api import config as configuration
from evolvex_api.backends import access_store
from evolvex_api.cli.common import become_service_user, config_option, report_problems


@click.command()
@config_option
def serve(config_path: Path) -> None:
    """Serve the API; SIGTERM ends it, SIGHUP reloads it."""
    # Only here: the other commands need neither gunicorn nor flask.
    from evolvex_api import server  # noqa: PLC0415

    server.serve(config_path)


@click.command()
@config_option
def events(config_path: Path) -> None:
    """Serve live calls and webhooks; SIGTERM ends it."""
    from evolvex_api import server  # noqa: PLC0415
    from evolvex_api.events import app  # noqa: PLC0415

    app.require_secret(configuration.load(config_path))
    server.serve(config_path, app.SERVICE)


@click.command("check-config")
@config_option
def check_config(config_path: Path) -> None:
    """Check configuration, users and groups; exit 78 on a fault."""
    # A file that root alone can read is as good as missing.
    become_service_user()
    configuration.load(config_path)
    book = access_store.load(config_path)
    report_problems(book)
    click.echo(f"{config_path}: good; {len(book.users)} users, {len(book.groups)} groups")
