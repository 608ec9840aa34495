"""etc/ and man/ say what the code says."""

import re
from pathlib import Path

from evolvex_api import __version__, config

ROOT = Path(__file__).parents[2]


def test_the_shipped_configuration_loads_once_its_secrets_are_set(tmp_path: Path) -> None:
    file = tmp_path / "evolvex.conf"
    file.write_text((ROOT / "etc" / "evolvex.conf").read_text())
    assert config.load(file).ami.secret == "@AMI_SECRET@"


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
