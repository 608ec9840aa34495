"""What `make deb` and `make apt-repo` make."""

import hashlib
import re
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
    with Container("bookworm", [f"{repository}:/srv/apt"], kind="pbx") as host:
        host.write(
            "/etc/apt/sources.list.d/evolvex-api.list",
            "deb [signed-by=/srv/apt/evolvex-api.gpg] file:/srv/apt stable main\n",
        )
        only_this = "-o Dir::Etc::SourceList=/dev/null -o APT::Get::List-Cleanup=0"
        host.run(f"apt-get -qq {only_this} update")
        host.run("apt-get -qq install --yes --no-install-recommends evolvex-api")
        assert host.run("systemctl is-active evolvex-api") == "active"


def test_autopkgtest_passes(package: Path) -> None:
    with Container("bookworm", [f"{ROOT}:/srv/source"], kind="pbx") as host:
        host.copy_in(package, "/root/evolvex-api.deb")
        host.run("systemctl disable --now apache2; systemctl restart nginx")
        host.run("mkdir -p /root/source && cp -r /srv/source/debian /root/source/")
        said = host.run(
            "autopkgtest --no-built-binaries /root/evolvex-api.deb /root/source/ -- null 2>&1",
            timeout=300,
        )
        assert re.search(r"^installed-service +PASS", said, re.M), said
        assert re.search(r"^seven-methods +PASS", said, re.M), said


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


def test_arm64_is_the_same_package_with_modules_that_run_there(
    package: Path, tmp_path: Path
) -> None:
    """Imported by Python for arm64, run by qemu."""
    foreign = build(tmp_path, arch="arm64")
    trees = {}
    for name, deb in (("amd64", package), ("arm64", foreign)):
        trees[name] = tmp_path / name
        subprocess.run(["dpkg-deb", "--extract", deb, trees[name]], check=True)
    listings = {
        name: {
            str(path.relative_to(tree)).replace("aarch64", "x86_64")
            for path in tree.rglob("*")
            if path.is_file()
        }
        for name, tree in trees.items()
    }
    assert listings["arm64"] == listings["amd64"]
    fields = subprocess.run(
        ["dpkg-deb", "--field", foreign, "Architecture", "Depends"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    assert "Architecture: arm64" in fields
    assert "libc6 (>= 2." in fields
    packages.ensure("qemu-user-static", "mmdebstrap")
    tree = python_tree("arm64", "bookworm")
    library = trees["arm64"] / "usr" / "lib" / "evolvex-api"
    code = (
        f"import sys; sys.path[:0] = ['{library}/_vendor', '{library}'];"
        "import lameenc, asterisk.manager, evolvex_api;"
        "made = lameenc.Encoder(); made.set_channels(1); made.set_in_sample_rate(8000);"
        "made.silence(); print(len(made.encode(bytes(32000)) + made.flush()) > 1000)"
    )
    done = subprocess.run(
        ["qemu-aarch64-static", "-L", tree, tree / "usr" / "bin" / "python3", "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "True"


def python_tree(arch: str, suite: str) -> Path:
    """Python of another architecture, unpacked; none of its programs runs for that."""
    tree = ROOT / "build" / "deb" / "trees" / f"python-{arch}-{suite}"
    if not (tree / "usr" / "lib" / "python3" / "dist-packages" / "six.py").exists():
        shutil.rmtree(tree, ignore_errors=True)
        tree.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [
                *("mmdebstrap", "--quiet", "--mode=root", "--variant=extract"),
                *(f"--arch={arch}", "--include=python3,python3-six,libstdc++6", suite, tree),
            ],
            check=True,
        )
    return tree
