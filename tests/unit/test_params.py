"""Request values as typed values."""

from __future__ import annotations

import json

import pytest
from flask import Flask

from evolvex_api.core.refusals import ApiError
from evolvex_api.params import Params

APP = Flask("params")


@pytest.mark.parametrize("value", ["1", "0100", "100"])
def test_whole_numbers_in_range(value: str) -> None:
    with APP.test_request_context(query_string={"n": value}):
        assert Params().integer("n", 1, 100) == int(value)


@pytest.mark.parametrize(
    "value", ["0", "101", "-1", "1.0", "x", "\u0661", "1".zfill(20) + "999", "9" * 5000, "0" * 5000]
)
def test_other_numbers_are_refused(value: str) -> None:
    with (
        APP.test_request_context(query_string={"n": value}),
        pytest.raises(ApiError) as refused,
    ):
        Params().integer("n", 1, 100)
    assert (refused.value.status, refused.value.code) == (400, "invalid_parameter")
    assert refused.value.parameter == "n"


@pytest.mark.parametrize("value", ["a\rb", "a\nb", "a\0b", "a\x7fb", "a\x85b"])
def test_control_characters_are_refused(value: str) -> None:
    with (
        APP.test_request_context(query_string={"x": value}),
        pytest.raises(ApiError, match="control character"),
    ):
        Params().optional("x")


def test_query_form_and_json_agree_or_are_refused() -> None:
    with APP.test_request_context("/?x=1", method="POST", data={"x": "1"}):
        assert Params().optional("x") == "1"
    with (
        APP.test_request_context("/?x=1", method="POST", json={"x": 2}),
        pytest.raises(ApiError, match="given twice"),
    ):
        Params().optional("x")


def test_flags_and_what_is_missing() -> None:
    with APP.test_request_context("/?on=YES&off=0&odd=2&empty="):
        params = Params()
        assert params.flag("on")
        assert not params.flag("off")
        assert not params.flag("missing")
        assert params.optional("empty") is None
        with pytest.raises(ApiError, match="true or false"):
            params.flag("odd")
        with pytest.raises(ApiError, match="empty is required"):
            params.required("empty")


@pytest.mark.parametrize(
    ("query", "pairs"),
    [
        ("v=a=1,b=2", [(None, "a=1,b=2")]),
        ("v[]=a=1&v[]=b=2", [(None, "a=1"), (None, "b=2")]),
        ("v%5B%5D=a=1&v=b=2", [(None, "a=1"), (None, "b=2")]),
        ("v[0]=a=1&v[1]=b=2", [(None, "a=1"), (None, "b=2")]),
        ("v[b]=2&v[a]=1&v[c]=", [("b", "2"), ("a", "1"), ("c", "")]),
        ("v=&v[]=", []),
        ("vv=1&v[=2&v]=3&x[v]=4&V=5&v[a=6", []),
        ("v[a[b]]=1", [("a[b]", "1")]),
    ],
)
def test_several_values_of_one_parameter(query: str, pairs: list[tuple[str | None, str]]) -> None:
    with APP.test_request_context(f"/?{query}"):
        assert Params().pairs("v") == pairs


@pytest.mark.parametrize("query", ["v[]=a%0d", "v[a%0a]=1", "v=%00"])
def test_several_values_hold_no_control_character(query: str) -> None:
    with (
        APP.test_request_context(f"/?{query}"),
        pytest.raises(ApiError, match="v holds a control character"),
    ):
        Params().pairs("v")


@pytest.mark.parametrize("value", [{}, {"a": 1}, [], ["1"], [[]]])
def test_json_has_single_values_for_single_parameters(value: object) -> None:
    with (
        APP.test_request_context("/", method="POST", json={"n": value}),
        pytest.raises(ApiError, match="must be a string, a number or a Boolean"),
    ):
        Params().optional("n")


def test_several_values_in_every_notation() -> None:
    sent = {"v": ["a=1", "", None], "v[b]": 2, "v[]": "c=3", "v[7]": "d=4", "other": {"v": 1}}
    body = {"data": json.dumps(sent), "content_type": "application/json"}
    with APP.test_request_context("/?v=e&v[]=f", method="POST", **body):
        assert Params().pairs("v") == [
            (None, "e"),
            (None, "f"),
            (None, "a=1"),
            ("b", "2"),
            (None, "c=3"),
            (None, "d=4"),
        ]
    with APP.test_request_context("/", method="POST", json={"v": {"a": 1, "b": None, "c": ""}}):
        assert Params().pairs("v") == [("a", "1"), ("c", "")]
