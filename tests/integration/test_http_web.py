"""The service behind nginx and Apache, with the configuration that the package ships."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.integration.conftest import Pbx, make_pbx
from tests.integration.test_http_strangers import ask, connect, trickle
from tests.integration.wire import (
    FORM,
    FORM_END,
    JSON,
    MULTIPART,
    Wire,
    exchange,
    form_part,
    line,
    request,
)
from tests.lab import packages
from tests.lab.asterisk import Asterisk
from tests.lab.mariadb import MariaDB
from tests.lab.server import wait_until
from tests.lab.service import PREFIX
from tests.lab.web import Apache, Nginx, SocketService, WebServer

ORIGIN = "https://crm.example.com"


@pytest.fixture(scope="module", params=["nginx", "apache"])
def pbx(request: pytest.FixtureRequest, asterisk: Asterisk, database: MariaDB) -> Iterator[Pbx]:
    """The service on a unix socket; all requests go to the web server before it."""
    packages.ensure(*packages.WEB)
    options = {"uploads": {"max_size": "2M"}, "server": {"cors_origins": ORIGIN}}
    service = SocketService(asterisk, database, options)
    with contextlib.closing(service):
        made = make_pbx(asterisk, database, service)
        web: WebServer = (
            Nginx(service, asterisk.monitor) if request.param == "nginx" else Apache(service)
        )
        with web:
            service.port = web.port
            yield made


def test_a_large_body_is_refused_while_it_is_sent(pbx: Pbx) -> None:
    """The client reads only when it has sent all."""
    for kind in (FORM, JSON):
        for size in (70_000, 20 << 20):
            sent = request(line("POST", "get_log_cdr"), b" " * size, kind)
            answer = exchange(pbx.service, sent)
            assert (answer.status, answer.code) == (413, "body_too_large")


def test_a_file_of_a_stranger_is_refused_while_it_is_sent(pbx: Pbx) -> None:
    body = form_part("file", b"\0" * (20 << 20), b"a.wav") + FORM_END
    for key in ("wrong", "wrong too"):
        sent = request(line("POST", "uploads"), body, MULTIPART, X_API_Key=key)
        answer = exchange(pbx.service, sent)
        assert (answer.status, answer.code) == (401, "unknown_key")


@pytest.mark.parametrize("size", [3 << 20, 40 << 20])
def test_a_file_too_large_names_its_limit(pbx: Pbx, size: int) -> None:
    body = form_part("file", b"\0" * size, b"a.wav") + FORM_END
    sent = request(line("POST", "uploads"), body, MULTIPART, X_API_Key=pbx.keys["all"])
    answer = exchange(pbx.service, sent)
    assert (answer.status, answer.code) == (413, "file_too_large")
    assert "max_size" in answer.json["detail"]


def test_the_services_own_413_goes_out_as_it_is(pbx: Pbx) -> None:
    body = form_part("note", b"x" * 100_000) + form_part("file", b"x", b"a.wav") + FORM_END
    sent = request(line("POST", "uploads"), body, MULTIPART, X_API_Key=pbx.keys["all"])
    assert exchange(pbx.service, sent).code == "body_too_large"


def test_what_is_not_utf8_and_what_is(pbx: Pbx) -> None:
    key = pbx.keys["all"]
    good = request(f"{line('GET', 'check')}?context=привет", X_API_Key=key)
    assert exchange(pbx.service, good).data["access"]["name"] == "привет"
    bad = request(line("GET", "check").encode() + b"?context=\xcf\xf0", X_API_Key=key)
    answer = exchange(pbx.service, bad)
    assert (answer.status, answer.code) == (400, "invalid_encoding")


def test_slashes_are_one_without_a_redirect(pbx: Pbx) -> None:
    for path in (f"{PREFIX}//check", f"/{PREFIX}/check", "/pbx//api/index/check"):
        answer = exchange(pbx.service, request(f"GET {path}?api_key={pbx.keys['all']}"))
        assert answer.status == 200, path


def test_the_client_is_who_the_web_server_says(pbx: Pbx) -> None:
    sent = request(
        line("GET", "check"),
        X_API_Key=pbx.keys["all"],
        fields={"X-Forwarded-For": "192.0.2.66", "X-Request-ID": "told-by-web-server"},
    )
    underscored = sent.replace(b"X-Forwarded-For", b"X_Forwarded_For")
    for data in (sent, underscored.replace(b"told", b"again")):
        assert exchange(pbx.service, data).status == 200
    for name in ("told", "again"):
        wait_until(
            lambda name=name: f"{name}-by-web-server" in pbx.service.log(),  # type: ignore[misc]
            5,
            "the journal's line",
        )
    assert "from=127.0.0.1" in pbx.service.log()
    assert "192.0.2.66" not in pbx.service.log()


def test_audio_that_the_web_server_sends_has_the_services_headers(pbx: Pbx) -> None:
    uniqueid = pbx.recorded_call()
    headers = {"Origin": ORIGIN}
    answer = pbx.service.request(
        "GET", "get_file_wav", pbx.keys["all"], params={"uniqueid": uniqueid}, headers=headers
    )
    assert answer.body.startswith(b"RIFF")
    for name in ("X-Content-Type-Options", "X-Request-ID", "Access-Control-Allow-Origin"):
        assert len(answer.headers.get_all(name, [])) == 1, name
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN


def test_slow_strangers_stop_nobody(pbx: Pbx) -> None:
    """200 clients that send a file at 700 bytes a second, with a wrong key."""
    prefix = form_part("file", b"", b"a.wav")[:-2]
    sent = request(line("POST", "uploads"), kind=MULTIPART, Content_Length=1 << 20, X_API_Key="x")
    connections = connect(pbx, 200, sent + prefix)
    try:
        with trickle(connections, 700):
            ask(pbx, 100)
    finally:
        for connection in connections:
            connection.close()


def test_an_upload_passes(pbx: Pbx) -> None:
    body = form_part("file", b"no audio" * 100_000, b"a.wav") + FORM_END
    with Wire(pbx.service) as client:
        client.send(request(line("POST", "uploads"), body, MULTIPART, X_API_Key=pbx.keys["all"]))
        assert client.answer().code == "unsupported_audio"
