"""As on FreePBX 17: Debian 12, Apache that runs as asterisk, FreePBX's own files, table and tree.

FreePBX itself is not there; what the package meets of it is laid out as FreePBX lays it out.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deb.pbx import PbxHost, healthy
from tests.deb.role import Role
from tests.lab.server import wait_until


@pytest.fixture(scope="module")
def host(package: Path) -> Iterator[PbxHost]:
    with PbxHost("bookworm", freepbx=True) as started:
        started.prepare()
        started.copy_in(package, "/root/evolvex-api.deb")
        yield started


def test_setup_by_ansible_uses_freepbxs_places(host: PbxHost) -> None:
    manager = host.read("/etc/asterisk/manager.conf")
    host.key = "5485137a-1a2b-4c3d-8e4f-a0b1c2d3e4f5"
    role = Role(
        host,
        {
            "evolvex_api_deb": "/root/evolvex-api.deb",
            "evolvex_api_options": "[server]\nthreads = 32\n",
            "evolvex_api_key": host.key,
        },
    )
    assert {"The package", "Setup"} <= set(role.run())
    assert role.run() == []
    assert healthy(host)
    assert "[evolvex]" in host.read("/etc/asterisk/manager_custom.conf")
    assert host.run("stat -c %U:%G /etc/asterisk/manager_custom.conf") == "asterisk:asterisk"
    assert host.read("/etc/asterisk/manager.conf") == manager
    # A reader of its own, not FreePBX's user, who may write.
    assert host.run("evolvex-api setup --yes").startswith("Everything is set up already.")
    assert "freepbxuser" not in host.read("/etc/evolvex/evolvex.conf")


def test_fwconsole_chown_stops_no_upload(host: PbxHost) -> None:
    """FreePBX gives all of Asterisk's sounds away, and follows one link (Chown.class.php)."""
    sounds = "/var/lib/asterisk/sounds"
    host.run("sox -n -r 44100 -c 2 /root/hello.ogg synth 1 sine 440")
    host.run(f"chown -R asterisk:asterisk {sounds}")
    assert host.curl("uploads", "--form", "file=@/root/hello.ogg").status == 200
    # readlink, chown of what it names (a link again: lchown), chmod through it.
    host.run(
        f"target=$(readlink {sounds}/evolvex); chown -h asterisk:asterisk $target {sounds}/evolvex;"
        " chmod 0755 $target"
    )
    stored = host.curl("uploads", "--form", "file=@/root/hello.ogg").data
    assert host.succeeds(f"runuser -u asterisk -- test -r {sounds}/{stored['file']}.wav")
    assert host.run("evolvex-api setup --yes").startswith("Everything is set up already.")
    blacklist = host.read("/etc/asterisk/freepbx_chown.conf")
    assert f"item = {sounds}/evolvex" in blacklist
    assert f"directory = {sounds}/evolvex" in blacklist


def test_no_key_is_in_apaches_logs(host: PbxHost) -> None:
    host.run(f"curl -s 'http://127.0.0.1/pbx/api/index/check?api_key={host.key}'")
    host.run("curl -s http://127.0.0.1/another-page?x=1")
    assert not host.succeeds(f"grep -r -- {host.key} /var/log/apache2")
    assert "another-page?x=1" in host.run("cat /var/log/apache2/*access.log")


def test_call_recording_and_call_log_through_apache(host: PbxHost) -> None:
    host.curl("originate?channel=Local/101@answer&exten=102&context=outgoing&priority=1&async=1")
    name = host.run(
        "until f=$(find /var/spool/asterisk/monitor -name '*.wav' -size +40k | grep .);"
        " do sleep 0.2; done; echo $f",
        timeout=30,
    )
    assert re.search(r"/monitor/\d{4}/\d\d/\d\d/out-102-", name)
    uniqueid = name.removesuffix(".wav").rpartition("-")[2]
    host.cli("channel request hangup all")
    wait_until(lambda: host.curl("status").data == [], 10, "no live channel")
    assert host.file_hash("get_file_wav", f"uniqueid={uniqueid}") in host.run(f"sha256sum {name}")
    part = host.curl(f"get_file_wav?uniqueid={uniqueid}", "--range", "0-3")
    assert (part.status, part.body) == (206, "RIFF")
    assert host.curl(f"get_file_mp3?uniqueid={uniqueid}", "--head").status == 200
    wait_until(
        lambda: any(row["uniqueid"] == uniqueid for row in host.curl("get_log_cdr").data),
        15,
        "the call's CDR row",
    )
    row = next(row for row in host.curl("get_log_cdr").data if row["uniqueid"] == uniqueid)
    assert row["start"]
    assert row["recordingfile"] == Path(name).name


def test_a_client_behind_apache_can_not_ask_for_nginxs_redirect(host: PbxHost) -> None:
    uniqueid = host.curl("get_log_cdr").data[-1]["uniqueid"]
    answer = host.curl(
        f"get_file_wav?uniqueid={uniqueid}", "--header", "X-Evolvex-Accel: 1", "--range", "0-3"
    )
    assert "x-accel-redirect" not in answer.headers
    assert answer.body == "RIFF"


def test_address_of_the_client_is_in_the_journal(host: PbxHost) -> None:
    # What a client claims itself stands before what Apache adds.
    host.curl("check", "--header", "X-Forwarded-For: 192.0.2.1")
    assert "from=127.0.0.1" in host.journal("evolvex-api").splitlines()[-1]


def test_undo_and_purge(host: PbxHost) -> None:
    host.run("evolvex-api setup --remove")
    wait_until(lambda: not healthy(host), 10, "the route is gone")
    # FreePBX's manager.conf includes it by name.
    assert host.read("/etc/asterisk/manager_custom.conf") == ""
    assert "evolvex" not in host.cli("manager show users")
    assert "evolvex_api" not in host.run("cat /etc/apache2/sites-available/*.conf")
    host.run("evolvex-api setup --yes")
    # Purged without setup --remove.
    host.run("apt-get -qq purge --yes evolvex-api")
    host.run("apache2ctl configtest")
    after = host.run("evolvex-api --version", check=False)
    assert "not found" in after or "No such file" in after
    left = "/etc/asterisk/manager*.conf /etc/asterisk/freepbx_*.conf /etc/apache2/sites-available/*"
    assert "evolvex" not in host.run(f"cat {left} 2> /dev/null || true")
    assert host.run("mariadb -Ne \"SELECT count(*) FROM mysql.user WHERE user='evolvex'\"") == "0"
    assert "evolvex" not in host.run("getent group asterisk")
    assert "evolvex" not in host.cli("manager show users")
