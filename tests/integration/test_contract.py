"""The document's examples fit its schemas; the checker that every answer passes sees faults."""

from __future__ import annotations

import copy
import dataclasses
from http.client import HTTPMessage

import pytest

from tests.integration import contract
from tests.integration.conftest import Pbx


def test_every_example_fits_its_schema() -> None:
    examples = list(contract.schema_examples())
    assert len(examples) > 100
    for where, schema, example in examples:
        assert not list(contract.validator(schema).iter_errors(example)), where


def test_the_checker_sees_what_is_wrong(pbx: Pbx) -> None:
    good = pbx.service.get("check", pbx.keys["all"])
    contract.assert_conforms("GET", "check", good)
    body = good.body.replace(b'"file": null', b'"file": "maybe"')
    assert body != good.body
    bare, html = HTTPMessage(), copy.deepcopy(good.headers)
    bare["Content-Type"] = "application/json"
    html.replace_header("Content-Type", "text/html")
    for wrong in (
        dataclasses.replace(good, body=body),
        dataclasses.replace(good, status=204),
        dataclasses.replace(good, headers=bare),
        dataclasses.replace(good, headers=html),
    ):
        with pytest.raises(AssertionError):
            contract.assert_conforms("GET", "check", wrong)
