"""etc/ and man/ say what the code says."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from evolvex_api import __version__, config
from evolvex_api.setup.steps.ami import Account, account_lines, events_account, service_account

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


@pytest.mark.parametrize(
    ("sample", "account"),
    [
        ("manager_evolvex.conf", service_account),
        ("manager_evolvex_events.conf", events_account),
    ],
)
def test_the_sample_ami_user_has_the_rights_that_setup_gives(
    sample: str, account: Callable[[config.Ami], Account]
) -> None:
    text = (ROOT / "etc" / "asterisk" / sample).read_text()
    settings = config.Ami("127.0.0.1", 5038, "any", "SECRET", 5)
    given = account_lines(account(settings), "127.0.0.1")[1:]
    assert re.findall(r"^\w+ = .*$", text, re.M) == given
