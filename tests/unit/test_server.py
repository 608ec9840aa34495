"""gunicorn's settings, its reload, and its own refusals."""

from __future__ import annotations

import json
import logging
import socket
from pathlib import Path

import pytest
from gunicorn.config import Config as GunicornConfig

from evolvex_api import config as configuration
from evolvex_api import server

GOOD = "[server]\nbind = 127.0.0.1:8099\nthreads = {}\n[ami]\nsecret = x\n[cdr]\npassword = x\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A configuration file with 7 threads."""
    made = tmp_path / "evolvex.conf"
    made.write_text(GOOD.format(7))
    return made


def test_gunicorn_takes_the_settings(path: Path) -> None:
    cfg = server.Server(path).cfg
    assert (cfg.bind, cfg.threads, cfg.preload_app) == (["127.0.0.1:8099"], 7, True)
    assert cfg.worker_class_str != "sync"  # gunicorn 20 fails here when it is given a class
    assert issubclass(cfg.worker_class, server.Worker)
    assert cfg.accesslog is None
    assert cfg.sendfile is not False


def test_only_the_newest_setting_may_be_unknown(path: Path) -> None:
    names = set(server.settings(configuration.load(path)))
    assert names - set(GunicornConfig().settings) <= {"control_socket_disable"}


def test_reload_takes_a_good_configuration(path: Path) -> None:
    running = server.Server(path)
    running.wsgi()
    before = running.callable
    path.write_text(GOOD.format(9))
    running.reload()
    assert running.cfg.threads == 9
    assert running.wsgi() is not before


def test_reload_keeps_the_old_one_and_says_why(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    running = server.Server(path)
    before = running.wsgi()
    path.write_text(GOOD.format("many"))
    running.reload()
    assert running.cfg.threads == 7
    assert running.wsgi() is before
    assert "[server] threads: must be a whole number" in caplog.text


def test_a_refusal_of_gunicorn_is_a_problem(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        server.write_error(ours, 400, "Bad Request", "<b>x</b>")
        ours.shutdown(socket.SHUT_WR)
        head, _, body = theirs.makefile("rb").read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert b"application/problem+json" in head
    assert (json.loads(body)["status"], json.loads(body)["code"]) == (400, "bad_request")
    assert "400 refused" in caplog.text
