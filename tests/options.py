"""Sections of evolvex.conf for tests that need no file: every option not given at its default."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

_Section = TypeVar("_Section")


def section(kind: type[_Section], **given: Any) -> _Section:
    """An instance of one of config.SECTIONS with these values."""
    values = {
        option.name: option.metadata["read"](option.metadata["default"])
        for option in dataclasses.fields(kind)  # type: ignore[arg-type]  # every section is one
        if option.name not in given and option.metadata["default"] is not None
    }
    return kind(**values, **given)
