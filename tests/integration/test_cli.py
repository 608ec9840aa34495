"""The installed command, as a process: what it prints where, and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `evolvex-api` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "evolvex_api", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=os.environ | environ,
    )


@pytest.fixture
def config(tmp_path: Path) -> str:
    """The path of a good configuration."""
    path = tmp_path / "evolvex.conf"
    path.write_text("[ami]\nsecret = x\n[cdr]\npassword = x\n")
    return str(path)


def test_a_key_is_alone_on_standard_output(config: str) -> None:
    assert run("group", "add", "sales", "--config", config).returncode == 0
    added = run("user", "add", "crm", "--group", "sales", "--config", config)
    assert (added.returncode, added.stderr) == (0, "")
    rotated = run("user", "rotate-key", "crm", EVOLVEX_CONFIG=config)
    assert len(added.stdout.strip()) == len(rotated.stdout.strip()) == 36
    assert added.stdout != rotated.stdout


def test_exit_codes(config: str) -> None:
    assert run("--help").returncode == run("--version").returncode == 0
    assert run("user", "show", "nobody", "--config", config).returncode == 1
    assert run("user", "add", "crm", "--config", config).returncode == 2
    assert run("nonsense").returncode == 2


def test_serve_ends_with_one_line_on_a_broken_configuration(config: str) -> None:
    Path(config).write_text("[ami]\nsecret = x\nport = many\n")
    served = run("serve", "--config", config)
    assert (served.returncode, served.stdout) == (78, "")
    assert served.stderr.count("\n") == 1
    assert "[ami] port: must be a whole number" in served.stderr


def test_the_shell_completes_commands() -> None:
    told = run(
        _EVOLVEX_API_COMPLETE="bash_complete", COMP_WORDS="evolvex-api user rot", COMP_CWORD="2"
    )
    assert "rotate-key" in told.stdout
