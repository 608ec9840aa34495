"""The documents for people say what the code does: configuration, codes, parameters."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from evolvex_api import config, errors
from evolvex_api.backends.ami_status import FILTERS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RUSSIAN = (ROOT / "docs" / "api.ru.md").read_text(encoding="utf-8")
SOURCES = sorted((ROOT / "evolvex_api").rglob("*.py"))


def codes() -> set[str]:
    """Every code that the service can answer with, read from its sources."""
    found = set(errors._HTTP_CODES.values()) | {"http_error"}
    found |= {code for _, code in errors._BACKEND_FAILURES.values()}
    for path in SOURCES:
        found |= set(re.findall(r'ApiError\(\s*\d+, "(\w+)"', path.read_text(encoding="utf-8")))
    return found


def parameters() -> set[str]:
    """Every parameter that the service reads, but those of status, which are a table."""
    reads = r'params\.(?:optional|required|flag|integer)\(\s*"(\w+)"'
    helpers = r'_(?:required|optional|short|moment)\(params, "(\w+)"'
    found: set[str] = set(FILTERS) | {"file", "api_key"}
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        found |= set(re.findall(reads, text)) | set(re.findall(helpers, text))
    return found


@pytest.mark.parametrize("text", [README, RUSSIAN], ids=["README", "api.ru"])
def test_documents_name_every_code(text: str) -> None:
    assert {code for code in codes() if f"`{code}`" not in text} == set()


def test_documents_name_every_parameter() -> None:
    assert {name for name in parameters() if f"`{name}`" not in RUSSIAN} - {"file"} == set()


def test_readme_and_shipped_file_show_every_option_at_its_default() -> None:
    shown: list[tuple[str, str, str]] = []
    section = ""
    table = README.partition("<!-- configuration -->")[2].partition("\n\n")[0]
    for row in table.splitlines()[3:]:
        first, key, default = (cell.strip("`[] ") for cell in row.strip("|").split("|"))
        section = first or section
        shown.append((section, key, default))
    expected = [
        (name, option.name, option.metadata["default"] or "")
        for name, kind in config.SECTIONS.items()
        for option in dataclasses.fields(kind)
    ]
    assert shown == expected
    shipped = (ROOT / "etc" / "evolvex.conf").read_text(encoding="utf-8")
    for _, key, default in expected:
        first = default.splitlines()[0] if default else ""
        assert re.search(rf"^#? ?{key} = ?{re.escape(first)}", shipped, re.MULTILINE), key
