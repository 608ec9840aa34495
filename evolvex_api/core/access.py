"""API users, groups and contexts: who may do what.

Pure: `backends/access_store.py` reads the files, `backends/access_files.py` writes them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from ipaddress import IPv4Network, IPv6Network, ip_address

from evolvex_api.core.rules import Rules

ANY_CONTEXT = "*"
# What a context may be called: in a group's file, in a request, and inside Local/…@context.
CONTEXT_NAME = r"[\w.+:-]{1,79}"

# What a group may do when its file has no `rights`; `metrics` and `control` only when named.
DEFAULT_RIGHTS: frozenset[str] = frozenset(
    {"check", "status", "recordings", "originate", "uploads", "cdr", "events", "stats"}
)
RIGHTS = DEFAULT_RIGHTS | {"metrics", "control"}


@dataclass(frozen=True)
class Access:
    """One routing context that a group may use; the name `*` grants every context."""

    uuid: str
    name: str
    description: str
    group_uuid: str


@dataclass(frozen=True)
class Scope:
    """What a group may see: its contexts (None: every context) and rows marked as its own."""

    contexts: frozenset[str] | None
    group_uuid: str

    @property
    def open(self) -> bool:
        """True when there is nothing to scope off."""
        return self.contexts is None

    def allows(self, context: str | None) -> bool:
        """True when the context is granted."""
        return self.contexts is None or context in self.contexts


@dataclass(frozen=True)
class Group:
    """A group of API users and the contexts granted to it."""

    uuid: str
    name: str
    description: str = ""
    accesses: tuple[Access, ...] = ()
    given_rights: frozenset[str] | None = None  # None: the file names none
    rules: Rules = field(default_factory=Rules)

    @property
    def rights(self) -> frozenset[str]:
        """What the group may do; `check` alone when it grants no context and names no right."""
        if self.given_rights is not None:
            return self.given_rights
        return DEFAULT_RIGHTS if self.accesses else frozenset({"check"})

    @property
    def scope(self) -> Scope:
        """The group's scope."""
        names = frozenset(access.name for access in self.accesses)
        return Scope(None if ANY_CONTEXT in names else names, self.uuid)

    def access_to(self, context: str) -> Access | None:
        """The access that grants a context, or None; one under `*` answers with the asked name."""
        by_name = {access.name: access for access in self.accesses}
        if context in by_name:
            return by_name[context]
        if ANY_CONTEXT in by_name:
            any_ = by_name[ANY_CONTEXT]
            return Access(any_.uuid, context, any_.description, any_.group_uuid)
        return None


@dataclass(frozen=True)
class User:
    """An API user; the key itself is known only to its holder.

    `allowed_from` are the networks of its clients (empty: any), `expires` its last day.
    """

    uuid: str
    name: str
    description: str
    enabled: bool
    api_key_sha256: str = field(repr=False)
    group_uuid: str
    allowed_from: tuple[IPv4Network | IPv6Network, ...] = ()
    expires: date | None = None

    def admits(self, address: str | None) -> bool:
        """True when a client of this address, as text, may use the key."""
        if not self.allowed_from:
            return True
        try:
            client = ip_address(address or "")
        except ValueError:
            return False
        # A socket of IPv6 shows a client of IPv4 as ::ffff:10.0.0.1.
        client = getattr(client, "ipv4_mapped", None) or client
        return any(client in network for network in self.allowed_from)

    def has_expired(self, today: date) -> bool:
        """True when `today`, of the host's local time, is past the user's last day."""
        return self.expires is not None and today > self.expires


@dataclass(frozen=True)
class AccessBook:
    """All users and groups as they stood at one moment, and what was wrong with their files."""

    users: Mapping[str, User] = field(default_factory=dict)  # by api_key_sha256
    groups: Mapping[str, Group] = field(default_factory=dict)  # by uuid
    problems: tuple[str, ...] = ()

    def user_of(self, api_key: str) -> User | None:
        """The user whose key this is, enabled or not; None for an unknown key.

        The look-up compares SHA-256 digests, so its timing reveals nothing about a stored key.
        """
        return self.users.get(key_digest(api_key))

    def group_of(self, user: User) -> Group:
        """The user's group; one without any right when its file is missing or broken."""
        return self.groups.get(user.group_uuid) or Group(
            user.group_uuid, name="", given_rights=frozenset()
        )


def key_digest(api_key: str) -> str:
    """SHA-256 of a key, in lower-case hexadecimal, as stored in users.d."""
    return hashlib.sha256(api_key.encode("utf-8", "surrogatepass")).hexdigest()
