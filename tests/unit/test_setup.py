"""setup's reading and writing of other programs' files."""

import os
import resource
from pathlib import Path

import pytest

from evolvex_api import config
from evolvex_api.backends.access_files import AccessFiles
from evolvex_api.cli.setup import Mode, first_key
from evolvex_api.setup import SetupError, asterisk_conf, files, record
from evolvex_api.setup.blocks import block_in, marked_block, with_block
from evolvex_api.setup.changes import Changes, text
from evolvex_api.setup.commands import run
from evolvex_api.setup.record import Record
from evolvex_api.setup.steps import UNDO, sounds, web
from evolvex_api.setup.steps.configuration import with_settings

ROOT = Path(__file__).parents[2]
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


def test_a_block_in_the_middle_of_a_line_comes_out_without_a_trace() -> None:
    inline = marked_block("include x;", inline=True)
    assert with_block(f"server {{{inline} listen 80; }}\n", "") == "server { listen 80; }\n"


def test_every_block_of_a_file_comes_out() -> None:
    assert with_block(f"a\n{BLOCK}b\n{BLOCK}", "") == "a\nb\n"


def test_roll_back_restores_content_and_mode(tmp_path: Path) -> None:
    there, new = tmp_path / "manager.conf", tmp_path / "evolvex-api.conf"
    there.write_bytes(b"[general] \xff\n")
    there.chmod(0o640)
    number = there.stat().st_ino
    changes = Changes()
    changes.put_block(there, BLOCK)
    changes.put_block(new, BLOCK)
    assert block_in(text(there)) == block_in(text(new)) == BLOCK
    assert changes.roll_back() == []
    assert there.read_bytes() == b"[general] \xff\n"
    assert there.stat().st_mode & 0o777 == 0o640
    assert there.stat().st_ino == number
    assert list(tmp_path.iterdir()) == [there]


def test_what_is_kept_leaves_no_second_name(tmp_path: Path) -> None:
    there = tmp_path / "manager.conf"
    there.write_text("[general]\n")
    changes = Changes()
    changes.put_block(there, BLOCK)
    changes.keep()
    assert list(tmp_path.iterdir()) == [there]
    assert there.stat().st_nlink == 1
    assert changes.roll_back() == []


def test_several_changes_of_one_file_are_taken_back(tmp_path: Path) -> None:
    file = tmp_path / "manager.conf"
    file.write_text("first")
    changes = Changes()
    for content in ("second", None, "", "third"):
        changes.write(file, content)
    assert file.read_text() == "third"
    assert changes.roll_back() == []
    assert file.read_text() == "first"
    assert list(tmp_path.iterdir()) == [file]


def test_roll_back_continues_after_a_failure_and_reports_it(tmp_path: Path) -> None:
    changes = Changes()
    changes.put_block(tmp_path / "file", BLOCK)
    changes.on_rollback(lambda: run("false"))
    assert len(changes.roll_back()) == 1
    assert not (tmp_path / "file").exists()


def test_an_emptied_file_goes(tmp_path: Path) -> None:
    file = tmp_path / "evolvex-api.conf"
    file.write_text(BLOCK)
    Changes().remove_block(file, drop_empty=True)
    assert not file.exists()


def test_an_emptied_file_that_others_include_stays(tmp_path: Path) -> None:
    file = tmp_path / "manager_custom.conf"
    file.write_text(BLOCK)
    Changes().remove_block(file)
    assert file.read_text() == ""


def _writable_by_others(folder: Path) -> Path:
    folder.mkdir()
    folder.chmod(0o777)
    return folder


def test_a_link_in_a_folder_of_others_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "shadow"
    secret.write_text("root:secret")
    folder = _writable_by_others(tmp_path / "asterisk")
    (folder / "manager_custom.conf").symlink_to(secret)
    with pytest.raises(SetupError, match="symbolic link"):
        Changes().put_block(folder / "manager_custom.conf", BLOCK)
    assert secret.read_text() == "root:secret"
    assert [entry.name for entry in folder.iterdir()] == ["manager_custom.conf"]


def test_a_linked_folder_below_a_folder_of_others_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "private"
    target.mkdir()
    folder = _writable_by_others(tmp_path / "asterisk")
    (folder / "manager.d").symlink_to(target)
    with pytest.raises(SetupError, match="symbolic link"):
        Changes().write(folder / "manager.d" / "evolvex-api.conf", BLOCK)
    assert list(target.iterdir()) == []


def test_a_link_that_root_alone_can_make_is_followed(tmp_path: Path) -> None:
    (tmp_path / "sites-available").mkdir()
    site = tmp_path / "sites-available" / "default"
    site.write_text("server {\n}\n")
    (tmp_path / "sites-enabled").mkdir()
    link = tmp_path / "sites-enabled" / "default"
    link.symlink_to("../sites-available/default")
    Changes().write(link, "other")
    assert site.read_text() == "other"
    assert link.is_symlink()


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_plain_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "manager.conf"
    os.mkfifo(path) if kind == "pipe" else path.mkdir()
    with pytest.raises(SetupError, match=r"manager\.conf"):
        text(path)
    assert files.peek(path) == "" if kind == "pipe" else True


def test_a_file_that_changes_meanwhile_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "manager.conf"
    path.write_text("one")
    seen = files.read(path)
    path.unlink()
    path.write_text("another")
    with pytest.raises(SetupError, match="changed by somebody else"):
        files.replace(path, b"new", seen, (0, 0))
    assert path.read_text() == "another"
    assert list(tmp_path.iterdir()) == [path]


def test_the_way_back_needs_no_room_on_the_disk(tmp_path: Path) -> None:
    changes, file = Changes(), tmp_path / "manager.conf"
    file.write_text("before")
    changes.write(file, "after")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))  # not a byte more can be written
    try:
        with pytest.raises(SetupError, match="too large"):
            changes.write(tmp_path / "new", "x")
        assert changes.roll_back() == []
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]


