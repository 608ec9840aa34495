"""The package, built once, and the suites to prove it on (environment variable SUITES)."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.deb.container import ROOT

SUITES = os.environ.get("SUITES", "bookworm trixie").split()


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The .deb of this checkout, as `make deb` builds it."""
    return build(tmp_path_factory.mktemp("deb"))


@pytest.fixture(scope="session")
def next_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a higher version, to upgrade to."""
    return build(tmp_path_factory.mktemp("next"), "1000.0.0")


def build(folder: Path, version: str = "") -> Path:
    """Build the package into a folder; its unit tests are `make deb`'s."""
    subprocess.run(
        [ROOT / "packaging" / "build-deb", folder, version],
        env=os.environ | {"DEB_BUILD_OPTIONS": "nocheck", "PIP": str(ROOT / ".venv/bin/pip")},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return next(folder.glob("*.deb"))
