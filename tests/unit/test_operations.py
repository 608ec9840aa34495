"""docs/operations.md names what doctor prints and what setup does, in both languages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ENGLISH = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
RUSSIAN = (ROOT / "docs" / "operations.ru.md").read_text(encoding="utf-8")
CHECKS = "\n".join(path.read_text() for path in (ROOT / "evolvex_api" / "doctor").glob("*.py"))


@pytest.mark.parametrize("text", [ENGLISH, RUSSIAN], ids=["en", "ru"])
def test_each_line_of_doctor_is_explained(text: str) -> None:
    table = re.findall(r"^\| ([a-zA-Z0-9, …]+) \|", text, re.M)
    explained = {name.strip() for row in table for name in row.split(",")}
    names = set(re.findall(r'(?:Finding|_writable)\(\s*"([^"]+)"', CHECKS))
    assert len(names) > 12
    assert names - explained == set()


@pytest.mark.parametrize("name", ["setup --remove", "--public", "--dry-run --json", "setup.state"])
def test_both_languages_name_the_same_commands(name: str) -> None:
    assert name in ENGLISH
    assert name in RUSSIAN


def test_both_languages_have_the_same_sections() -> None:
    assert ENGLISH.count("\n## ") == RUSSIAN.count("\n## ")
    assert ENGLISH.count("\n### ") == RUSSIAN.count("\n### ")


def test_the_role_for_ansible_is_yaml_with_a_name_for_each_task() -> None:
    role = re.search(r"^```yaml\n(.*?)^```", ENGLISH, re.M | re.S)
    assert role
    tasks = yaml.safe_load(role[1])
    assert all(task["name"] for task in tasks)
