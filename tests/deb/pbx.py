"""A PBX host in a container, as its packages leave it, or as FreePBX 17 does.

Debian 12 has Asterisk 16 as a package (of Debian 11). Debian 13 has Asterisk 22, which no package
of its own brings, so it runs below a root of its own.
"""

import json
import shlex
from pathlib import Path
from typing import Any

from tests.deb.container import ROOT, Container
from tests.lab.rootfs import rootfs
from tests.lab.server import wait_until

APT = "apt-get -qq -o Dpkg::Use-Pty=0 install --yes --no-install-recommends"
_ASTERISK_ROOT = "/srv/asterisk"
_SQL = ROOT / "tests" / "lab" / "sql"
_WRITER = "writer-secret"

# What an Asterisk of another Debian shares with the host: what a build by hand would have there.
_SHARED = (
    "/etc/asterisk",
    "/etc/passwd",
    "/etc/group",
    "/etc/odbc.ini",
    "/etc/odbcinst.ini",
    "/var/lib",
    "/var/log/asterisk",
    "/var/spool/asterisk",
    "/run",
    "/proc",
    "/dev",
)

_UNIT = f"""\
[Unit]
Description=Asterisk
After=mariadb.service
[Service]
ExecStartPre=install -d -o asterisk -g asterisk /run/asterisk
ExecStart=chroot {_ASTERISK_ROOT} /usr/sbin/asterisk -f -U asterisk -G asterisk
Restart=always
"""

# The shipped sample (appended below) and a far end that rings, answers and sends a tone.
_DIALPLAN = """\
[outgoing]
exten => _X.,1,MixMonitor({recording})
 same => n,Set(CDR(recordingfile)={name})
 same => n,Dial(Local/${{EXTEN}}@answer/n,60,tT)
 same => n,Hangup()
[answer]
exten => _1XX,1,Answer()
 same => n,Set(TIMEOUT(absolute)=60)
 same => n,Milliwatt(o)
exten => _2XX,1,Busy()
[evolvex-watch]
exten => h,1,Set(GLOBAL(PLAYED)=${{file}} ${{PLAYBACKSTATUS}})
"""

_FREEPBX_MANAGER = """\
[general]
enabled = yes
port = 5038
bindaddr = 0.0.0.0
[admin]
secret = of-freepbx
deny=0.0.0.0/0.0.0.0
permit=127.0.0.1/255.255.255.0
read = all
write = all
#include manager_additional.conf
#include manager_custom.conf
"""

_FREEPBX_CONF = f"""\
<?php
$amp_conf['AMPDBUSER'] = 'freepbxuser';
$amp_conf['AMPDBPASS'] = '{_WRITER}';
$amp_conf['AMPDBHOST'] = 'localhost';
$amp_conf['AMPDBNAME'] = 'asterisk';
$amp_conf['AMPDBENGINE'] = 'mysql';
$amp_conf['datasource'] = '';
require_once('/var/www/html/admin/bootstrap.php');
?>
"""


