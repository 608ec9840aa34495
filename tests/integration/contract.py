"""Real answers against openapi.yaml: status, media type, headers and body."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator

from evolvex_api.api.openapi import document
from evolvex_api.app import PREFIXES
from tests.lab.service import Answer

# Of a long list its first and last items are looked at; they come from the same place as the rest.
_ITEMS = 20


def assert_conforms(method: str, path: str, answer: Answer) -> None:
    """AssertionError unless the answer of a request is one that the document tells of.

    `path` is the method's name or a whole path, with or without a query string.
    """
    response = documented_response(method, path, answer.status)
    for name, header in response.get("headers", {}).items():
        present = name in answer.headers
        assert present or not resolved(header).get("required"), f"{path}: no header {name}"
    content = response.get("content", {})
    if not content:
        assert answer.body == b""
        return
    kind = answer.headers["Content-Type"].partition(";")[0]
    assert kind in content, f"{path}: {answer.status} as {kind}"
    if method != "HEAD" and "schema" in content[kind]:
        _assert_valid(content[kind]["schema"], _shortened(answer.json))


def documented_response(method: str, path: str, status: int) -> dict[str, Any]:
    """What the document says of a status; of the `default` failure for what it does not know."""
    responses = _responses(method, path)
    assert str(status) in responses or status >= 400, f"{path}: {status} is not documented"
    return resolved(responses.get(str(status), responses["default"]))


def resolved(part: dict[str, Any]) -> dict[str, Any]:
    """A part of the document, or what its $ref refers to."""
    found: Any = part
    while "$ref" in found:
        steps = found["$ref"].removeprefix("#/").split("/")
        found = functools.reduce(lambda node, step: node[step], steps, document())
    assert isinstance(found, dict)
    return found


def schema_examples() -> Iterator[tuple[str, dict[str, Any], Any]]:
    """(where, schema, example) of every example of an answer."""
    for path, item in document()["paths"].items():
        for verb, operation in item.items():
            for status, response in operation["responses"].items():
                for media in resolved(response).get("content", {}).values():
                    given = [example["value"] for example in media.get("examples", {}).values()]
                    given += [media["example"]] if "example" in media else []
                    for example in given:
                        yield f"{verb} {path} {status}", media["schema"], example


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    """A validator of a schema of the document, made once."""
    return _compiled(json.dumps(schema))


def _responses(method: str, path: str) -> dict[str, Any]:
    """The documented responses of a request; of a method that exists nowhere, failures alone."""
    bare = path.partition("?")[0]
    prefix = next((p for p in PREFIXES if bare.startswith(f"{p}/")), "")
    item = document()["paths"].get(f"/{bare.removeprefix(prefix).strip('/')}", {})
    verb = "get" if method == "HEAD" else method.lower()
    failures = {"default": {"$ref": "#/components/responses/Failure"}}
    found: dict[str, Any] = item.get(verb, {"responses": failures})["responses"]
    return found


def _shortened(body: Any) -> Any:
    data = body.get("data")
    if isinstance(data, list) and len(data) > 2 * _ITEMS:
        return body | {"data": data[:_ITEMS] + data[-_ITEMS:]}
    return body


def _assert_valid(schema: dict[str, Any], value: Any) -> None:
    faults = [
        f"{error.json_path}: {error.message}" for error in validator(schema).iter_errors(value)
    ]
    assert not faults, faults


@functools.cache
def _compiled(schema: str) -> Draft202012Validator:
    """A validator of a schema whose references lead into the document."""
    whole = json.loads(schema) | {"components": document()["components"]}
    return Draft202012Validator(whole, format_checker=Draft202012Validator.FORMAT_CHECKER)
