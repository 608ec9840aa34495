"""The package's life on a PBX host, in order: install, setup, use, faults, upgrade, remove, purge.

The tests of a suite share one host and build on each other.
"""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deb.conftest import SUITES
from tests.deb.constant_load import Load
from tests.deb.pbx import APT, PbxHost, healthy, install, state_of, undone
from tests.lab.server import wait_until

_MARKS = re.compile(r"^[#;] >>> evolvex-api.*?^[#;] <<< evolvex-api[^\n]*\n", re.M | re.S)


@pytest.fixture(scope="module", params=SUITES)
def host(request: pytest.FixtureRequest) -> Iterator[PbxHost]:
    with PbxHost(request.param) as started:
        started.prepare()
        yield started


@pytest.fixture(scope="module")
def call(host: PbxHost) -> Any:
    """A call that was made over the API and has ended, with its recording and its CDR row."""
    asked = host.curl(
        "originate?channel=Local/101@answer&exten=102&context=outgoing&priority=1&async=true"
    )
    uniqueid = asked.data["Uniqueid"]
    wait_until(lambda: len(host.curl("status").data) >= 4, 10, "the call's four channels")
    live = [leg["Uniqueid"] for leg in host.curl("status").data]
    assert uniqueid in live
    recorded = host.run(
        "until f=$(find /var/spool/asterisk/monitor -name '*.wav' -size +40k | grep .);"
        " do sleep 0.2; done; basename $f .wav",
        timeout=30,
    )
    host.cli("channel request hangup all")
    wait_until(lambda: host.curl("status").data == [], 10, "no live channel")
    return recorded


def test_installs_and_serves(host: PbxHost, package: Path) -> None:
    install(host, package)
    assert (
        host.run("systemctl is-active evolvex-api.service evolvex-api.socket") == "active\nactive"
    )
    assert host.run("stat -c '%U:%G %a' /etc/evolvex/evolvex.conf") == "root:evolvex 640"
    refused = host.run(
        "curl -s --unix-socket /run/evolvex-api/gunicorn.sock http://pbx/pbx/api/index/check"
    )
    assert json.loads(refused)["code"] == "missing_key"


def test_dry_run_changes_nothing(host: PbxHost) -> None:
    before = state_of(host)
    plan = host.run("evolvex-api setup --dry-run; [ $? = 2 ]")
    assert "manager.d/evolvex-api.conf" in plan
    assert "SELECT on asteriskcdrdb.cdr" in plan
    steps = json.loads(host.run("evolvex-api setup --dry-run --json; [ $? = 2 ]"))
    assert {"ami", "call log", "sounds", "web server"} <= {step["step"] for step in steps}
    assert state_of(host) == before


def test_setup_connects_everything_and_prints_a_key(host: PbxHost) -> None:
    site = host.read("/etc/nginx/sites-available/default")
    said = host.run("evolvex-api setup --yes")
    key = re.search(r"key, shown only now: (\S+)", said)
    assert key
    host.key = key[1]
    assert "fail" not in re.findall(r"^\w+", said, re.M), said
    assert _MARKS.sub("", host.read("/etc/nginx/sites-available/default") + "\n").strip() == site
    assert key[1] not in host.run("cat /etc/evolvex/users.d/*")
    tried = re.search(r"^Try: (curl .*)$", said, re.M)
    assert tried
    assert '"name": "first"' in host.run(tried[1])


def test_asterisk_alone_reads_the_ami_secrets(host: PbxHost) -> None:
    file = "/etc/asterisk/manager.d/evolvex-api.conf"
    assert host.run(f"stat -c '%U:%G %a' {file}") == "root:asterisk 640"


def test_the_web_server_reads_recordings_and_no_secret_of_asterisk(host: PbxHost) -> None:
    assert "www-data" not in host.run("getent group asterisk")
    host.run("runuser -u www-data -- ls /var/spool/asterisk/monitor")
    assert not host.succeeds("runuser -u www-data -- cat /etc/asterisk/manager.conf")


def test_setup_again_finds_nothing_to_do(host: PbxHost) -> None:
    before = host.run(
        "sha256sum /etc/nginx/sites-available/* /etc/asterisk/manager.d/* /etc/evolvex/*.conf"
    )
    said = host.run("evolvex-api setup --yes")
    assert "Everything is set up already." in said
    assert "shown only now" not in said
    after = host.run(
        "sha256sum /etc/nginx/sites-available/* /etc/asterisk/manager.d/* /etc/evolvex/*.conf"
    )
    assert after == before


