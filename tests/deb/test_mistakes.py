"""An administrator's mistakes, and what setup and doctor make of them on one host.

Every failing setup leaves the host as it was, names what is wrong and what to do, and never shows a
traceback.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deb.conftest import SUITES
from tests.deb.pbx import PbxHost, healthy, install, state_of
from tests.lab.server import wait_until

SITE = "/etc/nginx/sites-available/default"


@pytest.fixture(scope="module")
def host(package: Path) -> Iterator[PbxHost]:
    with PbxHost(SUITES[0]) as started:
        started.prepare()
        install(started, package)
        yield started


def doctor(host: PbxHost, name: str) -> dict[str, Any]:
    """The worst finding of a name."""
    findings = json.loads(host.run("evolvex-api doctor --json || true"))
    order = ["ok", "warn", "fail"]
    found = [finding for finding in findings if finding["name"] == name]
    worst: dict[str, Any] = max(found, key=lambda finding: order.index(finding["state"]))
    return worst


# What is wrong, how it is made right again, and what setup says of it.
_REFUSED = [
    pytest.param(
        "mariadb -e 'RENAME TABLE asteriskcdrdb.cdr TO asteriskcdrdb.elsewhere'",
        "mariadb -e 'RENAME TABLE asteriskcdrdb.elsewhere TO asteriskcdrdb.cdr'",
        "the local database has no table asteriskcdrdb.cdr",
        id="no table",
    ),
    pytest.param(
        "systemctl stop mariadb", "systemctl start mariadb", "systemctl start mariadb", id="stopped"
    ),
    pytest.param(
        "mariadb -e \"ALTER USER root@localhost IDENTIFIED BY 'secret'\"",
        'mariadb -psecret -e "ALTER USER root@localhost IDENTIFIED VIA mysql_native_password'
        " USING 'invalid' OR unix_socket\"",
        "put it into /root/.my.cnf",
        id="password",
    ),
    pytest.param(
        "systemctl stop asterisk", "systemctl start asterisk", "Asterisk does not run", id="no PBX"
    ),
    pytest.param(
        "mount -t tmpfs -o size=4k,mode=755 tmpfs /etc/asterisk/manager.d"
        "; echo x > /etc/asterisk/manager.d/full",
        "umount /etc/asterisk/manager.d",
        "No space left on device",
        id="full disk",
    ),
    pytest.param(
        "mount --bind /etc/asterisk /etc/asterisk; mount -o remount,ro,bind /etc/asterisk",
        "umount /etc/asterisk",
        "Read-only file system",
        id="read-only",
    ),
    pytest.param(
        "printf '[evolvex]\\nsecret = x\\n' > /etc/asterisk/manager.d/mine.conf",
        "rm /etc/asterisk/manager.d/mine.conf",
        "has an AMI user evolvex already",
        id="AMI user",
    ),
    pytest.param(
        f"cp {SITE} /etc/nginx/sites-enabled/shop; mv /etc/nginx/sites-enabled/default /root/"
        "; cp /root/default /etc/nginx/sites-enabled/blog"
        "; sed -i 's/default_server//' /etc/nginx/sites-enabled/blog",
        "rm /etc/nginx/sites-enabled/*; mv /root/default /etc/nginx/sites-enabled/",
        "Name one with --site",
        id="several sites",
    ),
    pytest.param(
        "mv /etc/nginx/sites-enabled/default /root/",
        "mv /root/default /etc/nginx/sites-enabled/",
        "include snippets/evolvex-api*.conf;",
        id="no site",
    ),
    pytest.param(
        "echo 'no such directive;' > /etc/nginx/conf.d/broken.conf",
        "rm /etc/nginx/conf.d/broken.conf",
        'unknown directive "no"',
        id="broken nginx",
    ),
    pytest.param(
        f"cp -p {SITE} /root/site; echo > /etc/nginx/none"
        f"; sed -i 's#^.root /var#auth_basic on; auth_basic_user_file none; root /var#' {SITE}"
        "; systemctl reload nginx",
        f"cp -p /root/site {SITE}; rm /etc/nginx/none; systemctl reload nginx",
        "answers 401, not as this service does",
        id="password page",
    ),
    pytest.param(
        "ln -s /etc/shadow /etc/asterisk/manager.d/evolvex-api.conf"
        "; chown asterisk /etc/asterisk/manager.d",
        "rm /etc/asterisk/manager.d/evolvex-api.conf; chown root /etc/asterisk/manager.d",
        "is a symbolic link",
        id="planted link",
    ),
    pytest.param(
        "printf '[ami]\\nport = many\\n' > /etc/evolvex/evolvex.conf.d/a.conf",
        "rm /etc/evolvex/evolvex.conf.d/a.conf",
        "/etc/evolvex/evolvex.conf.d/a.conf: [ami] port: must be a whole number",
        id="drop-in",
    ),
    pytest.param(
        "printf '[cdr]\\nunix_socket = /none\\n' > /etc/evolvex/evolvex.conf.d/a.conf",
        "rm /etc/evolvex/evolvex.conf.d/a.conf",
        "[cdr] unix_socket is set to another value there",
        id="overruled",
    ),
]


@pytest.mark.parametrize(("fault", "repair", "reason"), _REFUSED)
def test_a_failing_setup_names_it_and_leaves_everything(
    host: PbxHost, fault: str, repair: str, reason: str
) -> None:
    whole = state_of(host)
    host.run(fault)
    files = "find /etc -xdev -type f ! -name '*-' -exec sha256sum {} + | sort"
    before = host.run(files)
    said = host.run("evolvex-api setup --yes", check=False)
    assert host.run(files) == before
    host.run(repair)
    assert reason in said, said
    assert "Traceback" not in said
    assert not host.succeeds("evolvex-api setup --yes --json --no-such-option")
    if "asterisk" in repair:
        host.wait_for_asterisk()
    wait_until(lambda: host.succeeds("mariadb -e 'SELECT 1'"), 20, "MariaDB")
    assert state_of(host) == whole


def test_a_closed_terminal_leaves_everything(host: PbxHost) -> None:
    before = state_of(host)
    # Asterisk's console holds setup up in the middle of its work.
    host.run("mv /usr/sbin/asterisk /usr/sbin/asterisk.real")
    host.write(
        "/usr/sbin/asterisk",
        '#!/bin/sh\ncase "$2" in *reload*) [ -e /root/held ] || { touch /root/held; sleep 10; };;'
        ' esac\nexec /usr/sbin/asterisk.real "$@"\n',
        "0755",
    )
    process = host.start("sh", "-c", "echo $$ > /root/pid; exec evolvex-api setup --yes")
    host.run("until [ -e /root/held ]; do sleep 0.1; done", timeout=30)
    host.run("kill -HUP $(cat /root/pid)")
    said, _ = process.communicate(timeout=60)
    host.run("mv /usr/sbin/asterisk.real /usr/sbin/asterisk")
    assert "taking everything back" in said
    assert state_of(host) == before


def test_a_site_on_one_line_that_redirects_to_tls(host: PbxHost) -> None:
    """… is found, gets the route, and is as it was when that is undone."""
    host.run("mv /etc/nginx/sites-enabled/default /root/")
    host.run("make-ssl-cert generate-default-snakeoil")
    site = (
        "server { listen 80; server_name pbx.example.org; # plain\n"
        "return 301 https://$host$request_uri; } server { listen 443 ssl;\n"
        "server_name pbx.example.org; include snippets/snakeoil.conf; }\n"
    )
    host.write("/etc/nginx/sites-enabled/pbx", site)
    host.run("systemctl reload nginx")
    said = host.run("evolvex-api setup --yes", check=False)
    assert "URL: https://pbx.example.org/pbx/api/index\n" in said, said
    assert doctor(host, "web server")["state"] == "ok"
    trusted = "evolvex-api doctor --url https://127.0.0.1/pbx/api/index || true"
    assert re.search(r"^warn web server: .*certificate", host.run(trusted), re.M)
    host.run("evolvex-api setup --remove")
    assert host.read("/etc/nginx/sites-enabled/pbx") == site.strip()
    host.run("rm /etc/nginx/sites-enabled/pbx; mv /root/default /etc/nginx/sites-enabled/")
    host.run("systemctl reload nginx")


def test_root_with_a_password_in_my_cnf(host: PbxHost) -> None:
    host.run("mariadb -e \"ALTER USER root@localhost IDENTIFIED BY 'secret'\"")
    host.write("/root/.my.cnf", "[client]\nuser = root\npassword = secret\n", "0600")
    host.run("evolvex-api user remove first || true")
    said = host.run("evolvex-api setup --yes")
    host.key = re.search(r"key, shown only now: (\S+)", said)[1]  # type: ignore[index]
    assert healthy(host)


def test_a_wrong_secret_is_named_and_setup_mends_it(host: PbxHost) -> None:
    host.run("sed -i 's/^secret = ./secret = X/' /etc/evolvex/evolvex.conf")
    found = doctor(host, "AMI")
    assert found["state"] == "fail"
    assert "run evolvex-api setup" in found["fix"]
    host.run("evolvex-api setup --yes")
    assert doctor(host, "AMI")["state"] == "ok"


def test_folders_that_the_sandbox_hides_are_named(host: PbxHost) -> None:
    """Root and the bare user can write them; the unit can't."""
    host.run("install -d -o evolvex -m 0777 /srv/cache /home/recordings")
    host.write(
        "/etc/evolvex/evolvex.conf.d/a.conf",
        "[mp3]\ncache_dir = /srv/cache\n[recordings]\nroot = /home/recordings\n",
    )
    assert doctor(host, "cache")["state"] == "fail"
    assert doctor(host, "recordings")["state"] == "fail"
    host.run("rm /etc/evolvex/evolvex.conf.d/a.conf")


