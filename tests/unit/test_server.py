"""gunicorn's settings, its reload, and its own refusals."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from gunicorn.config import Config as GunicornConfig

from evolvex_api import config as configuration
from evolvex_api import server
from evolvex_api.worker.thread_worker import Worker

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
    assert issubclass(cfg.worker_class, Worker)
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


@pytest.mark.parametrize("passed", [True, False])
def test_a_socket_of_systemd_comes_before_another_bind(
    path: Path, passed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if passed:
        monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
        monkeypatch.setenv("LISTEN_FDS", "1")
    running = server.Server(path)
    path.write_text(GOOD.format(9).replace("8099", "8098"))
    running.reload()
    assert running.cfg.threads == 9
    assert running.cfg.bind == ["127.0.0.1:8099" if passed else "127.0.0.1:8098"]


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


@pytest.mark.parametrize("bind", ["0.0.0.0:8099", "[::]:8099", "192.0.2.1:8099"])
def test_an_address_for_other_hosts_needs_leave(path: Path, bind: str) -> None:
    path.write_text(GOOD.format(7).replace("127.0.0.1:8099", bind))
    with pytest.raises(configuration.ConfigError, match="public = yes"):
        server.Server(path)
    path.write_text(path.read_text().replace("[ami]", "public = yes\n[ami]"))
    assert server.Server(path).public


@pytest.mark.parametrize("bind", ["127.0.0.1:8099", "[::1]:8099", "localhost:8099", "unix:/x.sock"])
def test_addresses_of_this_host_need_none(path: Path, bind: str) -> None:
    path.write_text(GOOD.format(7).replace("127.0.0.1:8099", bind))
    assert not server.Server(path).public
