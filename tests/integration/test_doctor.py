"""doctor on real servers: what is good, and each thing that is not, with its fix."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from evolvex_api.cli import main
from tests.integration.conftest import Pbx
from tests.lab.mariadb import FREEPBX
from tests.lab.service import Service


def examined(config: Path, exit_code: int = 0) -> dict[str, dict[str, Any]]:
    """What doctor finds, by name; of several findings of a name the worst."""
    result = CliRunner().invoke(main, ["doctor", "--json", "--config", str(config)])
    assert result.exit_code == exit_code, result.output
    order = ["ok", "warn", "fail"]
    found: dict[str, dict[str, Any]] = {}
    for finding in json.loads(result.output):
        known = found.setdefault(finding["name"], finding)
        if order.index(finding["state"]) > order.index(known["state"]):
            found[finding["name"]] = finding
    return found


def test_a_good_host(any_pbx: Pbx) -> None:
    found = examined(any_pbx.service.config)
    states = {name: finding["state"] for name, finding in found.items()}
    states.pop("web server", None)  # what listens at port 80 is the machine's own affair
    states.pop("keys in logs", None)
    states.pop("AMI of live calls", None)  # the second service is not set up here
    states.pop("calls", None)  # the groups of these tests may dial whatever they like
    assert set(states.values()) == {"ok"}, found
    assert {"AMI right originate", "AMI right call (events)", "call log index"} <= states.keys()


def test_lines_for_people(pbx: Pbx) -> None:
    result = CliRunner().invoke(main, ["doctor", "--config", str(pbx.service.config)])
    assert "ok   recordings: " in result.output
    assert pbx.asterisk.ami_secret not in result.output


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"ami": {"secret": "wrong"}}, "AMI"),
        ({"cdr": {"password": "wrong"}}, "call log"),
        ({"cdr": {"table": "missing"}}, "call log"),
        ({"recordings": {"root": "/nowhere"}}, "recordings"),
        ({"mp3": {"cache_dir": "/nowhere"}}, "cache"),
        ({"uploads": {"directory": "/nowhere/evolvex"}}, "uploads"),
    ],
)
def test_what_is_wrong_is_named_with_its_mend(
    pbx: Pbx, options: dict[str, dict[str, str]], name: str
) -> None:
    broken = Service(pbx.asterisk, pbx.database, options)
    try:
        broken.write_config()
        finding = examined(broken.config, 1)[name]
        assert finding["state"] == "fail"
        assert finding["fix"]
    finally:
        broken.close()


def test_rights_that_are_missing_are_told(pbx: Pbx) -> None:
    """An AMI user who may only listen."""
    manager = pbx.asterisk.etc / "manager.conf"
    text = manager.read_text()
    poor = "\n[poor]\nsecret = poor\nread = call\nwrite = agent\n"
    manager.write_text(text + poor)
    pbx.asterisk.cli("manager reload")
    service = Service(pbx.asterisk, pbx.database, {"ami": {"username": "poor", "secret": "poor"}})
    try:
        service.write_config()
        found = examined(service.config, 1)
        assert found["AMI"]["state"] == "ok"
        assert found["AMI right originate"]["state"] == "fail"
    finally:
        service.close()
        manager.write_text(text)
        pbx.asterisk.cli("manager reload")


def test_a_table_without_an_index_is_warned_of(pbx: Pbx) -> None:
    pbx.database.execute("CREATE TABLE bare AS SELECT * FROM cdr LIMIT 0", database=FREEPBX)
    pbx.database.execute(f"GRANT SELECT ON {FREEPBX}.bare TO {pbx.database.reader[0]}")
    service = Service(pbx.asterisk, pbx.database, {"cdr": {"table": "bare"}}, schema=FREEPBX)
    try:
        service.write_config()
        service.uploads.mkdir(exist_ok=True)
        finding = examined(service.config, 1)["call log index"]
        assert finding["state"] == "warn"
        assert "ADD INDEX (calldate)" in finding["fix"]
    finally:
        service.close()
        pbx.database.execute("DROP TABLE bare", database=FREEPBX)


def test_without_a_configuration_it_says_so(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["doctor", "--config", str(tmp_path / "none.conf")])
    assert result.exit_code == 78
