"""The things that setup does, a module each, and how each kind of them is undone."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from evolvex_api.setup.changes import Changes
from evolvex_api.setup.steps import ami, apache, calllog, nginx, recordings, sounds, unit

# Kind of a Record → the function that undoes it and returns a line for people; raises SetupError.
UNDO: Mapping[str, Callable[[str, Changes], str]] = {
    "ami": ami.undo,
    "dbuser": calllog.undo,
    "link": sounds.undo_link,
    "freepbx": sounds.undo_freepbx,
    "acl": recordings.undo,
    "unit": unit.undo,
    "nginx": nginx.undo,
    "apacheconf": apache.undo_conf,
    "apachemod": apache.undo_module,
    "apachelog": apache.undo_log,
}
