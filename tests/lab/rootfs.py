"""Debian trees that hold Asterisk, since Debian 12 has no package of it.

They are made once, by mmdebstrap, below `build/lab/` of the checkout. A tree is made in a folder
beside its place and renamed when whole, so a build that was cut off is never used. Servers mount
the trees read-only.
"""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab import packages

CACHE = Path(__file__).parents[2] / "build" / "lab"

_INCLUDE = "asterisk,asterisk-modules,odbc-mariadb,unixodbc,tzdata"
# A namespace of its own: what mmdebstrap mounts and starts ends with it, even when killed.
_CONTAINED = (
    "unshare",
    "--mount",
    "--propagation=private",
    "--pid",
    "--kill-child",
    "--mount-proc",
)


def rootfs(suite: str) -> Path:
    """Return the tree of Debian `suite` with Asterisk in it; the first time takes about 20 s."""
    tree = CACHE / suite
    with _alone(suite):
        if _recipe(tree) != _INCLUDE:
            packages.ensure("mmdebstrap")
            _build(suite, tree)
    return tree


def _recipe(tree: Path) -> str | None:
    """Return the package list that `tree` was made of, or None when there is no whole tree."""
    note = tree / "etc" / "evolvex-lab"
    return note.read_text() if note.exists() else None


@contextmanager
def _alone(suite: str) -> Iterator[None]:
    """Hold the lock of `suite`, so that two processes do not build it at once."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{suite}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(suite: str, tree: Path) -> None:
    half_made = tree.with_suffix(".new")
    for leftover in (half_made, tree):
        if leftover.exists():
            shutil.rmtree(leftover)
    _mmdebstrap(suite, half_made)
    (half_made / "etc" / "evolvex-lab").write_text(_INCLUDE)
    half_made.rename(tree)


def _mmdebstrap(suite: str, target: Path) -> None:
    command = [
        *("setpriv", "--pdeathsig", "KILL"),
        *_CONTAINED,
        *("mmdebstrap", "--quiet", "--mode=root", "--variant=apt", f"--include={_INCLUDE}"),
        '--aptopt=Acquire::Check-Valid-Until "false"',
        *(suite, str(target)),
    ]
    packages.run_quietly(f"mmdebstrap {suite}", command, RuntimeError)
