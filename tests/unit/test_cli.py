"""user, group and check-config, and the files they write."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from evolvex_api.backends import access_store
from evolvex_api.cli import main
from evolvex_api.core.access import AccessBook, key_digest


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


def group_file(cli: Cli) -> Path:
    """The file of the group `sales`."""
    return cli.config.parent / "groups.d" / "sales.conf"


def test_comments_of_a_file_survive_every_change(cli: Cli) -> None:
    path = group_file(cli)
    text = path.read_text(encoding="utf-8")
    path.write_text(f"\ufeff; ours\n{text}# about calls\n[originate]\n; few\nmax_calls = 5\n")
    cli.out("group", "allow", "sales", "incoming")
    cli.out("group", "set", "sales", "originate.max_calls", "7")
    cli.out("group", "set", "sales", "originate.numbers", "_7XXX")
    cli.out("group", "set", "sales", "rights", "check, originate")
    cli.out("group", "deny", "sales", "outgoing")
    changed = path.read_text(encoding="utf-8")
    for comment in ("; ours", "# about calls", "; few"):
        assert f"{comment}\n" in changed
    assert "[originate]\n; few\nmax_calls = 7\nnumbers = _7XXX\n" in changed
    group = next(iter(cli.book().groups.values()))
    assert [access.name for access in group.accesses] == ["incoming"]
    assert group.rights == {"check", "originate"}
    assert group.rules.calls.max_calls == 7
    cli.out("user", "add", "crm", "--group", "sales")
    user_file = path.parent.parent / "users.d" / "crm.conf"
    user_file.write_text("# theirs\n" + user_file.read_text(encoding="utf-8") + "# end\n")
    cli.out("user", "disable", "crm")
    cli.out("user", "rotate-key", "crm")
    text = user_file.read_text(encoding="utf-8")
    assert text.startswith("# theirs\n[user]\n")
    assert text.endswith("# end\n")
    assert "enable = no\n" in text


def test_a_byte_order_mark_is_nothing(cli: Cli) -> None:
    key = cli.out("user", "add", "crm", "--group", "sales")
    for path in (group_file(cli), cli.config.parent / "users.d" / "crm.conf", cli.config):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert cli.book().user_of(key) is not None
    cli.out("check-config")


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("originate.max_calls", "many", r"\[originate\] max_calls: must be a whole number"),
        ("originate.max_calls", "0", r"\[originate\] max_calls: must be a whole number"),
        ("originate.max_call", "5", r"\[originate\] max_call: unknown key"),
        ("originate.numbers", "7XXX", r"\[originate\] numbers: .* a pattern begins with _"),
        ("originate.channels", "PJSIP", r"\[originate\] channels: .* is no channel"),
        ("originate.hours", "8-20", r"\[originate\] hours: "),
        ("originate.hours", "*,*,*,*,Mars/City", r"no time zone"),
        ("originate.numbers", "", r"\[originate\] numbers: is empty"),
        ("uploads.quota", "big", r"\[uploads\] quota: must be a size"),
        ("rights", "cdr,fly", r"\[group\] rights: 'fly' is none of"),
        ("uuid", "x", r"'uuid' is none of description, rights"),
        ("context.x", "x", "is none of"),
        ("originate.accounts", "a\nmax_calls = 9", "control characters"),
    ],
)
def test_a_bad_value_is_not_written(cli: Cli, key: str, value: str, reason: str) -> None:
    before = group_file(cli).read_text(encoding="utf-8")
    refused = cli.run("group", "set", "sales", key, value)
    assert refused.exit_code == 1
    assert re.search(reason, refused.output), refused.output
    assert "/.new-" not in refused.output
    assert group_file(cli).read_text(encoding="utf-8") == before
    assert [path.name for path in group_file(cli).parent.iterdir()] == ["sales.conf"]


def test_a_key_is_removed_by_unset(cli: Cli) -> None:
    cli.out("group", "set", "sales", "originate.hours", "08:00-20:00,mon-fri,*,*")
    assert "originate.hours: 08:00-20:00,mon-fri,*,*" in cli.out("group", "show", "sales")
    cli.out("group", "set", "sales", "originate.hours", "--unset")
    assert "hours" not in cli.out("group", "show", "sales")
    assert cli.run("group", "set", "sales", "originate.hours").exit_code == 2
    assert cli.run("group", "set", "sales", "originate.hours", "x", "--unset").exit_code == 2


def test_allowing_again_without_a_description_keeps_it(cli: Cli) -> None:
    cli.out("group", "allow", "sales", "outgoing")
    assert "description = Исходящие" in group_file(cli).read_text(encoding="utf-8")


@pytest.mark.parametrize("context", ["from-*", "from-?", "a b", "[abc]", "**", "", "x" * 80])
def test_contexts_have_no_patterns(cli: Cli, context: str) -> None:
    refused = cli.run("group", "allow", "sales", context)
    assert refused.exit_code == 1
    assert "there are no patterns, and * alone grants every context" in refused.output


def test_a_pattern_in_a_file_shuts_the_group_and_says_why(cli: Cli) -> None:
    key = cli.out("user", "add", "crm", "--group", "sales")
    path = group_file(cli)
    path.write_text(path.read_text(encoding="utf-8") + "[context from-*]\n")
    checked = cli.run("check-config")
    assert checked.exit_code == 78
    assert "sales.conf: [context from-*]: a context is named in full" in checked.output
    user = cli.book().user_of(key)
    assert user is not None
    assert cli.book().group_of(user).rights == frozenset()


def test_user_files_of_one_name_are_shut_out_and_reported(cli: Cli) -> None:
    one = cli.out("user", "add", "crm", "--group", "sales")
    folder = cli.config.parent / "users.d"
    text = (folder / "crm.conf").read_text(encoding="utf-8")
    other = "another-key-of-the-same-name"
    twin = re.sub("(?m)^uuid = .*$", "uuid = other", text)
    twin = re.sub("(?m)^api_key_sha256 = .*$", f"api_key_sha256 = {key_digest(other)}", twin)
    (folder / "twin.conf").write_text(twin, encoding="utf-8")
    book = cli.book()
    assert (book.user_of(one), book.user_of(other)) == (None, None)
    checked = cli.run("check-config")
    assert checked.exit_code == 78
    assert "[user] name: crm.conf, twin.conf have the same" in checked.output
    assert "several files name the user 'crm'" in cli.run("user", "enable", "crm").output
    cli.out("user", "disable", "crm")
    assert all("enable = no" in path.read_text(encoding="utf-8") for path in folder.iterdir())


@pytest.mark.parametrize(
    "key", ["short", "1" * 16, "abcd" * 8, "x" * 129, "with space in it!", "é" * 20]
)
def test_weak_keys_are_refused(cli: Cli, key: str) -> None:
    refused = cli.run("user", "add", "crm", "--group", "sales", "--api-key", key)
    assert refused.exit_code == 1
    assert "a key is 16 to 128" in refused.output or "can be guessed" in refused.output


def test_a_key_from_a_file_or_standard_input(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"\xef\xbb\xbffirst-key-0123456789\r\n")
    add = ("user", "add", "--group", "sales", "--api-key-file")
    assert cli.out(*add, str(path), "one") == "first-key-0123456789"
    arguments = [*add, "-", "two", "--config", str(cli.config)]
    piped = CliRunner().invoke(main, arguments, input="second-key-0123456789\n")
    assert (piped.exit_code, piped.output.strip()) == (0, "second-key-0123456789")
    assert cli.run(*add, str(path), "three", "--api-key", "x" * 20).exit_code == 2
    path.write_text("\n")
    assert "the file of the key is empty" in cli.run(*add, str(path), "four").output


def test_exist_ok_changes_nothing(cli: Cli) -> None:
    key = cli.out("user", "add", "crm", "--group", "sales")
    again = cli.run("user", "add", "crm", "--group", "sales", "--exist-ok")
    assert again.exit_code == 0
    assert "its key stays" in again.output
    assert cli.book().user_of(key) is not None
    uuid_ = cli.out("group", "add", "sales", "--exist-ok")
    assert uuid_ == next(iter(cli.book().groups))
    assert cli.out("group", "add", "other", "--exist-ok") != uuid_
    assert cli.run("user", "add", "crm", "--group", "other", "--exist-ok").exit_code == 1


def test_what_a_user_may_have_further(cli: Cli) -> None:
    key = cli.out("user", "add", "crm", "--group", "sales")
    cli.out("user", "set", "crm", "allowed_from", "10.0.0.0/8, 192.168.1.5")
    cli.out("user", "set", "crm", "expires", "2027-01-31")
    shown = cli.out("user", "show", "crm")
    assert "group: sales\n" in shown
    assert "allowed_from: 10.0.0.0/8, 192.168.1.5/32\n" in shown
    assert "expires: 2027-01-31\n" in shown
    assert cli.run("user", "set", "crm", "allowed_from", "10.0.0.0/99").exit_code == 1
    assert cli.run("user", "set", "crm", "expires", "31.01.2027").exit_code == 1
    assert cli.run("user", "set", "crm", "api_key_sha256", "0" * 64).exit_code == 1
    cli.out("user", "set", "crm", "expires", "--unset")
    user = cli.book().user_of(key)
    assert user is not None
    assert user.expires is None


def test_lists_for_programs(cli: Cli) -> None:
    cli.out("user", "add", "crm", "--group", "sales")
    (user,) = json.loads(cli.out("user", "list", "--json"))
    assert (user["name"], user["enable"], user["group"]) == ("crm", "yes", "sales")
    assert not any("sha256" in key or "api_key" in key for key in user)
    cli.out("group", "set", "sales", "originate.max_calls", "3")
    (group,) = json.loads(cli.out("group", "list", "--json"))
    assert (group["contexts"], group["originate.max_calls"]) == (["outgoing"], "3")


def test_limits_of_a_group_that_has_made_no_call(cli: Cli) -> None:
    text = cli.config.read_text().replace("[ami]", "[ami]\nport = 1")
    cli.config.write_text(f"{text}[server]\nstate_dir = {cli.config.parent}\n")
    cli.out("group", "set", "sales", "originate.calls_per_day", "5")
    shown = cli.out("group", "limits", "sales").splitlines()
    assert "Calls that have ended may be counted." in shown.pop(0)
    assert shown[:3] == [
        "max_calls: 0 of 100",
        "calls_per_minute: 0 of 120",
        "calls_per_day: 0 of 5",
    ]
    assert not list(cli.config.parent.glob("*.sqlite3"))


def test_users_made_at_once_are_all_there(cli: Cli) -> None:
    def add(number: int) -> int:
        name = f"user{number % 3}"
        command = [sys.executable, "-m", "evolvex_api", "user", "add", name, "--group", "sales"]
        done = subprocess.run(
            [*command, "--config", str(cli.config)], capture_output=True, check=False
        )
        return done.returncode

    with ThreadPoolExecutor(4) as pool:
        codes = list(pool.map(add, range(6)))
    assert sorted(codes) == [0] * 3 + [1] * 3
    assert len(cli.book().users) == 3
    assert cli.book().problems == ()


@pytest.mark.parametrize("group", [(), ("user",), ("group",)])
def test_summaries_are_not_cut(group: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = CliRunner().invoke(main, [*group, "--help"], terminal_width=80).output
    assert "..." not in shown.partition("Commands:")[2]


def test_names_that_cannot_be_used_are_explained(cli: Cli) -> None:
    refused = cli.run("group", "add", "a/b")
    assert "a name takes letters, digits, spaces and _.@-" in refused.output