def test_doctor_finds_every_piece_good(host: PbxHost) -> None:
    findings = json.loads(host.run("evolvex-api doctor --json"))
    # The jail, ffmpeg, and which numbers the first key may dial are the administrator's to decide.
    decided = {"fail2ban", "calls", "further formats"}
    others = [finding for finding in findings if finding["name"] not in decided]
    assert {finding["state"] for finding in others} == {"ok"}, others


def test_check(host: PbxHost, call: str) -> None:
    data = host.curl(f"check?context=outgoing&uniqueid={call}").data
    assert data["api_user"]["name"] == "first"
    assert data["access"]["name"] == "outgoing"
    assert data["file"] is True


def test_get_log_cdr(host: PbxHost, call: str) -> None:
    def rows() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = host.curl("get_log_cdr", "--request", "POST").data
        return found

    wait_until(lambda: any(row["uniqueid"] == call for row in rows()), 15, "the call's CDR row")


def test_wav_is_sent_by_nginx_itself(host: PbxHost, call: str) -> None:
    file = host.run(f"find /var/spool/asterisk/monitor -name '*{call}.wav' | xargs sha256sum")
    assert host.file_hash("get_file_wav", f"uniqueid={call}") == file.split()[0]
    answer = host.curl(f"get_file_wav?uniqueid={call}", "--head")
    assert answer.headers["content-type"] == "audio/wav"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["x-request-id"]
    part = host.curl(f"get_file_wav?uniqueid={call}", "--range", "0-3")
    assert (part.status, part.body) == (206, "RIFF")
    # The service itself sent nothing of it.
    lines = [line for line in host.journal("evolvex-api").splitlines() if "get_file_wav" in line]
    assert lines
    assert all(" 0B " in line for line in lines), lines


def test_a_range_beyond_the_end_is_told_in_the_apis_own_shape(host: PbxHost, call: str) -> None:
    answer = host.curl(f"get_file_wav?uniqueid={call}", "--range", "999999999-")
    assert answer.status == 416
    assert answer.headers["content-type"].startswith("application/problem+json")


def test_mp3(host: PbxHost, call: str) -> None:
    first = host.file_hash("get_file_mp3", f"uniqueid={call}")
    assert host.file_hash("get_file_mp3", f"uniqueid={call}") == first
    host.run(
        f"curl -sf -H 'X-API-Key: {host.key}' -o /root/call.mp3"
        f" 'http://127.0.0.1/pbx/api/index/get_file_mp3?uniqueid={call}'"
    )
    assert float(host.run("soxi -D /root/call.mp3")) > 2
    assert "get_file_mp3" in host.journal("evolvex-api")


def test_what_nginx_may_not_read_comes_from_the_service(host: PbxHost, call: str) -> None:
    before = host.file_hash("get_file_wav", f"uniqueid={call}")
    host.run("setfacl -R -x u:www-data /var/spool/asterisk/monitor")
    assert host.file_hash("get_file_wav", f"uniqueid={call}") == before
    said = host.run("evolvex-api setup --yes")
    assert "/var/spool/asterisk/monitor: readable by www-data" in said
    host.run("runuser -u www-data -- ls /var/spool/asterisk/monitor")


def test_uploaded_sound_is_played(host: PbxHost) -> None:
    host.run("sox -n -r 44100 -c 2 /root/hello.ogg synth 1 sine 440")
    stored = host.curl("uploads", "--form", "file=@/root/hello.ogg").data
    played = host.curl(
        "originate?channel=Local/101@answer&exten=s&context=evolvex-play&priority=1"
        f"&variable=file={stored['file']}"
    ).data
    assert played["Response"] == "Success"
    wait_until(
        lambda: f"{stored['file']} SUCCESS" in host.cli("dialplan show globals"),
        20,
        "Asterisk played the sound",
    )


def test_outcome_of_a_call_reaches_the_client(host: PbxHost) -> None:
    busy = host.curl("originate?channel=Local/201@answer&exten=101&context=outgoing&priority=1")
    assert busy.data["Response"] == "Failure"


def test_wrong_keys_are_slowed_down_and_told(host: PbxHost) -> None:
    asked = [
        host.run(
            "curl -s -o /dev/null -w '%{http_code}' -H 'X-API-Key: no-such-key'"
            " 'http://127.0.0.1/pbx/api/index/check' &" * 30 + " wait"
        )
    ]
    codes = re.findall(r"\d{3}", asked[0])
    assert set(codes) == {"401", "429"}
    assert healthy(host)
    found = host.run("fail2ban-regex systemd-journal /etc/fail2ban/filter.d/evolvex-api.conf")
    assert int(re.search(r"Lines: \d+ lines, \d+ ignored, (\d+) matched", found)[1]) > 10  # type: ignore[index]


