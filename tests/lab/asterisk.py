"""A real Asterisk with every folder, port and mount of its own."""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.lab.manager import Manager
from tests.lab.mariadb import MariaDB
from tests.lab.rootfs import rootfs
from tests.lab.server import LabError, Server, free_ports, wait_until

_TEMPLATES = Path(__file__).parent / "etc" / "asterisk"
_SUITES = {22: "sid", 16: "bullseye"}
_SOUNDS_OF_ROOTFS = "/usr/share/asterisk/sounds/en_US_f_Allison"
_RTP_PORTS = 400
# Endpoints of PJSIP, each at a port of its own: phones, and trunks by which strangers call.
_DESKS = tuple(str(1001 + n) for n in range(80))
_TRUNKS = tuple(f"trunk{n}" for n in range(1, 19))
PHONES = ("phone1", "phone2", *_DESKS, *_TRUNKS)
# The rootfs is read-only; the lab's folder lies in it at the very path that it has outside.
_ENTER = """
mount --bind "$ROOTFS" "$ROOTFS"
mount -o remount,bind,ro "$ROOTFS"
mount --bind /proc "$ROOTFS/proc"
mount --bind /dev "$ROOTFS/dev"
mount -t tmpfs tmpfs "$ROOTFS/tmp"
mkdir -p "$ROOTFS$DIRECTORY"
mount --bind "$DIRECTORY" "$ROOTFS$DIRECTORY"
ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"
exec chroot "$ROOTFS" /usr/sbin/asterisk -f -C "$ETC/asterisk.conf"
"""