class PbxHost(Container):
    """A PBX host as an administrator has it before the package comes.

    `freepbx`: Apache that runs as asterisk instead of nginx, FreePBX's files, table and tree.
    """

    def __init__(self, suite: str, freepbx: bool = False) -> None:
        self._packaged = suite == "bookworm"
        if self._packaged:
            super().__init__(suite, kind="pbx")
        else:
            super().__init__(suite, [f"{rootfs('sid')}:{_ASTERISK_ROOT}"])
        self.freepbx = freepbx
        self.key = ""

    def prepare(self) -> None:
        """Bring up database, Asterisk and web server."""
        self._make_database()
        if self._packaged:
            self._configure_asterisk()
            if self.freepbx:
                self._make_freepbx()
            self.run("systemctl restart asterisk")
        else:
            self._make_asterisk()
        self.wait_for_asterisk()
        self._choose_web_server()

    def cli(self, command: str) -> str:
        """Run a command of Asterisk's console."""
        return self.run(f"asterisk -rx {shlex.quote(command)}")

    def wait_for_asterisk(self) -> None:
        """Return when Asterisk has booted and takes AMI users."""
        wait_until(
            lambda: "fully booted" in self.run("asterisk -rx 'core waitfullybooted'", check=False),
            60,
            "Asterisk booted",
        )

    def curl(self, method: str, *arguments: str, key: str | None = None) -> "Answer":
        """Ask a method of the API through the web server; the key goes in a header."""
        header = f"Authorization: Bearer {key or self.key}"
        command = [
            *("curl", "--silent", "--show-error", "--include", "--max-time", "60"),
            *("--header", header, f"http://127.0.0.1/pbx/api/index/{method}", *arguments),
        ]
        return Answer(self.run(shlex.join(command)))

    def file_hash(self, method: str, query: str) -> str:
        """The SHA-256 of what a method answers."""
        url = f"http://127.0.0.1/pbx/api/index/{method}?{query}"
        return self.run(
            f"curl -sf -H 'Authorization: Bearer {self.key}' '{url}' | sha256sum | cut -c -64"
        )

    def main_pid(self) -> str:
        """The service's main process."""
        return self.run("systemctl show --property=MainPID --value evolvex-api")

    def _choose_web_server(self) -> None:
        """Leave the one web server that this host has."""
        if not self.freepbx:
            self.run("systemctl disable --now apache2; systemctl restart nginx")
            return
        self.run("systemctl disable --now nginx")
        self.run(
            "sed -i 's/=www-data/=asterisk/' /etc/apache2/envvars"
            " && chown asterisk /var/log/apache2 && systemctl restart apache2"
        )

    def _make_database(self) -> None:
        table = _SQL / ("freepbx.sql" if self.freepbx else "original.sql")
        writer = "freepbxuser" if self.freepbx else "asterisk"
        wait_until(
            lambda: self.succeeds("systemctl is-active mariadb && mariadb -e 'SELECT 1'"),
            60,
            "MariaDB",
        )
        self.run("mariadb -e 'CREATE DATABASE asteriskcdrdb CHARACTER SET utf8mb4'")
        self.run("mariadb asteriskcdrdb", text=table.read_text())
        self.run(
            "mariadb",
            text=f"CREATE USER {writer}@localhost IDENTIFIED BY '{_WRITER}';"
            f"GRANT SELECT, INSERT ON asteriskcdrdb.* TO {writer}@localhost;",
        )
        self.write("/etc/odbcinst.ini", "[MariaDB]\nDriver = libmaodbc.so\n")
        self.write(
            "/etc/odbc.ini",
            "[asteriskcdrdb]\nDriver = MariaDB\nServer = localhost\n"
            "Socket = /run/mysqld/mysqld.sock\nDatabase = asteriskcdrdb\nCharset = utf8mb4\n",
        )
        self._odbc = (
            "[cdr]\nenabled => yes\ndsn => asteriskcdrdb\npre-connect => yes\n"
            f"username => {writer}\npassword => {_WRITER}\n"
        )

    def _make_asterisk(self) -> None:
        """Asterisk from another Debian, its files owned as that package leaves them."""
        self.run("useradd --system --home-dir /var/lib/asterisk asterisk")
        number = self.run(f"stat -c %u {_ASTERISK_ROOT}/etc/asterisk")
        self.run(
            f"cp -a {_ASTERISK_ROOT}/etc/asterisk /etc/asterisk && find /etc/asterisk -uid {number}"
            " -exec chown asterisk:asterisk {} +"
        )
        self.run(
            "install -d -o asterisk -g asterisk -m 0750 /var/lib/asterisk /var/log/asterisk"
            " /var/spool/asterisk /var/spool/asterisk/monitor"
            " && install -d -o asterisk -g asterisk -m 0755 /var/lib/asterisk/sounds"
        )
        self._keep_data_in_var_lib()
        self._configure_asterisk()
        shared = " ".join(_SHARED)
        self.run(f"for path in {shared}; do mount --rbind $path {_ASTERISK_ROOT}$path; done")
        self.write(
            "/usr/sbin/asterisk",
            f'#!/bin/sh\nexec chroot {_ASTERISK_ROOT} /usr/sbin/asterisk "$@"\n',
            "0755",
        )
        self.write("/etc/systemd/system/asterisk.service", _UNIT)
        self.run("systemctl daemon-reload && systemctl start asterisk")

    def _keep_data_in_var_lib(self) -> None:
        """As a build by hand has it, and FreePBX."""
        self.write(
            "/etc/asterisk/asterisk.conf",
            "[directories]\nastdatadir => /var/lib/asterisk\n",
            "0640",
        )
        self.run("ln -s /usr/share/asterisk/documentation /var/lib/asterisk/")

    def _configure_asterisk(self) -> None:
        """What the administrator has configured: the call log's table, and a dialplan."""
        alias = "alias start => calldate\n" if self.freepbx else ""
        self.write("/etc/asterisk/res_odbc.conf", self._odbc, "0640")
        self.write(
            "/etc/asterisk/cdr_adaptive_odbc.conf",
            f"[cdr]\nconnection = cdr\ntable = cdr\n{alias}",
            "0640",
        )
        self.write("/etc/asterisk/extensions.conf", self._dialplan(), "0640")

    def _make_freepbx(self) -> None:
        """What FreePBX writes; it gives all of /etc/asterisk to asterisk (fwconsole chown)."""
        self._keep_data_in_var_lib()
        self.write("/etc/asterisk/manager.conf", _FREEPBX_MANAGER, "0640")
        self.run("touch /etc/asterisk/manager_additional.conf /etc/asterisk/manager_custom.conf")
        self.write("/etc/freepbx.conf", _FREEPBX_CONF, "0640")
        self.run("chown -R asterisk:asterisk /etc/asterisk")

    def _dialplan(self) -> str:
        name = "${UNIQUEID}.wav"
        recording = "${UNIQUEID}.wav"
        if self.freepbx:
            name = "out-${EXTEN}-100-${STRFTIME(,,%Y%m%d-%H%M%S)}-${UNIQUEID}.wav"
            recording = "${STRFTIME(,,%Y/%m/%d)}/" + name
        sample = (ROOT / "etc" / "asterisk" / "extensions_evolvex.conf").read_text()
        sample = sample.replace("n(refuse),Hangup()", "n(refuse),Goto(evolvex-watch,h,1)")
        return _DIALPLAN.format(recording=recording, name=name) + sample


