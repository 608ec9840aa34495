"""Who may hear a recording: the group behind a key, or the one that a signed link names."""

from __future__ import annotations

import time

from evolvex_api import journal
from evolvex_api.api.common import authorise, has_key, services
from evolvex_api.backends import link_secret
from evolvex_api.backends.failures import RecordingNotFound
from evolvex_api.backends.recordings import NOT_FOUND
from evolvex_api.core.access import Group
from evolvex_api.core.links import Link
from evolvex_api.params import Params


def listening_group(params: Params) -> Group:
    """Return the group whose scope the request has; a key, when one is given, decides.

    Raises ApiError as `authorise` and `core.links.Link.check` do, and RecordingNotFound for a link
    of a group that is gone or lacks the right: a link is worth what its group may hear now.
    """
    group_uuid, expires, signature = (
        params.optional(name) or "" for name in ("group", "expires", "signature")
    )
    if not signature or has_key(params):
        return authorise(params, "recordings").group
    secret = link_secret.load(services().config.path)
    link = Link(params.required("uniqueid"), group_uuid, expires)
    link.check(secret, signature, time.time())
    group = services().access.current().groups.get(group_uuid)
    if group is None or "recordings" not in group.rights:
        raise RecordingNotFound(NOT_FOUND)
    journal.entry().group = group.name
    journal.touch(link="signed")
    return group