def test_sandbox(host: PbxHost) -> None:
    said = host.run("systemd-analyze security evolvex-api.service --no-pager").splitlines()[-1]
    print(said)
    assert float(re.search(r": ([\d.]+)", said)[1]) <= 1.5  # type: ignore[index]


def test_reload_takes_the_new_configuration_without_a_lost_request(host: PbxHost) -> None:
    pid = host.main_pid()
    load = Load(host)
    host.run("sed -i 's/^#workers = 2/workers = 3/' /etc/evolvex/evolvex.conf")
    host.run("systemctl reload evolvex-api")
    wait_until(lambda: len(host.run(f"pgrep -P {pid}").split()) == 3, 40, "three workers")
    assert load.end()["failed"] == []
    assert host.main_pid() == pid


def test_reload_with_another_bind_keeps_the_route(host: PbxHost) -> None:
    """systemd's socket comes first."""
    host.write("/etc/evolvex/evolvex.conf.d/bind.conf", "[server]\nbind = 127.0.0.1:8099\n")
    host.run("systemctl reload evolvex-api")
    load = Load(host)
    host.run("systemctl reload evolvex-api")
    assert healthy(host)
    assert load.end()["failed"] == []
    host.run("rm /etc/evolvex/evolvex.conf.d/bind.conf && systemctl reload evolvex-api")
    assert healthy(host)


def test_broken_configuration_does_not_touch_the_running_service(host: PbxHost) -> None:
    host.run("cp -p /etc/evolvex/evolvex.conf /root/good.conf")
    host.run("sed -i 's/^workers = 3/workers = many/' /etc/evolvex/evolvex.conf")
    assert not host.succeeds("systemctl reload evolvex-api")
    assert healthy(host)
    assert "[server] workers: must be a whole number" in host.journal("evolvex-api")
    assert not host.succeeds("systemctl restart evolvex-api")
    assert "[server] workers: must be a whole number" in host.journal("evolvex-api")
    # A request that comes meanwhile waits for the mended service, and does not make it spin.
    waiting = host.start(
        *("curl", "--silent", "--fail", "--header", f"X-API-Key: {host.key}"),
        "http://127.0.0.1/pbx/api/index/check",
    )
    host.run("cp -p /root/good.conf /etc/evolvex/evolvex.conf && systemctl restart evolvex-api")
    waiting.communicate(timeout=60)
    assert waiting.returncode == 0
    assert host.journal("evolvex-api").count("must be a whole number") < 10


def test_restart_loses_no_request(host: PbxHost) -> None:
    load = Load(host)
    for _ in range(3):
        host.run("systemctl restart evolvex-api")
        assert healthy(host)
    assert load.end()["failed"] == []


def test_comes_back_after_kill(host: PbxHost) -> None:
    pid = host.main_pid()
    host.run(f"kill -KILL {pid}")
    wait_until(lambda: host.main_pid() not in ("0", pid) and healthy(host), 30, "it is back")


def test_survives_restarts_of_asterisk_and_database(host: PbxHost) -> None:
    host.run("systemctl stop asterisk mariadb")
    down = host.curl("status")
    assert down.status == 503
    assert down.headers["retry-after"]
    assert host.curl("get_log_cdr").status == 503
    assert healthy(host)
    host.run("systemctl start mariadb asterisk")
    host.wait_for_asterisk()
    wait_until(lambda: host.curl("status").status == 200, 20, "status answers again")
    wait_until(lambda: host.curl("get_log_cdr").status == 200, 20, "the call log answers again")


def test_missing_folders_are_told(host: PbxHost, call: str) -> None:
    host.run("mv /var/lib/evolvex-api/sounds /root/away")
    said = host.run("evolvex-api doctor", check=False)
    assert re.search(r"^fail uploads", said, re.M), said
    answer = host.curl("uploads", "--form", "file=@/root/hello.ogg")
    assert answer.status == 503
    assert json.loads(answer.body)["code"] == "storage_unavailable"
    assert host.curl(f"check?uniqueid={call}").status == 200
    host.run("mv /root/away /var/lib/evolvex-api/sounds")
    assert host.curl("uploads", "--form", "file=@/root/hello.ogg").status == 200


def test_upgrade_under_load_loses_no_request(host: PbxHost, next_package: Path) -> None:
    load = Load(host)
    install(host, next_package)
    result = load.end()
    assert result["failed"] == []
    assert result["asked"] > 10
    assert "1000.0.0" in host.run("dpkg-query -W evolvex-api")


