"""Answers that keep the database or much memory busy: how many there may be at once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from evolvex_api.backends.places import Places
from evolvex_api.core.refusals import too_many

_RETRY_AFTER = 5


class Exports:
    """Places for such answers, so many a user and so many for all, over all worker processes."""

    def __init__(self, per_user: int, in_all: int) -> None:
        """To be made before the workers are forked."""
        self._per_user = per_user
        self._in_all = in_all
        self._users = Places(per_user)
        self._all = Places(in_all)

    @contextlib.contextmanager
    def place(self, user_uuid: str) -> Iterator[None]:
        """Hold a place until the answer has been sent.

        Raises ApiError(429, too_many_exports) when none is free.
        """
        with self._users.hold(user_uuid) as own, self._all.hold("") as common:
            if not own:
                self._refuse(f"This API user has {self._per_user} such answers under way already")
            if not common:
                self._refuse(f"This service has {self._in_all} such answers under way already")
            yield

    def _refuse(self, what: str) -> None:
        detail = f"{what}. Read them to their end or close them; `limit` gives smaller pages."
        raise too_many("too_many_exports", detail, _RETRY_AFTER)
