"""openapi.yaml against the code: routes, methods, parameters and error codes."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from evolvex_api import config, errors
from evolvex_api.api.openapi import document
from evolvex_api.app import PREFIXES, create_app
from evolvex_api.backends.access_files import AccessFiles
from evolvex_api.core.refusals import Code
from evolvex_api.events import app as events_app
from evolvex_api.params import Params

# Flask adds these to every route by itself.
_IMPLIED = {"HEAD", "OPTIONS"}
# What nginx and Apache route to the service of live calls.
_LIVE = ("/calls", "/events")
_NOWHERE = "[ami]\nport = 1\nsecret = s\n[cdr]\nport = 1\npassword = p\n"


@pytest.fixture
def key(tmp_path: Path) -> str:
    """The key of a user who may everything."""
    for folder in ("users.d", "groups.d"):
        (tmp_path / folder).mkdir()
    files = AccessFiles(tmp_path / "evolvex.conf")
    group = files.add_group("all", "")
    files.allow("all", "*", "")
    return files.add_user("crm", group, "", None)


class Api:
    """The applications of the two services, with nothing behind them that would answer."""

    def __init__(self, settings: config.Config) -> None:
        self.first = create_app(settings)
        self.live = events_app.create_app(settings)

    @property
    def rules(self) -> Iterator[Rule]:
        """The routes of both."""
        return itertools.chain(self.first.url_map.iter_rules(), self.live.url_map.iter_rules())

    def open(self, path: str, **arguments: Any) -> TestResponse:
        """Ask the service that the web server would ask."""
        service = self.live if path in _LIVE else self.first
        return service.test_client().open(PREFIXES[0] + path, **arguments)


@pytest.fixture
def app(tmp_path: Path, key: str) -> Api:
    """Both services."""
    path = tmp_path / "evolvex.conf"
    path.write_text(f"[server]\nstate_dir = {tmp_path}\n{_NOWHERE}")
    return Api(config.load(path))


def operations() -> list[tuple[str, str]]:
    """Every (HTTP method, path below the prefix) of the document."""
    return [(verb, path) for path, item in document()["paths"].items() for verb in item]


def operation(verb: str, path: str) -> dict[str, Any]:
    found: dict[str, Any] = document()["paths"][path][verb]
    return found


def resolved(part: dict[str, Any]) -> dict[str, Any]:
    """A part of the document, or what its $ref refers to."""
    found: Any = part
    while "$ref" in found:
        steps = found["$ref"].removeprefix("#/").split("/")
        found = document()
        for step in steps:
            found = found[step]
    assert isinstance(found, dict)
    return found


def query_parameters(verb: str, path: str) -> dict[str, dict[str, Any]]:
    parameters = (resolved(p) for p in operation(verb, path).get("parameters", []))
    return {p["name"]: p for p in parameters if p["in"] == "query"}


def body_properties(verb: str, path: str) -> dict[str, dict[str, Any]]:
    """The properties of the operation's bodies, which all media types have in common."""
    content = operation(verb, path).get("requestBody", {"content": {}})["content"]
    schemas = [media["schema"] for media in content.values()]
    assert all(schema == schemas[0] for schema in schemas)
    return dict(schemas[0]["properties"]) if schemas else {}


def example_request(verb: str, path: str, without: str = "") -> dict[str, Any]:
    """Arguments of the test client: every parameter at its example, but `without`."""
    query = {
        name: str(p.get("example", ""))  # what one server alone can give has none
        for name, p in query_parameters(verb, path).items()
        if name != without
    }
    arguments: dict[str, Any] = {"method": verb.upper(), "query_string": query}
    if path == "/uploads" and without != "file":
        arguments["data"] = {"file": (io.BytesIO(b"not audio"), "x.txt")}
    return arguments


