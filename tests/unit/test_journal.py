"""Request ids and the line of a request."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable
from typing import Any
from wsgiref.util import FileWrapper

import pytest

from evolvex_api.journal import Journal

Headers = list[tuple[str, str]]


def ask(
    body: Iterable[bytes], headers: Headers, caplog: pytest.LogCaptureFixture, **environ: str
) -> tuple[dict[str, str], str]:
    """Send a request through the journal to an application with that body; headers and line."""
    sent: dict[str, str] = {}

    def app(_: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", headers)
        return body

    def start(_: str, given: Headers) -> None:
        sent.update(given)

    caplog.set_level(logging.INFO, logger="evolvex_api.logs")
    answer: Any = Journal(app)({"REQUEST_METHOD": "GET", "PATH_INFO": "/x", **environ}, start)
    b"".join(answer)
    assert not caplog.records
    answer.close()
    return sent, caplog.messages[0]


def test_a_given_id_is_kept_and_bytes_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    headers, line = ask([b"ab", b"c"], [], caplog, HTTP_X_REQUEST_ID="id-1")
    assert headers["X-Request-ID"] == "id-1"
    assert line.startswith("id-1 200 GET /x ")
    assert " 3B " in line


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "a\nb"])
def test_another_id_is_replaced(given: str, caplog: pytest.LogCaptureFixture) -> None:
    headers, line = ask([], [], caplog, HTTP_X_REQUEST_ID=given)
    assert len(headers["X-Request-ID"]) == 16
    assert line.startswith(headers["X-Request-ID"])


def test_a_path_writes_no_line_of_its_own_and_a_query_is_not_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    _, line = ask([], [], caplog, PATH_INFO="/a\r\nb", QUERY_STRING="api_key=secret")
    assert "/a??b" in line
    assert "secret" not in line


def test_a_file_stays_a_file_and_its_bytes_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    wrapper = FileWrapper(io.BytesIO(b"12345"))
    _, line = ask(wrapper, [("Content-Length", "5")], caplog)
    assert " 5B " in line