def install(host: PbxHost, package: Path) -> None:
    """Install the package as an administrator does."""
    host.copy_in(package, "/root/evolvex-api.deb")
    host.run(f"{APT} /root/evolvex-api.deb")


def healthy(host: PbxHost) -> bool:
    """Whether the key works through the web server."""
    return host.curl("check").status == 200


def state_of(host: PbxHost) -> str:
    """All that setup may change: files of /etc with owner, mode and content, links, ACLs, users."""
    return host.run(
        "cd /; find etc -xdev ! -name '*-' ! -type d -printf '%p %u:%g %m %l\\n' | sort;"
        " find etc -xdev -type f ! -name '*-' -exec sha256sum {} + | sort;"
        " find var/lib/asterisk/sounds usr/share/asterisk/sounds -maxdepth 1 2> /dev/null | sort;"
        " getfacl -R var/spool/asterisk var/cache/evolvex-api 2> /dev/null;"
        " getent group asterisk;"
        " mariadb -Ne 'SELECT user, host, authentication_string FROM mysql.user'"
    )


def undone(host: PbxHost) -> None:
    """Nothing that setup did is left."""
    # nginx's reload lets the workers that are there finish first.
    wait_until(lambda: host.curl("check").status == 404, 10, "the route is gone")
    assert (
        host.run("grep -Rl 'evolvex-api' /etc/nginx/sites-* /etc/asterisk/manager* || true") == ""
    )
    assert host.run("mariadb -Ne \"SELECT count(*) FROM mysql.user WHERE user='evolvex'\"") == "0"
    assert "www-data" not in host.run("getfacl -R /var/spool/asterisk /var/cache/evolvex-api")
    assert not host.succeeds("ls /etc/evolvex/setup.*")


class Answer:
    """What curl --include printed: the last answer's status, headers and body."""

    def __init__(self, printed: str) -> None:
        head, _, self.body = printed.replace("\r\n", "\n").partition("\n\n")
        while head.split(" ")[1] == "100":
            head, _, self.body = self.body.partition("\n\n")
        status, *lines = head.split("\n")
        self.status = int(status.split(" ")[1])
        self.headers = dict(line.lower().split(": ", 1) for line in lines if ": " in line)

    @property
    def data(self) -> Any:
        """The `data` of a good answer."""
        assert self.status == 200, f"{self.status} {self.body}"
        return json.loads(self.body)["data"]
