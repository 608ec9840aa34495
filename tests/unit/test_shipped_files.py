"""etc/ and man/ say what the code says."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from evolvex_api import __version__, config

ROOT = Path(__file__).parents[2]
OPTIONS = [
    pytest.param(section, option, id=f"{section}.{option.name}")
    for section, kind in config.SECTIONS.items()
    for option in dataclasses.fields(kind)
]


def test_the_shipped_configuration_loads_once_its_secrets_are_set(tmp_path: Path) -> None:
    file = tmp_path / "evolvex.conf"
    file.write_text((ROOT / "etc" / "evolvex.conf").read_text())
    assert config.load(file).ami.secret == "@AMI_SECRET@"


@pytest.mark.parametrize(("section", "option"), OPTIONS)
def test_the_shipped_configuration_names_every_key_at_its_default(
    section: str, option: "dataclasses.Field[Any]"
) -> None:
    text = (ROOT / "etc" / "evolvex.conf").read_text()
    body = re.split(r"^\[", text.partition(f"[{section}]\n")[2], maxsplit=1, flags=re.M)[0]
    default = option.metadata["default"]
    line = f"#{option.name} = {default}" if default is not None else f"{option.name} = @"
    assert any(found.startswith(line.strip()) for found in body.splitlines())


@pytest.mark.parametrize(("section", "option"), OPTIONS)
def test_the_manual_page_names_every_key(section: str, option: "dataclasses.Field[Any]") -> None:
    page = (ROOT / "man" / "evolvex.conf.5").read_text()
    assert f".B {option.name}\n" in page.partition(f".SS [{section}]\n")[2]


def test_versions_agree() -> None:
    changelog = (ROOT / "debian" / "changelog").read_text()
    assert changelog.startswith(f"evolvex-api ({__version__}) ")
    for page in (ROOT / "man").iterdir():
        assert f'"evolvex-api {__version__}"' in page.read_text()


def test_the_sample_ami_user_has_the_rights_that_setup_gives() -> None:
    sample = (ROOT / "etc" / "asterisk" / "manager_evolvex.conf").read_text()
    code = (ROOT / "evolvex_api" / "setup" / "steps.py").read_text()
    for line in re.findall(
        r"^(?:deny|permit|write|read|eventfilter|writetimeout) = .*$", sample, re.M
    ):
        assert line in code