def test_every_route_and_method_is_documented_and_exists(app: Api) -> None:
    served = {
        (method.lower(), rule.rule)
        for rule in app.rules
        if "/console" not in rule.rule  # pages for people
        for method in (rule.methods or set()) - _IMPLIED
    }
    assert served == {(verb, prefix + path) for prefix in PREFIXES for verb, path in operations()}
    assert [server["url"] for server in document()["servers"]] == list(PREFIXES)


@pytest.mark.parametrize(("verb", "path"), operations())
def test_parameters_read_are_those_documented(
    app: Api, key: str, verb: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: set[str] = set()
    plain = Params.optional

    def recording(self: Params, name: str) -> str | None:
        asked.add(name)
        return plain(self, name)

    plain_pairs = Params.pairs

    def recording_pairs(self: Params, name: str) -> Sequence[tuple[str | None, str]]:
        asked.add(name)
        return plain_pairs(self, name)

    monkeypatch.setattr(Params, "optional", recording)
    monkeypatch.setattr(Params, "pairs", recording_pairs)
    arguments = example_request(verb, path)
    if path not in {"/openapi.json", "/health"}:
        arguments["query_string"]["api_key"] = key
        asked.add("api_key")
    answer = app.open(path, **arguments)
    assert answer.status_code not in (400, 401, 403, 405, 500), answer.get_data(as_text=True)
    documented = set(query_parameters(verb, path)) | set(body_properties(verb, path)) - {"file"}
    if operation(verb, path).get("security") != []:
        documented |= {document()["components"]["securitySchemes"]["apiKeyQuery"]["name"]}
    assert asked == documented


def required_parameters() -> list[tuple[str, str, str]]:
    """Every (HTTP method, path, parameter) that the document requires."""
    return [
        (verb, path, name)
        for verb, path in operations()
        for name, parameter in query_parameters(verb, path).items()
        if parameter.get("required")
    ] + [("post", "/uploads", "file")]


@pytest.mark.parametrize(("verb", "path", "name"), required_parameters())
def test_what_is_documented_as_required_is(
    app: Api, key: str, verb: str, path: str, name: str
) -> None:
    answer = app.open(
        path,
        headers={"X-API-Key": key},
        **example_request(verb, path, without=name),
    )
    assert answer.status_code == 400
    assert answer.json is not None
    assert (answer.json["code"], answer.json["parameter"]) == ("missing_parameter", name)


def test_required_in_the_document_is_all_that_is_required(app: Api, key: str) -> None:
    named = {(verb, path) for verb, path, _ in required_parameters()}
    for verb, path in set(operations()) - named:
        answer = app.open(path, method=verb.upper(), headers={"X-API-Key": key})
        assert answer.status_code in (200, 503), (path, answer.get_data(as_text=True))


@pytest.mark.parametrize("prefix", PREFIXES)
def test_served_without_a_key_with_the_server_it_was_asked_at(app: Api, prefix: str) -> None:
    answer = app.first.test_client().get(f"{prefix}/openapi.json")
    assert answer.status_code == 200
    assert answer.json is not None
    assert answer.json["servers"] == [{"url": prefix}]
    assert answer.json["paths"] == document()["paths"]


def examples_of_codes() -> set[tuple[str, str]]:
    """(status or `default`, code) of every example of a failure that an operation refers to."""
    found = set()
    for verb, path in operations():
        for status, response in operation(verb, path)["responses"].items():
            media = resolved(response).get("content", {}).get("application/problem+json", {})
            for name, example in media.get("examples", {}).items():
                assert example["value"]["code"] == name
                assert status in ("default", str(example["value"]["status"]))
                found.add((status, name))
    return found


def test_every_error_code_is_documented_with_an_example() -> None:
    codes = set(get_args(Code))
    assert (
        set(document()["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]) == codes
    )
    assert {code for _, code in examples_of_codes()} == codes


def test_every_failure_of_the_outside_world_has_its_documented_status() -> None:
    documented = examples_of_codes()
    for status, code in errors.BACKEND_FAILURES.values():
        assert (str(status), code) in documented
