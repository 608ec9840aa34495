"""Virtual environments with the library versions that the service must work on.

They are made once, by pip, below `build/stacks/` of the checkout.
"""

import fcntl
import subprocess
import sys
from pathlib import Path

# What Debian 12 ships, what lies between, and the newest from the package index.
STACKS = {
    "gunicorn-20.1": (
        "gunicorn==20.1.0",
        "flask==2.2.2",
        "werkzeug==2.2.2",
        "pymysql==1.0.2",
        "click==8.1.3",
        # gunicorn 20.1 imports pkg_resources.
        "setuptools<81",
    ),
    "gunicorn-23": ("gunicorn==23.0.0", "flask==3.0.3", "werkzeug==3.0.6"),
    "newest": (),
}
_OTHERS = ("pyst2", "pymysql", "lameenc", "PyYAML", "flask", "gunicorn", "click")
_PLACE = Path(__file__).parents[2] / "build" / "stacks"


def python_of(name: str) -> str:
    """The interpreter of a stack; "newest" is the environment that the tests run in."""
    pins = STACKS[name]
    if not pins:
        return sys.executable
    _PLACE.mkdir(parents=True, exist_ok=True)
    folder, done = _PLACE / name, _PLACE / f"{name}.done"
    with (_PLACE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists() or done.read_text() != " ".join(pins):
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
            wanted = (*pins, *_OTHERS)
            pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *wanted]
            subprocess.run(pip, check=True)
            done.write_text(" ".join(pins))
    return str(folder / "bin" / "python")
