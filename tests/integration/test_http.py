"""HTTP itself, the same on every supported gunicorn: encodings, bodies, heads, refusals."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.integration import wire
from tests.integration.conftest import Pbx, make_pbx
from tests.integration.wire import FORM, JSON, MULTIPART, Wire, exchange, form_part, line, request
from tests.lab import stacks
from tests.lab.asterisk import Asterisk
from tests.lab.mariadb import MariaDB
from tests.lab.server import wait_until
from tests.lab.service import PREFIX, Answer, Service

CP1251 = "Привет".encode("cp1251")
LIMIT = 64 * 1024


@pytest.fixture(scope="module", params=list(stacks.STACKS))
def pbx(request: pytest.FixtureRequest, asterisk: Asterisk, database: MariaDB) -> Iterator[Pbx]:
    """The service on one of the sets of library versions."""
    service = Service(asterisk, database, {"uploads": {"max_size": "2M"}})
    service.python = stacks.python_of(request.param)
    with contextlib.closing(service):
        yield make_pbx(asterisk, database, service)


def post(pbx: Pbx, body: bytes, kind: str, method: str = "get_log_cdr", **headers: str) -> Answer:
    """POST a body with the key in a header."""
    key = pbx.keys["all"]
    return exchange(
        pbx.service, request(line("POST", method), body, kind, X_API_Key=key, fields=headers)
    )


# --- encodings


@pytest.mark.parametrize(
    ("place", "sent"),
    [
        ("query", request(line("GET", "check") + "?context=" + quote(CP1251))),
        ("name in the query", request(line("GET", "check") + "?" + quote(CP1251) + "=1")),
        ("raw query", request(line("GET", "check").encode() + b"?context=" + CP1251)),
        ("raw path", request(f"GET {PREFIX}/".encode() + CP1251)),
        ("path", request(f"GET {PREFIX}/" + quote(CP1251))),
        ("header", request(line("GET", "check"), X_API_Key=CP1251.decode("latin-1"))),
        ("other header", request(line("GET", "check"), User_Agent=CP1251.decode("latin-1"))),
    ],
)
def test_what_is_not_utf8_before_the_body(pbx: Pbx, place: str, sent: bytes) -> None:
    answer = exchange(pbx.service, sent)
    assert (answer.status, answer.code) == (400, "invalid_encoding"), place


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"src=" + CP1251, FORM),
        (b"src=" + quote(CP1251).encode(), FORM + "; charset=windows-1251"),
        (b'{"src": "' + CP1251 + b'"}', JSON),
        (b'{"start": "\\ud800"}', JSON),
        (form_part("src", CP1251) + wire.FORM_END, MULTIPART),
        ('{"start": "2024-01-01"}'.encode("utf-16"), JSON),
    ],
)
def test_what_is_not_utf8_in_a_body(pbx: Pbx, body: bytes, kind: str) -> None:
    answer = post(pbx, body, kind)
    assert (answer.status, answer.code) == (400, "invalid_encoding")


def test_a_file_name_that_is_not_utf8(pbx: Pbx) -> None:
    answer = post(pbx, form_part("file", b"x", CP1251) + wire.FORM_END, MULTIPART, "uploads")
    assert (answer.status, answer.code) == (400, "invalid_encoding")


def test_unencoded_utf8_in_the_request_line_works(pbx: Pbx) -> None:
    sent = request(f"{line('GET', 'check')}?context=привет", X_API_Key=pbx.keys["all"])
    assert exchange(pbx.service, sent).data["access"]["name"] == "привет"


# --- bodies


@pytest.mark.parametrize(
    ("kind", "headers"),
    [
        ("text/plain;charset=UTF-8", {}),
        ("application/xml", {}),
        ("", {}),
        ("application/octet-stream", {}),
        (JSON, {"Content_Encoding": "gzip"}),
    ],
)
def test_a_body_of_another_type_is_never_dropped(
    pbx: Pbx, kind: str, headers: dict[str, str]
) -> None:
    answer = post(pbx, b"start=2020-01-01&end=2020-01-01", kind, **headers)
    assert (answer.status, answer.code) == (415, "unsupported_media_type")
    for taken in (FORM, JSON, "multipart/form-data"):
        assert taken in answer.json["detail"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{", JSON),
        (b"[1]", JSON),
        (b'"text"', JSON),
        (b"\xef\xbb\xbf", JSON),
        (b"[" * 60_000, JSON),
        (b'{"a":' * 10_000, JSON),
        (b'{"start": NaN}', JSON),
        (b'{"start": ' + b"9" * 5000 + b"}", JSON),
        (b"&".join([b"a"] * 30_000), FORM),
        (b"no boundary in here", MULTIPART),
        (form_part("start", b"2020-01-01"), MULTIPART),  # cut off
        (form_part("start", b"2020-01-01") + wire.FORM_END, "multipart/form-data"),
        (b"--" + wire.BOUNDARY.encode() + b"\r\n\r\n\r\n" + wire.FORM_END, MULTIPART),
    ],
)
def test_a_broken_body_is_400(pbx: Pbx, body: bytes, kind: str) -> None:
    answer = post(pbx, body, kind)
    assert (answer.status, answer.code) == (400, "bad_request")


@pytest.mark.parametrize("kind", ["", JSON, FORM, MULTIPART, "text/plain", "multipart/form-data"])
def test_an_empty_body_is_none(pbx: Pbx, kind: str) -> None:
    sent = request(
        line("POST", "get_log_cdr", start="2020-01-01", end="2020-01-01"),
        kind=kind,
        Content_Length=0,
        X_API_Key=pbx.keys["all"],
    )
    assert exchange(pbx.service, sent).data == []


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"start[]=2020-01-01&end[]=2020-01-01", FORM),
        (b'{"start[]": "2020-01-01", "end": "2020-01-01", "extra": [{}], "src": null}', JSON),
        (b'\xef\xbb\xbf{"start": "2020-01-01", "end": "2020-01-01"}', JSON + "; charset=utf-8"),
        (form_part("start", b"2020-01-01") + form_part("end[]", b"2020-01-01") + wire.FORM_END,
         MULTIPART),
    ],
)  # fmt: skip
@pytest.mark.parametrize("by_chunks", [False, True])
def test_forms_and_json_of_all_kinds_are_read(
    pbx: Pbx, body: bytes, kind: str, by_chunks: bool
) -> None:
    if not by_chunks:
        assert post(pbx, body, kind).data == []
        return
    head = request(
        line("POST", "get_log_cdr"),
        kind=kind,
        Transfer_Encoding="chunked",
        X_API_Key=pbx.keys["all"],
    )
    assert exchange(pbx.service, head + wire.chunked(body, 7)).data == []


def test_a_member_given_twice_must_agree(pbx: Pbx) -> None:
    answer = post(pbx, b'{"start": "2020-01-01", "start": "2021-01-01"}', JSON)
    assert (answer.code, answer.json["parameter"]) == ("invalid_parameter", "start")
    answer = post(pbx, b"start=2020-01-01&start[]=2021-01-01", FORM)
    assert (answer.code, answer.json["parameter"]) == ("invalid_parameter", "start")


@pytest.mark.parametrize("kind", [FORM, JSON, MULTIPART, "text/plain"])
@pytest.mark.parametrize("by_chunks", [False, True])
def test_a_body_over_64_kib_is_refused_and_all_of_it_taken(
    pbx: Pbx, kind: str, by_chunks: bool
) -> None:
    """The client sends all of its body before it reads; the answer still reaches it."""
    body = b" " * (20 << 20)
    fields = {"Transfer_Encoding": "chunked"} if by_chunks else {"Content_Length": len(body)}
    head = request(line("POST", "get_log_cdr"), kind=kind, fields=fields)
    answer = exchange(pbx.service, head + (wire.chunked(body, 1 << 20) if by_chunks else body))
    expected = (415, "unsupported_media_type") if kind == "text/plain" else (413, "body_too_large")
    assert (answer.status, answer.code) == expected


def test_64_kib_are_taken(pbx: Pbx) -> None:
    body = b"start=2020-01-01&end=2020-01-01&x=".ljust(LIMIT, b"x")
    assert post(pbx, body, FORM).data == []
    assert post(pbx, body + b"x", FORM).code == "body_too_large"


# --- uploads


def upload(*parts: bytes) -> bytes:
    return b"".join(parts) + wire.FORM_END


def test_a_file_over_the_limit_names_it(pbx: Pbx) -> None:
    answer = post(pbx, upload(form_part("file", b"\0" * (3 << 20), b"a.wav")), MULTIPART, "uploads")
    assert (answer.status, answer.code) == (413, "file_too_large")
    assert "2097152" in answer.json["detail"]
    assert "max_size" in answer.json["detail"]


@pytest.mark.parametrize("by_chunks", [False, True])
@pytest.mark.parametrize("place", ["header", "form"])
def test_a_large_upload_is_asked_for_and_answered(
    pbx: Pbx, tmp_path: Path, place: str, by_chunks: bool
) -> None:
    tone = tmp_path / "a.wav"
    command = ["sox", "-n", "-r", "8000", "-b", "16", str(tone), "synth", "60", "sine", "440"]
    subprocess.run(command, check=True)
    key = form_part("api_key", pbx.keys["all"].encode()) if place == "form" else b""
    body = upload(key, form_part("file[]", tone.read_bytes(), "звук.wav".encode()))
    assert len(body) > 10 * LIMIT
    fields: dict[str, str | int] = {"Content_Length": len(body)}
    if by_chunks:
        fields = {"Transfer_Encoding": "chunked"}
    if place == "header":
        fields["X_API_Key"] = pbx.keys["all"]
    head = request(line("POST", "uploads"), kind=MULTIPART, Expect="100-continue", fields=fields)
    with Wire(pbx.service) as sender:
        sender.send(head)
        assert sender.socket.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sender.send(wire.chunked(body) if by_chunks else body)
        assert sender.answer().data["name"] == "звук.wav"


@pytest.mark.parametrize(
    ("key", "size", "code"), [("", 1 << 20, "missing_key"), ("wrong", 50 << 20, "unknown_key")]
)
def test_a_stranger_who_sends_a_file_gets_to_see_the_refusal(
    pbx: Pbx, key: str, size: int, code: str
) -> None:
    body = upload(form_part("file", b"\0" * size, b"a.wav"))
    answer = exchange(pbx.service, request(line("POST", "uploads"), body, MULTIPART, X_API_Key=key))
    assert (answer.status, answer.code) == (401, code)


def test_an_invited_body_is_not_invited_for_a_refusal(pbx: Pbx) -> None:
    sent = request(
        line("POST", "uploads"),
        kind=MULTIPART,
        Content_Length=1 << 20,
        X_API_Key="wrong",
        Expect="100-continue",
    )
    with Wire(pbx.service) as sender:
        sender.send(sent)
        assert sender.socket.recv(12) == b"HTTP/1.1 401"


def test_a_key_behind_the_file_is_too_late(pbx: Pbx) -> None:
    key = form_part("api_key", pbx.keys["all"].encode())
    body = upload(form_part("file", b"\0" * (1 << 20), b"a.wav"), key)
    answer = exchange(pbx.service, request(line("POST", "uploads"), body, MULTIPART))
    assert answer.code == "missing_key"
    assert "before the file" in answer.json["detail"]


def test_what_stands_before_the_file_is_limited(pbx: Pbx) -> None:
    body = upload(form_part("note", b"x" * 2 * LIMIT), form_part("file", b"x", b"a.wav"))
    assert post(pbx, body, MULTIPART, "uploads").code == "body_too_large"
    answer = exchange(pbx.service, request(line("POST", "uploads"), body, MULTIPART))
    assert answer.code == "body_too_large"


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", "", 400),
        (b"", MULTIPART, 400),
        (b"RIFF....WAVE", "audio/wav", 415),
        (b"RIFF....WAVE", FORM, 400),
        (b'{"file": "x"}', JSON, 400),
        (upload(form_part("file", b"RIFF")), MULTIPART, 400),
        (upload(form_part("sound", b"RIFF", b"a.wav")), MULTIPART, 400),
        (upload(form_part("file", b"RIFF", b"a.wav")), "multipart/form-data", 400),
    ],
)
def test_a_file_that_is_not_there_says_how_one_is_sent(
    pbx: Pbx, body: bytes, kind: str, status: int
) -> None:
    answer = post(pbx, body, kind, "uploads")
    assert answer.status == status
    assert "multipart/form-data" in answer.json["detail"]
    if kind != "multipart/form-data":
        assert "field `file`" in answer.json["detail"]


# --- heads


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (request(line("GET", "check") + "?x=" + "y" * 8200), 414, "uri_too_long"),
        (b"GET /" + b"y" * 9000, 414, "uri_too_long"),
        (request(line("GET", "check"), X_Long="y" * 9000), 431, "headers_too_large"),
        (
            request(line("GET", "check"), fields={f"X{n}": 1 for n in range(120)}),
            431,
            "headers_too_large",
        ),
        (b"GET /x HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 9000, 431, "headers_too_large"),
        (b"nonsense\r\n\r\n", 400, "bad_request"),
        (b"get /x HTTP/1.1\r\n\r\n", 400, "bad_request"),
        (b"GET /x\x01 HTTP/1.1\r\n\r\n", 400, "bad_request"),
        (b"GET /a b HTTP/1.1\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/9.9\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nX: a\nY: b\r\n\r\n", 400, "bad_request"),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400, "bad_request"),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400, "bad_request"),
        (b"POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n", 400, "bad_request"),
        (
            b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
            "bad_request",
        ),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 400, "bad_request"),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "bad_request"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "bad_request"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc", 400, "bad_request"),
    ],
)
def test_heads_that_are_refused(pbx: Pbx, sent: bytes, status: int, code: str) -> None:
    with Wire(pbx.service) as client:
        client.send(sent)
        answer = client.answer()
        assert (answer.status, answer.code) == (status, code)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Request-ID"]


def test_a_header_with_an_underscore_is_no_header_of_the_web_server(pbx: Pbx) -> None:
    sent = request(line("GET", "check"), X_API_Key=pbx.keys["all"])
    assert exchange(pbx.service, sent).status == 200
    underscored = sent.replace(b"X-API-Key", b"X_API_Key")
    assert exchange(pbx.service, underscored).code == "missing_key"


@pytest.mark.parametrize(
    "path", [f"/{PREFIX}/check", "/pbx//api/index///check", "//api//index/check/"]
)
def test_slashes_are_one_in_place(pbx: Pbx, path: str) -> None:
    answer = exchange(pbx.service, request(f"GET {path}?api_key={pbx.keys['all']}"))
    assert answer.status == 200
    assert "Location" not in answer.headers


@pytest.mark.parametrize(
    ("verb", "method", "status"),
    [
        ("GET", "check", 200),
        ("HEAD", "check", 200),
        ("OPTIONS", "check", 200),
        ("GET", "openapi.json", 200),
        ("GET", "get_file_mp3", 400),
        ("PUT", "check", 405),
        ("TRACE", "check", 405),
        ("GET", "unknown", 404),
    ],
)
def test_every_answer_forbids_sniffing(pbx: Pbx, verb: str, method: str, status: int) -> None:
    sent = request(line(verb, method), X_API_Key=pbx.keys["all"])
    with Wire(pbx.service) as client:
        client.send(sent)
        head = client.socket.recv(65536)
    assert head.startswith(f"HTTP/1.1 {status}".encode())
    assert b"X-Content-Type-Options: nosniff" in head
    assert b"Access-Control" not in head


def test_an_unknown_method_names_those_there_are(pbx: Pbx) -> None:
    for path in (f"{PREFIX}/chek", "/", "/elsewhere"):
        answer = pbx.service.request("GET", path)
        assert (answer.status, answer.code) == (404, "unknown_method")
        for method in ("check", "originate", "get_log_cdr", "uploads"):
            assert method in answer.json["detail"]


@pytest.mark.parametrize(
    ("verb", "method", "allowed"),
    [
        ("PUT", "uploads", {"DELETE", "GET", "HEAD", "POST"}),
        ("DELETE", "get_log_cdr", {"GET", "POST", "HEAD"}),
    ],
)
def test_405_names_what_works(pbx: Pbx, verb: str, method: str, allowed: set[str]) -> None:
    answer = pbx.service.request(verb, method, pbx.keys["all"])
    assert answer.code == "method_not_allowed"
    assert set(answer.headers["Allow"].split(", ")) == allowed | {"OPTIONS"}
    assert "POST" in answer.json["detail"]


# --- connections


def test_requests_follow_each_other_on_a_connection(pbx: Pbx) -> None:
    key = pbx.keys["all"]
    body = b"start=2020-01-01&end=2020-01-01"
    sent = request(line("GET", "check"), X_API_Key=key)
    form = request(line("POST", "get_log_cdr"), body, FORM, X_API_Key=key)
    with Wire(pbx.service) as client:
        for piece in (sent, form, sent):
            client.send(piece)
            assert client.answer().status == 200
        # Pieces of any size, and several at once.
        for byte in sent:
            client.send(bytes([byte]))
        assert client.answer().status == 200
        client.send(b"\r\n" + form)
        assert client.answer().data == []
        client.send(request(line("GET", "check"), X_API_Key=key, Connection="close"))
        assert client.answer().status == 200
        assert client.closed()


def test_pipelined_requests_are_answered_in_order(pbx: Pbx) -> None:
    sent = b"".join(
        request(f"{line('GET', 'check')}?context=c{number}", X_API_Key=pbx.keys["all"])
        for number in range(20)
    )
    with Wire(pbx.service) as client:
        client.send(sent)
        received = b""
        while received.count(b'"name": "c') < 20:
            received += client.socket.recv(65536)
    names = [json.loads(piece)["data"]["access"]["name"] for piece in _bodies(received)]
    assert names == [f"c{number}" for number in range(20)]


def _bodies(received: bytes) -> Iterator[bytes]:
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        length = next(
            int(field.partition(b":")[2])
            for field in head.split(b"\r\n")
            if field.lower().startswith(b"content-length")
        )
        yield received[:length]
        received = received[length:]


def test_old_clients_get_whole_answers(pbx: Pbx) -> None:
    sent = f"GET {PREFIX}/check?api_key={pbx.keys['all']} HTTP/1.0\r\n\r\n".encode()
    with Wire(pbx.service) as client:
        client.send(sent)
        assert client.answer().status == 200
        assert client.closed()


def test_a_reload_loses_no_request_and_ends_the_old_workers(pbx: Pbx) -> None:
    old = set(pbx.service.worker_pids())
    sent = request(line("GET", "check"), X_API_Key=pbx.keys["all"])

    def ask_on() -> set[int]:
        return {exchange(pbx.service, sent).status for _ in range(60)}

    with ThreadPoolExecutor(4) as pool, Wire(pbx.service) as kept:
        kept.send(sent)
        assert kept.answer().status == 200
        asking = [pool.submit(ask_on) for _ in range(4)]
        os.kill(pbx.service.pid, signal.SIGHUP)
        assert {status for job in asking for status in job.result()} == {200}
        assert kept.closed()
    # Nobody waits for connections that only might send something.
    wait_until(lambda: not old & set(pbx.service.worker_pids()), 20, "the old workers have ended")


def test_no_key_reaches_the_journal(pbx: Pbx) -> None:
    key = "0123-secret-key-4567"
    for sent in (
        f"GET /check?api_key={key} HTTP/1.1\r\nX-API-Key : {key}\r\n\r\n",
        f"GET /check?api_key={key}&x={'y' * 9000} HTTP/1.1\r\n\r\n",
        f"GET {PREFIX}/check?api_key={key} HTTP/1.1\r\nHost: a\r\n\r\n",
        f"G\x01T {PREFIX}/check?api_key={key} HTTP/1.1\r\nHost: a\r\n\r\n",
    ):
        answer = exchange(pbx.service, sent.encode())
        wait_until(
            lambda told=answer.headers["X-Request-ID"]: told in pbx.service.log(),  # type: ignore[misc]
            5,
            "its line in the journal",
        )
    assert key not in pbx.service.log()
    assert "Traceback" not in pbx.service.log()
