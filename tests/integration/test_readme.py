"""Every curl line of the documents, as it stands there, and their PHP, on the running service."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from evolvex_api.api.openapi import document
from tests.integration.conftest import Pbx
from tests.lab import packages

_ROOT = Path(__file__).parents[2]
README = (_ROOT / "README.md").read_text(encoding="utf-8")
RUSSIAN = (_ROOT / "docs" / "api.ru.md").read_text(encoding="utf-8")
LINES = [
    line
    for block in re.findall(r"```sh\n(.*?)```", README + RUSSIAN, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("curl ")
]


def test_every_method_has_a_line() -> None:
    """Those of the second service too, whose lines stand indented: nothing here serves them."""
    shown = set(re.findall(r"curl .*\$BASE/([a-z_0-9]+)", README))
    methods = {path.strip("/").partition(".")[0].partition("/")[0] for path in document()["paths"]}
    assert methods - shown <= {"console"}  # a page, not a method


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
    elif " -I " in line:
        assert done.stdout.startswith("HTTP/1.1 200")
    else:
        assert done.stdout.startswith(('{"data":', '{"openapi":', '{"status": "ok"'))


def test_the_php_example_calls_and_reads_the_call_log(pbx: Pbx, tmp_path: Path) -> None:
    packages.ensure(*packages.PHP)
    examples = re.findall(r"```php\n(.*?)```", RUSSIAN, re.DOTALL)
    example = next(text for text in examples if "function evolvex" in text)
    script = tmp_path / "example.php"
    setting = f'$base = "{pbx.service.url}"; $key = "{pbx.keys["all"]}";'
    script.write_text(f"<?php {setting}\n{example}\necho json_encode([$call, is_array($rows)]);")
    done = subprocess.run(["php", str(script)], capture_output=True, text=True, check=False)
    call, has_rows = json.loads(done.stdout)
    assert call["Response"] == "Success"
    assert call["Uniqueid"]
    assert has_rows