def test_a_failing_command_is_reported_with_its_last_words() -> None:
    with pytest.raises(SetupError, match="no such thing"):
        run("sh", "-c", "echo no such thing >&2; exit 3")


def test_a_missing_command_is_reported() -> None:
    with pytest.raises(SetupError, match="is not installed"):
        run("no-such-command-at-all")


def test_asterisks_files_are_read(tmp_path: Path) -> None:
    file = tmp_path / "res_odbc.conf"
    file.write_text(
        "; a comment\n#include x.conf\n[cdr](!)\nenabled => yes ; really\n"
        "password => a\\;b=c\nenabled=no\n[empty]\n"
    )
    assert asterisk_conf.sections(file) == {
        "cdr": {"enabled": "no", "password": "a\\;b=c"},
        "empty": {},
    }


def test_a_setting_takes_the_place_of_its_commented_default() -> None:
    before = "[ami]\n#port = 1\n[cdr]\n# Its TCP port.\n#port = 3306\nuser = a\n[mp3]\n"
    after = with_settings(before, {("cdr", "port"): "3307", ("cdr", "user"): "b"})
    assert after == ("[ami]\n#port = 1\n[cdr]\n# Its TCP port.\nport = 3307\nuser = b\n[mp3]\n")


def test_a_setting_takes_the_place_of_a_set_one_before_a_commented_one() -> None:
    assert with_settings("[cdr]\n#port = 1\nport = 2\n", {("cdr", "port"): "3"}) == (
        "[cdr]\n#port = 1\nport = 3\n"
    )


def test_a_setting_without_a_line_gets_one_in_its_section() -> None:
    assert with_settings("[ami]\n[cdr]\nuser = a\n", {("cdr", "host"): "db"}) == (
        "[ami]\n[cdr]\nhost = db\nuser = a\n"
    )


def test_a_setting_without_a_section_gets_one() -> None:
    assert with_settings("[ami]\nsecret = a", {("events", "secret"): "b"}) == (
        "[ami]\nsecret = a\n\n[events]\nsecret = b\n"
    )


def test_records_are_kept_once_and_in_order(tmp_path: Path) -> None:
    records = [Record("ami", "/etc/asterisk/a b.conf"), Record("dbuser", "evolvex")]
    (tmp_path / record.NAME).write_text(record.as_text([*records, *records]))
    assert record.load(tmp_path) == records
    assert record.load(tmp_path / "nowhere") == []


def test_files_of_version_1_0_are_known(tmp_path: Path) -> None:
    (tmp_path / "setup.files").write_text(
        "/etc/asterisk/manager_custom.conf\n/etc/nginx/sites-available/default\n"
    )
    (tmp_path / "evolvex.conf").write_text("[cdr]\nunix_socket = /run/mysqld/mysqld.sock\n")
    assert record.load(tmp_path) == [
        Record("ami", "/etc/asterisk/manager_custom.conf"),
        Record("nginx", "/etc/nginx/sites-available/default"),
        Record("dbuser", "evolvex"),
    ]


def test_the_packages_purge_knows_every_kind_of_record() -> None:
    postrm = (ROOT / "debian" / "evolvex-api.postrm").read_text()
    # A module of Apache stays on: other sites may have come to need it.
    for kind in UNDO.keys() - {"apachemod"}:
        assert f" {kind})" in postrm or f" {kind} |" in postrm, kind


def test_the_shipped_list_of_clients_is_what_setup_writes() -> None:
    for clients in (
        web.nginx_clients(ROOT / "etc/nginx"),
        web.apache_clients(ROOT / "etc/apache2"),
    ):
        assert clients.path.read_text() == clients.private
        assert not clients.wrong(public=False)
        assert clients.wrong(public=True)


def test_sounds_get_a_second_name_and_a_planted_link_none(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    good, planted = f"{'a' * 36}.wav", f"{'b' * 36}.wav"
    secret = tmp_path / "shadow"
    secret.write_text("secret")
    (old / good).write_bytes(b"RIFF")
    (old / planted).symlink_to(secret)
    (old / "readme.txt").write_text("x")
    changes = Changes()
    assert sounds.move_sounds(old, new, (os.getuid(), os.getgid()), changes) == 1
    assert [entry.name for entry in new.iterdir()] == [good]
    changes.roll_back()
    assert list(new.iterdir()) == []
    assert (old / good).read_bytes() == b"RIFF"


def test_a_first_user_is_made_once_and_never_beside_a_broken_file(tmp_path: Path) -> None:
    path = tmp_path / "evolvex.conf"
    path.write_text("[ami]\nsecret = x\n[cdr]\npassword = x\n")
    settings, access = config.load(path), AccessFiles(path)
    mode = Mode(contexts=("incoming",))
    assert first_key(settings, mode)
    (_, first), *others = access.users()
    assert (first.name, others) == ("first", [])
    assert first_key(settings, mode) == ""
    assert len(access.users()) == 1
    access.user("first")[0].write_text("[user\n")
    assert first_key(settings, mode) == ""
    assert access.users() == []


def test_the_first_key_may_come_from_a_file(tmp_path: Path) -> None:
    path, key_file = tmp_path / "evolvex.conf", tmp_path / "key"
    path.write_text("[ami]\nsecret = x\n[cdr]\npassword = x\n")
    key_file.write_text("5485137a-1a2b-4c3d-8e4f-a0b1c2d3e4f5\n")
    mode = Mode(key_file=key_file)
    assert first_key(config.load(path), mode) == "5485137a-1a2b-4c3d-8e4f-a0b1c2d3e4f5"
