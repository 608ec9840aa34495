"""What `make deb` and `make apt-repo` make."""

import hashlib
import shutil
import subprocess
from pathlib import Path

from tests.deb.conftest import build
from tests.deb.container import ROOT, Container
from tests.lab import packages


def test_two_builds_are_the_same_to_the_byte(package: Path, tmp_path: Path) -> None:
    digests = {hashlib.sha256(deb.read_bytes()).digest() for deb in (package, build(tmp_path))}
    assert len(digests) == 1


def test_installs_by_name_from_the_signed_repository(package: Path, tmp_path: Path) -> None:
    shutil.copy(package, tmp_path)
    repository = subprocess.run(
        [ROOT / "packaging" / "build-apt-repo", "", tmp_path],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.strip()
    with Container("bookworm", [f"{repository}:/srv/apt"]) as host:
        host.write(
            "/etc/apt/sources.list.d/evolvex-api.list",
            "deb [signed-by=/srv/apt/evolvex-api.gpg] file:/srv/apt stable main\n",
        )
        only_this = "-o Dir::Etc::SourceList=/dev/null -o APT::Get::List-Cleanup=0"
        host.run(f"apt-get -qq {only_this} update")
        host.run("apt-get -qq install --yes --no-install-recommends evolvex-api")
        assert host.run("systemctl is-active evolvex-api") == "active"


def test_autopkgtest_passes(package: Path) -> None:
    with Container("bookworm", [f"{ROOT}:/srv/source"]) as host:
        host.copy_in(package, "/root/evolvex-api.deb")
        host.run("mkdir -p /root/source && cp -r /srv/source/debian /root/source/")
        said = host.run(
            "autopkgtest --no-built-binaries /root/evolvex-api.deb /root/source/ -- null 2>&1",
            timeout=300,
        )
        assert "installed-service    PASS" in said, said


def test_piuparts_finds_nothing_left_behind(package: Path) -> None:
    packages.ensure("piuparts")
    tree = subprocess.run(
        [ROOT / "packaging" / "tree", "base", "bookworm"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.strip()
    done = subprocess.run(
        [
            *("piuparts", "--no-eatmydata", "--keep-sources-list", f"--existing-chroot={tree}"),
            *("--distribution=bookworm", str(package)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    assert "PASS: All tests." in done.stdout, done.stdout[-3000:]
