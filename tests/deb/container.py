"""A booted Debian with systemd, in a network of its own: a PBX host to install the package on."""

import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from tests.lab import packages
from tests.lab.server import wait_until

ROOT = Path(__file__).parents[2]
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
}


class CommandFailed(AssertionError):
    """A command in the container failed; the text is what it printed."""


class Container:
    """Debian `suite`, booted; what it writes is gone when it stops.

    It has loopback alone, so it can neither disturb nor be disturbed; the packages it may need are
    in apt's cache already. `binds` are nspawn's --bind-ro arguments, `kind` is packaging/tree's.
    """

    def __init__(self, suite: str, binds: Sequence[str] = (), kind: str = "boot") -> None:
        self.suite = suite
        self._binds = binds
        self._kind = kind
        self._init = 0

    def __enter__(self) -> Self:
        packages.ensure("mmdebstrap", "systemd-container")
        tree = subprocess.run(
            [ROOT / "packaging" / "tree", self._kind, self.suite],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout.strip()
        self._console = tempfile.TemporaryFile()  # closed when it stops
        self._nspawn = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "TERM"),
                *("systemd-nspawn", "--quiet", f"--directory={tree}", "--volatile=overlay"),
                *("--boot", "--register=no", "--keep-unit", "--private-network"),
                *("--timezone=off", f"--machine=evolvex-{self.suite}-{os.getpid()}"),
                *(f"--bind-ro={bind}" for bind in self._binds),
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._console,
            stderr=self._console,
        )
        wait_until(self._has_booted, 60, f"Debian {self.suite} booted")
        return self

    def __exit__(self, *_: object) -> None:
        if self._init:
            os.kill(self._init, signal.SIGRTMIN + 4)  # systemd: power off
        try:
            self._nspawn.wait(30)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait()
        self._console.close()

    def run(self, command: str, timeout: float = 120, check: bool = True, text: str = "") -> str:
        """Run a shell command as root; return its standard output, stripped.

        Raises CommandFailed, with all it printed, unless `check` is false.
        """
        done = subprocess.run(
            self.entering("bash", "-c", command),
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env=_ENVIRONMENT,
            check=False,
        )
        if check and done.returncode:
            raise CommandFailed(
                f"{command}\nexit code {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return (done.stdout if check else f"{done.stdout}{done.stderr}").strip()

    def succeeds(self, command: str) -> bool:
        """Whether a shell command ends with exit code 0."""
        try:
            self.run(command)
        except CommandFailed:
            return False
        return True

    def start(self, *command: str) -> "subprocess.Popen[str]":
        """Start a program in the container and return at once."""
        return subprocess.Popen(
            self.entering(*command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=_ENVIRONMENT,
        )

    def write(self, path: str, text: str, mode: str = "0644") -> None:
        """Write a file, with the folders above it."""
        quoted = shlex.quote(path)
        self.run(
            f"mkdir -p $(dirname {quoted}) && cat > {quoted} && chmod {mode} {quoted}", text=text
        )

    def copy_in(self, source: Path, target: str) -> None:
        """Copy a file of this machine into the container."""
        with source.open("rb") as file:
            subprocess.run(
                self.entering("sh", "-c", f"cat > {shlex.quote(target)}"),
                stdin=file,
                env=_ENVIRONMENT,
                check=True,
            )

    def read(self, path: str) -> str:
        """The text of a file."""
        return self.run(f"cat {shlex.quote(path)}")

    def journal(self, unit: str) -> str:
        """What a unit said, since boot."""
        return self.run(f"journalctl --no-pager --output=cat --unit={unit}")

    def entering(self, *command: str) -> list[str]:
        """The command that runs `command` in the container."""
        namespaces = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root")
        return ["nsenter", f"--target={self._init}", *namespaces, "env", "--chdir=/", *command]

    def _has_booted(self) -> bool:
        if self._nspawn.poll() is not None:
            self._console.seek(0)
            raise RuntimeError(self._console.read().decode(errors="replace")[-3000:])
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text()
        if not children.split():
            return False
        self._init = int(children.split()[0])
        state = self.run("systemctl is-system-running", check=False)
        return state.splitlines()[-1:] in (["running"], ["degraded"])