def test_security_update_of_a_library_restarts_the_service(host: PbxHost) -> None:
    pid = host.main_pid()
    load = Load(host)
    host.run(f"{APT} --reinstall python3-flask")
    wait_until(lambda: host.main_pid() not in ("0", pid), 20, "another main process")
    assert load.end()["failed"] == []


def test_no_log_holds_a_key(host: PbxHost) -> None:
    host.run(f"curl -s 'http://127.0.0.1/pbx/api/index/check?api_key={host.key}'")
    host.run(f"curl -s 'http://127.0.0.1/api/index/status?api_key={host.key}&x=1'")
    assert host.key not in host.run("journalctl --no-pager --output=export", check=False)
    assert not host.succeeds(f"grep -r -- {shlex.quote(host.key)} /var/log/nginx")
    assert "/pbx/api/index/check" in host.read("/var/log/nginx/evolvex-api.access.log")


def test_remove_keeps_keys_for_a_reinstallation(host: PbxHost, package: Path) -> None:
    host.run("apt-get -qq remove --yes evolvex-api")
    assert not host.succeeds("systemctl is-active evolvex-api.service evolvex-api.socket")
    host.run("nginx -t && systemctl reload nginx")
    install(host, package)
    assert healthy(host)


def test_setup_can_be_undone(host: PbxHost) -> None:
    host.run("evolvex-api setup --remove")
    undone(host)
    assert "evolvex" not in host.cli("manager show users")
    host.run("evolvex-api setup --yes --site /etc/nginx/sites-enabled/default")
    assert healthy(host)


def test_setup_can_be_undone_without_asterisk(host: PbxHost) -> None:
    """`--site` was given then and is not now."""
    host.run("systemctl stop asterisk")
    host.run("evolvex-api setup --remove")
    undone(host)
    host.run("systemctl start asterisk")
    host.wait_for_asterisk()
    host.run("evolvex-api setup --yes")
    assert healthy(host)


def test_what_version_1_0_left_moves_along(host: PbxHost) -> None:
    """Its sounds, www-data's group and its list of files, as that version left them."""
    old, sound = "/var/lib/asterisk/sounds/evolvex", "11111111-2222-3333-4444-555555555555.wav"
    host.run("evolvex-api setup --remove")
    host.run(
        f"rm -rf {old}; install -d -o evolvex -g asterisk -m 2750 {old}"
        f" && install -o asterisk -g asterisk /dev/null {old}/{sound}"
        " && gpasswd --add www-data asterisk"
        " && echo /etc/nginx/sites-available/default > /etc/evolvex/setup.files"
    )
    host.run("evolvex-api upgrade-host")
    assert host.run(f"readlink {old}") == "/var/lib/evolvex-api/playback"
    assert host.run(f"stat -L -c %U {old}/{sound}") == "evolvex"
    assert host.succeeds(f"runuser -u asterisk -- test -r {old}/{sound}")
    assert "www-data" not in host.run("getent group asterisk")
    assert host.succeeds("runuser -u www-data -- ls /var/spool/asterisk/monitor")
    assert "allow all" in host.read("/etc/evolvex/nginx-clients.conf")
    host.run("evolvex-api setup --yes --private")
    assert healthy(host)


def test_a_backup_is_restored_on_a_new_host(host: PbxHost) -> None:
    """As docs/operations.md says."""
    host.run("tar -czf /root/evolvex.tar.gz --acls -C / etc/evolvex var/lib/evolvex-api")
    host.run("evolvex-api setup --remove && apt-get -qq purge --yes evolvex-api")
    host.run(f"{APT} /root/evolvex-api.deb")
    units = " ".join(f"evolvex-api{name}" for name in (".socket", ".service", "-events.socket"))
    host.run(f"systemctl stop {units} evolvex-api-events.service")
    host.run(
        "tar -xzf /root/evolvex.tar.gz --acls --same-owner -C / && rm /etc/evolvex/setup.state"
    )
    host.run("systemctl start evolvex-api.socket evolvex-api-events.socket")
    host.run("evolvex-api setup --yes")
    assert healthy(host)


def test_purge_leaves_nothing(host: PbxHost) -> None:
    host.run("apt-get -qq purge --yes evolvex-api")
    host.run("nginx -t && systemctl restart nginx")
    left = host.run(
        "find / -xdev \\( -path /proc -o -path /sys -o -path /srv -o -path /root"
        " -o -path /var/lib/dpkg -o -path /var/log/journal -o -path /run/log \\)"
        " -prune -o -iname '*evolvex*' -print"
    )
    assert left.splitlines() == []
    assert not host.succeeds("grep -ri evolvex /etc/nginx /etc/asterisk/manager* /etc/systemd")
    assert not host.succeeds("systemctl cat evolvex-api.service")
