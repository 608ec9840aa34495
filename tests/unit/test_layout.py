"""The import graph: core/ knows no outside world, backends/ know no HTTP, and there is no cycle."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import evolvex_api

_ROOT = Path(evolvex_api.__file__).parent
_PACKAGE = _ROOT.name


def _name(path: Path) -> str:
    parts = (_PACKAGE, *path.relative_to(_ROOT).with_suffix("").parts)
    return ".".join(part for part in parts if part != "__init__")


MODULES = {_name(path): path for path in _ROOT.rglob("*.py")}


def imported(path: Path) -> set[str]:
    """Every module that a file imports, at its top or within a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in inner}
    return found


def graph() -> dict[str, set[str]]:
    """Each module of the package with those of the package that it imports."""
    return {name: imported(path) & MODULES.keys() for name, path in MODULES.items()}


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert list(TopologicalSorter(graph()).static_order())


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("core", ("flask", "socket", "evolvex_api.backends", "evolvex_api.api", "evolvex_api.cli")),
        ("backends", ("flask", "evolvex_api.api", "evolvex_api.errors", "evolvex_api.cli")),
    ],
)
def test_inner_packages_know_nothing_of_outer_ones(
    package: str, forbidden: tuple[str, ...]
) -> None:
    arrows = {
        (name, other)
        for name, path in MODULES.items()
        if name.startswith(f"{_PACKAGE}.{package}")
        for other in imported(path)
        if any(other == one or other.startswith(f"{one}.") for one in forbidden)
    }
    assert arrows == set()


@pytest.mark.parametrize(
    ("library", "place"), [("asterisk", ".backends.ami."), ("lameenc", ".mp3")]
)
def test_a_library_is_imported_in_one_place(library: str, place: str) -> None:
    importers = {
        name
        for name, path in MODULES.items()
        if any(one == library or one.startswith(f"{library}.") for one in imported(path))
    }
    assert len(importers) == 1
    assert place in importers.pop()
