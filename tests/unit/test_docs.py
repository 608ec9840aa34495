"""The documents for people say what the code does: configuration, codes, parameters."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from evolvex_api import __version__
from evolvex_api.api.openapi import document
from evolvex_api.backends import access_store

ROOT = Path(__file__).parents[2]
ERRORS = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
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


@pytest.mark.parametrize("text", [ERRORS, RUSSIAN], ids=["errors", "api.ru"])
def test_documents_name_every_code(text: str) -> None:
    assert {code for code in CODES if f"`{code}`" not in text} == set()


def test_documents_name_every_parameter() -> None:
    assert {name for name in parameters() if f"`{name}`" not in RUSSIAN} == set()


def test_the_document_has_the_version_of_the_service() -> None:
    assert document()["info"]["version"] == __version__


def test_what_is_generated_from_the_options_is_current() -> None:
    script = ROOT / "packaging" / "config_docs.py"
    done = subprocess.run(
        [sys.executable, str(script), "--check"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["security.md", "security.ru.md"])
def test_group_files_of_the_security_page_are_good(name: str, tmp_path: Path) -> None:
    blocks = re.findall(r"```ini\n(.*?)```", (ROOT / "docs" / name).read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        own = "" if "uuid" in block else "uuid = u\nname = sales\n"
        path = tmp_path / "sales.conf"
        path.write_text(block.replace("[group]\n", f"[group]\n{own}"), encoding="utf-8")
        group = access_store.read_group(path)
        assert "check" in group.rights
        assert ("originate" in group.rights) is (group.rules.calls.numbers is not None)


def test_both_security_pages_have_the_same_group_files() -> None:
    pages = [(ROOT / "docs" / f"security{ru}.md").read_text("utf-8") for ru in ("", ".ru")]
    assert len({tuple(re.findall(r"```ini\n(.*?)```", page, re.DOTALL)) for page in pages}) == 1