def test_a_file_that_the_service_can_not_read_is_named(host: PbxHost) -> None:
    host.run("printf '[user]\n' > /etc/evolvex/users.d/mine.conf")
    host.run("chmod 0600 /etc/evolvex/users.d/mine.conf")
    said = host.run("evolvex-api check-config", check=False)
    assert "users.d/mine.conf: cannot be read: Permission denied" in said
    host.run("rm /etc/evolvex/users.d/mine.conf")


def test_a_clock_that_is_off_is_named(host: PbxHost) -> None:
    host.run("mariadb -e \"SET GLOBAL time_zone = '+05:00'\"")
    found = doctor(host, "clock")
    assert found["state"] == "warn"
    host.run("mariadb -e \"SET GLOBAL time_zone = 'SYSTEM'\"")


def test_keys_in_a_log_are_named(host: PbxHost) -> None:
    host.run("echo 'GET /?api_key=x' >> /var/log/nginx/access.log")
    assert "/var/log/nginx/access.log holds keys" in doctor(host, "keys in logs")["found"]
    host.run("truncate -s 0 /var/log/nginx/access.log")


def test_the_route_is_private_until_it_is_made_public(host: PbxHost) -> None:
    host.run("ip address add 203.0.113.7/32 dev lo")
    ask = "curl -s -o /dev/null -w '%{http_code}' --interface 203.0.113.7 http://127.0.0.1"
    assert host.run(f"{ask}/pbx/api/index/check") == "403"
    host.run("evolvex-api setup --yes --public")
    wait_until(lambda: host.run(f"{ask}/pbx/api/index/check") == "401", 10, "it is public")
    assert doctor(host, "clients")["state"] == "warn"
    # A later setup leaves it as it is.
    assert host.run("evolvex-api setup --yes").startswith("Everything is set up already.")
    host.run("evolvex-api setup --yes --private")
    wait_until(lambda: host.run(f"{ask}/pbx/api/index/check") == "403", 10, "it is private")


