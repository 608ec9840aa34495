"""evolvex.conf: defaults, and every kind of fault told with file, section, key and reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from evolvex_api import config
from evolvex_api.config import ConfigError

SECRETS = "[ami]\nsecret = s3cret\n[cdr]\npassword = passw0rd\n"


def load(tmp_path: Path, text: str) -> config.Config:
    """Load a configuration of this text."""
    path = tmp_path / "evolvex.conf"
    path.write_text(text, encoding="utf-8")
    return config.load(path)


def test_defaults(tmp_path: Path) -> None:
    loaded = load(tmp_path, SECRETS)
    assert loaded.server.bind == "unix:/run/evolvex-api/gunicorn.sock"
    assert (loaded.ami.host, loaded.ami.port, loaded.ami.timeout) == ("127.0.0.1", 5038, 5.0)
    assert (loaded.cdr.database, loaded.cdr.table) == ("asteriskcdrdb", "cdr")
    assert loaded.mp3.cache_size == 1 << 30
    assert loaded.originate.technologies == ("PJSIP", "SIP", "IAX2", "DAHDI", "Local")


def test_secrets_do_not_show(tmp_path: Path) -> None:
    shown = repr(load(tmp_path, SECRETS))
    assert "s3cret" not in shown
    assert "passw0rd" not in shown


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "[ami] secret: is required"),
        ("[ami]\nsecret = x\n", "[cdr] password: is required"),
        ("[nonsense]\n", "[nonsense]: unknown section"),
        (f"{SECRETS}[mp3]\nbitrat = 32\n", "[mp3] bitrat: unknown key"),
        (f"{SECRETS}[mp3]\nbitrate = 33\n", "[mp3] bitrate: must be one of"),
        (f"{SECRETS}[mp3]\ncache_size = much\n", "[mp3] cache_size: must be a size"),
        (f"{SECRETS}[server]\nworkers = 0\n", "[server] workers: must be a whole number"),
        (f"{SECRETS}[server]\nbind = nowhere\n", "[server] bind: must be unix:/path"),
        (f"{SECRETS}[recordings]\nroot = here\n", "[recordings] root: must be an absolute path"),
        (f"{SECRETS}[recordings]\npatterns = ../{{uniqueid}}.{{ext}}\n", "must lie below root"),
        (f"{SECRETS}[recordings]\npatterns = *.wav\n", "must hold {uniqueid}"),
        (f"{SECRETS}[originate]\ntimeout = 900\n", "[originate] timeout: must be"),
        ("[ami]\nsecret = a\nsecret = b\n", "[ami] secret: given twice"),
        ("secret = a\n", "stands before any [section]"),
        ("[ami]\nthis is no option\n", "line 2 is not 'key = value'"),
    ],
)
def test_faults_name_file_section_key_and_reason(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, text)
    assert str(error.value).startswith(str(tmp_path / "evolvex.conf"))
    assert told in str(error.value)


def test_a_secret_is_not_told_with_its_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, "[ami]\nsecret = s3cret\nno option s3cret\n")
    assert "s3cret" not in str(error.value)


def test_an_unreadable_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(tmp_path / "missing.conf")


def test_the_environment_names_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVOLVEX_CONFIG", "/somewhere/else.conf")
    assert config.default_path() == Path("/somewhere/else.conf")
    monkeypatch.delenv("EVOLVEX_CONFIG")
    assert config.default_path() == Path("/etc/evolvex/evolvex.conf")


def _with_drop_ins(tmp_path: Path, **files: str) -> Path:
    path = tmp_path / "evolvex.conf"
    path.write_text("[ami]\nsecret = a\nport = 1\n[cdr]\npassword = b\n")
    folder = tmp_path / "evolvex.conf.d"
    folder.mkdir()
    for name, text in files.items():
        (folder / f"{name}.conf").write_text(text)
    (folder / "ignored.bak").write_text("nonsense")
    return path


def test_drop_ins_are_read_in_the_order_of_their_names_and_the_last_value_counts(
    tmp_path: Path,
) -> None:
    path = _with_drop_ins(tmp_path, b="[ami]\nport = 3\n", a="[ami]\nport = 2\nhost = x\n")
    loaded = config.load(path)
    assert (loaded.ami.port, loaded.ami.host, loaded.ami.secret) == (3, "x", "a")
    assert loaded.path == path


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[ami]\nport = many\n", "[ami] port: must be a whole number"),
        ("[ami]\nprot = 1\n", "[ami] prot: unknown key"),
        ("[amy]\nport = 1\n", "[amy]: unknown section"),
        ("port = 1\n", "line 1 stands before any [section]"),
    ],
)
def test_a_fault_in_a_drop_in_is_named_with_its_file(
    tmp_path: Path, text: str, reason: str
) -> None:
    path = _with_drop_ins(tmp_path, site=text)
    with pytest.raises(config.ConfigError) as raised:
        config.load(path)
    assert str(raised.value).startswith(f"{tmp_path}/evolvex.conf.d/site.conf: ")
    assert reason in str(raised.value)


def test_a_required_key_may_stand_in_a_drop_in(tmp_path: Path) -> None:
    path = _with_drop_ins(tmp_path, secret="[cdr]\npassword = other\n")
    path.write_text("[ami]\nsecret = a\n")
    assert config.load(path).cdr.password == "other"
