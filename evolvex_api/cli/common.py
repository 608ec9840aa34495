"""What the commands share: the option --config, and failures as one line and an exit code."""

from __future__ import annotations

import functools
import os
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from evolvex_api import config as configuration
from evolvex_api.backends.access_files import AccessFileError
from evolvex_api.backends.failures import StorageUnavailable
from evolvex_api.config import ConfigError
from evolvex_api.core.access import AccessBook
from evolvex_api.events.webhooks import WebhookError

# sysexits.h: EX_CONFIG, "something was found in an unconfigured or misconfigured state".
EXIT_CONFIG = 78
_SERVICE_USER = "evolvex"

_Command = TypeVar("_Command", bound=Callable[..., Any])


def config_option(command: _Command) -> _Command:
    """Add --config PATH, passed on as `config_path`, and turn known failures into exit codes."""

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except ConfigError as error:
            fail(str(error), EXIT_CONFIG)
        except (AccessFileError, WebhookError, StorageUnavailable) as error:
            fail(str(error), 1)

    option = click.option(
        "--config",
        "config_path",
        type=click.Path(path_type=Path, dir_okay=False),
        default=configuration.default_path,
        show_default=f"${configuration.PATH_VARIABLE} or {configuration.DEFAULT_PATH}",
        help="The configuration file; users.d and groups.d lie beside it.",
    )
    return option(guarded)  # type: ignore[return-value]  # functools.wraps keeps the signature


def become_service_user() -> None:
    """Run the rest with the rights of the service's user, when root runs it where there is one."""
    try:
        user = pwd.getpwnam(_SERVICE_USER)
    except KeyError:
        return
    if os.geteuid() == 0:
        os.setgroups(os.getgrouplist(user.pw_name, user.pw_gid))
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)


def report_problems(book: AccessBook) -> None:
    """Say which users and groups files are wrong, and end with EXIT_CONFIG if any is."""
    for problem in book.problems:
        click.echo(f"evolvex-api: {problem}", err=True)
    if book.problems:
        raise SystemExit(EXIT_CONFIG)


def fail(message: str, code: int) -> NoReturn:
    """Say what went wrong on standard error and end with an exit code."""
    click.echo(f"evolvex-api: {message}", err=True)
    raise SystemExit(code)
