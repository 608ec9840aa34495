"""The command `evolvex-api`: a file per command group, put together here."""

from __future__ import annotations

import click

from evolvex_api import __version__
from evolvex_api.cli.doctor import doctor
from evolvex_api.cli.groups import group
from evolvex_api.cli.service import check_config, events, serve
from evolvex_api.cli.setup import setup
from evolvex_api.cli.sounds import sounds
from evolvex_api.cli.upgrade import upgrade_host
from evolvex_api.cli.users import user
from evolvex_api.cli.webhooks import webhook


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="evolvex-api")
def main() -> None:
    """HTTP API of an Asterisk PBX.

    Shell completion: eval "$(_EVOLVEX_API_COMPLETE=bash_source evolvex-api)"
    """


for command in (
    *(serve, events, check_config, doctor, setup, upgrade_host),
    *(user, group, webhook, sounds),
):
    main.add_command(command)