class Asterisk(Server):
    """Asterisk 22 or 16 from a rootfs of Debian; CDR go to `database` when one is given.

    The folders (`directory`, `etc`, `monitor`, `sounds`) have the same path inside and outside, so
    a path that Asterisk tells can be opened. Files are root's.
    """

    name = "asterisk"
    ami_username = "evolvex"
    ami_secret = "ami-secret"
    lab_username = "lab"
    lab_secret = "lab-secret"
    ari_username = "lab"
    ari_password = "ari-secret"

    def __init__(
        self, version: int = 22, database: MariaDB | None = None, timezone: str | None = None
    ) -> None:
        super().__init__(timezone)
        self.version = version
        self.database = database
        self.ami_port, self.ari_port, self.sip_port = (free_ports() for _ in range(3))
        first_phone = free_ports(2 * len(PHONES))
        self.phone_ports = {name: first_phone + 2 * n for n, name in enumerate(PHONES)}
        self.etc = self.directory / "etc"
        self.sounds = self.directory / "lib" / "sounds"
        self.monitor = self.directory / "spool" / "monitor"
        self.full_log = self.directory / "log" / "full.log"
        self._rootfs = rootfs(_SUITES[version])

    def cli(self, command: str, timeout: float = 10.0) -> str:
        """Run a command of Asterisk's console and return what it prints."""
        done = subprocess.run(
            [
                *("nsenter", "--target", str(self.pid), "--mount", "--root"),
                *("/usr/sbin/asterisk", "-C", f"{self.etc}/asterisk.conf", "-rx", command),
            ],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
        if done.returncode:
            raise LabError(f"asterisk -rx {command!r}: {done.stdout}{done.stderr}")
        return done.stdout

    def configure(self, name: str, lines: str, section: str = "options") -> None:
        """Add lines to the section of a file in `etc`, before the first start or for a reload."""
        self._prepare()
        path = self.etc / name
        path.write_text(path.read_text().replace(f"[{section}]\n", f"[{section}]\n{lines}", 1))

    def reload(self) -> None:
        """Make Asterisk read its configuration in `etc` again."""
        self.cli("core reload")

    def manager(self, timeout: float = 10.0) -> Manager:
        """Return an AMI session with all rights (the service's user has but few)."""
        return Manager(self.ami_port, self.lab_username, self.lab_secret, timeout)

    def channels(self) -> int:
        """Return how many channels are live."""
        counted = re.search(r"^(\d+) active channel", self.cli("core show channels count"), re.M)
        return int(counted[1]) if counted else 0

    def hang_up_all(self) -> None:
        """End every call and return when no channel is left."""
        self.cli("channel request hangup all")
        wait_until(lambda: self.channels() == 0, 10, "all channels gone")

    def global_variable(self, name: str) -> str:
        """Return a global of the dialplan, such as FORBIDDEN or PLAYED."""
        found = re.search(rf"^\s+{name}=(.*)$", self.cli("dialplan show globals"), re.M)
        if not found:
            raise LabError(f"no global {name}")
        return found[1]

    def log_tail(self, characters: int = 3000) -> str:
        """Return the end of Asterisk's own log or, when it came to none, of what it printed."""
        if not self.full_log.exists():
            return super().log_tail(characters)
        return self.full_log.read_text(errors="replace")[-characters:]

    def _prepare(self) -> None:
        """Make the folders and the configuration, once: tests may change it between starts."""
        if self.etc.exists():
            return
        for folder in (self.etc, self.sounds, self.monitor, self.full_log.parent):
            folder.mkdir(parents=True)
        (self.directory / "run").mkdir()
        (self.full_log.parent / "cel-custom").mkdir()
        (self.sounds / "en").symlink_to(_SOUNDS_OF_ROOTFS)
        for part in ("documentation", "rest-api"):
            (self.sounds.parent / part).symlink_to(f"/usr/share/asterisk/{part}")
        values = self._values()
        for template in _TEMPLATES.iterdir():
            (self.etc / template.name).write_text(_fill(template.read_text(), values))
        (self.etc / "pjsip_phones.conf").write_text(self._endpoints())

    def _endpoints(self) -> str:
        """Return the endpoints and addresses of the desks and trunks, after pjsip.conf's models."""
        text = ""
        for name in (*_DESKS, *_TRUNKS):
            model, own = ("trunk", "") if name in _TRUNKS else ("desk", f"callerid = <{name}>\n")
            contact = f"contact = sip:{name}@127.0.0.1:{self.phone_ports[name]}"
            text += f"[{name}]({model})\naors = {name}\n{own}[{name}]\ntype = aor\n{contact}\n\n"
        return text

    def _values(self) -> dict[str, str]:
        rtp_start = free_ports(_RTP_PORTS)
        user, password = MariaDB.writer
        return {
            "DIRECTORY": str(self.directory),
            "ETC": str(self.etc),
            "MODULES": self._modules(),
            "MONITOR": str(self.monitor),
            "AMI_PORT": str(self.ami_port),
            "AMI_SECRET": self.ami_secret,
            "LAB_SECRET": self.lab_secret,
            "ARI_PORT": str(self.ari_port),
            "ARI_PASSWORD": self.ari_password,
            "SIP_PORT": str(self.sip_port),
            "PHONE1_PORT": str(self.phone_ports["phone1"]),
            "PHONE2_PORT": str(self.phone_ports["phone2"]),
            "RTP_START": str(rtp_start),
            "RTP_END": str(rtp_start + _RTP_PORTS - 1),
            "CDR_PORT": str(self.database.port if self.database else 1),
            "CDR_USER": user,
            "CDR_PASSWORD": password,
        }

    def _modules(self) -> str:
        """Return the folder of Asterisk's modules, as seen inside; it differs between releases."""
        module = next((self._rootfs / "usr" / "lib").glob("**/asterisk/modules/app_dial.so"))
        return f"/{module.parent.relative_to(self._rootfs)}"

    def _command(self) -> Sequence[str]:
        return ["unshare", "--mount", "--propagation=private", "sh", "-ec", _ENTER]

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "TZ": self._timezone,
            "ROOTFS": str(self._rootfs),
            "DIRECTORY": str(self.directory),
            "ETC": str(self.etc),
            "ODBCSYSINI": str(self.etc),
            "ODBCINI": str(self.etc / "odbc.ini"),
        }

    def _is_ready(self) -> bool:
        """Asterisk has booted fully and AMI lets the lab in."""
        try:
            booted = "fully booted" in self.cli("core waitfullybooted")
            self.manager().close()
        except (LabError, OSError):
            return False
        return booted


def _fill(template: str, values: dict[str, str]) -> str:
    """Put `values` in place of @NAME@; `$` and other `@` belong to the dialplan."""
    return re.sub(r"@([A-Z0-9_]+)@", lambda name: values[name[1]], template)
