"""user, group and check-config, and the files they write."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from evolvex_api.backends import access_store
from evolvex_api.cli import main
from evolvex_api.core.access import AccessBook


class Cli:
    """The command line with a configuration of its own."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "evolvex.conf"
        self.config.write_text("[ami]\nsecret = x\n[cdr]\npassword = x\n")

    def run(self, *arguments: str) -> Result:
        """Run one command."""
        return CliRunner().invoke(main, [*arguments, "--config", str(self.config)])

    def out(self, *arguments: str) -> str:
        """Run one command that must succeed; returns what it prints."""
        result = self.run(*arguments)
        assert result.exit_code == 0, result.output
        return result.output.strip()

    def book(self) -> AccessBook:
        """The users and groups as the service would see them."""
        return access_store.load(self.config)


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """A command line with a group `sales` that may use `outgoing`."""
    made = Cli(tmp_path)
    made.out("group", "add", "sales")
    made.out("group", "allow", "sales", "outgoing", "--description", "Исходящие")
    return made


def test_add_prints_the_key_alone_and_stores_only_its_hash(cli: Cli) -> None:
    key = cli.out("user", "add", "crm", "--group", "sales", "--description", "Битрикс24")
    assert str(uuid.UUID(key)) == key
    user = cli.book().user_of(key)
    assert user is not None
    assert (user.name, user.description, user.enabled) == ("crm", "Битрикс24", True)
    assert cli.book().group_of(user).scope.contexts == frozenset({"outgoing"})
    file = cli.config.parent / "users.d" / "crm.conf"
    assert key not in file.read_text(encoding="utf-8")
    assert file.stat().st_mode & 0o777 == 0o640


def test_a_given_key_is_taken_once(cli: Cli) -> None:
    key = "84f8fc34-82ad-46b0-b5f3-3cfd0462beeb"
    assert cli.out("user", "add", "old", "--group", "sales", "--api-key", key) == key
    assert cli.run("user", "add", "new", "--group", "sales", "--api-key", key).exit_code == 1
    assert cli.run("user", "add", "new", "--group", "sales", "--api-key", "short").exit_code == 1


def test_disable_enable_rotate_remove(cli: Cli) -> None:
    key = cli.out("user", "add", "crm", "--group", "sales")
    cli.out("user", "disable", "crm")
    found = cli.book().user_of(key)
    assert found is not None
    assert not found.enabled
    cli.out("user", "enable", "crm")
    other = cli.out("user", "rotate-key", "crm")
    assert cli.book().user_of(key) is None
    assert cli.book().user_of(other) is not None
    assert "crm" in cli.out("user", "list")
    assert "name: crm" in cli.out("user", "show", "crm")
    assert other not in cli.out("user", "show", "crm")
    cli.out("user", "remove", "crm")
    assert cli.book().users == {}


def test_groups(cli: Cli) -> None:
    cli.out("group", "allow", "sales", "*")
    assert "outgoing, *" in cli.out("group", "list")
    cli.out("group", "deny", "sales", "*")
    assert cli.run("group", "deny", "sales", "*").exit_code == 1
    cli.out("user", "add", "crm", "--group", "sales")
    refused = cli.run("group", "remove", "sales")
    assert refused.exit_code == 1
    assert "crm" in refused.output
    cli.out("user", "remove", "crm")
    cli.out("group", "remove", "sales")
    assert cli.book().groups == {}


def test_allowing_again_keeps_the_uuid(cli: Cli) -> None:
    before = next(iter(cli.book().groups.values())).accesses[0]
    cli.out("group", "allow", "sales", "outgoing", "--description", "Иначе")
    after = next(iter(cli.book().groups.values())).accesses[0]
    assert (after.uuid, after.description) == (before.uuid, "Иначе")


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a\nb", "-x", "crm "])
def test_names_that_cannot_be_used(cli: Cli, name: str) -> None:
    assert cli.run("user", "add", "--group", "sales", "--", name).exit_code in (1, 2)
    assert cli.run("group", "add", "--", name).exit_code in (1, 2)


def test_names_must_be_new_and_known(cli: Cli) -> None:
    cli.out("user", "add", "crm", "--group", "sales")
    assert cli.run("user", "add", "crm", "--group", "sales").exit_code == 1
    assert cli.run("group", "add", "sales").exit_code == 1
    assert cli.run("user", "add", "x", "--group", "nobody").exit_code == 1
    assert cli.run("user", "show", "nobody").exit_code == 1


def test_check_config(cli: Cli) -> None:
    cli.out("check-config")
    broken = cli.config.parent / "users.d"
    broken.mkdir()
    (broken / "bad.conf").write_text("[user]\nname = x\n")
    result = cli.run("check-config")
    assert result.exit_code == 78
    assert "bad.conf: [user] enable: is required" in result.output
    cli.config.write_text("[ami]\n")
    result = cli.run("check-config")
    assert result.exit_code == 78
    assert "[ami] secret: is required" in result.output


def test_serve_refuses_a_broken_configuration(tmp_path: Path) -> None:
    path = tmp_path / "evolvex.conf"
    path.write_text("[ami]\nnonsense = 1\n")
    result = CliRunner().invoke(main, ["serve", "--config", str(path)])
    assert result.exit_code == 78
    assert "[ami] nonsense: unknown key" in result.output


def test_access_files_are_checked_one_by_one(cli: Cli) -> None:
    key = cli.out("user", "add", "crm", "--group", "sales")
    users = cli.config.parent / "users.d"
    text = (users / "crm.conf").read_text(encoding="utf-8")
    (users / "worse.conf").write_text("[user]\nenable = perhaps\n")
    orphan = re.sub("(?m)^(uuid|name|group_uuid) = .*$", r"\1 = other", text)
    orphan = re.sub("(?m)^(api_key_sha256) = .*$", rf"\1 = {'0' * 64}", orphan)
    (users / "orphan.conf").write_text(orphan, encoding="utf-8")
    book = cli.book()
    assert book.user_of(key) is not None
    assert len(book.problems) == 2
    other = next(user for user in book.users.values() if user.group_uuid == "other")
    assert book.group_of(other).scope.contexts == frozenset()
    assert book.group_of(other).rights == frozenset()


def test_a_broken_file_is_told_and_keeps_nobody_else_from_being_managed(cli: Cli) -> None:
    key = cli.out("user", "add", "crm", "--group", "sales")
    (cli.config.parent / "users.d" / "a.conf").write_text("[user\n")
    listed = cli.run("user", "list")
    assert listed.exit_code == 78
    assert "crm\tenabled\tsales" in listed.output
    assert "a.conf: line 1" in listed.output
    cli.out("user", "disable", "crm")
    user = cli.book().user_of(key)
    assert user is not None
    assert not user.enabled


def test_a_name_whose_file_is_broken_never_overwrites_it(cli: Cli) -> None:
    folder = cli.config.parent / "users.d"
    folder.mkdir()
    (folder / "crm.conf").write_text("[user\n")
    cli.out("user", "add", "crm", "--group", "sales")
    assert (folder / "crm.conf").read_text() == "[user\n"
