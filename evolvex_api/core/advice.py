"""What `doctor` says of groups whose keys can spend money, or can't since an upgrade."""

from __future__ import annotations

from collections.abc import Sequence

from evolvex_api.core.access import AccessBook, Group

ALLOW_TRUNKS = "channels = PJSIP/*, PJSIP/*@*, Local/*@*"


def unbounded_groups(book: AccessBook) -> Sequence[Group]:
    """Groups with an enabled user that reach a trunk and have no `numbers`.

    What a context of the dialplan reaches can't be seen from here.
    """
    return [
        group for group in _calling(book) if group.rules.calls.numbers is None and _trunks(group)
    ]


def groups_without_trunks(book: AccessBook) -> Sequence[Group]:
    """Groups with an enabled user that dialled through trunks in version 1.0 and now don't.

    They are without `*` and without `channels`.
    """
    return [
        group
        for group in _calling(book)
        if group.rules.calls.channels is None and not group.scope.open and group.accesses
    ]


def _calling(book: AccessBook) -> Sequence[Group]:
    used = {user.group_uuid for user in book.users.values() if user.enabled}
    return [
        group
        for group in sorted(book.groups.values(), key=lambda one: one.name)
        if group.uuid in used and "originate" in group.rights
    ]


def _trunks(group: Group) -> bool:
    """True when the group may dial TECH/number@endpoint or TECH/group/number."""
    channels = group.rules.calls.channels
    if channels is None:
        return group.scope.open
    resources = [channel.partition("/")[::2] for channel in channels]
    return any(
        technology.lower() != "local" and ("@" in resource or "/" in resource)
        for technology, resource in resources
    )
