"""Every curl line of README.md, as it stands there, against the running service."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.integration.conftest import Pbx

README = Path(__file__).parents[2] / "README.md"
LINES = [
    line
    for block in re.findall(r"```sh\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    for line in block.splitlines()
    if line.startswith("curl ")
]


def test_every_method_has_a_line() -> None:
    shown = {match[1] for line in LINES if (match := re.search(r"\$BASE/([a-z_0-9]+)", line))}
    methods = {"check", "status", "originate", "get_file_mp3", "get_file_wav", "uploads"}
    assert shown == methods | {"get_log_cdr", "openapi"}


@pytest.fixture(scope="module")
def recorded(pbx: Pbx) -> str:
    """A call that can be listened to."""
    return pbx.recorded_call()


@pytest.mark.parametrize("line", LINES)
def test_pasted_lines_work(pbx: Pbx, recorded: str, line: str, tmp_path: Path) -> None:
    (tmp_path / "call.wav").write_bytes((pbx.asterisk.monitor / f"{recorded}.wav").read_bytes())
    told = line.replace("curl ", "curl -sS -w '%{stderr}%{http_code}' ", 1)
    done = subprocess.run(
        ["bash", "-c", told],
        cwd=tmp_path,
        env={
            "PATH": "/usr/bin:/bin",
            "BASE": pbx.service.url,
            "KEY": pbx.keys["all"],
            "ID": recorded,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr in ("200", "206")
    output = re.search(r"-o (\S+)", line)
    if output:
        head = (tmp_path / output[1]).read_bytes()[:4]
        assert head == b"RIFF" if output[1].endswith("wav") else head[:2] == b"\xff\xe3"
    else:
        assert done.stdout.startswith(('{"data":', '{"openapi":'))
