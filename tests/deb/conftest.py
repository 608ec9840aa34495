"""The package, built once, and the suites to prove it on (environment variable SUITES)."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.deb.container import ROOT

SUITES = os.environ.get("SUITES", "bookworm trixie").split()

# FreePBX 17 runs on Debian 12; the upgrade to Debian 13 is Debian 13's part.
collect_ignore = [
    name
    for name, suite in (("test_freepbx.py", "bookworm"), ("test_dist_upgrade.py", "trixie"))
    if suite not in SUITES
]


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The .deb of this checkout, as `make deb` builds it."""
    return build(tmp_path_factory.mktemp("deb"))


@pytest.fixture(scope="session")
def next_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a higher version, to upgrade to."""
    return build(tmp_path_factory.mktemp("next"), "1000.0.0")


def build(folder: Path, version: str = "", arch: str = "amd64") -> Path:
    """Build the package into a folder; its unit tests are `make deb`'s."""
    subprocess.run(
        [ROOT / "packaging" / "build-deb", folder, version],
        env=os.environ
        | {"DEB_BUILD_OPTIONS": "nocheck", "PIP": str(ROOT / ".venv/bin/pip"), "ARCH": arch},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return next(folder.glob("*.deb"))
