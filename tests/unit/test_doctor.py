"""doctor: what a unit's sandbox is, and checks that raise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from evolvex_api import config as configuration
from evolvex_api.config import Config
from evolvex_api.doctor import findings
from evolvex_api.doctor.findings import Finding
from evolvex_api.doctor.sandbox import sandbox_of

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A configuration."""
    path = tmp_path / "evolvex.conf"
    path.write_text("[ami]\nsecret = x\n[cdr]\npassword = x\n")
    return configuration.load(path)


def test_a_check_that_raises_is_a_finding(config: Config) -> None:
    def _disk_speed(_config: Config) -> Iterator[Finding]:
        yield Finding("a", "ok", "b")
        raise ZeroDivisionError("c")

    first, second = findings.run([_disk_speed], config)
    assert first.name == "a"
    assert (second.name, second.state) == ("disk speed", "fail")


@pytest.mark.parametrize("unit", ["evolvex-api.service", "evolvex-api-events.service"])
def test_the_sandbox_of_a_unit_is_all_but_how_it_runs(unit: str) -> None:
    properties = sandbox_of((ROOT / "systemd" / unit).read_text())
    names = {one.partition("=")[0] for one in properties}
    assert {"User", "ProtectSystem", "NoExecPaths", "ExecPaths", "SystemCallFilter"} <= names
    assert {"StateDirectory", "InaccessiblePaths", "CapabilityBoundingSet"} <= names
    assert not names & {"ExecStart", "ExecReload", "Type", "Restart", "TimeoutStopSec", "KillMode"}
    assert not names & {"Description", "Requires", "WantedBy"}


def test_a_drop_in_of_a_unit_counts_too() -> None:
    shown = "# /x\n[Service]\nUser=a\n\n# /etc/y\n[Service]\nReadWritePaths=/b \\\n  /c\n"
    assert sandbox_of(shown) == ["User=a", "ReadWritePaths=/b    /c"]
