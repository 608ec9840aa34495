"""check, the key in all its places, and the shape of every failure."""

from __future__ import annotations

import json
import time

import pytest
from openapi_spec_validator import validate

from tests.integration.conftest import Pbx
from tests.lab.server import wait_until


def test_answers_user_access_and_file(pbx: Pbx) -> None:
    data = pbx.service.get("check", pbx.keys["sales"], context="outgoing", uniqueid="1.1").data
    assert list(data) == ["api_user", "access", "file"]
    expected = ["uuid", "name", "description", "enable", "api_key", "group_uuid"]
    assert list(data["api_user"]) == expected
    assert data["api_user"]["api_key"] == pbx.keys["sales"]
    assert data["api_user"]["enable"] == "yes"
    assert data["api_user"]["group_uuid"] == pbx.groups["sales"]
    assert list(data["access"]) == ["uuid", "name", "description", "group_uuid"]
    assert data["access"]["name"] == "outgoing"
    assert data["access"]["description"] == "Контекст"
    assert data["file"] is False


def test_what_was_not_asked_is_null(pbx: Pbx) -> None:
    data = pbx.service.get("check", pbx.keys["sales"]).data
    assert (data["access"], data["file"]) == (None, None)


def test_context_not_granted_is_null_and_star_grants_the_asked_name(pbx: Pbx) -> None:
    assert pbx.service.get("check", pbx.keys["sales"], context="incoming").data["access"] is None
    granted = pbx.service.get("check", pbx.keys["all"], context="whatever").data["access"]
    assert granted["name"] == "whatever"


@pytest.mark.parametrize("prefix", ["/pbx/api/index", "/api/index"])
def test_both_prefixes_and_every_place_of_the_key(pbx: Pbx, prefix: str) -> None:
    key = pbx.keys["all"]
    for headers in ({"Authorization": f"Bearer {key}"}, {"X-API-Key": key}):
        assert pbx.service.request("GET", f"{prefix}/check", headers=headers).status == 200
    assert pbx.service.request("GET", f"{prefix}/check?api_key={key}").status == 200
    log = {"Content-Type": "application/x-www-form-urlencoded"}
    body = f"api_key={key}&start=2020-01-01&end=2020-01-01".encode()
    path = f"{prefix}/get_log_cdr"
    assert pbx.service.request("POST", path, headers=log, body=body).data == []
    as_json = {"Content-Type": "application/json"}
    body = json.dumps({"api_key": key, "start": "2020-01-01", "end": "2020-01-01"}).encode()
    assert pbx.service.request("POST", path, headers=as_json, body=body).data == []


def test_answers_are_utf8_json_with_a_request_id(pbx: Pbx) -> None:
    answer = pbx.service.get("check", pbx.keys["all"], context="x")
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert "Контекст".encode() in answer.body
    line = f" {answer.headers['X-Request-ID']} "
    wait_until(lambda: line in pbx.service.log(), 5, "the journal's line, after the last byte")


@pytest.mark.parametrize(
    ("method", "path", "key", "params", "status", "code", "parameter"),
    [
        ("GET", "check", None, {}, 401, "missing_key", None),
        ("GET", "check", "wrong-key", {}, 401, "unknown_key", None),
        ("GET", "check", "disabled", {}, 403, "user_disabled", None),
        (
            "GET",
            "check",
            "all",
            {"uniqueid": "../etc/passwd"},
            400,
            "invalid_parameter",
            "uniqueid",
        ),
        ("GET", "check", "all", {"context": "a\nb"}, 400, "invalid_parameter", "context"),
        ("GET", "get_file_mp3", "all", {}, 400, "missing_parameter", "uniqueid"),
        ("GET", "get_file_wav", "all", {"uniqueid": "1.1"}, 404, "recording_not_found", None),
        ("GET", "nothing", "all", {}, 404, "unknown_method", None),
        ("GET", "/elsewhere", "all", {}, 404, "unknown_method", None),
        ("POST", "status", "all", {}, 405, "method_not_allowed", None),
        ("PUT", "uploads", "all", {}, 405, "method_not_allowed", None),
        ("GET", "get_log_cdr", "all", {"start": "today"}, 400, "invalid_parameter", "start"),
    ],
)
def test_failures_are_problems(  # noqa: PLR0917 - a table
    pbx: Pbx,
    method: str,
    path: str,
    key: str | None,
    params: dict[str, str],
    status: int,
    code: str,
    parameter: str | None,
) -> None:
    secret = pbx.keys.get(key or "", key)
    answer = pbx.service.request(method, path, secret, params=params)
    assert (answer.status, answer.code) == (status, code)
    assert answer.json.get("parameter") == parameter
    if status == 405:
        assert answer.headers["Allow"]


def test_a_parameter_given_twice_must_agree(pbx: Pbx) -> None:
    key = pbx.keys["all"]
    assert pbx.service.request("GET", "check?context=a&context=b", key).code == "invalid_parameter"
    assert pbx.service.request("GET", "check?context=a&context=a", key).status == 200
    both = f"check?api_key={pbx.keys['sales']}"
    assert pbx.service.request("GET", both, key).code == "invalid_parameter"


def test_unknown_parameters_are_ignored_and_head_works(pbx: Pbx) -> None:
    assert pbx.service.get("check", pbx.keys["all"], whatever="x").status == 200
    head = pbx.service.request("HEAD", "check", pbx.keys["all"])
    assert (head.status, head.body) == (200, b"")


def test_users_come_and_go_without_a_restart(pbx: Pbx) -> None:
    service = pbx.service
    key = service.add_user("late", pbx.groups["all"])
    wait_until(lambda: service.get("check", key).status == 200, 1.5, "a new user is let in")
    (service.directory / "users.d" / "late.conf").unlink()
    wait_until(lambda: service.get("check", key).status == 401, 1.5, "a removed user is shut out")


def test_a_broken_user_file_shuts_nobody_else_out(pbx: Pbx) -> None:
    broken = pbx.service.directory / "users.d" / "broken.conf"
    broken.write_text("[user]\nname = half\n")
    try:
        wait_until(lambda: "broken.conf" in _asked(pbx), 2, "the journal tells")
        assert pbx.service.get("check", pbx.keys["sales"]).status == 200
    finally:
        broken.unlink()


def _asked(pbx: Pbx) -> str:
    pbx.service.get("check", pbx.keys["all"])
    time.sleep(0.05)
    return pbx.service.log()


def test_the_journal_holds_no_key(pbx: Pbx) -> None:
    key = pbx.keys["all"]
    pbx.service.request("GET", f"check?api_key={key}")
    log = pbx.service.log()
    assert key not in log
    assert "user=all group=all" in log


def test_openapi_is_served_at_both_prefixes(pbx: Pbx) -> None:
    for prefix in ("/pbx/api/index", "/api/index"):
        document = pbx.service.request("GET", f"{prefix}/openapi.json").json
        assert document["openapi"].startswith("3.1")
        assert document["servers"] == [{"url": prefix}]


def test_openapi_is_valid(pbx: Pbx) -> None:
    validate(pbx.service.get("openapi.json").json)
