"""The result of a check, and running checks so that none ends the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from evolvex_api.backends.failures import BackendFailure
from evolvex_api.config import Config

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """The result of one check: what was found, and in `fix` what to do about it."""

    name: str
    state: State
    found: str
    fix: str = ""


Check = Callable[[Config], Iterable[Finding]]


def run(checks: Iterable[Check], config: Config) -> Iterator[Finding]:
    """Every finding of the checks; an exception of a check becomes one."""
    for check in checks:
        try:
            yield from check(config)
        except Exception as error:  # noqa: BLE001  # no check may hide the others
            name = check.__name__.strip("_").replace("_", " ")
            yield Finding(
                name, "fail", f"this check failed: {type(error).__name__}: {error}", "report this"
            )


def cause(error: BackendFailure) -> str:
    """What lies behind a failure, in brackets; '' when nothing is known."""
    return f" ({error.__cause__})" if error.__cause__ else ""
