"""The console's files: how they are served, and what must not stand in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from flask import Flask

import evolvex_api
from evolvex_api import config
from evolvex_api.app import PREFIXES, create_app

FOLDER = Path(evolvex_api.__file__).parent / "console"
FILES = sorted(FOLDER.iterdir())
SCRIPTS = [path for path in FILES if path.suffix == ".js"]
_NOWHERE = "[ami]\nport = 1\nsecret = s\n[cdr]\nport = 1\npassword = p\n"
_PAGE = (FOLDER / "index.html").read_text()


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    """The application; the console needs nothing behind it."""
    path = tmp_path / "evolvex.conf"
    path.write_text(_NOWHERE)
    return create_app(config.load(path))


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(("end", "base"), [("/console", "console/"), ("/console/", "./")])
def test_the_page_finds_its_files_with_and_without_the_slash(
    app: Flask, prefix: str, end: str, base: str
) -> None:
    answer = app.test_client().get(prefix + end)
    assert (answer.status_code, answer.content_type) == (200, "text/html; charset=utf-8")
    assert f'<base href="{base}">' in answer.text


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.name))
def test_every_file_is_served_without_a_key(app: Flask, prefix: str, path: Path) -> None:
    answer = app.test_client().get(f"{prefix}/console/{path.name}")
    assert (answer.status_code, answer.data) == (200, path.read_bytes())
    policy = answer.headers["Content-Security-Policy"].split("; ")
    assert {"default-src 'self'", "frame-ancestors 'none'", "object-src 'none'"} <= set(policy)
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    again = app.test_client().get(
        f"{prefix}/console/{path.name}", headers={"If-None-Match": answer.headers["ETag"]}
    )
    assert (again.status_code, again.data) == (304, b"")
    head = app.test_client().head(f"{prefix}/console/{path.name}")
    assert (head.status_code, head.data) == (200, b"")


def test_the_two_forms_of_the_page_are_told_apart_by_their_etag(app: Flask) -> None:
    tags = {
        app.test_client().get(PREFIXES[0] + end).headers["ETag"]
        for end in ("/console", "/console/")
    }
    assert len(tags) == 2


@pytest.mark.parametrize(
    "name", ["x.js", "__init__.py", "..", "%2e%2e", "..%2fapp.py", "a/b.js", "%00"]
)
def test_nothing_else_is_served(app: Flask, name: str) -> None:
    answer = app.test_client().get(f"{PREFIXES[0]}/console/{name}")
    assert answer.status_code in (400, 404)
    assert answer.content_type.startswith("application/problem+json")


def test_all_files_together_are_small() -> None:
    assert sum(path.stat().st_size for path in FILES) <= 100_000


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.name))
def test_nothing_comes_from_elsewhere(path: Path) -> None:
    addresses = set(re.findall(r"https?://[^\s\"'`)]+", path.read_text()))
    assert addresses <= {"http://www.w3.org/2000/svg"}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.name))
def test_no_script_makes_markup_or_code_of_text(path: Path) -> None:
    """A caller chooses the name that the PBX shows: it may only ever become a text node."""
    makers = ["innerHTML", "outerHTML", "insertAdjacentHTML", "setHTML", "document.write"]
    makers += ["DOMParser", "srcdoc", "createContextualFragment", "eval(", "new Function"]
    assert [maker for maker in makers if maker in path.read_text()] == []


def test_the_page_preloads_every_module() -> None:
    """Else a browser finds them one after the other."""
    preloaded = set(re.findall(r'modulepreload" href="([^"]+)"', _PAGE))
    assert preloaded == {path.name for path in SCRIPTS} - {"app.js"}
    assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|style=", _PAGE)


def _texts(name: str) -> dict[str, str]:
    source = (FOLDER / "texts.js").read_text()
    block = re.search(rf"^const {name} = \{{(.*?)^\}};", source, re.M | re.S)
    assert block is not None
    return dict(re.findall(r'(\w+): "((?:[^"\\]|\\.)*)"', block[1]))


def test_both_languages_have_the_same_texts_with_the_same_values() -> None:
    english, russian = _texts("EN"), _texts("RU")
    plurals = {"calls_few", "calls_many"}
    assert english.keys() == russian.keys() - plurals
    for name, text in english.items():
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", russian[name])), name


def test_every_text_is_used() -> None:
    code = "".join(path.read_text() for path in SCRIPTS if path.name != "texts.js")
    code += (FOLDER / "texts.js").read_text().partition("export const LANGUAGE")[2]
    unused = {name for name in _texts("EN") if not re.search(rf"\b{name}\b", code)}
    assert unused <= {"calls_one", "calls_other"}