def test_a_call_log_on_another_host_is_let_through_the_sandbox(host: PbxHost) -> None:
    host.run("ip address add 203.0.113.9/32 dev lo")
    host.write("/etc/mysql/mariadb.conf.d/60-all.cnf", "[mariadbd]\nbind-address = 0.0.0.0\n")
    host.run("systemctl restart mariadb")
    host.run(
        "mariadb",
        text="CREATE USER reader@'%' IDENTIFIED BY 'x';"
        "GRANT SELECT ON asteriskcdrdb.* TO reader@'%'",
    )
    host.write(
        "/etc/evolvex/evolvex.conf.d/a.conf",
        "[cdr]\nunix_socket =\nhost = 203.0.113.9\nuser = reader\npassword = x\n",
    )
    said = host.run("evolvex-api setup --yes")
    assert "let 203.0.113.9 through" in said
    assert "203.0.113.9" in host.run("systemctl show --property=IPAddressAllow evolvex-api")
    assert host.curl("get_log_cdr").status == 200
    host.run("rm /etc/evolvex/evolvex.conf.d/a.conf")
    host.run("evolvex-api setup --remove")
    assert not host.succeeds("ls /etc/systemd/system/evolvex-api*.service.d/*")
    host.run("evolvex-api setup --yes")


@pytest.mark.parametrize(
    ("fault", "repair", "reason"),
    [
        ("systemctl stop mariadb", "systemctl start mariadb", "systemctl start mariadb"),
        (
            "mount --bind /etc/asterisk /etc/asterisk; mount -o remount,ro,bind /etc/asterisk",
            "umount /etc/asterisk",
            "Read-only file system",
        ),
    ],
)
def test_what_can_not_be_undone_is_left_whole(
    host: PbxHost, fault: str, repair: str, reason: str
) -> None:
    before = state_of(host)
    host.run(fault)
    said = host.run("evolvex-api setup --remove", check=False)
    host.run(repair)
    assert reason in said
    assert "Traceback" not in said
    wait_until(lambda: host.succeeds("mariadb -e 'SELECT 1'"), 20, "MariaDB")
    assert state_of(host) == before
    wait_until(lambda: healthy(host), 10, "the route works")
