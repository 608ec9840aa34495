"""Debian packages that the lab needs, installed when they are missing."""

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

PBX = ("mmdebstrap", "mariadb-server-core", "mariadb-client-core")
AUDIO = ("sox", "libsox-fmt-mp3", "lame", "ffmpeg")
PHONE = ("sip-tester", "sox")
PHP = ("php-cli", "php-curl", "php-mysql")
WEB = ("nginx-light", "apache2-bin")
BROWSER = ("chromium", "chromium-driver")
NODE = ("nodejs", "npm")

_POLICY = Path("/usr/sbin/policy-rc.d")
_POLICY_TEXT = "#!/bin/sh\n# Nothing starts while the test lab installs packages.\nexit 101\n"


class PackagesMissing(RuntimeError):
    """Packages are missing and could not be installed."""


def missing(*names: str) -> list[str]:
    """Return those of `names` that dpkg does not hold installed."""
    return [name for name in names if not _installed(name)]


def ensure(*names: str) -> None:
    """Install those of `names` that are missing, without starting any service they bring.

    Raises PackagesMissing when that needs root, or when apt fails.
    """
    wanted = missing(*names)
    if not wanted:
        return
    if os.geteuid() != 0:
        raise PackagesMissing(f"as root, run: apt-get install {' '.join(wanted)}")
    with _no_service_starts():
        _apt_get("update")
        _apt_get("install", "--yes", "--no-install-recommends", *wanted)


def _installed(name: str) -> bool:
    query = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${db:Status-Status}", name],
        capture_output=True,
        text=True,
        check=False,
    )
    return query.stdout == "installed"


@contextmanager
def _no_service_starts() -> Iterator[None]:
    """Forbid maintainer scripts to start, stop or restart services; keep a policy that exists."""
    try:
        with _POLICY.open("x") as policy:
            policy.write(_POLICY_TEXT)
            os.fchmod(policy.fileno(), 0o755)
    except FileExistsError:
        yield
        return
    try:
        yield
    finally:
        _POLICY.unlink()


def run_quietly(
    what: str,
    command: Sequence[str],
    failure: type[RuntimeError],
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run a command in silence; raises `failure`, with the end of what it said, when it fails."""
    done = subprocess.run(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise failure(f"{what} failed:\n{done.stdout[-2000:]}")


def _apt_get(*arguments: str) -> None:
    quiet = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1"}
    command = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", *arguments]
    run_quietly(" ".join(command), command, PackagesMissing, os.environ | quiet)
