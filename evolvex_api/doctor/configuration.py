"""evolvex.conf, its drop-ins, users and groups."""

from __future__ import annotations

from collections.abc import Iterator

from evolvex_api import config as configuration
from evolvex_api.backends import access_store
from evolvex_api.config import Config
from evolvex_api.core import advice
from evolvex_api.doctor.findings import Finding


def check_files(config: Config) -> Iterator[Finding]:
    """The configuration's own files, and those of users and groups."""
    names = [config.path, *configuration.drop_ins(config.path)]
    yield Finding("configuration", "ok", ", ".join(map(str, names)))
    book = access_store.load(config.path)
    for problem in book.problems:
        yield Finding("users and groups", "fail", problem, "correct or remove the file")
    enabled = [user.name for user in book.users.values() if user.enabled]
    if enabled:
        yield Finding("users and groups", "ok", f"{len(enabled)} enabled users")
    else:
        fix = (
            "evolvex-api setup makes a first one; or: evolvex-api group add …, group allow …, "
            "user add …"
        )
        yield Finding("users and groups", "warn", "no enabled API user", fix)


def check_calls(config: Config) -> Iterator[Finding]:
    """Groups that may dial any number through a trunk, and groups that can't since an upgrade."""
    book = access_store.load(config.path)
    for group in advice.unbounded_groups(book):
        yield Finding(
            "calls",
            "warn",
            f"a key of group {group.name!r} reaches a trunk without `numbers`",
            f"evolvex-api group set '{group.name}' originate.numbers _7XXXXXXXXXX,_1XX, or as your"
            " numbers are; look for _. in contexts that it may use",
        )
    for group in advice.groups_without_trunks(book):
        yield Finding(
            "calls",
            "ok",
            f"group {group.name!r} dials TECH/name and Local/ alone; trunks need `channels` since"
            f" version 1.1: [originate] {advice.ALLOW_TRUNKS}",
        )


def check_bind(config: Config) -> Iterator[Finding]:
    """A TCP address that other hosts reach has no web server to fend off slow clients."""
    if config.server.public:
        yield Finding(
            "bind",
            "warn",
            f"{config.server.bind} may be reached without a web server in front",
            "remove [server] public, and let nginx or Apache serve the route",
        )
