"""webhook add|list|show|test|enable|disable|rotate-secret|failures|replay|remove."""

from __future__ import annotations

import json
import re
import time
import uuid
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import click

from evolvex_api import config as configuration
from evolvex_api.backends.access_files import AccessFiles
from evolvex_api.cli.common import EXIT_CONFIG, config_option, fail
from evolvex_api.cli.identity import become_owner
from evolvex_api.events import webhooks
from evolvex_api.events.call import local_time
from evolvex_api.events.delivery import test_message
from evolvex_api.events.post import DeliveryError
from evolvex_api.events.store import Store
from evolvex_api.events.webhooks import WebhookFiles

_SPAN = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@click.group()
def webhook() -> None:
    """Receivers of call events (docs/events.md)."""


@webhook.command()
@click.argument("name")
@click.option("--group", "group_name", required=True, help="Whose calls; a group's name or uuid.")
@click.option("--url", required=True, help="http://… or https://…")
@click.option("--types", default="", help="Event types between commas; all when left out.")
@config_option
def add(name: str, group_name: str, url: str, types: str, config_path: Path) -> None:
    """Make a webhook; its secret, alone on standard output, is what the receiver verifies with."""
    group = AccessFiles(config_path).group(group_name)[1]
    click.echo(WebhookFiles(config_path).add(name, url, group.uuid, types).secret)


@webhook.command("list")
@config_option
def list_(config_path: Path) -> None:
    """List the webhooks: name, state, URL; exit 78 if a file is broken."""
    found, problems = webhooks.load(config_path)
    for name, one in found.items():
        click.echo(f"{name}\t{'enabled' if one.enabled else 'disabled'}\t{one.url}")
    for problem in problems:
        click.echo(f"evolvex-api: {problem}", err=True)
    if problems:
        raise SystemExit(EXIT_CONFIG)


@webhook.command()
@click.argument("name")
@config_option
def show(name: str, config_path: Path) -> None:
    """Show a webhook, but not its secret."""
    one = WebhookFiles(config_path).get(name)
    click.echo(f"name: {one.name}\nurl: {one.url}\ngroup: {one.group_uuid}")
    click.echo(f"types: {', '.join(sorted(one.types)) or 'all'}\ntimeout: {one.timeout:g} s")
    if one.previous_until:
        click.echo(f"signed with the previous secret too until: {one.previous_until.isoformat()}")
    gone = _store(config_path).gone().get(name) == one.fingerprint
    state = "switched off: the receiver answered 410 Gone" if gone else "enabled"
    click.echo(f"state: {state if one.enabled else 'disabled'}")


@webhook.command()
@click.argument("name")
@config_option
def test(name: str, config_path: Path) -> None:
    """Send a message of the type `webhook.test` now, and show what the receiver answers."""
    one = WebhookFiles(config_path).get(name)
    event_id = f"evt_test_{uuid.uuid4().hex}"
    message = {
        "id": event_id,
        "type": "webhook.test",
        "timestamp": local_time(time.time()),
        "seq": 0,
        "data": None,
        "change": {},
    }
    try:
        reply = test_message(one, event_id, json.dumps(message).encode())
    except DeliveryError as error:
        fail(f"{one.url}: {error}", 1)
    click.echo(f"{one.url}: {reply.status}")
    if not 200 <= reply.status < 300:
        raise SystemExit(1)


@webhook.command()
@click.argument("name")
@config_option
def enable(name: str, config_path: Path) -> None:
    """Switch a webhook on again, also one that a receiver's 410 switched off."""
    _set_enabled(name, config_path, True)


@webhook.command()
@click.argument("name")
@config_option
def disable(name: str, config_path: Path) -> None:
    """Switch a webhook off; what is not delivered yet waits until it is enabled."""
    _set_enabled(name, config_path, False)


@webhook.command("rotate-secret")
@click.argument("name")
@config_option
def rotate_secret(name: str, config_path: Path) -> None:
    """Make a new secret, alone on standard output; for 24 hours the old one signs too."""
    now = datetime.now().astimezone()
    click.echo(WebhookFiles(config_path).rotated(name, now).secret)


@webhook.command()
@click.argument("name")
@config_option
def failures(name: str, config_path: Path) -> None:
    """List what was not delivered: time, event, type, call, attempts, reason."""
    WebhookFiles(config_path).get(name)
    for one in _store(config_path).failures(name):
        click.echo(
            f"{local_time(one.at)}\t{one.id}\t{one.type}\t{one.linkedid}\t{one.attempts}"
            f"\t{one.reason}"
        )


@webhook.command()
@click.argument("name")
@click.option("--since", required=True, help="How long ago (30m, 2h, 1d), or a time (ISO 8601).")
@config_option
def replay(name: str, since: str, config_path: Path) -> None:
    """Have the running service send again what happened since then, as far as it is kept."""
    WebhookFiles(config_path).get(name)
    _store(config_path).ask_replay(name, _moment(since))


@webhook.command()
@click.argument("name")
@config_option
def remove(name: str, config_path: Path) -> None:
    """Remove a webhook, and what waits for it."""
    WebhookFiles(config_path).remove(name)


def _set_enabled(name: str, config_path: Path, enabled: bool) -> None:
    files = WebhookFiles(config_path)
    files.write(replace(files.get(name), enabled=enabled))


def _moment(since: str) -> float:
    span = _SPAN.fullmatch(since)
    if span:
        return time.time() - int(span[1]) * _UNITS[span[2]]
    try:
        return datetime.fromisoformat(since).timestamp()
    except (ValueError, OverflowError):
        fail(f"--since {since!r}: give a span such as 2h, or a time such as 2026-11-24T22:00", 2)


def _store(config_path: Path) -> Store:
    """The service's database."""
    directory = configuration.load(config_path).server.state_dir
    become_owner(directory)
    return Store(directory)
