"""Requests that schemathesis makes of openapi.yaml, against the running service; always the same.

It looks for server errors, for answers outside the document, and for requests that the document
calls wrong and the service takes. What it calls valid the service may still refuse: no schema can
say that `end` is not before `start`, or that a file is audio.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from evolvex_api.api.openapi import document
from tests.integration.conftest import Pbx, make_pbx
from tests.integration.test_recordings import write_tone
from tests.lab.asterisk import Asterisk
from tests.lab.mariadb import MariaDB
from tests.lab.server import wait_until
from tests.lab.service import Service

_CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
)

# The service of live calls answers these; it is not part of this run.
_LIVE = ("/calls", "/events")


@pytest.fixture(scope="module")
def pbx(asterisk: Asterisk, database: MariaDB) -> Iterator[Pbx]:
    """The service, with a recording of the id that the document's examples have."""
    service = Service(asterisk, database, {"ami": {"timeout": "3"}})
    for uniqueid in example_ids():
        write_tone(asterisk.monitor / f"{uniqueid}.wav", 1)
    with contextlib.closing(service):
        made = make_pbx(asterisk, database, service)
        # Nothing is dialled: a call that waits for its outcome would hold the run up.
        group = service.directory / "groups.d" / "all.conf"
        group.write_text(group.read_text() + "[originate]\nchannels = PJSIP/nobody\n")
        allowed = {"channel": "PJSIP/1", "exten": "1", "context": "answer", "priority": 1}
        wait_until(
            lambda: (
                service.request("HEAD", "originate", made.keys["all"], params=allowed).status == 403
            ),
            5,
            "calls are denied",
        )
        yield made


def example_ids() -> set[str]:
    """The example of each parameter `uniqueid`."""
    return {
        parameter["example"]
        for item in document()["paths"].values()
        for operation in item.values()
        for parameter in operation.get("parameters", ())
        if parameter.get("name") == "uniqueid" and "example" in parameter
    }


def test_no_server_error_and_nothing_outside_the_document(pbx: Pbx, tmp_path: Path) -> None:
    described = tmp_path / "openapi.yaml"
    paths = {path: item for path, item in document()["paths"].items() if path not in _LIVE}
    described.write_text(yaml.safe_dump(document() | {"paths": paths}, allow_unicode=True))
    command = [sys.executable, "-m", "schemathesis.cli", "run", str(described)]
    command += ["--url", pbx.service.url, "--header", f"X-API-Key: {pbx.keys['all']}"]
    command += ["--checks", ",".join(_CHECKS), "--phases", "examples,coverage,fuzzing"]
    command += ["--max-examples", "8", "--seed", "20261125", "--generation-deterministic"]
    command += ["--request-timeout", "30", "--no-color"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
