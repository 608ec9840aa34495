"""Debian 12 becomes Debian 13 under the running service."""

from pathlib import Path

from tests.deb.container import Container
from tests.lab.server import wait_until


def test_service_goes_on_over_a_dist_upgrade(package: Path) -> None:
    with Container("bookworm", kind="upgrade") as host:
        host.copy_in(package, "/root/evolvex-api.deb")
        host.run("dpkg --install /root/evolvex-api.deb")
        host.run("evolvex-api group add all && evolvex-api group allow all '*'")
        key = host.run("evolvex-api user add crm --group all")
        ask = (
            "curl -sf --unix-socket /run/evolvex-api/gunicorn.sock"
            f" -H 'X-API-Key: {key}' http://pbx/pbx/api/index/check"
        )
        wait_until(lambda: host.succeeds(ask), 10, "the key counts")
        before = host.run("python3 --version")
        host.run(
            "apt-get -qq -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold"
            " -o Dpkg::Use-Pty=0 dist-upgrade --yes --no-install-recommends",
            timeout=600,
        )
        assert host.run(". /etc/os-release; echo $VERSION_CODENAME") == "trixie"
        assert host.run("python3 --version") != before
        wait_until(lambda: host.succeeds(ask), 20, "the service answers")
        # Not only the process from before: one that starts on the new Python too.
        host.run("systemctl restart evolvex-api")
        assert host.succeeds(ask)
        assert host.run("evolvex-api --version")
