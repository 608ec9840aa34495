"""All checks, in the order in which they are printed."""

from __future__ import annotations

import os
from collections.abc import Iterator

from evolvex_api.config import Config
from evolvex_api.doctor import backends, configuration, host, sandbox, storage, web
from evolvex_api.doctor.findings import Check, Finding, run

# What the service itself meets.
INSIDE: tuple[Check, ...] = (
    configuration.check_files,
    configuration.check_calls,
    configuration.check_bind,
    backends.check_ami,
    backends.check_events_login,
    backends.check_call_log,
    storage.check_recordings,
    storage.check_folders,
    storage.check_decoder,
)
_OUTSIDE: tuple[Check, ...] = (
    host.check_services,
    host.check_keys_in_logs,
    host.check_groups,
    host.check_fail2ban,
    host.check_dialplan,
)


def inside(config: Config) -> Iterator[Finding]:
    """What the service's own dependencies show, from where this process stands."""
    return run(INSIDE, config)


def examine(config: Config, url: str) -> Iterator[Finding]:
    """Run every check; as root those of the service within its unit's sandbox."""
    if os.geteuid() == 0:
        yield from sandbox.examine(config.path)
    else:
        yield from inside(config)
    yield from run((web.check_route(url), web.check_clients), config)
    if os.geteuid() == 0:
        yield from run(_OUTSIDE, config)
