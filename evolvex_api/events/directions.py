"""Whether a call comes in, goes out or stays inside."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

Direction = Literal["in", "out", "internal"]


@dataclass(frozen=True)
class Directions:
    """`inbound_contexts` are shell patterns of the trunks' contexts; `internal_numbers` matches
    a whole number of this PBX."""

    inbound_contexts: tuple[str, ...]
    internal_numbers: re.Pattern[str]

    def of(self, context: str, exten: str) -> Direction:
        """Return the direction of a call whose first channel came to `exten` in `context`.

        An extension that is no number (`s` of an originated call that is not yet answered) is
        internal.
        """
        if any(fnmatchcase(context, pattern) for pattern in self.inbound_contexts):
            return "in"
        is_number = exten.lstrip("+").isdigit()
        return "out" if is_number and not self.internal_numbers.fullmatch(exten) else "internal"
