"""setup's reading and writing of other programs' files."""

from pathlib import Path

import pytest

from evolvex_api import config
from evolvex_api.backends.access_files import AccessFiles
from evolvex_api.cli.setup import _first_key
from evolvex_api.setup import SetupError, host
from evolvex_api.setup.changes import Changes, block_in, marked_block, run, with_block
from evolvex_api.setup.steps import with_settings

BLOCK = marked_block("[evolvex]\nsecret = 1", comment=";")


def test_a_block_goes_to_the_end_and_comes_out_without_a_trace() -> None:
    before = "[general]\nenabled = yes\n"
    assert with_block(before, BLOCK) == before + BLOCK
    assert with_block(before + BLOCK + "[admin]\n", "") == before + "[admin]\n"


def test_a_block_is_replaced_where_it_stands() -> None:
    other = marked_block("[evolvex]\nsecret = 2", comment=";")
    assert with_block(f"a\n{BLOCK}b\n", other) == f"a\n{other}b\n"


def test_a_file_that_does_not_end_its_last_line_gets_the_block_on_a_new_one() -> None:
    assert with_block("[general]", BLOCK) == "[general]\n" + BLOCK


def test_roll_back_restores_content_and_mode(tmp_path: Path) -> None:
    there, new = tmp_path / "manager.conf", tmp_path / "evolvex-api.conf"
    there.write_bytes(b"[general] \xff\n")
    there.chmod(0o640)
    changes = Changes()
    changes.put_block(there, BLOCK)
    changes.put_block(new, BLOCK)
    changes.make_folder(tmp_path / "a" / "b", tmp_path.owner(), tmp_path.group(), 0o750)
    assert block_in(there) == block_in(new) == BLOCK
    assert changes.roll_back() == []
    assert there.read_bytes() == b"[general] \xff\n"
    assert there.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [there]


def test_roll_back_goes_on_over_what_fails_and_tells_it(tmp_path: Path) -> None:
    changes = Changes()
    changes.put_block(tmp_path / "file", BLOCK)
    changes.on_rollback(lambda: run("false"))
    assert len(changes.roll_back()) == 1
    assert not (tmp_path / "file").exists()


def test_an_emptied_file_goes(tmp_path: Path) -> None:
    file = tmp_path / "evolvex-api.conf"
    file.write_text(BLOCK)
    Changes().remove_block(file)
    assert not file.exists()


def test_a_failing_command_is_told_with_its_last_words() -> None:
    with pytest.raises(SetupError, match="no such thing"):
        run("sh", "-c", "echo no such thing >&2; exit 3")


def test_asterisks_files_are_read(tmp_path: Path) -> None:
    file = tmp_path / "res_odbc.conf"
    file.write_text(
        "; a comment\n#include x.conf\n[cdr](!)\nenabled => yes ; really\n"
        "password => a\\;b=c\nenabled=no\n[empty]\n"
    )
    assert host.asterisk_sections(file) == {
        "cdr": {"enabled": "no", "password": "a\\;b=c"},
        "empty": {},
    }


def test_every_server_block_of_nginx_gets_the_lines() -> None:
    site = "# server {\nserver {\n\tlisten 80;\n}\n  server{\n}\n"
    assert host.into_servers(site, "X\n") == (
        "# server {\nserver {\nX\n\tlisten 80;\n}\n  server{\nX\n}\n"
    )


def test_a_setting_takes_the_place_of_its_commented_default() -> None:
    before = "[ami]\n#port = 1\n[cdr]\n# Its TCP port.\n#port = 3306\nuser = a\n[mp3]\n"
    after = with_settings(before, {("cdr", "port"): "3307", ("cdr", "user"): "b"})
    assert after == ("[ami]\n#port = 1\n[cdr]\n# Its TCP port.\nport = 3307\nuser = b\n[mp3]\n")


def test_a_setting_without_a_line_gets_one_in_its_section() -> None:
    assert with_settings("[ami]\n[cdr]\nuser = a\n", {("cdr", "host"): "db"}) == (
        "[ami]\n[cdr]\nhost = db\nuser = a\n"
    )


def test_a_first_user_is_made_once_and_never_beside_a_broken_file(tmp_path: Path) -> None:
    path = tmp_path / "evolvex.conf"
    path.write_text("[ami]\nsecret = x\n[cdr]\npassword = x\n")
    settings, files = config.load(path), AccessFiles(path)
    _first_key(settings, ("incoming",))
    (_, first), *others = files.users()
    assert (first.name, others) == ("first", [])
    _first_key(settings, ("incoming",))
    assert len(files.users()) == 1
    files.user("first")[0].write_text("[user\n")
    _first_key(settings, ("incoming",))
    assert files.users() == []
