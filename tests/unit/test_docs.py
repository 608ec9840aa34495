"""The documents for people say what the code does: configuration, codes, parameters."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from evolvex_api import __version__, config
from evolvex_api.api.openapi import document

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RUSSIAN = (ROOT / "docs" / "api.ru.md").read_text(encoding="utf-8")
# tests/unit/test_openapi.py holds openapi.yaml to the code, so here it speaks for the code.
PROBLEM = document()["components"]["schemas"]["Problem"]["properties"]
CODES = set(PROBLEM["code"]["enum"])


def parameters() -> set[str]:
    """Every parameter of the API that is sent in a query string or a form."""
    operations = [verb for item in document()["paths"].values() for verb in item.values()]
    return {
        parameter["name"]
        for operation in operations
        for parameter in operation.get("parameters", ())
        if parameter.get("in") == "query"
    } | {"api_key"}


@pytest.mark.parametrize("text", [README, RUSSIAN], ids=["README", "api.ru"])
def test_documents_name_every_code(text: str) -> None:
    assert {code for code in CODES if f"`{code}`" not in text} == set()


def test_documents_name_every_parameter() -> None:
    assert {name for name in parameters() if f"`{name}`" not in RUSSIAN} == set()


def test_the_document_has_the_version_of_the_service() -> None:
    assert document()["info"]["version"] == __version__


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
